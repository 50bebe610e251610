//! One SMTP session, as RFC 5321 and RFC 4954 have it, without TLS.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::mail::Mail;
use super::{Desk, Mishap, Stage};

/// What a session has come to.
struct Session<'a> {
    stream: BufReader<TcpStream>,
    desk: &'a Desk,
    greeted: bool,
    user: Option<String>,
    from: Option<String>,
    to: Vec<String>,
}

/// Whether the session goes on after a command.
enum Next {
    Go,
    Quit,
}

pub(super) async fn serve(stream: TcpStream, desk: &Desk) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = BufReader::new(stream);
    let mut session = Session { stream, desk, greeted: false, user: None, from: None, to: Vec::new() };
    if session.struck(Stage::Greeting).await? {
        return Ok(());
    }
    session.say("220 simulated.invalid ESMTP").await?;
    while let Some(line) = session.line().await? {
        if let Next::Quit = session.obey(&String::from_utf8_lossy(&line)).await? {
            break;
        }
    }
    Ok(())
}

impl Session<'_> {
    async fn obey(&mut self, line: &str) -> io::Result<Next> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => self.greet(true).await?,
            "HELO" => self.greet(false).await?,
            "AUTH" => self.log_in(rest).await?,
            "MAIL" => self.mail(rest).await?,
            "RCPT" => self.rcpt(rest).await?,
            "DATA" => return self.data().await,
            "RSET" => {
                self.forget();
                self.say("250 2.0.0 Ok").await?;
            }
            "NOOP" => self.say("250 2.0.0 Ok").await?,
            "QUIT" => {
                self.say("221 2.0.0 Bye").await?;
                return Ok(Next::Quit);
            }
            _ => self.say("502 5.5.2 Command not recognised").await?,
        }
        Ok(Next::Go)
    }

    async fn greet(&mut self, extended: bool) -> io::Result<()> {
        self.forget();
        self.greeted = true;
        if !extended {
            return self.say("250 simulated.invalid").await;
        }
        let auth = if self.desk.rules().login.is_some() { "250-AUTH PLAIN LOGIN\r\n" } else { "" };
        let text =
            format!("250-simulated.invalid\r\n{auth}250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 10485760");
        self.say(&text).await
    }

    async fn log_in(&mut self, how: &str) -> io::Result<()> {
        let Some(wanted) = self.desk.rules().login.clone() else {
            return self.say("502 5.5.1 AUTH not offered").await;
        };
        let (mechanism, first) = how.split_once(' ').unwrap_or((how, ""));
        let given = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => self.plain_credentials(first).await?,
            "LOGIN" => self.login_credentials(first).await?,
            _ => return self.say("504 5.5.4 Mechanism not offered").await,
        };
        if given.as_ref() == Some(&wanted) {
            self.user = Some(wanted.0);
            self.say("235 2.7.0 Authentication successful").await
        } else {
            self.say("535 5.7.8 Authentication credentials invalid").await
        }
    }

    /// `authorisation NUL user NUL password`, at once or when asked.
    async fn plain_credentials(&mut self, first: &str) -> io::Result<Option<(String, String)>> {
        let text = if first.is_empty() { self.ask("").await? } else { decoded(first) };
        let mut parts = text.split('\0').skip(1).map(str::to_owned);
        Ok(parts.next().zip(parts.next()))
    }

    async fn login_credentials(&mut self, first: &str) -> io::Result<Option<(String, String)>> {
        let user = if first.is_empty() { self.ask("VXNlcm5hbWU6").await? } else { decoded(first) };
        Ok(Some((user, self.ask("UGFzc3dvcmQ6").await?)))
    }

    async fn ask(&mut self, prompt: &str) -> io::Result<String> {
        self.say(&format!("334 {prompt}")).await?;
        Ok(decoded(&String::from_utf8_lossy(&self.line().await?.unwrap_or_default())))
    }

    async fn mail(&mut self, rest: &str) -> io::Result<()> {
        let Some(address) = address(rest, "FROM:") else {
            return self.say("501 5.5.4 Syntax: MAIL FROM:<address>").await;
        };
        if !self.greeted || self.from.is_some() {
            return self.say("503 5.5.1 Bad sequence of commands").await;
        }
        if self.desk.rules().login.is_some() && self.user.is_none() {
            return self.say("530 5.7.0 Authentication required").await;
        }
        self.from = Some(address);
        self.say("250 2.1.0 Ok").await
    }

    async fn rcpt(&mut self, rest: &str) -> io::Result<()> {
        let Some(address) = address(rest, "TO:").filter(|address| address.contains('@')) else {
            return self.say("501 5.5.4 Syntax: RCPT TO:<address>").await;
        };
        if self.from.is_none() {
            return self.say("503 5.5.1 Bad sequence of commands").await;
        }
        if self.struck(Stage::Recipient).await? {
            return Ok(());
        }
        self.to.push(address);
        self.say("250 2.1.5 Ok").await
    }

    async fn data(&mut self) -> io::Result<Next> {
        if self.to.is_empty() {
            self.say("503 5.5.1 Bad sequence of commands").await?;
            return Ok(Next::Go);
        }
        if self.struck(Stage::Data).await? {
            return Ok(Next::Go);
        }
        self.say("354 End data with <CR><LF>.<CR><LF>").await?;
        let raw = self.message().await?;
        let mishap = self.desk.mishap_at(Stage::Message);
        if let Some(mishap @ (Mishap::Refuse(..) | Mishap::Hang(_))) = mishap {
            self.suffer(mishap).await?;
            self.forget();
            return Ok(Next::Go);
        }
        let lost = mishap.is_some();
        let (from, to) = (self.from.take().unwrap_or_default(), std::mem::take(&mut self.to));
        let mail = Mail { from, to, raw, acknowledged: !lost, user: self.user.clone() };
        self.desk.mails.send_modify(|mails| mails.push(mail));
        if lost {
            return Ok(Next::Quit);
        }
        self.say("250 2.0.0 Ok: queued").await?;
        Ok(Next::Go)
    }

    /// All lines up to the lone dot, with doubled dots halved.
    async fn message(&mut self) -> io::Result<String> {
        let mut raw = Vec::new();
        loop {
            let line = self.line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if line == b"." {
                return Ok(String::from_utf8_lossy(&raw).into_owned());
            }
            raw.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            raw.extend_from_slice(b"\r\n");
        }
    }

    fn forget(&mut self) {
        self.from = None;
        self.to.clear();
    }

    /// Whether a mishap has taken this stage's answer.
    async fn struck(&mut self, stage: Stage) -> io::Result<bool> {
        match self.desk.mishap_at(stage) {
            Some(mishap) => self.suffer(mishap).await.map(|()| true),
            None => Ok(false),
        }
    }

    async fn suffer(&mut self, mishap: Mishap) -> io::Result<()> {
        match mishap {
            Mishap::Refuse(_, code) => self.say(&format!("{code} Simulated refusal")).await,
            // Until the client hangs up, whatever it says.
            Mishap::Hang(_) => {
                while self.line().await?.is_some() {}
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Mishap::LoseAnswer => Ok(()),
        }
    }

    async fn say(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(format!("{text}\r\n").as_bytes()).await?;
        self.stream.flush().await
    }

    /// A line without its end; `None` when the client has hung up.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await?;
        Ok(line.strip_suffix(b"\r\n").map(<[u8]>::to_vec))
    }
}

/// The address in `FROM:<a@b> SIZE=…`.
fn address(rest: &str, keyword: &str) -> Option<String> {
    let tail = rest.get(keyword.len()..).filter(|_| rest[..keyword.len()].eq_ignore_ascii_case(keyword))?;
    let (address, _) = tail.trim_start().strip_prefix('<')?.split_once('>')?;
    Some(address.to_owned())
}

fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&STANDARD.decode(text.trim()).unwrap_or_default()).into_owned()
}
