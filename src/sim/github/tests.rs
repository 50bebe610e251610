//! The strictness of wire-facts.md, fact by fact.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use crypto_box::PublicKey;
use reqwest::Method;
use serde_json::{Value, json};

use super::super::fault::When;
use super::super::testing::client;
use super::*;

const REPO: &str = "Acme/App";
const SECRETS: &str = "/repos/acme/app/actions/secrets";

struct Bench {
    sim: GitHub,
    http: reqwest::Client,
    token: String,
}

struct Reply {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

impl Bench {
    async fn new() -> Self {
        let sim = GitHub::start().await;
        sim.add_org("Acme");
        sim.add_repo(REPO);
        let token = sim.new_token(Permissions::everything());
        Self { sim, http: client(), token }
    }

    async fn call(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Reply {
        let url =
            if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.sim.api_url()) };
        let mut request = self.http.request(method, url).bearer_auth(token).header("user-agent", "test");
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default();
        Reply { status, headers, body }
    }

    async fn get(&self, path: &str) -> Reply {
        self.call(&self.token, Method::GET, path, None).await
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> Reply {
        self.call(&self.token, method, path, Some(body)).await
    }

    /// The body of a PUT for this store, sealed for its present key.
    async fn sealed(&self, store: &str, value: &str) -> Value {
        let key = self.get(&format!("{store}/public-key")).await.body;
        let bytes = STANDARD.decode(key["key"].as_str().unwrap()).unwrap();
        let public = PublicKey::from_slice(&bytes).unwrap();
        json!({"encrypted_value": STANDARD.encode(seal(&public, value)), "key_id": key["key_id"]})
    }

    async fn put(&self, store: &str, name: &str, value: &str) -> Reply {
        let body = self.sealed(store, value).await;
        self.send(Method::PUT, &format!("{store}/{name}"), body).await
    }
}

/// The thread's generator, in the shape that an older generation of traits wants.
struct Dice;

impl crypto_box::aead::rand_core::RngCore for Dice {
    fn next_u32(&mut self) -> u32 {
        rand::random()
    }

    fn next_u64(&mut self) -> u64 {
        rand::random()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        rand::fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), crypto_box::aead::rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl crypto_box::aead::rand_core::CryptoRng for Dice {}

fn seal(public: &PublicKey, value: &str) -> Vec<u8> {
    public.seal(&mut Dice, value.as_bytes()).unwrap()
}

#[tokio::test]
async fn a_sealed_secret_is_opened_kept_and_never_shown() {
    let bench = Bench::new().await;
    assert_eq!(bench.get(&format!("{SECRETS}/API_KEY")).await.status, 404);
    assert_eq!(bench.put(SECRETS, "api_key", "one").await.status, 201);
    let scope = Scope::repo(REPO);
    assert_eq!(bench.sim.secret_value(&scope, "API_KEY").as_deref(), Some("one"));
    let again = bench.put(SECRETS, "API_KEY", "two").await;
    assert_eq!((again.status, again.header("content-length")), (204, None));
    assert_eq!(bench.sim.secret_value(&scope, "Api_Key").as_deref(), Some("two"));
    let shown = bench.get(&format!("{SECRETS}/api_key")).await;
    let fields: Vec<&String> = shown.body.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["created_at", "name", "updated_at"]);
    assert_eq!(shown.body["updated_at"].as_str().unwrap().len(), "2026-11-21T03:06:00Z".len());
    assert_eq!(shown.body["name"], "API_KEY");
    assert_eq!(bench.send(Method::DELETE, &format!("{SECRETS}/API_KEY"), Value::Null).await.status, 204);
    assert_eq!(bench.send(Method::DELETE, &format!("{SECRETS}/API_KEY"), Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_stale_key_or_a_bad_box_is_422_and_stores_nothing() {
    let bench = Bench::new().await;
    let scope = Scope::repo(REPO);
    let path = format!("{SECRETS}/K");
    let stale = bench.sealed(SECRETS, "v").await;
    bench.sim.rotate_public_key(&scope);
    assert_eq!(bench.send(Method::PUT, &path, stale.clone()).await.status, 422);
    let mut crossed = bench.sealed(SECRETS, "v").await;
    crossed["encrypted_value"] = stale["encrypted_value"].clone();
    assert_eq!(bench.send(Method::PUT, &path, crossed.clone()).await.status, 422);
    crossed["encrypted_value"] = json!("not base64!");
    assert_eq!(bench.send(Method::PUT, &path, crossed).await.status, 422);
    let large = bench.sealed(SECRETS, &"x".repeat(48 * 1024 + 1)).await;
    assert_eq!(bench.send(Method::PUT, &path, large).await.status, 422);
    let good = bench.sealed(SECRETS, "v").await;
    for field in ["encrypted_value", "key_id"] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(field);
        assert_eq!(bench.send(Method::PUT, &path, body).await.status, 422);
    }
    for name in ["1K", "GITHUB_K", "github_k", "A-B", "A.B"] {
        assert_eq!(
            bench.send(Method::PUT, &format!("{SECRETS}/{name}"), good.clone()).await.status,
            422,
            "{name}"
        );
    }
    assert!(bench.sim.secret(&scope, "K").is_none());
    assert_eq!(bench.send(Method::PUT, &path, good).await.status, 201);
}

#[tokio::test]
async fn every_store_has_its_own_key_and_its_own_secrets() {
    let bench = Bench::new().await;
    bench.sim.add_environment(REPO, "Produktion EU/West");
    let environment = "/repos/acme/app/environments/Produktion%20EU%2FWest/secrets";
    let stores = [
        (SECRETS, Scope::repo(REPO)),
        (environment, Scope::environment(REPO, "Produktion EU/West")),
        ("/repos/acme/app/dependabot/secrets", Scope::repo(REPO).dependabot()),
        ("/repos/acme/app/codespaces/secrets", Scope::repo(REPO).codespaces()),
    ];
    for (path, scope) in &stores {
        assert_eq!(bench.put(path, "K", path).await.status, 201);
        assert_eq!(bench.sim.secret_value(scope, "K").as_deref(), Some(*path));
    }
    let elsewhere = "/repos/acme/app/environments/Produktion/secrets/public-key";
    assert_eq!(bench.get(elsewhere).await.status, 404);
    let key = async |path: &str| bench.get(&format!("{path}/public-key")).await.body["key_id"].clone();
    assert_ne!(key(stores[0].0).await, key(stores[1].0).await);
    let enterprise = format!("{}{SECRETS}/K", bench.sim.enterprise_api_url());
    assert_eq!(bench.get(&enterprise).await.status, 200);
}

#[tokio::test]
async fn tokens_see_and_may_only_what_they_were_given() {
    let bench = Bench::new().await;
    let get = async |token: &str, path: &str| bench.call(token, Method::GET, path, None).await;
    let key = format!("{SECRETS}/public-key");
    assert_eq!(get("github_pat_nonsense", &key).await.message(), "Bad credentials");
    let nothing = bench.sim.new_token(Permissions::none());
    let refused = get(&nothing, &key).await;
    assert_eq!(
        (refused.status, refused.message()),
        (403, "Resource not accessible by personal access token")
    );
    assert_eq!(get(&nothing, "/repos/acme/app").await.status, 200);
    let elsewhere = bench.sim.new_token_for(Permissions::everything(), &["acme/other"]);
    assert_eq!(get(&elsewhere, &key).await.status, 404);
    assert_eq!(get(&bench.token, "/repos/acme/none/actions/secrets/public-key").await.status, 404);
    let reader = bench.sim.new_token(Permissions::read_only());
    assert_eq!(get(&reader, &key).await.status, 200);
    let body = bench.sealed(SECRETS, "v").await;
    let path = format!("{SECRETS}/K");
    assert_eq!(bench.call(&reader, Method::PUT, &path, Some(body.clone())).await.status, 403);
    let writer = bench.sim.new_token_for(Permissions::secrets_write(), &["acme/app"]);
    assert_eq!(bench.call(&writer, Method::PUT, &path, Some(body)).await.status, 201);
    let event = json!({"event_type": "e"});
    assert_eq!(
        bench.call(&writer, Method::POST, "/repos/acme/app/dispatches", Some(event)).await.status,
        403
    );
    assert!(bench.sim.set_permissions(&writer, Permissions::none()) && bench.sim.revoke_token(&reader));
    assert_eq!([get(&writer, &path).await.status, get(&reader, &path).await.status], [403, 401]);
}

#[tokio::test]
async fn a_call_without_user_agent_or_bearer_is_refused() {
    let bench = Bench::new().await;
    let request = || bench.http.get(format!("{}/user", bench.sim.api_url()));
    let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    assert_eq!(status(request().bearer_auth(&bench.token)).await, 403);
    let named = || request().header("user-agent", "test");
    assert_eq!(status(named()).await, 401);
    assert_eq!(status(named().header("authorization", format!("Basic {}", bench.token))).await, 401);
    assert_eq!(
        status(named().bearer_auth(&bench.token).header("x-github-api-version", "1999-01-01")).await,
        400
    );
    assert_eq!(
        status(named().bearer_auth(&bench.token).header("x-github-api-version", "2022-11-28")).await,
        200
    );
}

#[tokio::test]
async fn an_organisation_secret_loses_its_repositories_silently() {
    let bench = Bench::new().await;
    let (app, other) = (bench.sim.add_repo(REPO), bench.sim.add_repo("acme/other"));
    let store = "/orgs/acme/actions/secrets";
    let scope = Scope::org("ACME");
    let put = async |extra: Value| {
        let mut body = bench.sealed(store, "v").await;
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        bench.send(Method::PUT, &format!("{store}/K"), body).await.status
    };
    assert_eq!(put(json!({})).await, 422);
    assert_eq!(put(json!({"visibility": "public"})).await, 422);
    assert_eq!(put(json!({"visibility": "all", "selected_repository_ids": [app]})).await, 422);
    assert_eq!(put(json!({"visibility": "selected", "selected_repository_ids": [7]})).await, 422);
    assert_eq!(put(json!({"visibility": "selected", "selected_repository_ids": [app]})).await, 201);
    assert_eq!(bench.sim.workflow_sees(REPO, "K").as_deref(), Some("v"));
    assert_eq!(bench.sim.workflow_sees("acme/other", "K"), None);
    let read = bench.get(&format!("{store}/K")).await.body;
    assert_eq!(read["visibility"], "selected");
    let listed = bench.get(read["selected_repositories_url"].as_str().unwrap()).await.body;
    assert_eq!((&listed["total_count"], &listed["repositories"][0]["id"]), (&json!(1), &json!(app)));
    let all = json!({"selected_repository_ids": [app, other]});
    assert_eq!(bench.send(Method::PUT, &format!("{store}/K/repositories"), all).await.status, 204);
    let one = format!("{store}/K/repositories/{app}");
    assert_eq!(bench.send(Method::DELETE, &one, Value::Null).await.status, 204);
    assert_eq!(bench.sim.secret(&scope, "K").unwrap().selected_repository_ids, [other]);
    assert_eq!(put(json!({"visibility": "selected"})).await, 204);
    assert!(bench.sim.secret(&scope, "K").unwrap().selected_repository_ids.is_empty());
    assert_eq!(bench.sim.workflow_sees("acme/other", "K"), None);
    assert_eq!(put(json!({"visibility": "private"})).await, 204);
    assert_eq!(bench.sim.workflow_sees("acme/other", "K").as_deref(), Some("v"));
    assert_eq!(bench.send(Method::PUT, &one, Value::Null).await.status, 409);
}

#[tokio::test]
async fn hands_and_swallowed_writes_show_in_updated_at_or_do_not() {
    let bench = Bench::new().await;
    let scope = Scope::repo(REPO);
    bench.put(SECRETS, "K", "v").await;
    let updated = async || bench.get(&format!("{SECRETS}/K")).await.body["updated_at"].clone();
    let first = updated().await;
    bench.sim.settings(|settings| settings.swallow_writes = true);
    bench.sim.set_clock_offset(60);
    assert_eq!(bench.put(SECRETS, "K", "w").await.status, 204);
    assert_eq!(bench.put(SECRETS, "NEW", "w").await.status, 201);
    assert_eq!((updated().await, bench.sim.secret_value(&scope, "K").as_deref()), (first.clone(), Some("v")));
    bench.sim.set_clock_offset(0);
    bench.sim.edit_secret_by_hand(&scope, "K");
    assert_ne!(updated().await, first);
    assert_ne!(bench.sim.secret_value(&scope, "K").as_deref(), Some("v"));
}

#[tokio::test]
async fn listings_lead_on_by_link() {
    let bench = Bench::new().await;
    for number in 0..5 {
        bench.sim.set_secret_by_hand(&Scope::repo(REPO), &format!("K{number}"), "v");
    }
    let mut next = Some(format!("{SECRETS}?per_page=2"));
    let mut names = Vec::new();
    while let Some(path) = next {
        let page = bench.get(&path).await;
        assert_eq!(page.body["total_count"], 5);
        names.extend(page.body["secrets"].as_array().unwrap().iter().map(|one| one["name"].clone()));
        let links = page.header("link").unwrap().to_owned();
        let found =
            links.split(", ").find_map(|link| link.strip_suffix(">; rel=\"next\"").map(str::to_owned));
        next = found.map(|link| link[1..].to_owned());
    }
    assert_eq!(names, ["K0", "K1", "K2", "K3", "K4"]);
    assert_eq!(bench.get(SECRETS).await.header("link"), None);
}

#[tokio::test]
async fn a_dispatch_is_checked_and_recorded() {
    let bench = Bench::new().await;
    let post = async |body| bench.send(Method::POST, "/repos/acme/app/dispatches", body).await.status;
    let many: Value = (0..11).map(|n| (n.to_string(), json!(n))).collect::<serde_json::Map<_, _>>().into();
    assert_eq!(post(json!({})).await, 422);
    assert_eq!(post(json!({"event_type": "x".repeat(101)})).await, 422);
    assert_eq!(post(json!({"event_type": "e", "client_payload": []})).await, 422);
    assert_eq!(post(json!({"event_type": "e", "client_payload": many})).await, 422);
    assert!(bench.sim.dispatches().is_empty());
    assert_eq!(post(json!({"event_type": "e", "client_payload": {"a": 1}})).await, 204);
    let done = bench.sim.dispatches();
    assert_eq!((done.len(), &*done[0].event_type, &done[0].client_payload["a"]), (1, "e", &json!(1)));
}

#[tokio::test]
async fn alerts_are_listed_and_resolved() {
    let bench = Bench::new().await;
    let number = bench.sim.add_alert(REPO, "openrouter_api_key", "sk-false");
    bench.sim.add_alert("acme/other", "x", "y");
    let list = "/repos/acme/app/secret-scanning/alerts?state=open";
    let found = bench.get(list).await.body;
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!((&found[0]["number"], &found[0]["secret"]), (&json!(number), &json!("sk-false")));
    assert_eq!(bench.get("/orgs/acme/secret-scanning/alerts").await.body.as_array().unwrap().len(), 2);
    let one = format!("/repos/acme/app/secret-scanning/alerts/{number}");
    assert_eq!(bench.send(Method::PATCH, &one, json!({"state": "resolved"})).await.status, 422);
    let body = json!({"state": "resolved", "resolution": "revoked", "resolution_comment": "rotated"});
    assert_eq!(bench.send(Method::PATCH, &one, body).await.body["state"], "resolved");
    assert_eq!(bench.get(list).await.body, json!([]));
    assert_eq!(bench.sim.alerts(REPO)[0].resolution_comment.as_deref(), Some("rotated"));
    assert_eq!(bench.get("/repos/acme/app/secret-scanning/alerts/9").await.status, 404);
}

#[tokio::test]
async fn limits_of_both_kinds_say_when_to_come_back() {
    let bench = Bench::new().await;
    let first = bench.get("/user").await;
    assert_eq!(
        (first.header("x-ratelimit-limit"), first.header("x-ratelimit-remaining")),
        (Some("5000"), Some("4999"))
    );
    bench.sim.settings(|settings| settings.rate_limit_per_hour = 1);
    let spent = bench.get("/user").await;
    assert_eq!((spent.status, spent.header("x-ratelimit-remaining")), (403, Some("0")));
    assert!(spent.header("x-ratelimit-reset").unwrap().parse::<i64>().is_ok());
    bench.sim.set_clock_offset(3601);
    assert_eq!(bench.get("/user").await.status, 200);
    bench.sim.faults().once("read_user", When::Before, secondary_rate_limit(Some(60)));
    let second = bench.get("/user").await;
    assert_eq!((second.status, second.header("retry-after")), (403, Some("60")));
}

#[tokio::test]
async fn an_app_trades_its_jwt_for_an_hour() {
    let bench = Bench::new().await;
    let app = bench.sim.add_app(Permissions::secrets_write());
    let now = chrono::DateTime::parse_from_rfc2822(bench.get("/user").await.header("date").unwrap())
        .unwrap()
        .timestamp();
    let jwt = |claims: Value| {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2lnbmVk", part(json!({"alg": "RS256", "typ": "JWT"})), part(claims))
    };
    let trade = async |token: String, id: u64| {
        bench.call(&token, Method::POST, &format!("/app/installations/{id}/access_tokens"), None).await
    };
    let id = app.installation_id;
    let claims =
        |iat: i64, exp: i64| json!({"iss": app.app_id.to_string(), "iat": now + iat, "exp": now + exp});
    assert_eq!(trade("nonsense".into(), id).await.status, 401);
    for (iat, exp) in [(-60, -1), (-60, 3600), (600, 900)] {
        assert_eq!(trade(jwt(claims(iat, exp)), id).await.status, 401);
    }
    assert_eq!(trade(jwt(json!({"iss": 1, "iat": now, "exp": now + 60})), id).await.status, 404);
    assert_eq!(trade(jwt(claims(-60, 540)), id + 1).await.status, 404);
    let reply = trade(jwt(claims(-60, 540)), id).await;
    assert_eq!(reply.status, 201);
    let token = reply.body["token"].as_str().unwrap().to_owned();
    let get = async |path: &str| bench.call(&token, Method::GET, path, None).await;
    assert_eq!(get(SECRETS).await.status, 200);
    let refused = bench
        .call(&token, Method::POST, "/repos/acme/app/dispatches", Some(json!({"event_type": "e"})))
        .await;
    assert_eq!((refused.status, refused.message()), (403, "Resource not accessible by integration"));
    bench.sim.set_clock_offset(3601);
    assert_eq!(get(SECRETS).await.status, 401);
    bench.sim.set_clock_offset(0);
    assert_eq!(get(SECRETS).await.status, 200);
    bench.sim.expire_installation_tokens();
    assert_eq!(get(SECRETS).await.status, 401);
}

#[tokio::test]
async fn labels_are_what_the_header_says() {
    let bench = Bench::new().await;
    for (method, path, label) in [
        (Method::GET, "/repos/a/b/actions/secrets/public-key", "read_public_key"),
        (Method::GET, "/repos/a/b/environments/e/secrets/public-key", "read_public_key"),
        (Method::GET, "/orgs/a/dependabot/secrets", "list_secrets"),
        (Method::GET, "/repos/a/b/codespaces/secrets/K", "read_secret"),
        (Method::PUT, "/api/v3/repos/a/b/actions/secrets/K", "put_secret"),
        (Method::DELETE, "/repos/a/b/actions/secrets/K", "delete_secret"),
        (Method::GET, "/orgs/a/actions/secrets/K/repositories", "list_secret_repositories"),
        (Method::PUT, "/orgs/a/actions/secrets/K/repositories", "set_secret_repositories"),
        (Method::PUT, "/orgs/a/actions/secrets/K/repositories/1", "change_secret_repository"),
        (Method::POST, "/repos/a/b/dispatches", "dispatch"),
        (Method::GET, "/repos/a/b/secret-scanning/alerts", "list_alerts"),
        (Method::GET, "/repos/a/b/secret-scanning/alerts/1", "read_alert"),
        (Method::PATCH, "/repos/a/b/secret-scanning/alerts/1", "patch_alert"),
        (Method::POST, "/app/installations/1/access_tokens", "access_token"),
        (Method::GET, "/repos/a/b", "read_repo"),
        (Method::GET, "/orgs/a", "read_org"),
        (Method::GET, "/repos/a/b/environments", "list_environments"),
        (Method::GET, "/user", "read_user"),
        (Method::GET, "/rate_limit", "rate_limit"),
        (Method::GET, "/repos/a/b/elsewhere/secrets", "unknown"),
    ] {
        bench.call("nobody", method, path, None).await;
        let log = bench.sim.requests().pop().unwrap();
        assert_eq!((log.label, log.applied), (label, false), "{path}");
    }
}
