//! The talk in the clear before STARTTLS (RFC 3207), by ourselves: a greeting, `EHLO`, `STARTTLS`, and not a byte more.
//!
//! Whatever a server, or somebody in between, sends along with its `220` would be read after the handshake as answers of
//! the protected session: a mail could count as taken that nobody took. So what is not read by then is a reason to hang
//! up. The mail library gets the TLS stream; it waits for a greeting, which a server does not repeat there, and gets ours.

use std::io::{self, Cursor};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use lettre::transport::smtp::client::AsyncTokioStream;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connection::Trouble;

/// RFC 5321, 4.5.3.1.5: a line of an answer has 512 bytes; servers exceed that, none by this much.
const LINE_CAP: u64 = 8 * 1024;
/// No answer has more lines.
const LINES_CAP: usize = 128;
/// RFC 5321, 4.2: the greeting that the mail library waits for.
const GREETING: &[u8] = b"220 protected\r\n";

/// A stream whose handshake is over and whose server has a certificate for `host`.
pub(super) async fn open(
    stream: TcpStream,
    host: &str,
    hello: &str,
    config: Arc<ClientConfig>,
) -> Result<Protected, Trouble> {
    let mut talk = BufReader::new(stream);
    expect(&mut talk, 220).await?.map_err(|answer| Trouble::Greeting(answer.line()))?;
    let offers = ask(&mut talk, &format!("EHLO {hello}"), 250)
        .await?
        .map_err(|answer| Trouble::Hello(answer.line()))?;
    if !offers.lines.iter().skip(1).any(|line| line.trim().eq_ignore_ascii_case("STARTTLS")) {
        return Err(Trouble::NoStarttls);
    }
    ask(&mut talk, "STARTTLS", 220).await?.map_err(|answer| Trouble::Starttls(answer.line()))?;
    if !talk.buffer().is_empty() {
        return Err(Trouble::Injected);
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Trouble::Name)?;
    let tls = TlsConnector::from(config).connect(name, talk.into_inner()).await.map_err(Trouble::Tls)?;
    Ok(Protected { greeting: Cursor::new(GREETING), tls })
}

/// An answer of the server, without its code.
struct Answer {
    code: u16,
    lines: Vec<String>,
}

impl Answer {
    fn line(&self) -> String {
        format!("{} {}", self.code, self.lines.join(" "))
    }
}

async fn ask(
    talk: &mut BufReader<TcpStream>,
    command: &str,
    code: u16,
) -> Result<Result<Answer, Answer>, Trouble> {
    talk.write_all(format!("{command}\r\n").as_bytes()).await.map_err(Trouble::Io)?;
    expect(talk, code).await
}

/// The whole answer: `250-first`, `250-…`, `250 last`. The inner error is another code than the expected one.
async fn expect(talk: &mut BufReader<TcpStream>, code: u16) -> Result<Result<Answer, Answer>, Trouble> {
    let mut lines = Vec::new();
    while lines.len() < LINES_CAP {
        let mut line = Vec::new();
        talk.take(LINE_CAP).read_until(b'\n', &mut line).await.map_err(Trouble::Io)?;
        let text = String::from_utf8_lossy(&line);
        let Some(text) = text.strip_suffix('\n').map(|line| line.trim_end_matches('\r')) else {
            return Err(if line.is_empty() {
                Trouble::Io(io::ErrorKind::UnexpectedEof.into())
            } else {
                Trouble::NotSmtp
            });
        };
        let said = text.get(..3).and_then(|digits| digits.parse::<u16>().ok()).ok_or(Trouble::NotSmtp)?;
        lines.push(text.get(4..).unwrap_or_default().to_owned());
        match text.as_bytes().get(3) {
            Some(b'-') => {}
            None | Some(b' ') => {
                let answer = Answer { code: said, lines };
                return Ok(if said == code { Ok(answer) } else { Err(answer) });
            }
            Some(_) => return Err(Trouble::NotSmtp),
        }
    }
    Err(Trouble::NotSmtp)
}

/// The protected stream, with a greeting in front.
#[derive(Debug)]
pub(super) struct Protected {
    greeting: Cursor<&'static [u8]>,
    tls: TlsStream<TcpStream>,
}

impl AsyncTokioStream for Protected {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tls.get_ref().0.peer_addr()
    }
}

impl AsyncRead for Protected {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.greeting).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() == before => Pin::new(&mut self.tls).poll_read(cx, buf),
            greeted => greeted,
        }
    }
}

impl AsyncWrite for Protected {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
