//! What is not there any more: a confirmation never acts on it (exit status 1, nothing is removed or journalled), and
//! no key is sent anywhere else instead.

use sqlx::Row;

use super::*;
use crate::support::ledger::{self, Ledger, runs_in};
use crate::support::wait::{serve, stop, until};

/// A hash that no key has.
const NOBODY: &str = "00000000000000000000000000000000000000000000000000000000000000ff";

on_both_databases! {
    async fn a_key_that_no_account_lists_is_not_removed(db: Db) {
        let world = World::new(db).await;
        // Another account's key, and one of a provider whose keys nobody manages.
        let stranger = world.openrouter.new_regular_key_of("another", "theirs");
        for (provider, key) in [("openrouter", stranger.as_str()), ("openai", "sk-proj-0123456789abcdef0123")] {
            let add = ["keys", "add", provider, "--name", "other", "--secret-stdin", "--no-test", "--inactive"];
            world.rekeyd_with(&add, key).await;
            let shown = world.rekeyd(&["keys", "show", provider, "1", "--json"]).await;
            assert_eq!(shown.status, 0, "{shown:?}");
            let out = world.rekeyd(&["keys", "delete", provider, "1", "--at-provider", "--yes"]).await;
            assert_eq!(out.status, 1, "{out:?}");
            assert!(out.stderr.contains("no account of the configuration lists this key"), "{}", out.stderr);
            assert!(out.stderr.contains("nothing was removed"), "{}", out.stderr);
            world.rekeyd(&["keys", "show", provider, "1"]).await.ok();
            // The store alone lets go of it.
            world.rekeyd(&["keys", "delete", provider, "1", "--yes"]).await.ok();
        }
    }
}

on_both_databases! {
    async fn a_hash_that_the_account_does_not_know_is_told_with_the_nearest(db: Db) {
        let world = World::new(db).await;
        world.openrouter.new_regular_key("another");
        world.rekeyd(&["keys", "list"]).await.ok();
        let first = world.first_hash();
        let near = format!("{}{}", &first[..63], if first.ends_with('0') { '1' } else { '0' });
        let before = Ledger::read(&world).await.effects.len();
        for command in [&["delete"][..], &["disable"], &["enable"], &["limit"]] {
            for (hash, nearest) in [(NOBODY, None), (near.as_str(), Some(world.first_hash()))] {
                let amount = if command == ["limit"] { &["5"][..] } else { &[] };
                let out = [&["accounts", "keys", "main"], command, &[hash], amount, &["--yes"]].concat();
                let out = world.rekeyd(&out).await;
                assert_eq!(out.status, 1, "{command:?}: {out:?}");
                assert!(out.stderr.contains("account main has no key with this hash"), "{}", out.stderr);
                assert!(nearest.is_none_or(|nearest| out.stderr.contains(&nearest)), "{}", out.stderr);
            }
        }
        assert_eq!(Ledger::read(&world).await.effects.len(), before, "nothing is journalled");
        assert_untouched(&world);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_run_of_a_rotation_is_told_the_first() {
    let mut world = World::new(Db::Sqlite).await;
    world.waits.grace = "1h";
    world.configure();
    world.adopt().await;
    world.rekeyd(&["rotations", "run", "production"]).await.ok();
    let out = world.rekeyd(&["rotations", "run", "production"]).await;
    assert_eq!(out.status, 1, "{out:?}");
    assert!(out.stderr.contains("a run of rotation production is open"), "{}", out.stderr);
}

/// The configuration without any account, and so without rotations.
fn forget_accounts(world: &World) {
    let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
    let (head, _) = text.split_once("[[accounts]]").unwrap();
    std::fs::write(world.path("rekeyd.toml"), head).unwrap();
}

on_both_databases! {
    async fn a_key_whose_account_left_the_configuration_goes_nowhere_else(db: Db) {
        let mut world = World::new(db).await;
        world.waits.grace = "1h";
        world.configure();
        world.adopt().await;
        world.rekeyd(&["rotations", "run", "production"]).await.ok();
        forget_accounts(&world);
        // Where the account was, its keys are tested on.
        let asked = |world: &World| world.openrouter.requests().iter().filter(|one| one.label == "whoami").count();
        let before = asked(&world);
        let tested = world.rekeyd(&["keys", "test", "--all", "--json"]).await.ok().json();
        assert_eq!(tested[0]["outcome"], "valid", "{tested}");
        assert!(asked(&world) > before);
        // By a store that does not know where it was, they are not.
        let memory = "UPDATE accounts SET place = NULL";
        assert!(crate::support::ledger::rows(&world, memory).await.is_empty());
        let before = asked(&world);
        let tested = world.rekeyd(&["keys", "test", "--all", "--json"]).await.ok().json();
        assert_eq!(tested[0]["outcome"], "unexpected", "{tested}");
        let reason = tested[0]["detail"].as_str().unwrap();
        assert!(reason.contains("its account is not in the configuration any more"), "{tested}");
        assert_eq!(asked(&world), before);
    }
}

on_both_databases! {
    async fn a_run_whose_rotation_and_account_left_the_configuration_is_parked(db: Db) {
        let mut world = World::new(db).await;
        world.waits.grace = "3s";
        world.configure();
        world.adopt().await;
        world.rekeyd(&["rotations", "run", "production"]).await.ok();
        let whole = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
        forget_accounts(&world);
        let daemon = serve(&world).await;
        until("parked", async || runs_in(&world, &["parked"]).await == 1).await;
        stop(daemon).await;
        let parked = "SELECT detail FROM alerts WHERE kind = 'rotation_parked' AND resolved_at IS NULL";
        let detail: String = ledger::rows(&world, parked).await[0].get(0);
        assert!(detail.contains("neither rotation production nor its account"), "{detail}");
        assert!(Ledger::read(&world).await.audit.iter().any(|(action, _)| action == "run.parked"));
        assert_eq!(world.living().len(), 2, "both keys live");
        // It was a mistake.
        std::fs::write(world.path("rekeyd.toml"), whole).unwrap();
        let run = world.newest_run().await["id"].as_str().unwrap().to_owned();
        world.rekeyd(&["runs", "resume", &run]).await.ok();
        let daemon = serve(&world).await;
        until("done", async || runs_in(&world, &["done"]).await == 1).await;
        stop(daemon).await;
    }
}
