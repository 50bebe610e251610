//! A world to test in.

pub mod client;
pub mod database;
pub mod ledger;
pub mod office;
pub mod wait;
pub mod world;

pub use database::{Database, Db};
pub use office::{Ahead, Office};
pub use world::World;

use rekeyd::domain::key::{Figures, MicroUsd, RemoteKey, Usage};

/// An enabled key without limit or history, as a provider lists it.
pub fn remote_key(hash: &str) -> RemoteKey {
    RemoteKey {
        hash: hash.to_owned(),
        name: String::new(),
        label: String::new(),
        disabled: false,
        limit: None,
        limit_remaining: None,
        limit_reset: None,
        include_byok_in_limit: false,
        usage: Usage::Figures(Figures { usage: MicroUsd(0), byok_usage: MicroUsd(0), last_used_at: None }),
        expires_at: None,
        created_at: None,
        workspace_id: None,
    }
}

/// Expands a test body into one test for each database.
macro_rules! on_both_databases {
    ($(#[$meta:meta])* async fn $name:ident($db:ident: Db) $body:block) => {
        mod $name {
            use super::*;

            async fn body($db: Db) $body

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                body(Db::Sqlite).await;
            }

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                body(Db::Postgres).await;
            }
        }
    };
}
pub(crate) use on_both_databases;
