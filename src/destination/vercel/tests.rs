//! Hand-made answers, for what a simulator does not say.

mod against_the_simulator;

use super::redeploy::{Project, Shown};
use super::variables::Listing;
use super::*;
use crate::destination::shown;
use crate::domain::time::{Span, Timestamp};
use crate::net::testing::{Act, Wire, client, soon};

fn delivery() -> Delivery {
    Delivery {
        secret: Secret::new(format!("sk-or-v1-{}", "0f".repeat(32))),
        rotation: "production".into(),
        generation: 3,
        destination: "vercel-production".into(),
    }
}

fn spec(url: &str, targets: &[&str]) -> VercelSpec {
    VercelSpec {
        project: "acme-app".into(),
        team: Some("team_123".into()),
        variable: "OPENROUTER_API_KEY".into(),
        targets: targets.iter().map(|&target| target.to_owned()).collect(),
        git_branch: None,
        sensitive: true,
        redeploy: false,
        promote: false,
        token: Secret::new("vercel-false-token"),
        api_url: url.into(),
    }
}

fn at(status: u16, body: &Value) -> Act {
    raw(status, "", &body.to_string())
}

fn raw(status: u16, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Say(
        format!(
            "HTTP/1.1 {status} X\r\ndate: Mon, 02 Nov 2026 12:00:00 GMT\r\ncontent-length: {length}\r\nconnection: \
             close\r\ncontent-type: application/json\r\n{headers}\r\n{body}"
        )
        .into_bytes(),
    )
}

fn entry(id: &str, kind: &str, targets: &[&str], updated_at: i64) -> Value {
    json!({"id": id, "key": "OPENROUTER_API_KEY", "type": kind, "target": targets, "gitBranch": null,
        "createdAt": 1, "updatedAt": updated_at})
}

fn listing(entries: &[Value]) -> Act {
    let mut rows = vec![json!({"id": "0", "key": "OTHER", "type": "plain", "target": ["production"]})];
    rows.extend_from_slice(entries);
    at(200, &json!({ "envs": rows }))
}

async fn played(acts: Vec<Act>, change: impl FnOnce(VercelSpec) -> VercelSpec) -> (Wire, Vercel) {
    let wire = Wire::play(acts).await;
    let spec = change(spec(wire.url.as_str(), &["production", "preview", "development"]));
    (wire, Vercel::new(spec, &client()).unwrap())
}

fn lines(wire: &Wire) -> Vec<String> {
    let line = |request: &String| request.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    wire.requests().iter().map(line).collect()
}

fn body_of(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn what_is_there_is_patched_and_what_is_missing_created() {
    let value =
        json!({"id": "2", "type": "encrypted", "value": delivery().secret.expose(), "decrypted": true});
    let acts = vec![
        listing(&[entry("1", "sensitive", &["production", "preview"], 100)]),
        at(200, &entry("1", "sensitive", &["production", "preview"], 9000)),
        at(201, &json!({"created": entry("2", "encrypted", &["development"], 9001), "failed": []})),
        listing(&[
            entry("1", "sensitive", &["production", "preview"], 9000),
            entry("2", "encrypted", &["development"], 9001),
        ]),
        at(200, &value),
    ];
    let (wire, vercel) = played(acts, |spec| spec).await;
    let evidence = vercel.publish(&delivery(), soon()).await.unwrap();
    let look = vercel.look(&delivery(), &evidence, soon()).await.unwrap();
    assert_eq!(look.standing, Standing::Confirmed);
    let expected = json!({"generation": 3, "entries": [
        {"id": "1", "before": 100, "sent": 9000, "proved": 9000},
        {"id": "2", "before": null, "sent": 9001, "proved": 9001},
    ]});
    assert_eq!(look.evidence, expected);
    let base = "/projects/acme-app/env";
    assert_eq!(
        lines(&wire),
        [
            format!("GET /v10{base}?teamId=team_123"),
            format!("PATCH /v9{base}/1?teamId=team_123"),
            format!("POST /v10{base}?teamId=team_123"),
            format!("GET /v10{base}?teamId=team_123"),
            format!("GET /v1{base}/2?teamId=team_123"),
        ]
    );
    let requests = wire.requests();
    let key = delivery().secret;
    assert_eq!(body_of(&requests[1]), json!({"value": key.expose()}));
    let created = json!({"key": "OPENROUTER_API_KEY", "value": key.expose(), "type": "encrypted", "target": ["development"]});
    assert_eq!(body_of(&requests[2]), created);
    assert!(
        requests.iter().all(|request| request.contains("\r\nauthorization: Bearer vercel-false-token\r\n"))
    );
}

#[tokio::test]
async fn pages_and_custom_environments_are_followed() {
    let custom = json!({"environments": [{"id": "env_9", "slug": "staging"}], "accountLimit": {"total": 1}});
    let mut staging = entry("7", "encrypted", &[], 100);
    staging["customEnvironmentIds"] = json!(["env_9"]);
    let acts = vec![
        at(200, &custom),
        at(200, &json!({"envs": [], "pagination": {"count": 20, "next": 1234, "prev": null}})),
        at(200, &json!({"envs": [staging], "pagination": {"count": 1, "next": null, "prev": 1}})),
        at(200, &staging),
    ];
    let change = |spec| VercelSpec { targets: vec!["staging".into()], team: Some("acme".into()), ..spec };
    let (wire, vercel) = played(acts, change).await;
    vercel.publish(&delivery(), soon()).await.unwrap();
    let seen = lines(&wire);
    assert_eq!(seen[0], "GET /v9/projects/acme-app/custom-environments?slug=acme");
    assert_eq!(seen[2], "GET /v10/projects/acme-app/env?slug=acme&until=1234");
    assert_eq!(seen[3], "PATCH /v9/projects/acme-app/env/7?slug=acme");
    let change = |spec| VercelSpec { targets: vec!["nowhere".into()], ..spec };
    let (_wire, vercel) = played(vec![at(200, &custom)], change).await;
    let failure = vercel.publish(&delivery(), soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound);
    assert!(failure.message.contains("no environment nowhere"));
}

#[tokio::test]
async fn a_201_with_failed_is_a_failure_and_a_conflict_is_looked_at_again() {
    let failed = |code: &str| {
        let error = json!({"error": {"code": code, "message": format!("no {}", delivery().secret.expose())}});
        at(201, &json!({"created": [], "failed": [error]}))
    };
    let one = |spec| VercelSpec { targets: vec!["production".into()], ..spec };
    let (_wire, vercel) = played(vec![listing(&[]), failed("UNKNOWN_ERROR")], one).await;
    let failure = vercel.publish(&delivery(), soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refused);
    assert_eq!(failure.message, "Vercel did not create it for production (UNKNOWN_ERROR): no sk-or-v...0f0f");

    let conflict = at(400, &json!({"error": {"code": "ENV_CONFLICT", "message": "exists"}}));
    for overtaken in [failed("ENV_ALREADY_EXISTS"), conflict] {
        let there = entry("1", "sensitive", &["production"], 100);
        let acts =
            vec![listing(&[]), overtaken.clone(), listing(std::slice::from_ref(&there)), at(200, &there)];
        let (wire, vercel) = played(acts, one).await;
        vercel.publish(&delivery(), soon()).await.unwrap();
        assert!(lines(&wire)[3].starts_with("PATCH "));
        let (wire, vercel) =
            played(vec![listing(&[]), overtaken.clone(), listing(&[]), overtaken], one).await;
        let failure = vercel.publish(&delivery(), soon()).await.unwrap_err();
        assert_eq!((failure.kind, wire.requests().len()), (FailureKind::Refused, 4));
        assert!(failure.hint.unwrap().contains("another entry of this name has the target"));
    }
}

#[tokio::test]
async fn what_is_not_there_is_missing() {
    let (_wire, vercel) =
        played(vec![listing(&[entry("1", "sensitive", &["production"], 1)])], |spec| spec).await;
    let evidence = json!({"generation": 3, "entries": [{"id": "1", "before": null, "sent": 1, "proved": 1}]});
    let look = vercel.look(&delivery(), &evidence, soon()).await.unwrap();
    assert_eq!(look, Look { standing: Standing::Missing, evidence });
}

#[tokio::test]
async fn hidden_values_are_proved_by_time() {
    let one = |spec| VercelSpec { targets: vec!["production".into()], ..spec };
    let hidden = json!({"id": "1", "type": "encrypted", "value": "eyJ2Ijoi", "decrypted": false});
    let acts = || vec![listing(&[entry("1", "encrypted", &["production"], 9000)]), at(200, &hidden)];
    let evidence =
        json!({"generation": 3, "entries": [{"id": "1", "before": 5, "sent": 9000, "proved": null}]});
    let (_wire, vercel) = played(acts(), one).await;
    assert_eq!(vercel.look(&delivery(), &evidence, soon()).await.unwrap().standing, Standing::Confirmed);
    let (_wire, vercel) = played(acts(), one).await;
    assert_eq!(vercel.look(&delivery(), &Value::Null, soon()).await.unwrap().standing, Standing::Unprovable);
}

#[tokio::test]
async fn every_answer_proves_what_it_proves() {
    use FailureKind::{Forbidden, NotFound, RateLimited, Refused, Unauthorized, Unclear};
    let said = r#"{"error":{"code":"x","message":"no vercel-false-token"}}"#;
    let limited = r#"{"error":{"code":"rate_limited","message":"slow","limit":{"total":1,"remaining":0,"reset":1793620890}}}"#;
    let per_day = r#"{"error":{"code":"rate_limited","message":"slow","limit":{"reset":1793620845000}}}"#;
    let rows = [
        (401, "", said, Unauthorized, "expired or revoked", None),
        (
            403,
            "",
            r#"{"error":{"code":"forbidden","message":"Not authorized","invalidToken":true}}"#,
            Unauthorized,
            "revoked",
            None,
        ),
        (403, "", said, Forbidden, "must be Owner or Member there, or Project Administrator", None),
        (404, "", said, NotFound, "check `project` and `team`", None),
        (429, "", limited, RateLimited, "", Some(90)),
        (429, "", per_day, RateLimited, "", Some(45)),
        (429, "retry-after: 7\r\n", limited, RateLimited, "", Some(7)),
        (429, "", said, RateLimited, "", Some(60)),
        (400, "", said, Refused, "", None),
        (
            400,
            "",
            r#"{"error":{"code":"ENV_CONFLICT","message":"x"}}"#,
            Refused,
            "rename or delete that one",
            None,
        ),
        (402, "", said, Refused, "", None),
        (402, "", per_day, RateLimited, "", Some(45)),
        (408, "", said, Unclear, "", None),
        (409, "", said, Unclear, "", None),
        (500, "", said, Unclear, "", None),
        (403, "", "<html>", Unclear, "", None),
        (404, "", "{}", Unclear, "", None),
        (200, "", "<html>", Unclear, "", None),
        (200, "", r#"{"error":{"code":"x"}}"#, Unclear, "", None),
    ];
    for (status, headers, body, kind, hint, wait) in rows {
        let (_wire, vercel) = played(vec![raw(status, headers, body)], |spec| spec).await;
        let failure = vercel.listing(soon()).await.unwrap_err();
        let row = format!("{status} {body}: {failure:?}");
        assert_eq!((failure.kind, failure.status), (kind, Some(status)), "{row}");
        assert_eq!(failure.retry_after, wait.map(Span::seconds), "{row}");
        assert_eq!(failure.date, Some(Timestamp(1_793_620_800_000)), "{row}");
        assert_eq!(failure.hint.is_some(), !hint.is_empty(), "{row}");
        assert!(failure.hint.unwrap_or_default().contains(hint), "{row}");
        assert!(!failure.message.contains("vercel-false-token"), "{row}");
    }
}

/// A proved write at 10:00:00.000 of Vercel's clock.
fn proved() -> Value {
    json!({"generation": 3, "entries": [{"id": "1", "before": 5, "sent": 100_000, "proved": 100_000}]})
}

fn project(serving: Option<&str>) -> Act {
    let production = serving.map(|id| json!({ "id": id }));
    at(200, &json!({"id": "prj_1", "name": "acme-app", "targets": {"production": production}}))
}

fn deployment(id: &str, state: &str, created_at: i64) -> Act {
    at(200, &json!({"id": id, "readyState": state, "createdAt": created_at}))
}

fn production(spec: VercelSpec) -> VercelSpec {
    VercelSpec { targets: vec!["production".into()], redeploy: true, ..spec }
}

#[tokio::test]
async fn production_is_rebuilt_once_and_found_again_by_its_tag() {
    let none = at(200, &json!({"deployments": [{"uid": "dpl_x", "meta": {"rekeyd_run": "other"}}]}));
    let made = deployment("dpl_2", "QUEUED", 100_500);
    let (wire, vercel) = played(vec![project(Some("dpl_1")), none, made], production).await;
    let rollout = vercel.rollout().unwrap();
    assert!(rollout.required() && rollout.due(&proved()) && !rollout.due(&Value::Null));
    let evidence = rollout.start(&delivery(), &proved(), soon()).await.unwrap();
    let tag = "production-3-100000-1";
    let expected = json!({"id": "dpl_2", "tag": tag, "attempt": 1, "state": "QUEUED", "from": "dpl_1"});
    assert_eq!(evidence["deployment"], expected);
    assert!(!rollout.due(&evidence));
    let seen = lines(&wire);
    assert_eq!(
        seen[1],
        "GET /v6/deployments?teamId=team_123&projectId=prj_1&target=production&since=40000&limit=100"
    );
    assert_eq!(seen[2], "POST /v13/deployments?teamId=team_123&forceNew=1");
    let body = json!({"name": "acme-app", "deploymentId": "dpl_1", "target": "production", "meta": {"rekeyd_run": tag, "rekeyd_from": "dpl_1", "rekeyd_rollback": "null"}});
    assert_eq!(body_of(&wire.requests()[2]), body);

    let gone = at(410, &json!({"error": {"code": "gone", "message": "use v7"}}));
    let found = json!({"deployments": [{"uid": "dpl_2", "state": "BUILDING", "readyState": "BUILDING", "created": 1, "createdAt": 1, "meta": {"rekeyd_run": tag}}]});
    let (wire, vercel) = played(vec![project(Some("dpl_1")), gone, at(200, &found)], production).await;
    let evidence = vercel.start(&delivery(), &proved(), soon()).await.unwrap();
    assert_eq!(
        (&evidence["deployment"]["id"], &evidence["deployment"]["state"]),
        (&json!("dpl_2"), &json!("BUILDING"))
    );
    assert!(
        lines(&wire)[2].starts_with("GET /v7/deployments?") && wire.requests().len() == 3,
        "not built again"
    );
    assert_eq!(vercel.start(&delivery(), &evidence, soon()).await.unwrap(), evidence);
    assert_eq!(wire.requests().len(), 3, "under way: no call");
}

#[tokio::test]
async fn effective_is_what_serves_production() {
    let started = |state: &str| {
        let mut evidence = proved();
        evidence["deployment"] = json!({"id": "dpl_2", "tag": "t", "attempt": 1, "state": state});
        evidence
    };
    let rows = [
        ("ours", "dpl_2", "READY", 100_500, None, Standing::Effective, "READY"),
        ("still the old one", "dpl_1", "READY", 50_000, Some("BUILDING"), Standing::Confirmed, "BUILDING"),
        ("failed at first", "dpl_1", "READY", 50_000, Some("ERROR"), Standing::Confirmed, "ERROR"),
        ("canceled", "dpl_1", "READY", 50_000, Some("CANCELED"), Standing::Confirmed, "CANCELED"),
        ("blocked", "dpl_1", "READY", 50_000, Some("BLOCKED"), Standing::Confirmed, "BLOCKED"),
        ("somebody's, later", "dpl_3", "READY", 105_001, None, Standing::Effective, "QUEUED"),
        ("somebody's, too close", "dpl_3", "READY", 105_000, Some("QUEUED"), Standing::Confirmed, "QUEUED"),
        ("somebody's, not ready", "dpl_3", "ERROR", 200_000, Some("QUEUED"), Standing::Confirmed, "QUEUED"),
    ];
    for (row, serving, ready, created, own, standing, state) in rows {
        let mut acts = vec![
            listing(&[entry("1", "sensitive", &["production"], 100_000)]),
            project(Some(serving)),
            deployment(serving, ready, created),
        ];
        acts.extend(own.map(|state| deployment("dpl_2", state, 100_500)));
        let calls = acts.len();
        let (wire, vercel) = played(acts, production).await;
        let look = vercel.look(&delivery(), &started("QUEUED"), soon()).await.unwrap();
        assert_eq!(
            (look.standing, &look.evidence["deployment"]["state"]),
            (standing, &json!(state)),
            "{row}"
        );
        assert_eq!(wire.requests().len(), calls, "{row}");
        assert_eq!(vercel.due(&look.evidence), ["ERROR", "CANCELED", "BLOCKED"].contains(&state), "{row}");
    }
}

/// A project that was rolled back, or not, and whose last promotion was of `dpl_2`, or of none.
fn project_as(serving: &str, rolled_back_at: Option<i64>, promotion: Option<&str>) -> Act {
    let rollback = rolled_back_at
        .map(|at| json!({"toDeploymentId": serving, "requestedAt": at, "jobStatus": "succeeded"}));
    let last =
        promotion.map(|status| json!({"type": "promote", "toDeploymentId": "dpl_2", "jobStatus": status}));
    at(
        200,
        &json!({"id": "prj_1", "name": "acme-app", "targets": {"production": {"id": serving}},
        "lastRollbackTarget": rollback, "lastAliasRequest": last}),
    )
}

fn staged(stage: &str) -> Act {
    at(200, &json!({"id": "dpl_2", "readyState": "READY", "readySubstate": stage, "createdAt": 100_500}))
}

fn promoting(spec: VercelSpec) -> VercelSpec {
    VercelSpec { promote: true, ..production(spec) }
}

/// Evidence of a build that was begun from `dpl_1`, with these fields more.
fn built(more: &Value) -> Value {
    let mut evidence = proved();
    let mut own = json!({"id": "dpl_2", "tag": "t", "attempt": 1, "state": "READY", "stage": "STAGED", "from": "dpl_1"});
    own.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    evidence["deployment"] = own;
    evidence
}

/// The same, and a look showed already that it does not serve.
fn seen_before(more: &Value) -> Value {
    let mut evidence = built(more);
    evidence["deployment"]["stands"] = json!(true);
    evidence
}

#[tokio::test]
async fn what_is_ready_and_does_not_serve_is_promoted_rebuilt_or_told() {
    let rows = [
        // what · serves · rolled back at · last promotion · stage · more evidence · promote · held · due
        ("staged", "dpl_1", None, None, "STAGED", json!({}), true, "", true),
        ("not by us", "dpl_1", None, None, "STAGED", json!({}), false, "promote it at Vercel", false),
        (
            "unknown origin",
            "dpl_1",
            None,
            None,
            "STAGED",
            json!({"from": null}),
            true,
            "promote it at Vercel",
            false,
        ),
        ("in steps", "dpl_1", None, None, "ROLLING", json!({}), true, "in steps", false),
        ("put back", "dpl_1", Some(7), None, "PROMOTED", json!({}), true, "an older one was put back", false),
        ("shipped meanwhile", "dpl_0", None, None, "STAGED", json!({}), true, "", true),
        ("rolled back meanwhile", "dpl_1", Some(7), None, "STAGED", json!({}), true, "", true),
        (
            "rolled back before",
            "dpl_1",
            Some(7),
            None,
            "STAGED",
            json!({"rollback": ["dpl_1", 7]}),
            true,
            "",
            true,
        ),
        ("on its way", "dpl_1", None, Some("in-progress"), "STAGED", json!({"asked": 1}), true, "", false),
        ("asked for", "dpl_1", None, None, "STAGED", json!({"asked": 1, "asked_for": true}), true, "", false),
        (
            "lost",
            "dpl_1",
            None,
            None,
            "STAGED",
            json!({"asked": 1, "asked_for": true, "waited": 5}),
            true,
            "",
            true,
        ),
        (
            "failed",
            "dpl_1",
            None,
            Some("failed"),
            "STAGED",
            json!({"asked": 1, "asked_for": true}),
            true,
            "",
            true,
        ),
        (
            "in vain",
            "dpl_1",
            None,
            Some("failed"),
            "STAGED",
            json!({"asked": 3}),
            true,
            "did not promote it 3 times",
            false,
        ),
    ];
    for (row, serving, rolled_back, last, stage, more, promote, held, due) in rows {
        let older = deployment(serving, "READY", 50_000);
        let entries = listing(&[entry("1", "sensitive", &["production"], 100_000)]);
        let acts = vec![entries, project_as(serving, rolled_back, last), older, staged(stage)];
        let (_wire, vercel) = played(acts, if promote { promoting } else { production }).await;
        let look = vercel.look(&delivery(), &seen_before(&more), soon()).await.unwrap();
        match &look.standing {
            Standing::Held(how) => assert!(!held.is_empty() && how.contains(held), "{row}: {how}"),
            standing => assert_eq!((standing, held), (&Standing::Confirmed, ""), "{row}"),
        }
        assert_eq!(vercel.due(&look.evidence), due, "{row}");
        let outdated = look.evidence["deployment"]["outdated"] == true;
        assert_eq!(outdated, row.ends_with("meanwhile"), "{row}");
    }
}

#[tokio::test]
async fn a_promotion_is_asked_for_once_and_after_a_look() {
    let asked = at(202, &json!({}));
    let (wire, vercel) =
        played(vec![project_as("dpl_1", None, None), staged("STAGED"), asked], promoting).await;
    let evidence = vercel.start(&delivery(), &built(&json!({})), soon()).await.unwrap();
    assert_eq!(lines(&wire)[0], "GET /v9/projects/acme-app?teamId=team_123&rollbackInfo=true");
    assert_eq!(lines(&wire)[2], "POST /v10/projects/prj_1/promote/dpl_2?teamId=team_123");
    assert!(!vercel.due(&evidence));
    // Somebody rolled back between the look and the promotion.
    for changed in [project_as("dpl_0", None, None), project_as("dpl_1", Some(7), None)] {
        let (wire, vercel) = played(vec![changed, staged("STAGED")], promoting).await;
        vercel.start(&delivery(), &built(&json!({})), soon()).await.unwrap();
        assert_eq!(wire.requests().len(), 2, "nothing is asked for");
    }
    let busy = at(409, &json!({"error": {"code": "conflict", "message": "in progress"}}));
    let (_wire, vercel) =
        played(vec![project_as("dpl_1", None, None), staged("STAGED"), busy], promoting).await;
    let failure = vercel.start(&delivery(), &built(&json!({})), soon()).await.unwrap_err();
    assert!(!failure.is_permanent(), "a look later: {failure:?}");
    // What was outdated is built again from what serves now, under another tag.
    let acts = vec![
        project_as("dpl_0", None, None),
        at(200, &json!({"deployments": []})),
        deployment("dpl_3", "QUEUED", 1),
    ];
    let (_wire, vercel) = played(acts, promoting).await;
    let evidence =
        vercel.start(&delivery(), &built(&json!({"outdated": true, "attempt": 3})), soon()).await.unwrap();
    let own = &evidence["deployment"];
    assert_eq!((&own["id"], &own["from"], &own["attempt"]), (&json!("dpl_3"), &json!("dpl_0"), &json!(4)));
}

#[tokio::test]
async fn failed_builds_are_repeated_under_another_tag_and_not_for_ever() {
    let failed = |attempt: u32| {
        let mut evidence = proved();
        evidence["deployment"] = json!({"id": "dpl_2", "tag": "t", "attempt": attempt, "state": "ERROR"});
        evidence
    };
    let none = at(200, &json!({"deployments": []}));
    let acts = vec![project(Some("dpl_1")), none, deployment("dpl_3", "QUEUED", 1)];
    let (_wire, vercel) = played(acts, production).await;
    let evidence = vercel.start(&delivery(), &failed(2), soon()).await.unwrap();
    assert_eq!(evidence["deployment"]["tag"], "production-3-100000-3");
    let failure = vercel.start(&delivery(), &failed(3), soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.message.starts_with("3 deployments ended without being ready"), "{failure:?}");
    let unproved = json!({"generation": 3, "entries": [{"id": "1", "before": 5, "sent": 9, "proved": null}]});
    assert!(!vercel.due(&unproved));
    assert_eq!(vercel.start(&delivery(), &unproved, soon()).await.unwrap_err().kind, FailureKind::NotSent);
    let none = at(200, &json!({"deployments": []}));
    let (_wire, vercel) = played(vec![project(None), none], production).await;
    let failure = vercel.start(&delivery(), &proved(), soon()).await.unwrap_err();
    assert!(failure.message.contains("no production deployment"), "{failure:?}");
}

#[tokio::test]
async fn preflight_names_what_differs() {
    let mut branch = entry("9", "encrypted", &["preview"], 1);
    branch["gitBranch"] = json!("next");
    let there = entry("1", "encrypted", &["production", "preview"], 1);
    let acts = vec![listing(&[there, branch]), project(Some("dpl_1"))];
    let change = |spec| VercelSpec {
        targets: vec!["production".into(), "development".into()],
        redeploy: true,
        ..spec
    };
    let (_wire, vercel) = played(acts, change).await;
    let seen = shown(&vercel.preflight(soon()).await.unwrap());
    let (first, rest) = seen.split_once('\n').unwrap();
    assert!(first.ends_with("with a token whose scope has team team_123: readable"));
    let expected = [
        "OPENROUTER_API_KEY exists for production, preview, type encrypted",
        "warning: that entry also serves preview, which gets the key too",
        "warning: it is encrypted, not sensitive, and keeps its type",
        "OPENROUTER_API_KEY will be created for development",
        "warning: the branch next has a value of its own, which stays as it is",
        "production is served by dpl_1, which is rebuilt after a write",
    ];
    assert_eq!(rest, expected.join("\n"));
}

#[test]
fn specs_addresses_and_plans() {
    let http = client();
    let good = || spec("https://api.vercel.com", &["production", "preview"]);
    let refused = |spec: VercelSpec| Vercel::new(spec, &http).err().unwrap().message;
    assert!(refused(VercelSpec { variable: "A-B".into(), ..good() }).contains("variable"));
    assert!(refused(VercelSpec { targets: vec![], ..good() }).contains("targets"));
    assert!(refused(VercelSpec { git_branch: Some("x".into()), ..good() }).contains("preview"));
    let targets = vec!["preview".to_owned()];
    assert!(refused(VercelSpec { redeploy: true, targets, ..good() }).contains("production"));
    assert!(refused(VercelSpec { promote: true, ..good() }).contains("redeploy"));
    assert!(refused(VercelSpec { api_url: "vercel".into(), ..good() }).contains("api_url"));
    let vercel = Vercel::new(VercelSpec { redeploy: true, ..good() }, &http).unwrap();
    assert_eq!(
        vercel.address(),
        "vercel:api.vercel.com/team_123/acme-app/OPENROUTER_API_KEY/preview+production"
    );
    let named = |project: &str, targets: &[&str]| {
        let spec = VercelSpec { project: project.into(), ..spec("https://api.vercel.com", targets) };
        Vercel::new(VercelSpec { redeploy: false, ..spec }, &http).unwrap()
    };
    assert!(vercel.extent().overlaps(&named("Acme-App", &["development", "preview"]).extent()));
    assert!(!vercel.extent().overlaps(&named("acme-app", &["development"]).extent()));
    assert!(!named("prj_aB", &["preview"]).extent().overlaps(&named("prj_Ab", &["preview"]).extent()));
    let calls: Vec<String> = vercel.plan().into_iter().map(|planned| planned.call).collect();
    assert_eq!(calls[1], "PATCH https://api.vercel.com/v9/projects/acme-app/env/ID?teamId=team_123");
    assert_eq!(calls[4], "POST https://api.vercel.com/v13/deployments?teamId=team_123&forceNew=1");
}

#[test]
fn fuzz_answers_of_vercel() {
    let listing = json!({"envs": [entry("1", "sensitive", &["production"], 100)], "pagination": {"next": 1}});
    let listing = format!("@{listing}");
    let seeds: [&[u8]; 5] = [
        listing.as_bytes(),
        br#"@[{"id":"1","key":"OPENROUTER_API_KEY","target":"production","customEnvironmentIds":["env_1"]}]"#,
        br#"@{"error":{"code":"rate_limited","message":"m","limit":{"reset":9223372036854775807}}}"#,
        br#"@{"uid":"dpl_1","readyState":"READY","readySubstate":"STAGED","meta":{},"created":-1}"#,
        br#"@{"id":"prj_1","name":"n","targets":{"production":{"id":"dpl_1"}},"lastRollbackTarget":null}"#,
    ];
    let secret = Secret::new("zz-false-0123456789abcdef");
    let api = Api::new("https://api.vercel.invalid", None, secret.clone(), &client()).unwrap();
    crate::net::testing::fuzz(&seeds, |input| {
        let answer = crate::net::testing::answer(input, &[]);
        let failure = api.refusal(&answer, &[&secret]);
        assert!(failure.retry_after.is_none_or(|wait| wait >= Span::seconds(1) && wait <= Span::hours(25)));
        assert!(!failure.message.contains(secret.expose()));
        let value = answer.value().unwrap_or_default();
        let rows = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        let (named, listing) =
            (rows.iter().filter(|row| row["key"] == "OPENROUTER_API_KEY").count(), Listing(rows));
        let branches = listing.other_branches("OPENROUTER_API_KEY", None).len();
        if let Ok(ours) = listing.ours("OPENROUTER_API_KEY", None) {
            assert_eq!(ours.len() + branches, named, "no entry of ours is passed by");
        }
        drop((Shown::of(&answer), answer.json::<Project>()));
    });
}
