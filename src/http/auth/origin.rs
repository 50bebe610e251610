//! From which address a request really comes.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;

use crate::domain::access::{Access, true_address};
use crate::domain::actor::{Actor, Via};
use crate::http::api::Api;
use crate::http::peer::Peer;
use crate::http::request_id::RequestId;

/// From where a request comes of which nobody says who sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The true address; `unix` for the socket file.
    pub address: Option<String>,
    /// The id of the request.
    pub request_id: String,
}

impl Origin {
    /// As the audit trail names who has no name yet.
    pub fn actor(&self) -> Actor {
        Actor {
            name: "nobody known".to_owned(),
            via: Via::Api,
            address: self.address.clone(),
            request_id: Some(self.request_id.clone()),
        }
    }
}

impl FromRequestParts<Api> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Infallible> {
        let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
        Ok(Self { address: origin(api.engine().access(), parts), request_id })
    }
}

/// Whoever may open the socket file is trusted like a proxy: the last address that it forwards for, else `unix`.
fn behind_the_socket(parts: &Parts) -> String {
    let mut lines = parts.headers.get_all("x-forwarded-for").iter();
    let last = lines
        .next_back()
        .and_then(|line| line.to_str().ok()?.rsplit(',').next()?.trim().parse::<IpAddr>().ok());
    last.map_or_else(|| "unix".to_owned(), |address| address.to_string())
}

/// The true address of who calls: the peer, or whom a trusted proxy names; of the socket file whom its peer names, else `unix`.
pub(in crate::http) fn origin(access: &Access, parts: &Parts) -> Option<String> {
    match parts.extensions.get::<ConnectInfo<Peer>>()?.0 {
        Peer::Unix => Some(behind_the_socket(parts)),
        Peer::Tcp(peer) => {
            let lines = parts.headers.get_all("x-forwarded-for").iter();
            // A line that is no text says nothing, and ends the chain there.
            let lines: Vec<&str> = lines.map(|line| line.to_str().unwrap_or_default()).collect();
            Some(true_address(peer.ip(), lines.into_iter(), &access.trusted_proxies).to_string())
        }
    }
}
