//! What the database itself refuses, whatever the program does.

use rekeyd::domain::time::Timestamp;
use rekeyd::store::{Change, EffectKind, EffectStatus, NewEffect, Role, StoreError};

use super::shelf::{
    ACCOUNT, ROTATION, Shelf, adopt, audit, effect, entry, generation, hold, holding, intend, manual,
    new_key, new_run, provider, settle,
};
use crate::support::{Db, on_both_databases};

/// The index refused, and nothing of the same commit stayed.
#[track_caller]
fn refused(done: Result<(), StoreError>, index: &str) {
    let error = done.expect_err(index);
    assert!(error.is_conflict(index), "{error:?} is not {index}");
}

on_both_databases! {
    async fn one_open_run_per_rotation(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.finished_run("r0", None).await;
        shelf.store.start_run(&new_run("r1", None), &entry("run.started")).await.unwrap();
        let second = shelf.store.start_run(&new_run("r2", None), &entry("run.started")).await;
        refused(second, "runs_one_open");
        let start = Change::StartRun(Box::new(new_run("r3", None)));
        refused(shelf.commit(&[audit("x"), start]).await, "runs_one_open");
        assert_eq!(shelf.count("runs").await, 2);
        assert_eq!(shelf.count("audit").await, 2);
        // Another rotation is another matter.
        shelf.store.ensure_rotation("staging", Some(ACCOUNT)).await.unwrap();
        let mut elsewhere = new_run("r4", None);
        elsewhere.run.rotation.replace_range(.., "staging");
        shelf.store.start_run(&elsewhere, &entry("run.started")).await.unwrap();
    }
}

on_both_databases! {
    async fn one_run_per_rotation_and_due_time(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.finished_run("r1", Some(Timestamp(5000))).await;
        let again = shelf.store.start_run(&new_run("r2", Some(Timestamp(5000))), &entry("run.started")).await;
        refused(again, "runs_due");
        shelf.finished_run("r3", Some(Timestamp(6000))).await;
        // Runs without due time are not counted.
        shelf.finished_run("r4", None).await;
        shelf.finished_run("r5", None).await;
        assert_eq!(shelf.count("runs").await, 4);
    }
}

on_both_databases! {
    async fn one_create_per_name_for_ever(db: Db) {
        let shelf = Shelf::new(db).await;
        let name = "rekeyd/i/production/1-nonce";
        shelf.commit(&[intend("e1", EffectKind::Create, name), settle("e1", EffectStatus::Failed)]).await.unwrap();
        refused(shelf.commit(&[intend("e2", EffectKind::Create, name)]).await, "effects_one_create");
        let elsewhere = NewEffect { account: "org:other".to_owned(), ..effect("e3", EffectKind::Create, name) };
        refused(shelf.commit(&[audit("x"), Change::Intend(elsewhere)]).await, "effects_one_create");
        assert_eq!(shelf.count("effects").await, 1);
        assert_eq!(shelf.count("audit").await, 0);
        shelf.commit(&[intend("e4", EffectKind::Create, "another name")]).await.unwrap();
    }
}

on_both_databases! {
    async fn one_open_kill_per_account(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.commit(&[intend("e1", EffectKind::Disable, "hash 1")]).await.unwrap();
        refused(shelf.commit(&[intend("e2", EffectKind::Disable, "hash 2")]).await, "effects_one_kill");
        refused(shelf.commit(&[intend("e2", EffectKind::Delete, "hash 1")]).await, "effects_one_kill");
        // A kill of unknown outcome is still open.
        shelf.commit(&[settle("e1", EffectStatus::Unknown)]).await.unwrap();
        refused(shelf.commit(&[intend("e2", EffectKind::Delete, "hash 2")]).await, "effects_one_kill");
        // Another attempt of the same one, what kills nothing, and other accounts go on.
        shelf.commit(&[intend("e1", EffectKind::Disable, "hash 1")]).await.unwrap();
        shelf.commit(&[intend("e3", EffectKind::Enable, "hash 1")]).await.unwrap();
        let elsewhere = NewEffect { account: "org:other".to_owned(), ..effect("e4", EffectKind::Delete, "h") };
        shelf.commit(&[Change::Intend(elsewhere)]).await.unwrap();
        for (settled, next) in [(EffectStatus::Done, "e5"), (EffectStatus::Failed, "e6")] {
            let open = shelf.store.open_toggles(ACCOUNT).await.unwrap();
            let kill = open.iter().find(|effect| effect.kind != EffectKind::Enable).unwrap();
            let changes = [settle(&kill.id, settled), intend(next, EffectKind::Delete, "hash 2")];
            shelf.commit(&changes).await.unwrap();
        }
    }
}

on_both_databases! {
    async fn one_key_per_rotation_and_generation(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.generation(1, Role::Retiring).await;
        let mut twin = generation(1, Role::Candidate);
        (twin.id, twin.hash) = ("twin".to_owned(), Some("other hash".to_owned()));
        refused(shelf.commit(&[audit("x"), new_key(&twin)]).await, "keys_generation");
        assert_eq!((shelf.count("keys").await, shelf.count("audit").await), (1, 0));
        twin.rotation = Some("staging".to_owned());
        shelf.commit(&[new_key(&twin)]).await.unwrap();
    }
}

on_both_databases! {
    async fn one_key_per_account_and_hash(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.generation(1, Role::Retiring).await;
        let mut twin = generation(2, Role::Candidate);
        twin.hash = Some("hash 1".to_owned());
        refused(shelf.commit(&[new_key(&twin)]).await, "keys_hash");
        // R15: a second rotation that adopts the same hash.
        shelf.store.add_key(&provider(), &manual("k"), &entry("key.added")).await.unwrap();
        refused(shelf.commit(&[adopt("k", "staging", 1, "hash 1")]).await, "keys_hash");
        assert_eq!(shelf.key("k").await.role, Role::Manual);
        twin.account = Some("org:other".to_owned());
        shelf.commit(&[new_key(&twin)]).await.unwrap();
    }
}

on_both_databases! {
    async fn one_current_key_per_rotation(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.generation(1, Role::Current).await;
        shelf.generation(2, Role::Retiring).await;
        shelf.generation(3, Role::Retiring).await;
        refused(shelf.commit(&[new_key(&generation(4, Role::Current))]).await, "keys_one_current");
        let mut elsewhere = generation(4, Role::Current);
        elsewhere.rotation = Some("staging".to_owned());
        shelf.commit(&[new_key(&elsewhere)]).await.unwrap();
    }
}

on_both_databases! {
    async fn one_key_per_provider_and_number(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.store.add_key(&provider(), &manual("k"), &entry("key.added")).await.unwrap();
        shelf.generation(1, Role::Candidate).await;
        // The rotation claims a number that a key of nobody's has.
        shelf.execute("UPDATE rotations SET key_number = 1").await.unwrap();
        let promote = Change::Promote { rotation: ROTATION.to_owned(), id: "g1".to_owned() };
        refused(shelf.commit(&[promote]).await, "keys_number");
        assert_eq!(shelf.key("g1").await.role, Role::Candidate);
    }
}

on_both_databases! {
    async fn one_write_per_place_in_the_order_of_an_address(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.generation(1, Role::Current).await;
        shelf.generation(2, Role::Candidate).await;
        shelf.commit(&[hold(&holding("github:acme/app", 1), true)]).await.unwrap();
        let mut late = holding("github:acme/app", 2);
        late.seq = 1;
        refused(shelf.commit(&[hold(&late, false)]).await, "holdings_seq");
        late.fact.address.push_str("/other");
        shelf.commit(&[hold(&late, false)]).await.unwrap();
        assert_eq!(shelf.count("holdings").await, 2);
    }
}

on_both_databases! {
    async fn one_open_alert_per_kind_and_subject(db: Db) {
        let shelf = Shelf::new(db).await;
        let alert = |id: &str, resolved: &str| {
            format!(
                "INSERT INTO alerts (id, kind, severity, subject, detail, opened_at, resolved_at)
                 VALUES ('{id}', 'key_invalid', 'warning', 'key 1', 'x', 1, {resolved})"
            )
        };
        shelf.execute(&alert("a1", "2")).await.unwrap();
        shelf.execute(&alert("a2", "3")).await.unwrap();
        shelf.execute(&alert("a3", "NULL")).await.unwrap();
        let again = shelf.execute(&alert("a4", "NULL")).await.unwrap_err();
        assert!(again.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation), "{again}");
    }
}

on_both_databases! {
    async fn words_outside_the_vocabulary_are_refused(db: Db) {
        let shelf = Shelf::new(db).await;
        shelf.generation(1, Role::Current).await;
        shelf.commit(&[intend("e1", EffectKind::Publish, "github-production")]).await.unwrap();
        let strict = if db == Db::Sqlite { "PRAGMA foreign_keys = ON; " } else { "" };
        for sql in [
            "UPDATE keys SET role = 'boss'",
            "UPDATE keys SET origin = 'found'",
            "UPDATE effects SET kind = 'wish'",
            "UPDATE effects SET status = 'maybe'",
            "UPDATE keys SET provider = 'nobody'",
            "UPDATE account_entries SET identity = 'nobody'",
        ] {
            shelf.execute(&format!("{strict}{sql}")).await.expect_err(sql);
        }
    }
}

on_both_databases! {
    async fn every_word_that_the_program_writes_is_in_the_vocabulary(db: Db) {
        let shelf = Shelf::new(db).await;
        let kinds = [
            EffectKind::Create,
            EffectKind::Publish,
            EffectKind::Disable,
            EffectKind::Enable,
            EffectKind::Delete,
            EffectKind::Deploy,
            EffectKind::Limit,
        ];
        let statuses =
            [EffectStatus::Done, EffectStatus::Failed, EffectStatus::Unknown, EffectStatus::Intended];
        for (number, kind) in kinds.into_iter().enumerate() {
            let id = format!("e{number}");
            let run = Some("r".to_owned());
            shelf.commit(&[Change::Intend(NewEffect { run, ..effect(&id, kind, &id) })]).await.unwrap();
            for status in statuses {
                shelf.commit(&[settle(&id, status)]).await.unwrap();
                let rows = shelf.store.effects("r").await.unwrap();
                let row = rows.iter().find(|row| row.id == id).unwrap();
                assert_eq!((row.kind, row.status), (kind, status));
            }
            shelf.commit(&[settle(&id, EffectStatus::Done)]).await.unwrap();
        }
        for (number, role) in
            (1..).zip([Role::Manual, Role::Candidate, Role::Current, Role::Retiring, Role::Dead])
        {
            assert_eq!(shelf.generation(number, role).await.role, role);
        }
    }
}
