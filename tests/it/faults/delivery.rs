//! Faults 12 to 17 and 28: the destinations.

use std::time::Duration;

use rekeyd::sim::fault::{Act, When};
use rekeyd::sim::github::{Permissions, Scope, secondary_rate_limit};
use rekeyd::sim::vercel::{Progress, ReadyState, Vercel};
use serde_json::Value;

use super::invariants::{Proof, Watch, invariants};
use super::{alerts, ended, fault, ledger, reconfigure, rotate, runs_in, serve, stop, until};
use crate::support::world::{REPOSITORY, SECRET};
use crate::support::{Db, World};

/// Starts a run and leaves it where it waits.
async fn begin(world: &World) -> Value {
    let out = world.rekeyd(&["rotations", "run", "production", "--json"]).await;
    assert!(!out.stderr.contains("panicked"), "{out:?}");
    world.newest_run().await
}

async fn resume(world: &World, run: &Value) {
    world.rekeyd(&["runs", "resume", run["id"].as_str().unwrap()]).await.ok();
}

/// The daemon works until this run ended well.
async fn finished(world: &World) {
    let daemon = serve(world).await;
    until("done", async || runs_in(world, &["done"]).await == 1).await;
    stop(daemon).await;
}

/// The old key still works, whatever happened.
fn assert_old_alive(world: &World, case: &str) {
    let old = world.openrouter.key_by_hash(&world.first_hash()).unwrap();
    assert!(!old.disabled && !old.deleted, "{case}: the old key was touched");
}

fault! {
    async fn fault_12_one_of_three_destinations_is_down(db: Db) {
        let world = std::sync::Arc::new(World::new(db).await);
        let third = format!(
            "[[destinations]]\nname = \"third\"\ntype = \"file\"\npath = \"{}\"\nformat = \"raw\"",
            world.path("third").display()
        );
        world.configure_with(&third, r#"["github-production", "agent-env", "third"]"#);
        world.adopt().await;
        world.script.always("put_secret", When::Before, Act::status(503));
        let watch = Watch::start(&world, "one destination is down");
        let child = world.command(&["rotations", "run", "production", "--wait"]).spawn().unwrap();
        let puts = |world: &World| {
            world.github.requests().iter().filter(|request| request.label == "put_secret").count()
        };
        let given_up = || world.openrouter.key_by_hash(&world.first_hash()).unwrap().disabled;
        until("tried again and again", async || puts(&world) >= 3 || given_up()).await;
        let others = [world.in_file(), std::fs::read_to_string(world.path("third")).ok()];
        assert!(others[0] == others[1] && others[0].as_deref() != Some(world.first.as_str()), "the others have it");
        assert_old_alive(&world, "one is down");
        assert_eq!(world.openrouter.keys().len(), 2, "no further key is issued");
        let told = async || alerts(&world).await.contains(&"destination_failed".to_owned());
        until("it is told", told).await;
        world.script.clear();
        let run = world.newest_run().await;
        world.rekeyd(&["runs", "resume", run["id"].as_str().unwrap()]).await;
        let out = ended(child).await;
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        watch.stop().await;
        assert!(!alerts(&world).await.contains(&"destination_failed".to_owned()));
        assert_eq!(world.at_github(), world.in_file());
        invariants(&world, "one destination was down").await
    }
}

fault! {
    async fn fault_13_public_key_changes_and_secondary_rate_limit(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        let held = world.script.hold("put_secret", When::Before);
        world.script.nth("put_secret", 2, When::Before, secondary_rate_limit(Some(1)));
        let child = world.command(&["rotations", "run", "production", "--wait"]).spawn().unwrap();
        held.arrived().await;
        world.github.rotate_public_key(&Scope::repo(REPOSITORY));
        held.release();
        let out = ended(child).await;
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let statuses: Vec<_> = world.github.requests().into_iter().filter(|r| r.label == "put_secret").collect();
        let statuses: Vec<_> = statuses.iter().map(|request| request.status).collect();
        assert!(statuses.contains(&Some(422)) && statuses.contains(&Some(403)), "{statuses:?}");
        assert_eq!(world.at_github(), world.in_file());
        invariants(&world, "sealed anew").await
    }
}

fault! {
    async fn fault_14_selected_repositories_are_kept(db: Db) {
        let world = World::new(db).await;
        world.github.add_org("acme");
        world.github.add_repo("acme/web");
        world.private("github-token", &world.github.new_token(Permissions::everything()));
        let destination = |more: &str| {
            format!(
                "[[destinations]]\nname = \"org\"\ntype = \"github\"\norganization = \"acme\"\nsecret = \"{SECRET}\"\n\
                 token = \"file:{}\"\napi_url = \"{}\"\nvisibility = \"selected\"\n{more}",
                world.path("github-token").display(),
                world.github.api_url()
            )
        };
        let all = r#"["github-production", "agent-env", "org"]"#;
        world.configure_with(&destination("repositories = [\"app\", \"web\"]"), all);
        world.adopt().await;
        rotate(&world).await;
        let before = world.github.secret(&Scope::org("acme"), SECRET).unwrap();
        assert_eq!(before.selected_repository_ids.len(), 2);
        // A person chose them; the configuration no longer says which.
        world.configure_with(&destination(""), all);
        rotate(&world).await;
        let after = world.github.secret(&Scope::org("acme"), SECRET).unwrap();
        assert_eq!(after.selected_repository_ids, before.selected_repository_ids);
        assert!(after.value != before.value && Some(after.value) == world.at_github(), "and it was written");
        invariants(&world, "selected repositories").await
    }
}

/// Somebody writes another key there in grace. With these waits it is seen by a look between, or only before the kill.
async fn edited(db: Db, tests: &'static str, grace: &'static str) -> Proof {
    let mut world = World::new(db).await;
    (world.waits.tests, world.waits.grace) = (tests, grace);
    world.configure();
    world.adopt().await;
    let run = begin(&world).await;
    assert_eq!(run["state"], "grace", "{run}");
    let other = world.openrouter.new_regular_key("somebody's");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    world.github.set_secret_by_hand(&Scope::repo(REPOSITORY), SECRET, &other);
    let daemon = serve(&world).await;
    until("drift is told", async || alerts(&world).await.contains(&"destination_drift".to_owned())).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_old_alive(&world, "drift");
    assert_eq!(world.at_github().as_deref(), Some(other.as_str()), "it is not written over");
    world.rekeyd(&["destinations", "publish", "github-production"]).await.ok();
    // Else it looks again within five minutes.
    resume(&world, &run).await;
    until("done", async || runs_in(&world, &["done"]).await == 1).await;
    stop(daemon).await;
    assert_eq!(world.at_github(), world.in_file());
    invariants(&world, "after the repair").await
}

fault! {
    async fn fault_15_a_destination_edited_by_hand_mid_run(db: Db) {
        let (between, before_the_kill) =
            tokio::join!(edited(db, "*/2 * * * * *", "15s"), edited(db, "0 */15 * * * *", "8s"));
        drop(between);
        before_the_kill
    }
}

fault! {
    async fn fault_16_a_destination_that_stores_nothing(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        world.github.settings(|settings| settings.swallow_writes = true);
        let child = world.command(&["rotations", "run", "production", "--wait"]).spawn().unwrap();
        let told = async || alerts(&world).await.contains(&"destination_failed".to_owned());
        until("it is told", told).await;
        assert_old_alive(&world, "a write that was swallowed");
        assert_eq!(world.at_github().as_deref(), Some(world.first.as_str()));
        world.github.settings(|settings| settings.swallow_writes = false);
        resume(&world, &world.newest_run().await).await;
        assert!(ended(child).await.status.success());
        assert_eq!(world.at_github(), world.in_file());
        invariants(&world, "after a swallowed write").await
    }
}

/// How Vercel misbehaves after it took the write, or instead.
#[derive(Debug, Clone, Copy)]
enum Build {
    Fails,
    NeverReady,
    CreatedWithFailed,
}

impl Build {
    fn begin(self, vercel: &Vercel) {
        vercel.settings(|settings| match self {
            Self::Fails => settings.outcome = ReadyState::Error,
            Self::NeverReady => settings.progress = Progress::Never,
            Self::CreatedWithFailed => {
                settings.fail_creates = Some(("ENV_CONFLICT".to_owned(), "exists".to_owned()));
            }
        });
    }

    fn end(vercel: &Vercel) {
        vercel.settings(|settings| {
            settings.outcome = ReadyState::Ready;
            settings.progress = Progress::PerPoll;
            settings.fail_creates = None;
        });
    }
}

async fn build_fails(db: Db, build: Build) -> Proof {
    let case = format!("Vercel: {build:?}");
    let world = World::new(db).await;
    let vercel = Vercel::start_with(world.script.clone()).await;
    let team = vercel.add_team("acme");
    let project = vercel.add_project_of(&team, "app");
    world.private("vercel-token", &vercel.new_token_for(&team));
    if !matches!(build, Build::CreatedWithFailed) {
        vercel.set_by_hand(&project, SECRET, &["production"], "encrypted", &world.first);
    }
    vercel.deploy_by_hand(&project);
    let destination = format!(
        "[[destinations]]\nname = \"vercel\"\ntype = \"vercel\"\nproject = \"{project}\"\nteam = \"{team}\"\n\
         variable = \"{SECRET}\"\ntargets = [\"production\"]\nsensitive = false\nredeploy = true\n\
         token = \"file:{}\"\napi_url = \"{}\"",
        world.path("vercel-token").display(),
        vercel.api_url()
    );
    world.configure_with(&destination, r#"["github-production", "agent-env", "vercel"]"#);
    world.adopt().await;
    build.begin(&vercel);
    let mut child = world.command(&["rotations", "run", "production", "--wait"]).spawn().unwrap();
    let asked = |label: &str| vercel.requests().iter().filter(|request| request.label == label).count();
    let refused = "SELECT id FROM alerts WHERE kind = 'destination_failed' AND detail LIKE '%ENV_CONFLICT%'";
    until(&case, async || match build {
        Build::CreatedWithFailed => !ledger::rows(&world, refused).await.is_empty(),
        Build::NeverReady => asked("read_deployment") >= 2,
        Build::Fails => !vercel.deployments(&project).iter().all(|d| d.state == ReadyState::Ready),
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_old_alive(&world, &case);
    if !matches!(build, Build::CreatedWithFailed) {
        let seen = vercel.production_sees(&project, SECRET);
        assert_eq!(seen.as_deref(), Some(world.first.as_str()), "{case}: production has not changed");
    }
    Build::end(&vercel);
    if !matches!(build, Build::NeverReady) {
        let run = world.newest_run().await;
        world.rekeyd(&["runs", "resume", run["id"].as_str().unwrap()]).await;
    }
    let ended = tokio::time::timeout(Duration::from_mins(2), child.wait()).await.expect("it ends").unwrap();
    if !ended.success() {
        // It had parked before it was resumed.
        resume(&world, &world.newest_run().await).await;
        finished(&world).await;
    }
    assert_eq!(vercel.production_sees(&project, SECRET), world.at_github(), "{case}");
    invariants(&world, &case).await
}

fault! {
    async fn fault_17_a_redeploy_that_fails_or_never_gets_ready(db: Db) {
        let (fails, never, created) = tokio::join!(
            build_fails(db, Build::Fails),
            build_fails(db, Build::NeverReady),
            build_fails(db, Build::CreatedWithFailed),
        );
        drop((fails, never));
        created
    }
}

fault! {
    async fn fault_28_the_configuration_drops_a_destination_mid_run(db: Db) {
        let mut world = World::new(db).await;
        world.waits.grace = "8s";
        world.configure();
        world.adopt().await;
        let run = begin(&world).await;
        assert_eq!(run["state"], "grace", "{run}");
        let whole = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
        reconfigure(&world, r#"["github-production", "agent-env"]"#, r#"["agent-env"]"#);
        parks(&world, "a destination is dropped").await;
        // The whole rotation is dropped.
        std::fs::write(world.path("rekeyd.toml"), without_rotation(&whole)).unwrap();
        parks(&world, "the rotation is dropped").await;
        // It was a mistake.
        std::fs::write(world.path("rekeyd.toml"), &whole).unwrap();
        resume(&world, &run).await;
        finished(&world).await;
        assert_eq!(world.at_github(), world.in_file());
        invariants(&world, "the configuration was mended").await
    }
}

fn without_rotation(text: &str) -> String {
    let (before, rest) = text.split_once("[[rotations]]").unwrap();
    let (_, after) = rest.split_once("[[destinations]]").unwrap();
    format!("{before}[[destinations]]{after}")
}

/// A daemon parks the run, tells it, and leaves both keys alive.
async fn parks(world: &World, case: &str) {
    let daemon = serve(world).await;
    until(case, async || runs_in(world, &["parked"]).await == 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop(daemon).await;
    assert_eq!(world.living().len(), 2, "{case}");
    assert!(alerts(world).await.contains(&"rotation_parked".to_owned()), "{case}");
    world.assert_destinations_work(case);
}
