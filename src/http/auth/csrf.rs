//! Cross-site request forgery: a browser sends the cookie along whoever wrote the page. So an unsafe request is
//! believed only when the browser says that a page of ours sent it, or when it knows what only such a page can read.

use axum::extract::Request;
use axum::http::{HeaderMap, Method};

use super::super::api::Api;
use super::super::problem::Problem;
use crate::domain::access::Access;
use crate::domain::secret::Secret;

const REFUSED: &str = "this request does not come from a page of rekeyd: send it from there, or with the X-CSRF-Token \
                       that login returned, or with a token as Authorization: Bearer";

/// What a page sends as `X-CSRF-Token`: nobody can make it without the cookie, nor the cookie from it.
pub(in crate::http) fn csrf_token(session: &Secret) -> Secret {
    Secret::new(Secret::new(format!("rekeyd csrf {}", session.expose())).sha256_hex())
}

/// What the browser says of who sent a request.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Ours,
    Foreign,
    Nothing,
}

fn said(access: &Access, headers: &HeaderMap) -> Said {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let (site, origin) = (header("sec-fetch-site"), header("origin"));
    let ours = access.public_url.origin().ascii_serialization();
    if matches!(site, Some("same-origin" | "none")) || origin.is_some_and(|origin| origin == ours) {
        return Said::Ours;
    }
    if site.is_none() && origin.is_none() { Said::Nothing } else { Said::Foreign }
}

fn changes_nothing(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Refuses an unsafe request with a session's cookie that another site may have sent.
pub(super) fn believe(
    access: &Access,
    method: &Method,
    headers: &HeaderMap,
    session: &Secret,
) -> Result<(), Problem> {
    if changes_nothing(method) || said(access, headers) == Said::Ours {
        return Ok(());
    }
    let shown = headers.get("x-csrf-token").and_then(|value| value.to_str().ok());
    if shown.is_some_and(|shown| Secret::new(shown) == csrf_token(session)) {
        return Ok(());
    }
    Err(Problem::forbidden(REFUSED))
}

/// The same of a request without a session, such as a login: nobody has a token for it yet, so only what a browser says of
/// another site is held against it. Every browser says so when another site's page posts.
pub(in crate::http) fn believe_stranger(api: &Api, request: &Request) -> Result<(), Problem> {
    let foreign = || said(api.engine().access(), request.headers()) == Said::Foreign;
    if changes_nothing(request.method()) || !foreign() { Ok(()) } else { Err(Problem::forbidden(REFUSED)) }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::domain::time::Span;

    fn access() -> Access {
        Access {
            public_url: Url::parse("https://ops.example.com/rekeyd").unwrap(),
            trusted_proxies: Vec::new(),
            session_idle: Span::hours(12),
            session_max: Span::hours(24),
            metrics_token: None,
        }
    }

    fn believed(method: &Method, headers: &[(&str, &str)]) -> bool {
        let session = Secret::new("false-session");
        let csrf = csrf_token(&session);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let value = if *value == "CSRF" { csrf.expose() } else { value };
            map.insert(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        believe(&access(), method, &map, &session).is_ok()
    }

    #[test]
    fn only_a_page_of_ours_changes_something() {
        assert!(believed(&Method::GET, &[("sec-fetch-site", "cross-site")]));
        assert!(believed(&Method::POST, &[("sec-fetch-site", "same-origin")]));
        assert!(believed(&Method::POST, &[("sec-fetch-site", "none")]));
        assert!(believed(&Method::DELETE, &[("origin", "https://ops.example.com")]));
        assert!(believed(&Method::PATCH, &[("x-csrf-token", "CSRF")]));
        for refused in [
            &[][..],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("origin", "https://evil.example.com")],
            &[("origin", "http://ops.example.com")],
            &[("origin", "https://ops.example.com.evil.example")],
            &[("origin", "null")],
            &[("x-csrf-token", "guess")],
        ] {
            assert!(!believed(&Method::POST, refused), "{refused:?}");
        }
    }

    #[test]
    fn the_token_tells_nothing_of_the_cookie() {
        let session = Secret::new("false-session");
        assert_ne!(csrf_token(&session).expose(), session.sha256_hex());
        assert_ne!(csrf_token(&session), csrf_token(&Secret::new("another")));
    }

    #[test]
    fn a_login_is_refused_only_to_other_sites() {
        let said = |name: &'static str, value: &str| {
            let mut map = HeaderMap::new();
            map.insert(name, value.parse().unwrap());
            said(&access(), &map)
        };
        assert_eq!(said("sec-fetch-site", "cross-site"), Said::Foreign);
        assert_eq!(said("origin", "https://evil.example.com"), Said::Foreign);
        assert_eq!(said("origin", "https://ops.example.com"), Said::Ours);
        assert_eq!(said("accept", "*/*"), Said::Nothing);
    }
}
