//! The one HTTP client: deadlines, no redirects with credentials, a body cap, `Retry-After`, the vendor's
//! clock. It never retries: whether a call may be repeated is the engine's decision (R3).
//!
//! Map: this file holds [`Http`] and [`Deadline`]; [`Answer`] is what came back whole; [`Fault`] is why
//! nothing did, and what that proves; `proxy` says which calls go through one; `public` keeps endpoints given
//! through the API away from private addresses; `testing` is a server of hand-made bytes for the unit tests
//! of this room and its neighbours.
//!
//! What the transport could repeat behind our back, and why it does not: `reqwest` repeats requests that an
//! HTTP/2 peer refused, so its retry policy is *never*; `hyper-util` moves a request from an idle connection
//! that turned out to be closed to a fresh one, but only when not one byte of it was written, and idle
//! connections live for two seconds only, so that a create hardly ever meets one.

mod answer;
mod fault;
mod proxy;
mod public;
#[cfg(test)]
pub(crate) mod testing;

use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, Method};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, RequestBuilder};
use tokio::time::Instant;
use url::Url;

pub use answer::{Answer, BODY_CAP, sentence};
pub use fault::{Fault, FaultKind, is_distrust};

use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::secret::Secret;

/// Time for a name look-up, a TCP connection and a TLS handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections are kept only long enough for the pages of one listing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// The instant by which a call must be over. A request is not written after it (R4).
#[derive(Debug, Clone, Copy)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// `span` from now, on the monotonic clock.
    #[expect(clippy::disallowed_methods, reason = "this room owns the monotonic clock of calls")]
    pub fn after(span: Duration) -> Self {
        Self(Instant::now() + span)
    }

    /// True from the deadline on.
    #[expect(clippy::disallowed_methods, reason = "this room owns the monotonic clock of calls")]
    pub fn passed(self) -> bool {
        Instant::now() >= self.0
    }

    /// What is left until then; zero from the deadline on.
    #[expect(clippy::disallowed_methods, reason = "this room owns the monotonic clock of calls")]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// The earlier of this deadline and `span` from now.
    #[must_use]
    pub fn at_most(self, span: Duration) -> Self {
        Self(self.0.min(Self::after(span).0))
    }

    /// Runs `call` until the deadline; `None` when it was not over by then. The clock is read before every
    /// step of the call, so that a process that was stopped (SIGSTOP) and goes on writes nothing late.
    pub async fn bound<T>(self, call: impl Future<Output = T>) -> Option<T> {
        let mut call = pin!(call);
        let guarded =
            poll_fn(
                |context| {
                    if self.passed() { Poll::Ready(None) } else { call.as_mut().poll(context).map(Some) }
                },
            );
        tokio::time::timeout_at(self.0, guarded).await.ok().flatten()
    }
}

/// What the client is built from.
#[derive(Debug, Clone, Default)]
pub struct HttpOptions {
    /// PEM file with certificate authorities to trust besides the platform's (`SSL_CERT_FILE` is honoured).
    pub ca_file: Option<PathBuf>,
    /// Proxy for every call; without one, `HTTPS_PROXY` and its siblings. `NO_PROXY` is honoured by both, and
    /// loopback is never proxied.
    pub proxy: Option<String>,
    /// `User-Agent` of every call; empty for rekeyd's own.
    pub user_agent: String,
}

/// Why no client can be built. Never repeats a proxy URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The extra authorities cannot be read.
    #[error("cannot read the certificate authorities in {path}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file holds no usable certificate.
    #[error("{path} holds no usable PEM certificate")]
    CaContent {
        /// The file.
        path: PathBuf,
    },
    /// The proxy is not a URL that can be used.
    #[error("the proxy is not an http:// or https:// URL")]
    Proxy,
    /// The user agent is not a header value.
    #[error("the user agent holds characters that no header may hold")]
    UserAgent,
    /// The TLS library refuses.
    #[error("cannot set up TLS")]
    Tls(#[source] reqwest::Error),
}

/// The one HTTP client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Http {
    client: Client,
    public_only: bool,
}

impl Http {
    /// The client for endpoints that the operator configured.
    pub fn new(options: &HttpOptions) -> Result<Self, NetError> {
        let client = build(options, |builder| proxy::with_proxies(builder, options.proxy.as_deref()))?;
        Ok(Self { client, public_only: false })
    }

    /// The client for endpoints that came through the API: no proxy, and private, loopback, link-local and
    /// other special addresses are refused, whether a name resolves to them or the URL spells them out.
    pub fn public_only(options: &HttpOptions) -> Result<Self, NetError> {
        let resolver = Arc::new(public::PublicResolver);
        let client = build(options, |builder| Ok(builder.no_proxy().dns_resolver(resolver.clone())))?;
        Ok(Self { client, public_only: true })
    }

    /// False for a URL that spells out an address, or a name of this machine, that this client refuses to reach.
    pub fn may_reach(&self, url: &Url) -> bool {
        !self.public_only || public::literal_allowed(url) && !public::is_this_machine(url)
    }

    /// The client underneath, for octocrab. Calls made with it bypass the deadline, the body cap and the
    /// check of literal addresses.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Starts a request for [`Http::send`].
    pub fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// Sends one request, once, and reads the answer whole, all within the deadline. Any status is an
    /// answer; what it proves is the adapter's business.
    pub async fn send(&self, request: RequestBuilder, deadline: Deadline) -> Result<Answer, Failure> {
        self.exchange(request, deadline).await.map_err(Failure::from)
    }

    /// [`Http::send`], for callers that must tell the kinds of fault apart.
    pub async fn exchange(&self, request: RequestBuilder, deadline: Deadline) -> Result<Answer, Fault> {
        let request = request.build().map_err(|_| Fault::new(FaultKind::BadRequest, String::new()))?;
        let host = host_of(request.url());
        if self.public_only && !public::literal_allowed(request.url()) {
            return Err(Fault::new(FaultKind::PrivateAddress, host));
        }
        if deadline.passed() {
            return Err(Fault::new(FaultKind::Late, host));
        }
        let started = Deadline::after(Duration::ZERO).0;
        let mut head = None;
        let whole = async {
            let mut response = self.client.execute(request).await.map_err(FaultKind::of)?;
            head = Some(answer::Head::of(&response));
            answer::read_body(&mut response).await
        };
        let body = deadline.bound(whole).await.unwrap_or(Err(FaultKind::Timeout));
        let elapsed = started.elapsed();
        match (head, body) {
            (Some(head), Ok(body)) => Ok(Answer::new(head, host, body, elapsed)),
            (head, Err(kind)) => {
                let fault = Fault { elapsed, ..Fault::new(kind, host) };
                Err(match head {
                    Some(head) => head.before(fault),
                    None => fault,
                })
            }
            (None, Ok(_)) => Err(Fault::new(FaultKind::Other, host)),
        }
    }
}

/// Status, headers and body of an answer to another client, or why there is none.
pub type Carried = Result<(u16, http::HeaderMap, zeroize::Zeroizing<Vec<u8>>), FaultKind>;

/// Runs a call that another client makes over [`Http::client`] (octocrab), within the deadline. Reading no
/// more than [`BODY_CAP`] is up to that client.
pub async fn carry(
    host: &str,
    call: impl Future<Output = Carried>,
    deadline: Deadline,
) -> Result<Answer, Failure> {
    if deadline.passed() {
        return Err(Fault::new(FaultKind::Late, host.to_owned()).into());
    }
    let started = Deadline::after(Duration::ZERO).0;
    let carried = deadline.bound(call).await.unwrap_or(Err(FaultKind::Timeout));
    let elapsed = started.elapsed();
    let (status, headers, body) = carried.map_err(|kind| Fault::new(kind, host.to_owned()))?;
    Ok(Answer::new(answer::Head::new(status, headers), host.to_owned(), body, elapsed))
}

/// A secret as a header value that no log prints; `NotSent` when it holds characters that no header may hold.
pub fn secret_header(prefix: &str, secret: &Secret) -> Result<HeaderValue, Failure> {
    let text = zeroize::Zeroizing::new(format!("{prefix}{}", secret.expose()));
    let mut value = HeaderValue::from_str(&text).map_err(|_| {
        Failure::new(FailureKind::NotSent, "the credential holds characters that no header may hold")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Host and, where it is not the scheme's own, port: all that people see of a URL.
fn host_of(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => "no host".to_owned(),
    }
}

/// Builds the client with the platform's authorities and the extra ones. A system without any authority
/// (a bare container) still gets a client, for plain HTTP: its TLS calls all fail as untrusted.
fn build(
    options: &HttpOptions,
    route: impl Fn(ClientBuilder) -> Result<ClientBuilder, NetError>,
) -> Result<Client, NetError> {
    let extra = extra_authorities(options)?;
    let trusting_platform = route(base(options)?)?.tls_certs_merge(extra.clone()).build();
    match trusting_platform {
        Err(_) if extra.is_empty() => {
            let client = route(base(options)?)?.tls_certs_only([]).build().map_err(NetError::Tls)?;
            tracing::warn!("this system has no certificate authorities: no TLS call can succeed");
            Ok(client)
        }
        client => client.map_err(NetError::Tls),
    }
}

/// What every client has in common.
#[expect(clippy::disallowed_methods, reason = "this is the one HTTP client")]
fn base(options: &HttpOptions) -> Result<ClientBuilder, NetError> {
    let agent = match options.user_agent.as_str() {
        "" => concat!("rekeyd/", env!("CARGO_PKG_VERSION")),
        given => given,
    };
    Ok(Client::builder()
        .user_agent(HeaderValue::from_str(agent).map_err(|_| NetError::UserAgent)?)
        .redirect(Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tls_backend_rustls())
}

fn extra_authorities(options: &HttpOptions) -> Result<Vec<reqwest::Certificate>, NetError> {
    let Some(path) = options.ca_file.clone() else { return Ok(Vec::new()) };
    let pem = std::fs::read(&path).map_err(|source| NetError::CaFile { path: path.clone(), source })?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(NetError::CaContent { path }),
    }
}

#[cfg(test)]
mod tests;
