//! Server-sent events: a run that goes on, what pages are about, and the end of all of them.

use serde_json::{Value, json};

use super::clients;
use crate::support::client::Events;
use crate::support::wait::{in_time, serve, stop};
use crate::support::{Db, World, on_both_databases};

/// The next event of this kind.
async fn event(events: &mut Events, kind: &str) -> Value {
    let found = async {
        loop {
            let (event, data) = events.next().await.expect("it goes on");
            if event == kind {
                return data;
            }
        }
    };
    in_time(kind, found).await
}

on_both_databases! {
    async fn a_page_hears_what_changes(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        let daemon = serve(&world).await;
        let clients = clients(&world).await;
        let (operator, admin) = (&clients["operator"], &clients["admin"]);
        let of_keys = in_time("an answer, and no stream", operator.get("/api/v1/events?topics=keys")).await;
        assert_eq!(of_keys.status, 403, "no rows of keys, no word of them");
        assert_eq!(operator.get("/api/v1/events?topics=weather").await.json()["code"], "bad_parameter");
        assert_eq!(operator.get("/api/v1/runs/none/events").await.status, 404);

        let mut page = operator.listen("/api/v1/events?topics=runs,alerts").await;
        assert_eq!(page.header("x-accel-buffering"), Some("no"));
        assert_eq!(page.header("content-type"), Some("text/event-stream"));
        let mut keys = admin.listen("/api/v1/events?topics=keys").await;
        // A listener hears of what happens after it is one: the first look is under way.
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        let run = operator.post("/api/v1/rotations/production/runs", &json!({})).await;
        assert_eq!(run.status, 202, "{}", run.body);
        let id = run.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(event(&mut page, "runs").await, json!({"topic": "runs"}));
        assert_eq!(event(&mut keys, "keys").await, json!({"topic": "keys"}));

        let path = format!("/api/v1/runs/{id}/events");
        let mut followed = operator.listen(&path).await;
        let mut states = Vec::new();
        while let Some((kind, run)) = in_time("the run is over", followed.next()).await {
            assert_eq!((kind.as_str(), &run["id"]), ("run", &json!(id)));
            assert!(!run.to_string().contains("sk-or-v..."), "no mask for an operator: {run}");
            states.push(run["state"].as_str().unwrap().to_owned());
        }
        assert_eq!(states.last().map(String::as_str), Some("done"), "{states:?}");
        assert!(states.len() > 1, "it was told more than once: {states:?}");
        let again = operator.with("Last-Event-ID", "1").get(&path).await;
        assert_eq!(again.status, 204, "nothing more will happen: no browser comes back");

        // Who comes back is told what they missed.
        let mut back = operator.with("Last-Event-ID", "1").listen("/api/v1/events?topics=destinations").await;
        event(&mut back, "destinations").await;
        stop(daemon).await;
        let ends = async { while back.next().await.is_some() {} };
        in_time("the stream ends with the daemon", ends).await;
        world.assert_nothing_leaked();
    }
}
