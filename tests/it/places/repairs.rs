//! What a person publishes again; and the step after a proved write, when it fails.

use rekeyd::sim::github::Permissions;
use rekeyd::sim::vercel::{ReadyState, Vercel};
use rekeyd::store::{AlertRow, Store};
use serde_json::Value;

use super::{at_rest, drifts, open, write_by_hand};
use crate::support::ledger::runs;
use crate::support::wait::until;
use crate::support::world::SECRET;
use crate::support::{Db, World, on_both_databases};

/// What rows say of somebody else's changes, of any key.
async fn drift_of_any_key(world: &World) -> Vec<String> {
    let store = Store::open(&world.database.url, 2).await.unwrap();
    let rows = store.holdings("production").await.unwrap();
    store.close().await;
    rows.into_iter().filter_map(|row| row.fact.drift).collect()
}

async fn failures_told(world: &World) -> Vec<AlertRow> {
    let store = Store::open(&world.database.url, 2).await.unwrap();
    let alerts = store.alerts(true).await.unwrap();
    store.close().await;
    alerts.into_iter().filter(|alert| alert.kind == "destination_failed").collect()
}

/// The daemon brings the open run to its end.
async fn run_ends(world: &World) {
    until("the run ends", async || runs(world).await[0] == "done").await;
}

/// A destination as `destinations list --json` has it.
async fn listed(world: &World, name: &str) -> Value {
    let rows = world.rekeyd(&["destinations", "list", "--json"]).await.ok().json();
    rows.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone()
}

on_both_databases! {
    async fn a_hand_edit_is_told_and_over_once_it_is_published_again(db: Db) {
        let world = at_rest(db, "hold").await;
        let current = world.in_file().unwrap();
        write_by_hand(&world, "by-hand");
        let mut daemon = world.serve();
        until("told", async || open(&drifts(&world).await, "agent-env") == 1).await;
        daemon.kill().await.unwrap();
        assert!(listed(&world, "agent-env").await["drift"].is_string());
        let table = world.rekeyd(&["destinations", "list"]).await.ok();
        assert!(table.stdout.contains("TROUBLE") && table.stdout.contains("holds another value since"), "{table:?}");
        let seen = world.rekeyd(&["destinations", "check", "agent-env"]).await;
        assert!(seen.status == 1 && seen.stdout.contains("changed by somebody else"), "{seen:?}");
        assert_eq!(world.in_file().as_deref(), Some("by-hand"), "a check changes nothing");

        // No daemon: the command itself writes, proves, and says that it is over.
        let did = world.rekeyd(&["destinations", "publish", "agent-env"]).await.ok();
        assert!(did.stdout.contains("agent-env proved that it holds the key"), "{did:?}");
        assert_eq!(world.in_file(), Some(current));
        let told = drifts(&world).await;
        assert!(told.len() == 1 && told[0].resolved_at.is_some(), "{told:?}");
        assert_eq!(drift_of_any_key(&world).await, Vec::<String>::new());
        let row = listed(&world, "agent-env").await;
        assert_eq!((&row["drift"], &row["level"], &row["error"]), (&Value::Null, &"confirmed".into(), &Value::Null));
        world.rekeyd(&["destinations", "check"]).await.ok();
        world.assert_nothing_leaked();
    }
}

on_both_databases! {
    async fn a_change_that_holds_up_a_run_is_over_for_both_of_its_keys(db: Db) {
        let mut world = World::new(db).await;
        world.waits.tests = "*/2 * * * * *";
        world.configure();
        world.adopt().await;
        let mut daemon = world.serve();
        until("the adopted key is seen", async || {
            listed(&world, "agent-env").await["level"] == "confirmed"
        })
        .await;
        write_by_hand(&world, "by-hand");
        until("told", async || open(&drifts(&world).await, "agent-env") == 1).await;
        daemon.kill().await.unwrap();
        world.rekeyd(&["rotations", "run", "production"]).await;
        let run = world.newest_run().await;
        assert_eq!((&run["state"], world.in_file().as_deref()), (&"publishing".into(), Some("by-hand")), "{run}");
        let did = world.rekeyd(&["destinations", "publish", "agent-env"]).await.ok();
        assert_eq!(drift_of_any_key(&world).await, Vec::<String>::new(), "{did:?}");
        let mut daemon = world.serve();
        run_ends(&world).await;
        daemon.kill().await.unwrap();
        assert_eq!(world.in_file(), world.at_github());
        assert_eq!(world.living().len(), 1);
        assert!(drifts(&world).await.iter().all(|alert| alert.resolved_at.is_some()));
        world.assert_destinations_work("after the repair");
    }
}

/// A dispatch is a courtesy: the secret is there, and whoever reads it next has the new key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispatch_that_is_refused_holds_up_nothing_and_is_on_record() {
    let world = World::new(Db::Sqlite).await;
    world.github.set_permissions(&world.github_token, Permissions::secrets_write());
    let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
    let text = text.replace("type = \"github\"\n", "type = \"github\"\ndispatch = \"rotated\"\n");
    std::fs::write(world.path("rekeyd.toml"), text).unwrap();
    world.adopt().await;
    let run = world.rekeyd(&["rotations", "run", "production", "--wait", "--json"]).await.ok().json();
    assert_eq!(run["outcome"], "done", "{run}");
    let effects = run["effects"].as_array().unwrap();
    let deploys: Vec<&Value> = effects.iter().filter(|effect| effect["kind"] == "deploy").collect();
    assert!(!deploys.is_empty() && deploys.iter().all(|deploy| deploy["status"] == "failed"), "{run}");
    assert!(deploys[0]["evidence"].to_string().contains("Contents: read and write"), "{run}");
    assert!(world.github.dispatches().is_empty());
    assert!(failures_told(&world).await.is_empty(), "nobody is woken for it");
    assert_eq!(listed(&world, "github-production").await["error"], Value::Null);
}

/// A redeploy is required: without it production runs with the old key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redeploy_that_fails_is_told_and_keeps_the_old_key_until_the_run_is_resumed() {
    let world = World::new(Db::Sqlite).await;
    let vercel = Vercel::start_with(world.script.clone()).await;
    let project = vercel.add_project("acme-app");
    vercel.set_by_hand(&project, SECRET, &["production"], "encrypted", &world.first);
    vercel.deploy_by_hand(&project);
    world.private("vercel-token", &vercel.new_token());
    let destination = format!(
        "[[destinations]]\nname = \"vercel-app\"\ntype = \"vercel\"\nproject = \"acme-app\"\nvariable = \"{SECRET}\"\n\
         targets = [\"production\"]\ntoken = \"file:{}\"\napi_url = \"{}\"",
        world.path("vercel-token").display(),
        vercel.api_url()
    );
    world.configure_with(&destination, r#"["agent-env", "vercel-app"]"#);
    world.adopt().await;
    vercel.settings(|settings| settings.outcome = ReadyState::Error);
    let mut daemon = world.serve();
    world.rekeyd(&["rotations", "run", "production"]).await;
    until("told", async || !failures_told(&world).await.is_empty()).await;
    let told = failures_told(&world).await.remove(0);
    assert_eq!(told.subject, "destination vercel-app");
    for said in [
        "3 deployments ended without being ready",
        "read its log at Vercel, and mend what",
        "The old key stays alive until it does",
        "rekeyd runs resume",
    ] {
        assert!(told.detail.contains(said), "{said}: {told:?}");
    }
    assert_eq!(vercel.production_sees(&project, SECRET).as_ref(), Some(&world.first));
    assert_eq!(world.living().len(), 2, "both keys live");
    let why = world.rekeyd(&["why", "production"]).await.ok();
    assert!(why.stdout.contains("vercel-app"), "{why:?}");
    vercel.settings(|settings| settings.outcome = ReadyState::Ready);
    let id = world.newest_run().await["id"].as_str().unwrap().to_owned();
    world.rekeyd(&["runs", "resume", &id]).await;
    run_ends(&world).await;
    daemon.kill().await.unwrap();
    assert_eq!(vercel.production_sees(&project, SECRET), world.in_file());
    assert!(failures_told(&world).await.iter().all(|alert| alert.resolved_at.is_some()));
}
