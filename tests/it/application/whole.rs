//! The real binary with an application's database.

use rekeyd::domain::secret::Secret;
use rekeyd::domain::time::Span;
use rekeyd::engine::{commands, passes};
use tokio_util::sync::CancellationToken;

use super::App;
use crate::support::wait::until;
use crate::support::{Db, Office, World, on_both_databases};

/// The destination; `more` are lines of it.
pub(super) fn configure(world: &World, app: &App, more: &str, destinations: &str) {
    world.private("app-url", &app.url);
    let entry = format!(
        "[[destinations]]\nname = \"app-database\"\ntype = \"postgres\"\nurl = \"file:{}\"\n{more}",
        world.path("app-url").display()
    );
    world.configure_with(&entry, destinations);
}

pub(super) async fn handed_out(app: &App, number: u32) -> Option<String> {
    app.asked_as("service_role", &format!("SELECT get_api_key('openrouter', {number})")).await.unwrap()
}

const BOTH: &str = r#"["agent-env", "app-database"]"#;

on_both_databases! {
    async fn a_rotation_reaches_the_application_and_a_rollback_too(db: Db) {
        let mut world = World::new(db).await;
        let app = App::new().await;
        world.waits.observe = "1h";
        configure(&world, &app, "", BOTH);
        let before = world.rekeyd(&["destinations", "check", "app-database"]).await;
        assert_eq!(before.status, 1, "{before:?}");
        assert!(before.stdout.contains("destinations check app-database --migrate"), "{before:?}");
        world.rekeyd(&["destinations", "check", "app-database", "--migrate"]).await.ok();
        world.adopt().await;
        world.rekeyd(&["destinations", "publish", "app-database"]).await.ok();
        assert_eq!(handed_out(&app, 1).await.as_deref(), Some(world.first.as_str()));
        let mut child = world.command(&["rotations", "run", "production", "--wait"]).spawn().unwrap();
        until("the old key is disabled", async || {
            world.openrouter.key_by_hash(&world.first_hash()).unwrap().disabled
        }).await;
        let new = handed_out(&app, 1).await.unwrap();
        assert_eq!(world.in_file(), Some(new.clone()), "both destinations hold the new key");
        let row = world.openrouter.key_by_hash(&Secret::new(new).sha256_hex()).unwrap();
        assert!(!row.disabled && !row.deleted);
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        until("the rollback gets the lease", async || {
            world.rekeyd(&["rotations", "rollback", "production"]).await.status == 0
        }).await;
        assert_eq!(handed_out(&app, 1).await.as_deref(), Some(world.first.as_str()), "the old generation is back");
        assert_eq!(world.rotation().await["current"]["generation"], 1);
        let seq = app.ask("SELECT publish_seq::text FROM provider_api_keys").await;
        assert_eq!(seq.as_deref(), Some("3"));
        world.assert_nothing_leaked();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manual_keys_and_verdicts_are_carried_over() {
    let mut world = World::new(Db::Sqlite).await;
    let app = App::migrated().await;
    world.waits.tests = "* * * * * *";
    configure(&world, &app, "key_number = 7\nmirror = true\n", r#"["agent-env"]"#);
    let keys: Vec<String> =
        ["one", "two"].iter().map(|name| world.openrouter.new_regular_key(name)).collect();
    for (key, priority) in keys.iter().zip(["90", "50"]) {
        world
            .rekeyd_with(&["keys", "add", "openrouter", "--secret-stdin", "--priority", priority], key)
            .await
            .ok();
    }
    let mut daemon = world.serve();
    until("both keys are mirrored", async || {
        handed_out(&app, 1).await.as_ref() == Some(&keys[0])
            && handed_out(&app, 2).await.as_ref() == Some(&keys[1])
    })
    .await;
    let best = async || app.asked_as("service_role", "SELECT get_best_api_key('openrouter')").await.unwrap();
    assert_eq!(best().await.as_ref(), Some(&keys[0]));
    let hash = Secret::new(keys[0].clone()).sha256_hex();
    world.openrouter.edit_key(&hash, |row| row.disabled = true);
    until("a dead key is not handed out", async || best().await.as_ref() == Some(&keys[1])).await;
    let status = "SELECT status FROM provider_api_keys WHERE key_number = 1";
    assert_eq!(app.ask(status).await.as_deref(), Some("invalid"));
    world.rekeyd(&["keys", "delete", "openrouter", "2", "--yes"]).await.ok();
    until("a removed key is not handed out", async || handed_out(&app, 2).await.is_none()).await;
    let kept = "SELECT count(*)::text FROM provider_api_keys";
    assert_eq!(app.ask(kept).await.as_deref(), Some("2"), "its row is only inactive");
    daemon.kill().await.unwrap();
    world.assert_nothing_leaked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirrored_key_is_adopted_only_by_a_rotation_that_reaches_its_mirror() {
    let world = World::new(Db::Sqlite).await;
    let app = App::migrated().await;
    configure(&world, &app, "key_number = 7\nmirror = true\n", r#"["agent-env"]"#);
    world.rekeyd_with(&["keys", "add", "openrouter", "--secret-stdin"], &world.first).await.ok();
    let mut daemon = world.serve();
    until("it is mirrored", async || handed_out(&app, 1).await.as_ref() == Some(&world.first)).await;
    daemon.kill().await.unwrap();
    let adopt = ["rotations", "adopt", "production", "--secret-stdin"];
    for destinations in [r#"["agent-env"]"#, BOTH] {
        configure(&world, &app, "key_number = 7\nmirror = true\n", destinations);
        let out = world.rekeyd_with(&adopt, &world.first).await;
        assert_eq!(out.status, 3, "{out:?}");
        assert!(out.stderr.contains("app-database mirrors this key under number 1"), "{out:?}");
    }
    configure(&world, &app, "key_number = 1\nmirror = true\n", BOTH);
    world.rekeyd_with(&adopt, &world.first).await.ok();
    let keys = world.rekeyd(&["keys", "list", "--json"]).await.ok().json();
    assert_eq!(keys.as_array().unwrap().len(), 1, "the stored key became the generation: {keys}");
    world.rekeyd(&["rotations", "run", "production", "--wait"]).await.ok();
    let new = handed_out(&app, 1).await;
    assert!(new.is_some() && new == world.in_file() && new.as_ref() != Some(&world.first));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_tested_again_before_it_is_mirrored() {
    let openrouter = rekeyd::sim::openrouter::OpenRouter::start().await;
    let app = App::migrated().await;
    let folder = tempfile::tempdir().unwrap();
    let private = |name: &str, content: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let (url, provisioning) = (private("url", &app.url), private("key", &openrouter.new_provisioning_key()));
    let office = Office::with(
        Db::Sqlite,
        &format!(
            "digest = \"\"\n[[accounts]]\nname = \"main\"\nprovider = \"openrouter\"\nbase_url = \"{}\"\n\
             provisioning_key = \"file:{provisioning}\"\n[[destinations]]\nname = \"app-database\"\n\
             type = \"postgres\"\nurl = \"file:{url}\"\nkey_number = 7\nmirror = true\n",
            openrouter.base_url(),
        ),
    )
    .await;
    let key = openrouter.new_regular_key("one");
    let add = rekeyd::engine::commands::AddKey {
        provider: "openrouter".to_owned(),
        name: None,
        priority: 100,
        secret: Secret::new(key.clone()),
        api_secret: None,
        settings: serde_json::json!({}),
        is_active: true,
        test: true,
        force: false,
        about: commands::About::default(),
    };
    assert_eq!(commands::add_key(&office.engine, add).await.unwrap().key.verdict, "valid");
    // It was valid six minutes ago (R13), and is not any more.
    office.pass_time(Span::minutes(6)).await;
    let hash = Secret::new(key.clone()).sha256_hex();
    openrouter.edit_key(&hash, |row| row.disabled = true);
    passes::mirror(&office.engine, &CancellationToken::new()).await.unwrap();
    assert_eq!(app.everything().await, None, "a key that does not work is not published");
    openrouter.edit_key(&hash, |row| row.disabled = false);
    office.pass_time(Span::minutes(6)).await;
    passes::mirror(&office.engine, &CancellationToken::new()).await.unwrap();
    assert_eq!(handed_out(&app, 1).await.as_ref(), Some(&key));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_does_not_write_over_a_key_that_only_the_application_has() {
    let world = World::new(Db::Sqlite).await;
    let app = App::migrated().await;
    app.sql(
        "INSERT INTO providers (provider_name) VALUES ('openrouter');
             INSERT INTO provider_api_keys (provider_id, key_number, api_key) VALUES (1, 1, 'only-here')",
    )
    .await;
    configure(&world, &app, "key_number = 7\nmirror = true\n", r#"["agent-env"]"#);
    let key = world.openrouter.new_regular_key("one");
    world.rekeyd_with(&["keys", "add", "openrouter", "--secret-stdin"], &key).await.ok();
    let mut daemon = world.serve();
    until("people are told", async || {
        let alerts = world.rekeyd(&["alerts", "list", "--json"]).await.ok().json();
        alerts.to_string().contains("destination_drift")
    })
    .await;
    assert_eq!(handed_out(&app, 1).await.as_deref(), Some("only-here"));
    let check = world.rekeyd(&["destinations", "check", "app-database"]).await;
    assert!(check.status == 1 && check.stdout.contains("does not know"), "{check:?}");
    daemon.kill().await.unwrap();
    configure(&world, &app, "key_number = 7\nmirror = true\non_drift = \"overwrite\"\n", r#"["agent-env"]"#);
    let mut daemon = world.serve();
    until("the operator said so", async || handed_out(&app, 1).await.as_ref() == Some(&key)).await;
    daemon.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_a_rotation_that_dies_is_not_handed_out() {
    let mut world = World::new(Db::Sqlite).await;
    let app = App::migrated().await;
    world.waits.tests = "* * * * * *";
    configure(&world, &app, "", BOTH);
    let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
    let alert_only = text.replace("every = \"30d\"", "every = \"30d\"\non_invalid = \"alert\"");
    std::fs::write(world.path("rekeyd.toml"), alert_only).unwrap();
    world.adopt().await;
    world.rekeyd(&["destinations", "publish", "app-database"]).await.ok();
    assert!(handed_out(&app, 1).await.is_some());
    let mut daemon = world.serve();
    world.openrouter.edit_key(&world.first_hash(), |row| row.disabled = true);
    until("its verdict is carried over", async || handed_out(&app, 1).await.is_none()).await;
    let row = app.ask("SELECT concat_ws('|', status, is_active, generation) FROM provider_api_keys").await;
    assert_eq!(row.as_deref(), Some("invalid|t|1"));
    world.openrouter.edit_key(&world.first_hash(), |row| row.disabled = false);
    until("it works again", async || handed_out(&app, 1).await.as_deref() == Some(&world.first)).await;
    daemon.kill().await.unwrap();
}

on_both_databases! {
    async fn a_mirror_is_published_by_hand(db: Db) {
        let world = World::new(db).await;
        let app = App::migrated().await;
        let alone = "key_number = 7\nmirror = true\n";
        configure(&world, &app, alone, r#"["agent-env"]"#);
        let keys: Vec<String> = ["one", "two"].iter().map(|name| world.openrouter.new_regular_key(name)).collect();
        for key in &keys {
            world.rekeyd_with(&["keys", "add", "openrouter", "--secret-stdin"], key).await.ok();
        }
        let publish = ["destinations", "publish", "app-database"];
        let did = world.rekeyd(&publish).await.ok();
        assert!(did.stdout.contains("app-database has every stored key of openrouter"), "{did:?}");
        assert_eq!(handed_out(&app, 1).await.as_ref(), Some(&keys[0]));
        assert_eq!(handed_out(&app, 2).await.as_ref(), Some(&keys[1]));
        assert_eq!(handed_out(&app, 7).await, None, "no rotation, no row of its own");

        // Nothing changed in the store, and still what a hand did there is mended now.
        app.sql("DELETE FROM provider_api_keys WHERE key_number = 1; UPDATE provider_api_keys SET is_active = false").await;
        world.rekeyd(&publish).await.ok();
        assert_eq!(handed_out(&app, 1).await.as_ref(), Some(&keys[0]));
        assert_eq!(handed_out(&app, 2).await.as_ref(), Some(&keys[1]));

        // A key that nobody else may have is not written over, and the rest still arrives.
        app.sql("UPDATE provider_api_keys SET api_key = 'only-here' WHERE key_number = 1;
                 DELETE FROM provider_api_keys WHERE key_number = 2").await;
        let out = world.rekeyd(&publish).await;
        assert_eq!(out.status, 3, "{out:?}");
        assert!(out.stderr.contains("a key that rekeyd does not know stands at number 1"), "{out:?}");
        assert!(out.stderr.contains("on_drift = \"overwrite\""), "{out:?}");
        assert_eq!(handed_out(&app, 1).await.as_deref(), Some("only-here"));
        assert_eq!(handed_out(&app, 2).await.as_ref(), Some(&keys[1]));

        // A database that is away is a failure, not a refusal.
        app.sql("ALTER TABLE provider_api_keys RENAME TO elsewhere").await;
        let out = world.rekeyd(&publish).await;
        assert_eq!(out.status, 1, "{out:?}");
        assert!(out.stderr.contains("was not brought up to date") && out.stderr.contains("--migrate"), "{out:?}");
        app.sql("ALTER TABLE elsewhere RENAME TO provider_api_keys").await;

        // A rotation's row and the mirrored ones.
        app.sql("DELETE FROM provider_api_keys").await;
        configure(&world, &app, alone, BOTH);
        world.adopt().await;
        world.rekeyd(&publish).await.ok();
        assert_eq!(handed_out(&app, 7).await.as_ref(), Some(&world.first));
        assert_eq!(handed_out(&app, 1).await.as_ref(), Some(&keys[0]));

        // Nothing at all is published there.
        configure(&world, &app, "", r#"["agent-env"]"#);
        let out = world.rekeyd(&publish).await;
        assert_eq!(out.status, 2, "{out:?}");
        assert!(out.stderr.contains("nothing is published to app-database"), "{out:?}");
        assert!(out.stderr.contains("mirror = true"), "{out:?}");
        world.assert_nothing_leaked();
    }
}
