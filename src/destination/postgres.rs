//! One row of the application's PostgreSQL (Supabase) database: `provider_api_keys` of `providers`, read by the
//! application through `get_api_key` and its sisters. The SQL of these is in `migrations/destination/`.
//!
//! Map: this file says what a publish and a look are; `link` is one transaction with the deadline on both sides;
//! `rows` reads and writes rows; `rights` asks what we may and what others must not; `install` runs the
//! migrations; `tables` reads all keys, to take them over; `refusal` turns errors into what to do about them.
//!
//! Choices:
//! - A connection a call, no pool: calls are rare, and an idle connection of ours would use up one of the few
//!   that small databases have.
//! - `publish_seq` is the fence. It is read, then the deadline is checked, then the write says `WHERE publish_seq`
//!   is still what was read, and the server itself ends the transaction at the deadline. A process that was
//!   stopped in between and goes on finds another number, or no transaction.
//! - A write says `status = 'valid'`: nothing else is ever published (R13). What tests show later is carried over
//!   by the engine (`engine/mirror.rs`).
//! - Values are compared in memory, byte for byte. A row that has the key with a line end around it has not the
//!   key.

mod install;
mod link;
mod refusal;
mod rights;
mod rows;
mod tables;

use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::{Value, json};

use self::link::Server;
use self::rows::Row;
pub use self::tables::stored_keys;
use super::{
    Delivery, Destination, Extent, Ledger, LedgerEntry, Look, PlannedCall, Remark, Standing, Survey,
};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::secret::Secret;
use crate::net::Deadline;

/// What a PostgreSQL destination is made from.
#[derive(Debug, Clone)]
pub struct PostgresSpec {
    /// Name of the destination, for the commands in hints.
    pub name: String,
    /// Its connection URL.
    pub url: Secret,
    /// `providers.provider_name`.
    pub provider_name: String,
    /// `provider_api_keys.key_number`.
    pub key_number: i32,
    /// The other rows of the provider mirror stored keys.
    pub mirror: bool,
    /// PEM file with certificate authorities to trust besides the usual ones.
    pub ca_file: Option<PathBuf>,
}

/// A PostgreSQL destination.
pub struct Postgres {
    name: String,
    provider: String,
    number: i32,
    mirror: bool,
    server: Server,
}

impl Postgres {
    /// A destination for `spec`; refuses an address that would send keys in clear over a network.
    pub fn new(spec: PostgresSpec) -> Result<Self, Failure> {
        let server = Server::new(&spec.url, spec.ca_file.as_deref())?;
        let (provider, number) = (spec.provider_name, spec.key_number);
        Ok(Self { name: spec.name, provider, number, mirror: spec.mirror, server })
    }

    /// The row, for people.
    fn row_name(&self) -> String {
        format!("{}/{}", self.provider, self.number)
    }

    /// The command that installs what is missing.
    fn migrate_command(&self) -> String {
        format!("rekeyd destinations check {} --migrate", self.name)
    }

    /// A failure of a statement, in the words of who must mend it. Which right is missing is asked anew: the
    /// server's own words name the table, not the right.
    async fn explained(&self, failure: Failure, deadline: Deadline) -> Failure {
        match failure.kind {
            FailureKind::NotFound => failure.hint(self.migrate_command()),
            FailureKind::Forbidden if failure.hint.is_none() => {
                let lacking = self.lacking(deadline).await.err();
                lacking.filter(|found| found.kind == FailureKind::Forbidden).unwrap_or_else(|| {
                    failure.hint(
                        "the role's rights are enough: look for a restrictive policy or a trigger, in psql: \\d \
                         public.provider_api_keys",
                    )
                })
            }
            _ => failure,
        }
    }

    /// The first thing that keeps us from writing, or others from not reading.
    async fn lacking(&self, deadline: Deadline) -> Result<Vec<Remark>, Failure> {
        let mut link = self.server.open(deadline).await?;
        let mut seen = rights::server(&mut link, &self.server).await?;
        rights::shape(&mut link, &self.migrate_command()).await?;
        seen.extend(rights::own(&mut link).await?.map(Remark::plain));
        rights::outsiders(&mut link, &self.migrate_command()).await?;
        seen.push(Remark::plain(rights::CLOSED));
        let row = rows::read(&mut link, &self.provider, self.number).await?;
        seen.push(Remark::plain(self.describe(row.as_ref())));
        link.close().await;
        Ok(seen)
    }

    fn describe(&self, row: Option<&Row>) -> String {
        match row {
            None => format!("there is no row {} yet", self.row_name()),
            Some(row) => {
                let whose = match row.entry.generation {
                    Some(generation) => format!("generation {generation}"),
                    None => "a key".to_owned(),
                };
                let usable = if row.entry.is_active { row.entry.status.as_str() } else { "inactive" };
                format!("row {} holds {whose} ({usable}), written {}", self.row_name(), row.written)
            }
        }
    }

    /// One write: read the fence, then use it.
    async fn write(&self, entry: &LedgerEntry, deadline: Deadline) -> Result<i64, Failure> {
        let mut link = self.server.open(deadline).await?;
        rights::outsiders(&mut link, &self.migrate_command()).await?;
        let written = rows::write(&mut link, &self.provider, entry).await?;
        link.commit().await?;
        Ok(written)
    }

    async fn seen(&self, deadline: Deadline) -> Result<Option<Row>, Failure> {
        let mut link = self.server.open(deadline).await?;
        let row = rows::read(&mut link, &self.provider, self.number).await?;
        link.close().await;
        Ok(row)
    }

    async fn publish_row(&self, delivery: &Delivery, deadline: Deadline) -> Result<Value, Failure> {
        let before = self.seen(deadline).await?;
        let entry = LedgerEntry {
            number: i64::from(self.number),
            secret: delivery.secret.clone(),
            is_active: true,
            priority: None,
            status: "valid".to_owned(),
            generation: Some(delivery.generation),
            seq: before.and_then(|row| row.entry.seq),
        };
        let seq = self.write(&entry, deadline).await?;
        Ok(json!({ "generation": delivery.generation, "publish_seq": seq }))
    }

    /// What a row says of the delivered key.
    fn standing(&self, row: Option<&Row>, delivery: &Delivery, evidence: &Value) -> Standing {
        let Some(row) = row else { return Standing::Missing };
        let ours = evidence["generation"] == delivery.generation;
        let same = row.entry.secret == delivery.secret;
        // Somebody else's change need not have moved the time.
        let changed = |what: &str| {
            Standing::Drift(format!("row {} {what} (its updated_at: {})", self.row_name(), row.written))
        };
        match (same, ours) {
            (true, _) if row.entry.is_active => Standing::Confirmed,
            (true, true) => changed("is inactive"),
            (false, true) if trimmed_equal(&row.entry.secret, &delivery.secret) => {
                changed("holds the key with white space around it")
            }
            (false, true) => changed("holds another key"),
            (_, false) => Standing::Unprovable,
        }
    }
}

/// The same but for spaces and line ends: what hand and script leave behind.
fn trimmed_equal(held: &Secret, delivered: &Secret) -> bool {
    Secret::new(held.expose().trim()) == *delivered
}

#[async_trait]
impl Destination for Postgres {
    fn address(&self) -> String {
        format!("{}#{}", self.server.address(), self.row_name())
    }

    fn extent(&self) -> Extent {
        let mirror = self.mirror.then(|| self.table());
        Extent { places: vec![self.address()], mirror }
    }

    async fn preflight(&self, deadline: Deadline) -> Result<Vec<Remark>, Failure> {
        self.lacking(deadline).await
    }

    async fn publish(&self, delivery: &Delivery, deadline: Deadline) -> Result<Value, Failure> {
        match self.publish_row(delivery, deadline).await {
            Err(failure) => Err(self.explained(failure, deadline).await),
            done => done,
        }
    }

    async fn look(&self, delivery: &Delivery, evidence: &Value, deadline: Deadline) -> Result<Look, Failure> {
        let row = match self.seen(deadline).await {
            Err(failure) => return Err(self.explained(failure, deadline).await),
            Ok(row) => row,
        };
        let standing = self.standing(row.as_ref(), delivery, evidence);
        let evidence = match (&standing, row) {
            (Standing::Confirmed, Some(row)) => {
                json!({ "generation": delivery.generation, "publish_seq": row.entry.seq })
            }
            _ => evidence.clone(),
        };
        Ok(Look { standing, evidence })
    }

    fn plan(&self) -> Vec<PlannedCall> {
        let call = format!("INSERT or UPDATE public.provider_api_keys at {}", self.server.address());
        let row = self.row_name();
        let effect =
            format!("puts the key into row {row}, in one transaction, unless somebody else wrote it");
        vec![PlannedCall { call, effect }]
    }

    /// The write says what it finds: the row's own line of the preflight.
    async fn survey(&self, deadline: Deadline) -> Result<Survey, Failure> {
        let seen = self.preflight(deadline).await?;
        let mut calls = self.plan();
        if let (Some(write), Some(found)) = (calls.last_mut(), seen.last()) {
            write.effect = format!("{}; {found}", write.effect);
        }
        Ok(Survey::new(calls, seen))
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        Some(self)
    }
}

#[async_trait]
impl Ledger for Postgres {
    async fn migrate(&self, deadline: Deadline) -> Result<Vec<String>, Failure> {
        let mut link = self.server.open(deadline).await?;
        let did = install::run(&mut link, &self.server).await?;
        rights::outsiders(&mut link, "see who granted it, in psql: \\dp public.provider_api_keys").await?;
        link.commit().await?;
        Ok(did)
    }

    fn mirrors(&self) -> Option<&str> {
        self.mirror.then_some(self.provider.as_str())
    }

    fn table(&self) -> String {
        format!("{}#{}/", self.server.address(), self.provider)
    }

    fn own_number(&self) -> i64 {
        i64::from(self.number)
    }

    async fn entries(&self, deadline: Deadline) -> Result<Vec<LedgerEntry>, Failure> {
        let read = async {
            let mut link = self.server.open(deadline).await?;
            let rows = rows::all(&mut link, &self.provider).await?;
            link.close().await;
            Ok(rows.into_iter().map(|row| row.entry).collect())
        };
        match read.await {
            Err(failure) => Err(self.explained(failure, deadline).await),
            done => done,
        }
    }

    async fn put(&self, entry: &LedgerEntry, deadline: Deadline) -> Result<(), Failure> {
        match self.write(entry, deadline).await {
            Err(failure) => Err(self.explained(failure, deadline).await),
            Ok(_) => Ok(()),
        }
    }
}
