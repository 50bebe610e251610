//! How long a login lasts, and from where a request really comes (interface.md §1, `[server]` and `[auth]`).

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use url::Url;

use super::secret::Secret;
use super::time::{Span, Timestamp, Until};

/// What the configuration says of those who call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Where people reach this program: what is not from there is not believed.
    pub public_url: Url,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// A session that nobody uses for so long is over.
    pub session_idle: Span,
    /// So is one that began so long ago.
    pub session_max: Span,
    /// What `/metrics` wants to be shown; without it everybody may read it.
    pub metrics_token: Option<Secret>,
}

impl Access {
    /// Whether a session is not over yet. One that began in the future is: the clock went back.
    pub fn is_alive(&self, began: Timestamp, seen: Timestamp, now: Timestamp) -> bool {
        let left = |since, span| Until::after(since, span).left(now).is_some();
        left(began, self.session_max) && left(seen, self.session_idle)
    }

    /// Under which path everything lives, without a slash at its end; empty for none.
    pub fn base_path(&self) -> &str {
        self.public_url.path().trim_end_matches('/')
    }

    /// Whether cookies travel over TLS only.
    pub fn is_https(&self) -> bool {
        self.public_url.scheme() == "https"
    }
}

/// Who really calls: the peer, or whom a chain of trusted proxies says. `forwarded` is `X-Forwarded-For`, all of its lines
/// in their order. Each proxy appends whom it saw, so the chain is read from its end, and what stands before the first
/// address that is not trusted may be anybody's invention.
pub fn true_address<'h>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'h str>,
    trusted: &[IpNet],
) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut nearest = peer.to_canonical();
    for entry in forwarded.rev().flat_map(|line| line.rsplit(',')) {
        if !is_trusted(nearest) {
            break;
        }
        let Some(told) = address(entry.trim()) else { break };
        nearest = told;
    }
    nearest
}

/// `192.0.2.1`, `2001:db8::1`, and both with a port, as some proxies write them.
fn address(text: &str) -> Option<IpAddr> {
    let with_port = || text.parse::<SocketAddr>().ok().map(|it| it.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().ok().or_else(with_port).or_else(bracketed).map(|it: IpAddr| it.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, lines: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "::1/128"].map(|text| text.parse().unwrap());
        true_address(peer.parse().unwrap(), lines.iter().copied(), &trusted).to_string()
    }

    #[test]
    fn a_stranger_s_header_is_not_read() {
        assert_eq!(seen("192.0.2.9", &["198.51.100.1"]), "192.0.2.9");
    }

    #[test]
    fn a_trusted_proxy_says_who_calls() {
        assert_eq!(seen("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["198.51.100.1, 10.0.0.2"]), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["198.51.100.1", "10.0.0.2"]), "198.51.100.1");
        assert_eq!(seen("::1", &["[2001:db8::7]:4711"]), "2001:db8::7");
        assert_eq!(seen("::ffff:10.0.0.1", &["::ffff:198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn what_a_client_wrote_itself_into_the_header_is_not_believed() {
        assert_eq!(seen("10.0.0.1", &["127.0.0.1, 198.51.100.1"]), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["10.0.0.9", "198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn a_chain_that_cannot_be_read_ends_at_who_told_it() {
        assert_eq!(seen("10.0.0.1", &["198.51.100.1, nonsense"]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &["10.0.0.3"]), "10.0.0.3");
    }

    #[test]
    fn a_session_ends_by_idleness_by_age_and_by_a_clock_that_went_back() {
        let access = Access {
            public_url: Url::parse("https://ops.example.com/rekeyd").unwrap(),
            trusted_proxies: Vec::new(),
            session_idle: Span::hours(1),
            session_max: Span::hours(3),
            metrics_token: None,
        };
        let hours = |n: i64| Timestamp(0).plus(Span::hours(n));
        assert!(access.is_https());
        assert!(access.is_alive(hours(0), hours(2), hours(2)));
        assert!(!access.is_alive(hours(0), hours(1), hours(2)), "idle");
        assert!(!access.is_alive(hours(0), hours(3), hours(3)), "old");
        assert!(!access.is_alive(hours(5), hours(5), hours(2)), "from the future");
    }
}
