//! Keys: numbers, roles, tests, tombstones.

use rekeyd::domain::rotation::facts::{KeyFacts, TestResult};
use rekeyd::domain::time::{Span, Stamp, Timestamp};
use rekeyd::domain::verdict::{Health, Judgement, Observation, Verdict};
use rekeyd::store::{Change, KeyRow, NewKey, NewProvider, Origin, Role};
use serde_json::json;

use super::shelf::{ACCOUNT, ROTATION, Shelf, adopt, entry, generation, manual, new_key, provider, sealed};
use crate::support::{Db, on_both_databases};

async fn add(shelf: &Shelf, id: &str) -> KeyRow {
    shelf.store.add_key(&provider(), &manual(id), &entry("key.added")).await.unwrap()
}

async fn remove(shelf: &Shelf, id: &str) {
    assert!(shelf.store.remove_key(id, &entry("key.removed")).await.unwrap());
}

fn promote(number: i64) -> Change {
    Change::Promote { rotation: ROTATION.to_owned(), id: format!("g{number}") }
}

fn bury(number: i64) -> Change {
    Change::Bury { id: format!("g{number}") }
}

/// Number and role of each generation, newest first.
async fn roles(shelf: &Shelf) -> Vec<(i64, Option<i64>, Role)> {
    let rows = shelf.store.generations(ROTATION).await.unwrap();
    rows.into_iter().map(|row| (row.generation.unwrap(), row.number, row.role)).collect()
}

on_both_databases! {
    async fn a_key_comes_back_as_it_was_stored(db: Db) {
        let shelf = Shelf::new(db).await;
        let key = NewKey {
            api_secret: Some(sealed("too")),
            settings: json!({ "endpoint": "https://x.example", "nested": { "ü": [1, null, true] } }),
            is_active: false,
            priority: -3,
            ..generation(7, Role::Candidate)
        };
        shelf.commit(&[new_key(&key)]).await.unwrap();
        let row = shelf.key("g7").await;
        assert_eq!((row.id.clone(), row.provider, row.name), (key.id, key.provider, key.name));
        assert_eq!((row.priority, row.is_active, row.settings), (-3, false, key.settings));
        assert_eq!((row.secret, row.api_secret), (key.secret.map(|it| it.token), key.api_secret.map(|it| it.token)));
        assert_eq!((row.fingerprint, row.mask), (key.fingerprint, key.mask));
        assert_eq!((row.hash, row.account, row.rotation), (key.hash, key.account, key.rotation));
        assert_eq!((row.generation, row.role, row.origin), (Some(7), Role::Candidate, Origin::Created));
        assert_eq!((row.issued_name, row.number), (key.issued_name, None));
        assert_eq!((row.verdict.as_str(), row.detail, row.latency_ms), ("untested", None, None));
        assert_eq!(row.facts, KeyFacts::default());
        assert_eq!(row.created_at, row.updated_at);
    }
}

on_both_databases! {
    async fn a_number_is_the_highest_ever_plus_one_and_never_reused(db: Db) {
        let shelf = Shelf::new(db).await;
        for number in 1..=3 {
            assert_eq!(add(&shelf, &format!("k{number}")).await.number, Some(number));
        }
        remove(&shelf, "k3").await;
        remove(&shelf, "k1").await;
        assert_eq!(add(&shelf, "k4").await.number, Some(4));
        remove(&shelf, "k2").await;
        remove(&shelf, "k4").await;
        assert_eq!(add(&shelf, "k5").await.number, Some(5));
        // Each provider counts for itself.
        let other = NewProvider { name: "openai".to_owned(), ..provider() };
        let key = NewKey { provider: "openai".to_owned(), ..manual("o1") };
        assert_eq!(shelf.store.add_key(&other, &key, &entry("key.added")).await.unwrap().number, Some(1));
    }
}

on_both_databases! {
    async fn a_refused_key_takes_no_number(db: Db) {
        let shelf = Shelf::new(db).await;
        add(&shelf, "k1").await;
        shelf.store.add_key(&provider(), &manual("k1"), &entry("key.added")).await.unwrap_err();
        assert_eq!(add(&shelf, "k2").await.number, Some(2));
    }
}

on_both_databases! {
    async fn the_number_of_a_rotation_moves_from_generation_to_generation(db: Db) {
        let shelf = Shelf::new(db).await;
        add(&shelf, "k").await;
        for number in 1..=3 {
            shelf.generation(number, Role::Candidate).await;
        }
        shelf.commit(&[promote(1)]).await.unwrap();
        assert_eq!(shelf.store.rotation(ROTATION).await.unwrap().unwrap().key_number, Some(2));
        shelf.commit(&[promote(2)]).await.unwrap();
        let expected =
            [(3, None, Role::Candidate), (2, Some(2), Role::Current), (1, None, Role::Retiring)];
        assert_eq!(roles(&shelf).await, expected);
        assert_eq!(shelf.store.key_numbered("openrouter", 2).await.unwrap().unwrap().id, "g2");
        // A rollback takes the number back; the next key of nobody's gets the next one.
        shelf.commit(&[promote(1)]).await.unwrap();
        let expected =
            [(3, None, Role::Candidate), (2, None, Role::Retiring), (1, Some(2), Role::Current)];
        assert_eq!(roles(&shelf).await, expected);
        assert_eq!(add(&shelf, "k2").await.number, Some(3));
    }
}

on_both_databases! {
    async fn a_promotion_of_the_current_key_changes_nothing(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.generation(1, Role::Candidate).await;
        shelf.commit(&[promote(1)]).await.unwrap();
        shelf.commit(&[promote(1)]).await.unwrap();
        assert_eq!(roles(&shelf).await, [(1, Some(1), Role::Current)]);
    }
}

on_both_databases! {
    async fn the_number_survives_the_death_of_the_current_key(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.generation(1, Role::Candidate).await;
        shelf.commit(&[promote(1), bury(1)]).await.unwrap();
        add(&shelf, "k").await;
        shelf.generation(2, Role::Candidate).await;
        shelf.commit(&[promote(2)]).await.unwrap();
        assert_eq!(roles(&shelf).await, [(2, Some(1), Role::Current), (1, None, Role::Dead)]);
        assert_eq!(shelf.key("k").await.number, Some(2));
    }
}

on_both_databases! {
    async fn an_adopted_key_keeps_its_number_and_gives_it_to_the_rotation(db: Db) {
        let shelf = Shelf::new(db).await;
        add(&shelf, "k1").await;
        add(&shelf, "k2").await;
        let adopt = adopt("k2", ROTATION, 1, "hash of k2");
        let promoted = Change::Promote { rotation: ROTATION.to_owned(), id: "k2".to_owned() };
        shelf.commit(&[adopt, promoted]).await.unwrap();
        let row = shelf.key("k2").await;
        assert_eq!((row.role, row.origin, row.number), (Role::Current, Origin::Adopted, Some(2)));
        assert_eq!((row.generation, row.hash.as_deref()), (Some(1), Some("hash of k2")));
        assert_eq!(row.secret.as_deref(), Some("first|k2 adopted"));
        assert!(!shelf.store.remove_key("k2", &entry("key.removed")).await.unwrap(), "R15");
        shelf.generation(2, Role::Candidate).await;
        shelf.commit(&[promote(2)]).await.unwrap();
        assert_eq!(shelf.key("g2").await.number, Some(2));
    }
}

on_both_databases! {
    async fn a_buried_key_leaves_a_tombstone_without_secrets(db: Db) {
        let shelf = Shelf::new(db).await;
        let key = NewKey { api_secret: Some(sealed("too")), ..generation(1, Role::Retiring) };
        shelf.commit(&[new_key(&key)]).await.unwrap();
        shelf.commit(&[bury(1)]).await.unwrap();
        let row = shelf.key("g1").await;
        assert_eq!((row.role, row.secret, row.api_secret), (Role::Dead, None, None));
        assert_eq!((row.number, row.is_active), (None, false));
        assert_eq!((row.hash.as_deref(), row.generation), (Some("hash 1"), Some(1)));
        assert_eq!(row.issued_name.as_deref(), Some("rekeyd/i/production/1-nonce"));
    }
}

on_both_databases! {
    async fn a_test_is_kept_for_decisions_and_for_people(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.generation(1, Role::Current).await;
        let stamp = |ours| Stamp { ours: Timestamp(ours), theirs: None };
        let unlike = TestResult::Unlike { reason: "limit 5 instead of 10".to_owned() };
        let inconclusive = TestResult::Inconclusive { reason: "502".to_owned() };
        for (result, refused_since) in
            [(TestResult::Valid, None), (TestResult::Unauthorized, Some(5)), (unlike, None), (inconclusive, Some(6))]
        {
            let facts =
                KeyFacts { tested: Some((result, stamp(9))), refused_since: refused_since.map(stamp) };
            let mut seen = Observation::new(Judgement::VALID, "why");
            seen.latency_ms = 120;
            let health = Health { verdict: Verdict::Restricted, looked_at: Some(Timestamp(9)), ..Health::default() };
            let tested = Change::Tested {
                id: "g1".to_owned(),
                facts: facts.clone(),
                health: Box::new(health.clone()),
                seen: Box::new(seen),
                next_look_at: Timestamp(99),
            };
            shelf.commit(&[tested]).await.unwrap();
            let row = shelf.key("g1").await;
            assert_eq!((&row.facts, &row.health), (&facts, &health));
            assert_eq!((row.verdict.as_str(), row.detail.as_deref()), ("restricted", Some("why")));
            assert_eq!(row.latency_ms, Some(120));
        }
    }
}

on_both_databases! {
    async fn keys_are_listed_by_provider_and_number_tombstones_last(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.generation(1, Role::Dead).await;
        for id in ["k1", "k2"] {
            add(&shelf, id).await;
        }
        let other = NewProvider { name: "openai".to_owned(), endpoint: Some(("https://x".to_owned(), sealed("address"))), ..provider() };
        let key = NewKey { provider: "openai".to_owned(), ..manual("o1") };
        shelf.store.add_key(&other, &key, &entry("key.added")).await.unwrap();
        let ids: Vec<String> = shelf.store.keys().await.unwrap().into_iter().map(|key| key.id).collect();
        assert_eq!(ids, ["o1", "k1", "k2", "g1"]);
        let providers = shelf.store.providers().await.unwrap();
        let names: Vec<_> = providers.iter().map(|row| (row.name.as_str(), row.base_url.as_deref())).collect();
        assert_eq!(names, [("openai", Some("https://x")), ("openrouter", None)]);
    }
}

on_both_databases! {
    async fn an_unreadable_row_is_an_error_and_not_a_guess(db: Db) {
        let shelf = Shelf::new(db).await;
        add(&shelf, "k").await;
        shelf.execute("UPDATE keys SET settings = 'no JSON'").await.unwrap();
        let read = shelf.store.key("k").await;
        assert!(matches!(read, Err(rekeyd::store::StoreError::Corrupt("keys.settings"))), "{read:?}");
    }
}

on_both_databases! {
    async fn what_was_found_gone_keeps_its_secrets_for_a_while(db: Db) {
        let shelf = Shelf::new(db).await;
        for (number, role) in [(1, Role::Retiring), (2, Role::Current), (3, Role::Retiring)] {
            shelf.generation(number, role).await;
        }
        let gone = |id: &str, keep| Change::FoundGone { id: id.to_owned(), keep };
        let again = |id: &str| Change::SeenAgain { id: id.to_owned() };
        let state = async |id: &str| {
            let key = shelf.store.key(id).await.unwrap().unwrap();
            (key.role, key.secret.is_some())
        };
        let hour = Span::hours(1);
        shelf.commit(&[gone("g1", hour), gone("g2", hour), gone("g3", Span::ZERO)]).await.unwrap();
        assert_eq!((state("g1").await, state("g3").await), ((Role::Dead, true), (Role::Dead, false)));
        assert_eq!(shelf.store.gone(ACCOUNT).await.unwrap().len(), 2);
        assert_eq!(shelf.store.wipe_gone().await.unwrap(), 0, "not yet");
        // The rotation has no other: it is the one to use again.
        shelf.commit(&[again("g2")]).await.unwrap();
        assert_eq!(state("g2").await, (Role::Current, true));
        // Long enough; and by a clock that was a year ahead.
        for wrong in ["wipe_at = 1", "gone_at = 99999999999999, wipe_at = 99999999999999"] {
            shelf.commit(&[gone("g1", hour)]).await.unwrap();
            shelf.execute(&format!("UPDATE keys SET secret = 'x', {wrong} WHERE id = 'g1'")).await.unwrap();
            assert_eq!(shelf.store.wipe_gone().await.unwrap(), 1, "{wrong}");
        }
        shelf.commit(&[again("g1"), again("g3")]).await.unwrap();
        assert_eq!((state("g1").await, state("g3").await), ((Role::Dead, false), (Role::Dead, false)));
    }
}
