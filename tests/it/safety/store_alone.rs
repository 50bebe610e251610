//! Who can write the database, and has no encryption key, gets no secret: what is sealed opens only in its own row, and
//! secrets go only to addresses that rekeyd wrote (R24).

use std::sync::{Arc, Mutex};

use rekeyd::crypto::{Purpose, Use};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::support::ledger;
use crate::support::wait::reconfigure;

const VICTIM: &str = "sk-proj-0123456789abcdefNOTAKEY";

/// A host that writes down all that is sent to it, and says that every key is good.
async fn thief() -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(String::new()));
    let all = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 8192];
            let read = stream.read(&mut bytes).await.unwrap_or(0);
            all.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..read]));
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"data\":[]}";
            stream.write_all(answer.as_bytes()).await.ok();
        }
    });
    (url, heard)
}

/// A world with a key of another provider.
async fn world_with_victim(db: Db) -> World {
    let world = World::new(db).await;
    // The thief's host is on this machine.
    reconfigure(&world, "[tests]", "[tests]\nallow_private_endpoints = true");
    world.adopt().await;
    world.rekeyd_with(&["keys", "add", "openai", "--secret-stdin", "--no-test"], VICTIM).await.ok();
    world
}

async fn unreadable(world: &World) -> Vec<String> {
    use sqlx::Row;
    let sql =
        "SELECT subject FROM alerts WHERE kind = 'key_unreadable' AND resolved_at IS NULL ORDER BY subject";
    ledger::rows(world, sql).await.iter().map(|row| row.get(0)).collect()
}

const COPIED: &str =
    "priority, is_active, settings, secret, fingerprint, mask, origin, verdict, created_at, updated_at";

on_both_databases! {
    async fn a_token_in_another_row_opens_as_nothing(db: Db) {
        let world = world_with_victim(db).await;
        let (url, heard) = thief().await;
        let address = world.seal(&Purpose::of(Use::Endpoint, "mine"), &url);
        // The attacker may even have an address of his own that rekeyd wrote.
        for (name, seal) in [("mine", format!("'{address}'")), ("his", "NULL".to_owned())] {
            let provider = format!(
                "INSERT INTO providers (name, kind, base_url, base_url_seal, next_number, created_at)
                 VALUES ('{name}', 'custom', '{url}', {seal}, 3, 0)"
            );
            ledger::rows(&world, &provider).await;
            for (number, whose) in [(1, "provider = 'openai'"), (2, "role = 'current'")] {
                let copy = format!(
                    "INSERT INTO keys (id, provider, number, name, role, {COPIED})
                     SELECT '{name}{number}', '{name}', {number}, 'k', 'manual', {COPIED} FROM keys WHERE {whose}"
                );
                ledger::rows(&world, &copy).await;
            }
        }
        // A key of his own, to see that his host is asked at all.
        let own = Purpose { provider: Some("mine"), ..Purpose::of(Use::Key, "own") };
        let token = world.seal(&own, "the-thief-s-own-key-0123456789");
        let own = format!(
            "INSERT INTO keys (id, provider, number, name, priority, is_active, settings, secret, mask, role, origin,
               verdict, created_at, updated_at)
             VALUES ('own', 'mine', 9, 'k', 50, 1, '{{}}', '{token}', '...', 'manual', 'given', 'untested', 0, 0)"
        );
        ledger::rows(&world, &own).await;
        world.rekeyd(&["keys", "test"]).await;
        let heard = heard.lock().unwrap().clone();
        assert!(heard.contains("the-thief-s-own-key"), "his host is asked: {heard}");
        for secret in [VICTIM, &world.first] {
            assert!(!heard.contains(secret), "and hears nothing else");
        }
        let told = unreadable(&world).await;
        for subject in ["key his number 1", "key his number 2", "key mine number 1", "key mine number 2", "provider his"] {
            assert!(told.contains(&subject.to_owned()), "{subject}: {told:?}");
        }
    }
}

on_both_databases! {
    async fn an_address_that_somebody_else_wrote_gets_no_secret(db: Db) {
        let world = world_with_victim(db).await;
        let (url, heard) = thief().await;
        let sealed = world.seal(&Purpose::of(Use::Endpoint, "openrouter"), &url);
        for seal in ["NULL".to_owned(), "'gAAAAAB'".to_owned(), format!("'{sealed}'")] {
            let change = format!("UPDATE providers SET base_url = '{url}', base_url_seal = {seal} WHERE name = 'openai'");
            ledger::rows(&world, &change).await;
            world.rekeyd(&["keys", "test", "openai"]).await;
            let out = world.rekeyd_with(&["keys", "add", "openai", "--secret-stdin"], "sk-proj-another0123456789").await;
            assert_eq!(out.status, 3, "a new key is not sent there either: {out:?}");
            assert_eq!(*heard.lock().unwrap(), "", "{seal}");
        }
        world.rekeyd(&["keys", "test"]).await;
        assert_eq!(unreadable(&world).await, ["provider openai"]);
        // The account leaves the configuration: where it was is not for somebody else to say.
        let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
        let none = text.replace("name = \"main\"", "name = \"gone\"").replace("account = \"main\"", "account = \"gone\"");
        let away = none.replace(world.openrouter.base_url().as_str(), "http://127.0.0.1:9/api/v1");
        std::fs::write(world.path("rekeyd.toml"), away).unwrap();
        ledger::rows(&world, &format!("UPDATE accounts SET place = '{url}'")).await;
        ledger::rows(&world, "DELETE FROM account_entries").await;
        world.rekeyd(&["keys", "test", "openrouter"]).await;
        assert_eq!(*heard.lock().unwrap(), "");
    }
}

on_both_databases! {
    async fn secrets_of_two_rows_are_not_exchanged(db: Db) {
        let world = world_with_victim(db).await;
        world.rekeyd_with(&["keys", "add", "openai", "--secret-stdin", "--no-test"], "sk-proj-second0123456789").await.ok();
        // Both of one provider, and an old token of the same row put back under a new fingerprint.
        let swap = "UPDATE keys SET secret = (SELECT b.secret FROM keys b WHERE b.provider = 'openai' AND b.number = 2)
             WHERE provider = 'openai' AND number = 1";
        ledger::rows(&world, swap).await;
        let other = "UPDATE keys SET fingerprint = 'ff' WHERE provider = 'openai' AND number = 2";
        ledger::rows(&world, other).await;
        let generation = "UPDATE keys SET generation = 9 WHERE role = 'current'";
        ledger::rows(&world, generation).await;
        world.rekeyd(&["keys", "test"]).await;
        assert_eq!(unreadable(&world).await, ["key openai number 1", "key openai number 2", "rotation production"]);
    }
}
