//! Which calls go through a proxy: the configured one, else the environment's. Loopback never does, whatever
//! `NO_PROXY` says: a proxy would look for the simulators of the demo, or for a database's own endpoint, on
//! itself (the Go standard library has the same rule).

use reqwest::{ClientBuilder, NoProxy, Proxy};
use url::Url;

use super::NetError;

const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// The calls a proxy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    All,
    Http,
    Https,
}

/// Puts the proxies in place of the client's own reading of the environment.
pub(super) fn with_proxies(builder: ClientBuilder, given: Option<&str>) -> Result<ClientBuilder, NetError> {
    let variable = |name: &str| std::env::var(name).ok();
    let exempt = exempt_hosts(variable);
    let mut builder = builder.no_proxy();
    if exempt.split(',').any(|host| host == "*") {
        return Ok(builder);
    }
    for (scheme, url) in proxies(given, variable)? {
        let proxy = match scheme {
            Scheme::All => Proxy::all(url),
            Scheme::Http => Proxy::http(url),
            Scheme::Https => Proxy::https(url),
        };
        builder = builder.proxy(proxy.map_err(|_| NetError::Proxy)?.no_proxy(NoProxy::from_string(&exempt)));
    }
    Ok(builder)
}

/// Hosts and blocks of addresses, with commas between them; curl takes blanks as well. `*` is every host, also one that
/// is written as an address.
fn exempt_hosts(variable: impl Fn(&str) -> Option<String>) -> String {
    let given = first(&variable, &["NO_PROXY", "no_proxy"]).unwrap_or_default();
    let hosts = given.split([',', ' ', '\t']).filter(|host| !host.is_empty());
    std::iter::once(LOOPBACK).chain(hosts).collect::<Vec<_>>().join(",")
}

/// A configured proxy must be usable; one of the environment that is not (SOCKS) is left out, as curl's other
/// users would expect of a program that does not speak it.
fn proxies(
    given: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(Scheme, String)>, NetError> {
    if let Some(given) = given.filter(|text| !text.is_empty()) {
        let usable = Url::parse(given).is_ok_and(|url| is_http(&url));
        return if usable { Ok(vec![(Scheme::All, given.to_owned())]) } else { Err(NetError::Proxy) };
    }
    let rows = [
        (Scheme::Https, ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]),
        (Scheme::Http, ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]),
    ];
    let found = rows.into_iter().filter_map(|(scheme, names)| {
        let text = first(&variable, &names)?;
        let text = if text.contains("://") { text } else { format!("http://{text}") };
        Url::parse(&text).is_ok_and(|url| is_http(&url)).then_some((scheme, text))
    });
    Ok(found.collect())
}

fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host()
}

fn first(variable: &impl Fn(&str) -> Option<String>, names: &[&str]) -> Option<String> {
    names.iter().filter_map(|name| variable(name)).find(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: Option<&str>, environment: &[(&str, &str)]) -> Result<Vec<(Scheme, String)>, NetError> {
        let variable = |name: &str| {
            let row = environment.iter().find(|(known, _)| *known == name);
            row.map(|(_, value)| (*value).to_owned())
        };
        proxies(given, variable)
    }

    #[test]
    fn the_configured_one_else_the_environments() {
        let environment =
            [("HTTPS_PROXY", "proxy.example:3128"), ("ALL_PROXY", "http://all.example"), ("http_proxy", " ")];
        let expected = vec![
            (Scheme::Https, "http://proxy.example:3128".to_owned()),
            (Scheme::Http, "http://all.example".to_owned()),
        ];
        assert_eq!(of(None, &environment).unwrap(), expected);
        assert_eq!(of(Some(""), &environment).unwrap(), expected, "an empty setting is none");
        let given = of(Some("http://u:p@given.example"), &environment).unwrap();
        assert_eq!(given, [(Scheme::All, "http://u:p@given.example".to_owned())]);
        assert_eq!(of(None, &[("ALL_PROXY", "socks5://x")]).unwrap(), []);
        assert_eq!(of(None, &[]).unwrap(), []);
    }

    #[test]
    fn exempt_hosts_stand_between_commas_or_blanks() {
        let of = |text: &str| exempt_hosts(|name| (name == "no_proxy").then(|| text.to_owned()));
        assert_eq!(of(""), LOOPBACK);
        assert_eq!(
            of(" a.example, 10.0.0.0/8\t.b.example,"),
            format!("{LOOPBACK},a.example,10.0.0.0/8,.b.example")
        );
        assert!(of("a.example *").ends_with(",*"));
    }

    #[test]
    fn a_configured_one_that_cannot_be_used_is_an_error() {
        for given in ["ftp://x", "socks5://x", "proxy", "http://"] {
            assert!(matches!(of(Some(given), &[]), Err(NetError::Proxy)), "{given}");
        }
    }
}
