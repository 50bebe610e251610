//! Why no whole answer came back, in words that never hold a URL, a header or a body.

use std::error::Error;
use std::io::ErrorKind;
use std::time::Duration;

use super::public::PrivateAddress;
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::time::Timestamp;

/// The kinds of fault between us and a vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The deadline had passed before anything was written.
    Late,
    /// The request cannot be written at all: a header with a line break, no URL.
    BadRequest,
    /// The address is private and this client may only reach public ones.
    PrivateAddress,
    /// The name does not resolve.
    Dns,
    /// Nobody listens there.
    ConnectionRefused,
    /// The connection was not made for another reason, the connect deadline included.
    Connect,
    /// The peer's certificate or handshake is not acceptable.
    Tls,
    /// The deadline passed while the call was under way.
    Timeout,
    /// The connection ended before the answer did.
    Reset,
    /// The answer is larger than [`super::BODY_CAP`].
    TooLarge,
    /// The answer is not HTTP, or anything else.
    Other,
}

impl FaultKind {
    /// Reads the chain of an error of the client.
    #[expect(clippy::needless_pass_by_value, reason = "for map_err")]
    pub(super) fn of(error: reqwest::Error) -> Self {
        Self::read(&error)
    }

    /// The kind of an error that another client (octocrab) wraps: the first of ours in its chain.
    /// Without one nothing reached the transport.
    pub fn within(error: &(dyn Error + 'static)) -> Self {
        let mut chain = std::iter::successors(Some(error), |&error| error.source());
        chain.find_map(|error| error.downcast_ref()).map_or(Self::BadRequest, Self::read)
    }

    fn read(error: &reqwest::Error) -> Self {
        let by_cause = causes(error).find_map(cause_kind);
        match by_cause {
            // An alert after the handshake: the request may have been read by then.
            Some(Self::Tls) if !error.is_connect() => Self::Reset,
            Some(kind) => kind,
            None if error.is_builder() => Self::BadRequest,
            None if error.is_dns() => Self::Dns,
            None if error.is_connect() => Self::Connect,
            None if error.is_timeout() => Self::Timeout,
            None => Self::Other,
        }
    }

    fn is_ours(self) -> bool {
        matches!(self, Self::Late | Self::BadRequest | Self::PrivateAddress)
    }

    fn words(self) -> &'static str {
        match self {
            Self::Late => "the deadline had passed before the request was written",
            Self::BadRequest => "the request cannot be written",
            Self::PrivateAddress => {
                "the address is private, loopback or link-local, which is refused for this endpoint"
            }
            Self::Dns => "the name does not resolve",
            Self::ConnectionRefused => "the connection was refused",
            Self::Connect => "no connection could be made",
            Self::Tls => "the TLS handshake failed: its certificate is not trusted or not acceptable",
            Self::Timeout => "no whole answer came before the deadline",
            Self::Reset => "the connection ended before the answer did",
            Self::TooLarge => "answer larger than 1 MiB",
            Self::Other => "the answer is not HTTP",
        }
    }
}

/// The links of an error chain. `io::Error` hides its own inner error from `source`, so it is opened here.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

/// True when the peer of another client (a database's driver) did not prove itself: a certificate that is not believed
/// comes as an error of the socket.
pub fn is_distrust(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(<dyn Error>::is::<rustls::Error>)
}

fn cause_kind(error: &(dyn Error + 'static)) -> Option<FaultKind> {
    if error.is::<PrivateAddress>() {
        return Some(FaultKind::PrivateAddress);
    }
    if error.is::<rustls::Error>() {
        return Some(FaultKind::Tls);
    }
    match error.downcast_ref::<std::io::Error>()?.kind() {
        ErrorKind::ConnectionRefused => Some(FaultKind::ConnectionRefused),
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => Some(FaultKind::Reset),
        _ => None,
    }
}

/// A call that brought no whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What happened.
    pub kind: FaultKind,
    /// Host and port.
    pub host: String,
    /// Time spent.
    pub elapsed: Duration,
    /// Status, when the head of an answer came.
    pub status: Option<u16>,
    /// The vendor's clock, when the head of an answer came.
    pub date: Option<Timestamp>,
}

impl Fault {
    pub(super) fn new(kind: FaultKind, host: String) -> Self {
        Self { kind, host, elapsed: Duration::ZERO, status: None, date: None }
    }

    /// True when something of ours was in the way: nothing went out.
    pub fn is_ours(&self) -> bool {
        self.kind.is_ours()
    }

    /// True when no connection was made: a test may then be tried once more.
    pub fn is_connect(&self) -> bool {
        matches!(self.kind, FaultKind::Dns | FaultKind::ConnectionRefused | FaultKind::Connect)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.is_empty() {
            return f.write_str(self.kind.words());
        }
        write!(f, "{}: {}", self.host, self.kind.words())
    }
}

impl From<Fault> for Failure {
    /// `NotSent` only when something of ours was in the way. A failed connect is `Unclear` as well: behind
    /// a proxy it proves less than it seems, and looking costs little.
    fn from(fault: Fault) -> Self {
        let kind = if fault.is_ours() { FailureKind::NotSent } else { FailureKind::Unclear };
        Self { status: fault.status, date: fault.date, ..Self::new(kind, fault.to_string()) }
    }
}
