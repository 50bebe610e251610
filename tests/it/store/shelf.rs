//! A fresh database, and small constructors of rows.

use rekeyd::crypto::{EncryptionKeyId, Sealed};
use rekeyd::domain::actor::Actor;
use rekeyd::domain::rotation::facts::Holding;
use rekeyd::domain::rotation::{KeyRef, Level, Policy, Run, SpecPolicy, State, Trigger};
use rekeyd::domain::time::{Span, Timestamp, Until};
use rekeyd::store::{
    AdoptedKey, AuditEntry, Change, EffectKind, HoldingRow, KeyRow, Lease, NewEffect, NewKey, NewProvider,
    NewRun, Origin, Role, Store,
};
use serde_json::json;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor, Row};

use crate::support::{Database, Db};

pub const ACCOUNT: &str = "org:acme";
pub const ROTATION: &str = "production";
/// How long impatient processes wait for their turn.
pub const SHORT: Span = Span(200);

/// One database, and one process that uses it.
pub struct Shelf {
    pub folder: tempfile::TempDir,
    pub url: String,
    pub store: Store,
}

impl Shelf {
    /// A database without schema.
    pub async fn bare(db: Db) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = Database::new(db, folder.path()).await.url;
        let store = Store::open(&url, 8).await.unwrap();
        Self { folder, url, store }
    }

    /// A database with schema, an account and a rotation.
    pub async fn new(db: Db) -> Self {
        let shelf = Self::bare(db).await;
        shelf.store.migrate().await.unwrap();
        shelf.store.note_entry("main", ACCOUNT).await.unwrap();
        shelf.store.ensure_rotation(ROTATION, Some(ACCOUNT)).await.unwrap();
        let epoch = "INSERT INTO encryption_epochs (epoch, key_id, state, began_at) VALUES (1, 'first', 'sealing', 0)";
        shelf.execute(epoch).await.unwrap();
        shelf
    }

    /// Another process on the same database.
    pub async fn another(&self) -> Store {
        Store::open(&self.url, 8).await.unwrap()
    }

    /// Another process that does not wait for long.
    pub async fn impatient(&self) -> Store {
        Store::open_with_patience(&self.url, 4, SHORT).await.unwrap()
    }

    /// The lease of the account.
    pub async fn lease(&self) -> Lease {
        self.store.acquire("account:org:acme", "me", Span::minutes(1)).await.unwrap().unwrap()
    }

    /// A lease that somebody else took over.
    pub async fn lost_lease(&self) -> Lease {
        let lost = self.store.acquire("account:org:acme", "me", Span::ZERO).await.unwrap().unwrap();
        self.store.acquire("account:org:acme", "other", Span::minutes(1)).await.unwrap().unwrap();
        lost
    }

    /// Commits under a lease of its own, and gives it back.
    pub async fn commit(&self, changes: &[Change]) -> Result<(), rekeyd::store::StoreError> {
        let lease = self.lease().await;
        let done = self.store.commit(&lease, changes).await;
        self.store.release(&lease).await.unwrap();
        done
    }

    /// A run that is open, and its lease.
    pub async fn open_run(&self, id: &str) -> (Run, Lease) {
        let new = new_run(id, None);
        self.store.start_run(&new, &entry("run.started")).await.unwrap();
        let lease = self.lease().await;
        self.store.claim_run(&lease, id).await.unwrap();
        (new.run, lease)
    }

    /// A run that came and went.
    pub async fn finished_run(&self, id: &str, due_at: Option<Timestamp>) -> Run {
        let new = new_run(id, due_at);
        self.store.start_run(&new, &entry("run.started")).await.unwrap();
        let run = Run { state: State::Done, ..new.run };
        let lease = self.lease().await;
        self.store.claim_run(&lease, id).await.unwrap();
        self.store.commit(&lease, &[run_change(&run)]).await.unwrap();
        self.store.release(&lease).await.unwrap();
        run
    }

    /// Stores a generation of the rotation.
    pub async fn generation(&self, number: i64, role: Role) -> KeyRow {
        let key = generation(number, role);
        self.commit(&[new_key(&key)]).await.unwrap();
        self.key(&key.id).await
    }

    pub async fn key(&self, id: &str) -> KeyRow {
        self.store.key(id).await.unwrap().unwrap_or_else(|| panic!("no key {id}"))
    }

    /// How many rows a table has, past the store.
    pub async fn count(&self, table: &str) -> i64 {
        let mut connection = self.raw().await;
        let sql = AssertSqlSafe(format!("SELECT COUNT(*) AS n FROM {table}"));
        let row = sqlx::query(sql).fetch_one(&mut connection).await.unwrap();
        let count = row.try_get("n").unwrap();
        connection.close().await.unwrap();
        count
    }

    /// Does something past the store.
    pub async fn execute(&self, sql: &str) -> Result<(), sqlx::Error> {
        let mut connection = self.raw().await;
        let done = connection.execute(AssertSqlSafe(sql.to_owned())).await;
        connection.close().await.unwrap();
        done.map(|_| ())
    }

    pub async fn raw(&self) -> AnyConnection {
        AnyConnection::connect(&self.url).await.unwrap()
    }
}

pub fn entry(action: &str) -> AuditEntry {
    AuditEntry::new(Actor::cli("tester"), action, "rotation production", "because")
}

pub fn audit(action: &str) -> Change {
    Change::Audit(entry(action))
}

pub fn policy() -> Policy {
    Policy {
        targets: Vec::new(),
        grace: Span::hours(24),
        quiet: Span::hours(24),
        observe: Span::hours(24),
        max_overlap: Span::hours(168),
        max_exposure: Span::minutes(15),
        propagation: Span::minutes(2),
        settle: Span::seconds(15),
        confirm_after: Span::seconds(20),
        spec: SpecPolicy::default(),
        chat_model: None,
        inherit: rekeyd::domain::inherit::Inherit::default(),
        can_disable: true,
    }
}

pub fn new_run(id: &str, due_at: Option<Timestamp>) -> NewRun {
    let run = Run::new(id.to_owned(), ROTATION.to_owned(), ACCOUNT.to_owned(), Trigger::Schedule, policy());
    NewRun { run, due_at, previous_generation: None }
}

pub fn run_change(run: &Run) -> Change {
    Change::Run { run: Box::new(run.clone()), wake: Until::OVER, blockers: Vec::new(), error: None }
}

/// The encryption key that seals in a new shelf.
pub fn sealing() -> EncryptionKeyId {
    EncryptionKeyId::from_stored("first")
}

pub fn sealed_by(by: &EncryptionKeyId, text: &str) -> Sealed {
    Sealed { token: format!("{by}|{text}"), by: by.clone() }
}

/// Something that it sealed.
pub fn sealed(text: &str) -> Sealed {
    sealed_by(&sealing(), text)
}

/// A stored key becomes a generation.
pub fn adopt(id: &str, rotation: &str, generation: i64, hash: &str) -> Change {
    Change::Adopt(Box::new(AdoptedKey {
        id: id.to_owned(),
        provider: "openrouter".to_owned(),
        rotation: rotation.to_owned(),
        generation,
        account: ACCOUNT.to_owned(),
        hash: hash.to_owned(),
        secret: Some(sealed(&format!("{id} adopted"))),
        api_secret: None,
    }))
}

pub fn provider() -> NewProvider {
    NewProvider { name: "openrouter".to_owned(), kind: "openrouter".to_owned(), endpoint: None }
}

/// A key that belongs to no rotation.
pub fn manual(id: &str) -> NewKey {
    NewKey {
        id: id.to_owned(),
        provider: "openrouter".to_owned(),
        name: format!("name of {id}"),
        priority: 100,
        is_active: true,
        settings: json!({ "model": "m" }),
        secret: Some(sealed(id)),
        api_secret: None,
        fingerprint: Some(format!("fingerprint of {id}")),
        mask: "sk-or-v...1234".to_owned(),
        hash: None,
        account: None,
        rotation: None,
        generation: None,
        role: Role::Manual,
        origin: Origin::Given,
        issued_name: None,
        numbered: true,
    }
}

/// A generation of the rotation; `g1` with hash `hash 1`.
pub fn generation(number: i64, role: Role) -> NewKey {
    NewKey {
        hash: Some(format!("hash {number}")),
        account: Some(ACCOUNT.to_owned()),
        rotation: Some(ROTATION.to_owned()),
        generation: Some(number),
        role,
        origin: Origin::Created,
        issued_name: Some(format!("rekeyd/i/production/{number}-nonce")),
        numbered: false,
        ..manual(&format!("g{number}"))
    }
}

pub fn new_key(key: &NewKey) -> Change {
    Change::NewKey { provider: provider(), key: Box::new(key.clone()) }
}

pub fn key_ref(number: i64) -> KeyRef {
    KeyRef { id: format!("g{number}"), generation: number, hash: format!("hash {number}"), has_secret: true }
}

pub fn effect(id: &str, kind: EffectKind, target: &str) -> NewEffect {
    NewEffect {
        id: id.to_owned(),
        run: None,
        account: ACCOUNT.to_owned(),
        kind,
        target: target.to_owned(),
        address: None,
    }
}

pub fn intend(id: &str, kind: EffectKind, target: &str) -> Change {
    Change::Intend(effect(id, kind, target))
}

pub fn settle(id: &str, status: rekeyd::store::EffectStatus) -> Change {
    Change::Settle { id: id.to_owned(), status, evidence: json!({ "seen": true }) }
}

/// The address holds generation `number`.
pub fn holding(address: &str, number: i64) -> HoldingRow {
    HoldingRow {
        fact: Holding {
            level: Level::Confirmed,
            ..Holding::pending(address, "github-production", format!("g{number}"))
        },
        writer: ROTATION.to_owned(),
        fingerprint: None,
        seq: 0,
        evidence: json!(null),
        released: false,
        damaged: false,
    }
}

pub fn hold(row: &HoldingRow, fresh_write: bool) -> Change {
    Change::Holding { row: Box::new(row.clone()), fresh_write }
}
