//! The invariants of product.md, looked at mechanically after each fault: at the provider, at the destinations
//! and in the store. I6 and I13 have no trace in a world at rest; the faults about owners and clocks assert them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rekeyd::sim::openrouter::{CreatedBy, KeyRow};
use rekeyd::sim::world::RequestLog;

use crate::support::ledger::{self, Effect, Ledger};
use crate::support::{Db, World};

/// What was looked at, and what became of the run. Only [`invariants`] makes one.
#[must_use]
#[derive(Debug)]
pub struct Proof {
    result: String,
    checked: Vec<&'static str>,
}

impl Proof {
    /// The same, with an invariant that the test asserted itself.
    pub fn and(mut self, invariant: &'static str) -> Self {
        self.checked.push(invariant);
        self
    }

    /// The line of `tests/run.sh faults`.
    pub fn write(&self, name: &str, db: Db) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/faults");
        std::fs::create_dir_all(&folder).unwrap();
        let database = format!("{db:?}").to_lowercase();
        let mut file = std::fs::File::create(folder.join(format!("{name}.{database}.txt"))).unwrap();
        writeln!(file, "{name};{database};{};{}", self.result, self.checked.join(" ")).unwrap();
    }
}

/// What another copy of the database did at the provider before this one was restored.
#[derive(Debug, Default)]
pub struct Before {
    requests: u64,
    keys: BTreeSet<String>,
}

impl Before {
    /// Everything until now.
    pub fn now(world: &World) -> Self {
        let keys = world.openrouter.keys().into_iter().map(|key| key.hash).collect();
        Self { requests: world.script.count(), keys }
    }
}

/// Looks at everything. The world must be at rest: nobody works on it, no run is in flight.
pub async fn invariants(world: &World, case: &str) -> Proof {
    invariants_since(world, &Before::default(), case).await
}

/// The same for a restored database, which cannot know what its lost twin did.
pub async fn invariants_since(world: &World, before: &Before, case: &str) -> Proof {
    let ledger = Ledger::read(world).await;
    world.assert_destinations_work(case);
    no_kill_without_intent(world, before, &ledger, case);
    no_orphan(world, before, &ledger, case);
    no_name_twice(world, before, &ledger, case);
    one_at_a_time(&ledger, case);
    proved_before_disabled(&ledger, case);
    disabled_before_deleted(&ledger, case);
    nothing_foreign_touched(world, before, &ledger, case);
    a_good_end(world, &ledger, case);
    world.assert_nothing_leaked();
    assert_no_secret(world, &ledger::dump(world).await, case);
    all_audited(&ledger, case);
    let result = ledger.runs.first().map_or("no run", |run| &run.state).to_owned();
    let checked = vec!["I1", "I2", "I3", "I4", "I5", "I7", "I8", "I9", "I10", "I11", "I12"];
    Proof { result, checked }
}

/// The keys that requests of this kind changed at the provider.
fn changed(world: &World, before: &Before, label: &str) -> BTreeSet<String> {
    let requests = world.openrouter.requests().into_iter().filter(|request| request.number > before.requests);
    let applied = requests.filter(|request| request.label == label && request.applied);
    let hash = |path: String| path.split(['?', '#']).next().unwrap().rsplit('/').next().unwrap().to_owned();
    applied.map(|request| hash(request.path)).collect()
}

fn of<'l>(ledger: &'l Ledger, kinds: &'l [&'l str]) -> impl Iterator<Item = &'l Effect> {
    ledger.effects.iter().filter(move |effect| kinds.contains(&effect.kind.as_str()))
}

/// I2, as the provider saw it.
fn no_kill_without_intent(world: &World, before: &Before, ledger: &Ledger, case: &str) {
    for (label, kinds) in
        [("delete_key", &["delete"][..]), ("patch_key", &["disable", "enable", "limit"][..])]
    {
        for hash in changed(world, before, label) {
            assert!(
                of(ledger, kinds).any(|effect| effect.target == hash),
                "{case}: {label} without an intent (I2)"
            );
        }
    }
}

/// I3
fn no_orphan(world: &World, before: &Before, ledger: &Ledger, case: &str) {
    let stored: BTreeSet<&str> = ledger.keys.iter().map(|key| key.hash.as_str()).collect();
    let named: BTreeSet<&str> = of(ledger, &["create"]).map(|effect| effect.target.as_str()).collect();
    let issued = |key: &&KeyRow| key.created_by == CreatedBy::Api && !before.keys.contains(&key.hash);
    for key in world.openrouter.keys().iter().filter(issued) {
        let found = stored.contains(key.hash.as_str()) || named.contains(key.name.as_str());
        assert!(found, "{case}: nobody knows of {} (I3)", key.name);
    }
}

/// I4
fn no_name_twice(world: &World, before: &Before, ledger: &Ledger, case: &str) {
    let mut seen = BTreeSet::new();
    for key in world.openrouter.keys().into_iter().filter(|key| key.created_by == CreatedBy::Api) {
        assert!(seen.insert(key.name.clone()), "{case}: {} was POSTed twice (I4)", key.name);
    }
    let is_create = |r: &&RequestLog| r.label == "create_key" && r.number > before.requests;
    let sent = world.openrouter.requests().iter().filter(is_create).count();
    let names: BTreeSet<&str> = of(ledger, &["create"]).map(|effect| effect.target.as_str()).collect();
    assert!(sent <= names.len(), "{case}: {sent} creates under {} names (I4)", names.len());
}

/// I5
fn one_at_a_time(ledger: &Ledger, case: &str) {
    let mut open: BTreeMap<&str, u32> = BTreeMap::new();
    for run in ledger.runs.iter().filter(|run| run.open) {
        *open.entry(&run.rotation).or_default() += 1;
    }
    assert!(open.values().all(|runs| *runs == 1), "{case}: {open:?} (I5)");
    let kills = of(ledger, &["disable", "delete"]);
    let kills = kills.filter(|effect| effect.status == "intended" || effect.status == "unknown").count();
    assert!(kills <= 1, "{case}: {kills} kill intents at once (I5)");
}

/// I7: when the old key was disabled, nothing that was sent to a destination was in doubt.
fn proved_before_disabled(ledger: &Ledger, case: &str) {
    for kill in of(ledger, &["disable"]).filter(|effect| ledger.held.contains(&effect.target)) {
        let same_run = |effect: &&Effect| effect.run == kill.run && effect.started < kill.started;
        let mut last: BTreeMap<&str, &Effect> = BTreeMap::new();
        // Guardrails and allow-lists are written too; nobody reads the key there.
        let place = |publish: &&Effect| !is_roll(&publish.target) && counts(ledger, publish);
        for publish in of(ledger, &["publish"]).filter(same_run).filter(place) {
            last.insert(&publish.target, publish);
        }
        let proved =
            |effect: &&&Effect| effect.status != "done" || effect.finished.is_none_or(|at| at > kill.started);
        let doubtful: Vec<_> = last.values().filter(proved).collect();
        assert!(doubtful.is_empty(), "{case}: disabled before {doubtful:?} was over (I7)");
    }
}

/// What a person released no longer counts; nor, in an emergency, what need not have the new key.
fn counts(ledger: &Ledger, publish: &Effect) -> bool {
    let Some(run) = ledger.run(publish.run.as_ref()) else { return true };
    // An abort disables its own new key, which no place took.
    if run.state == "aborted" && publish.status == "failed" {
        return false;
    }
    let name = publish.target.split(" generation ").next().unwrap();
    let targets = run.doc["policy"]["targets"].as_array().unwrap();
    let target = targets.iter().find(|target| target["name"] == name);
    target.is_some_and(|target| target["required"] == true || !run.is_emergency())
}

/// What names keys by their hash.
fn is_roll(target: &str) -> bool {
    target.starts_with("guardrail ") || target.starts_with("BYOK credential ")
}

/// I8
fn disabled_before_deleted(ledger: &Ledger, case: &str) {
    for delete in of(ledger, &["delete"]).filter(|effect| ledger.held.contains(&effect.target)) {
        let Some(run) = ledger.run(delete.run.as_ref()).filter(|run| !run.is_emergency()) else { continue };
        let observe = run.doc["policy"]["observe"].as_i64().unwrap();
        let disabled = of(ledger, &["disable"])
            .filter(|effect| effect.target == delete.target && effect.status == "done")
            .filter_map(|effect| effect.finished)
            .min();
        let since = disabled.map(|at| delete.started - at);
        assert!(
            since.is_some_and(|since| since >= observe),
            "{case}: deleted {since:?} ms after its disable, not {observe} (I8)"
        );
    }
}

/// I9
fn nothing_foreign_touched(world: &World, before: &Before, ledger: &Ledger, case: &str) {
    let ours: BTreeSet<&str> =
        ledger.keys.iter().filter(|key| key.origin != "given").map(|key| key.hash.as_str()).collect();
    for hash in changed(world, before, "delete_key").union(&changed(world, before, "patch_key")) {
        let key = world.openrouter.key_by_hash(hash).unwrap();
        let foreign = key.created_by == CreatedBy::Person && !ours.contains(hash.as_str());
        assert!(!foreign, "{case}: {} is not ours (I9)", key.name);
    }
}

/// I10
fn a_good_end(world: &World, ledger: &Ledger, case: &str) {
    let ends = ["done", "aborted", "rolled_back", "superseded"];
    for run in ledger.runs.iter().filter(|run| !run.open) {
        assert!(ends.contains(&run.state.as_str()), "{case}: {} ended {} (I10)", run.id, run.state);
        let mine = ledger.effects.iter().filter(|effect| effect.run.as_ref() == Some(&run.id));
        let doubt: Vec<_> = mine.filter(|e| e.status == "intended" || e.status == "unknown").collect();
        assert!(doubt.is_empty(), "{case}: in doubt after the end (I10): {doubt:?}");
    }
    let living = world.living();
    let mut of: BTreeMap<Option<&str>, u32> = BTreeMap::new();
    for key in ledger.keys.iter().filter(|key| key.origin != "given") {
        if living.iter().any(|row| row.hash == key.hash) {
            *of.entry(key.rotation.as_deref()).or_default() += 1;
        }
    }
    let most = if ledger.runs.iter().any(|run| run.open && run.is_emergency()) { 3 } else { 2 };
    assert!(of.values().all(|keys| *keys <= most), "{case}: live keys by rotation: {of:?} (I10)");
}

/// I11, in places that [`World::assert_nothing_leaked`] does not look at.
fn assert_no_secret(world: &World, bytes: &[u8], case: &str) {
    let mut secrets = world.openrouter.issued_secrets();
    secrets.extend(world.github.issued_tokens());
    let text = String::from_utf8_lossy(bytes);
    for secret in &secrets {
        assert!(!text.contains(secret), "{case}: the database holds a secret in clear (I11)");
    }
}

/// I12: runs and kills leave their rows.
fn all_audited(ledger: &Ledger, case: &str) {
    for run in &ledger.runs {
        let of_run = |action: &str| {
            ledger.audit.iter().any(|(what, subject)| what == action && subject.contains(&run.id))
        };
        assert!(of_run("run.started"), "{case}: the start of {} is not audited (I12)", run.id);
        let ended = format!("run.{}", run.state);
        assert!(run.open || of_run(&ended), "{case}: {ended} of {} is not audited (I12)", run.id);
    }
    for kind in ["disable", "delete"] {
        let done = of(ledger, &[kind]).count();
        let action = format!("key.{kind}");
        let rows = ledger.audit.iter().filter(|(what, _)| *what == action).count();
        assert!(rows >= done, "{case}: {done} {kind}, {rows} rows of the audit (I12)");
    }
}

/// Looks many times a second that what the destinations hold works (I1).
pub struct Watch {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    pub fn start(world: &Arc<World>, case: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, world, case) = (Arc::clone(&stop), Arc::clone(world), case.to_owned());
        let task = tokio::spawn(async move {
            while !flag.load(Ordering::SeqCst) {
                world.assert_destinations_work(&case);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { stop, task }
    }

    pub async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.expect("the destinations worked all the time");
    }
}
