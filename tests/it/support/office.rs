//! A mailbox, a database and engines in this process, with a clock that tests can push forward.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use rekeyd::clock::{Clock, SystemClock};
use rekeyd::domain::actor::Actor;
use rekeyd::domain::alert::{Kind, NewAlert, Subject};
use rekeyd::domain::time::{Span, Timestamp};
use rekeyd::engine::passes::NoticeReport;
use rekeyd::engine::{Engine, commands, passes};
use rekeyd::sim::smtp::{Mail, Mailbox};
use rekeyd::store::{Backlog, Change};
use sqlx::Row;
use tokio_util::sync::CancellationToken;

use super::{Database, Db, ledger};

/// The machine's clock and an offset. Jitter is always the longest.
pub struct Ahead {
    clock: SystemClock,
    offset: AtomicI64,
}

impl Ahead {
    /// One that is so far ahead of the machine's.
    pub fn by(span: Span) -> Arc<Self> {
        Arc::new(Self { clock: SystemClock::default(), offset: AtomicI64::new(span.0) })
    }
}

#[async_trait]
impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        self.clock.now().plus(Span(self.offset.load(Ordering::SeqCst)))
    }

    fn monotonic(&self) -> Span {
        self.clock.monotonic()
    }

    async fn sleep(&self, span: Span) {
        self.clock.sleep(span).await;
    }

    fn nonce(&self) -> String {
        self.clock.nonce()
    }

    fn fraction(&self) -> f64 {
        0.999
    }
}

/// Everything that tells people.
pub struct Office {
    folder: tempfile::TempDir,
    pub mailbox: Mailbox,
    clock: Arc<Ahead>,
    pub engine: Engine,
}

/// `[email]` with these lines in it.
pub fn email(mailbox: &Mailbox, lines: &str) -> String {
    let to = if lines.contains("\nto = ") || lines.starts_with("to = ") {
        ""
    } else {
        "to = [\"ops@example.com\"]\n"
    };
    let tls = if lines.contains("tls = ") { "" } else { "tls = \"none\"\n" };
    format!(
        "[email]\nsmtp = \"{}\"\n{tls}from = \"rekeyd <rekeyd@example.com>\"\n{to}{lines}\n",
        mailbox.url()
    )
}

impl Office {
    /// One that tells `ops@example.com` everything.
    pub async fn new(db: Db) -> Self {
        Self::with(db, "digest = \"\"").await
    }

    /// The same with more lines in `[email]`; tables may follow. `FOLDER` stands for the folder of its files.
    pub async fn with(db: Db, lines: &str) -> Self {
        Self::with_webhook(db, lines, "http://127.0.0.1:1/").await
    }

    /// One that gives the mail server little time.
    pub async fn hasty(db: Db) -> Self {
        let engine = "lease = \"3500ms\"\ncall_timeout = \"400ms\"";
        Self::made(db, "digest = \"\"", "http://127.0.0.1:1/", engine).await
    }

    /// The same as `with`; the URL is in `FOLDER/webhook-url`.
    pub async fn with_webhook(db: Db, lines: &str, url: &str) -> Self {
        Self::made(db, lines, url, "lease = \"20s\"\ncall_timeout = \"5s\"").await
    }

    async fn made(db: Db, lines: &str, url: &str, engine: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::start().await;
        let database = Database::new(db, folder.path()).await;
        let clock = Ahead::by(Span(0));
        private(&folder, "database-url", &database.url);
        private(&folder, "webhook-url", url);
        private(&folder, "encryption-key", rekeyd::crypto::fernet::generate_key().expose());
        let text = format!(
            "[server]\npublic_url = \"https://rekeyd.example.com\"\n\
             [database]\nurl = \"file:{0}/database-url\"\n[encryption]\nkeys = \"file:{0}/encryption-key\"\n\
             [engine]\n{1}\n{2}",
            folder.path().display(),
            engine,
            email(&mailbox, &lines.replace("FOLDER", &folder.path().display().to_string())),
        );
        std::fs::write(folder.path().join("rekeyd.toml"), text).unwrap();
        let engine = start(&folder.path().join("rekeyd.toml"), &clock).await;
        Self { folder, mailbox, clock, engine }
    }

    /// Another process on the same database.
    pub async fn another(&self) -> Engine {
        start(&self.folder.path().join("rekeyd.toml"), &self.clock).await
    }

    /// One whose configuration has no `[email]`.
    pub async fn another_without_mail(&self) -> Engine {
        let text = std::fs::read_to_string(self.folder.path().join("rekeyd.toml")).unwrap();
        let path = self.folder.path().join("silent.toml");
        std::fs::write(&path, text.split("[email]").next().unwrap()).unwrap();
        start(&path, &self.clock).await
    }

    /// Time passes, on the clock of the engines; the database's own cannot be pushed, so what waits on it was set that
    /// much earlier.
    pub async fn pass_time(&self, span: Span) {
        self.clock.offset.fetch_add(span.0, Ordering::SeqCst);
        let url = std::fs::read_to_string(self.folder.path().join("database-url")).unwrap();
        let mut connection = ledger::connect_to(&url).await;
        let deliveries = "UPDATE deliveries SET not_before = not_before - $1, wait_set_at = wait_set_at - $1";
        sqlx::query(deliveries).bind(span.0).execute(&mut connection).await.unwrap();
        let rows =
            sqlx::query("SELECT subject, doc FROM provider_health").fetch_all(&mut connection).await.unwrap();
        for row in rows {
            let (subject, doc): (String, String) = (row.get(0), row.get(1));
            let mut doc: serde_json::Value = serde_json::from_str(&doc).unwrap();
            for moment in ["/until/at", "/until/set_at", "/looked_at"] {
                if let Some(at) = doc.pointer_mut(moment).filter(|at| at.is_i64()) {
                    *at = (at.as_i64().unwrap() - span.0).into();
                }
            }
            sqlx::query("UPDATE provider_health SET doc = $1 WHERE subject = $2")
                .bind(doc.to_string())
                .bind(subject)
                .execute(&mut connection)
                .await
                .unwrap();
        }
    }

    /// Commits changes as the engine does.
    pub async fn commit(&self, changes: &[Change]) -> Result<(), rekeyd::store::StoreError> {
        let store = self.engine.store();
        let lease = store.acquire("account:test", "test", Span::seconds(30)).await?.unwrap();
        let done = store.commit(&lease, changes).await;
        store.release(&lease).await?;
        done
    }

    /// Opens an alert of the kind about a rotation.
    pub async fn open(&self, kind: Kind, rotation: &str) {
        let alert = NewAlert::new(
            kind,
            Subject::Rotation(rotation.to_owned()),
            format!("It happened to {rotation}."),
        );
        self.commit(&[Change::Alert(alert.rotation(rotation))]).await.unwrap();
    }

    /// It is over.
    pub async fn resolve(&self, kind: Kind, rotation: &str) {
        self.commit(&[Change::Resolve { kind, subject: Subject::Rotation(rotation.to_owned()) }])
            .await
            .unwrap();
    }

    /// One pass.
    pub async fn deliver(&self) -> NoticeReport {
        passes::deliver_notices(&self.engine, &CancellationToken::new()).await.unwrap()
    }

    /// A pass after the time in which alerts are grouped.
    pub async fn deliver_later(&self) -> NoticeReport {
        self.pass_time(Span::seconds(31)).await;
        self.deliver().await
    }

    /// Passes, each a longest backoff after the other, until nothing is left to tell.
    pub async fn deliver_all(&self) {
        for _ in 0..10 {
            self.pass_time(Span::minutes(16)).await;
            self.deliver().await;
            if self.backlog().await.pending == 0 {
                return;
            }
        }
        panic!("still to be told: {:?}", self.engine.store().outbox(50).await.unwrap());
    }

    pub async fn backlog(&self) -> Backlog {
        commands::notice_backlog(&self.engine).await.unwrap()
    }

    pub fn subjects(&self) -> Vec<String> {
        self.mailbox.mails().iter().map(Mail::subject).collect()
    }
}

async fn start(path: &std::path::Path, clock: &Arc<Ahead>) -> Engine {
    let loaded = rekeyd::config::load(Some(path)).unwrap();
    rekeyd::app::engine_with(&loaded.settings, Actor::cli("test"), clock.clone()).await.unwrap()
}

fn private(folder: &tempfile::TempDir, name: &str, content: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}
