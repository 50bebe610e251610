//! The strictness of wire-facts.md, fact by fact.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::super::fault::When;
use super::super::testing::client;
use super::*;

struct Bench {
    sim: Vercel,
    http: reqwest::Client,
    token: String,
}

impl Bench {
    /// With a project `app` of the personal account.
    async fn new() -> Self {
        let sim = Vercel::start().await;
        sim.add_project("app");
        let token = sim.new_token();
        Self { sim, http: client(), token }
    }

    async fn call(&self, token: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = self.http.request(method, format!("{}{path}", self.sim.api_url())).bearer_auth(token);
        let answer = request.json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call(&self.token, Method::GET, path, Value::Null).await
    }

    async fn create(&self, query: &str, body: Value) -> (u16, Value) {
        self.call(&self.token, Method::POST, &format!("/v10/projects/app/env{query}"), body).await
    }

    async fn patch(&self, id: &str, body: Value) -> (u16, Value) {
        self.call(&self.token, Method::PATCH, &format!("/v9/projects/app/env/{id}"), body).await
    }

    async fn promote(&self, id: &str) -> (u16, Value) {
        self.call(&self.token, Method::POST, &format!("/v10/projects/app/promote/{id}"), json!({})).await
    }

    /// Redeploys what serves production, tagged.
    async fn redeploy(&self, query: &str, tag: &str) -> (u16, Value) {
        let source = self.get("/v9/projects/app").await.1["targets"]["production"]["id"].clone();
        let body = json!({"name": "app", "deploymentId": source, "target": "production",
            "meta": {"rekeyd_run": tag}});
        self.call(&self.token, Method::POST, &format!("/v13/deployments{query}"), body).await
    }

    async fn state(&self, id: &str) -> String {
        self.get(&format!("/v13/deployments/{id}")).await.1["readyState"].as_str().unwrap().to_owned()
    }
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["error"]["code"].as_str().unwrap_or_default())
}

fn id(answer: &(u16, Value)) -> String {
    answer.1["id"].as_str().unwrap().to_owned()
}

fn variable(key: &str, kind: &str, target: &[&str]) -> Value {
    json!({"key": key, "value": format!("value of {key}"), "type": kind, "target": target})
}

#[tokio::test]
async fn readable_types_are_shown_to_who_asks_and_sensitive_never() {
    let bench = Bench::new().await;
    for (key, kind) in [("P", "plain"), ("E", "encrypted"), ("S", "sensitive")] {
        let (status, body) = bench.create("", variable(key, kind, &["production"])).await;
        assert_eq!((status, &body["failed"]), (201, &json!([])));
        assert_eq!(body["created"]["key"], key);
    }
    let values = async |query: &str| {
        let body = bench.get(&format!("/v10/projects/app/env{query}")).await.1;
        let text = |row: &Value| row["value"].as_str().unwrap().to_owned();
        body["envs"].as_array().unwrap().iter().map(text).collect::<Vec<_>>()
    };
    let closed = values("").await;
    assert!(closed[0] == "value of P" && closed[1].starts_with("sealed:") && closed[2].is_empty());
    assert_eq!(values("?decrypt=true").await, ["value of P", "value of E", ""]);
    for (row, value) in bench.sim.envs("app").iter().zip(["value of P", "value of E", ""]) {
        assert_eq!(bench.get(&format!("/v1/projects/app/env/{}", row.id)).await.1["value"], value);
    }
    assert_eq!(bench.sim.value("app", "S", "production").as_deref(), Some("value of S"));
}

#[tokio::test]
async fn a_create_that_conflicts_is_201_with_failed() {
    let bench = Bench::new().await;
    bench.create("", variable("K", "encrypted", &["production", "preview"])).await;
    let (status, body) = bench.create("", variable("K", "encrypted", &["preview"])).await;
    assert_eq!((status, &body["created"]), (201, &json!([])));
    assert_eq!(body["failed"][0]["error"]["code"], "ENV_CONFLICT");
    let overlap = bench.create("?upsert=true", variable("K", "encrypted", &["preview"])).await;
    assert_eq!(code(&overlap), (400, "ENV_CONFLICT"));
    let mut same = variable("K", "encrypted", &["preview", "production"]);
    same["value"] = json!("new");
    assert_eq!(bench.create("?upsert=true", same).await.1["failed"], json!([]));
    assert_eq!(bench.sim.value("app", "K", "preview").as_deref(), Some("new"));
    let both = json!([variable("K", "plain", &["production"]), variable("L", "plain", &["development"])]);
    let (_, body) = bench.create("", both).await;
    assert_eq!((body["created"].as_array().unwrap().len(), body["failed"].as_array().unwrap().len()), (1, 1));
    bench.sim.settings(|settings| settings.fail_creates = Some(("X".to_owned(), "no".to_owned())));
    let (status, body) = bench.create("", variable("M", "plain", &["preview"])).await;
    assert_eq!((status, &body["failed"][0]["error"]["code"]), (201, &json!("X")));
    assert_eq!(bench.sim.value("app", "M", "preview"), None);
}

#[tokio::test]
async fn bad_variables_are_400() {
    let bench = Bench::new().await;
    let mut branch = variable("K", "plain", &["production"]);
    branch["gitBranch"] = json!("main");
    for body in [
        json!({}),
        json!({"key": "K", "value": 7, "type": "plain", "target": ["preview"]}),
        variable("K", "secret", &["preview"]),
        variable("K", "plain", &[]),
        variable("K", "plain", &["staging"]),
        variable("K-1", "plain", &["preview"]),
        variable("1K", "plain", &["preview"]),
        variable("K", "sensitive", &["preview", "development"]),
        branch,
    ] {
        assert_eq!(bench.create("", body.clone()).await.0, 400, "{body}");
    }
    assert!(bench.sim.envs("app").is_empty());
}

#[tokio::test]
async fn a_patch_changes_the_value_and_keeps_the_rest() {
    let bench = Bench::new().await;
    let mut body = variable("K", "sensitive", &["production", "preview"]);
    body["comment"] = json!("said");
    bench.create("", body).await;
    let before = bench.sim.envs("app").remove(0);
    let (status, shown) = bench.patch(&before.id, json!({"value": "new"})).await;
    assert_eq!((status, &shown["value"]), (200, &json!("")));
    let after = bench.sim.envs("app").remove(0);
    assert!(after.updated_at > before.updated_at);
    let changed = EnvRow { value: "new".to_owned(), updated_at: after.updated_at, ..before.clone() };
    assert_eq!(after, changed);
    assert_eq!(code(&bench.patch(&before.id, json!({"type": "encrypted"})).await).0, 400);
    assert_eq!(code(&bench.patch("nowhere", json!({"value": "x"})).await), (404, "not_found"));
    bench.create("", variable("K", "plain", &["development"])).await;
    assert_eq!(code(&bench.patch(&before.id, json!({"target": ["development"]})).await).0, 400);
    bench.sim.settings(|settings| settings.swallow_writes = true);
    let (status, shown) = bench.patch(&before.id, json!({"value": "lost"})).await;
    assert!(status == 200 && shown["updatedAt"].as_i64().unwrap() > after.updated_at);
    assert_eq!(bench.sim.envs("app")[0], changed);
    bench.sim.set_by_hand("app", "K", &["production", "preview"], "sensitive", "by hand");
    assert!(bench.sim.envs("app")[0].updated_at > changed.updated_at);
}

#[tokio::test]
async fn a_change_reaches_only_deployments_made_after_it() {
    let bench = Bench::new().await;
    bench.sim.set_by_hand("app", "K", &["production"], "encrypted", "old");
    bench.sim.deploy_by_hand("app");
    bench.sim.set_by_hand("app", "K", &["production"], "encrypted", "new");
    assert_eq!(bench.sim.production_sees("app", "K").as_deref(), Some("old"));
    let made = bench.redeploy("?forceNew=1", "r1").await;
    assert_eq!((made.0, &made.1["readyState"]), (200, &json!("QUEUED")));
    for state in ["INITIALIZING", "BUILDING", "READY", "READY"] {
        assert_eq!(bench.sim.production_sees("app", "K").as_deref() == Some("new"), {
            bench.sim.deployments("app").last().unwrap().state == ReadyState::Ready
        });
        assert_eq!(bench.state(&id(&made)).await, state);
    }
    assert_eq!(bench.sim.production_sees("app", "K").as_deref(), Some("new"));
    assert_eq!(bench.sim.production("app").unwrap(), id(&made));
}

#[tokio::test]
async fn a_redeploy_must_be_forced_well_formed_and_under_the_cap() {
    let bench = Bench::new().await;
    let serving = bench.sim.production("app").unwrap();
    assert_eq!(id(&bench.redeploy("", "r1").await), serving);
    assert_eq!(bench.sim.deployments("app").len(), 1);
    for body in [
        json!({"name": "app"}),
        json!({"deploymentId": serving}),
        json!({"name": "other", "deploymentId": serving}),
        json!({"name": "app", "deploymentId": serving, "target": "moon"}),
        json!({"name": "app", "deploymentId": serving, "meta": {"n": 1}}),
    ] {
        let answer =
            bench.call(&bench.token, Method::POST, "/v13/deployments?forceNew=1", body.clone()).await;
        assert_eq!(answer.0, 400, "{body}");
    }
    bench.sim.settings(|settings| settings.deployments_per_day = 2);
    assert_eq!(bench.redeploy("?forceNew=1", "r1").await.0, 200);
    let capped = bench.redeploy("?forceNew=1", "r2").await;
    assert_eq!(code(&capped), (402, "api-deployments-free-per-day"));
    assert!(capped.1["error"]["limit"]["reset"].is_i64());
    bench.sim.set_clock_offset(86_401);
    assert_eq!(bench.redeploy("?forceNew=1", "r2").await.0, 200);
}

#[tokio::test]
async fn builds_fail_stall_or_follow_the_clock() {
    let bench = Bench::new().await;
    let serving = bench.sim.production("app");
    for outcome in [ReadyState::Error, ReadyState::Canceled, ReadyState::Blocked] {
        bench.sim.settings(|settings| settings.outcome = outcome);
        let made = id(&bench.redeploy("?forceNew=1", "r").await);
        for _ in 0..2 {
            bench.state(&made).await;
        }
        assert_eq!(bench.state(&made).await, outcome.as_str());
        assert_eq!(bench.sim.production("app"), serving);
    }
    bench.sim.settings(|settings| {
        (settings.outcome, settings.progress) = (ReadyState::Ready, Progress::Never);
    });
    let made = id(&bench.redeploy("?forceNew=1", "r").await);
    for _ in 0..5 {
        assert_eq!(bench.state(&made).await, "QUEUED");
    }
    bench.sim.settings(|settings| settings.progress = Progress::Every(Duration::from_mins(1)));
    bench.sim.set_clock_offset(61);
    assert_eq!(bench.state(&made).await, "INITIALIZING");
    bench.sim.set_clock_offset(181);
    assert_eq!(bench.sim.production("app"), Some(made));
}

#[tokio::test]
async fn after_a_rollback_a_ready_deployment_does_not_serve() {
    let bench = Bench::new().await;
    let first = bench.sim.production("app").unwrap();
    bench.sim.deploy_by_hand("app");
    bench.sim.roll_back("app", &first);
    let made = id(&bench.redeploy("?forceNew=1", "r").await);
    for _ in 0..3 {
        bench.state(&made).await;
    }
    assert_eq!(bench.state(&made).await, "READY");
    assert_eq!(bench.get("/v9/projects/app").await.1["targets"]["production"]["id"], first);
    assert_eq!(bench.sim.deployments("app").last().unwrap().substate, Some(Substate::Staged));
    assert_eq!(bench.get("/v9/projects/app").await.1["lastRollbackTarget"], Value::Null, "not asked for");
    let shown = bench.get("/v9/projects/app?rollbackInfo=true").await.1;
    assert_eq!(shown["lastRollbackTarget"]["toDeploymentId"], first);
    // A promotion ends the rollback.
    assert_eq!(bench.promote(&made).await.0, 201);
    assert_eq!(bench.sim.production("app"), Some(made));
    bench.sim.deploy_by_hand("app");
    assert_eq!(bench.sim.deployments("app").last().unwrap().substate, Some(Substate::Promoted));
}

#[tokio::test]
async fn a_promotion_builds_nothing_takes_its_time_and_stands_alone() {
    let bench = Bench::new().await;
    let serving = bench.sim.production("app").unwrap();
    bench.sim.assign_domains("app", false);
    let made = id(&bench.redeploy("?forceNew=1", "r").await);
    assert_eq!(bench.promote("dpl_nobodys").await.0, 404);
    assert_eq!(bench.promote(&made).await.0, 400, "not READY");
    for _ in 0..3 {
        bench.state(&made).await;
    }
    assert_eq!(bench.promote(&serving).await.0, 409, "it serves already");
    bench.sim.settings(|settings| settings.promotion_reads = 2);
    assert_eq!(bench.promote(&made).await.0, 202);
    assert_eq!(bench.promote(&made).await.0, 409, "one at a time");
    let status = async || bench.get("/v9/projects/app").await.1["lastAliasRequest"]["jobStatus"].clone();
    assert_eq!((status().await, bench.sim.production("app")), (json!("in-progress"), Some(serving)));
    assert_eq!((status().await, bench.sim.production("app")), (json!("succeeded"), Some(made)));
    assert_eq!(bench.sim.deployments("app").len(), 2);
}

#[tokio::test]
async fn a_release_in_steps_serves_when_it_is_complete() {
    let bench = Bench::new().await;
    let serving = bench.sim.production("app");
    bench.sim.release_in_steps("app", true);
    let made = bench.sim.deploy_by_hand("app");
    let shown = bench.get(&format!("/v13/deployments/{made}")).await.1;
    assert_eq!((&shown["readySubstate"], bench.sim.production("app")), (&json!("ROLLING"), serving));
    assert_eq!(bench.promote(&made).await.0, 409);
    bench.sim.promote_by_hand("app", &made);
    assert_eq!(bench.sim.production("app"), Some(made));
}

#[tokio::test]
async fn a_deployment_is_found_again_by_its_tag() {
    let bench = Bench::new().await;
    let project = bench.sim.deployments("app")[0].project_id.clone();
    let made = [id(&bench.redeploy("?forceNew=1", "a").await), id(&bench.redeploy("?forceNew=1", "b").await)];
    for (version, tag, wanted) in [("v6", "a", &made[0]), ("v7", "b", &made[1])] {
        let query = format!("projectId={project}&target=production&meta-rekeyd_run={tag}");
        let body = bench.get(&format!("/{version}/deployments?{query}")).await.1;
        assert_eq!(body["deployments"].as_array().unwrap().len(), 1);
        assert_eq!(body["deployments"][0]["uid"], **wanted);
        assert_eq!(body["deployments"][0]["meta"]["rekeyd_run"], tag);
    }
    let first = bench.get("/v6/deployments?limit=2").await.1;
    assert_eq!(first["deployments"][0]["uid"], made[1]);
    let next = bench.get(&format!("/v6/deployments?limit=2&until={}", first["pagination"]["next"])).await.1;
    assert_eq!(
        (next["deployments"].as_array().unwrap().len(), &next["pagination"]["next"]),
        (1, &Value::Null)
    );
}

#[tokio::test]
async fn a_teams_project_needs_the_team_in_every_call() {
    let bench = Bench::new().await;
    let team = bench.sim.add_team("crew");
    bench.sim.add_project_of(&team, "site");
    let deployment = bench.sim.production("site").unwrap();
    for path in ["/v9/projects/site", "/v10/projects/site/env", &format!("/v13/deployments/{deployment}")] {
        assert_eq!(code(&bench.get(path).await), (404, "not_found"));
        assert_eq!(bench.get(&format!("{path}?teamId={team}")).await.0, 200);
        assert_eq!(bench.get(&format!("{path}?slug=crew")).await.0, 200);
        assert_eq!(code(&bench.get(&format!("{path}?teamId=team_other")).await), (403, "forbidden"));
    }
    assert_eq!(bench.get(&format!("/v9/projects/app?teamId={team}")).await.0, 404);
    let narrow = bench.sim.new_token_for(&team);
    let get = async |token: &str, path: &str| bench.call(token, Method::GET, path, Value::Null).await;
    assert_eq!(code(&get(&narrow, "/v9/projects/app").await), (403, "forbidden"));
    assert_eq!(get(&narrow, "/v9/projects/site?slug=crew").await.0, 200);
    assert_eq!(code(&get("vcp_nonsense", "/v9/projects/app").await), (403, "forbidden"));
    assert!(bench.sim.revoke_token(&narrow));
    assert_eq!(get(&narrow, "/v9/projects/site?slug=crew").await.0, 403);
}

#[tokio::test]
async fn a_rate_limit_says_when_it_ends() {
    let bench = Bench::new().await;
    bench.sim.faults().once("read_project", When::Before, rate_limited(1_900_000_000));
    let limited = bench.get("/v9/projects/app").await;
    assert_eq!(code(&limited), (429, "rate_limited"));
    assert_eq!(limited.1["error"]["limit"]["reset"], 1_900_000_000);
}

#[tokio::test]
async fn labels_are_what_the_header_says() {
    let bench = Bench::new().await;
    for (method, path, label) in [
        (Method::GET, "/v9/projects/p/env", "list_envs"),
        (Method::POST, "/v10/projects/p/env", "create_env"),
        (Method::GET, "/v1/projects/p/env/e", "read_env"),
        (Method::PATCH, "/v9/projects/p/env/e", "patch_env"),
        (Method::DELETE, "/v9/projects/p/env/e", "delete_env"),
        (Method::GET, "/v9/projects/p", "read_project"),
        (Method::POST, "/v13/deployments", "create_deployment"),
        (Method::GET, "/v13/deployments/d", "read_deployment"),
        (Method::GET, "/v6/deployments", "list_deployments"),
        (Method::GET, "/v2/user", "read_user"),
        (Method::GET, "/v1/elsewhere", "unknown"),
    ] {
        bench.call("nobody", method, path, Value::Null).await;
        let log = bench.sim.requests().pop().unwrap();
        assert_eq!((log.label, log.applied), (label, false), "{path}");
    }
}
