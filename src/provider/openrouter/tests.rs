//! Against the simulator where the vendor's behaviour matters, against hand-made bytes where it lies.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::domain::inherit::{AllowList, Put, Roll, Rolls, join};
use crate::domain::key::KeyKind;
use crate::domain::time::Span;
use crate::net::testing::{Act as Bytes, Wire, brief, client, http, soon};
use crate::provider::{Assignment, Credential, Rows};
use crate::sim::fault::{Act, When};
use crate::sim::openrouter::{self as sim, LimitRefusal};

struct Bench {
    sim: sim::OpenRouter,
    boss: String,
    issuer: OpenRouter,
}

impl Bench {
    async fn new() -> Self {
        let sim = sim::OpenRouter::start().await;
        let boss = sim.new_provisioning_key();
        let issuer = issuer_at(&sim, &boss);
        Self { sim, boss, issuer }
    }

    fn regular(&self, name: &str) -> Secret {
        Secret::new(self.sim.new_regular_key(name))
    }

    fn fault(&self, label: &str, when: When, act: Act) {
        self.sim.faults().once(label, when, act);
    }

    /// No failure ever shows a secret, wherever it came from.
    fn clean(&self, failure: Failure) -> Failure {
        let shown = format!("{failure:?} {failure}");
        for secret in self.sim.issued_secrets() {
            assert!(!shown.contains(&secret), "{shown}");
        }
        assert!(!shown.contains("user_simulated"), "{shown}");
        assert!(failure.message.chars().count() <= 300);
        failure
    }
}

fn issuer_at(sim: &sim::OpenRouter, provisioning: &str) -> OpenRouter {
    OpenRouter::new(client(), Url::parse(&sim.base_url()).unwrap(), None, Secret::new(provisioning))
}

fn kind<T: std::fmt::Debug>(bench: &Bench, called: Called<T>) -> FailureKind {
    bench.clean(called.expect_err("must fail")).kind
}

/// One reading of all pages.
async fn all(issuer: &OpenRouter) -> Result<Vec<RemoteKey>, Failure> {
    let (mut keys, mut at) = (Vec::new(), None);
    loop {
        let page = issuer.list(at.as_ref(), soon()).await?.value;
        keys.extend(page.keys);
        at = page.next;
        if at.is_none() {
            return Ok(keys);
        }
    }
}

/// An issuer that talks to a server of hand-made bytes.
fn issuer_of(wire: &Wire) -> OpenRouter {
    OpenRouter::new(client(), wire.url.join("api/v1").unwrap(), None, Secret::new("sk-or-v1-boss"))
}

#[tokio::test]
async fn a_key_lives_and_dies() {
    let bench = Bench::new().await;
    let limit = Some(MicroUsd(12_500_000));
    let spec = KeySpec { limit, limit_reset: Some("monthly".into()), ..KeySpec::default() };
    let issued = bench.issuer.create("rekeyd/i/r/1-abc", &spec, soon()).await.unwrap();
    assert!(issued.date.is_some());
    let (secret, made) = (issued.value.secret, issued.value.remote);
    assert_eq!(secret.sha256_hex(), made.hash);
    assert_eq!((made.name.as_str(), made.limit, made.limit_remaining), ("rekeyd/i/r/1-abc", limit, limit));
    assert!(made.created_at.is_some() && !made.usage.may_be_used() && !made.disabled);

    assert!(bench.sim.use_key(secret.expose(), 0.25));
    let used = bench.issuer.read(&made.hash, soon()).await.unwrap().value.unwrap();
    let figures = used.usage.figures().unwrap();
    assert_eq!((figures.usage, used.limit_remaining), (MicroUsd(250_000), Some(MicroUsd(12_250_000))));
    assert!(figures.last_used_at.is_some());

    let off = bench.issuer.set_disabled(&made.hash, true, soon()).await.unwrap().value.unwrap();
    assert!(off.disabled);
    let cleared = bench.issuer.set_limit(&made.hash, None, soon()).await.unwrap().value.unwrap();
    assert_eq!((cleared.limit, cleared.limit_remaining, cleared.disabled), (None, None, true));
    assert_eq!(all(&bench.issuer).await.unwrap(), [cleared], "disabled keys are listed");

    assert!(bench.issuer.delete(&made.hash, soon()).await.unwrap().value);
    assert!(!bench.issuer.delete(&made.hash, soon()).await.unwrap().value, "gone already");
    assert_eq!(bench.issuer.read(&made.hash, soon()).await.unwrap().value, None);
    assert_eq!(bench.issuer.set_disabled(&made.hash, true, soon()).await.unwrap().value, None);
    assert_eq!(all(&bench.issuer).await.unwrap(), []);
}

#[tokio::test]
async fn whoami_tells_the_two_kinds_apart() {
    let bench = Bench::new().await;
    let boss = bench.issuer.whoami_provisioning(soon()).await.unwrap().value;
    let regular = bench.issuer.whoami(&bench.regular("agent"), soon()).await.unwrap().value;
    assert_eq!((boss.kind, regular.kind), (KeyKind::Provisioning, KeyKind::Regular));
    assert_eq!(boss.account(), regular.account());
    assert_eq!(bench.issuer.provisioning_hash(), Secret::new(bench.boss.clone()).sha256_hex());
    let credits = bench.issuer.credits(soon()).await.unwrap().value;
    assert_eq!(credits, Credits { total: MicroUsd(1_000_000_000), used: MicroUsd(0) });
}

#[tokio::test]
async fn whoami_takes_either_field_and_never_guesses() {
    let rest = r#""label":"sk-or-v1-abc...def","limit":null,"limit_remaining":null,"limit_reset":null"#;
    let rows = [
        (r#""is_management_key":true,"#, Some(KeyKind::Provisioning)),
        (r#""is_provisioning_key":true,"#, Some(KeyKind::Provisioning)),
        (r#""is_management_key":false,"is_provisioning_key":true,"#, Some(KeyKind::Provisioning)),
        (r#""is_management_key":true,"is_provisioning_key":false,"#, Some(KeyKind::Provisioning)),
        (r#""is_provisioning_key":false,"#, Some(KeyKind::Regular)),
        ("", None),
        (r#""is_management_key":null,"#, None),
        (r#""is_management_key":"no","#, None),
    ];
    for (kind, expected) in rows {
        let wire = Wire::json(200, &format!(r#"{{"data":{{{kind}{rest}}}}}"#)).await;
        let answer = issuer_of(&wire).whoami(&Secret::new("sk-or-v1-x"), soon()).await;
        match (answer, expected) {
            (Ok(reply), Some(expected)) => assert_eq!(reply.value.kind, expected, "{kind}"),
            (Err(failure), None) => assert_eq!(failure.kind, FailureKind::Unclear, "{kind}"),
            (answer, _) => panic!("{kind}: {answer:?}"),
        }
    }
}

/// The credential table of wire-facts.md, row by row.
#[tokio::test]
async fn the_credential_table() {
    let bench = Bench::new().await;
    let manage = |secret: &Secret| issuer_at(&bench.sim, secret.expose());
    let healthy = bench.regular("healthy");
    let unknown = Secret::new(format!("sk-or-v1-{}", "0".repeat(64)));
    let dead = [bench.regular("disabled"), bench.regular("deleted"), bench.regular("expired")];
    bench.sim.edit_key(&dead[0].sha256_hex(), |row| row.disabled = true);
    bench.sim.edit_key(&dead[1].sha256_hex(), |row| row.deleted = true);
    bench.sim.edit_key(&dead[2].sha256_hex(), |row| row.expires_at = Some(row.created_at));
    for text in ["User not found.", "This key has been disabled"] {
        bench.sim.settings(|settings| settings.disabled_message = text.to_owned());
        for secret in dead.iter().chain([&unknown]) {
            let chat = bench.issuer.chat(secret, "simulated/small", soon()).await;
            assert_eq!(kind(&bench, chat), FailureKind::Unauthorized);
            let whoami = bench.issuer.whoami(secret, soon()).await;
            assert_eq!(kind(&bench, whoami), FailureKind::Unauthorized);
            assert_eq!(kind(&bench, manage(secret).list(None, soon()).await), FailureKind::Unauthorized);
        }
    }
    bench.issuer.chat(&healthy, "simulated/small", soon()).await.unwrap();
    let failure = bench.clean(manage(&healthy).list(None, soon()).await.unwrap_err());
    assert_eq!((failure.kind, failure.status), (FailureKind::Forbidden, Some(401)));
    assert!(failure.hint.unwrap().contains("a provisioning key"));
    for status in [401, 403] {
        bench.sim.settings(|settings| settings.create_by_regular_key = status);
        let refused = manage(&healthy).create("n", &KeySpec::default(), soon()).await;
        let failure = bench.clean(refused.unwrap_err());
        assert_eq!((failure.kind, failure.status), (FailureKind::Forbidden, Some(status)));
        assert!(failure.hint.is_some());
    }
    let boss = Secret::new(bench.boss.clone());
    let chat = bench.issuer.chat(&boss, "simulated/small", soon()).await;
    assert_eq!(kind(&bench, chat), FailureKind::Unauthorized, "exactly as for a deleted key");
    assert!(bench.sim.revoke_provisioning(&bench.boss));
    let failure = bench.clean(bench.issuer.list(None, soon()).await.unwrap_err());
    assert_eq!(failure.kind, FailureKind::Unauthorized);
    assert!(failure.hint.unwrap().contains("revoked"));
}

#[tokio::test]
async fn keys_without_money_are_alive() {
    let bench = Bench::new().await;
    let secret = bench.regular("spent");
    bench.sim.edit_key(&secret.sha256_hex(), |row| row.limit = Some(0.0));
    for refusal in [LimitRefusal::Forbidden, LimitRefusal::PaymentRequired] {
        bench.sim.settings(|settings| settings.limit_refusal = refusal);
        let failure = bench.issuer.chat(&secret, "simulated/small", soon()).await.unwrap_err();
        let failure = bench.clean(failure);
        assert_eq!(failure.kind, FailureKind::Refused);
        assert!(failure.hint.unwrap().contains("alive"));
    }
    let current = bench.issuer.whoami(&secret, soon()).await.unwrap().value;
    assert!(current.limit_remaining.unwrap() <= MicroUsd(0));
    bench.sim.edit_key(&secret.sha256_hex(), |row| row.limit = None);
    bench.sim.set_credits(10.0, 10.0);
    let chat = bench.issuer.chat(&secret, "simulated/small", soon()).await;
    assert_eq!(kind(&bench, chat), FailureKind::Refused);
    assert!(bench.issuer.whoami(&secret, soon()).await.is_ok());
}

#[tokio::test]
async fn pages_are_read_to_the_end() {
    let bench = Bench::new().await;
    let mut hashes: Vec<String> = (0..250).map(|n| bench.regular(&n.to_string()).sha256_hex()).collect();
    hashes.reverse();
    let other = bench.sim.new_workspace();
    let elsewhere = Secret::new(bench.sim.new_regular_key_in(&other, "elsewhere")).sha256_hex();
    bench.sim.edit_key(&hashes[7], |row| row.expires_at = Some(row.created_at));
    bench.sim.edit_key(&hashes[120], |row| row.disabled = true);
    assert!(bench.issuer.list(None, soon()).await.unwrap().date.is_some());
    let listed = all(&bench.issuer).await.unwrap();
    let seen: Vec<&str> = listed.iter().map(|key| key.hash.as_str()).collect();
    assert_eq!(seen, hashes, "newest first, each once");
    assert_eq!(bench.sim.requests().len(), 5, "one, then three pages and an empty one");
    let there = OpenRouter { workspace: Some(other.clone()), ..bench.issuer.clone() };
    let listed = all(&there).await.unwrap();
    assert_eq!(listed.iter().map(|key| &key.hash).collect::<Vec<_>>(), [&elsewhere]);
    let made = there.create("n", &KeySpec::default(), soon()).await.unwrap().value;
    assert_eq!(made.remote.workspace_id, Some(other));
}

/// A page of `GET /keys` with keys of these hashes.
fn page(hashes: &[&str]) -> Bytes {
    let row = |hash: &&str| {
        json!({"hash": hash, "name": "n", "label": "l", "disabled": false, "limit": null,
            "limit_remaining": null, "usage": 0, "byok_usage": 0, "last_used_at": null, "expires_at": null})
    };
    let rows: Vec<Value> = hashes.iter().map(row).collect();
    Bytes::Say(http(200, "content-type: application/json\r\n", &json!({"data": rows}).to_string()))
}

#[tokio::test]
async fn a_page_says_where_the_next_begins() {
    let (a, b, c) = ("a".repeat(64), "b".repeat(64), "c".repeat(64));
    let wire = Wire::play(vec![page(&[&a, &b]), page(&[&b]), page(&[&b, &c]), page(&[])]).await;
    let listed = all(&issuer_of(&wire)).await.unwrap();
    assert_eq!(listed.iter().map(|key| &key.hash).collect::<Vec<_>>(), [&a, &b, &b, &b, &c]);
    let offsets = ["offset=0&", "offset=2&", "offset=3&", "offset=5&"];
    let asked = wire.requests();
    assert!(asked.iter().zip(offsets).all(|(line, offset)| line.contains(offset)), "{asked:?}");
    let nowhere = issuer_of(&wire).list(Some(&Cursor::new("x&y")), soon()).await.unwrap_err();
    assert_eq!((nowhere.kind, wire.requests().len()), (FailureKind::NotSent, 4));
}

#[tokio::test]
async fn faults_are_unclear_whatever_was_done() {
    let faults = [
        Act::Reset,
        Act::Truncate(10),
        Act::Html(502),
        Act::Html(400),
        Act::Html(401),
        Act::Html(404),
        Act::Html(429),
        Act::Ok200WithErrorObject,
        Act::status(302).with_header("location", "https://example.com/"),
        Act::status(408),
        Act::status(409),
        Act::status(500),
        Act::status(502),
        Act::status(503),
        Act::status(524),
        Act::status(529),
        Act::body(200, json!({"data": {"deleted": "yes"}})),
        Act::body(401, json!({"error": "unauthorized"})),
        Act::body(401, json!({"error": {"code": 500, "message": "confused"}})),
        Act::body(404, json!({"message": "not found"})),
        Act::EchoKey(500),
        Act::Flood(1024 * 1024 + 1),
    ];
    let bench = Bench::new().await;
    let secret = bench.regular("agent");
    let hash = secret.sha256_hex();
    for act in faults {
        for when in [When::Before, When::After] {
            bench.fault("create_key", when, act.clone());
            let created = bench.issuer.create("n", &KeySpec::default(), soon()).await;
            assert_eq!(kind(&bench, created), FailureKind::Unclear, "create {act:?}");
        }
        bench.fault("patch_key", When::After, act.clone());
        let patched = bench.issuer.set_disabled(&hash, false, soon()).await;
        assert_eq!(kind(&bench, patched), FailureKind::Unclear, "patch {act:?}");
        bench.fault("delete_key", When::Before, act.clone());
        let deleted = bench.issuer.delete(&hash, soon()).await;
        assert_eq!(kind(&bench, deleted), FailureKind::Unclear, "delete {act:?}");
        bench.fault("read_key", When::Before, act.clone());
        assert_eq!(
            kind(&bench, bench.issuer.read(&hash, soon()).await),
            FailureKind::Unclear,
            "read {act:?}"
        );
        bench.fault("list_keys", When::Before, act.clone());
        assert_eq!(kind(&bench, bench.issuer.list(None, soon()).await), FailureKind::Unclear, "list {act:?}");
        bench.fault("whoami", When::Before, act.clone());
        let whoami = bench.issuer.whoami(&secret, soon()).await;
        assert_eq!(kind(&bench, whoami), FailureKind::Unclear, "whoami {act:?}");
        bench.fault("chat", When::Before, act.clone());
        let chat = bench.issuer.chat(&secret, "simulated/small", soon()).await;
        assert_eq!(kind(&bench, chat), FailureKind::Unclear, "chat {act:?}");
    }
    let creates = bench.sim.requests().iter().filter(|call| call.label == "create_key").count();
    assert_eq!(creates, 44, "each create was sent once");
}

#[tokio::test]
async fn delete_and_create_whose_answer_is_lost_are_unclear_and_done() {
    let bench = Bench::new().await;
    bench.fault("create_key", When::After, Act::status(502));
    let created = bench.issuer.create("lost", &KeySpec::default(), soon()).await;
    assert_eq!(kind(&bench, created), FailureKind::Unclear);
    let hash = bench.sim.key_by_name("lost").unwrap().hash;
    bench.fault("delete_key", When::After, Act::status(503));
    assert_eq!(kind(&bench, bench.issuer.delete(&hash, soon()).await), FailureKind::Unclear);
    assert!(!bench.issuer.delete(&hash, soon()).await.unwrap().value);
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let bench = Bench::new().await;
    bench.fault("create_key", When::After, Act::Hang);
    let deadline = brief();
    let created = bench.issuer.create("n", &KeySpec::default(), deadline).await;
    assert_eq!(kind(&bench, created), FailureKind::Unclear);
    let late = bench.issuer.create("late", &KeySpec::default(), deadline).await;
    assert_eq!(kind(&bench, late), FailureKind::NotSent);
    assert!(bench.sim.key_by_name("late").is_none());
}

#[tokio::test]
async fn refusals_in_the_vendors_own_form_are_proof() {
    let bench = Bench::new().await;
    let rows = [
        (Act::status(400), FailureKind::Refused),
        (Act::status(401), FailureKind::Unauthorized),
        (Act::status(402), FailureKind::Refused),
        (Act::status(403), FailureKind::Forbidden),
        (Act::status(404), FailureKind::NotFound),
        (Act::status(422), FailureKind::Refused),
        (Act::ZodError, FailureKind::Refused),
        (Act::rate_limited(None), FailureKind::RateLimited),
        (Act::rate_limited(Some(7)), FailureKind::RateLimited),
        (Act::EchoKey(401), FailureKind::Unauthorized),
        (Act::EchoKey(400), FailureKind::Refused),
    ];
    for (act, expected) in rows {
        bench.fault("create_key", When::Before, act.clone());
        let failure = bench.issuer.create("n", &KeySpec::default(), soon()).await.unwrap_err();
        let failure = bench.clean(failure);
        assert_eq!(failure.kind, expected, "{act:?}");
        assert!(failure.date.is_some());
        let asked = failure.retry_after.is_some();
        assert_eq!(asked, format!("{act:?}").contains("retry-after"));
        assert!(!asked || failure.retry_after == Some(Span::seconds(7)));
    }
    assert!(bench.sim.keys().is_empty());
    let refused = bench.issuer.create("", &KeySpec::default(), soon()).await;
    let failure = bench.clean(refused.unwrap_err());
    let text = "OpenRouter answered 400: name: String must contain at least 1 character(s)";
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Refused, text));
}

#[tokio::test]
async fn a_secret_that_is_not_the_keys_is_unclear() {
    let secret = Secret::new(format!("sk-or-v1-{}", "0123456789abcdef".repeat(4)));
    let body = |key: &str, hash: &str| {
        json!({"key": key, "data": {"hash": hash, "name": "n", "label": "l", "disabled": false,
            "limit": null, "limit_remaining": null, "limit_reset": null, "include_byok_in_limit": false,
            "usage": 0, "byok_usage": 0, "last_used_at": null, "expires_at": null, "created_at": null,
            "workspace_id": null}})
    };
    let short = Secret::new("sk-or-v1-0123");
    let good = body(secret.expose(), &secret.sha256_hex());
    let mut nested = good.clone();
    nested["data"]["key"] = nested["key"].take();
    let mut renamed = good.clone();
    renamed["data"].as_object_mut().unwrap().remove("last_used_at");
    let mut doubtful = good.clone();
    doubtful["error"] = json!({"code": 500, "message": "half done"});
    let rows = [
        (good, true),
        (body(secret.expose(), &"a".repeat(64)), false),
        (body(short.expose(), &short.sha256_hex()), false),
        (body(secret.expose(), &secret.sha256_hex().to_uppercase()), false),
        (nested, false),
        (renamed, false),
        (doubtful, false),
    ];
    for (body, accepted) in rows {
        let wire = Wire::json(201, &body.to_string()).await;
        let created = issuer_of(&wire).create("n", &KeySpec::default(), soon()).await;
        assert_eq!(created.is_ok(), accepted, "{body}");
        if let Err(failure) = created {
            assert_eq!(failure.kind, FailureKind::Unclear);
            assert!(!format!("{failure:?}").contains(secret.expose()), "{failure:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_about_another_key_is_unclear() {
    let bench = Bench::new().await;
    let (one, other) = (bench.regular("one").sha256_hex(), bench.regular("other").sha256_hex());
    let listed = bench.issuer.read(&other, soon()).await.unwrap().value.unwrap();
    let body = json!({"data": {"hash": listed.hash, "name": "n", "label": "l", "disabled": true,
        "limit": null, "limit_remaining": null, "usage": 0, "byok_usage": 0, "last_used_at": null,
        "expires_at": null}});
    bench.fault("patch_key", When::Before, Act::body(200, body));
    let patched = bench.issuer.set_disabled(&one, true, soon()).await;
    assert_eq!(kind(&bench, patched), FailureKind::Unclear);
}

#[tokio::test]
async fn data_with_an_error_beside_it_is_unclear() {
    let body = json!({"data": [], "error": {"code": 500, "message": "half of the list"}});
    let wire = Wire::json(200, &body.to_string()).await;
    let failure = issuer_of(&wire).list(None, soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unclear);
    assert_eq!(failure.message, "OpenRouter answered 200: half of the list");
}

#[tokio::test]
async fn user_ids_and_long_texts_are_kept_out() {
    let text = format!("user_2abc said {}", "é".repeat(5000));
    let body = json!({"error": {"code": 400, "message": text}, "user_id": "user_2abc"});
    let wire = Wire::json(400, &body.to_string()).await;
    let failure = issuer_of(&wire).list(None, soon()).await.unwrap_err();
    assert!(failure.message.starts_with("OpenRouter answered 400: [user] said é"), "{failure:?}");
    assert_eq!(failure.message.chars().count(), 300);
}

#[tokio::test]
async fn what_goes_over_the_wire() {
    let wire = Wire::json(404, r#"{"error":{"code":404,"message":"no"}}"#).await;
    let issuer = OpenRouter {
        workspace: Some("a b&c=d".to_owned()),
        base_url: Url::parse(&wire.url.as_str().replace("://", "://u:p@"))
            .unwrap()
            .join("api/v1/?x=y")
            .unwrap(),
        ..issuer_of(&wire)
    };
    issuer.list(None, soon()).await.unwrap_err();
    let spec = KeySpec { workspace: Some("w".into()), ..KeySpec::default() };
    issuer.create("n", &spec, soon()).await.unwrap_err();
    let hash = "a".repeat(64);
    issuer.delete(&hash, soon()).await.unwrap();
    let sent = wire.requests();
    let query = "offset=0&include_disabled=true&include_expired=true&workspace_id=a+b%26c%3Dd";
    assert!(sent[0].starts_with(&format!("GET /api/v1/keys?{query} HTTP/1.1\r\n")), "{}", sent[0]);
    assert!(sent[0].contains("authorization: Bearer sk-or-v1-boss\r\n"), "{}", sent[0]);
    assert!(!sent[0].contains("Basic"), "{}", sent[0]);
    assert!(sent[1].starts_with("POST /api/v1/keys HTTP/1.1\r\n"));
    let body = r#"{"include_byok_in_limit":false,"name":"n","workspace_id":"w"}"#;
    assert!(sent[1].ends_with(body), "{}", sent[1]);
    assert!(sent[2].starts_with(&format!("DELETE /api/v1/keys/{hash} HTTP/1.1\r\n")));
}

#[tokio::test]
async fn what_is_no_hash_is_not_sent() {
    let wire = Wire::json(200, r#"{"deleted":true}"#).await;
    let issuer = issuer_of(&wire);
    let upper = "A".repeat(64);
    for hash in ["", "..", "../credits", &upper, &"a".repeat(63), &format!("{}/", "a".repeat(63))] {
        let failure = issuer.delete(hash, soon()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotSent, "{hash}");
        assert_eq!(issuer.read(hash, soon()).await.unwrap_err().kind, FailureKind::NotSent);
        assert_eq!(issuer.set_limit(hash, None, soon()).await.unwrap_err().kind, FailureKind::NotSent);
    }
    assert!(wire.requests().is_empty());
}

#[tokio::test]
async fn a_redirect_takes_no_credential_along() {
    let thief = Wire::json(200, r#"{"data":[]}"#).await;
    let moved = http(307, &format!("location: {}\r\n", thief.url), "");
    let wire = Wire::play(vec![Bytes::Say(moved)]).await;
    assert_eq!(issuer_of(&wire).list(None, soon()).await.unwrap_err().kind, FailureKind::Unclear);
    assert!(thief.requests().is_empty());
}

#[test]
fn fuzz_answers_of_openrouter() {
    let row = format!(
        r#"{{"hash":"{}","name":"n","label":"l","disabled":false,"limit":1.5,"usage":0}}"#,
        "0f".repeat(32)
    );
    let created = format!(r#"{{"key":"sk-or-v1-{}","data":{row}}}"#, "0f".repeat(32));
    let listed = format!(r#"{{"data":[{row},{row}]}}"#);
    let seeds: [&[u8]; 4] = [
        created.as_bytes(),
        listed.as_bytes(),
        br#"{"choices":[{"error":null}],"deleted":true}"#,
        br#"{"success":false,"error":{"name":"ZodError","message":"[]"}}"#,
    ];
    crate::net::testing::fuzz(&seeds, |body| {
        let keys = wire::data::<Vec<wire::Key>>(body).unwrap_or_default();
        drop(keys.into_iter().map(wire::Key::into_remote).collect::<Vec<_>>());
        drop(wire::created(body));
        let text = String::from_utf8_lossy(body);
        assert!(!(wire::is_hash(&text) && wire::is_key(&text)), "a hash is no key");
        assert!(!(wire::says_deleted(body) && wire::created(body).is_some()), "a deletion is no new key");
    });
}

/// One page each, as whoever reads all of them begins.
async fn lists(bench: &Bench) -> (Called<Option<Rows<Assignment>>>, Called<Option<Rows<Credential>>>) {
    let keeper = bench.issuer.rolls().unwrap();
    (keeper.assignments(None, soon()).await, keeper.credentials(None, soon()).await)
}

/// What says that this key, and nobody else besides the old one, may use a credential.
fn joined(id: &str, old: &str, new: &str) -> AllowList {
    let rolls = Rolls { guardrails: None, byok: Some([(id.to_owned(), vec![old.to_owned()])].into()) };
    match join(&Roll::Byok(id.to_owned()), &rolls, new, &BTreeSet::new()) {
        Ok(Some(Put::Allow { list, .. })) => list,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_names_keys_is_read_and_written() {
    let bench = Bench::new().await;
    let (old, new) = (bench.regular("old").sha256_hex(), bench.regular("new").sha256_hex());
    let guardrail = bench.sim.new_guardrail();
    let byok = bench.sim.new_byok(Some(std::slice::from_ref(&old)));
    let keeper = bench.issuer.rolls().unwrap();
    keeper.assign(&guardrail, &new, soon()).await.unwrap();
    keeper.allow(&byok, &joined(&byok, &old, &new), soon()).await.unwrap();
    let (assigned, credentials) = lists(&bench).await;
    let assigned = assigned.unwrap().value.unwrap();
    assert_eq!((assigned.rows, assigned.total), (vec![Assignment { hash: new.clone(), guardrail }], 1));
    let rows = credentials.unwrap().value.unwrap().rows;
    assert_eq!(rows, [Credential { id: byok, keys: Some(vec![old, new]) }]);
}

/// 403 and 404 in OpenRouter's own form say that the account has no such thing; nothing else does.
#[tokio::test]
async fn an_account_without_guardrails_has_none_and_every_other_answer_says_nothing() {
    let bench = Bench::new().await;
    for status in [403, 404] {
        bench.sim.settings(|settings| {
            (settings.guardrails_refused, settings.byok_refused) = (Some(status), Some(status));
        });
        let (assigned, credentials) = lists(&bench).await;
        assert!(assigned.unwrap().value.is_none() && credentials.unwrap().value.is_none(), "{status}");
    }
    bench.sim.settings(|settings| (settings.guardrails_refused, settings.byok_refused) = (None, None));
    let acts = [
        Act::status(401),
        Act::status(500),
        Act::Html(404),
        Act::Html(403),
        Act::Ok200WithErrorObject,
        Act::Truncate(5),
    ];
    for act in acts {
        for label in ["list_assignments", "list_byok"] {
            bench.fault(label, When::After, act.clone());
        }
        let (assigned, credentials) = lists(&bench).await;
        bench.clean(assigned.expect_err("says nothing"));
        bench.clean(credentials.expect_err("says nothing"));
    }
}

#[tokio::test]
async fn a_list_that_is_not_there_is_no_list_for_everybody() {
    let renamed = json!({"data": [{"id": "b", "allowed_keys": ["x"]}], "total_count": 1});
    let bench = Bench::new().await;
    bench.fault("list_byok", When::After, Act::body(200, renamed));
    assert_eq!(kind(&bench, lists(&bench).await.1), FailureKind::Unclear);
}
