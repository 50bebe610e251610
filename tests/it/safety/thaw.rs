//! What a thaw must ask of rotations that the restored store hardly knows (R9).

use super::*;

/// Two more rotations of the account, to files of their own.
fn configure_young(world: &World) {
    let young = |name: &str| {
        format!(
            r#"
[[rotations]]
name = "{name}"
account = "main"
every = "30d"
destinations = ["{name}-env"]
[[destinations]]
name = "{name}-env"
type = "file"
path = "{folder}/{name}.env"
format = "env"
variable = "{SECRET}"
"#,
            folder = world.folder.path().display()
        )
    };
    world.configure_with(&(young("second") + &young("third")), r#"["github-production", "agent-env"]"#);
}

on_both_databases! {
    async fn a_thaw_asks_for_an_adopt_of_rotations_younger_than_the_backup(db: Db) {
        let world = World::new(db).await;
        configure_young(&world);
        world.adopt().await;
        world.rekeyd(&["rotations", "run", "production", "--wait"]).await.ok();
        // The store knows of `third` no more than its name, and of `second` nothing. Their keys live.
        for command in ["pause", "resume"] {
            world.rekeyd(&["rotations", command, "third"]).await.ok();
        }
        let second = world.openrouter.new_regular_key(&world.name_of("second", 7).await);
        world.openrouter.new_regular_key(&world.name_of("gone", 4).await);
        let out = world.rekeyd(&["rotations", "run", "production"]).await;
        assert_ne!(out.status, 0, "{out:?}");
        assert_eq!(world.rotation().await["state"], "frozen");
        let living = world.living().len();
        world.rekeyd(&["accounts", "thaw", "main", "--yes"]).await.ok();
        for rotation in ["production", "second", "third"] {
            let out = world.rekeyd(&["rotations", "run", rotation]).await;
            assert_eq!(out.status, 2, "{rotation}: {out:?}");
            let next = format!("rekeyd rotations adopt {rotation}");
            assert!(out.stderr.contains(&next), "{rotation}: {}", out.stderr);
        }
        assert_eq!(world.living().len(), living, "nothing was made");
        // Told its key, the youngest goes on above every generation that was seen.
        world.rekeyd_with(&["rotations", "adopt", "second", "--secret-stdin"], &second).await.ok();
        let shown = world.rekeyd(&["rotations", "show", "second", "--json"]).await.ok().json();
        assert_eq!(shown["current"]["generation"], 8, "{shown}");
    }
}
