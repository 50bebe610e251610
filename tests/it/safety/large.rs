//! What a long listing says may be over when it ends, and others change the account meanwhile. That an account of 10,000
//! keys is listed at all is fault 42.

use std::time::Duration;

use rekeyd::sim::fault::Rule;
use rekeyd::sim::openrouter::ListingShift;

use super::*;
use crate::support::wait::ended;

/// Pages of the listing that were asked for.
fn pages(world: &World) -> usize {
    world.openrouter.requests().iter().filter(|request| request.label == "list_keys").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_others_may_come_and_go_while_the_account_is_listed() {
    let world = World::new(Db::Sqlite).await;
    for n in 0..9 {
        world.openrouter.new_regular_key(&format!("somebody's {n}"));
    }
    world.adopt().await;
    // More than any number of readings: somebody makes a key during each of them.
    world.openrouter.settings(|settings| {
        settings.page_size = 4;
        settings.listing_shifts = vec![ListingShift::Appears; 500];
    });
    let before = pages(&world);
    world.rekeyd(&["accounts", "keys", "main"]).await.ok();
    assert!(pages(&world) < before + 16, "two readings, {} pages", pages(&world) - before);
    world.rekeyd(&["rotations", "run", "production", "--wait"]).await.ok();
    assert!(world.openrouter.key_by_hash(&world.first_hash()).unwrap().deleted);
}

/// The only other key that works is deleted by hand while the last page is being read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_died_during_a_long_listing_does_not_count() {
    let mut world = World::new(Db::Sqlite).await;
    (world.waits.lease, world.waits.call_timeout) = ("40s", "20s");
    world.configure();
    let issued = world.rekeyd(&["accounts", "keys", "main", "create", "--json"]).await.ok().json();
    let hash = issued["hash"].as_str().unwrap().to_owned();
    // Two listings, each of two readings of a page and an empty one.
    let last = pages(&world) + 8;
    let slow = Act::Delay(Duration::from_secs(16));
    world.script.add(Rule::new("list_keys", When::Before, slow).nth(8).times(1));
    let child = world.command(&["accounts", "keys", "main", "disable", &hash]).spawn().unwrap();
    until("the last page", async || pages(&world) == last).await;
    world.openrouter.edit_key(&world.first_hash(), |key| key.deleted = true);
    let out = ended(child).await;
    assert_eq!(out.status.code(), Some(3), "{out:?}");
    assert!(String::from_utf8_lossy(&out.stderr).contains("last regular key"), "{out:?}");
    assert!(!world.openrouter.key_by_hash(&hash).unwrap().disabled);
}
