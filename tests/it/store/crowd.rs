//! Many at once, in two processes: nothing twice, nothing lost.

use std::collections::{BTreeMap, BTreeSet};

use rekeyd::store::{Change, EffectKind, Role, StoreError};

use super::shelf::{
    ROTATION, Shelf, audit, entry, hold, holding, intend, manual, new_run, provider, sealing,
};
use crate::support::{Db, on_both_databases};

const CROWD: i64 = 60;

on_both_databases! {
    async fn no_generation_is_given_out_twice_or_lost(db: Db) {
        let shelf = Shelf::new(db).await;
        let lease = shelf.lease().await;
        let stores = [shelf.store.clone(), shelf.another().await];
        let mut taking = tokio::task::JoinSet::new();
        for number in 0..CROWD {
            let (store, lease) = (stores[usize::from(number % 2 == 0)].clone(), lease.clone());
            taking.spawn(async move { store.take_generation(&lease, ROTATION).await.unwrap() });
        }
        let taken: BTreeSet<i64> = taking.join_all().await.into_iter().collect();
        assert_eq!(taken, (1..=CROWD).collect::<BTreeSet<i64>>());
        let rotation = shelf.store.rotation(ROTATION).await.unwrap().unwrap();
        assert_eq!(rotation.last_generation, CROWD);
    }
}

on_both_databases! {
    async fn no_number_is_given_out_twice_or_lost(db: Db) {
        let shelf = Shelf::new(db).await;
        let stores = [shelf.store.clone(), shelf.another().await];
        let mut adding = tokio::task::JoinSet::new();
        for number in 0..CROWD {
            let store = stores[usize::from(number % 2 == 0)].clone();
            adding.spawn(async move {
                let key = manual(&format!("k{number}"));
                store.add_key(&provider(), &key, &entry("key.added")).await.unwrap().number.unwrap()
            });
        }
        let given: BTreeSet<i64> = adding.join_all().await.into_iter().collect();
        assert_eq!(given, (1..=CROWD).collect::<BTreeSet<i64>>());
        assert_eq!(shelf.count("audit").await, CROWD);
    }
}

on_both_databases! {
    async fn no_place_in_the_order_of_writes_is_given_out_twice(db: Db) {
        let shelf = Shelf::new(db).await;
        let lease = shelf.lease().await;
        shelf.store.release(&lease).await.unwrap();
        for number in 1..=8 {
            shelf.generation(number, Role::Retiring).await;
        }
        let lease = shelf.lease().await;
        let stores = [shelf.store.clone(), shelf.another().await];
        let mut writing = tokio::task::JoinSet::new();
        for number in 1..=8 {
            let (store, lease) = (stores[usize::from(number % 2 == 0)].clone(), lease.clone());
            writing.spawn(async move {
                store.commit(&lease, &[hold(&holding("github:a", number), true)]).await.unwrap();
            });
        }
        writing.join_all().await;
        let rows = shelf.store.holdings_at("github:a").await.unwrap();
        assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [8, 7, 6, 5, 4, 3, 2, 1]);
    }
}

on_both_databases! {
    async fn of_many_that_start_a_run_one_does(db: Db) {
        // Fault 18: manual and scheduled together, in two processes.
        let shelf = Shelf::new(db).await;
        let stores = [shelf.store.clone(), shelf.another().await];
        let mut starting = tokio::task::JoinSet::new();
        for number in 0..20 {
            let store = stores[usize::from(number % 2 == 0)].clone();
            let new = new_run(&format!("r{number}"), None);
            starting.spawn(async move { store.start_run(&new, &entry("run.started")).await });
        }
        let (started, refused): (Vec<_>, Vec<_>) = starting.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!((started.len(), refused.len()), (1, 19));
        let conflict = |done: &Result<(), StoreError>| done.as_ref().is_err_and(|e| e.is_conflict("runs_one_open"));
        assert!(refused.iter().all(conflict), "{refused:?}");
        assert_eq!((shelf.count("runs").await, shelf.count("audit").await), (1, 1));
    }
}

on_both_databases! {
    async fn of_many_that_write_a_fact_all_get_the_first_one_s(db: Db) {
        let shelf = Shelf::new(db).await;
        let stores = [shelf.store.clone(), shelf.another().await];
        let mut writing = tokio::task::JoinSet::new();
        for number in 0..20 {
            let store = stores[usize::from(number % 2 == 0)].clone();
            writing.spawn(async move { store.fact_once("instance", &number.to_string()).await.unwrap() });
        }
        let values: BTreeSet<String> = writing.join_all().await.into_iter().collect();
        assert_eq!(values.len(), 1, "{values:?}");
    }
}

on_both_databases! {
    async fn what_reads_before_it_writes_loses_no_race(db: Db) {
        // A transaction that only becomes a writer after it has read is refused by SQLite when somebody wrote since.
        let shelf = Shelf::new(db).await;
        for number in 0..8 {
            let key = manual(&format!("k{number}"));
            shelf.store.add_key(&provider(), &key, &entry("key.added")).await.unwrap();
        }
        let mut speaking = tokio::task::JoinSet::new();
        for round in 0..6 {
            let store = shelf.another().await;
            speaking.spawn(async move {
                store.announce(&format!("daemon {round}"), &BTreeMap::new(), &[sealing()]).await.unwrap();
            });
        }
        speaking.join_all().await;
        assert_eq!(shelf.count("daemons").await, 6);
    }
}

on_both_databases! {
    async fn readers_go_on_while_others_write(db: Db) {
        let shelf = Shelf::new(db).await;
        let lease = shelf.lease().await;
        let (writer, reader) = (shelf.store.clone(), shelf.another().await);
        let writing = tokio::spawn(async move {
            for number in 0..40 {
                let changes = [intend(&format!("e{number}"), EffectKind::Publish, "x"), audit("published")];
                writer.commit(&lease, &changes).await.unwrap();
            }
        });
        let mut last = 0;
        while !writing.is_finished() {
            let (unknown, rows) = (reader.unknown_effects().await.unwrap(), reader.audit(100).await.unwrap().len());
            assert!(i64::try_from(rows).unwrap() >= unknown, "an effect without its audit row");
            assert!(unknown >= last);
            last = unknown;
        }
        writing.await.unwrap();
        assert_eq!(shelf.count("audit").await, 40);
    }
}

on_both_databases! {
    async fn two_accounts_do_not_wait_for_each_other(db: Db) {
        let shelf = Shelf::new(db).await;
        let mut working = tokio::task::JoinSet::new();
        for account in 0..4 {
            let store = shelf.another().await;
            working.spawn(async move {
                let resource = format!("account:{account}");
                let lease = store.acquire(&resource, "me", rekeyd::domain::time::Span::minutes(1)).await;
                let lease = lease.unwrap().unwrap();
                for number in 0..20 {
                    let alert = rekeyd::domain::alert::NewAlert::new(
                        rekeyd::domain::alert::Kind::KeyInvalid,
                        rekeyd::domain::alert::Subject::Key { provider: "openai".to_owned(), number: number % 3 },
                        format!("account {account}"),
                    );
                    store.commit(&lease, &[Change::Alert(alert), audit("x")]).await.unwrap();
                }
            });
        }
        working.join_all().await;
        assert_eq!((shelf.count("alerts").await, shelf.count("audit").await), (3, 80));
    }
}
