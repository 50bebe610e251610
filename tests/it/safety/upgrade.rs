//! A database from before secrets were bound to their rows: it is taken over at the first start, once (R24).

use fernet::Fernet;
use rekeyd::crypto::Fingerprinter;
use rekeyd::crypto::fernet::generate_key;
use rekeyd::domain::secret::Secret;
use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, Connection};

use super::*;
use crate::support::ledger;

/// The last migration of the time before.
const BEFORE: &str = "0006";

/// A database as the program of that time left it.
async fn schema_of_then(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/store")).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_string_lossy().get(..4).is_some_and(|number| number <= BEFORE) {
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
    }
    // Makes the file of a SQLite database, and no schema.
    rekeyd::store::Store::open(&world.database.url, 2).await.unwrap().close().await;
    let mut connection = AnyConnection::connect(&world.database.url).await.unwrap();
    Migrator::new(folder.path()).await.unwrap().run(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// A key of then: its token says nothing of whose it is.
async fn key_of_then(
    world: &World,
    (id, provider, number): (&str, &str, i64),
    by: &str,
    secret: &str,
    root: &Secret,
) {
    let token = Fernet::new(by).unwrap().encrypt(secret.as_bytes());
    let print = Fingerprinter::new(root).of(&Secret::new(secret));
    let sql = format!(
        "INSERT INTO keys (id, provider, number, name, priority, is_active, settings, secret, api_secret, fingerprint, mask,
           role, origin, verdict, created_at, updated_at)
         VALUES ('{id}', '{provider}', {number}, '{id}', 50, 1, '{{}}', '{token}', '{token}', '{print}', '...', 'manual',
           'given', 'untested', 0, 0)"
    );
    ledger::rows(world, &sql).await;
}

async fn unreadable(world: &World) -> Vec<String> {
    use sqlx::Row;
    let sql =
        "SELECT subject FROM alerts WHERE kind = 'key_unreadable' AND resolved_at IS NULL ORDER BY subject";
    ledger::rows(world, sql).await.iter().map(|row| row.get(0)).collect()
}

on_both_databases! {
    async fn secrets_of_before_are_bound_once(db: Db) {
        let world = World::new(db).await;
        world.keep_encryption_keys_in_a_file();
        let (mine, lost) = (world.encryption_key.clone(), generate_key().expose().to_owned());
        schema_of_then(&world).await;
        let root = generate_key();
        let sealed = Fernet::new(&mine).unwrap().encrypt(root.expose().as_bytes());
        let other = world.openrouter.new_regular_key("other");
        let base = world.openrouter.base_url();
        for sql in [
            "INSERT INTO meta VALUES ('instance', 'abcdefabcdef')".to_owned(),
            format!("INSERT INTO meta VALUES ('sealed:fingerprints', '{sealed}')"),
            format!("INSERT INTO providers VALUES ('openrouter', 'openrouter', '{base}', 9, 0)"),
            "INSERT INTO accounts (identity, created_at) VALUES ('org:left', 0)".to_owned(),
            format!("INSERT INTO provider_health VALUES ('place:org:left', '\"{base}\"', 0)"),
        ] {
            ledger::rows(&world, &sql).await;
        }
        key_of_then(&world, ("first", "openrouter", 1), &mine, &world.first, &root).await;
        key_of_then(&world, ("second", "openrouter", 2), &mine, &other, &root).await;
        key_of_then(&world, ("lost", "openrouter", 3), &lost, &world.openrouter.new_regular_key("lost"), &root).await;
        // A list that opens nothing changes nothing.
        world.encryption_keys(&[&lost]);
        assert_eq!(world.rekeyd(&["keys", "list"]).await.status, 2);
        assert!(ledger::rows(&world, "SELECT epoch FROM encryption_epochs").await.is_empty());
        world.encryption_keys(&[&mine]);
        world.rekeyd(&["keys", "test"]).await;
        let valid = ledger::rows(&world, "SELECT id FROM keys WHERE verdict = 'valid' ORDER BY id").await.len();
        assert_eq!((valid, unreadable(&world).await), (2, vec!["key openrouter number 3".to_owned()]));
        let place = ledger::rows(&world, "SELECT place FROM accounts WHERE identity = 'org:left' AND place IS NOT NULL");
        assert_eq!(place.await.len(), 1);
        // What was left is bound when its key comes back; what somebody puts there is not.
        let old = Fernet::new(&mine).unwrap().encrypt(other.as_bytes());
        let put = format!("UPDATE keys SET secret = '{old}' WHERE id = 'second'");
        ledger::rows(&world, &put).await;
        world.encryption_keys(&[&mine, &lost]);
        world.rekeyd(&["keys", "test"]).await;
        assert_eq!(unreadable(&world).await, ["key openrouter number 2"]);
        let valid = ledger::rows(&world, "SELECT id FROM keys WHERE id = 'lost' AND verdict = 'valid'").await.len();
        assert_eq!(valid, 1);
    }
}
