//! Destinations between rotations: what somebody else changes there is seen, told once and, where the configuration
//! says so, written over. And one rotation to eight of them, two of which fail for a while.
//!
//! - `disk`: files on a disk that refuses
//! - `held`: a change that is held, whoever would write next
//! - `left_open`: writes without a run that a process left open
//! - `one_file`: several variables of one file, written at once
//! - `one_place`: one address, two writers
//! - `repairs`: what a person publishes again; the step after a write, when it fails

mod disk;
mod held;
mod left_open;
mod one_file;
mod one_place;
mod repairs;
mod strangers;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rekeyd::sim::fault::{Act, Rule, When};
use rekeyd::sim::github::{Permissions, Scope};
use rekeyd::sim::vercel::Vercel;
use rekeyd::sim::world::RequestLog;
use rekeyd::store::{AlertRow, Store};
use serde_json::Value;

use crate::support::wait::until;
use crate::support::world::{REPOSITORY, SECRET};
use crate::support::{Db, World, on_both_databases};

async fn drifts(world: &World) -> Vec<AlertRow> {
    let store = Store::open(&world.database.url, 2).await.unwrap();
    let alerts = store.alerts(true).await.unwrap();
    store.close().await;
    alerts.into_iter().filter(|alert| alert.kind == "destination_drift").collect()
}

fn open(alerts: &[AlertRow], place: &str) -> usize {
    let subject = format!("destination {place}");
    alerts.iter().filter(|alert| alert.subject == subject && alert.resolved_at.is_none()).count()
}

/// Looks at the destinations that began after now, counted by reads at GitHub.
async fn looked_twice(world: &World) {
    let reads = || world.github.requests().iter().filter(|request| request.label == "read_secret").count();
    let before = reads();
    until("two more looks", async || reads() >= before + 2).await;
}

/// A rotation is done, keys are tested every two seconds, and nothing is due.
async fn at_rest(db: Db, on_drift: &str) -> World {
    let mut world = World::new(db).await;
    world.waits.tests = "*/2 * * * * *";
    world.configure();
    let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
    let text =
        text.replace("type = \"github\"\n", &format!("type = \"github\"\non_drift = \"{on_drift}\"\n"));
    let text = text.replace("type = \"file\"\n", &format!("type = \"file\"\non_drift = \"{on_drift}\"\n"));
    std::fs::write(world.path("rekeyd.toml"), text).unwrap();
    world.adopt().await;
    world.rekeyd(&["rotations", "run", "production", "--wait"]).await.ok();
    world
}

fn write_by_hand(world: &World, key: &str) {
    std::fs::write(world.path("agent.env"), format!("OTHER=1\n{SECRET}={key}\n")).unwrap();
}

on_both_databases! {
    async fn what_somebody_else_changes_is_told_once_and_held(db: Db) {
        let world = at_rest(db, "hold").await;
        let current = world.in_file().unwrap();
        write_by_hand(&world, &world.first);
        assert!(world.github.delete_secret_by_hand(&Scope::repo(REPOSITORY), SECRET));
        let mut daemon = world.serve();
        until("told", async || {
            let told = drifts(&world).await;
            open(&told, "agent-env") == 1 && open(&told, "github-production") == 1
        })
        .await;
        looked_twice(&world).await;
        let told = drifts(&world).await;
        assert_eq!(told.len(), 2, "once each: {told:?}");
        assert!(told.iter().all(|alert| alert.detail.contains("destinations publish")), "{told:?}");
        assert_eq!(world.in_file().as_deref(), Some(world.first.as_str()), "held");
        assert_eq!(world.at_github(), None, "held");
        let shown = world.rotation().await;
        assert!(shown["destinations"][0]["drift"].is_string() && shown["destinations"][1]["drift"].is_string(), "{shown}");
        // The file shows our value again; GitHub is repaired by a person.
        write_by_hand(&world, &current);
        world.rekeyd(&["destinations", "publish", "github-production"]).await.ok();
        until("over", async || drifts(&world).await.iter().all(|alert| alert.resolved_at.is_some())).await;
        assert_eq!((world.at_github(), world.in_file()), (Some(current.clone()), Some(current)));
        daemon.kill().await.unwrap();
        let seen = world.rekeyd(&["destinations", "check"]).await.ok();
        assert!(seen.stdout.contains("Secrets: read"), "{}", seen.stdout);
        assert_eq!(drifts(&world).await.len(), 2);
        world.assert_nothing_leaked();
    }
}

on_both_databases! {
    async fn overwrite_writes_the_current_key_again_after_a_fresh_test(db: Db) {
        let world = at_rest(db, "overwrite").await;
        let current = world.in_file().unwrap();
        let tested = |world: &World| world.openrouter.requests().iter().filter(|r| r.label == "whoami").count();
        write_by_hand(&world, &world.first);
        let before = tested(&world);
        let mut daemon = world.serve();
        until("written again", async || world.in_file().as_ref() == Some(&current)).await;
        assert!(tested(&world) > before);
        until("over", async || {
            let told = drifts(&world).await;
            told.len() == 1 && told[0].resolved_at.is_some()
        })
        .await;
        daemon.kill().await.unwrap();
        world.assert_destinations_work("after the repair");
        world.assert_nothing_leaked();
    }
}

on_both_databases! {
    async fn a_frozen_account_is_looked_at_and_never_written_to(db: Db) {
        let world = at_rest(db, "overwrite").await;
        world.openrouter.new_regular_key(&world.name_of("production", 9).await);
        assert_ne!(world.rekeyd(&["rotations", "run", "production"]).await.status, 0);
        assert_eq!(world.rotation().await["state"], "frozen");
        write_by_hand(&world, &world.first);
        let mut daemon = world.serve();
        until("told", async || open(&drifts(&world).await, "agent-env") == 1).await;
        looked_twice(&world).await;
        assert_eq!(world.in_file().as_deref(), Some(world.first.as_str()));
        daemon.kill().await.unwrap();
    }
}

/// Destinations besides the two that every world has.
fn six_more(world: &World, vercel: &Vercel) -> String {
    let folder = world.folder.path().display();
    let github = format!(
        "type = \"github\"\nrepository = \"{REPOSITORY}\"\nsecret = \"{SECRET}\"\ntoken = \"file:{folder}/github-token\"\napi_url = \"{}\"",
        world.github.api_url()
    );
    let vercel = format!(
        "type = \"vercel\"\nvariable = \"{SECRET}\"\ntoken = \"file:{folder}/vercel-token\"\napi_url = \"{}\"",
        vercel.api_url()
    );
    format!(
        r#"
[[destinations]]
name = "github-environment"
environment = "production"
{github}
[[destinations]]
name = "dependabot"
store = "dependabot"
{github}
[[destinations]]
name = "vercel-app"
project = "acme-app"
targets = ["production"]
{vercel}
[[destinations]]
name = "vercel-docs"
project = "acme-docs"
targets = ["preview", "development"]
{vercel}
[[destinations]]
name = "agent-json"
type = "file"
path = "{folder}/agent.json"
format = "json"
variable = "key"
[[destinations]]
name = "hook"
type = "command"
command = ["{folder}/hook.sh"]
"#
    )
}

const EIGHT: &str = r#"["github-production", "agent-env", "github-environment", "dependabot", "vercel-app",
    "vercel-docs", "agent-json", "hook"]"#;

/// Which destination a call was for.
fn place_of(request: &RequestLog) -> &'static str {
    let has = |part: &str| request.path.contains(part);
    match () {
        () if has("/environments/") => "github-environment",
        () if has("/dependabot/") => "dependabot",
        () if has("/actions/") => "github-production",
        () if has("acme-docs") => "vercel-docs",
        () => "vercel-app",
    }
}

/// Calls of a kind at each destination, as a table.
fn table(requests: &[RequestLog]) -> String {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for request in requests {
        *counts.entry((place_of(request), request.label)).or_default() += 1;
    }
    let mut text = String::from("destination          call                 times\n");
    for ((place, label), times) in counts {
        writeln!(text, "{place:<20} {label:<20} {times}").unwrap();
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_rotation_to_eight_destinations_two_of_which_fail_for_a_while() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new(Db::Sqlite).await;
    world.github.add_environment(REPOSITORY, "production");
    world.github.set_permissions(&world.github_token, Permissions::everything());
    let vercel = Vercel::start_with(world.script.clone()).await;
    let (app, docs) = (vercel.add_project("acme-app"), vercel.add_project("acme-docs"));
    vercel.deploy_by_hand(&app);
    world.private("vercel-token", &vercel.new_token());
    let hook =
        world.private("hook.sh", &format!("#!/bin/sh\ncat > {}/hooked\n", world.folder.path().display()));
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o700)).unwrap();
    world.configure_with(&six_more(&world, &vercel), EIGHT);
    world.adopt().await;
    let plan = world.rekeyd(&["rotations", "plan", "production", "--json"]).await.ok().json();
    for expected in [
        "replaces OPENROUTER_API_KEY, there since",
        "creates OPENROUTER_API_KEY for preview",
        "holds OPENROUTER_API_KEY, mode",
    ] {
        assert!(plan["calls"].to_string().contains(expected), "{expected}: {plan}");
    }
    world.script.add(Rule::new("put_secret", When::Before, Act::status(502)).path("environments").times(2));
    world.script.add(Rule::new("create_env", When::Before, Act::status(500)).path("acme-docs").times(2));
    let (at_github, at_vercel) = (world.github.requests().len(), vercel.requests().len());
    let run = world.rekeyd(&["rotations", "run", "production", "--wait", "--json"]).await.ok().json();
    assert_eq!(run["outcome"], "done", "{run}");
    let key = world.at_github().unwrap();
    let held = [
        world.in_file(),
        world.github.secret_value(&Scope::environment(REPOSITORY, "production"), SECRET),
        world.github.secret_value(&Scope::repo(REPOSITORY).dependabot(), SECRET),
        vercel.production_sees(&app, SECRET),
        vercel.value(&docs, SECRET, "preview"),
        vercel.value(&docs, SECRET, "development"),
        std::fs::read(world.path("agent.json")).ok().and_then(|text| {
            serde_json::from_slice::<Value>(&text).unwrap()["key"].as_str().map(str::to_owned)
        }),
        std::fs::read_to_string(world.path("hooked")).ok(),
    ];
    assert!(held.iter().all(|value| value.as_ref() == Some(&key)), "every place holds the new key");
    assert_eq!(world.living().len(), 1, "the old key is gone");
    let attempts = |name: &str| {
        let effects = run["effects"].as_array().unwrap();
        let target = format!("{name} generation 2");
        let found =
            effects.iter().find(|effect| effect["kind"] == "publish" && effect["target"] == target.as_str());
        found.unwrap_or_else(|| panic!("{target}: {run}"))["attempt"].as_i64().unwrap()
    };
    assert!(attempts("github-environment") >= 3 && attempts("vercel-docs") >= 3, "{run}");
    for name in ["github-production", "agent-env", "dependabot", "vercel-app", "agent-json", "hook"] {
        assert_eq!(attempts(name), 1, "a failing destination repeats nothing elsewhere: {name}");
    }
    let mut calls = world.github.requests().split_off(at_github);
    calls.extend(vercel.requests().split_off(at_vercel));
    std::fs::write(
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("calls.txt"),
        table(&calls),
    )
    .unwrap();
    world.assert_nothing_leaked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_dropped_in_the_middle_of_a_run_parks_it_until_it_is_released() {
    let mut world = World::new(Db::Sqlite).await;
    world.waits.grace = "8s";
    world.configure();
    world.adopt().await;
    let run = world.rekeyd(&["rotations", "run", "production", "--json"]).await.ok().json();
    assert_eq!(run["state"], "grace", "{run}");
    let id = run["id"].as_str().unwrap();
    for kept in ["agent-env", "nosuch"] {
        let refused = world.rekeyd(&["runs", "release", id, kept]).await;
        assert!(refused.status != 0 && refused.stderr.contains(kept), "it is required: {refused:?}");
    }
    world.configure_with("", r#"["github-production"]"#);
    let out = world.rekeyd(&["runs", "watch", id]).await;
    assert_ne!(out.status, 0, "{out:?}");
    let parked = world.newest_run().await;
    assert_eq!(parked["state"], "parked", "{parked}");
    assert!(parked["error"].as_str().unwrap().contains("runs release"), "{parked}");
    assert_eq!(world.living().len(), 2, "both keys live");
    let released = world.rekeyd(&["runs", "release", id, "agent-env"]).await;
    assert!(released.stderr.contains("released") || released.stdout.contains("released"), "{released:?}");
    world.rekeyd(&["runs", "watch", id]).await.ok();
    assert_eq!(world.newest_run().await["outcome"], "done");
    assert_eq!(world.living().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_deployment_put_back_is_told_until_somebody_promotes_ours() {
    let mut world = World::new(Db::Sqlite).await;
    world.waits.tests = "*/2 * * * * *";
    world.github.add_environment(REPOSITORY, "production");
    world.github.set_permissions(&world.github_token, Permissions::everything());
    let vercel = Vercel::start_with(world.script.clone()).await;
    let app = vercel.add_project("acme-app");
    let before = vercel.deploy_by_hand(&app);
    world.private("vercel-token", &vercel.new_token());
    world.configure_with(&six_more(&world, &vercel), r#"["agent-env", "vercel-app"]"#);
    world.adopt().await;
    world.rekeyd(&["rotations", "run", "production", "--wait"]).await.ok();
    let key = world.in_file().unwrap();
    assert_eq!(vercel.production_sees(&app, SECRET).as_ref(), Some(&key));
    let (ours, builds) = (vercel.production(&app).unwrap(), vercel.deployments(&app).len());
    vercel.roll_back(&app, &before);
    let mut daemon = world.serve();
    until("told", async || open(&drifts(&world).await, "vercel-app") == 1).await;
    assert!(drifts(&world).await[0].detail.contains("older deployment"));
    assert_eq!(vercel.deployments(&app).len(), builds, "nothing is built for it");
    vercel.roll_back(&app, &ours);
    until("over", async || open(&drifts(&world).await, "vercel-app") == 0).await;
    assert_eq!(vercel.production_sees(&app, SECRET).as_ref(), Some(&key));
    daemon.kill().await.unwrap();
}

/// A key that was adopted is repaired where it was seen, and published nowhere else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_never_publishes_an_adopted_key() {
    let mut world = World::new(Db::Sqlite).await;
    world.waits.tests = "*/2 * * * * *";
    world.configure();
    let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
    let text = text.replace("type = \"file\"\n", "type = \"file\"\non_drift = \"overwrite\"\n");
    std::fs::write(world.path("rekeyd.toml"), text).unwrap();
    world.adopt().await;
    write_by_hand(&world, "somebody-elses");
    let mut daemon = world.serve();
    until("written again", async || world.in_file().as_ref() == Some(&world.first)).await;
    until("over", async || open(&drifts(&world).await, "agent-env") == 0).await;
    daemon.kill().await.unwrap();
    assert!(world.github.requests().iter().all(|request| request.method != "PUT"));
}
