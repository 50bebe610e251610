//! What is measured, a function a scene. The figures to reach are of the program's own design (product.md, row 31).

use std::time::Duration;

use anyhow::Context as _;
use rekeyd::clock::Clock;
use rekeyd::domain::time::{Span, Timestamp};
use rekeyd::sim::fault::{Act, Rule, When};
use rekeyd::sim::openrouter::OpenRouter;
use rekeyd::sim::vendors::Vendors;
use rekeyd::store::{Lane, Store};
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use crate::Figure;
use crate::seed;
use crate::stage::{Daemon, Stage};

pub const ALL: [&str; 5] = ["due", "idle", "claim", "dead", "replicas"];

/// Tests at one time in one process.
const CONCURRENCY: usize = 64;

/// By which the number of keys is divided.
#[derive(Debug, Clone, Copy)]
pub struct Scale(pub usize);

pub async fn play(scene: &str, scale: Scale) -> anyhow::Result<Vec<Figure>> {
    match scene {
        "due" => {
            Ok([due(1_000 / scale.0).await?, due(10_000 / scale.0).await?].into_iter().flatten().collect())
        }
        "idle" => idle(&[1, 10_000 / scale.0, 1_000_000 / scale.0]).await,
        "claim" => claim(1_000, 1_000_000 / scale.0).await,
        "dead" => dead(10_000 / scale.0).await,
        _ => replicas(6_000 / scale.0).await,
    }
}

/// Nothing is due by itself but in the first quarter of an hour of a year.
fn config(timeout: &str) -> String {
    format!(
        "[tests]\nschedule = \"0 0 0 1 1 *\"\nconcurrency = {CONCURRENCY}\nper_provider_concurrency = {CONCURRENCY}\n\
         host_spacing = \"0s\"\ntimeout = \"{timeout}\"\nallow_private_endpoints = true\n"
    )
}

async fn vendors(delay: Duration) -> Vendors {
    let vendors = Vendors::start().await;
    vendors.faults().add(Rule::new("openai", When::Before, Act::Delay(delay)));
    vendors
}

/// The least time of so many looks, in seconds.
fn ideal(count: usize, delay: Duration, processes: usize) -> f64 {
    number(count) / number(CONCURRENCY * processes) * delay.as_secs_f64()
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

async fn one(store: &mut AnyConnection, sql: &str) -> anyhow::Result<i64> {
    Ok(sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(store).await?.try_get(0)?)
}

/// From the first request to the last verdict in the store, in seconds.
async fn looked_at(stage: &Stage, vendors: &Vendors, count: usize) -> anyhow::Result<f64> {
    vendors.wait_until(|log| !log.is_empty()).await;
    let began = stage.elapsed();
    vendors.wait_until(|log| log.len() >= count && log.iter().all(|call| call.settled)).await;
    let mut store = stage.connect().await?;
    while one(&mut store, "SELECT COUNT(*) FROM keys WHERE looked_at IS NULL").await? > 0 {
        stage.pause(Span(5)).await;
    }
    Ok(stage.elapsed() - began)
}

/// A provider that answers after 50 ms, no pace.
async fn due(count: usize) -> anyhow::Result<Vec<Figure>> {
    let delay = Duration::from_millis(50);
    let stage = Stage::new(None, &config("10s")).await?;
    let vendors = vendors(delay).await;
    seed::due_keys(&stage, &vendors, count).await?;
    let daemon = stage.serve("serve.log").await?;
    let before = daemon.cpu()?;
    let took = looked_at(&stage, &vendors, count).await?;
    let cpu = (daemon.cpu()? - before) * 1000.0 / number(count);
    let memory = daemon.memory("VmHWM")?;
    daemon.stop().await?;
    Ok(vec![
        Figure::new(format!("{count} due keys: time"), took, 1.1 * ideal(count, delay, 1), "s"),
        Figure::new(format!("{count} due keys: CPU a test"), cpu, 0.4, "ms"),
        Figure::new(format!("{count} due keys: most memory"), memory, 60.0, "MiB"),
    ])
}

/// The next first of January, in UTC: when the schedule's period begins.
fn next_period(stage: &Stage) -> i64 {
    let year: i32 = stage.clock.now().rfc3339()[..4].parse().unwrap_or_default();
    Timestamp::parse_rfc3339(&format!("{}-01-01T00:00:00Z", year + 1)).map_or(0, |at| at.0)
}

/// Stored, and none due.
async fn idle(counts: &[usize]) -> anyhow::Result<Vec<Figure>> {
    const REST: Span = Span::seconds(10);
    const WATCH: Span = Span::seconds(30);
    let mut figures = Vec::new();
    let mut first = None;
    for count in counts {
        let stage = Stage::new(None, &config("10s")).await?;
        seed::rows(&stage, *count, 0, next_period(&stage)).await?;
        let daemon = stage.serve("serve.log").await?;
        stage.pause(REST).await;
        let before = daemon.cpu()?;
        stage.pause(WATCH).await;
        let cpu = (daemon.cpu()? - before) / WATCH.to_std().as_secs_f64() * 100.0;
        let memory = daemon.memory("VmRSS")?;
        daemon.stop().await?;
        // A tick of the CPU more or less is no figure.
        let (least_cpu, least_memory) = *first.get_or_insert((cpu, memory));
        figures.push(Figure::new(format!("idle, {count} stored: CPU of a core"), cpu, 0.5, "%"));
        figures.push(Figure::new(
            format!("idle, {count} stored: CPU beside one key's"),
            cpu,
            1.5 * least_cpu.max(0.1),
            "%",
        ));
        figures.push(Figure::new(
            format!("idle, {count} stored: memory beside one key's"),
            memory,
            least_memory + 10.0,
            "MiB",
        ));
    }
    Ok(figures)
}

/// A thousand due keys, claimed 64 at a time, beside few and beside many that are not due.
async fn claim(few: usize, many: usize) -> anyhow::Result<Vec<Figure>> {
    let (few_took, many_took) = (claims(few).await?, claims(many).await?);
    let what = format!("claim of {few} due keys, {many} stored");
    Ok(vec![Figure::new(what, many_took, 1.2 * few_took, "ms")])
}

/// Milliseconds of the fastest of several rounds: what the machine does besides is not asked for.
async fn claims(stored: usize) -> anyhow::Result<f64> {
    const DUE: usize = 1_000;
    let stage = Stage::new(None, &config("10s")).await?;
    seed::rows(&stage, stored, DUE, next_period(&stage)).await?;
    let store = Store::open(&stage.url, 2).await?;
    let lane = Lane { provider: "groq".to_owned(), current: false, again: false };
    let mut best = f64::MAX;
    for _ in 0..7 {
        let (began, now) = (stage.elapsed(), stage.clock.now());
        let mut ids = Vec::new();
        while ids.len() < DUE {
            let claimed = store.claim(&lane, now, ("bench", Span::minutes(1)), CONCURRENCY).await?;
            anyhow::ensure!(!claimed.keys.is_empty(), "{} of {DUE} were claimed", ids.len());
            ids.extend(claimed.keys.into_iter().map(|key| key.id));
        }
        best = best.min((stage.elapsed() - began) * 1000.0);
        store.give_back(&ids, "bench", None).await?;
    }
    store.close().await;
    Ok(best)
}

/// Fault 41: production's key dies while many keys of a provider that takes ten seconds for each are due.
async fn dead(slow: usize) -> anyhow::Result<Vec<Figure>> {
    let openrouter = OpenRouter::start().await;
    let first = openrouter.new_regular_key("production");
    let folder = tempfile::tempdir()?;
    let place = folder.path().join("agent.env");
    let text = format!(
        "[[accounts]]\nname = \"main\"\nprovider = \"openrouter\"\nprovisioning_key = \"env:REKEYD_PROVISIONING\"\n\
         base_url = \"{}\"\n[[rotations]]\nname = \"production\"\naccount = \"main\"\nevery = \"30d\"\n\
         destinations = [\"agent-env\"]\n[[destinations]]\nname = \"agent-env\"\ntype = \"file\"\npath = \"{}\"\n\
         format = \"env\"\nvariable = \"OPENROUTER_API_KEY\"\n",
        openrouter.base_url(),
        place.display()
    );
    let key = folder.path().join("provisioning-key");
    write_private(&key, &openrouter.new_provisioning_key())?;
    write_private(&place, &format!("OPENROUTER_API_KEY={first}\n"))?;
    let text = text.replace("env:REKEYD_PROVISIONING", &format!("file:{}", key.display()));
    let stage = Stage::new(None, &format!("{}{text}", config("15s"))).await?;
    stage.rekeyd(&["rotations", "adopt", "production", "--secret-stdin"], &first).await?;
    let vendors = vendors(Duration::from_secs(10)).await;
    seed::due_keys(&stage, &vendors, slow).await?;
    for key in openrouter.keys() {
        openrouter.edit_key(&key.hash, |key| key.deleted = true);
    }
    let daemon = stage.serve("serve.log").await?;
    let figures = healed(&stage, slow).await;
    daemon.stop().await?;
    figures
}

fn write_private(path: &std::path::Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text)?;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?)
}

/// Reads from the store when the second look was over, when the create was sent and when the file was confirmed.
async fn healed(stage: &Stage, slow: usize) -> anyhow::Result<Vec<Figure>> {
    const SECOND: &str = "SELECT MAX(over) FROM (SELECT o.at + o.latency_ms AS over FROM observations o
        JOIN keys k ON k.id = o.key_id WHERE k.rotation = 'production' AND k.generation = 1 AND o.outcome = 'invalid'
        ORDER BY o.at LIMIT 2) AS looks";
    const CREATE: &str = "SELECT MIN(started_at) FROM effects WHERE kind = 'create'";
    const CONFIRMED: &str = "SELECT MIN(h.updated_at) FROM holdings h JOIN keys k ON k.id = h.key_id
        WHERE k.generation = 2 AND h.level IN ('confirmed', 'effective')";
    let mut store = stage.connect().await?;
    let deadline = stage.elapsed() + 180.0;
    let mut confirmed = None;
    while confirmed.is_none() {
        anyhow::ensure!(stage.elapsed() < deadline, "the key was not replaced within three minutes");
        stage.pause(Span(50)).await;
        confirmed = sqlx::query(CONFIRMED).fetch_one(&mut store).await?.try_get::<Option<i64>, _>(0)?;
    }
    let (second, create) = (one(&mut store, SECOND).await?, one(&mut store, CREATE).await?);
    let after = |at: i64| Span(at - second).to_std().as_secs_f64();
    let confirmed = confirmed.context("it was waited for")?;
    Ok(vec![
        Figure::new(format!("dead key beside {slow} slow ones: create after"), after(create), 5.0, "s"),
        Figure::new(
            format!("dead key beside {slow} slow ones: confirmed after"),
            after(confirmed),
            10.0,
            "s",
        ),
    ])
}

/// One process, then three that share the keys.
async fn replicas(count: usize) -> anyhow::Result<Vec<Figure>> {
    let (alone, _) = shared(count, 1).await?;
    let (together, asked) = shared(count, 3).await?;
    Ok(vec![
        Figure::new(format!("{count} due keys, one replica: time"), alone, f64::INFINITY, "s"),
        Figure::new(format!("{count} due keys, three replicas: time"), together, alone / 2.5, "s"),
        Figure::new(format!("{count} due keys, three replicas: looks"), number(asked), number(count), ""),
    ])
}

/// Seconds, and how many looks there were.
async fn shared(count: usize, processes: usize) -> anyhow::Result<(f64, usize)> {
    let server = std::env::var("REKEYD_TEST_POSTGRES").context("run it by tests/run.sh bench")?;
    let url = new_database(&server).await?;
    let stage = Stage::new(Some(url), &config("10s")).await?;
    let vendors = vendors(Duration::from_millis(500)).await;
    seed::due_keys(&stage, &vendors, count).await?;
    let mut daemons: Vec<Daemon> = Vec::new();
    // Not due before all of them are ready.
    let mut store = stage.connect().await?;
    sqlx::query("UPDATE keys SET is_active = 0").execute(&mut store).await?;
    for process in 0..processes {
        daemons.push(stage.serve(&format!("serve-{process}.log")).await?);
    }
    sqlx::query("UPDATE keys SET is_active = 1").execute(&mut store).await?;
    let took = looked_at(&stage, &vendors, count).await?;
    for daemon in daemons {
        daemon.stop().await?;
    }
    Ok((took, vendors.requests().len()))
}

async fn new_database(server: &str) -> anyhow::Result<String> {
    use sqlx::{Connection, Executor};
    let name = format!("bench_{}", uuid::Uuid::new_v4().simple());
    let mut admin = sqlx::PgConnection::connect(&format!("{server}/postgres")).await?;
    admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
    Ok(format!("{server}/{name}"))
}
