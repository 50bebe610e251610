//! The REST API: what its description says, for every route of it, and a rotation by it from end to end.

mod clients;
mod events;
mod keys;
mod site;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::wait::{serve, stop, until};
use crate::support::{Db, World, on_both_databases};

const ROLES: [&str; 4] = ["admin", "operator", "viewer", "consumer"];

/// A daemon, and a client of each role.
async fn clients(world: &World) -> BTreeMap<&'static str, Client> {
    let mut clients = BTreeMap::new();
    for role in ROLES {
        let made = world.rekeyd(&["tokens", "create", role, "--role", role, "--json"]).await.ok().json();
        clients.insert(role, Client::of_newest(world, made["token"].as_str().unwrap()));
    }
    clients
}

/// Every operation of the description: method, path with names that nothing has, and itself.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, operations): (&String, &Value)| {
        let path = path.split('/').map(|part| if part.starts_with('{') { "nothing" } else { part });
        let path = path.collect::<Vec<_>>().join("/");
        let all = operations.as_object().unwrap().clone().into_iter();
        all.map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation))
            .collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

fn query_parameters(operation: &Value) -> Vec<(String, Value)> {
    let all = operation["parameters"].as_array().unwrap().iter();
    let in_query = all.filter(|parameter| parameter["in"] == "query");
    in_query.map(|it| (it["name"].as_str().unwrap().to_owned(), it["schema"].clone())).collect()
}

on_both_databases! {
    async fn every_list_of_the_description_understands_what_it_says(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        world.rekeyd_with(&["keys", "add", "openai", "--no-test", "--secret-stdin"], "sk-proj-false-key-0123456789").await.ok();
        let daemon = serve(&world).await;
        let admin = clients(&world).await.remove("admin").unwrap();
        let document = admin.get("/api/v1/openapi.json").await.json();
        let key = admin.get("/api/v1/llm/providers/keys").await.json()["providers"][0]["id"].as_str().unwrap().to_owned();
        let mut lists = 0;
        for (_, path, operation) in operations(&document).into_iter().filter(|(method, ..)| method == "GET") {
            let parameters = query_parameters(&operation);
            let answer = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].as_str();
            let is_list = answer.is_some_and(|name| name.contains("Page") || name.contains("ListView"));
            assert_eq!(is_list, parameters.iter().any(|(name, _)| name == "limit"), "{path}");
            if !is_list {
                continue;
            }
            lists += 1;
            let path = path.replace("accounts/nothing", "accounts/main").replace("keys/nothing", &format!("keys/{key}"));
            let page = admin.get(&format!("{path}?limit=1")).await.json();
            assert!(page["total"].is_u64() && page.get("next_cursor").is_some(), "{path}: {page}");
            for asked in ["limit=0", "limit=x", "sort=nothing", "cursor=x", "nothing=1"] {
                let refused = admin.get(&format!("{path}?{asked}")).await;
                assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("bad_parameter")), "{path}?{asked}");
            }
            for (name, schema) in parameters.iter().filter(|(name, _)| !["limit", "cursor", "sort"].contains(&name.as_str())) {
                let value = match (schema["type"].as_str(), schema["format"].as_str()) {
                    (Some("boolean"), _) => "true",
                    (_, Some("date-time")) => "2026-01-01T00:00:00Z",
                    _ => "a%25_%27",
                };
                assert_eq!(admin.get(&format!("{path}?{name}={value}")).await.status, 200, "{path} {name}");
            }
            let sorts = parameters.iter().find(|(name, _)| name == "sort").unwrap().1["enum"].as_array().unwrap().clone();
            for sort in sorts {
                whole_by_pages(&admin, &path, sort.as_str().unwrap()).await;
            }
        }
        assert_eq!(lists, 12, "all of them were asked");
        stop(daemon).await;
        world.assert_nothing_leaked();
    }
}

/// Page after page shows every row once.
async fn whole_by_pages(client: &Client, path: &str, sort: &str) {
    let (mut seen, mut cursor, mut total) = (0, String::new(), 0);
    for _ in 0..100 {
        let page = client.get(&format!("{path}?limit=2&sort={sort}{cursor}")).await;
        assert_eq!(page.status, 200, "{path} {sort}: {}", page.body);
        let page = page.json();
        let rows = page.as_object().unwrap().values().find(|value| value.is_array()).unwrap();
        (seen, total) = (
            seen + rows.as_array().unwrap().len(),
            usize::try_from(page["total"].as_u64().unwrap()).unwrap(),
        );
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    // What is asked and refused is audited meanwhile.
    assert!(seen == total || path.ends_with("audit"), "{path} {sort}: {seen} of {total}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_for_the_roles_that_the_description_names() {
    let world = World::new(Db::Sqlite).await;
    let daemon = serve(&world).await;
    let clients = clients(&world).await;
    let document = clients["viewer"].get("/api/v1/openapi.json").await.json();
    for (method, path, operation) in operations(&document) {
        let said = operation["description"].as_str().unwrap();
        let nobody = Client::of_newest(&world, "").send(&method, &path, None).await;
        if said.starts_with("Everybody") {
            assert_eq!(path, "/api/v1/auth/login");
            continue;
        }
        assert_eq!(nobody.status, 401, "{method} {path}");
        for role in ROLES.into_iter().filter(|role| said.starts_with("Roles") && !said.contains(role)) {
            let refused = clients[role].send(&method, &path, Some(&json!({}))).await;
            let problem = refused.json();
            assert_eq!(
                (refused.status, &problem["code"]),
                (403, &json!("forbidden")),
                "{role} {method} {path}"
            );
            assert_eq!(problem["request_id"].as_str(), refused.header("x-request-id"), "{method} {path}");
        }
        let id = operation["operationId"].as_str().unwrap();
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{id} says nothing");
        assert!(operation["responses"].as_object().unwrap().len() > 1, "{id} does not say what it answers");
    }
    stop(daemon).await;
    world.assert_nothing_leaked();
}

on_both_databases! {
    async fn a_rotation_by_the_api_from_end_to_end(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        let daemon = serve(&world).await;
        let mut clients = clients(&world).await;
        let admin = clients.remove("admin").unwrap();
        let operator = clients.remove("operator").unwrap();
        let path = "/api/v1/rotations/production";

        let unknown = operator.get("/api/v1/rotations/prodution").await;
        assert_eq!(unknown.status, 404);
        assert!(unknown.json()["detail"].as_str().unwrap().contains("production"), "{}", unknown.body);
        // The daemon looks at destinations meanwhile, and either may be asked before such a look.
        let alike = async || admin.get(path).await.json() == world.rotation().await;
        until("one view for every surface", alike).await;
        assert_eq!(operator.get(path).await.json()["current"]["label"], "(hidden)", "no mask for an operator");
        let plan = operator.get(&format!("{path}/plan")).await.json();
        assert!(plan["calls"].as_array().unwrap().len() > 3, "{plan}");
        let checked = operator.post("/api/v1/destinations/agent-env/check", &json!({})).await;
        assert_eq!((checked.status, &checked.json()["ok"]), (200, &json!(true)), "{}", checked.body);

        assert_eq!(operator.post(&format!("{path}/pause"), &json!({"healing": true})).await.json()["healing_paused"], true);
        assert_eq!(operator.post(&format!("{path}/runs"), &json!({})).await.status, 409, "it is paused");
        operator.post(&format!("{path}/resume"), &json!({})).await.ok();
        assert_eq!(operator.post(&format!("{path}/runs"), &json!({"leakd": true})).await.status, 422);
        assert_eq!(operator.post(&format!("{path}/runs"), &json!({"generation": 1})).await.status, 422);

        let once = operator.with("Idempotency-Key", "one");
        once.send_and_leave("POST", &format!("{path}/runs"), 100).await;
        let mut answers = Vec::new();
        until("the first is answered", async || {
            answers.push(once.send("POST", &format!("{path}/runs"), None).await);
            answers.last().unwrap().status != 409
        })
        .await;
        let run = once.send("POST", &format!("{path}/runs"), None).await;
        assert_eq!((run.status, &run.body), (202, &answers.last().unwrap().body), "the same answer");
        assert_eq!(once.post(&format!("{path}/runs"), &json!({"leaked": true})).await.status, 422, "another request");
        let id = run.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(operator.post(&format!("{path}/runs"), &json!({})).await.status, 409, "one is open");
        assert_eq!(operator.post(&format!("{path}/runs"), &json!({"leaked": true, "generation": 99})).await.status / 100, 4);
        until("the run is done", async || {
            operator.get(&format!("/api/v1/runs/{id}")).await.json()["state"] == "done"
        })
        .await;
        assert_eq!(operator.post(&format!("/api/v1/runs/{id}/abort"), &json!({})).await.status, 409, "it is over");
        assert_eq!(operator.post("/api/v1/runs/none/abort", &json!({})).await.status, 404);
        world.assert_destinations_work("after a rotation by the API");
        assert_eq!(operator.get("/api/v1/runs").await.json()["total"], 1, "one run for a hundred requests");

        by_hand(&world, &admin).await;
        let audit = admin.get("/api/v1/audit?action=run.started").await.json();
        assert_eq!((&audit["items"][0]["actor"], &audit["items"][0]["via"]), (&json!("token operator"), &json!("api")));
        metrics(&world, &id).await;
        stop(daemon).await;
        world.assert_nothing_leaked();
    }
}

/// Keys at the account and in the store.
async fn by_hand(world: &World, admin: &Client) {
    let keys = "/api/v1/accounts/main/keys";
    let issued = admin.post(keys, &json!({"limit": 5.0})).await;
    assert_eq!(issued.status, 201, "{}", issued.body);
    let issued = issued.json();
    let one = format!("{keys}/{}", issued["hash"].as_str().unwrap());
    assert_eq!(admin.send("PATCH", &one, Some(&json!({"limit": -1}))).await.status, 422);
    admin.send("PATCH", &one, Some(&json!({"limit": 7.5}))).await.ok();
    let listed = admin.get(&format!("{keys}?sort=-created_at&limit=1")).await.json();
    assert_eq!(listed["items"][0]["limit"], 7.5, "{listed}");
    let stored = format!("/api/v1/llm/providers/keys/{}", issued["id"].as_str().unwrap());
    assert_eq!(admin.send("DELETE", &format!("{stored}?at_provider=true"), None).await.status, 204);
    assert_eq!(admin.send("DELETE", &stored, None).await.status, 404);
    assert_eq!(world.living().len(), 1, "the current key lives");
    let current = &admin.get("/api/v1/llm/providers/keys").await.json()["providers"];
    let current = current.as_array().unwrap().iter().find(|key| key["role"] == "current").unwrap().clone();
    let refused = admin
        .send("DELETE", &format!("/api/v1/llm/providers/keys/{}", current["id"].as_str().unwrap()), None)
        .await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &json!("refused_by_rule")),
        "R15: {}",
        refused.body
    );
}

async fn metrics(world: &World, run: &str) {
    let nobody = Client::of_newest(world, "");
    let text = nobody.get("/metrics").await.body;
    for line in [
        "rekeyd_rotation_runs_total{rotation=\"production\",outcome=\"done\"} 1\n",
        "rekeyd_destination_lag{destination=\"agent-env\"} 0\n",
        "rekeyd_http_requests_total{route=\"/api/v1/runs/{id}\",status=\"200\"}",
        "rekeyd_frozen{account=\"main\"} 0\n",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert!(!text.contains(run) && !text.contains("..."), "no id and no mask");
    let open = nobody.with("Accept", "application/openmetrics-text").get("/metrics").await;
    assert!(open.body.ends_with("# EOF\n"));
}
