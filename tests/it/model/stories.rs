//! The models and their bounds, what each must keep, and which law each missing defence breaks.

use std::fs::{create_dir_all, write};
use std::path::Path;
use std::sync::Mutex;

use rekeyd::domain::inherit::Inherit;
use rekeyd::domain::rotation::facts::{KeyFacts, Request};
use rekeyd::domain::rotation::{Level, OnDrift, Policy, Retiree, Run, SpecPolicy, Target, Trigger};
use rekeyd::domain::time::Span;
use stateright::{Checker, HasDiscoveries, Model};

use super::deliver::release;
use super::laws;
use super::shell::DAY;
use super::switches::Without;
use super::world::*;
use super::{Story, confirmed};

fn policy() -> Policy {
    let target = |place: usize| Target {
        name: address(place),
        address: address(place),
        required: place == MUST,
        needs: Level::Confirmed,
        on_drift: OnDrift::Hold,
    };
    Policy {
        targets: vec![target(0), target(1)],
        grace: DAY,
        quiet: DAY,
        observe: DAY,
        max_overlap: Span::hours(24 * 365 * 100),
        max_exposure: Span::minutes(10),
        propagation: Span::minutes(2),
        settle: Span::seconds(15),
        confirm_after: Span::seconds(60),
        spec: SpecPolicy::default(),
        chat_model: None,
        inherit: Inherit { limits: true, guardrails: false, byok: false },
        can_disable: true,
    }
}

/// A scheduled rotation of one key that two destinations hold.
fn story(name: &'static str, left: Budget) -> Story {
    let policy = policy();
    let mut run = Run::new("r".into(), "r".into(), "a".into(), Trigger::Schedule, policy.clone());
    run.predecessor = Some(key_ref(FIRST));
    run.retirees = vec![Retiree::new(key_ref(FIRST), false, policy.observe)];
    let mut first = Key::new(Kind::Ours);
    (first.held, first.named) = (true, true);
    let place = Place { holds: FIRST, down: false };
    let store = Store {
        run,
        rows: vec![Row { key: FIRST, role: Role::Current, facts: KeyFacts::default() }],
        names: 0,
        toggles: Vec::new(),
        holdings: vec![confirmed(0), confirmed(1)],
        leased: false,
        frozen: false,
        paused: false,
        healed: false,
        dropped: None,
        request: None,
        kills: Vec::new(),
        everywhere: None,
    };
    let start = World {
        keys: vec![Key::new(Kind::Provisioning), first],
        places: vec![place.clone(), place],
        store,
        replicas: vec![None],
        late: Vec::new(),
        left,
        ahead: false,
        rolls_down: false,
        broken: Vec::new(),
    };
    let requests = vec![Request::Abort, Request::Rollback, Request::Resume, release(1)];
    let (without, ending) = (None, Mutex::default());
    Story { name, without, start, policy, requests, heals: false, max_kills: 10, max_keys: 5, ending }
}

/// A model with more transitions is not bounded well.
const MOST: usize = 3_000_000;

/// One line of the table of models, in a file of its own.
fn note(line: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("model");
    create_dir_all(&folder).unwrap();
    let name: Vec<&str> = line.split(['|']).take(2).map(str::trim).collect();
    write(folder.join(name.join("-").replace(' ', "_") + ".txt"), format!("{line}\n")).unwrap();
}

/// Every state of the model keeps every law.
fn keeps(story: Story) {
    let name = story.name;
    let checker = story
        .checker()
        .threads(2)
        .target_state_count(MOST)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let found = checker.discoveries();
    let (all, unique, depth) = (checker.state_count(), checker.unique_state_count(), checker.max_depth());
    note(&format!("model | {name} | {unique} states | {all} transitions | depth {depth}"));
    assert!(all < MOST, "{name} is not exhausted");
    if let Some((law, path)) = found.iter().next() {
        let steps: Vec<String> = path.clone().into_actions().iter().map(|act| format!("{act:?}")).collect();
        panic!("{name}: {law}\n{}\n{:?}", steps.join("\n"), path.last_state());
    }
}

/// The checker finds a way to break this law when the defence is missing; the way is replayed by the checker.
fn breaks(without: Without, law: &'static str, mut story: Story) {
    story.without = Some(without);
    let only = HasDiscoveries::AnyOf([law].into());
    let checker = story.checker().threads(1).target_state_count(MOST).finish_when(only).spawn_bfs().join();
    let path = checker.discovery(law);
    let path = path.unwrap_or_else(|| panic!("{without:?}: {law}: {} states", checker.state_count()));
    let steps = path.into_actions();
    note(&format!("without | {without:?} | breaks: {law} | in {} steps", steps.len()));
}

#[test]
fn crashes_and_lost_answers() {
    keeps(story("crashes", Budget { crashes: 2, lost: 1, duds: 1, ..Budget::default() }));
}

#[test]
fn persons_meddle_at_the_provider() {
    keeps(story("persons", Budget { kills: 1, enables: 1, crashes: 1, ..Budget::default() }));
}

#[test]
fn persons_ask() {
    keeps(story("requests", Budget { requests: 1, lost: 1, crashes: 1, ..Budget::default() }));
}

#[test]
fn a_person_asks_twice_and_a_key_dies() {
    keeps(story("rollback", Budget { requests: 2, kills: 1, ..Budget::default() }));
}

#[test]
fn destinations_fail_and_the_old_key_is_used() {
    keeps(story("destinations", Budget { outages: 1, uses: 1, crashes: 1, lost: 1, ..Budget::default() }));
}

#[test]
fn a_key_leaks() {
    keeps(story("leak", Budget { leaks: 1, outages: 1, crashes: 1, ..Budget::default() }));
}

#[test]
fn a_key_leaks_and_a_person_kills() {
    keeps(story("leak and kill", Budget { leaks: 1, kills: 1, lost: 1, ..Budget::default() }));
}

#[test]
fn the_new_key_of_an_emergency_never_works() {
    keeps(story("emergency dud", Budget { leaks: 1, kills: 1, duds: 1, ..Budget::default() }));
}

#[test]
fn a_dead_key_is_healed() {
    let mut story = story("heal", Budget { kills: 2, crashes: 1, ..Budget::default() });
    story.heals = true;
    keeps(story);
}

fn two(mut story: Story) -> Story {
    story.start.replicas.push(None);
    story
}

#[test]
fn two_replicas() {
    keeps(two(story("replicas", Budget { stalls: 2, lost: 1, ..Budget::default() })));
}

#[test]
fn two_replicas_in_an_emergency() {
    keeps(two(story("replicas in an emergency", Budget { stalls: 1, leaks: 1, ..Budget::default() })));
}

/// The same where something names the key by its hash.
fn heir(left: Budget) -> Story {
    let mut story = story("inheritance", left);
    story.policy.inherit = Inherit::default();
    story.start.store.run.policy.inherit = Inherit::default();
    story
}

#[test]
fn what_names_a_key_cannot_be_read_and_is_changed() {
    keeps(heir(Budget { snags: 1, unnames: 1, leaks: 1, crashes: 1, ..Budget::default() }));
}

#[test]
fn without_inheritance() {
    breaks(Without::Inheritance, laws::NAMED, heir(Budget::default()));
}

#[test]
fn without_an_end_of_waiting_for_it() {
    let left = Budget { snags: 1, leaks: 1, ..Budget::default() };
    breaks(Without::InheritanceInTime, laws::HASTE, heir(left));
}

#[test]
fn without_comparing_the_keys() {
    breaks(Without::Comparison, laws::COMPARED, heir(Budget { unnames: 1, ..Budget::default() }));
}

#[test]
fn our_clock_jumps() {
    keeps(story("clocks", Budget { jumps: 1, crashes: 1, uses: 1, ..Budget::default() }));
}

#[test]
fn a_copy_of_the_database_and_a_dropped_destination() {
    keeps(story("copies", Budget { clones: 1, drops: 1, crashes: 1, ..Budget::default() }));
}

#[test]
fn without_the_last_key_rule() {
    breaks(Without::LastKey, laws::LAST, story("", Budget { kills: 1, requests: 1, ..Budget::default() }));
}

/// Somebody deletes every regular key; the provisioning key looks just like one.
#[test]
fn without_telling_the_two_kinds_apart() {
    breaks(
        Without::Provisioning,
        laws::LAST,
        story("", Budget { kills: 1, requests: 1, ..Budget::default() }),
    );
}

#[test]
fn without_a_fresh_listing() {
    let left = Budget { kills: 1, stalls: 1, requests: 1, ..Budget::default() };
    breaks(Without::FreshListing, laws::LAST, story("", left));
}

#[test]
fn without_asking_the_destinations() {
    breaks(
        Without::Holders,
        laws::SERVED,
        story("", Budget { requests: 1, outages: 1, ..Budget::default() }),
    );
}

/// A key whose write has no known outcome leaks: the write lands when another is there already.
#[test]
fn without_waiting_for_a_write_that_may_still_land() {
    breaks(Without::Landing, laws::SERVED, story("", Budget { leaks: 1, lost: 1, ..Budget::default() }));
}

/// Only a leaked key is taken from a destination that is not required.
#[test]
fn without_telling_a_leak_from_a_rotation() {
    breaks(Without::Leaked, laws::SERVED, story("", Budget { requests: 1, outages: 1, ..Budget::default() }));
}

/// A person lets go of a required destination, which he may not before the leaked key has lived for too long.
#[test]
fn a_key_leaks_and_a_person_accepts_that_consumers_stop() {
    let mut story = story("exposure", Budget { leaks: 1, outages: 1, requests: 1, ..Budget::default() });
    story.requests = vec![release(MUST)];
    keeps(story);
}

#[test]
fn without_waiting_for_the_exposure() {
    let mut story = story("", Budget { leaks: 1, outages: 1, requests: 1, ..Budget::default() });
    story.requests = vec![release(MUST)];
    breaks(Without::Exposure, laws::EXPOSED, story);
}

#[test]
fn without_one_kill_at_a_time() {
    let left = Budget { lost: 2, crashes: 1, leaks: 1, ..Budget::default() };
    breaks(Without::OpenKill, laws::ONE_KILL, story("", left));
}

#[test]
fn without_knowing_ours_from_theirs() {
    let mut story = story("", Budget { manual: 1, ..Budget::default() });
    story.start.keys.push(Key::new(Kind::Foreign));
    breaks(Without::Ours, laws::FOREIGN, story);
}

#[test]
fn without_the_freeze() {
    breaks(Without::Frozen, laws::FROZEN, story("", Budget { clones: 1, ..Budget::default() }));
}

#[test]
fn without_comparing_the_clocks() {
    breaks(Without::Clocks, laws::CLOCK, story("", Budget { jumps: 1, ..Budget::default() }));
}

#[test]
fn without_the_breaker() {
    let mut story = story("", Budget { crashes: 1, ..Budget::default() });
    story.max_kills = 0;
    breaks(Without::Breaker, laws::BREAKER, story);
}

#[test]
fn without_the_intent_first() {
    breaks(Without::IntentFirst, laws::FINDABLE, story("", Budget { crashes: 1, ..Budget::default() }));
}

#[test]
fn without_creating_once() {
    breaks(Without::CreateOnce, laws::ONCE, story("", Budget { lost: 1, ..Budget::default() }));
}

#[test]
fn without_the_fence() {
    breaks(Without::Fence, laws::FENCED, two(story("", Budget { stalls: 1, ..Budget::default() })));
}

#[test]
fn without_the_deadline_of_a_call() {
    let left = Budget { kills: 1, requests: 1, stalls: 1, ..Budget::default() };
    breaks(Without::Deadline, laws::LAST, story("", left));
}

#[test]
fn without_looking_first() {
    breaks(Without::LookFirst, laws::LOOKED, story("", Budget { lost: 1, ..Budget::default() }));
}

#[test]
fn without_both_clocks() {
    breaks(Without::BothClocks, laws::WAITED, story("", Budget { jumps: 1, ..Budget::default() }));
}

#[test]
fn without_a_fresh_test() {
    breaks(Without::FreshTest, laws::TESTED, story("", Budget { outages: 1, ..Budget::default() }));
}

#[test]
fn without_the_snapshot_of_the_policy() {
    breaks(Without::Detached, laws::DETACHED, story("", Budget { drops: 1, ..Budget::default() }));
}

#[test]
fn without_grace() {
    let mut story = story("", Budget::default());
    story.policy.quiet = Span::ZERO;
    story.start.store.run.policy.quiet = Span::ZERO;
    breaks(Without::Grace, laws::WAITED, story);
}

#[test]
fn without_quiet() {
    breaks(Without::Quiet, laws::WAITED, story("", Budget { uses: 1, ..Budget::default() }));
}

#[test]
fn without_observing() {
    breaks(Without::Observe, laws::OBSERVED, story("", Budget::default()));
}

#[test]
fn without_waiting_for_required_destinations() {
    breaks(Without::Required, laws::PROVED, story("", Budget { outages: 1, ..Budget::default() }));
}
