//! R16: how often the outside is called while a run stands still, in every state and for every kind of destination, over
//! an hour and a half that passes in seconds. The logic itself waits longer each time: the budgets of the engine, which
//! count by the same clock, must never be needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use rekeyd::clock::{Clock, SystemClock};
use rekeyd::domain::rotation::Trigger;
use rekeyd::domain::time::{Span, Timestamp};
use rekeyd::engine::{self, Engine, Progress, Start, passes};
use rekeyd::sim::fault::{Act, When};
use rekeyd::sim::github::Scope;
use rekeyd::sim::vercel::Progress as Building;
use tokio_util::sync::CancellationToken;

use super::ledger::{self, pass_time};
use super::staging::Stage;
use super::weather::session;
use crate::support::Db;
use crate::support::world::{REPOSITORY, SECRET};

/// The machine's clock, and what was skipped of it.
struct Fast {
    clock: SystemClock,
    skipped: AtomicI64,
}

#[async_trait]
impl Clock for Fast {
    fn now(&self) -> Timestamp {
        self.clock.now().plus(Span(self.skipped.load(Ordering::SeqCst)))
    }

    fn monotonic(&self) -> Span {
        Span(self.clock.monotonic().0 + self.skipped.load(Ordering::SeqCst))
    }

    async fn sleep(&self, span: Span) {
        self.clock.sleep(span).await;
    }

    fn nonce(&self) -> String {
        self.clock.nonce()
    }

    /// What jitter makes of a wait on the average.
    fn fraction(&self) -> f64 {
        0.5
    }
}

/// What a run stands still for.
struct Case {
    name: &'static str,
    /// Where the run is meant to stand.
    state: &'static str,
    leaked: bool,
    /// Before the run begins.
    before: fn(&Stage),
    /// Once it stands still for the first time.
    later: fn(&Stage),
}

impl Case {
    fn new(name: &'static str, state: &'static str, before: fn(&Stage)) -> Self {
        Self { name, state, leaked: false, before, later: |_| {} }
    }

    fn leaked(self) -> Self {
        Self { leaked: true, ..self }
    }

    fn later(self, later: fn(&Stage)) -> Self {
        Self { later, ..self }
    }
}

fn always(stage: &Stage, label: &str, act: Act) {
    stage.world.script.always(label, When::Before, act);
}

/// Something in the configuration is otherwise.
fn configured(stage: &Stage, from: &str, to: &str) {
    super::reconfigure(&stage.world, from, to);
}

fn in_grace(stage: &Stage) {
    configured(stage, "grace = \"1s\"", "grace = \"24h\"");
}

fn command(stage: &Stage) {
    use std::os::unix::fs::PermissionsExt;
    let log = stage.world.path("hook.log");
    let script = format!("#!/bin/sh\necho called >> {}\nexit 1\n", log.display());
    let path = stage.world.private("hook.sh", &script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    let text = format!(
        "[[destinations]]\nname = \"hook\"\ntype = \"command\"\ncommand = [\"{}\"]\n",
        path.display()
    );
    configured(stage, "[[destinations]]", &format!("{text}[[destinations]]"));
    configured(stage, "\"agent-env\", \"vercel\"]", "\"agent-env\", \"hook\"]");
}

fn without_redeploy(stage: &Stage) {
    configured(stage, "redeploy = true\npromote = false", "redeploy = false\non_drift = \"overwrite\"");
}

fn by_hand(stage: &Stage) {
    let other = stage.world.openrouter.new_regular_key("somebody's");
    stage.world.github.set_secret_by_hand(&Scope::repo(REPOSITORY), SECRET, &other);
}

fn in_a_folder(stage: &Stage) {
    in_grace(stage);
    std::fs::create_dir(stage.world.path("folder")).unwrap();
    stage.world.private("folder/agent.env", &format!("{SECRET}={}\n", stage.world.first));
    configured(stage, "/agent.env", "/folder/agent.env");
}

fn without_folder(stage: &Stage) {
    std::fs::remove_dir_all(stage.world.path("folder")).unwrap();
}

fn at_vercel(stage: &Stage, change: impl FnOnce(&mut rekeyd::sim::vercel::Settings)) {
    stage.vercel.settings(change);
}

fn of_the_account() -> Vec<Case> {
    vec![
        Case::new("issuing after 429", "issuing", |s| always(s, "create_key", Act::rate_limited(None))),
        Case::new("a create that is forbidden", "issuing", |s| always(s, "create_key", Act::status(403))),
        Case::new("creates of unknown outcome", "parked", |s| always(s, "create_key", Act::status(502))),
        Case::new("a leak and such creates", "issuing", |s| always(s, "create_key", Act::status(502)))
            .leaked(),
        Case::new("a leak and no listing", "planned", |s| always(s, "list_keys", Act::status(503))).leaked(),
        Case::new("grace", "grace", in_grace),
        Case::new("grace without quiet", "grace", |s| {
            in_grace(s);
            configured(s, "quiet = \"1s\"", "quiet = \"0s\"");
        }),
        Case::new("a key that cannot be read", "grace", in_grace)
            .later(|s| always(s, "read_key", Act::status(503))),
        Case::new("an account that does not answer", "grace", in_grace)
            .later(|s| always(s, "whoami", Act::status(503))),
        Case::new("observing", "observing", |s| configured(s, "observe = \"1s\"", "observe = \"24h\"")),
        Case::new("a disable that fails", "observing", |s| always(s, "patch_key", Act::status(503))),
        Case::new("a delete that fails", "observing", |s| always(s, "delete_key", Act::status(503))),
    ]
}

fn of_destinations() -> Vec<Case> {
    vec![
        Case::new("GitHub for the time being", "publishing", |s| always(s, "put_secret", Act::status(503))),
        Case::new("GitHub for good", "publishing", |s| always(s, "put_secret", Act::status(403))),
        Case::new("GitHub stores nothing", "publishing", |s| {
            s.world.github.settings(|settings| settings.swallow_writes = true);
        }),
        Case::new("a drift at GitHub that is held", "grace", in_grace).later(by_hand),
        Case::new("Vercel for the time being", "publishing", |s| always(s, "patch_env", Act::status(503))),
        Case::new("Vercel for good", "publishing", |s| always(s, "patch_env", Act::status(403))),
        Case::new("Vercel stores nothing", "publishing", |s| {
            at_vercel(s, |vercel| vercel.swallow_writes = true);
        }),
        Case::new("Vercel keeps no value", "publishing", |s| {
            without_redeploy(s);
            at_vercel(s, |vercel| vercel.alter_writes = true);
        }),
        Case::new("a leak, and Vercel keeps no value", "publishing", |s| {
            at_vercel(s, |vercel| vercel.alter_writes = true);
        })
        .leaked(),
        Case::new("Vercel's cap of deployments", "publishing", |s| {
            at_vercel(s, |vercel| vercel.deployments_per_day = 0);
        }),
        Case::new("Vercel never builds", "publishing", |s| {
            at_vercel(s, |vercel| vercel.progress = Building::Never);
        }),
        Case::new("Vercel stages", "publishing", |s| s.vercel.assign_domains(&s.project, false)),
        Case::new("a command that fails", "publishing", command),
        Case::new("a file whose folder goes", "grace", in_a_folder).later(without_folder),
    ]
}

/// What was asked of the account, of GitHub, of Vercel, and of a command.
fn asked(stage: &Stage) -> [usize; 4] {
    let hook = std::fs::read_to_string(stage.world.path("hook.log")).unwrap_or_default().lines().count();
    let (github, vercel) = (stage.world.github.requests().len(), stage.vercel.requests().len());
    [stage.world.openrouter.requests().len(), github, vercel, hook]
}

/// So many requests a minute may go out, and so many in an hour in which nothing happened for half an hour before. One call
/// of the engine is up to six requests at GitHub and at Vercel.
const OF_A_MINUTE: [usize; 4] = [120, 60, 60, 60];
const OF_AN_HOUR: [usize; 4] = [240, 200, 240, 30];

const MINUTE: i64 = 60_000;

/// Time that passes as fast as the engine has nothing to do.
struct Hours<'s> {
    stage: &'s Stage,
    clock: Arc<Fast>,
    engine: Engine,
    /// After an account could not be opened the daemon waits, a minute at the most: until then.
    shut: AtomicI64,
}

impl Hours<'_> {
    /// One round of the daemon. A run that never waits would go on for ever: it is left after a hundred steps.
    async fn round(&self) {
        let none = CancellationToken::new();
        let awake = passes::runs_awake(&self.engine, "main").await.unwrap();
        let now = self.clock.monotonic().0;
        if !awake.is_empty() && now >= self.shut.load(Ordering::SeqCst) {
            let Ok(engine::Opened::Ready(mut session)) = engine::open_session(&self.engine, "main").await
            else {
                return self.shut.store(now + MINUTE, Ordering::SeqCst);
            };
            for (run, _) in awake {
                for _ in 0..100 {
                    let report = engine::step(&mut session, &run).await.unwrap();
                    if report.progress != Progress::Again {
                        break;
                    }
                }
            }
            session.close().await.unwrap();
        }
        passes::check_tick(&self.engine, &none).await.unwrap();
        passes::watch_tick(&self.engine, &none).await.unwrap();
        passes::drift_tick(&self.engine, &none).await.unwrap();
    }

    /// Until the next run wakes, ten seconds at the most and one at the least.
    async fn pass(&self) -> i64 {
        let now = self.engine.store().now().await.unwrap();
        let open = self.engine.store().open_runs().await.unwrap();
        let left = open.iter().map(|row| row.wake.left(now).map_or(0, |left| left.0)).min();
        let span = Span((left.unwrap_or(MINUTE) / 1000 + 1).clamp(1, 10) * 1000);
        pass_time(&self.stage.world, span).await;
        let skipped = self.clock.skipped.fetch_add(span.0, Ordering::SeqCst) + span.0;
        self.stage.world.openrouter.set_clock_offset(skipped / 1000);
        self.stage.world.github.set_clock_offset(skipped / 1000);
        self.stage.vercel.set_clock_offset(skipped / 1000);
        span.0
    }

    /// Rounds for so many minutes: the most requests of a minute, and all of them.
    async fn minutes(&self, minutes: i64) -> ([usize; 4], [usize; 4]) {
        let (mut most, mut passed) = ([0; 4], 0);
        let before = asked(self.stage);
        let (mut minute, mut since) = (0, before);
        while passed < minutes * MINUTE {
            self.round().await;
            let now = asked(self.stage);
            for place in 0..4 {
                most[place] = most[place].max(now[place] - since[place]);
            }
            passed += self.pass().await;
            if passed / MINUTE > minute {
                (minute, since) = (passed / MINUTE, now);
            }
        }
        let after = asked(self.stage);
        (most, std::array::from_fn(|place| after[place] - before[place]))
    }
}

/// The case, as far as it is wrong.
async fn stands_still(case: Case, db: Db) -> Option<String> {
    let stage = Stage::new(db, false).await;
    configured(&stage, "0 0 0 1 1 *", "0 */15 * * * *");
    (case.before)(&stage);
    let clock = Arc::new(Fast { clock: SystemClock::default(), skipped: AtomicI64::new(0) });
    let engine = stage.world.engine(Arc::<Fast>::clone(&clock)).await;
    let mut session = session(&engine).await;
    if case.leaked {
        engine::start_emergency(&mut session, Trigger::Leak, "production", None, "a leak").await.unwrap();
    } else {
        engine::start_run(&mut session, "production", Start::Manual).await.unwrap();
    }
    session.close().await.unwrap();
    let hours = Hours { stage: &stage, clock, engine, shut: AtomicI64::new(0) };
    let (first, _) = hours.minutes(15).await;
    (case.later)(&stage);
    let (second, _) = hours.minutes(15).await;
    let (third, hour) = hours.minutes(60).await;
    let states = ledger::runs(&stage.world).await;
    let told = ledger::alerts(&stage.world).await;
    let most =
        [first, second, third].into_iter().reduce(|a, b| std::array::from_fn(|n| a[n].max(b[n]))).unwrap();
    let said =
        format!("{}: {states:?}, at most {most:?} a minute, {hour:?} in the hour, {told:?}", case.name);
    eprintln!("{said}");
    let fits = |counts: [usize; 4], limits: [usize; 4]| {
        counts.iter().zip(limits).all(|(count, limit)| *count <= limit)
    };
    let right = states[0] == case.state
        && fits(most, OF_A_MINUTE)
        && fits(hour, OF_AN_HOUR)
        && !told.contains(&"call_budget".to_owned());
    (!right).then_some(said)
}

async fn all(cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for case in cases {
        wrong.extend(Box::pin(stands_still(case, Db::Sqlite)).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_waits_for_its_account_calls_seldom() {
    all(of_the_account()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_waits_for_a_destination_calls_seldom() {
    all(of_destinations()).await;
}
