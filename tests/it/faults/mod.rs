//! The faults of rotation.md that are built, each under its number, on both databases; after each, the invariants.
//!
//! - `invariants`: I1 to I12, looked at mechanically
//! - `kill`: 1, 2, and SIGKILL at every call of a rotation, an emergency, a rollback, a healing
//! - `issuing`: 3 to 8, 10, 11: the new key
//! - `delivery`: 12 to 17, 28: the destinations
//! - `staging`: 38, 56: deployments that are ready and do not serve production
//! - `crowd`: 18 to 20, 26: several at once · `replicas`: several daemons on one PostgreSQL
//! - `people`: 21, 22, 24, 32 to 34, 53: what persons do meanwhile
//! - `exposure`: 48: what a leaked key waits for, and what not
//! - `proofs`: 44, 51: what was asked before a change proves nothing about the time after it
//! - `strangers`: 59: keys that others name as ours
//! - `epochs`: 40, 58: another encryption key while others go on
//! - `damage`: 39, 47: rows that cannot be opened or read · `haste`: 41: bad news beside what hangs
//! - `healing`: 45, 49, 52: what healing and leaks must not wait for, and what must not be believed
//! - `addresses`: 35, 43, 46, 55, 57: places that come and go, and what several share
//! - `patience`: 36, 37, 42, 50: what asks to wait, what never stays, and what is large and slow
//! - `frenzy`: how often the outside is called in every state that can stand still
//! - `inheritance`: 54: what names a key by its hash
//! - `weather`: 9, 23, 25, 27, 29 to 31: restored stores, lost answers, clocks, storms
//!
//! A test of [`fault!`] returns a [`invariants::Proof`], which only the invariants make: none forgets to look.
//! The proof of a test that passed is a line of `target/faults`; `tests/run.sh faults` prints the table of them
//! and fails when one of them has none.
#![expect(clippy::disallowed_methods, reason = "the binary under test runs on the real clock")]

mod addresses;
mod crowd;
mod damage;
mod delivery;
mod epochs;
mod exposure;
mod frenzy;
mod haste;
mod healing;
mod inheritance;
mod invariants;
mod issuing;
mod kill;
mod patience;
mod people;
mod proofs;
mod replicas;
mod staging;
mod strangers;
mod weather;

use serde_json::Value;

use crate::support::World;
use crate::support::ledger::{self, alerts, runs_in};
use crate::support::wait::{at_rest, ended, freeze, in_time, reconfigure, serve, signal, stop, until};

/// Expands a body that ends in a proof into one test for each database.
macro_rules! fault {
    ($(#[$meta:meta])* async fn $name:ident($db:ident: Db) $body:block) => {
        mod $name {
            use super::*;
            use crate::faults::invariants::Proof as ProofOfIt;

            async fn body($db: Db) -> ProofOfIt $body

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                body(Db::Sqlite).await.write(stringify!($name), Db::Sqlite);
            }

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                body(Db::Postgres).await.write(stringify!($name), Db::Postgres);
            }
        }
    };
}
pub(crate) use fault;

/// A rotation by the command line, to its end.
async fn rotate(world: &World) -> Value {
    world.rekeyd(&["rotations", "run", "production", "--wait", "--json"]).await.ok().json()
}
