//! Hand-made answers, for what a simulator does not say. The whole story is told against the simulator in
//! `story`.

mod against_the_simulator;
mod refusals;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_box::SecretKey;
use crypto_box::aead::OsRng;

use super::*;
use crate::destination::{Standing, shown};
use crate::domain::secret::Secret;
use crate::net::testing::{Act, Wire, client, soon};

pub(super) fn delivery(generation: i64) -> Delivery {
    Delivery {
        secret: Secret::new(format!("sk-or-v1-{:064x}", generation + 0x0fa1_5e00)),
        rotation: "production".into(),
        generation,
        destination: "github-production".into(),
    }
}

pub(super) fn repository() -> Scope {
    Scope::Repository { owner: "Acme".into(), repo: "app".into() }
}

fn organization(visibility: Option<Visibility>, repositories: &[&str]) -> Scope {
    let repositories = repositories.iter().map(|&name| name.to_owned()).collect();
    Scope::Organization { organization: "acme".into(), visibility, repositories }
}

pub(super) fn spec(url: &str, scope: Scope) -> GithubSpec {
    GithubSpec {
        scope,
        store: Store::Actions,
        secret: "OPENROUTER_API_KEY".into(),
        api_url: url.into(),
        dispatch: None,
        auth: Auth::Token(Secret::new("ghp_false0false0false0")),
    }
}

/// An answer at `second` seconds after noon.
pub(super) fn at(second: u32, status: u16, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Say(
        format!(
            "HTTP/1.1 {status} X\r\ndate: Mon, 02 Nov 2026 12:00:{second:02} GMT\r\ncontent-length: \
             {length}\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}\r\n{body}"
        )
        .into_bytes(),
    )
}

fn secret_at(second: u32) -> Act {
    let body = format!(
        r#"{{"name":"OPENROUTER_API_KEY","created_at":"2026-01-01T00:00:00Z","updated_at":"2026-11-02T12:00:{second:02}Z","visibility":"selected"}}"#
    );
    at(second + 10, 200, "", &body)
}

pub(super) fn public_key(second: u32, key: &SecretKey, id: &str) -> Act {
    let key = STANDARD.encode(key.public_key().as_bytes());
    at(second, 200, "", &format!(r#"{{"key_id":"{id}","key":"{key}"}}"#))
}

fn not_found() -> Act {
    at(0, 404, "", r#"{"message":"Not Found","documentation_url":"https://docs.github.com"}"#)
}

pub(super) async fn played(acts: Vec<Act>, scope: Scope) -> (Wire, Github) {
    let wire = Wire::play(acts).await;
    let github = Github::new(spec(wire.url.as_str(), scope), &client()).unwrap();
    (wire, github)
}

fn body_of(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn a_publish_on_the_wire() {
    let (old, new) = (SecretKey::generate(&mut OsRng), SecretKey::generate(&mut OsRng));
    let stale = at(12, 422, "", r#"{"message":"key_id does not match","documentation_url":"x"}"#);
    let acts = vec![
        secret_at(5),
        public_key(11, &old, "1"),
        stale,
        public_key(12, &new, "2"),
        at(13, 204, "", ""),
        secret_at(13),
    ];
    let (wire, github) = played(acts, repository()).await;
    let evidence = github.publish(&delivery(3), soon()).await.unwrap();
    let expected = json!({
        "generation": 3, "key_date": "2026-11-02T12:00:12.000Z", "put_date": "2026-11-02T12:00:13.000Z",
        "before": "2026-11-02T12:00:05Z", "updated_at": null, "dispatched": false,
    });
    assert_eq!(evidence, expected);
    let look = github.look(&delivery(3), &evidence, soon()).await.unwrap();
    assert_eq!(look.standing, Standing::Confirmed);
    assert_eq!(look.evidence["updated_at"], "2026-11-02T12:00:13Z");

    let requests = wire.requests();
    let lines: Vec<&str> = requests.iter().map(|request| request.lines().next().unwrap()).collect();
    let base = "/repos/Acme/app/actions/secrets";
    assert_eq!(
        lines,
        [
            format!("GET {base}/OPENROUTER_API_KEY HTTP/1.1"),
            format!("GET {base}/public-key HTTP/1.1"),
            format!("PUT {base}/OPENROUTER_API_KEY HTTP/1.1"),
            format!("GET {base}/public-key HTTP/1.1"),
            format!("PUT {base}/OPENROUTER_API_KEY HTTP/1.1"),
            format!("GET {base}/OPENROUTER_API_KEY HTTP/1.1"),
        ]
    );
    let put = body_of(&requests[4]);
    assert_eq!(put.as_object().unwrap().keys().collect::<Vec<_>>(), ["encrypted_value", "key_id"]);
    assert_eq!(put["key_id"], "2");
    let sealed = STANDARD.decode(put["encrypted_value"].as_str().unwrap()).unwrap();
    assert_eq!(new.unseal(&sealed).unwrap(), delivery(3).secret.expose().as_bytes());
    for request in &requests {
        let head = request.to_lowercase();
        let count = |line: &str| head.matches(line).count();
        assert_eq!(count("\r\naccept: application/vnd.github+json\r\n"), 1, "{head}");
        assert_eq!(count("\r\nx-github-api-version: 2022-11-28\r\n"), 1, "{head}");
        assert_eq!(count("\r\nauthorization: bearer ghp_false0false0false0\r\n"), 1, "{head}");
        assert_eq!(count("\r\nuser-agent: "), 1, "{head}");
        assert_eq!(count("\r\nuser-agent: rekeyd/"), 1, "{head}");
        assert!(!request.contains(delivery(3).secret.expose()));
    }
}

#[tokio::test]
async fn a_second_422_is_a_refusal() {
    let key = SecretKey::generate(&mut OsRng);
    let stale = || at(12, 422, "", r#"{"message":"Validation Failed"}"#);
    let acts = vec![not_found(), public_key(1, &key, "1"), stale(), public_key(2, &key, "1"), stale()];
    let (wire, github) = played(acts, repository()).await;
    let failure = github.publish(&delivery(3), soon()).await.unwrap_err();
    assert_eq!((failure.kind, failure.status), (FailureKind::Refused, Some(422)));
    assert_eq!(failure.message, "GitHub answered 422: Validation Failed");
    assert_eq!(wire.requests().len(), 5);
}

#[tokio::test]
async fn the_list_of_an_organization_is_sent_back_whole() {
    let key = SecretKey::generate(&mut OsRng);
    let page = |ids: &str| at(0, 200, "", &format!(r#"{{"total_count":3,"repositories":[{ids}]}}"#));
    let refused = || at(3, 422, "", r#"{"message":"Invalid request"}"#);
    let start = || vec![secret_at(5), page(r#"{"id":7},{"id":4611686018427387904}"#), page(r#"{"id":9}"#)];
    let added = at(1, 200, "", r#"{"id":8,"name":"web"}"#);

    let mut acts = start();
    acts.extend([added.clone(), public_key(2, &key, "1"), at(3, 204, "", "")]);
    let (wire, github) = played(acts, organization(None, &["web"])).await;
    github.publish(&delivery(3), soon()).await.unwrap();
    let requests = wire.requests();
    assert!(
        requests[1].starts_with(
            "GET /orgs/acme/actions/secrets/OPENROUTER_API_KEY/repositories?per_page=100&page=1 "
        )
    );
    assert!(requests[2].contains("page=2 "));
    assert!(requests[3].starts_with("GET /repos/acme/web "));
    let put = body_of(&requests[5]);
    assert_eq!(put["visibility"], "selected");
    assert_eq!(put["selected_repository_ids"], json!([7, 8, 9, 4_611_686_018_427_387_904_u64]));

    let mut acts = start();
    for _ in 0..2 {
        acts.extend([public_key(2, &key, "1"), refused()]);
    }
    acts.extend([public_key(2, &key, "1"), at(3, 204, "", "")]);
    let wire = Wire::play(acts).await;
    let spec = GithubSpec { store: Store::Dependabot, ..spec(wire.url.as_str(), organization(None, &[])) };
    let github = Github::new(spec, &client()).unwrap();
    github.publish(&delivery(3), soon()).await.unwrap();
    let ids = |request: &str| body_of(request)["selected_repository_ids"].clone();
    let requests = wire.requests();
    assert_eq!(ids(&requests[4]), json!(["7", "9", "4611686018427387904"]));
    assert_eq!(ids(&requests[6]), ids(&requests[4]));
    assert_eq!(ids(&requests[8]), json!([7, 9, 4_611_686_018_427_387_904_u64]));
}

#[tokio::test]
async fn a_list_that_does_not_come_whole_stops_the_write() {
    let page = |ids: &str| at(0, 200, "", &format!(r#"{{"total_count":3,"repositories":[{ids}]}}"#));
    let acts = vec![secret_at(5), page(r#"{"id":7}"#), page("")];
    let (wire, github) = played(acts, organization(None, &[])).await;
    let failure = github.publish(&delivery(3), soon()).await.unwrap_err();
    assert!(failure.message.contains("did not come whole"), "{failure:?}");
    assert!(wire.requests().iter().all(|request| !request.starts_with("PUT")));
}

#[tokio::test]
async fn nobody_is_never_selected() {
    let scope = organization(Some(Visibility::Selected), &[]);
    let (_wire, github) = played(vec![not_found()], scope).await;
    let failure = github.publish(&delivery(3), soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotSent);
    assert!(failure.message.contains("no repository would see"), "{failure:?}");
}

#[tokio::test]
async fn visibility_follows_configuration_then_what_is_there() {
    let now = |visibility: &str| Current {
        created_at: String::new(),
        updated_at: String::new(),
        visibility: Some(visibility.to_owned()),
    };
    let rows = [
        (None, None, Visibility::Private),
        (None, Some("all"), Visibility::All),
        (Some(Visibility::Private), Some("all"), Visibility::Private),
        (Some(Visibility::All), Some("selected"), Visibility::All),
    ];
    for (configured, present, expected) in rows {
        let (wire, github) = played(vec![not_found()], organization(configured, &[])).await;
        let present = present.map(now);
        let sharing = github.sharing(present.as_ref(), soon()).await.unwrap().unwrap();
        assert_eq!(sharing.visibility, expected);
        assert_eq!(sharing.fields(sharing::Ids::Numbers), [("visibility", json!(expected.name()))]);
        assert!(wire.requests().is_empty());
    }
}

#[tokio::test]
async fn a_key_without_a_date_is_not_sealed_for() {
    let key = STANDARD.encode([1; 32]);
    let body = format!(r#"{{"key_id":"1","key":"{key}"}}"#);
    let dateless =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    let (wire, github) = played(vec![not_found(), Act::Say(dateless.into_bytes())], repository()).await;
    let failure = github.publish(&delivery(3), soon()).await.unwrap_err();
    assert!(failure.message.contains("has no `Date`"), "{failure:?}");
    assert_eq!(wire.requests().len(), 2);
}

#[tokio::test]
async fn missing_is_told_from_invisible() {
    let key = SecretKey::generate(&mut OsRng);
    let (_wire, github) = played(vec![not_found(), public_key(1, &key, "1")], repository()).await;
    let look = github.look(&delivery(3), &Value::Null, soon()).await.unwrap();
    assert_eq!(look.standing, Standing::Missing);
    let (_wire, github) = played(vec![not_found(), not_found()], repository()).await;
    let failure = github.look(&delivery(3), &Value::Null, soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound);
}

#[tokio::test]
async fn classic_tokens_tell_their_scopes() {
    let key = SecretKey::generate(&mut OsRng);
    let body = format!(r#"{{"key_id":"1","key":"{}"}}"#, STANDARD.encode(key.public_key().as_bytes()));
    let scoped = |scopes: &str| at(1, 200, &format!("x-oauth-scopes: {scopes}\r\n"), &body);
    let (_wire, github) = played(vec![scoped("gist, repo"), secret_at(5)], repository()).await;
    let seen = shown(&github.preflight(soon()).await.unwrap());
    assert!(seen.contains("scopes gist, repo"), "{seen}");
    assert!(seen.contains("last changed 2026-11-02T12:00:05Z"), "{seen}");
    let (_wire, github) = played(vec![scoped("gist, read:org"), secret_at(5)], repository()).await;
    let failure = github.preflight(soon()).await.unwrap_err();
    assert_eq!((failure.kind, failure.hint.unwrap().contains("`repo`")), (FailureKind::Forbidden, true));
}

#[test]
fn specs_that_cannot_work() {
    let http = client();
    let refused = |spec: GithubSpec| Github::new(spec, &http).err().unwrap().message;
    let good = || spec("https://api.github.com", repository());
    assert!(refused(GithubSpec { api_url: "api.github.com".into(), ..good() }).contains("api_url"));
    assert!(refused(GithubSpec { secret: "GITHUB_TOKEN".into(), ..good() }).contains("GITHUB_TOKEN"));
    assert!(refused(GithubSpec { dispatch: Some(String::new()), ..good() }).contains("100"));
    let scope = organization(None, &[]);
    assert!(refused(GithubSpec { dispatch: Some("x".into()), scope, ..good() }).contains("repository"));
}

#[test]
fn addresses_and_plans() {
    let http = client();
    let github = Github::new(spec("https://api.github.com/", repository()), &http).unwrap();
    assert_eq!(github.address(), "github:api.github.com/repos/acme/app/actions/OPENROUTER_API_KEY");
    let server = Github::new(spec("https://ghe.example.com:8443/api/v3", repository()), &http).unwrap();
    assert_eq!(
        server.address(),
        "github:ghe.example.com:8443/api/v3/repos/acme/app/actions/OPENROUTER_API_KEY"
    );
    let spec =
        GithubSpec { dispatch: Some("rotated".into()), ..spec("https://api.github.com", repository()) };
    let calls: Vec<String> =
        Github::new(spec, &http).unwrap().plan().into_iter().map(|planned| planned.call).collect();
    let base = "https://api.github.com/repos/Acme/app/actions/secrets";
    assert_eq!(
        calls,
        [
            format!("GET {base}/OPENROUTER_API_KEY"),
            format!("GET {base}/public-key"),
            format!("PUT {base}/OPENROUTER_API_KEY"),
            format!("GET {base}/OPENROUTER_API_KEY"),
            "POST https://api.github.com/repos/Acme/app/dispatches".to_owned(),
        ]
    );
}

#[test]
fn fuzz_answers_of_github() {
    let seeds: [&[u8]; 6] = [
        br#"@{"message":"You have exceeded a secondary rate limit","documentation_url":"https://docs.github.com"}"#,
        br#"@[{"number":1,"secret":"sk-or-v1-0f","state":"open","locations_url":"https://a.b"}]"#,
        br#"@{"name":"OPENROUTER_API_KEY","updated_at":"2026-11-02T12:00:00Z","visibility":"selected"}"#,
        br#"@{"key_id":"1","key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}"#,
        b"@9223372036854775807",
        br#"@<https://api.github.com/r?page=2>; rel="next""#,
    ];
    let advice = refusal::Advice::of_login(1, 2);
    let secret = Secret::new("zz-false-0123456789abcdef");
    crate::net::testing::fuzz(&seeds, |input| {
        let headers = ["x-ratelimit-remaining", "x-ratelimit-reset", "x-accepted-github-permissions", "link"];
        let answer = crate::net::testing::answer(input, &headers);
        let failure = refusal::read(&answer, &advice, &[&secret]);
        assert!(failure.retry_after.is_none_or(|wait| wait >= Span::seconds(1) && wait <= Span::hours(25)));
        assert!(!failure.message.contains(secret.expose()));
        if let Ok((_, Some(query))) = scanning::page(&answer) {
            assert!(!query.contains(['#', ' ']), "a query and nothing else: {query}");
        }
        drop(answer.json::<Current>());
        drop(answer.json::<PublicKey>().map(|key| seal::public_key(&key.key)));
        let (seen, sent) = (String::from_utf8_lossy(&answer.body), "2026-11-02T12:00:00Z");
        let evidence = Evidence {
            generation: 1,
            key_date: sent.to_owned(),
            put_date: Some(sent.to_owned()),
            before: None,
            updated_at: None,
            dispatched: false,
        };
        let proved = proof::judge(1, Some(evidence), &seen).0 == Standing::Confirmed;
        let at = Timestamp::parse_rfc3339(&seen);
        assert!(
            !proved || at >= Timestamp::parse_rfc3339(sent),
            "nothing older than the write proves it: {seen}"
        );
    });
}
