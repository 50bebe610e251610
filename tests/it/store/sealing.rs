//! Changing the encryption key: every token, or none.

use rekeyd::store::{Change, NewKey, Role, StoreError};

use super::shelf::{Shelf, entry, generation, manual, new_key, provider};
use crate::support::{Db, on_both_databases};

/// What cannot be opened.
const WRONG: StoreError = StoreError::Corrupt("a token");

/// Two keys with three tokens, two sealed facts, and one that is not sealed.
async fn furnished(db: Db) -> Shelf {
    let shelf = Shelf::new(db).await;
    let key = NewKey { api_secret: Some("sealed too".to_owned()), ..manual("k") };
    shelf.store.add_key(&provider(), &key, &entry("key.added")).await.unwrap();
    shelf.generation(1, Role::Current).await;
    shelf.commit(&[new_key(&NewKey { secret: None, ..generation(2, Role::Dead) })]).await.unwrap();
    shelf.store.fact_once("sealed:fingerprint", "sealed fact").await.unwrap();
    shelf.store.canary("sealed canary").await.unwrap();
    shelf.store.fact_once("instance", "plain").await.unwrap();
    shelf
}

/// Everything that may be a token.
async fn tokens(shelf: &Shelf) -> Vec<String> {
    let keys = shelf.store.keys().await.unwrap();
    let mut tokens: Vec<String> =
        keys.into_iter().flat_map(|key| [key.secret, key.api_secret]).flatten().collect();
    for name in ["sealed:fingerprint", "sealed:preflight", "instance"] {
        tokens.extend(shelf.store.fact(name).await.unwrap());
    }
    tokens.sort();
    tokens
}

on_both_databases! {
    async fn every_token_is_sealed_anew(db: Db) {
        let shelf = furnished(db).await;
        let anew = |token: &str| Ok::<_, StoreError>(Some(token.replace("sealed", "anew")));
        assert_eq!(shelf.store.reseal(&entry("encryption.changed"), anew).await.unwrap(), 5);
        let expected = ["anew canary", "anew fact", "anew g1", "anew k", "anew too", "plain"];
        assert_eq!(tokens(&shelf).await, expected);
        assert_eq!(shelf.store.audit(1).await.unwrap()[0].action, "encryption.changed");
    }
}

on_both_databases! {
    async fn tokens_that_are_new_enough_stay(db: Db) {
        let shelf = furnished(db).await;
        let some = |token: &str| Ok::<_, StoreError>((token == "sealed too").then(|| "anew too".to_owned()));
        assert_eq!(shelf.store.reseal(&entry("encryption.changed"), some).await.unwrap(), 1);
        let expected = ["anew too", "plain", "sealed canary", "sealed fact", "sealed g1", "sealed k"];
        assert_eq!(tokens(&shelf).await, expected);
    }
}

on_both_databases! {
    async fn one_token_that_cannot_be_opened_leaves_all_as_they_were(db: Db) {
        let shelf = furnished(db).await;
        let (before, rows) = (tokens(&shelf).await, shelf.count("audit").await);
        for wrong in ["sealed too", "sealed g1", "sealed canary", "sealed fact"] {
            let seal = |token: &str| if token == wrong { Err(WRONG) } else { Ok(Some("anew".to_owned())) };
            let done = shelf.store.reseal(&entry("encryption.changed"), seal).await;
            assert!(matches!(done, Err(StoreError::Corrupt("a token"))), "{done:?}");
            assert_eq!(tokens(&shelf).await, before);
        }
        assert_eq!(shelf.count("audit").await, rows);
    }
}

/// On PostgreSQL other processes go on meanwhile; on SQLite they wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_buried_meanwhile_does_not_get_its_secret_back() {
    let shelf = furnished(Db::Postgres).await;
    let lease = shelf.lease().await;
    let buried = std::sync::atomic::AtomicBool::new(false);
    let other = shelf.another().await;
    let bury_first = |token: &str| {
        if !buried.swap(true, std::sync::atomic::Ordering::Relaxed) {
            let bury = [Change::Bury { id: "g1".to_owned() }];
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(other.commit(&lease, &bury)).unwrap();
            });
        }
        Ok::<_, StoreError>(Some(token.replace("sealed", "anew")))
    };
    shelf.store.reseal(&entry("encryption.changed"), bury_first).await.unwrap();
    assert_eq!(shelf.key("g1").await.secret, None);
    assert_eq!(shelf.key("k").await.secret.as_deref(), Some("anew k"));
}
