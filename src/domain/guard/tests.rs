//! Each condition alone refuses; none can be talked out of.

use proptest::prelude::*;

use super::*;
use crate::domain::key::MicroUsd;
use crate::domain::time::Timestamp;

const T0: i64 = 1_800_000_000_000;

fn ago(span: Span) -> Stamp {
    let moment = Timestamp(T0 - span.0);
    Stamp { ours: moment, theirs: Some(moment) }
}

fn remote(hash: &str) -> RemoteKey {
    RemoteKey {
        name: format!("name of {hash}"),
        label: format!("sk-or-v1-{hash}"),
        ..RemoteKey::sample(hash)
    }
}

fn proof() -> Proof {
    Proof { hash: "new".into(), checked: ago(Span::ZERO), valid: Some(ago(Span::ZERO)) }
}

fn holder(now_holds: Option<Proof>) -> Holder {
    Holder { destination: "github".into(), required: true, released: false, landing: Until::OVER, now_holds }
}

/// A case that passes, made wrong in one way by `change`.
struct Setting {
    keys: Vec<RemoteKey>,
    holders: Vec<Holder>,
    open_kills: Vec<String>,
    in_doubt: Vec<String>,
    now: Stamp,
    listed: Stamp,
    kill: Kill,
    target: &'static str,
    flags: (bool, bool, bool),
    leaked: bool,
    recent_kills: u32,
}

fn decide(change: impl FnOnce(&mut Setting)) -> Result<(), Refusal> {
    let mut it = Setting {
        keys: vec![remote("old"), remote("new"), remote("provisioning")],
        holders: vec![holder(Some(proof()))],
        open_kills: Vec::new(),
        in_doubt: Vec::new(),
        now: ago(Span::ZERO),
        listed: ago(Span::ZERO),
        kill: Kill::Disable,
        target: "old",
        flags: (false, true, false),
        leaked: false,
        recent_kills: 0,
    };
    change(&mut it);
    let (urgent, ours, frozen) = it.flags;
    permit(&Case {
        account: "acme",
        target: it.target,
        kill: it.kill,
        urgent,
        leaked: it.leaked,
        now: it.now,
        clock: Timestamp(T0),
        listed: it.listed,
        keys: &it.keys,
        provisioning_hash: "provisioning",
        open_kills: &it.open_kills,
        in_doubt: &it.in_doubt,
        holders: &it.holders,
        ours,
        frozen,
        recent_kills: it.recent_kills,
        max_kills: 10,
    })
}

fn word(decided: Result<(), Refusal>) -> &'static str {
    decided.map_or_else(|refusal| refusal.word(), |()| "permitted")
}

/// The other key, in a shape that does not work: nobody can live on it, holder or not.
fn without_another(change: impl FnOnce(&mut RemoteKey)) -> &'static str {
    word(decide(|it| {
        change(&mut it.keys[1]);
        it.holders.clear();
    }))
}

#[test]
fn a_held_proved_and_tested_successor_lets_the_old_key_go() {
    assert_eq!(decide(|_| {}), Ok(()));
    assert_eq!(decide(|it| it.kill = Kill::Delete), Ok(()));
}

#[test]
fn the_last_regular_key_stays_whatever_else_is_listed() {
    assert_eq!(word(decide(|it| drop(it.keys.remove(1)))), "last_regular_key");
    assert_eq!(without_another(|key| key.disabled = true), "last_regular_key");
    assert_eq!(without_another(|key| key.limit_remaining = Some(MicroUsd(0))), "last_regular_key");
    assert_eq!(without_another(|key| key.expires_at = Some(Timestamp(T0))), "last_regular_key");
    assert_eq!(without_another(|key| key.expires_at = Some(Timestamp(T0 + 1))), "permitted");
    let dying = word(decide(|it| {
        it.open_kills.push("new".into());
        it.holders.clear();
    }));
    assert_eq!(dying, "last_regular_key", "a key with an open intent is not one to live on");
    let doubtful = word(decide(|it| {
        it.in_doubt.push("new".into());
        it.holders.clear();
    }));
    assert_eq!(doubtful, "last_regular_key", "nor one whose disable may have happened");
    assert_eq!(word(decide(|it| it.in_doubt.push("third".into()))), "permitted", "which holds up no other");
}

#[test]
fn no_flag_overrides_the_last_regular_key() {
    let forced = word(decide(|it| {
        it.keys.remove(1);
        it.holders.clear();
        it.flags.0 = true;
    }));
    assert_eq!(forced, "last_regular_key");
}

#[test]
fn every_destination_that_may_hold_the_target_must_prove_another() {
    let with = |now_holds| word(decide(|it| it.holders.push(holder(now_holds))));
    assert_eq!(with(None), "still_held", "drifted, unproved, optional: all the same");
    assert_eq!(with(Some(Proof { hash: "old".into(), ..proof() })), "still_held", "the target itself");
    assert_eq!(with(Some(Proof { hash: "gone".into(), ..proof() })), "still_held");
    assert_eq!(with(Some(Proof { hash: "provisioning".into(), ..proof() })), "still_held");
    assert_eq!(with(Some(Proof { valid: None, ..proof() })), "still_held");
    let optional = || Holder { required: false, ..holder(None) };
    let kept = decide(|it| it.holders.push(optional()));
    assert_eq!(word(kept), "still_held", "required or not");
    let leaked = |holder: Holder| decide(|it| (it.leaked, it.holders) = (true, vec![holder]));
    assert_eq!(word(leaked(optional())), "permitted", "strangers have it");
    assert_eq!(word(leaked(holder(None))), "still_held");
    let released = decide(|it| it.holders.push(Holder { released: true, ..holder(None) }));
    assert_eq!(word(released), "permitted");
}

#[test]
fn proofs_age() {
    let with = |proof| word(decide(|it| it.holders = vec![holder(Some(proof))]));
    let checked = |span| with(Proof { checked: ago(span), ..proof() });
    let valid = |span| with(Proof { valid: Some(ago(span)), ..proof() });
    assert_eq!((checked(Span::minutes(3)), checked(Span(180_001))), ("permitted", "still_held"));
    assert_eq!((valid(Span::minutes(5)), valid(Span(300_001))), ("permitted", "still_held"));
    assert_eq!(checked(Span::seconds(-3)), "still_held", "a look of the future");
    let half = Stamp { theirs: ago(Span::minutes(9)).theirs, ..ago(Span::ZERO) };
    assert_eq!(with(Proof { checked: half, ..proof() }), "still_held", "old on the provider's clock");
}

#[test]
fn a_write_that_may_still_land_holds_the_target_until_a_look_after_its_end() {
    let with = |landing, checked| {
        let proof = Proof { checked: ago(checked), ..proof() };
        word(decide(|it| it.holders = vec![Holder { landing, ..holder(Some(proof)) }]))
    };
    let over = Until::after(Timestamp(T0 - 60_000), Span::seconds(40));
    assert_eq!(with(Until::after(Timestamp(T0 - 30_000), Span::seconds(40)), Span::ZERO), "may_land");
    assert_eq!((with(over, Span::seconds(20)), with(over, Span(20_001))), ("permitted", "still_held"));
    let future = Until::after(Timestamp(T0 + 90_000), Span::seconds(40));
    assert_eq!(with(future, Span::minutes(3)), "permitted", "it was noted before the clock went back (R18)");
    let anywhere = |change: fn(&mut Holder)| {
        let mut holder = Holder { landing: Until { at: Timestamp(T0 + 1), ..over }, ..holder(Some(proof())) };
        change(&mut holder);
        word(decide(|it| (it.leaked, it.holders) = (true, vec![holder])))
    };
    assert_eq!(anywhere(|_| {}), "may_land", "a leaked key as well");
    assert_eq!(anywhere(|holder| holder.released = true), "permitted");
    assert_eq!(anywhere(|holder| holder.required = false), "permitted");
}

#[test]
fn the_listing_ages() {
    assert_eq!(word(decide(|it| it.listed = ago(Span::seconds(30)))), "permitted");
    assert_eq!(word(decide(|it| it.listed = ago(Span(30_001)))), "stale_listing");
    assert_eq!(word(decide(|it| it.listed = ago(Span::seconds(-3)))), "stale_listing");
}

#[test]
fn clocks_that_disagree_or_are_unknown_destroy_nothing() {
    let skewed = |span| word(decide(|it| it.now.theirs = ago(span).theirs));
    assert_eq!(skewed(Span(300_001)), "clock_skew");
    assert_eq!(skewed(Span(-300_001)), "clock_skew");
    assert_eq!(word(decide(|it| it.now.theirs = None)), "clock_skew");
}

#[test]
fn one_kill_at_a_time_and_the_same_one_may_be_repeated() {
    assert_eq!(word(decide(|it| it.open_kills.push("third".into()))), "other_kill_open");
    assert_eq!(word(decide(|it| it.open_kills.push("old".into()))), "permitted");
}

#[test]
fn foreign_provisioning_and_frozen_are_refused() {
    assert_eq!(word(decide(|it| it.flags.1 = false)), "not_ours");
    assert_eq!(word(decide(|it| it.target = "provisioning")), "provisioning_key");
    assert_eq!(word(decide(|it| it.flags.2 = true)), "frozen");
}

#[test]
fn the_breaker_holds_the_tenth_but_not_an_emergency() {
    assert_eq!(word(decide(|it| it.recent_kills = 9)), "permitted");
    assert_eq!(word(decide(|it| it.recent_kills = 10)), "breaker");
    let urgent = decide(|it| (it.recent_kills, it.flags.0) = (10, true));
    assert_eq!(word(urgent), "permitted");
}

fn any_key() -> impl Strategy<Value = RemoteKey> {
    let hash = prop_oneof![Just("old"), Just("new"), Just("third"), Just("provisioning")];
    (hash, any::<bool>(), proptest::option::of(-1_i64..2), proptest::option::of(-5_i64..5)).prop_map(
        |(hash, disabled, left, expires)| RemoteKey {
            disabled,
            limit_remaining: left.map(MicroUsd),
            expires_at: expires.map(|offset| Timestamp(T0 + offset)),
            ..remote(hash)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_permitted_leaves_a_key_that_works(
        keys in proptest::collection::vec(any_key(), 0..5),
        held in any::<bool>(),
        urgent in any::<bool>(),
        open in proptest::option::of(prop_oneof![Just("old"), Just("new"), Just("third")]),
    ) {
        let listing = keys.clone();
        let decided = decide(|it| {
            it.keys = keys;
            it.flags.0 = urgent;
            it.open_kills = open.map(str::to_owned).into_iter().collect();
            if !held {
                it.holders.clear();
            }
        });
        let works = |key: &&RemoteKey| {
            let named = ["new", "third"].contains(&key.hash.as_str()) && open != Some(key.hash.as_str());
            let unspent = key.limit_remaining.is_none_or(|left| left.0 > 0);
            named && !key.disabled && unspent && key.expires_at.is_none_or(|at| at.0 > T0)
        };
        prop_assert!(decided.is_err() || listing.iter().filter(works).count() > 0);
        let held_one_works = listing.iter().filter(works).any(|key| key.hash == "new");
        prop_assert!(decided.is_err() || !held || held_one_works);
    }
}

#[test]
fn a_large_account_may_lose_a_share_of_its_keys_an_hour() {
    assert_eq!([0, 499, 550, 10_000].map(|keys| max_kills(10, keys)), [10, 10, 11, 200]);
    assert_eq!(max_kills(300, 10_000), 300, "what the configuration says is never less");
}
