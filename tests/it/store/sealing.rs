//! Changing the encryption key while others go on, and taking over what was sealed before texts were bound (R24).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use rekeyd::crypto::{CryptoError, EncryptionKeyId, Purpose, Sealed};
use rekeyd::domain::time::Span;
use rekeyd::store::{
    Begun, Change, EffectKind, EffectStatus, NewKey, Retired, Role, SealedText, Sealer, StoreError,
};

use super::shelf::{
    Shelf, entry, generation, intend, manual, new_key, provider, sealed, sealed_by, sealing, settle,
};
use crate::support::{Db, on_both_databases};

/// Seals in the open: `KEY|TEXT`. What no key opens says `broken`.
struct Glass(EncryptionKeyId);

impl Sealer for Glass {
    fn sealing(&self) -> &EncryptionKeyId {
        &self.0
    }

    fn seal(&self, _: &Purpose, text: &str) -> Sealed {
        sealed_by(&self.0, text)
    }

    fn take_over(&self, text: &SealedText) -> Option<Sealed> {
        (!text.token.contains("broken")).then(|| sealed_by(&self.0, &text.token))
    }

    fn reseal(&self, text: &SealedText) -> Result<Option<Sealed>, CryptoError> {
        let (by, secret) = text.token.split_once('|').ok_or(CryptoError::CannotOpen)?;
        if secret.contains("broken") {
            return Err(CryptoError::CannotOpen);
        }
        Ok((by != self.0.as_str()).then(|| sealed_by(&self.0, secret)))
    }
}

/// The same, after the key of what was broken was given back.
struct Given(Glass);
impl Sealer for Given {
    fn sealing(&self) -> &EncryptionKeyId {
        self.0.sealing()
    }
    fn seal(&self, purpose: &Purpose, text: &str) -> Sealed {
        self.0.seal(purpose, text)
    }
    fn take_over(&self, text: &SealedText) -> Option<Sealed> {
        Some(sealed_by(&self.0.0, &text.token))
    }
    fn reseal(&self, text: &SealedText) -> Result<Option<Sealed>, CryptoError> {
        self.0.reseal(text)
    }
}

fn second() -> EncryptionKeyId {
    EncryptionKeyId::from_stored("second")
}

/// Two keys with three tokens, two sealed facts, and one that is not sealed.
async fn furnished(db: Db) -> Shelf {
    let shelf = Shelf::new(db).await;
    let key = NewKey { api_secret: Some(sealed("too")), ..manual("k") };
    shelf.store.add_key(&provider(), &key, &entry("key.added")).await.unwrap();
    shelf.generation(1, Role::Current).await;
    shelf.commit(&[new_key(&NewKey { secret: None, ..generation(2, Role::Dead) })]).await.unwrap();
    shelf.store.fact_once("sealed:fingerprints", &sealed("fact").token).await.unwrap();
    shelf.store.canary("sealed:preflight", &sealed("canary")).await.unwrap();
    shelf.store.fact_once("instance", "plain").await.unwrap();
    shelf
}

/// Everything that may be a token.
async fn tokens(shelf: &Shelf) -> Vec<String> {
    let keys = shelf.store.keys().await.unwrap();
    let mut tokens: Vec<String> =
        keys.into_iter().flat_map(|key| [key.secret, key.api_secret]).flatten().collect();
    for name in ["sealed:fingerprints", "sealed:preflight", "instance"] {
        tokens.extend(shelf.store.fact(name).await.unwrap());
    }
    tokens.sort();
    tokens
}

/// The second key seals from now on.
async fn begun(shelf: &Shelf) -> Glass {
    let done = shelf.store.begin_epoch(&second(), &entry("encryption.epoch")).await.unwrap();
    assert!(matches!(done, Begun::Sealing), "{done:?}");
    Glass(second())
}

async fn retire(shelf: &Shelf, glass: &Glass) -> Retired {
    shelf.store.retire_epochs(glass, Span::seconds(40), &entry("encryption.resealed")).await.unwrap()
}

const ANEW: [&str; 6] = ["plain", "second|canary", "second|fact", "second|g1", "second|k", "second|too"];

on_both_databases! {
    async fn every_text_is_sealed_anew_and_the_old_key_is_retired(db: Db) {
        let shelf = furnished(db).await;
        let glass = begun(&shelf).await;
        assert_eq!(shelf.store.sealing_key().await.unwrap(), Some(second()));
        assert!(matches!(retire(&shelf, &glass).await, Retired::Left(left) if left.len() == 5));
        let done = shelf.store.reseal(&glass).await.unwrap();
        assert_eq!((done.changed, done.unreadable.len()), (5, 0));
        assert_eq!(tokens(&shelf).await, ANEW);
        assert_eq!(shelf.store.reseal(&glass).await.unwrap().changed, 0, "again");
        assert!(matches!(retire(&shelf, &glass).await, Retired::Keys(1)));
        assert_eq!(shelf.store.audit(1).await.unwrap()[0].action, "encryption.resealed");
        assert!(matches!(retire(&shelf, &glass).await, Retired::Keys(0)));
    }
}

on_both_databases! {
    async fn what_a_retired_key_sealed_is_not_stored(db: Db) {
        let shelf = furnished(db).await;
        let glass = begun(&shelf).await;
        // The old one opens: a key that was asked for before may still be stored with it, but none is asked for.
        shelf.commit(&[new_key(&generation(3, Role::Candidate))]).await.unwrap();
        let ask = shelf.commit(&[Change::MaySeal { by: sealing() }, intend("e", EffectKind::Create, "n")]).await;
        assert!(matches!(ask, Err(StoreError::EpochOver)), "{ask:?}");
        shelf.commit(&[Change::MaySeal { by: second() }]).await.unwrap();
        assert!(matches!(retire(&shelf, &glass).await, Retired::Left(_)), "and then it is not retired");
        shelf.store.reseal(&glass).await.unwrap();
        assert!(matches!(retire(&shelf, &glass).await, Retired::Keys(1)));
        let late = shelf.commit(&[new_key(&generation(4, Role::Candidate))]).await;
        assert!(matches!(late, Err(StoreError::EpochOver)), "{late:?}");
        let by_hand = shelf.store.add_key(&provider(), &manual("late"), &entry("key.added")).await;
        assert!(matches!(by_hand, Err(StoreError::EpochOver)), "{by_hand:?}");
        let canary = shelf.store.canary("sealed:preflight", &sealed("late")).await;
        assert!(matches!(canary, Err(StoreError::EpochOver)), "{canary:?}");
    }
}

on_both_databases! {
    async fn no_key_is_retired_while_a_key_is_being_made(db: Db) {
        let shelf = furnished(db).await;
        shelf.commit(&[intend("e", EffectKind::Create, "rekeyd/i/production/9-nonce")]).await.unwrap();
        let glass = begun(&shelf).await;
        shelf.store.reseal(&glass).await.unwrap();
        assert!(matches!(retire(&shelf, &glass).await, Retired::CreateUnderWay));
        shelf.commit(&[settle("e", EffectStatus::Done)]).await.unwrap();
        assert!(matches!(retire(&shelf, &glass).await, Retired::Keys(1)));
    }
}

on_both_databases! {
    async fn a_process_that_lacks_the_key_holds_it_back(db: Db) {
        let shelf = furnished(db).await;
        let (old, both) = ([sealing()], [second(), sealing()]);
        let policies = BTreeMap::new();
        shelf.store.announce("a", &policies, &old).await.unwrap();
        shelf.store.announce("b", &policies, &both).await.unwrap();
        let done = shelf.store.begin_epoch(&second(), &entry("encryption.epoch")).await.unwrap();
        assert!(matches!(&done, Begun::Lacking(lacking) if lacking.len() == 1 && lacking[0].owner == "a"), "{done:?}");
        assert_eq!(shelf.store.sealing_key().await.unwrap(), Some(sealing()), "nothing was changed");
        shelf.execute("UPDATE daemons SET seen_at = seen_at - 61000 WHERE owner = 'a'").await.unwrap();
        assert_eq!(shelf.store.daemons(Span::minutes(1)).await.unwrap().len(), 1, "one that is not heard of is dead");
        begun(&shelf).await;
        shelf.store.take_leave("b").await.unwrap();
        assert!(shelf.store.daemons(Span::minutes(1)).await.unwrap().is_empty());
    }
}

on_both_databases! {
    async fn a_key_before_seals_again_when_somebody_turns_back(db: Db) {
        let shelf = furnished(db).await;
        begun(&shelf).await;
        shelf.store.begin_epoch(&sealing(), &entry("encryption.epoch")).await.unwrap();
        assert_eq!(shelf.store.sealing_key().await.unwrap(), Some(sealing()));
        assert_eq!(shelf.count("encryption_epochs").await, 2);
        let glass = Glass(sealing());
        assert!(matches!(retire(&shelf, &glass).await, Retired::Keys(1)), "nothing is left of the second");
        begun(&shelf).await;
        assert_eq!(shelf.count("encryption_epochs").await, 3, "a retired one begins a new epoch");
    }
}

on_both_databases! {
    async fn what_does_not_open_is_named_and_no_key_is_retired(db: Db) {
        let shelf = furnished(db).await;
        shelf.execute("UPDATE keys SET secret = 'broken' WHERE id = 'g1'").await.unwrap();
        let glass = begun(&shelf).await;
        let done = shelf.store.reseal(&glass).await.unwrap();
        assert_eq!(done.changed, 4, "everything else is sealed anew");
        let named: Vec<String> = done.unreadable.iter().map(|(text, _)| text.describe()).collect();
        assert_eq!(named, ["key g1 of provider openrouter"]);
        assert!(matches!(retire(&shelf, &glass).await, Retired::Left(left) if left.len() == 1));
    }
}

on_both_databases! {
    async fn a_database_from_before_is_taken_over_once(db: Db) {
        let shelf = furnished(db).await;
        shelf.execute("DELETE FROM encryption_epochs").await.unwrap();
        shelf.execute("UPDATE keys SET secret = 'broken' WHERE id = 'g1'").await.unwrap();
        shelf.execute("UPDATE providers SET base_url = 'https://x.example'").await.unwrap();
        let glass = Glass(second());
        let fact = ("sealed:fingerprints", &sealed_by(&second(), "another"));
        assert!(shelf.store.take_over(&glass, fact).await.unwrap());
        assert!(!shelf.store.take_over(&Glass(sealing()), fact).await.unwrap(), "once");
        let bound = ["broken", "plain", "second|first|canary", "second|first|fact", "second|first|k", "second|first|too"];
        assert_eq!(tokens(&shelf).await, bound, "what no key opens stays, and a fact that is there stays");
        let row = shelf.store.providers().await.unwrap().remove(0);
        assert_eq!(row.base_url_seal.as_deref(), Some("second|https://x.example"));
        // Its key is given back: it is bound, and nothing else that is not.
        let list = |text: &SealedText| text.token.strip_prefix("second|").map(str::to_owned);
        shelf.execute("UPDATE keys SET secret = 'from elsewhere' WHERE id = 'k'").await.unwrap();
        shelf.store.take_over_late(&Given(glass), list).await.unwrap();
        assert_eq!(shelf.key("g1").await.secret.as_deref(), Some("second|broken"));
        assert_eq!(shelf.key("k").await.secret.as_deref(), Some("from elsewhere"), "it is not in the list");
        assert_eq!(shelf.store.fact("sealed:unbound").await.unwrap(), None);
    }
}

/// On PostgreSQL other processes go on meanwhile; on SQLite they wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_buried_meanwhile_does_not_get_its_secret_back() {
    struct BuryFirst<'a> {
        glass: Glass,
        bury: &'a (dyn Fn() + Sync),
        done: AtomicBool,
    }
    impl Sealer for BuryFirst<'_> {
        fn sealing(&self) -> &EncryptionKeyId {
            self.glass.sealing()
        }
        fn seal(&self, purpose: &Purpose, text: &str) -> Sealed {
            self.glass.seal(purpose, text)
        }
        fn take_over(&self, text: &SealedText) -> Option<Sealed> {
            self.glass.take_over(text)
        }
        fn reseal(&self, text: &SealedText) -> Result<Option<Sealed>, CryptoError> {
            if !self.done.swap(true, Ordering::Relaxed) {
                (self.bury)();
            }
            self.glass.reseal(text)
        }
    }
    let shelf = furnished(Db::Postgres).await;
    let lease = shelf.lease().await;
    let other = shelf.another().await;
    let glass = begun(&shelf).await;
    let bury = || {
        let changes = [Change::Bury { id: "g1".to_owned() }];
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(other.commit(&lease, &changes)).unwrap();
        });
    };
    let sealer = BuryFirst { glass, bury: &bury, done: AtomicBool::new(false) };
    shelf.store.reseal(&sealer).await.unwrap();
    assert_eq!(shelf.key("g1").await.secret, None);
    assert_eq!(shelf.key("k").await.secret.as_deref(), Some("second|k"));
}
