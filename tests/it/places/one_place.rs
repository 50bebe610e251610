//! One address, two writers: refused by the configuration, and parked when only the store can see it (R20).

use std::os::unix::fs::symlink;

use sqlx::Row;

use crate::support::ledger::{self, alerts, runs_in};
use crate::support::wait::{reconfigure, serve, stop, until};
use crate::support::world::SECRET;
use crate::support::{Db, World, on_both_databases};

/// A second rotation of the account, to the same variable of the agents' file by this path.
fn second(path: &std::path::Path) -> String {
    format!(
        "[[rotations]]\nname = \"second\"\naccount = \"main\"\nevery = \"30d\"\ndestinations = [\"second-env\"]\n\
         grace = \"1s\"\nquiet = \"1s\"\nobserve = \"1s\"\n\
         [[destinations]]\nname = \"second-env\"\ntype = \"file\"\npath = \"{}\"\nformat = \"env\"\n\
         variable = \"{SECRET}\"\n",
        path.display()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_rotations_of_one_place_are_refused() {
    let world = World::new(Db::Sqlite).await;
    let outside = tempfile::tempdir().unwrap();
    // By a folder that is a link, and by a file that is one: the texts say nothing of it.
    let (folder, file) = (outside.path().join("run"), outside.path().join("env"));
    symlink(world.folder.path(), &folder).unwrap();
    symlink(world.path("agent.env"), &file).unwrap();
    for path in [folder.join("agent.env"), file] {
        world.configure_with(&second(&path), r#"["github-production", "agent-env"]"#);
        for command in [&["config", "check"][..], &["serve"], &["rotations", "list"]] {
            let out = world.rekeyd(command).await;
            assert_eq!(out.status, 2, "{command:?}: {out:?}");
            assert!(out.stderr.contains("agent-env and second-env are one place"), "{command:?}: {out:?}");
        }
    }
    world.configure_with(&second(&folder.join("other.env")), r#"["github-production", "agent-env"]"#);
    world.rekeyd(&["config", "check"]).await.ok();
}

on_both_databases! {
    async fn a_run_that_finds_its_place_with_another_one_parks(db: Db) {
        let mut world = World::new(db).await;
        world.waits.grace = "1h";
        world.configure();
        world.adopt().await;
        world.rekeyd(&["rotations", "run", "production"]).await.ok();
        let held = world.in_file();
        // As a process with another configuration sees it: the place belongs to another rotation.
        let path = world.path("agent.env");
        world.configure_with(&second(&path), r#"["github-production"]"#);
        reconfigure(&world, "name = \"agent-env\"\ntype = \"file\"", "name = \"agent-env\"\nrequired = false\ntype = \"file\"");
        let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
        let (before, rest) = text.split_once("[[destinations]]\nname = \"agent-env\"").unwrap();
        let (_, after) = rest.split_once("[[rotations]]").unwrap();
        std::fs::write(world.path("rekeyd.toml"), format!("{before}[[rotations]]{after}")).unwrap();
        world.rekeyd(&["rotations", "run", "second"]).await;
        let run = world.newest_run().await;
        assert_eq!((&run["rotation"], &run["state"]), (&"second".into(), &"parked".into()), "{run}");
        assert!(run["error"].as_str().unwrap().contains("of rotation production as well"), "{run}");
        assert_eq!(world.in_file(), held, "nothing was written");
        assert!(alerts(&world).await.contains(&"rotation_parked".to_owned()));
        // It goes on when the other one has let go.
        let daemon = serve(&world).await;
        until("the first parks too, by R14", async || runs_in(&world, &["parked"]).await == 2).await;
        stop(daemon).await;
        assert_eq!(world.in_file(), held);
    }
}

on_both_databases! {
    async fn what_was_written_under_the_real_folder_is_known_by_the_configured_path(db: Db) {
        let mut world = World::new(db).await;
        world.waits.grace = "1h";
        world.configure();
        let outside = tempfile::tempdir().unwrap();
        let link = outside.path().join("run");
        symlink(world.folder.path(), &link).unwrap();
        let linked = link.join("agent.env").display().to_string();
        reconfigure(&world, &world.path("agent.env").display().to_string(), &linked);
        world.adopt().await;
        world.rekeyd(&["rotations", "run", "production"]).await.ok();
        let known = async || {
            let sql = "SELECT DISTINCT address FROM holdings WHERE destination = 'agent-env'";
            let rows = ledger::rows(&world, sql).await;
            rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>()
        };
        let now = known().await.remove(0);
        assert_eq!(now, format!("file:{linked}#{SECRET}"));
        // As an older version called it.
        let former = format!("file:{}#{SECRET}", world.path("agent.env").canonicalize().unwrap().display());
        for sql in [
            format!("INSERT INTO addresses SELECT '{former}', writes, drift, updated_at FROM addresses WHERE address = '{now}'"),
            format!("UPDATE holdings SET address = '{former}' WHERE address = '{now}'"),
            format!("DELETE FROM addresses WHERE address = '{now}'"),
            format!("UPDATE runs SET doc = REPLACE(doc, '{now}', '{former}')"),
        ] {
            ledger::rows(&world, &sql).await;
        }
        assert_eq!(known().await, [former]);
        let daemon = serve(&world).await;
        until("it is taken over", async || known().await == [now.clone()]).await;
        let run = world.newest_run().await["id"].as_str().unwrap().to_owned();
        world.rekeyd(&["runs", "release", &run, "nowhere"]).await;
        stop(daemon).await;
        let run = world.newest_run().await;
        assert_eq!(run["state"], "grace", "the run knows its place: {run}");
        assert!(!alerts(&world).await.contains(&"rotation_parked".to_owned()));
    }
}
