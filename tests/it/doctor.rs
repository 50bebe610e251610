//! `rekeyd doctor`: everything that rekeyd depends on, asked once, and the next move for what is wrong.

use rekeyd::sim::github::Permissions;
use serde_json::Value;

use crate::support::{Db, World, on_both_databases, wait};

/// What was found of one part.
fn part<'f>(found: &'f Value, name: &str) -> &'f Value {
    let rows = found.as_array().unwrap();
    rows.iter().find(|row| row["part"] == name).unwrap_or_else(|| panic!("no {name} in {found}"))
}

fn health<'f>(found: &'f Value, name: &str) -> &'f str {
    part(found, name)["health"].as_str().unwrap()
}

on_both_databases! {
    async fn what_is_wrong_is_named_with_its_remedy(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        let out = world.rekeyd(&["doctor", "--json"]).await.ok();
        let found = out.json();
        for name in ["configuration", "database", "encryption", "account main", "destination agent-env"] {
            assert_eq!(health(&found, name), "ok", "{found}");
        }
        assert_eq!(health(&found, "daemon"), "warning", "none runs: {found}");
        assert!(part(&found, "daemon")["remedy"].as_str().unwrap().contains("systemctl start rekeyd"));
        let daemon = wait::serve(&world).await;
        assert_eq!(health(&world.rekeyd(&["doctor", "--json"]).await.ok().json(), "daemon"), "ok");
        wait::stop(daemon).await;

        // Each of these alone; what does not depend on it is looked at all the same.
        world.github.set_permissions(&world.github_token, Permissions::none());
        let out = world.rekeyd(&["doctor", "--json"]).await;
        let broken = part(&out.json(), "destination github-production").clone();
        assert_eq!((out.status, &broken["health"]), (1, &"broken".into()), "{broken}");
        assert!(broken["seen"].as_str().unwrap().contains("Secrets"), "the permission is named: {broken}");
        assert_eq!(health(&out.json(), "account main"), "ok");
        world.github.set_permissions(&world.github_token, Permissions::secrets_write());

        world.private("provisioning-key", &world.first);
        let out = world.rekeyd(&["doctor"]).await;
        assert_eq!(out.status, 1, "{out:?}");
        assert!(out.stdout.contains("its key is a regular key"), "{}", out.stdout);
        assert!(out.stderr.contains("1 broken"), "{}", out.stderr);
        world.private("provisioning-key", &world.provisioning);

        world.private("github-token", "");
        let out = world.rekeyd(&["doctor", "--json"]).await;
        assert_eq!((out.status, health(&out.json(), "configuration")), (1, "broken"), "{out:?}");
        assert_eq!(out.json().as_array().unwrap().len(), 1, "what needs the configuration is not looked at");
        world.assert_nothing_leaked();
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_not_made() {
    let world = World::new(Db::Sqlite).await;
    let url = format!("sqlite:{}", world.path("nowhere.db").display());
    let out = world.command(&["doctor", "--json"]).env("REKEYD_DATABASE_URL", url).output().await.unwrap();
    let found = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((out.status.code(), health(&found, "database")), (Some(1), "broken"), "{found}");
    assert!(!world.path("nowhere.db").exists());
}
