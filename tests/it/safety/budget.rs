//! A budget of calls (R16): what somebody else changes again and again refills nothing, people are told once, and a leak
//! has a budget of its own.

use sqlx::Row;

use super::*;
use crate::support::ledger;
use crate::support::wait::{reconfigure, serve, stop};

/// Rotations of the same account whose old keys are used all the time: so many that a slow machine exceeds the budget too.
const BUSY: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

on_both_databases! {
    async fn what_others_change_refills_no_budget(db: Db) {
        let world = World::new(db).await;
        let mut keys = Vec::new();
        for name in BUSY {
            let key = world.openrouter.new_regular_key(name);
            // A look a second at the old key while its figures move.
            let text = format!(
                "[[rotations]]\nname = \"{name}\"\naccount = \"main\"\nevery = \"30d\"\ndestinations = [\"{name}-env\"]\n\
                 grace = \"1s\"\nquiet = \"3s\"\nobserve = \"1s\"\n\
                 [[destinations]]\nname = \"{name}-env\"\ntype = \"file\"\npath = \"{}\"\nformat = \"raw\"\n[[rotations]]",
                world.path(name).display()
            );
            reconfigure(&world, "[[rotations]]", &text);
            world.private(name, &key);
            keys.push(key);
        }
        world.adopt().await;
        for (name, key) in BUSY.iter().zip(&keys) {
            world.rekeyd_with(&["rotations", "adopt", name, "--secret-stdin"], key).await.ok();
            world.rekeyd(&["rotations", "run", name]).await.ok();
        }
        let daemon = serve(&world).await;
        let told = async || {
            assert!(keys.iter().all(|key| world.openrouter.use_key(key, 0.001)));
            let sql = "SELECT subject FROM alerts WHERE kind = 'call_budget' AND resolved_at IS NULL";
            let rows = ledger::rows(&world, sql).await;
            rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>()
        };
        until("people are told", async || !told().await.is_empty()).await;
        assert_eq!(told().await, ["account main"]);
        until("a run says what it waits for", async || {
            told().await;
            let mut why = String::new();
            for name in BUSY {
                why += &world.rekeyd(&["why", name]).await.ok().stdout;
            }
            why.split_whitespace().collect::<Vec<_>>().join(" ").contains("120 times within a minute")
        })
        .await;
        world.rekeyd(&["rotations", "run", "production", "--leaked"]).await.ok();
        until("the leak goes on", async || {
            told().await;
            let sql = "SELECT id FROM runs WHERE rotation = 'production' AND state = 'done'";
            !ledger::rows(&world, sql).await.is_empty()
        })
        .await;
        let living = |key: &String| world.openrouter.use_key(key, 0.0);
        assert!(keys.iter().all(living), "keys in use");
        stop(daemon).await;
        // A long time without.
        ledger::rows(&world, "UPDATE provider_health SET doc = '1' WHERE subject LIKE 'call budget of %'").await;
        ledger::pass_time(&world, rekeyd::domain::time::Span::minutes(15)).await;
        let daemon = serve(&world).await;
        until("it is over", async || !ledger::alerts(&world).await.contains(&"call_budget".to_owned())).await;
        until("all are done", async || ledger::runs_in(&world, &["done"]).await == BUSY.len() + 1).await;
        stop(daemon).await;
    }
}
