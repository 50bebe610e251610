//! Stored keys by the API: stored, replaced, changed, tested, imported, and whose they are.

use serde_json::{Value, json};

use super::clients;
use crate::support::client::{Answer, Client};
use crate::support::wait::{serve, stop};
use crate::support::{Db, World, on_both_databases};

const KEYS: &str = "/api/v1/llm/providers/keys";

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

async fn put(admin: &Client, secret: &str, more: &Value) -> Answer {
    let mut body = json!({"provider_type": "openrouter", "api_key": secret});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    admin.post(KEYS, &body).await
}

on_both_databases! {
    async fn a_key_is_stored_replaced_and_changed(db: Db) {
        let world = World::new(db).await;
        let daemon = serve(&world).await;
        let admin = clients(&world).await.remove("admin").unwrap();
        let (one, two) = (world.openrouter.new_regular_key("one"), world.openrouter.new_regular_key("two"));

        let spare = json!({"name": "spare", "priority": 60, "config": {"model": "m"}, "owner": "ada@example.com"});
        let stored = admin.with("Idempotency-Key", "one").post(KEYS, &json!({
            "provider_type": "openrouter", "api_key": one, "name": "spare", "priority": 60, "config": {"model": "m"},
            "owner": "ada@example.com"
        })).await;
        let key = stored.json();
        assert_eq!((stored.status, &key["status"], &key["number"]), (201, &json!("valid"), &json!(1)), "{key}");
        assert_eq!(stored.header("ratelimit-policy"), Some("\"tests\";q=10;w=60"));
        let again = admin.with("Idempotency-Key", "one").post(KEYS, &json!({
            "provider_type": "openrouter", "api_key": one, "name": "spare", "priority": 60, "config": {"model": "m"},
            "owner": "ada@example.com"
        })).await;
        assert_eq!((again.status, &again.body), (201, &stored.body), "the same answer, and no second key");
        let replaced = put(&admin, &two, &json!({"name": "spare"})).await;
        let now = replaced.json();
        assert_eq!((replaced.status, &now["id"], &now["priority"]), (200, &key["id"], &json!(60)), "{now}");
        assert_ne!(now["masked_key"], key["masked_key"]);
        assert_eq!(code(&put(&admin, &two, &json!({"name": "twice"})).await), (409, "conflict".to_owned()));

        let mask = rekeyd::domain::secret::mask(&one);
        assert_eq!(code(&put(&admin, &mask, &spare).await), (400, "masked_value".to_owned()));
        assert_eq!(code(&put(&admin, "two words", &spare).await), (400, "bad_request".to_owned()));
        let forced = json!({"name": "forced", "force": true});
        let wrong = put(&admin, &world.provisioning, &forced).await;
        assert_eq!(code(&wrong), (409, "refused_by_rule".to_owned()), "never, whatever is forced");
        let unknown = "sk-or-v1-false-0123456789abcdef0123456789abcdef";
        assert_eq!(code(&put(&admin, unknown, &json!({"name": "forced"})).await), (400, "key_refused".to_owned()));
        let invalid = put(&admin, unknown, &forced).await;
        assert_eq!((invalid.status, &invalid.json()["status"]), (201, &json!("invalid")), "{}", invalid.body);
        let later = put(&admin, "your-api-key-here", &json!({"name": "later", "is_active": true})).await.json();
        assert_eq!((&later["status"], &later["is_active"]), (&json!("placeholder"), &json!(false)), "{later}");
        change(&admin, &key).await;
        import(&admin, &world).await;
        providers(&admin).await;
        stop(daemon).await;
        world.assert_nothing_leaked();
    }
}

async fn change(admin: &Client, key: &Value) {
    let one = format!("{KEYS}/{}", key["id"].as_str().unwrap());
    let patch = async |path: &str, body: Value| admin.send("PATCH", path, Some(&body)).await;
    let changed = json!({"is_active": false, "note": "batch", "owner": null, "expires_at": "2030-01-31"});
    let now = patch(&one, changed).await.ok().json();
    assert_eq!(
        (&now["is_active"], &now["note"], &now["owner"]),
        (&json!(false), &json!("batch"), &Value::Null)
    );
    assert_eq!(now["expires_at"], "2030-01-31T00:00:00.000Z");
    assert_eq!(
        (&now["config"], &now["priority"]),
        (&json!({"model": "m"}), &json!(60)),
        "what is not said stays"
    );
    let now = patch(&one, json!({"is_active": true, "expires_at": null})).await.ok().json();
    assert_eq!((&now["is_active"], &now["expires_at"]), (&json!(true), &Value::Null), "{now}");
    assert_eq!(patch(&one, json!({})).await.status, 422);
    assert_eq!(patch(&one, json!({"api_key": "x"})).await.status, 422, "a key is replaced by its name");
    assert_eq!(patch(&one, json!({"priority": 101})).await.status, 400);
    assert_eq!(patch(&format!("{KEYS}/none"), json!({"note": "x"})).await.status, 404);
    for (filter, total) in
        [("owner=ada%40example.com", 0), ("tested_before=2020-01-01T00:00:00Z", 1), ("q=spare", 1)]
    {
        let page = admin.get(&format!("{KEYS}?limit=10&{filter}")).await.json();
        assert_eq!(page["total"], total, "{filter}: {page}");
    }
}

async fn import(admin: &Client, world: &World) {
    let fresh = world.openrouter.new_regular_key("fresh");
    let text = format!("openrouter {fresh}\nopenrouter {fresh}\nnonsense\nOPENAI_API_KEY=changeme\n");
    let path = format!("{KEYS}/import");
    let tried = admin.send_text(&format!("{path}?dry_run=true&test=false"), &text).await.ok().json();
    assert_eq!((&tried["added"], &tried["rows"][0]["number"]), (&json!(1), &Value::Null), "{tried}");
    let done = admin.send_text(&path, &text).await.ok().json();
    let count = |what: &str| done[what].as_i64().unwrap();
    assert_eq!(
        [count("added"), count("known"), count("placeholders"), count("refused")],
        [1, 1, 1, 1],
        "{done}"
    );
    assert!(done["rows"][0]["number"].is_i64() && !done.to_string().contains(&fresh));
}

/// Two megabytes are read, and only of who may store keys.
async fn large_bodies(admin: &Client, world: &World) {
    let path = format!("{KEYS}/import");
    let many = format!("{}\n", "x".repeat(200)).repeat(1000);
    assert_eq!(
        admin.send_text(&format!("{path}?dry_run=true&test=false"), &many).await.status,
        200,
        "200 KB"
    );
    let too_many = "x".repeat(2 * 1024 * 1024 + 1);
    // Who is refused before all was sent may see the connection end, and nothing else.
    let refused =
        async |client: &Client, text: &str| matches!(client.send_text(&path, text).await.status, 0 | 413);
    assert!(refused(admin, &too_many).await);
    let stranger = Client::of_newest(world, "rk_nobody");
    assert!(refused(&stranger, &many).await, "no large body of somebody unknown");
}

async fn providers(admin: &Client) {
    let path = "/api/v1/llm/providers";
    let info = admin.get(&format!("{path}/info")).await.ok().json();
    let openrouter =
        info["providers"].as_array().unwrap().iter().find(|row| row["provider_type"] == "openrouter");
    assert_eq!(openrouter.unwrap()["configured"], true);
    let nova = admin.post(&format!("{path}/nova"), &json!({"kind": "openai", "title": "Nova"})).await;
    assert_eq!((nova.status, &nova.json()["kind"]), (201, &json!("openai")), "{}", nova.body);
    assert_eq!(code(&admin.post(&format!("{path}/nova"), &json!({})).await), (409, "conflict".to_owned()));
    assert_eq!(admin.post(&format!("{path}/Nova"), &json!({})).await.status, 400);
    let gone = admin.send("DELETE", &format!("{path}/nova"), None).await.ok().json();
    assert_eq!(gone, json!({"deleted": "nova", "still_honoured": []}));
    assert_eq!(admin.send("DELETE", &format!("{path}/nova"), None).await.status, 404);
    let private = json!({
        "provider_type": "local", "api_key": "local-false-key-1", "base_url": "http://127.0.0.1:9/v1"
    });
    assert_eq!(admin.post(KEYS, &private).await.status, 409, "an address of this machine");
    let names = admin.get(&format!("{path}/info")).await.json();
    assert!(!names.to_string().contains("\"local\""), "nothing of what was refused stays");
}

on_both_databases! {
    async fn ten_tests_a_minute_over_all_replicas(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        let daemons = [serve(&world).await, serve(&world).await];
        let newest = clients(&world).await.remove("admin").unwrap();
        let oldest = newest.of_first(&world);
        let stored = json!({"provider_type": "openrouter", "api_key": null});
        let first = newest.post(&format!("{KEYS}/test"), &stored).await.ok();
        let tested = first.json();
        assert_eq!((&tested["success"], &tested["status"]), (&json!(true), &json!("valid")), "{tested}");
        assert!(first.header("ratelimit").unwrap().starts_with("\"tests\";r=9;t="), "{}", first.head);
        let given = newest.post(&format!("{KEYS}/test"), &json!({"provider_type": "openrouter", "api_key": "no-key-1"})).await;
        assert_eq!((given.status, &given.json()["success"]), (200, &json!(false)), "{}", given.body);
        let none = newest.post(&format!("{KEYS}/test"), &json!({"provider_type": "groq", "api_key": null})).await;
        assert_eq!(none.status, 404);
        // Three of them were taken; nobody asks about a placeholder.
        let statuses = async |count: usize| {
            let mut statuses = Vec::new();
            for n in 0..count {
                let client = if n % 2 == 0 { &newest } else { &oldest };
                let body = json!({"provider_type": "openrouter", "api_key": "your-api-key-here"});
                statuses.push(client.post(&format!("{KEYS}/test"), &body).await.status);
            }
            statuses
        };
        let more = statuses(8).await;
        assert_eq!(more, [200, 200, 200, 200, 200, 200, 200, 429], "11 tests, 10 pass");
        let over = oldest.post(&format!("{KEYS}/test"), &stored).await;
        assert_eq!((over.status, code(&over).1.as_str()), (429, "too_many_requests"));
        assert!(over.header("retry-after").is_some() && over.header("ratelimit").unwrap().contains("r=0"));
        large_bodies(&newest, &world).await;
        for daemon in daemons {
            stop(daemon).await;
        }
    }
}
