//! The interpreter over the wire.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::domain::time::Span;
use crate::net::HttpOptions;
use crate::net::testing::{Act as Bytes, Wire, brief, client, http, soon};
use crate::provider::catalog::{CATALOG, find};
use crate::sim::fault::{Act, When};
use crate::sim::openrouter;
use crate::sim::vendors::{State, Vendors};

const KEY: &str = "zz-test-0123456789abcdef0123456789";

async fn look(provider: &str, wire: &Wire, settings: Value) -> Observation {
    let secret = Secret::new(KEY);
    let entry = find(provider).unwrap();
    let subject = Subject { entry, base_url: Some(&wire.url), secret: &secret, settings: &settings };
    let seen = probe(&client(), &Controls::default(), &subject, soon()).await;
    assert!(!format!("{seen:?}").contains(KEY), "{seen:?}");
    seen
}

fn say(status: u16, body: &str) -> Bytes {
    Bytes::Say(http(status, "content-type: application/json\r\n", body))
}

#[tokio::test]
async fn every_row_sends_its_request_and_never_the_key_in_the_url() {
    let expected = [
        ("openrouter", "GET /api/v1/key ", "authorization: Bearer"),
        ("openai", "GET /v1/models ", "authorization: Bearer"),
        ("anthropic", "GET /v1/models?limit=1 ", "x-api-key:"),
        ("google", "GET /v1beta/models?pageSize=1 ", "x-goog-api-key:"),
        ("cohere", "POST /v1/check-api-key ", "authorization: Bearer"),
        ("groq", "GET /openai/v1/models ", "authorization: Bearer"),
        ("together", "GET /v1/models?dedicated=true ", "authorization: Bearer"),
        ("mistral", "GET /v1/models ", "authorization: Bearer"),
        ("deepinfra", "GET /v1/me ", "authorization: Bearer"),
        ("perplexity", "GET /async/chat/completions ", "authorization: Bearer"),
        ("runway", "GET /v1/organization ", "authorization: Bearer"),
        ("custom", "GET /models ", "authorization: Bearer"),
        ("xai", "GET /v1/api-key ", "authorization: Bearer"),
        ("deepseek", "GET /user/balance ", "authorization: Bearer"),
        ("fireworks", "GET /inference/v1/models ", "authorization: Bearer"),
        ("huggingface", "GET /api/whoami-v2 ", "authorization: Bearer"),
        ("replicate", "GET /v1/account ", "authorization: Bearer"),
        ("elevenlabs", "GET /v1/voices ", "xi-api-key:"),
        ("stability", "GET /v1/user/balance ", "authorization: Bearer"),
        ("cerebras", "GET /v1/models ", "authorization: Bearer"),
    ];
    assert_eq!(expected.map(|row| row.0).to_vec(), CATALOG.iter().map(|row| row.name).collect::<Vec<_>>());
    for (provider, line, auth) in expected {
        let wire = Wire::json(418, "{}").await;
        let seen = look(provider, &wire, json!({})).await;
        assert_eq!(seen.outcome(), Outcome::Unexpected, "{provider}");
        let sent = wire.requests().remove(0);
        assert!(sent.starts_with(line), "{provider}: {sent}");
        assert!(sent.contains(&format!("{auth} {KEY}\r\n")), "{provider}: {sent}");
        assert_eq!(sent.matches(KEY).count(), 1, "{provider}: {sent}");
        assert!(sent.contains("accept: application/json\r\n"), "{provider}: {sent}");
    }
}

#[tokio::test]
async fn further_headers_and_settings_travel() {
    let wire = Wire::json(418, "{}").await;
    look("anthropic", &wire, json!({})).await;
    look("runway", &wire, json!({})).await;
    look("openai", &wire, json!({"organization": "org-1", "project": "proj-2", "model": "m"})).await;
    look("custom", &wire, json!({"models_path": "api/v3/list?x=1"})).await;
    look("openai", &wire, json!({"organization": "line\nbreak"})).await;
    let sent = wire.requests();
    assert!(sent[0].contains("anthropic-version: 2023-06-01\r\n"), "{}", sent[0]);
    assert!(sent[1].contains("x-runway-version: 2024-11-06\r\n"), "{}", sent[1]);
    assert!(sent[2].contains("openai-organization: org-1\r\n"), "{}", sent[2]);
    assert!(sent[2].contains("openai-project: proj-2\r\n"), "{}", sent[2]);
    assert!(sent[3].starts_with("GET /api/v3/list?x=1 "), "{}", sent[3]);
    assert_eq!(sent.len(), 4, "what cannot be a header is not sent");
}

#[tokio::test]
async fn a_base_with_a_path_is_taken_as_it_is() {
    let wire = Wire::json(418, "{}").await;
    let (secret, settings) = (Secret::new(KEY), json!({}));
    let base = wire.url.join("gateway/openai/v1/").unwrap();
    let entry = find("openai").unwrap();
    let subject = Subject { entry, base_url: Some(&base), secret: &secret, settings: &settings };
    probe(&client(), &Controls::default(), &subject, soon()).await;
    assert!(wire.requests()[0].starts_with("GET /gateway/openai/v1/models "));
    let custom = Subject { entry: find("custom").unwrap(), base_url: None, ..subject };
    let seen = probe(&client(), &Controls::default(), &custom, soon()).await;
    assert_eq!(seen.outcome(), Outcome::Unexpected);
    assert_eq!(seen.detail, "the provider has no usable base URL");
}

#[tokio::test]
async fn the_negative_control() {
    let good = r#"{"data":[]}"#;
    let rows = [
        (say(401, r#"{"error":"no"}"#), "valid"),
        (say(403, "no"), "valid"),
        (say(404, "no"), "valid"),
        (say(200, good), "unverified"),
        (say(200, "{}"), "unexpected"),
        (say(302, ""), "unexpected"),
        (say(429, ""), "rate_limited"),
        (say(500, ""), "unreachable"),
        (Bytes::Reset(Vec::new()), "unreachable"),
    ];
    for (control, expected) in rows {
        let wire = Wire::play(vec![say(200, good), control.clone()]).await;
        let seen = look("custom", &wire, json!({})).await;
        assert_eq!(seen.outcome().as_str(), expected, "{control:?}: {seen:?}");
        let sent = wire.requests();
        assert_eq!(sent.len(), 2);
        assert!(!sent[1].contains(KEY) && sent[1].contains("Bearer zz-test-"), "{}", sent[1]);
    }
    let wire = Wire::json(200, good).await;
    assert_eq!(look("mistral", &wire, json!({})).await.outcome(), Outcome::Valid);
    assert_eq!(wire.requests().len(), 1, "known providers need none");
    let wire = Wire::json(404, "{}").await;
    assert_eq!(look("custom", &wire, json!({})).await.outcome(), Outcome::Unverified);
    assert_eq!(wire.requests().len(), 1);
}

#[tokio::test]
async fn a_wrong_key_is_sent_once_a_day_however_many_keys_there_are() {
    let (vendors, controls) = (Vendors::start().await, Controls::default());
    let base = Url::parse(&vendors.base_url("custom")).unwrap();
    let keys: Vec<Secret> = (0..5).map(|_| Secret::new(vendors.new_key("custom"))).collect();
    let settings = json!({});
    let (http, entry) = (client(), find("custom").unwrap());
    for secret in &keys {
        let subject = Subject { entry, base_url: Some(&base), secret, settings: &settings };
        assert_eq!(probe(&http, &controls, &subject, soon()).await.outcome(), Outcome::Valid);
    }
    assert_eq!(vendors.requests().len(), 6, "one with a wrong key");
    // Another address is another question.
    let other = Url::parse(&vendors.base_url("custom").replace("127.0.0.1", "localhost")).unwrap();
    let subject = Subject { entry, base_url: Some(&other), secret: &keys[0], settings: &settings };
    assert_eq!(probe(&http, &controls, &subject, soon()).await.outcome(), Outcome::Valid);
    assert_eq!(vendors.requests().len(), 8);
}

#[tokio::test]
async fn transport_faults_are_unreachable_and_not_retried() {
    for act in [Bytes::Reset(Vec::new()), Bytes::Say(Vec::new()), Bytes::Say(b"SSH-2.0\r\n".to_vec())] {
        let wire = Wire::play(vec![act, say(200, r#"{"data":[]}"#)]).await;
        let seen = look("mistral", &wire, json!({})).await;
        assert_eq!(seen.outcome(), Outcome::Unreachable, "{seen:?}");
        assert_eq!(wire.requests().len(), 1);
    }
    let wire = Wire::play(vec![Bytes::Hang(Vec::new())]).await;
    let (secret, settings) = (Secret::new(KEY), json!({}));
    let entry = find("mistral").unwrap();
    let subject = Subject { entry, base_url: Some(&wire.url), secret: &secret, settings: &settings };
    let deadline = brief();
    assert_eq!(
        probe(&client(), &Controls::default(), &subject, deadline).await.outcome(),
        Outcome::Unreachable
    );
    assert_eq!(
        probe(&client(), &Controls::default(), &subject, deadline).await.outcome(),
        Outcome::Unexpected,
        "not sent"
    );
    assert_eq!(wire.requests().len(), 1);
}

#[tokio::test]
async fn only_a_failed_connect_is_tried_once_more() {
    let fault = |kind| Fault {
        kind,
        host: "vendor.test".to_owned(),
        elapsed: Duration::ZERO,
        status: None,
        date: None,
    };
    for (kind, expected) in [
        (FaultKind::ConnectionRefused, 2),
        (FaultKind::Connect, 2),
        (FaultKind::Dns, 2),
        (FaultKind::Tls, 1),
        (FaultKind::Timeout, 1),
        (FaultKind::Reset, 1),
        (FaultKind::Late, 1),
        (FaultKind::PrivateAddress, 1),
    ] {
        let attempts = std::cell::Cell::new(0);
        let attempt = || {
            attempts.set(attempts.get() + 1);
            std::future::ready(Err(fault(kind)))
        };
        assert_eq!(connected(attempt).await.unwrap_err().kind, kind);
        assert_eq!(attempts.get(), expected, "{kind:?}");
    }
}

#[tokio::test]
async fn endpoints_from_the_api_may_not_be_private() {
    let wire = Wire::json(200, r#"{"data":[]}"#).await;
    let (secret, settings) = (Secret::new(KEY), json!({}));
    let entry = find("custom").unwrap();
    let subject = Subject { entry, base_url: Some(&wire.url), secret: &secret, settings: &settings };
    let public = Http::public_only(&HttpOptions::default()).unwrap();
    let seen = probe(&public, &Controls::default(), &subject, soon()).await;
    assert_eq!(seen.outcome(), Outcome::Unexpected);
    assert!(seen.detail.contains("private"), "{seen:?}");
    assert!(wire.requests().is_empty());
}

#[tokio::test]
async fn retry_after_date_and_latency_are_kept() {
    let wire = Wire::play(vec![Bytes::Say(http(429, "retry-after: 7.5\r\n", "slow down"))]).await;
    let seen = look("openai", &wire, json!({})).await;
    assert_eq!(seen.outcome(), Outcome::RateLimited);
    assert_eq!(seen.retry_after, Some(Span(7500)));
    assert!(seen.date.is_some() && seen.status == Some(429));
}

#[tokio::test]
async fn a_billed_probe_only_when_asked_for_and_after_the_free_one() {
    let (list, done) = (r#"{"object":"list"}"#, r#"{"choices":[{"message":{"content":"o"}}]}"#);
    let rows = [
        (say(200, done), "valid"),
        (say(429, r#"{"error":{"code":"insufficient_quota"}}"#), "quota_exhausted"),
        (say(200, r#"{"error":{"code":500}}"#), "unexpected"),
        (say(200, list), "unexpected"),
        (say(503, ""), "unreachable"),
    ];
    for (billed, expected) in rows {
        let wire = Wire::play(vec![say(200, list), billed]).await;
        let seen = look("openai", &wire, json!({"billed_probe": "gpt-x"})).await;
        assert_eq!(seen.outcome().as_str(), expected, "{seen:?}");
        let sent = wire.requests();
        assert!(sent[1].starts_with("POST /v1/chat/completions "), "{}", sent[1]);
        assert!(sent[1].contains(r#""max_tokens":1"#) && sent[1].contains(r#""model":"gpt-x""#));
    }
    let wire = Wire::json(401, r#"{"error":{"code":"invalid_api_key"}}"#).await;
    assert_eq!(look("openai", &wire, json!({"billed_probe": "gpt-x"})).await.outcome(), Outcome::Invalid);
    assert_eq!(wire.requests().len(), 1);
    let wire = Wire::json(200, r#"{"data":[]}"#).await;
    let seen = look("custom", &wire, json!({"billed_probe": "gpt-x"})).await;
    assert_eq!((seen.outcome(), wire.requests().len()), (Outcome::Unverified, 2), "nothing is paid for it");
}

#[tokio::test]
async fn openrouter_keys_against_the_simulator() {
    let sim = openrouter::OpenRouter::start().await;
    let boss = Secret::new(sim.new_provisioning_key());
    let key = Secret::new(sim.new_regular_key("agent"));
    let base = Url::parse(&sim.base_url()).unwrap();
    let look = async |secret: &Secret| {
        let entry = find("openrouter").unwrap();
        let subject = Subject { entry, base_url: Some(&base), secret, settings: &Value::Null };
        let seen = probe(&client(), &Controls::default(), &subject, soon()).await;
        assert!(!format!("{seen:?}").contains(secret.expose()), "{seen:?}");
        let reason = seen.reason().map(|reason| format!(" {reason}")).unwrap_or_default();
        format!("{}{reason}", seen.outcome())
    };
    let hash = key.sha256_hex();
    assert_eq!(look(&key).await, "valid");
    assert_eq!(look(&boss).await, "restricted wrong_kind");
    assert_eq!(look(&Secret::new("sk-or-v1-unknown")).await, "invalid rejected");
    sim.edit_key(&hash, |row| row.limit = Some(0.0));
    assert_eq!(look(&key).await, "quota_exhausted spend_limit");
    for (act, expected) in [
        (Act::EchoKey(401), "invalid rejected"),
        (Act::Html(401), "unexpected"),
        (Act::rate_limited(Some(3)), "rate_limited"),
        (Act::Ok200WithErrorObject, "unexpected"),
        (Act::ZodError, "unexpected"),
        (Act::status(524), "unreachable"),
        (Act::Truncate(20), "unreachable"),
        (Act::Flood(2 * 1024 * 1024), "unexpected"),
    ] {
        sim.faults().once("whoami", When::After, act.clone());
        assert_eq!(look(&key).await, expected, "{act:?}");
    }
    sim.edit_key(&hash, |row| row.disabled = true);
    assert_eq!(look(&key).await, "invalid rejected");
}

/// Which states a vendor tells apart by its rules; what it cannot say is no state of its keys.
fn says(vendor: &str, state: State) -> bool {
    match state {
        State::Restricted => !matches!(
            vendor,
            "together" | "deepinfra" | "perplexity" | "runway" | "deepseek" | "huggingface" | "replicate"
        ),
        State::Empty => !matches!(vendor, "groq" | "xai"),
        _ => true,
    }
}

#[tokio::test]
async fn every_vendor_is_understood_as_it_answers() {
    let vendors = Vendors::start().await;
    let known: Vec<&str> = CATALOG.iter().map(|row| row.name).filter(|name| *name != "openrouter").collect();
    assert_eq!(Vendors::names().collect::<Vec<_>>(), known);
    for name in known {
        let (key, entry) = (vendors.new_key(name), find(name).unwrap());
        assert!(entry.looks_right(&key), "{name}: {key}");
        let base = Url::parse(&vendors.base_url(name)).unwrap();
        for (state, outcome) in [
            (State::Living, Outcome::Valid),
            (State::Restricted, Outcome::Restricted),
            (State::Empty, Outcome::QuotaExhausted),
            (State::Limited, Outcome::RateLimited),
            (State::Revoked, Outcome::Invalid),
        ] {
            if !says(name, state) {
                continue;
            }
            assert!(vendors.set(&key, state));
            let (secret, settings) = (Secret::new(key.clone()), json!({}));
            let subject = Subject { entry, base_url: Some(&base), secret: &secret, settings: &settings };
            let seen = probe(&client(), &Controls::default(), &subject, soon()).await;
            assert_eq!(seen.outcome(), outcome, "{name}, {state:?}: {seen:?}");
        }
    }
}
