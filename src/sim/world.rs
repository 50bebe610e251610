//! The server that all HTTP simulators share: connections, the journal of requests, the fate of a call.
//!
//! ```text
//! accept ─► read a call ─► label, number (one row per script) ─► journal
//!        ─► mishaps before ─► Vendor::answer: the effect, one atomic step ─► journal: applied
//!        ─► mishaps after  ─► journal: status ─► write
//! ```
//!
//! A vendor is a `Vendor`: it names calls, answers them under its own lock, and knows its error shape. It
//! never sees a socket, and never waits.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, io};

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::clock::{self, Clock};
use super::fault::{Act, Plan, Script};
use super::hold::Verdict;
use super::wire::{Answer, Call, Client};

/// One vendor's protocol, without the sockets.
pub(crate) trait Vendor: Send + Sync + 'static {
    /// The stable name of this kind of call.
    fn label(&self, call: &Call) -> &'static str;

    /// Performs the call and says what to answer.
    fn answer(&self, call: &Call) -> Answer;

    /// The body of an error with this status, for answers that a fault rule makes.
    fn error_body(&self, status: u16) -> Value;
}

/// One request as the simulator saw it. The credential is not kept.
#[derive(Debug, Clone)]
pub struct RequestLog {
    /// Its place in the row of all requests of the script, from 1.
    pub number: u64,
    /// HTTP method.
    pub method: String,
    /// Path and query as sent.
    pub path: String,
    /// What kind of call it is; the table is in the vendor's header.
    pub label: &'static str,
    /// The status that was sent; `None` while it is open, and for ever when the client got no answer.
    pub status: Option<u16>,
    /// Whether its fate is settled: answered, cut, reset, or given up by the client.
    pub settled: bool,
    /// Whether the vendor performed it: it was neither refused nor stopped before its effect.
    pub applied: bool,
}

/// A running simulator. Stops when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
    inner: Arc<Inner>,
}

struct Inner {
    vendor: Arc<dyn Vendor>,
    clock: Arc<Clock>,
    faults: Script,
    journal: watch::Sender<Vec<RequestLog>>,
    /// Held from numbering a request to writing it down, so that the journal is in the order of numbers.
    arrivals: Mutex<()>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Listens on a free loopback port and serves `vendor` until the last handle is dropped.
    pub(crate) async fn start(vendor: Arc<dyn Vendor>, clock: Arc<Clock>, faults: Script) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let stop = CancellationToken::new();
        let journal = watch::Sender::new(Vec::new());
        let inner = Arc::new(Inner { vendor, clock, faults, journal, arrivals: Mutex::new(()) });
        tokio::spawn(listen(listener, Arc::clone(&inner), stop.clone()));
        Self { address, _stop_on_drop: stop.clone().drop_guard(), stop, inner }
    }

    /// `127.0.0.1` and the port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening and drops every connection.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// The script of mishaps.
    pub(crate) fn faults(&self) -> &Script {
        &self.inner.faults
    }

    /// Everything that was asked so far, in order of arrival.
    pub(crate) fn requests(&self) -> Vec<RequestLog> {
        self.inner.journal.borrow().clone()
    }

    /// Waits until `enough` holds of the journal.
    pub(crate) async fn wait_until(&self, mut enough: impl FnMut(&[RequestLog]) -> bool) {
        let mut journal = self.inner.journal.subscribe();
        journal.wait_for(|log| enough(log)).await.expect("the journal lives as long as the server");
    }

    /// Shifts the simulator's clock against real time.
    pub(crate) fn set_clock_offset(&self, seconds: i64) {
        self.inner.clock.set_offset(seconds);
    }
}

async fn listen(listener: TcpListener, inner: Arc<Inner>, stop: CancellationToken) {
    let accepting = async {
        loop {
            // An accept fails when the client is gone again, or for want of descriptors: both pass.
            let Ok((stream, _)) = listener.accept().await else { continue };
            let (inner, stop) = (Arc::clone(&inner), stop.clone());
            tokio::spawn(async move {
                // A connection that breaks is the client's news, not ours.
                let _ = stop.run_until_cancelled(inner.converse(stream)).await;
            });
        }
    };
    stop.run_until_cancelled(accepting).await;
}

/// How a call ends.
enum Fate {
    /// This answer is written.
    Answered(Answer),
    /// This answer is written up to so many bytes of its body, then the connection ends.
    Cut(Answer, usize),
    /// The connection is reset.
    Reset,
}

impl Inner {
    async fn converse(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut client = Client::new(stream);
        while let Some(call) = client.read_call().await? {
            let date = || self.clock.http_date();
            match self.handle(&call, &mut client).await {
                Fate::Answered(answer) => client.write(&answer, &date(), None).await?,
                Fate::Cut(answer, bytes) => return client.write(&answer, &date(), Some(bytes)).await,
                Fate::Reset => {
                    client.reset();
                    return Ok(());
                }
            }
            if !call.keep_alive {
                break;
            }
        }
        Ok(())
    }

    /// Takes one call through its mishaps and its effect.
    async fn handle(&self, call: &Call, client: &mut Client) -> Fate {
        let (number, plan) = self.arrival(call);
        let fate = match self.suffer(plan.before, None, call, client).await {
            Some(fate) => fate,
            None => self.perform(number, plan.after, call, client).await,
        };
        let status = match &fate {
            Fate::Answered(answer) | Fate::Cut(answer, _) => Some(answer.status),
            Fate::Reset => None,
        };
        self.note(number, |entry| (entry.status, entry.settled) = (status, true));
        fate
    }

    /// The effect, and what happens after it.
    async fn perform(&self, number: u64, after: Vec<Act>, call: &Call, client: &mut Client) -> Fate {
        let answer = self.vendor.answer(call);
        self.note(number, |entry| entry.applied = answer.status < 400);
        let fate = self.suffer(after, Some(&answer), call, client).await;
        fate.unwrap_or(Fate::Answered(answer))
    }

    fn arrival(&self, call: &Call) -> (u64, Plan) {
        let _in_order = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let label = self.vendor.label(call);
        let (number, plan) = self.faults.meet(label, call);
        let (method, path) = (call.method.to_string(), call.target.clone());
        let entry = RequestLog { number, method, path, label, status: None, settled: false, applied: false };
        self.journal.send_modify(|log| log.push(entry));
        (number, plan)
    }

    fn note(&self, number: u64, change: impl FnOnce(&mut RequestLog)) {
        self.journal.send_modify(|log| {
            log.iter_mut().rev().find(|entry| entry.number == number).map(change);
        });
    }

    /// Plays the mishaps of one side; `answer` is the vendor's own, on the far side of the effect.
    async fn suffer(
        &self,
        acts: Vec<Act>,
        answer: Option<&Answer>,
        call: &Call,
        client: &mut Client,
    ) -> Option<Fate> {
        for act in acts {
            match act {
                Act::Delay(span) => clock::rest(span).await,
                Act::Hold(gate) => match gate.0.pass(client).await {
                    Verdict::Released => {}
                    Verdict::Abandoned => return Some(Fate::Reset),
                },
                Act::Hang => {
                    client.gone().await;
                    return Some(Fate::Reset);
                }
                Act::Reset => return Some(Fate::Reset),
                Act::Truncate(bytes) => {
                    let whole = answer.cloned().unwrap_or_else(|| self.error(500, &[], None));
                    return Some(Fate::Cut(whole, bytes));
                }
                other => return Some(Fate::Answered(self.mangled(other, call))),
            }
        }
        None
    }

    /// The answer that a mishap makes up.
    fn mangled(&self, act: Act, call: &Call) -> Answer {
        match act {
            Act::Status { code, headers, body } => self.error(code, &headers, body),
            Act::Html(code) => Answer::of(code, "text/html; charset=utf-8", gateway_page(code)),
            Act::ZodError => Answer::json(400, &zod_error()),
            Act::Ok200WithErrorObject => Answer::json(200, &self.vendor.error_body(500)),
            Act::EchoKey(code) => {
                let text = format!("Incorrect API key provided: {}", call.bearer().unwrap_or_default());
                Answer::json(code, &json!({"error": {"code": code, "message": text}}))
            }
            Act::Flood(bytes) => {
                let text = format!("{{\"data\":\"{}\"}}", "x".repeat(bytes.saturating_sub(11)));
                Answer::of(200, "application/json", text)
            }
            Act::Delay(_) | Act::Hold(_) | Act::Hang | Act::Reset | Act::Truncate(_) => {
                unreachable!("acts without an answer of their own are played by `suffer`")
            }
        }
    }

    fn error(&self, code: u16, headers: &[(String, String)], body: Option<Value>) -> Answer {
        let body = body.unwrap_or_else(|| self.vendor.error_body(code));
        let mut answer = Answer::json(code, &body);
        answer.headers.extend_from_slice(headers);
        answer
    }
}

/// What a proxy says that knows nothing of the vendor's error shape.
fn gateway_page(code: u16) -> String {
    format!(
        "<!DOCTYPE html>\n<html><head><title>{code}</title></head>\n<body><center><h1>{code} Bad \
         gateway</h1></center><hr><center>proxy</center></body></html>\n"
    )
}

/// A schema validator's complaint that names no field of ours.
fn zod_error() -> Value {
    let issues = r#"[{"code":"custom","path":[],"message":"Invalid input"}]"#;
    json!({"success": false, "error": {"name": "ZodError", "message": issues}})
}

#[cfg(test)]
mod tests;
