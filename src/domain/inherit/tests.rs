use proptest::prelude::*;

use super::*;

fn rolls(guardrails: &[(&str, &str)], byok: &[(&str, &[&str])]) -> Rolls {
    let text = |text: &&str| (*text).to_owned();
    Rolls {
        guardrails: Some(guardrails.iter().map(|(key, id)| (text(key), text(id))).collect()),
        byok: Some(byok.iter().map(|(id, keys)| (text(id), keys.iter().map(text).collect())).collect()),
    }
}

fn guardrail(id: &str) -> Roll {
    Roll::Guardrail(id.to_owned())
}

fn byok(id: &str) -> Roll {
    Roll::Byok(id.to_owned())
}

fn listed(put: Option<Put>) -> Vec<String> {
    match put {
        Some(Put::Allow { list, .. }) => list.keys().to_vec(),
        other => panic!("{other:?}"),
    }
}

fn none() -> BTreeSet<String> {
    BTreeSet::new()
}

#[test]
fn a_living_key_has_what_is_shown_and_a_dead_one_what_is_remembered() {
    let kept = [Kept { hash: "old".into(), rolls: [guardrail("g"), byok("gone")].into() }];
    let shown = rolls(&[], &[("b", &["old"])]);
    let of = |is_listed| wanted(Inherit::default(), &shown, "old", is_listed, &kept);
    assert_eq!(of(true), [byok("b")].into());
    assert_eq!(of(false), [guardrail("g"), byok("gone"), byok("b")].into(), "a list may name a dead key");
    assert!(wanted(Inherit::default(), &shown, "another", false, &kept).is_empty());
}

/// A provider in trouble answers 404 for what is there.
#[test]
fn what_the_account_does_not_tell_is_taken_from_memory_and_stays_there() {
    let before = Kept { hash: "old".into(), rolls: [guardrail("g"), byok("b")].into() };
    let shown = Rolls { guardrails: None, ..rolls(&[], &[]) };
    assert_eq!(Kept::seen("old", &shown, Some(&before)).rolls, [guardrail("g")].into());
    assert!(Kept::seen("new", &shown, Some(&before)).rolls.is_empty());
    let of = wanted(Inherit::default(), &shown, "old", true, &[before]);
    assert_eq!(of, [guardrail("g")].into());
}

#[test]
fn only_what_the_account_wants_is_inherited() {
    let shown = rolls(&[("old", "g")], &[("b", &["old"])]);
    let only = |guardrails, byok| {
        let inherit = Inherit { limits: true, guardrails, byok };
        wanted(inherit, &shown, "old", true, &[])
    };
    assert_eq!(only(true, false), [guardrail("g")].into());
    assert_eq!(only(false, true), [byok("b")].into());
    assert!(!Inherit { limits: true, guardrails: false, byok: false }.names_keys());
}

#[test]
fn a_guardrail_is_assigned_only_to_a_key_that_has_none() {
    let to = |shown: &Rolls| join(&guardrail("g"), shown, "new", &none());
    let assign = Put::Assign { guardrail: "g".into(), hash: "new".into() };
    assert_eq!(to(&rolls(&[("old", "g")], &[])), Ok(Some(assign.clone())));
    assert_eq!(to(&Rolls { guardrails: None, ..rolls(&[], &[]) }), Ok(Some(assign)));
    assert_eq!(to(&rolls(&[("new", "g")], &[])), Ok(None));
    assert!(to(&rolls(&[("new", "other")], &[])).is_err());
}

#[test]
fn a_list_keeps_all_but_keys_that_are_gone() {
    let shown = rolls(&[], &[("b", &["old", "dead", "other"])]);
    let gone = BTreeSet::from(["dead".to_owned()]);
    assert_eq!(listed(join(&byok("b"), &shown, "new", &gone).unwrap()), ["old", "other", "new"]);
    assert_eq!(listed(join(&byok("b"), &shown, "new", &none()).unwrap()), ["old", "dead", "other", "new"]);
    assert_eq!(join(&byok("b"), &rolls(&[], &[("b", &["new"])]), "new", &gone), Ok(None));
    assert_eq!(join(&byok("b"), &rolls(&[], &[]), "new", &gone), Ok(None), "all may use it, or it is gone");
    assert!(join(&byok("b"), &Rolls::default(), "new", &gone).is_err(), "not told is not gone");
}

#[test]
fn the_last_key_of_a_list_stays_on_it() {
    let with = |keys: &[&str], gone: &[&str]| {
        let gone = gone.iter().map(|key| (*key).to_owned()).collect();
        leave(&byok("b"), &rolls(&[("old", "b")], &[("b", keys)]), "old", &gone)
    };
    assert_eq!(listed(with(&["old", "new"], &[])), ["new"]);
    assert_eq!(with(&["old"], &[]), None);
    assert_eq!(with(&["old", "dead"], &["dead"]), None, "nobody living would be left");
    assert_eq!(with(&["new"], &[]), None);
    assert_eq!(leave(&guardrail("b"), &rolls(&[("old", "b")], &[]), "old", &none()), None);
}

#[test]
fn a_difference_is_what_the_new_key_lacks() {
    let shown =
        rolls(&[("old", "g"), ("new", "h")], &[("b", &["old"]), ("c", &["old", "new"]), ("d", &["new"])]);
    assert_eq!(difference(Inherit::default(), &shown, "old", "new"), [guardrail("g"), byok("b")]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever may use a credential goes on using it, and the list never becomes empty.
    #[test]
    fn no_write_takes_a_living_key_away(keys in proptest::collection::vec("[a-e]", 1..6), gone in proptest::collection::btree_set("[a-e]", 0..4)) {
        let shown = Rolls { guardrails: None, byok: Some([("x".to_owned(), keys.clone())].into()) };
        for put in [join(&byok("x"), &shown, "a", &gone).unwrap(), leave(&byok("x"), &shown, "a", &gone)] {
            let Some(Put::Allow { list, .. }) = put else { continue };
            prop_assert!(!list.keys().is_empty());
            for key in keys.iter().filter(|key| *key != "a" && !gone.contains(*key)) {
                prop_assert!(list.keys().contains(key), "{key} of {keys:?}, {gone:?}: {list:?}");
            }
        }
    }
}
