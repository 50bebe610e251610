use super::*;
use crate::domain::secret::Secret;

fn wanted(print: &str, is_active: bool, status: &str) -> Wanted {
    let (id, fingerprint) = (format!("id-{print}"), print.to_owned());
    Wanted { id, fingerprint, is_active, priority: 100, status: status.to_owned() }
}

fn row(number: i64, print: &str, status: &str) -> Seen {
    let entry = LedgerEntry {
        number,
        secret: Secret::new(format!("key-{print}")),
        is_active: true,
        priority: Some(100),
        status: status.to_owned(),
        generation: None,
        seq: Some(7),
    };
    (entry, print.to_owned())
}

fn wish(keys: &[(i64, Wanted)]) -> Wish {
    let keys: BTreeMap<i64, Wanted> = keys.iter().cloned().collect();
    let taken = keys.keys().copied().collect();
    Wish { keys, taken, statuses: BTreeMap::new(), rotation_row: None, overwrite: false }
}

fn ours(known: &[(i64, &str)]) -> BTreeMap<i64, BTreeSet<String>> {
    known.iter().map(|(number, print)| (*number, BTreeSet::from([(*print).to_owned()]))).collect()
}

fn statuses_of(plan: &Plan) -> Vec<(i64, bool, &str)> {
    let entry = |write: &'_ Write| match write {
        Write::Key { entry, .. } | Write::Same(entry) => entry.clone(),
    };
    assert!(plan.foreign.is_empty(), "{plan:?}");
    plan.writes
        .iter()
        .map(entry)
        .map(|e| (e.number, e.is_active, if e.status == "valid" { "valid" } else { "not" }))
        .collect()
}

#[test]
fn a_verdict_is_carried_over_and_nothing_else_is_written() {
    let all = wish(&[(1, wanted("a", true, "invalid")), (2, wanted("b", true, "valid"))]);
    let done = plan(&all, &[row(1, "a", "valid"), row(2, "b", "valid")], &BTreeMap::new());
    assert_eq!(statuses_of(&done), [(1, true, "not")]);
    assert!(matches!(&done.writes[..], [Write::Same(entry)] if entry.secret == Secret::new("key-a")));
}

#[test]
fn only_a_valid_key_is_written_for_the_first_time() {
    let all = wish(&[
        (1, wanted("a", true, "valid")),
        (2, wanted("b", true, "untested")),
        (3, wanted("c", false, "valid")),
    ]);
    let done = plan(&all, &[], &BTreeMap::new());
    assert!(matches!(&done.writes[..], [Write::Key { id, entry }] if id == "id-a" && entry.seq.is_none()));
}

#[test]
fn somebody_elses_key_is_left_alone_until_the_operator_says_otherwise() {
    let all = wish(&[(1, wanted("a", true, "valid"))]);
    let rows = [row(1, "legacy", "valid")];
    let held = plan(&all, &rows, &BTreeMap::new());
    assert_eq!(held, Plan { foreign: vec![1], ..Plan::default() });
    let known = plan(&all, &rows, &ours(&[(1, "legacy")]));
    assert!(matches!(&known.writes[..], [Write::Key { entry, .. }] if entry.seq == Some(7)));
    let overwrite = Wish { overwrite: true, ..all };
    assert_eq!(plan(&overwrite, &rows, &BTreeMap::new()).writes, known.writes);
}

#[test]
fn what_left_the_store_becomes_inactive_if_we_wrote_it() {
    let rows = [row(1, "a", "valid"), row(2, "legacy", "valid")];
    let done = plan(&wish(&[]), &rows, &ours(&[(1, "a")]));
    assert_eq!(statuses_of(&done), [(1, false, "valid")]);
    let taken = BTreeSet::from([1]);
    let statuses = BTreeMap::from([("a".to_owned(), "invalid".to_owned())]);
    let adopted = Wish { taken, statuses, ..wish(&[]) };
    let done = plan(&adopted, &rows, &ours(&[(1, "a")]));
    assert_eq!(
        statuses_of(&done),
        [(1, true, "not")],
        "a rotation took the key over: its verdict still counts"
    );
}

#[test]
fn a_key_that_came_back_with_another_number_is_handed_out_there_alone() {
    let statuses = BTreeMap::from([("a".to_owned(), "valid".to_owned())]);
    let all = Wish { statuses, ..wish(&[(2, wanted("a", true, "valid"))]) };
    let done = plan(&all, &[row(1, "a", "valid"), row(2, "a", "valid")], &ours(&[(1, "a"), (2, "a")]));
    assert_eq!(statuses_of(&done), [(1, false, "valid")]);
}

#[test]
fn rows_of_rotations_only_get_their_status() {
    let mut generation = row(1, "g", "valid");
    generation.0.generation = Some(4);
    let mut all = wish(&[(1, wanted("m", true, "valid"))]);
    assert_eq!(plan(&all, std::slice::from_ref(&generation), &ours(&[(1, "g")])), Plan::default());
    all.keys.clear();
    all.rotation_row = Some(1);
    all.statuses.insert("g".to_owned(), "invalid".to_owned());
    let done = plan(&all, &[generation], &BTreeMap::new());
    let [Write::Same(entry)] = &done.writes[..] else { panic!("{done:?}") };
    assert_eq!((entry.status.as_str(), entry.generation), ("invalid", Some(4)));
}

#[test]
fn a_replaced_key_stays_until_its_successor_is_valid() {
    let known = ours(&[(1, "old"), (2, "old")]);
    let rows = [row(1, "old", "valid"), row(2, "old", "valid")];
    let all = wish(&[(1, wanted("new", true, "untested")), (2, wanted("new", true, "valid"))]);
    let done = plan(&all, &rows, &known);
    assert_eq!(done.replaced, [(1, "id-new".to_owned())]);
    assert!(matches!(&done.writes[..], [Write::Key { entry, .. }] if entry.number == 2), "{done:?}");
    // What somebody else put there is none of ours to test.
    let all = Wish { overwrite: true, ..all };
    assert!(plan(&all, &rows, &BTreeMap::new()).replaced.is_empty());
}
