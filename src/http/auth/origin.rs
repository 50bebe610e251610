//! From which address a request really comes.

use axum::extract::ConnectInfo;
use axum::http::request::Parts;

use crate::domain::access::{Access, true_address};
use crate::http::peer::Peer;

/// The true address of who calls: the peer, or whom a trusted proxy names. `unix` for the socket file.
pub(in crate::http) fn origin(access: &Access, parts: &Parts) -> Option<String> {
    match parts.extensions.get::<ConnectInfo<Peer>>()?.0 {
        Peer::Unix => Some("unix".to_owned()),
        Peer::Tcp(peer) => {
            let lines = parts.headers.get_all("x-forwarded-for").iter();
            // A line that is no text says nothing, and ends the chain there.
            let lines: Vec<&str> = lines.map(|line| line.to_str().unwrap_or_default()).collect();
            Some(true_address(peer.ip(), lines.into_iter(), &access.trusted_proxies).to_string())
        }
    }
}
