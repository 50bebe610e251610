//! How a browser keeps its session.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};

use crate::domain::access::Access;
use crate::domain::secret::Secret;

const NAME: &str = "session_token";

/// The cookie of a session, when there is exactly one.
pub(in crate::http) fn session_cookie(headers: &HeaderMap) -> Option<Secret> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut found = pairs.filter(|(name, _)| *name == NAME).map(|(_, value)| value);
    match (found.next(), found.next()) {
        (Some(value), None) => Some(Secret::new(value)),
        _ => None,
    }
}

/// `Set-Cookie` of a new session: no script reads it, no other site's form sends it, and it lies under the public URL.
pub(in crate::http) fn set(access: &Access, session: &Secret) -> HeaderValue {
    line(access, session.expose(), access.session_max.0 / 1000)
}

/// `Set-Cookie` of the end of one.
pub(in crate::http) fn cleared(access: &Access) -> HeaderValue {
    line(access, "", 0)
}

fn line(access: &Access, value: &str, seconds: i64) -> HeaderValue {
    let path = match access.base_path() {
        "" => "/",
        path => path,
    };
    let secure = if access.is_https() { "; Secure" } else { "" };
    let text = format!("{NAME}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    let mut line = HeaderValue::try_from(text).expect("a cookie of ours is plain");
    line.set_sensitive(true);
    line
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::domain::time::Span;

    fn access(url: &str) -> Access {
        Access {
            public_url: Url::parse(url).unwrap(),
            trusted_proxies: Vec::new(),
            session_idle: Span::hours(1),
            session_max: Span::hours(2),
            metrics_token: None,
        }
    }

    #[test]
    fn a_cookie_is_secure_where_the_public_url_is() {
        let session = Secret::new("false");
        assert_eq!(
            set(&access("http://127.0.0.1:8084"), &session),
            "session_token=false; Path=/; Max-Age=7200; HttpOnly; SameSite=Lax"
        );
        assert_eq!(
            set(&access("https://ops.example.com/rekeyd"), &session),
            "session_token=false; Path=/rekeyd; Max-Age=7200; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            cleared(&access("https://ops.example.com/")),
            "session_token=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"
        );
    }
}
