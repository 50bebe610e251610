//! A mailbox behind a small plain-text SMTP server that can be down, refuse, hang, or lose its last answer.
//!
//! ```text
//! connect ─► greeting ─► EHLO ─► (AUTH) ─► MAIL ─► RCPT … ─► DATA ─► message ─► 250 ─► MAIL … or QUIT
//!            Greeting                              Recipient   Data     Message: stages where a mishap strikes
//! ```
//!
//! A message counts as delivered when its last line has been read, whether or not the client hears of it:
//! [`Mail::acknowledged`] tells the two apart. `session` speaks the protocol, `mail` reads what came.

mod mail;
mod session;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::mail::Mail;

/// Where in a session a mishap strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Instead of the greeting.
    Greeting,
    /// At `RCPT`.
    Recipient,
    /// At `DATA`, before the message.
    Data,
    /// After the message's last line: it is not delivered.
    Message,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// This code, 4xx or 5xx.
    Refuse(Stage, u16),
    /// Never an answer again.
    Hang(Stage),
    /// The message is delivered, but the connection ends before the client hears of it.
    LoseAnswer,
}

/// A running mail server and what it has received. Clones are the same one.
#[derive(Clone)]
pub struct Mailbox {
    inner: Arc<Inner>,
}

struct Inner {
    address: SocketAddr,
    /// Bound and never listening: the port stays ours while the server is down.
    _reservation: TcpSocket,
    runtime: Handle,
    listening: Mutex<Option<DropGuard>>,
    desk: Arc<Desk>,
}

/// What the sessions share.
struct Desk {
    mails: watch::Sender<Vec<Mail>>,
    rules: Mutex<Rules>,
}

#[derive(Default)]
struct Rules {
    next: VecDeque<Mishap>,
    always: Option<Mishap>,
    login: Option<(String, String)>,
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("address", &self.inner.address).finish_non_exhaustive()
    }
}

impl Mailbox {
    /// Starts one on a free loopback port.
    #[expect(clippy::unused_async, reason = "like the other simulators, it starts inside a runtime")]
    pub async fn start() -> Self {
        let reservation = socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let address = reservation.local_addr().expect("a bound socket has an address");
        let desk = Arc::new(Desk { mails: watch::Sender::new(Vec::new()), rules: Mutex::default() });
        let (runtime, listening) = (Handle::current(), Mutex::new(None));
        let inner = Inner { address, _reservation: reservation, runtime, listening, desk };
        let mailbox = Self { inner: Arc::new(inner) };
        mailbox.set_down(false);
        mailbox
    }

    /// `127.0.0.1` and the port, the same for its whole life.
    pub fn address(&self) -> SocketAddr {
        self.inner.address
    }

    /// `smtp://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("smtp://{}", self.inner.address)
    }

    /// Takes the server down (connections are refused, sessions end) or up again.
    pub fn set_down(&self, down: bool) {
        let mut listening = self.inner.listening.lock().unwrap_or_else(PoisonError::into_inner);
        if down {
            *listening = None;
        } else if listening.is_none() {
            let _runtime = self.inner.runtime.enter();
            let listener =
                socket(self.inner.address).listen(64).expect("the reserved port is ours to listen on");
            let stop = CancellationToken::new();
            self.inner.runtime.spawn(accept(listener, Arc::clone(&self.inner.desk), stop.clone()));
            *listening = Some(stop.drop_guard());
        }
    }

    /// Stops serving; the mails stay.
    pub fn stop(&self) {
        self.set_down(true);
    }

    /// From now on, only this user may send.
    pub fn require_login(&self, user: &str, password: &str) {
        self.inner.desk.rules().login = Some((user.to_owned(), password.to_owned()));
    }

    /// The next session that comes to the stage meets this; several wait in line.
    pub fn fail_next(&self, mishap: Mishap) {
        self.inner.desk.rules().next.push_back(mishap);
    }

    /// Every session meets this, until [`heal`](Self::heal).
    pub fn fail_always(&self, mishap: Mishap) {
        self.inner.desk.rules().always = Some(mishap);
    }

    /// Forgets all mishaps.
    pub fn heal(&self) {
        let mut rules = self.inner.desk.rules();
        rules.next.clear();
        rules.always = None;
    }

    /// Everything delivered, in order.
    pub fn mails(&self) -> Vec<Mail> {
        self.inner.desk.mails.borrow().clone()
    }

    /// Waits until `enough` holds of the mails.
    pub async fn wait_until(&self, mut enough: impl FnMut(&[Mail]) -> bool) {
        let mut mails = self.inner.desk.mails.subscribe();
        mails.wait_for(|mails| enough(mails)).await.expect("the mailbox lives as long as its handle");
    }
}

impl Desk {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the mishap that waits for this stage, if any.
    fn mishap_at(&self, stage: Stage) -> Option<Mishap> {
        let here = |mishap: &Mishap| match mishap {
            Mishap::Refuse(at, _) | Mishap::Hang(at) => *at == stage,
            Mishap::LoseAnswer => stage == Stage::Message,
        };
        let mut rules = self.rules();
        if rules.next.front().is_some_and(here) {
            return rules.next.pop_front();
        }
        rules.always.filter(|mishap| here(mishap))
    }
}

/// A socket bound to `address`, which may be bound but not listened on twice.
fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("there are sockets");
    socket.set_reuseport(true).expect("loopback ports can be shared");
    socket.bind(address).expect("loopback has this port");
    socket
}

async fn accept(listener: TcpListener, desk: Arc<Desk>, stop: CancellationToken) {
    let accepting = async {
        loop {
            // An accept fails when the client is gone again, or for want of descriptors: both pass.
            let Ok((stream, _)) = listener.accept().await else { continue };
            let (desk, stop) = (Arc::clone(&desk), stop.clone());
            tokio::spawn(async move {
                // A session that breaks is the client's news, not ours.
                let _ = stop.run_until_cancelled(session::serve(stream, &desk)).await;
            });
        }
    };
    stop.run_until_cancelled(accepting).await;
}
