//! What must never happen, by the real binary: the guard, the two kinds of key, bad days, leaks.
//!
//! - `budget`: a budget of calls, and what refills it
//! - `busy`: the database is busy at the commit after a 201
//! - `large`: what changes during a long listing
//! - `nowhere`: a confirmation never acts on what is not there
//! - `stalled`: what stands still is told
//! - `standing`: processes whose configurations differ
//! - `store_alone`: who can write the database and has no encryption key gets no secret
//! - `thaw`: what a thaw asks of rotations that the restored store hardly knows
//! - `upgrade`: a database from before secrets were bound to their rows

mod budget;
mod busy;
mod large;
mod nowhere;
mod stalled;
mod standing;
mod store_alone;
mod thaw;
mod turns;
mod upgrade;

use rekeyd::sim::fault::{Act, When};
use rekeyd::sim::github::{Permissions, Scope};

use crate::support::wait::until;
use crate::support::world::{REPOSITORY, SECRET};
use crate::support::{Db, World, on_both_databases};

/// Asserts that nothing was disabled or deleted at the provider.
fn assert_untouched(world: &World) {
    for key in world.openrouter.keys() {
        assert!(!key.disabled && !key.deleted, "{} was touched", key.name);
    }
}

on_both_databases! {
    async fn the_last_regular_key_is_never_deleted(db: Db) {
        let world = World::new(db).await;
        let issued = world.rekeyd(&["accounts", "keys", "main", "create", "--json"]).await.ok().json();
        let hash = issued["hash"].as_str().unwrap().to_owned();
        // Somebody deletes production's key by hand: the one that rekeyd made is the last.
        world.openrouter.edit_key(&world.first_hash(), |key| key.deleted = true);
        for command in ["disable", "delete"] {
            let out = world.rekeyd(&["accounts", "keys", "main", command, &hash, "--yes"]).await;
            assert_eq!(out.status, 3, "{out:?}");
            assert!(out.stderr.contains("is the last regular key of account main"), "{}", out.stderr);
            assert!(out.stderr.contains(&world.openrouter.key_by_hash(&hash).unwrap().label), "{}", out.stderr);
        }
        for more in [&["--yes"][..], &["--yes", "--at-provider"][..]] {
            let out = world.rekeyd(&[&["keys", "delete", "openrouter", "1"], more].concat()).await;
            assert_eq!(out.status, 3, "{out:?}");
            assert!(out.stderr.contains("last regular key"), "{}", out.stderr);
        }
        assert!(world.openrouter.use_key(&world.openrouter.issued_secrets().pop().unwrap(), 0.0));
        // With another key alive it may go.
        world.openrouter.new_regular_key("another");
        world.rekeyd(&["keys", "delete", "openrouter", "1", "--at-provider", "--yes"]).await.ok();
        assert!(world.openrouter.key_by_hash(&hash).unwrap().deleted);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_rekeyd_did_not_create_are_never_touched() {
    let world = World::new(Db::Sqlite).await;
    world.openrouter.new_regular_key("another");
    let out = world.rekeyd(&["accounts", "keys", "main", "delete", &world.first_hash(), "--yes"]).await;
    assert_eq!(out.status, 3, "{out:?}");
    assert!(out.stderr.contains("did not create this key"), "{}", out.stderr);
    assert_untouched(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_changes_only_through_its_rotation() {
    let world = World::new(Db::Sqlite).await;
    world.adopt().await;
    world.openrouter.new_regular_key("another");
    for args in [
        &["accounts", "keys", "main", "disable", &world.first_hash()][..],
        &["keys", "delete", "openrouter", "1", "--yes"][..],
        &["keys", "delete", "openrouter", "1", "--at-provider", "--yes"][..],
    ] {
        let out = world.rekeyd(args).await;
        assert_eq!(out.status, 3, "{out:?}");
        assert!(out.stderr.contains("only through its rotation"), "{}", out.stderr);
    }
    assert_untouched(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wrong_kind_of_key_is_refused_everywhere() {
    let world = World::new(Db::Sqlite).await;
    // A provisioning key as a regular one.
    for args in
        [&["keys", "add", "openrouter"][..], &["rotations", "adopt", "production", "--secret-stdin"][..]]
    {
        let second = world.openrouter.new_provisioning_key();
        for key in [&world.provisioning, &second] {
            let out = world.rekeyd_with(args, key).await;
            assert_eq!(out.status, 3, "{out:?}");
            let explained =
                out.stderr.contains("is a provisioning key") && out.stderr.contains("cannot call a model");
            assert!(explained, "{}", out.stderr);
        }
    }
    // A regular key of another account is a mistake, not a danger.
    let stranger =
        world.rekeyd_with(&["rotations", "adopt", "production", "--secret-stdin"], "sk-or-v1-stranger").await;
    assert_eq!(stranger.status, 2, "{stranger:?}");
    // A regular key as a provisioning one.
    world.private("provisioning-key", &world.first);
    let out = world.rekeyd(&["rotations", "run", "production"]).await;
    assert_eq!(out.status, 3, "{out:?}");
    assert!(out.stderr.contains("is a regular key"), "{}", out.stderr);
    assert_eq!(world.openrouter.keys().len(), 1);
    world.assert_nothing_leaked();
}

on_both_databases! {
    async fn a_destination_without_permission_names_it_and_the_old_key_stays(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        world.github.set_permissions(&world.github_token, Permissions::read_only());
        let run = world.rekeyd(&["rotations", "run", "production"]).await;
        let all = format!("{}{}", run.stdout, run.stderr);
        assert!(all.contains("Secrets"), "the missing permission is named: {all}");
        assert_untouched(&world);
        world.assert_destinations_work("without permission");
        // Granted: the same run, or the next, ends well.
        world.github.set_permissions(&world.github_token, Permissions::secrets_write());
        let newest = world.newest_run().await;
        if newest["outcome"].is_null() {
            let id = newest["id"].as_str().unwrap().to_owned();
            world.rekeyd(&["runs", "resume", &id]).await.ok();
            world.rekeyd(&["runs", "watch", &id]).await.ok();
        } else {
            world.rekeyd(&["rotations", "run", "production", "--wait"]).await.ok();
        }
        assert_eq!(world.living().len(), 1);
        world.assert_destinations_work("with permission");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_answers_are_survived() {
    let acts = [
        Act::Html(200),
        Act::Html(502),
        Act::Truncate(20),
        Act::Reset,
        Act::ZodError,
        Act::Ok200WithErrorObject,
        Act::Flood(3 * 1024 * 1024),
        Act::rate_limited(Some(1)),
        Act::status(500),
        Act::EchoKey(400),
    ];
    let mut cases = tokio::task::JoinSet::new();
    for act in acts {
        for label in
            ["create_key", "whoami", "list_keys", "read_key", "patch_key", "delete_key", "put_secret"]
        {
            let act = act.clone();
            cases.spawn(async move { nonsense(label, act).await });
        }
        while cases.len() > 10 {
            cases.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

/// One answer of one call is nonsense although the call took effect; the rotation still ends well, or parks
/// with the old key alive.
async fn nonsense(label: &'static str, act: Act) {
    let case = format!("{label} answers {act:?}");
    let world = World::new(Db::Sqlite).await;
    world.adopt().await;
    // The first `whoami` and listing of a command are its own; hit one in the middle of the run.
    let nth = if matches!(label, "whoami" | "list_keys") { 4 } else { 1 };
    world.script.nth(label, nth, When::After, act);
    let out = world.rekeyd(&["rotations", "run", "production", "--wait"]).await;
    assert!(!out.stderr.contains("panicked"), "{case}: {}", out.stderr);
    world.assert_destinations_work(&case);
    world.assert_nothing_leaked();
    let run = world.newest_run().await;
    if run["outcome"] == "done" {
        assert_eq!(world.living().len(), 1, "{case}: {:?}", world.living());
        return;
    }
    // A refusal in the vendor's own form parks, or ends before anything was made: a person resumes.
    assert!(run["outcome"] == "aborted" || run["state"] == "parked" || out.status == 1, "{case}: {run}");
    assert!(!world.openrouter.key_by_hash(&world.first_hash()).unwrap().disabled, "{case}");
    let id = run["id"].as_str().unwrap();
    if run["outcome"].is_null() {
        world.rekeyd(&["runs", "resume", id]).await;
        world.rekeyd(&["runs", "watch", id]).await.ok();
        assert_eq!(world.living().len(), 1, "{case}: {:?}", world.living());
    }
}

/// It is the user id that is written down, whatever the environment says of it.
async fn acknowledged_by_uid(world: &World) {
    let alerts = world.rekeyd(&["alerts", "list", "--json"]).await.ok().json();
    let frozen = alerts.as_array().unwrap().iter().find(|alert| alert["kind"] == "account_frozen").unwrap();
    let mut ack = world.command(&["alerts", "ack", frozen["id"].as_str().unwrap(), "--json"]);
    let out = ack.env("USER", "mallory").env("SUDO_USER", "mallory").output().await.unwrap();
    let row: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::effective()).unwrap().unwrap();
    assert_eq!(row["acked_by"], format!("cli:{} (uid {})", user.name, user.uid));
}

on_both_databases! {
    async fn a_key_of_ours_that_the_journal_does_not_know_freezes(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        let run = world.rekeyd(&["rotations", "run", "production", "--wait"]).await.ok();
        drop(run);
        let unknown = world.name_of("production", 9).await;
        world.openrouter.new_regular_key(&unknown);
        let out = world.rekeyd(&["rotations", "run", "production", "--wait"]).await;
        assert_eq!(out.status, 3, "the run that finds it is refused by the rule: {out:?}");
        assert!(out.stderr.contains("rekeyd accounts thaw main"), "{}", out.stderr);
        assert_eq!(world.rotation().await["state"], "frozen");
        let why = world.rekeyd(&["why", "production"]).await.ok().stdout;
        for said in ["account main is frozen", &unknown, "rekeyd accounts thaw main"] {
            assert!(why.contains(said), "{said}: {why}");
        }
        assert_eq!(world.living().len(), 2);
        acknowledged_by_uid(&world).await;
        world.rekeyd(&["accounts", "thaw", "main", "--yes"]).await.ok();
        let over = world.rekeyd(&["alerts", "list", "--all"]).await.ok().stdout;
        assert!(over.contains("OVER"), "{over}");
        let refused = world.rekeyd(&["rotations", "run", "production"]).await;
        assert_eq!(refused.status, 2, "{refused:?}");
        let why = world.rekeyd(&["why", "production"]).await.ok().stdout;
        assert!(why.contains("rekeyd rotations adopt production"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_asks_against_the_rules_is_refused() {
    let mut world = World::new(Db::Sqlite).await;
    world.waits.grace = "1h";
    world.configure();
    let hash = world.first_hash();
    world.rekeyd(&["rotations", "adopt", "production", "--hash", &hash]).await.ok();
    world.rekeyd(&["rotations", "pause", "production"]).await.ok();
    let paused = world.rekeyd(&["rotations", "run", "production"]).await;
    assert_eq!(paused.status, 3, "{paused:?}");
    assert!(paused.stderr.contains("rekeyd rotations resume production"), "{}", paused.stderr);
    world.rekeyd(&["rotations", "resume", "production"]).await.ok();
    let none = world.rekeyd(&["rotations", "rollback", "production"]).await;
    assert_eq!(none.status, 1, "no run is open: {none:?}");
    let run = world.rekeyd(&["rotations", "run", "production", "--json"]).await.ok().json();
    let id = run["id"].as_str().unwrap().to_owned();
    let published = world.rekeyd(&["runs", "abort", &id]).await;
    assert_eq!(published.status, 3, "{published:?}");
    assert!(published.stderr.contains("nobody has its secret"), "{}", published.stderr);
    assert!(!published.stderr.contains("use rollback"), "there is no way back: {}", published.stderr);
    let lost = world.rekeyd(&["rotations", "rollback", "production"]).await;
    assert_eq!(lost.status, 3, "{lost:?}");
    assert!(lost.stderr.contains("nobody has its secret"), "{}", lost.stderr);
    assert_untouched(&world);
    // The new key leaks: the way back ends there.
    world.rekeyd(&["rotations", "run", "production", "--leaked"]).await.ok();
    let leaked = world.rekeyd(&["rotations", "rollback", "production"]).await;
    assert_eq!(leaked.status, 3, "{leaked:?}");
    assert!(leaked.stderr.contains("leaked") || leaked.stderr.contains("deleted"), "{}", leaked.stderr);
    let over = world.rekeyd(&["runs", "resume", &id]).await;
    assert_eq!(over.status, 1, "the run is over: {over:?}");
}

on_both_databases! {
    async fn a_rollback_brings_the_old_key_back(db: Db) {
        let mut world = World::new(db).await;
        world.waits.observe = "1h";
        world.configure();
        world.adopt().await;
        let mut child = world.command(&["rotations", "run", "production", "--wait"]).spawn().unwrap();
        let disabled = async || world.openrouter.key_by_hash(&world.first_hash()).unwrap().disabled;
        until("the old key is disabled", disabled).await;
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(7)).await;
        world.waits.observe = "1s";
        world.rekeyd(&["rotations", "rollback", "production"]).await.ok();
        assert!(!world.openrouter.key_by_hash(&world.first_hash()).unwrap().disabled);
        assert!(world.at_github().as_deref() == Some(world.first.as_str()), "GitHub holds the old key again");
        assert!(world.in_file().as_deref() == Some(world.first.as_str()), "the file holds the old key again");
        let rotation = world.rotation().await;
        assert_eq!(rotation["current"]["generation"], 1);
        assert_eq!(rotation["previous"]["generation"], 2, "the one on its way out: {rotation}");
        world.assert_destinations_work("after the rollback");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaked_key_is_replaced_and_killed_at_once() {
    let mut world = World::new(Db::Sqlite).await;
    for wait in [&mut world.waits.grace, &mut world.waits.quiet, &mut world.waits.observe] {
        *wait = "24h";
    }
    world.configure();
    world.adopt().await;
    let run =
        world.rekeyd(&["rotations", "run", "production", "--leaked", "--wait", "--json"]).await.ok().json();
    assert_eq!(run["trigger"], "leak");
    assert!(world.openrouter.key_by_hash(&world.first_hash()).unwrap().deleted);
    assert_eq!(world.living().len(), 1);
    world.assert_destinations_work("after the leak");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_edited_destination_is_held_and_told() {
    let world = World::new(Db::Sqlite).await;
    world.adopt().await;
    world.rekeyd(&["rotations", "run", "production", "--wait"]).await.ok();
    let other = world.openrouter.new_regular_key("somebody's");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    world.github.set_secret_by_hand(&Scope::repo(REPOSITORY), SECRET, &other);
    world.rekeyd(&["rotations", "run", "production"]).await;
    let why = world.rekeyd(&["why", "production"]).await.ok();
    assert!(why.stdout.contains("changed by someone else"), "{}", why.stdout);
    assert_eq!(world.at_github().as_deref(), Some(other.as_str()), "it was not written over");
    world.rekeyd(&["destinations", "publish", "github-production"]).await.ok();
    let id = world.newest_run().await["id"].as_str().unwrap().to_owned();
    world.rekeyd(&["runs", "watch", &id]).await.ok();
    world.assert_destinations_work("after the repair");
}
