//! The strictness of wire-facts.md, fact by fact.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::super::testing::client;
use super::*;

struct Bench {
    sim: OpenRouter,
    http: reqwest::Client,
    boss: String,
}

impl Bench {
    async fn new() -> Self {
        let sim = OpenRouter::start().await;
        let boss = sim.new_provisioning_key();
        Self { sim, http: client(), boss }
    }

    async fn call(&self, method: Method, path: &str, key: Option<&str>, body: Option<Value>) -> (u16, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.sim.base_url()));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn get(&self, path: &str, key: &str) -> (u16, Value) {
        self.call(Method::GET, path, Some(key), None).await
    }

    async fn create(&self, body: Value) -> (u16, Value) {
        self.call(Method::POST, "/keys", Some(&self.boss), Some(body)).await
    }

    async fn patch(&self, hash: &str, body: Value) -> (u16, Value) {
        self.call(Method::PATCH, &format!("/keys/{hash}"), Some(&self.boss), Some(body)).await
    }

    async fn chat(&self, key: &str) -> (u16, Value) {
        let body = json!({"model": "simulated/small", "messages": [{"role": "user", "content": "hi"}]});
        self.call(Method::POST, "/chat/completions", Some(key), Some(body)).await
    }

    /// A key made by API: its secret and hash.
    async fn made(&self, name: &str) -> (String, String) {
        let (status, body) = self.create(json!({"name": name})).await;
        assert_eq!(status, 201);
        (body["key"].as_str().unwrap().to_owned(), body["data"]["hash"].as_str().unwrap().to_owned())
    }

    async fn names(&self, query: &str) -> Vec<String> {
        let (status, body) = self.get(&format!("/keys{query}"), &self.boss).await;
        assert_eq!(status, 200);
        let name = |key: &Value| key["name"].as_str().unwrap().to_owned();
        body["data"].as_array().unwrap().iter().map(name).collect()
    }
}

fn refusal(answer: &(u16, Value)) -> (u16, &str) {
    assert_eq!(answer.1["error"]["code"], answer.0);
    (answer.0, answer.1["error"]["message"].as_str().unwrap())
}

#[tokio::test]
async fn each_credential_gets_its_own_refusal() {
    let bench = Bench::new().await;
    let regular = bench.sim.new_regular_key("agent");
    for path in ["/key", "/keys", "/credits"] {
        let nobody = bench.call(Method::GET, path, None, None).await;
        assert_eq!(refusal(&nobody), (401, "No cookie auth credentials found"));
        assert_eq!(refusal(&bench.get(path, "sk-or-v1-nonsense").await), (401, "User not found."));
    }
    assert_eq!(refusal(&bench.get("/keys", &regular).await), (401, "Invalid management key"));
    let create = async || {
        let answer = bench.call(Method::POST, "/keys", Some(&regular), Some(json!({"name": "x"}))).await;
        refusal(&answer).0
    };
    assert_eq!(create().await, 401);
    bench.sim.settings(|settings| settings.create_by_regular_key = 403);
    assert_eq!(create().await, 403);
    assert_eq!(refusal(&bench.chat(&bench.boss).await), (401, "User not found."));
    assert_eq!(bench.chat(&regular).await.0, 200);
    assert_eq!(bench.call(Method::GET, "/models/", None, None).await.0, 200);
}

#[tokio::test]
async fn only_get_key_tells_the_two_kinds_apart() {
    let bench = Bench::new().await;
    let regular = bench.sim.new_regular_key("agent");
    let pattern = |secret: &str| secret.len() == 73 && secret.starts_with("sk-or-v1-");
    assert!(pattern(&regular) && pattern(&bench.boss));
    for (key, manages) in [(&bench.boss, true), (&regular, false)] {
        let (status, body) = bench.get("/key/", key).await;
        assert_eq!(status, 200);
        assert_eq!(body["data"]["is_management_key"], manages);
        assert_eq!(body["data"]["is_provisioning_key"], manages);
        assert_eq!(body["data"]["label"], format!("{}...{}", &key[..12], &key[70..]));
        for hidden in ["hash", "name", "disabled"] {
            assert!(body["data"].get(hidden).is_none());
        }
    }
}

#[tokio::test]
async fn a_created_key_shows_its_secret_once_beside_the_data() {
    let bench = Bench::new().await;
    let body = json!({"name": "n", "limit": 5, "limit_reset": "daily", "expires_at": "2999-12-31T23:59:59Z"});
    let (status, body) = bench.create(body).await;
    assert_eq!(status, 201);
    let secret = body["key"].as_str().unwrap();
    let data = &body["data"];
    assert_eq!(data["hash"], hex::encode(<sha2::Sha256 as sha2::Digest>::digest(secret)));
    assert_eq!((&data["usage"], &data["limit"], &data["limit_remaining"]), (&json!(0), &json!(5), &json!(5)));
    for null in ["updated_at", "last_used_at", "external_user"] {
        assert!(data[null].is_null() && data.get(null).is_some(), "{null}");
    }
    assert!(data.get("key").is_none());
    assert_eq!(data.as_object().unwrap().len(), 23);
    assert!(bench.sim.issued_secrets().contains(&secret.to_owned()));
    let (_, again) = bench.get(&format!("/keys/{}/", data["hash"].as_str().unwrap()), &bench.boss).await;
    assert!(!again.to_string().contains(secret));
    let (one, other) = (data["created_at"].as_str().unwrap(), again["data"]["created_at"].as_str().unwrap());
    assert!(one.ends_with("000+00:00") && other.ends_with('Z'), "{one} {other}");
}

#[tokio::test]
async fn bad_bodies_are_refused_and_create_nothing() {
    let bench = Bench::new().await;
    for body in [
        json!({}),
        json!({"name": ""}),
        json!({"name": 7}),
        json!({"name": "n", "disabled": true}),
        json!({"name": "n", "limit": "5"}),
        json!({"name": "n", "limit": -1}),
        json!({"name": "n", "limit_reset": "yearly"}),
        json!({"name": "n", "include_byok_in_limit": "no"}),
        json!({"name": "n", "expires_at": "2999-12-31"}),
        json!({"name": "n", "expires_at": "2999-12-31T23:59Z"}),
        json!({"name": "n", "expires_at": "2999-12-31T23:59:59+02:00"}),
        json!([]),
    ] {
        let (status, answer) = bench.create(body.clone()).await;
        assert_eq!((status, &answer["error"]["name"]), (400, &json!("ZodError")), "{body}");
        assert_eq!(answer["success"], false);
    }
    let past = bench.create(json!({"name": "n", "expires_at": "2001-01-01T00:00:00Z"})).await;
    assert_eq!(refusal(&past).0, 400);
    assert_eq!(refusal(&bench.create(json!({"name": "n", "workspace_id": "elsewhere"})).await).0, 404);
    assert!(bench.sim.keys().is_empty());
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_nothing_else() {
    let bench = Bench::new().await;
    let (secret, hash) = bench.made("n").await;
    let (status, body) = bench.patch(&hash, json!({"limit": 3, "limit_reset": "weekly"})).await;
    assert_eq!((status, &body["data"]["limit"]), (200, &json!(3)));
    assert!(body["data"]["updated_at"].is_string());
    let (_, body) = bench.patch(&hash, json!({"limit": null, "disabled": true})).await;
    assert_eq!((&body["data"]["limit"], &body["data"]["limit_reset"]), (&Value::Null, &json!("weekly")));
    assert_eq!(bench.get("/key", &secret).await.0, 401);
    assert_eq!(bench.chat(&secret).await.0, 401);
    assert_eq!(bench.patch(&hash, json!({"disabled": false})).await.0, 200);
    assert_eq!(bench.get("/key", &secret).await.0, 200);
    assert_eq!(bench.patch(&hash, json!({"expires_at": "2999-12-31T23:59:59Z"})).await.0, 400);
    assert_eq!(bench.patch(&"0".repeat(64), json!({})).await.0, 404);
}

#[tokio::test]
async fn a_deleted_key_is_404_and_leaves_a_tombstone() {
    let bench = Bench::new().await;
    let (secret, hash) = bench.made("n").await;
    let delete = async || bench.call(Method::DELETE, &format!("/keys/{hash}"), Some(&bench.boss), None).await;
    assert_eq!(delete().await, (200, json!({"deleted": true})));
    assert_eq!(refusal(&delete().await).0, 404);
    assert_eq!(bench.get(&format!("/keys/{hash}"), &bench.boss).await.0, 404);
    assert_eq!(refusal(&bench.get("/key", &secret).await), (401, "User not found."));
    assert!(bench.names("?include_disabled=true&include_expired=true").await.is_empty());
    assert!(bench.sim.key_by_hash(&hash).unwrap().deleted);
}

#[tokio::test]
async fn listings_hide_page_and_stay_in_one_workspace() {
    let bench = Bench::new().await;
    bench.sim.settings(|settings| settings.page_size = 2);
    for name in ["a", "b", "c", "off", "old"] {
        bench.made(name).await;
    }
    let hash = |name| bench.sim.key_by_name(name).unwrap().hash;
    bench.sim.edit_key(&hash("off"), |row| row.disabled = true);
    bench.sim.edit_key(&hash("old"), |row| row.expires_at = Some(row.created_at));
    let elsewhere = bench.sim.new_workspace();
    bench.sim.new_regular_key_in(&elsewhere, "far");
    let everything = "&include_disabled=true&include_expired=true";
    assert_eq!(bench.names("").await, ["c", "b"]);
    assert_eq!(bench.names("?offset=2").await, ["a"]);
    assert!(bench.names("?offset=4").await.is_empty());
    assert_eq!(bench.names(&format!("?offset=0{everything}")).await, ["old", "off"]);
    assert_eq!(bench.names(&format!("?workspace_id={elsewhere}")).await, ["far"]);
    assert_eq!(bench.get("/keys?offset=-1", &bench.boss).await.0, 400);
}

#[tokio::test]
async fn listings_lag_and_shift_when_told_to() {
    let bench = Bench::new().await;
    bench.sim.settings(|settings| {
        settings.page_size = 2;
        settings.listing_lag = Duration::from_mins(1);
        settings.listing_shifts = vec![ListingShift::Vanishes, ListingShift::Appears];
    });
    let hash = bench.made("fresh").await.1;
    assert!(bench.names("").await.is_empty());
    assert_eq!(bench.get(&format!("/keys/{hash}"), &bench.boss).await.0, 200);
    for name in ["1", "2", "3", "4"] {
        bench.sim.new_regular_key(name);
    }
    assert_eq!([bench.names("").await, bench.names("?offset=2").await], [vec!["4", "3"], vec!["1"]]);
    assert_eq!(bench.names("").await, ["3", "2"]);
    assert_eq!(bench.names("?offset=2").await, ["2", "1"]);
    bench.sim.set_clock_offset(120);
    assert!(bench.names("?offset=4").await.contains(&"fresh".to_owned()));
}

#[tokio::test]
async fn a_fresh_key_is_refused_and_a_dead_one_works_for_a_while() {
    let bench = Bench::new().await;
    bench.sim.settings(|settings| {
        settings.fresh_key_refused_for = Duration::from_secs(90);
        settings.dead_key_works_for = Duration::from_mins(1);
    });
    let (secret, hash) = bench.made("n").await;
    assert_eq!(refusal(&bench.get("/key", &secret).await), (401, "User not found."));
    bench.sim.set_clock_offset(91);
    assert_eq!(bench.get("/key", &secret).await.0, 200);
    bench.sim.edit_key(&hash, |row| row.deleted = true);
    assert_eq!(bench.get(&format!("/keys/{hash}"), &bench.boss).await.0, 404);
    assert_eq!(bench.get("/key", &secret).await.0, 200);
    assert!(bench.sim.use_key(&secret, 0.1));
    bench.sim.set_clock_offset(152);
    assert_eq!(bench.get("/key", &secret).await.0, 401);
    assert!(!bench.sim.use_key(&secret, 0.1));
}

#[tokio::test]
async fn limits_and_empty_purses_refuse_chats_but_not_whoami() {
    let bench = Bench::new().await;
    let (_, body) = bench.create(json!({"name": "n", "limit": 1, "limit_reset": "daily"})).await;
    let secret = body["key"].as_str().unwrap();
    assert!(bench.sim.use_key(secret, 1.5));
    let chat = bench.chat(secret).await;
    assert!(refusal(&chat).1.starts_with("Key limit exceeded (daily limit). Manage it using "));
    assert_eq!(refusal(&chat).0, 403);
    bench.sim.settings(|settings| settings.limit_refusal = LimitRefusal::PaymentRequired);
    let (status, body) = bench.chat(secret).await;
    assert_eq!((status, &body["error"]["metadata"]["limit_source"]), (402, &json!("openrouter_key_limit")));
    let (status, body) = bench.get("/key", secret).await;
    assert_eq!((status, &body["data"]["limit_remaining"]), (200, &json!(-0.5)));
    bench.sim.set_clock_offset(86_400);
    assert_eq!(bench.chat(secret).await.0, 200);
    bench.sim.set_credits(10.0, 10.0);
    let poor = bench.chat(secret).await;
    assert_eq!(refusal(&poor).0, 402);
    assert!(refusal(&poor).1.starts_with("Insufficient credits"));
    assert_eq!(bench.get("/key", secret).await.0, 200);
    let credits = json!({"data": {"total_credits": 10, "total_usage": 10}});
    assert_eq!(bench.get("/credits", secret).await, (200, credits));
}

#[tokio::test]
async fn use_shows_late_and_whoami_counts_only_when_told_to() {
    let bench = Bench::new().await;
    let (secret, hash) = bench.made("n").await;
    let read = async || bench.get(&format!("/keys/{hash}"), &bench.boss).await.1["data"].clone();
    bench.get("/key", &secret).await;
    assert!(read().await["last_used_at"].is_null());
    bench.sim.settings(|settings| {
        settings.whoami_moves_last_used = true;
        settings.usage_lag = Duration::from_mins(5);
    });
    bench.get("/key", &secret).await;
    assert_eq!(bench.chat(&secret).await.0, 200);
    assert!(bench.sim.use_key(&secret, 2.0));
    assert_eq!((&read().await["usage"], &read().await["last_used_at"]), (&json!(0), &Value::Null));
    assert!(bench.sim.key_by_hash(&hash).unwrap().usage > 2.0);
    bench.sim.set_clock_offset(301);
    assert_eq!(read().await["usage"], 2.0001);
    assert!(read().await["last_used_at"].is_string());
}

#[tokio::test]
async fn accounts_do_not_see_each_other() {
    let bench = Bench::new().await;
    let stranger = bench.sim.new_provisioning_key_of("org-two");
    let (_, hash) = bench.made("n").await;
    assert_eq!(bench.get(&format!("/keys/{hash}"), &stranger).await.0, 404);
    assert_eq!(bench.get("/keys", &stranger).await.1["data"], json!([]));
    let identity = async |key: &str| {
        let data = bench.get("/key", key).await.1["data"].clone();
        (data["creator_user_id"].clone(), data["organization_id"].clone(), data["workspace_id"].clone())
    };
    let (one, two) = (identity(&bench.boss).await, identity(&stranger).await);
    assert!(one.0 != two.0 && one.1.is_null() && two.1.is_string() && one.2 != two.2);
    assert!(bench.sim.revoke_provisioning(&stranger));
    assert_eq!(refusal(&bench.get("/keys", &stranger).await), (401, "User not found."));
}

#[tokio::test]
async fn labels_are_what_the_header_says() {
    let bench = Bench::new().await;
    for (method, path, label) in [
        (Method::GET, "/keys/?offset=0", "list_keys"),
        (Method::POST, "/keys/", "create_key"),
        (Method::GET, "/keys/abc", "read_key"),
        (Method::PATCH, "/keys/abc/", "patch_key"),
        (Method::DELETE, "/keys/abc", "delete_key"),
        (Method::GET, "/key", "whoami"),
        (Method::GET, "/credits/", "credits"),
        (Method::POST, "/chat/completions", "chat"),
        (Method::GET, "/models", "models"),
        (Method::GET, "/elsewhere", "unknown"),
    ] {
        bench.call(method, path, None, None).await;
        let log = bench.sim.requests().pop().unwrap();
        assert_eq!(log.label, label);
        assert_eq!(log.applied, label == "models");
    }
}

#[tokio::test]
async fn a_key_has_one_guardrail_and_an_account_may_have_none() {
    let bench = Bench::new().await;
    let (_, hash) = bench.made("one").await;
    let (first, second) = (bench.sim.new_guardrail(), bench.sim.new_guardrail());
    let assign = async |guardrail: &str, body: Value| {
        bench
            .call(
                Method::POST,
                &format!("/guardrails/{guardrail}/assignments/keys"),
                Some(&bench.boss),
                Some(body),
            )
            .await
    };
    for guardrail in [&first, &second] {
        let answer = assign(guardrail, json!({"key_hashes": [hash]})).await;
        assert_eq!((answer.0, &answer.1["assigned_count"]), (200, &json!(1)));
    }
    assert_eq!(bench.sim.guardrail_of(&hash), Some(second), "assigning replaces");
    let (_, page) = bench.get("/guardrails/assignments/keys", &bench.boss).await;
    assert_eq!((page["data"].as_array().unwrap().len(), &page["total_count"]), (1, &json!(1)));
    let strange = "0".repeat(64);
    for (body, status) in [
        (json!({"key_hashes": []}), 400),
        (json!({"key_hashes": [strange]}), 400),
        (json!({"key_hashes": ["x"]}), 400),
        (json!({}), 400),
    ] {
        assert_eq!(assign(&first, body).await.0, status);
    }
    assert_eq!(assign("nobody", json!({"key_hashes": [hash]})).await.0, 404);
    let (status, _) = bench.get("/guardrails/assignments/keys", &bench.sim.new_regular_key("agent")).await;
    assert_eq!(status, 401);
    bench.sim.settings(|settings| settings.guardrails_refused = Some(403));
    assert_eq!(bench.get("/guardrails/assignments/keys", &bench.boss).await.0, 403);
}

#[tokio::test]
async fn an_allow_list_is_replaced_as_a_whole_and_names_only_living_keys() {
    let bench = Bench::new().await;
    let ((_, one), (_, other)) = (bench.made("one").await, bench.made("other").await);
    let id = bench.sim.new_byok(Some(std::slice::from_ref(&one)));
    let patch = async |list: Value| {
        let body = json!({"allowed_api_key_hashes": list});
        bench.call(Method::PATCH, &format!("/byok/{id}"), Some(&bench.boss), Some(body)).await
    };
    let (status, body) = patch(json!([other])).await;
    assert_eq!((status, &body["data"]["allowed_api_key_hashes"]), (200, &json!([other])));
    assert_eq!(patch(json!([])).await.0, 400);
    assert_eq!(patch(json!(vec![other.clone(); 101])).await.0, 400);
    assert!(bench.sim.edit_key(&one, |key| key.deleted = true));
    assert_eq!(refusal(&patch(json!([one, other])).await).0, 400, "a dead key");
    assert_eq!(bench.sim.byok_keys(&id), Some(vec![other]));
    assert_eq!(patch(Value::Null).await.0, 200);
    let (_, page) = bench.get("/byok", &bench.boss).await;
    assert_eq!(page["data"][0]["allowed_api_key_hashes"], Value::Null);
    let workspace = bench.sim.new_workspace();
    let (_, page) = bench.get(&format!("/byok?workspace_id={workspace}"), &bench.boss).await;
    assert_eq!(page["total_count"], 0);
}
