//! Every answer that is no success: what it proves, and what the reader is told to do (wire-facts.md).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_box::SecretKey;
use crypto_box::aead::OsRng;

use super::super::*;
use super::{at, delivery, played, public_key, repository, spec};
use crate::domain::secret::Secret;
use crate::domain::time::{Span, Timestamp};
use crate::net::testing::{Act, Wire, client, soon};

/// The second of `DATE` in the answers.
const NOON: i64 = 1_793_620_800_000;

/// A fresh RSA key of nobody's.
pub(super) fn private_key() -> Secret {
    use aws_lc_rs::encoding::AsDer;
    let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let der = pair.as_der().unwrap();
    let lines = STANDARD.encode(der.as_ref());
    Secret::new(format!("-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----\n"))
}

#[tokio::test]
async fn every_answer_proves_what_it_proves() {
    use FailureKind::{Forbidden, NotFound, NotSent, RateLimited, Refused, Unauthorized, Unclear};
    let html = "<html>Forbidden</html>";
    let said =
        r#"{"message":"Nope for ghp_false0false0false0","documentation_url":"https://docs.github.com"}"#;
    let reset = format!("x-ratelimit-remaining: 0\r\nx-ratelimit-reset: {}\r\n", NOON / 1000 + 90);
    let secondary = r#"{"message":"You have exceeded a secondary rate limit."}"#;
    let rows = [
        (
            401,
            "",
            said,
            Unauthorized,
            "new one with the repository permission \"Secrets: read and write\"",
            None,
        ),
        (
            403,
            "",
            r#"{"message":"Repository was archived so is read-only."}"#,
            Forbidden,
            "unarchive it",
            None,
        ),
        (403, "", said, Forbidden, "\"Secrets: read and write\"; classic token: scope `repo`", None),
        (
            403,
            "x-accepted-github-permissions: secrets=write\r\n",
            said,
            Forbidden,
            "asks for secrets=write",
            None,
        ),
        (403, "x-github-sso: required; url=https://x\r\n", said, Forbidden, "single sign-on", None),
        (403, "retry-after: 30\r\n", said, RateLimited, "", Some(30)),
        (403, &reset, said, RateLimited, "", Some(90)),
        (403, "x-ratelimit-remaining: 4999\r\nx-ratelimit-reset: 1\r\n", said, Forbidden, "Secrets", None),
        (403, "", secondary, RateLimited, "", Some(60)),
        (429, "", said, RateLimited, "", Some(60)),
        (429, "retry-after: 7\r\n", said, RateLimited, "", Some(7)),
        (404, "", said, NotFound, "check the name Acme/app", None),
        (422, "", said, Refused, "", None),
        (400, "", said, Refused, "", None),
        (301, "location: /repositories/1\r\n", said, Refused, "renamed or moved", None),
        (307, "location: /repositories/1\r\n", said, Refused, "renamed or moved", None),
        (408, "", said, Unclear, "", None),
        (409, "", said, Unclear, "", None),
        (500, "", said, Unclear, "", None),
        (502, "", html, Unclear, "", None),
        (401, "", html, Unclear, "", None),
        (403, "", html, Unclear, "", None),
        (404, "", html, Unclear, "", None),
        (422, "", "{}", Unclear, "", None),
        (200, "", html, Unclear, "", None),
        (200, "", "[1]", Unclear, "", None),
    ];
    for (status, headers, body, kind, hint, wait) in rows {
        let (_wire, github) = played(vec![at(0, status, headers, body)], repository()).await;
        let failure = github.public_key(soon()).await.err().unwrap();
        let row = format!("{status} {headers:?} {body}: {failure:?}");
        assert_eq!((failure.kind, failure.status), (kind, Some(status)), "{row}");
        assert_eq!(failure.date, Some(Timestamp(NOON)), "{row}");
        assert_eq!(failure.retry_after, wait.map(Span::seconds), "{row}");
        assert_eq!(failure.hint.is_some(), !hint.is_empty(), "{row}");
        assert!(failure.hint.unwrap_or_default().contains(hint), "{row}");
        assert!(!row.contains("GitHub answered") || !failure.message.contains("false0"), "{row}");
        assert!(failure.message.chars().count() <= 300, "{row}");
    }
    let (wire, github) = played(vec![Act::Reset(Vec::new())], repository()).await;
    assert_eq!(github.public_key(soon()).await.err().unwrap().kind, Unclear);
    let late = Deadline::after(std::time::Duration::ZERO);
    assert_eq!(github.public_key(late).await.err().unwrap().kind, NotSent);
    assert_eq!(wire.requests().len(), 1, "one try each, and none after the deadline");
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec();
    let (_wire, github) = played(vec![Act::Say(cut)], repository()).await;
    assert_eq!(github.public_key(soon()).await.err().unwrap().kind, Unclear);
    let endless =
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", "x".repeat(crate::net::BODY_CAP + 1));
    let (_wire, github) = played(vec![Act::Say(endless.into_bytes())], repository()).await;
    let failure = github.public_key(soon()).await.err().unwrap();
    assert!(failure.message.ends_with("answer larger than 1 MiB"), "{failure:?}");
}

/// `POST /app/installations/2/access_tokens`: nothing of it may be explained with a token that nobody has.
#[tokio::test]
async fn every_refusal_of_an_app_names_the_app() {
    use FailureKind::{Forbidden, NotFound, RateLimited, Refused, Unauthorized, Unclear};
    let rows = [
        (401, "A JSON web token could not be decoded", Unauthorized, "belongs to the App 1, and"),
        (
            401,
            "'Expiration time' claim ('exp') is too far in the future",
            Unauthorized,
            "this machine's clock is right",
        ),
        (
            403,
            "This installation has been suspended",
            Forbidden,
            "Installed GitHub Apps, Configure, Unsuspend",
        ),
        (404, "Not Found", NotFound, "the App's id 1 and its installation's id 2"),
        (404, "Integration not found", NotFound, "the App's id 1"),
        (403, "You have exceeded a secondary rate limit", RateLimited, ""),
        (422, "The permissions requested are not granted to this installation.", Refused, ""),
        (500, "Server Error", Unclear, ""),
    ];
    for (status, message, kind, hint) in rows {
        let body = json!({ "message": message, "documentation_url": "x" }).to_string();
        let wire = Wire::play(vec![at(0, status, "", &body)]).await;
        let auth = Auth::App { id: 1, installation: 2, private_key: private_key() };
        let spec = GithubSpec { auth, ..spec(wire.url.as_str(), repository()) };
        let github = Github::new(spec, &client()).unwrap();
        for failure in [
            github.preflight(soon()).await.unwrap_err(),
            github.publish(&delivery(3), soon()).await.unwrap_err(),
        ] {
            let row = format!("{status} {message}: {failure:?}");
            assert_eq!((failure.kind, failure.status), (kind, Some(status)), "{row}");
            assert!(failure.message.ends_with(message) || failure.hint.is_none(), "{row}");
            assert_eq!(failure.hint.is_some(), !hint.is_empty(), "{row}");
            assert!(failure.hint.unwrap_or_default().contains(hint), "{row}");
        }
        let asked = wire.requests();
        assert!(asked.iter().all(|line| line.starts_with("POST /app/installations/2/access_tokens ")));
    }
}

/// What an installation lists decides before a write is tried.
#[tokio::test]
async fn an_installation_that_may_only_read_is_told_what_to_give_it() {
    let key = SecretKey::generate(&mut OsRng);
    for (permissions, said) in [
        (json!({ "secrets": "read" }), "secrets: read"),
        (json!({ "metadata": "read" }), "secrets: no access"),
    ] {
        let expires = "2026-11-02T13:00:00Z";
        let login =
            json!({ "token": "ghs_false", "expires_at": expires, "permissions": permissions }).to_string();
        let acts = vec![at(0, 201, "", &login), public_key(1, &key, "1")];
        let wire = Wire::play(acts).await;
        let auth = Auth::App { id: 1, installation: 2, private_key: private_key() };
        let github =
            Github::new(GithubSpec { auth, ..spec(wire.url.as_str(), repository()) }, &client()).unwrap();
        let failure = github.preflight(soon()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Forbidden, "{failure:?}");
        assert!(failure.message.contains(said), "{failure:?}");
        assert!(failure.hint.unwrap().contains("\"Secrets: read and write\""));
    }
}

/// A dispatch takes another permission than the secret.
#[tokio::test]
async fn a_refused_dispatch_names_its_own_permission() {
    let rows = [
        (403, FailureKind::Forbidden, "\"Contents: read and write\""),
        (404, FailureKind::NotFound, "Acme/app"),
    ];
    for (status, kind, hint) in rows {
        let wire = Wire::play(vec![at(0, status, "", r#"{"message":"No."}"#)]).await;
        let dispatch = Some("rotated".to_owned());
        let github =
            Github::new(GithubSpec { dispatch, ..spec(wire.url.as_str(), repository()) }, &client()).unwrap();
        let failure = github.start(&delivery(3), &json!({}), soon()).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure:?}");
        assert!(failure.hint.as_deref().unwrap().contains(hint), "{failure:?}");
        assert!(wire.requests()[0].starts_with("POST /repos/Acme/app/dispatches "));
    }
}
