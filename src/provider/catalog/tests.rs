//! Every rule of providers.md with a literal body, and what must hold for all rows.

use std::time::Duration;

use http::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::verdict::{Observation, Outcome};
use crate::net::Answer;
use crate::provider::probe::classify;

fn answer(status: u16, body: &[u8]) -> Answer {
    Answer {
        status,
        date: None,
        retry_after: None,
        headers: HeaderMap::new(),
        body: body.to_vec().into(),
        host: "vendor.test".to_owned(),
        elapsed: Duration::from_millis(7),
    }
}

fn look(provider: &str, status: u16, body: &str) -> Observation {
    let secret = Secret::new("sk-test-0123456789abcdefghij");
    classify(find(provider).unwrap(), &answer(status, body.as_bytes()), &secret)
}

#[test]
fn fuzz_answers_of_every_provider() {
    let seeds: [&[u8]; 4] = [
        br#"{"error":{"code":401,"message":"bad key sk-test-0123456789abcdefghij","type":"x","status":"Y"}}"#,
        br#"{"data":[{"id":"m"}],"detail":{"status":"s","message":"m"},"errors":["e",{"message":"n"}]}"#,
        br#"{"error":"text","expires_at":"2026-01-01T00:00:00Z","limit_remaining":-1e9}"#,
        b"<html>\xff</html>",
    ];
    let secret = Secret::new("sk-test-0123456789abcdefghij");
    let rows: Vec<_> = CATALOG.iter().collect();
    crate::net::testing::fuzz(&seeds, |body| {
        let pick = body.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31) + usize::from(*byte));
        let status = [200, 400, 401, 402, 403, 404, 429, 500][pick % 8];
        let seen = classify(rows[pick % rows.len()], &answer(status, body), &secret);
        assert!(!format!("{seen:?}").contains(secret.expose()));
    });
}

/// `outcome` or `outcome reason`.
fn shown(seen: &Observation) -> String {
    let reason = seen.reason().map(|reason| format!(" {reason}"));
    format!("{}{}", seen.outcome(), reason.unwrap_or_default())
}

fn check(provider: &str, rows: &[(u16, &str, &str)]) {
    for (status, body, expected) in rows {
        let seen = look(provider, *status, body);
        assert_eq!(shown(&seen), *expected, "{provider}: {status} {body}");
        assert_eq!(seen.status, Some(*status));
        assert_eq!(seen.latency_ms, 7);
    }
}

const HTML: &str = "<html><head><title>403 Forbidden</title></head><body>cloudflare</body></html>";

#[test]
fn openrouter() {
    let healthy = r#"{"data":{"label":"sk-or-v1-abc...def","is_management_key":false,"is_provisioning_key":false,
        "limit":5,"limit_remaining":0.01,"expires_at":"2027-01-01T00:00:00+00:00"}}"#;
    let limited = r#"{"data":{"label":"l","is_management_key":false,"limit":5,"limit_remaining":-0.5}}"#;
    check(
        "openrouter",
        &[
            (200, healthy, "valid"),
            (
                200,
                r#"{"data":{"label":"l","is_provisioning_key":false,"limit":null,"limit_remaining":null}}"#,
                "valid",
            ),
            (200, r#"{"data":{"label":"l","limit":null,"limit_remaining":null}}"#, "unexpected"),
            (200, limited, "quota_exhausted spend_limit"),
            (200, r#"{"data":{"label":"l","is_management_key":true}}"#, "restricted wrong_kind"),
            (
                200,
                r#"{"data":{"label":"l","is_provisioning_key":true,"limit":1,"limit_remaining":0}}"#,
                "restricted wrong_kind",
            ),
            (200, r#"{"data":[{"id":"simulated/small"}]}"#, "unexpected"),
            (200, r#"{"error":{"code":500,"message":"no"}}"#, "unexpected"),
            (
                401,
                r#"{"error":{"code":401,"message":"User not found."},"user_id":"user_1"}"#,
                "invalid rejected",
            ),
            (401, r#"{"error":{"code":401,"message":"This key has been disabled"}}"#, "invalid disabled"),
            (401, r#"{"error":{"code":401,"message":"This key has expired"}}"#, "invalid expired"),
            (401, r#"{"error":{"code":401,"message":"No cookie auth credentials found"}}"#, "unexpected"),
            (401, r#"{"error":"unauthorized"}"#, "unexpected"),
            (401, HTML, "unexpected"),
            (
                402,
                r#"{"error":{"code":402,"message":"Insufficient credits. Add more"}}"#,
                "quota_exhausted credits",
            ),
            (
                402,
                r#"{"error":{"code":402,"message":"m","metadata":{"limit_source":"openrouter_key_limit"}}}"#,
                "quota_exhausted spend_limit",
            ),
            (
                403,
                r#"{"error":{"code":403,"message":"Key limit exceeded (total limit). Manage it using x"}}"#,
                "quota_exhausted spend_limit",
            ),
            (403, r#"{"error":{"code":403,"message":"Forbidden"}}"#, "restricted scope"),
            (403, HTML, "unexpected"),
            (429, r#"{"error":{"code":429,"message":"Rate limit exceeded"}}"#, "rate_limited"),
            (404, r#"{"error":{"code":404,"message":"Not found"}}"#, "unexpected"),
            (502, HTML, "unreachable"),
        ],
    );
    let expires_at = look("openrouter", 200, healthy).expires_at;
    assert_eq!(expires_at, Timestamp::parse_rfc3339("2027-01-01T00:00:00Z"));
}

#[test]
fn openai() {
    let error =
        |code: &str| format!(r#"{{"error":{{"message":"m","type":"t","param":null,"code":"{code}"}}}}"#);
    for (status, code, expected) in [
        (401, "invalid_api_key", "invalid rejected"),
        (401, "account_deactivated", "invalid disabled"),
        (401, "ip_not_authorized", "restricted ip"),
        (401, "missing_scope", "restricted scope"),
        (403, "missing_scope", "restricted scope"),
        (403, "unsupported_country_region_territory", "restricted region"),
        (429, "insufficient_quota", "quota_exhausted credits"),
        (429, "credit_balance_exhausted", "quota_exhausted credits"),
        (429, "organization_spend_limit_exceeded", "quota_exhausted spend_limit"),
        (429, "project_spend_limit_exceeded", "quota_exhausted spend_limit"),
        (429, "organization_usage_limit_exceeded", "quota_exhausted spend_limit"),
        (429, "rate_limit_exceeded", "rate_limited"),
        (403, "something_else", "unexpected"),
        (401, "something_else", "unexpected"),
    ] {
        check("openai", &[(status, &error(code), expected)]);
        assert_eq!(look("openai", status, &error(code)).provider_code.as_deref(), Some(code));
    }
    check(
        "openai",
        &[
            (200, r#"{"object":"list","data":[]}"#, "valid"),
            (200, r#"{"object":"error"}"#, "unexpected"),
            (
                401,
                r#"{"error":{"message":"Incorrect API key provided: sk-a***b.","type":"invalid_request_error","code":"invalid_api_key"}}"#,
                "invalid rejected",
            ),
            (
                401,
                r#"{"error":{"message":"You must be a member of an organization to use the API","type":"invalid_request_error","code":null}}"#,
                "restricted organisation",
            ),
            (
                401,
                r#"{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: api.model.read","code":null}}"#,
                "restricted scope",
            ),
            (
                403,
                r#"{"error":{"message":"You have insufficient permissions for this operation."}}"#,
                "restricted scope",
            ),
            (429, HTML, "rate_limited"),
            (401, HTML, "unexpected"),
        ],
    );
}

#[test]
fn anthropic() {
    let error = |kind: &str, message: &str| {
        format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"r"}}"#)
    };
    for (status, kind, message, expected) in [
        (401, "authentication_error", "invalid x-api-key", "invalid rejected"),
        (401, "authentication_error", "CORS requests must set a header", "unexpected"),
        (401, "other_error", "no", "unexpected"),
        (403, "permission_error", "no", "restricted scope"),
        (
            400,
            "invalid_request_error",
            "You have reached your specified API usage limits.",
            "quota_exhausted spend_limit",
        ),
        (
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the API.",
            "quota_exhausted credits",
        ),
        (400, "invalid_request_error", "limit: must be positive", "unexpected"),
        (402, "billing_error", "no", "quota_exhausted credits"),
        (429, "rate_limit_error", "enforced_spend_limit_reached", "quota_exhausted spend_limit"),
        (429, "rate_limit_error", "slow down", "rate_limited"),
        (529, "overloaded_error", "Overloaded", "unreachable"),
        (500, "api_error", "no", "unreachable"),
        (504, "timeout_error", "no", "unreachable"),
    ] {
        check("anthropic", &[(status, &error(kind, message), expected)]);
    }
    let nested = r#"{"type":"error","error":{"type":"rate_limit_error","message":"m","details":{"error_code":"enforced_spend_limit_reached"}}}"#;
    check("anthropic", &[(429, nested, "quota_exhausted spend_limit")]);
    check("anthropic", &[(200, r#"{"data":[{"id":"claude"}]}"#, "valid"), (200, "[]", "unexpected")]);
}

#[test]
fn google() {
    let error = |status: u16, name: &str, message: &str, reason: &str| {
        format!(
            r#"{{"error":{{"code":{status},"message":"{message}","status":"{name}","details":[{{"@type":"t","reason":"{reason}"}}]}}}}"#
        )
    };
    for (status, name, message, reason, expected) in [
        (400, "INVALID_ARGUMENT", "API key not valid.", "API_KEY_INVALID", "invalid rejected"),
        (
            400,
            "INVALID_ARGUMENT",
            "API key expired. Please renew the API key.",
            "API_KEY_INVALID",
            "invalid expired",
        ),
        (400, "INVALID_ARGUMENT", "bad page size", "OTHER", "unexpected"),
        (400, "FAILED_PRECONDITION", "User location is not supported", "", "restricted region"),
        (403, "PERMISSION_DENIED", "m", "API_KEY_SERVICE_BLOCKED", "restricted scope"),
        (403, "PERMISSION_DENIED", "m", "API_KEY_HTTP_REFERRER_BLOCKED", "restricted scope"),
        (403, "PERMISSION_DENIED", "m", "API_KEY_IP_ADDRESS_BLOCKED", "restricted ip"),
        (403, "PERMISSION_DENIED", "m", "SERVICE_DISABLED", "restricted service_disabled"),
        (
            403,
            "PERMISSION_DENIED",
            "Your API key was reported as leaked. Please use another API key.",
            "",
            "invalid leaked",
        ),
        (403, "PERMISSION_DENIED", "m", "CONSUMER_SUSPENDED", "invalid leaked"),
        (403, "PERMISSION_DENIED", "m", "OTHER", "unexpected"),
        (402, "X", "m", "", "quota_exhausted credits"),
        (429, "RESOURCE_EXHAUSTED", "m", "RATE_LIMIT_EXCEEDED", "rate_limited"),
        (401, "UNAUTHENTICATED", "m", "ACCESS_TOKEN_TYPE_UNSUPPORTED", "restricted wrong_kind"),
        (401, "UNAUTHENTICATED", "m", "CREDENTIALS_MISSING", "unexpected"),
    ] {
        check("google", &[(status, &error(status, name, message, reason), expected)]);
    }
    check("google", &[(200, r#"{"models":[]}"#, "valid"), (200, "{}", "unexpected")]);
    let seen = look("google", 400, &error(400, "INVALID_ARGUMENT", "m", "API_KEY_INVALID"));
    assert_eq!(seen.provider_code.as_deref(), Some("API_KEY_INVALID"));
}

#[test]
fn providers_read_by_status() {
    let json = r#"{"message":"no"}"#;
    let rows: &[(&str, &[(u16, &str)])] = &[
        ("cohere", &[(401, "invalid rejected"), (402, "quota_exhausted credits"), (403, "restricted scope")]),
        ("together", &[(401, "invalid rejected"), (402, "quota_exhausted credits"), (403, "unexpected")]),
        (
            "mistral",
            &[(401, "invalid rejected"), (402, "quota_exhausted credits"), (403, "restricted scope")],
        ),
        ("deepinfra", &[(401, "invalid rejected"), (402, "quota_exhausted credits"), (403, "unexpected")]),
        ("groq", &[(401, "unexpected"), (403, "restricted scope"), (498, "rate_limited")]),
        ("perplexity", &[(401, "invalid rejected"), (403, "unexpected")]),
        (
            "runway",
            &[(401, "invalid rejected"), (502, "unreachable"), (503, "unreachable"), (504, "unreachable")],
        ),
        ("xai", &[(400, "unexpected"), (401, "invalid rejected"), (403, "restricted scope")]),
        ("deepseek", &[(401, "invalid rejected"), (402, "quota_exhausted credits")]),
        (
            "fireworks",
            &[
                (401, "invalid rejected"),
                (402, "quota_exhausted credits"),
                (412, "quota_exhausted spend_limit"),
                (403, "restricted scope"),
            ],
        ),
        ("huggingface", &[(401, "invalid rejected"), (402, "quota_exhausted credits")]),
        ("replicate", &[(401, "invalid rejected"), (402, "quota_exhausted credits")]),
        ("elevenlabs", &[(401, "unexpected")]),
        (
            "stability",
            &[(401, "invalid rejected"), (402, "quota_exhausted credits"), (403, "restricted scope")],
        ),
        (
            "cerebras",
            &[(401, "invalid rejected"), (402, "quota_exhausted credits"), (403, "restricted scope")],
        ),
        (
            "custom",
            &[
                (401, "invalid rejected"),
                (402, "quota_exhausted credits"),
                (403, "restricted scope"),
                (404, "unverified"),
                (405, "unverified"),
            ],
        ),
    ];
    for (provider, rows) in rows {
        for (status, expected) in *rows {
            check(provider, &[(*status, json, expected)]);
            let by_page = look(provider, *status, HTML).outcome();
            assert!(!by_page.is_conclusive(), "{provider}: {status} as a page is {by_page}");
        }
        check(provider, &[(429, json, "rate_limited"), (429, HTML, "rate_limited")]);
    }
}

#[test]
fn providers_with_more_to_say() {
    let flags = |blocked, disabled, team| {
        format!(r#"{{"api_key_blocked":{blocked},"api_key_disabled":{disabled},"team_blocked":{team}}}"#)
    };
    check(
        "xai",
        &[
            (200, &flags(false, false, false), "valid"),
            (200, &flags(true, false, false), "invalid disabled"),
            (200, &flags(false, true, false), "invalid disabled"),
            (200, &flags(false, false, true), "restricted organisation"),
            (200, r#"{"api_key_blocked":false}"#, "unexpected"),
            (
                400,
                r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xa***cd."}"#,
                "invalid rejected",
            ),
            (400, r#"{"code":"c","error":"unknown field"}"#, "unexpected"),
        ],
    );
    check(
        "elevenlabs",
        &[
            (200, r#"{"voices":[]}"#, "valid"),
            (
                401,
                r#"{"detail":{"status":"invalid_api_key","message":"Invalid API key"}}"#,
                "invalid rejected",
            ),
            (401, r#"{"detail":{"status":"missing_permissions","message":"m"}}"#, "restricted scope"),
            (401, r#"{"detail":{"status":"quota_exceeded","message":"m"}}"#, "quota_exhausted plan"),
            (
                401,
                r#"{"detail":{"status":"detected_unusual_activity","message":"m"}}"#,
                "restricted service_disabled",
            ),
        ],
    );
    let front = "<html>\r\n<head><title>401 Authorization Required</title></head>\r\n<body>\r\n<center><h1>401 Authorization Required</h1></center>\r\n<hr><center>openresty/1.27.4</center></body></html>";
    check(
        "perplexity",
        &[
            (200, r#"{"requests":[]}"#, "valid"),
            (200, "<html></html>", "unexpected"),
            (200, r#"{"error":{"message":"no"}}"#, "unexpected"),
            (
                401,
                r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":401}}"#,
                "quota_exhausted credits",
            ),
            (401, r#"{"error":{"message":"No credits left"}}"#, "quota_exhausted credits"),
            (401, r#"{"error":{"message":"Invalid API key"}}"#, "invalid rejected"),
            (401, front, "invalid rejected"),
            (401, "<html><title>401 Authorization Required</title>nginx</html>", "unexpected"),
        ],
    );
    check(
        "huggingface",
        &[
            (200, r#"{"type":"user","auth":{"type":"access_token","accessToken":{"role":"read"}}}"#, "valid"),
            (200, r#"{"type":"user","auth":{"type":"cookie"}}"#, "unexpected"),
            (401, r#"{"error":"User Access Token \"x\" is expired"}"#, "invalid expired"),
        ],
    );
    let dated = r#"{"auth":{"accessToken":{},"expiresAt":"2027-01-01T00:00:00.000Z"}}"#;
    assert!(look("huggingface", 200, dated).expires_at.is_some());
}

#[test]
fn proofs_of_a_200() {
    let rows = [
        ("cohere", r#"{"valid":true}"#, "valid"),
        ("cohere", r#"{"valid":false}"#, "invalid rejected"),
        ("cohere", "{}", "unexpected"),
        ("groq", r#"{"data":[]}"#, "valid"),
        ("together", "[]", "valid"),
        ("together", r#"{"data":[]}"#, "unexpected"),
        ("mistral", r#"{"data":[]}"#, "valid"),
        ("deepinfra", r#"{"uid":"u"}"#, "valid"),
        ("deepinfra", "[]", "unexpected"),
        ("deepinfra", r#"{"detail":{"error":"User is not authenticated"}}"#, "unexpected"),
        ("runway", r#"{"creditBalance":12}"#, "valid"),
        ("runway", r#"{"creditBalance":0}"#, "quota_exhausted credits"),
        ("runway", "{}", "unexpected"),
        ("deepseek", r#"{"is_available":true}"#, "valid"),
        ("deepseek", r#"{"is_available":false}"#, "quota_exhausted credits"),
        ("deepseek", "{}", "unexpected"),
        ("fireworks", r#"{"data":[]}"#, "valid"),
        ("replicate", r#"{"username":"u"}"#, "valid"),
        ("replicate", "{}", "unexpected"),
        ("stability", r#"{"credits":0.5}"#, "valid"),
        ("stability", "{}", "unexpected"),
        ("cerebras", r#"{"data":[]}"#, "valid"),
        ("custom", r#"{"data":[]}"#, "valid"),
        ("custom", r#"{"data":{}}"#, "unexpected"),
    ];
    for (provider, body, expected) in rows {
        check(provider, &[(200, body, expected)]);
    }
    for entry in CATALOG {
        check(entry.name, &[(200, HTML, "unexpected"), (200, "", "unexpected"), (204, "", "unexpected")]);
        check(
            entry.name,
            &[(302, "{}", "unexpected"), (408, "{}", "unreachable"), (503, HTML, "unreachable")],
        );
    }
}

#[test]
fn details_are_redacted_and_codes_are_words() {
    let key = "sk-test-0123456789abcdefghij";
    let body =
        format!(r#"{{"error":{{"message":"Incorrect API key provided: {key} \u0000 bad","code":"{key}"}}}}"#);
    let seen = look("mistral", 401, &body);
    assert_eq!(seen.detail, "Mistral AI answered 401: Incorrect API key provided: sk-test...ghij   bad");
    assert_eq!(seen.provider_code, None);
    assert!(!format!("{seen:?}").contains("0123456789abc"));
    let seen = look("mistral", 401, HTML);
    assert_eq!(seen.detail, "Mistral AI answered 401 with a body that is not JSON");
}

#[test]
fn rows_are_whole() {
    assert_eq!(CATALOG.len(), 20);
    for entry in CATALOG {
        assert_eq!(find(entry.name).unwrap().title, entry.title);
        let texts = [entry.title, entry.description, entry.key_format, entry.docs_url];
        assert!(texts.iter().all(|text| !text.is_empty()), "{}", entry.name);
        let base = url::Url::parse(entry.base_url);
        assert!(base.is_ok_and(|url| url.scheme() == "https") || entry.name == "custom");
        assert!(!entry.rules.is_empty(), "{}", entry.name);
        assert!(!entry.capabilities.is_empty(), "{}", entry.name);
    }
    let mut names: Vec<&str> = CATALOG.iter().map(|entry| entry.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 20);
}

#[test]
fn a_form_tells_whose_a_key_is_only_where_it_is_clear() {
    let hex = |n: usize| "0a".repeat(n / 2);
    for (key, kinds) in [
        (format!("sk-or-v1-{}", hex(64)), &["openrouter"][..]),
        ("sk-ant-api03-abc".to_owned(), &["anthropic"]),
        ("sk-proj-abc".to_owned(), &["openai"]),
        (format!("gsk_{}", "a".repeat(52)), &["groq"]),
        // What several have, and what has no beginning, is nobody's alone.
        (format!("sk-{}", hex(32)), &["openai", "deepseek"]),
        // A damaged key goes to nobody: least of all to whoever takes anything that begins like it.
        (format!("sk-or-v1-{}", hex(62)), &[]),
        ("a".repeat(40), &[]),
        (hex(64), &[]),
    ] {
        assert_eq!(kinds_of_form(&key), kinds, "{key}");
    }
}

#[test]
fn key_forms_warn_and_no_more() {
    let looks = |provider: &str, key: &str| find(provider).unwrap().looks_right(key);
    assert!(looks("openrouter", &format!("sk-or-v1-{}", "0a".repeat(32))));
    assert!(!looks("openrouter", "sk-or-v1-short"));
    assert!(looks("google", &format!("AIza{}", "x".repeat(35))) && looks("google", "AQ.x"));
    assert!(!looks("google", "AIza"));
    assert!(looks("together", &"0a".repeat(32)) && looks("together", "tgp_v1_x"));
    assert!(looks("cohere", &"aZ0".repeat(14)[..40]) && !looks("cohere", &"a-0".repeat(14)[..40]));
    assert!(looks("custom", "anything"));
}

/// Statuses that say nothing of a key, whatever the body says.
fn harmless() -> impl Strategy<Value = u16> {
    prop_oneof![Just(408u16), Just(429), 300u16..400, 500u16..600, 100u16..200, 600u16..1000]
}

/// Bodies made of what providers say when they mean it.
fn telling_body() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "invalid_api_key",
        "API_KEY_INVALID",
        "authentication_error",
        "account_deactivated",
        "API key expired",
        "reported as leaked",
        "CONSUMER_SUSPENDED",
        "User not found.",
        "Incorrect API key provided",
        "401 Authorization Required openresty",
        "expired",
        "disabled",
    ]);
    (words.clone(), words, 300u16..600, any::<bool>()).prop_map(|(code, text, status, page)| {
        if page {
            return format!("<html>{code} {text}</html>");
        }
        format!(
            r#"{{"valid":false,"api_key_disabled":true,"type":"error","code":"{code}","message":"{text}",
            "error":{{"code":{status},"type":"{code}","status":"{code}","message":"{text}",
            "details":[{{"reason":"{code}"}}]}},"detail":{{"status":"{code}"}}}}"#
        )
    })
}

proptest! {
    #[test]
    fn no_passing_fault_is_ever_invalid(status in harmless(), body in telling_body()) {
        for entry in CATALOG {
            let seen = look(entry.name, status, &body);
            prop_assert_ne!(seen.outcome(), Outcome::Invalid, "{}: {} {}", entry.name, status, body);
        }
    }

    #[test]
    fn nor_whatever_bytes_come(status in harmless(), body in prop::collection::vec(any::<u8>(), 0..200)) {
        let secret = Secret::new("k");
        for entry in CATALOG {
            let seen = classify(entry, &answer(status, &body), &secret);
            prop_assert_ne!(seen.outcome(), Outcome::Invalid, "{}", entry.name);
        }
    }

    #[test]
    fn valid_needs_a_200(status in 100u16..1000, body in telling_body()) {
        for entry in CATALOG {
            let seen = look(entry.name, status, &body);
            prop_assert!(seen.outcome() != Outcome::Valid || status == 200);
        }
    }
}
