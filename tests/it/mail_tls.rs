//! Mail over TLS: a real handshake, in front of the simulated mail server, with an authority of our own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rekeyd::domain::secret::Secret;
use rekeyd::domain::time::Timestamp;
use rekeyd::net::Deadline;
use rekeyd::notify::smtp::{Protection, Smtp, SmtpSpec};
use rekeyd::notify::{Letter, Mail, Mailer, Obstacle, Undelivered};
use rekeyd::sim::smtp::Mailbox;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

const ANSWERS: [&str; 2] = ["250-localhost\r\n250-PIPELINING\r\n250 STARTTLS\r\n", "220 go ahead\r\n"];
const PASSWORD: &str = "false-mail-password";

/// A mail server with TLS: the simulator, behind a door that speaks it.
struct Door {
    mailbox: Mailbox,
    port: u16,
    ca_file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Door {
    /// `named`: the host that its certificate is for.
    async fn open(protection: Protection, named: &str) -> Self {
        Self::with_answers(protection, named, &ANSWERS).await
    }

    /// One that answers to `EHLO` and to `STARTTLS` like this.
    async fn with_answers(protection: Protection, named: &str, answers: &'static [&'static str; 2]) -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, authority.self_signed(&authority_key).unwrap().pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![named.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.into()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mailbox = Mailbox::start().await;
        mailbox.require_login("mailer", PASSWORD);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let inside = mailbox.address();
        tokio::spawn(async move {
            while let Ok((outside, _)) = listener.accept().await {
                let inside = TcpStream::connect(inside).await.unwrap();
                tokio::spawn(serve(acceptor.clone(), outside, inside, protection, answers));
            }
        });
        Self { mailbox, port, ca_file, _folder: folder }
    }

    async fn send(
        &self,
        protection: Protection,
        ca_file: Option<PathBuf>,
        password: &str,
    ) -> Result<String, Undelivered> {
        let spec = SmtpSpec {
            host: "localhost".to_owned(),
            port: self.port,
            protection,
            login: Some(("mailer".to_owned(), Secret::new(password.to_owned()))),
            from: "rekeyd <rekeyd@example.com>".to_owned(),
            ca_file,
            hello: None,
        };
        let text = "It happened.".to_owned();
        let mail = Mail {
            message_id: "one@example.com".to_owned(),
            in_reply_to: None,
            references: Vec::new(),
            to: vec!["ops@example.com".to_owned()],
            at: Timestamp(1_800_000_000_000),
            letter: Letter { subject: "[rekeyd] it happened".to_owned(), html: text.clone(), text },
        };
        let deadline = Deadline::after(Duration::from_secs(30));
        Smtp::new(&spec).unwrap().send(&mail, &mail.to, deadline).await
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    outside: TcpStream,
    inside: TcpStream,
    protection: Protection,
    answers: &[&str; 2],
) {
    let (outside, mut inside) = match protection {
        Protection::Starttls => {
            let Some(both) = until_starttls(outside, inside, answers).await else { return };
            both
        }
        _ => (outside, inside),
    };
    let Ok(mut outside) = acceptor.accept(outside).await else { return };
    let _ = copy_bidirectional(&mut outside, &mut inside).await;
}

/// The talk in the clear: a greeting, EHLO, STARTTLS, and nothing else.
async fn until_starttls(
    outside: TcpStream,
    inside: TcpStream,
    [ehlo, starttls]: &[&str; 2],
) -> Option<(TcpStream, TcpStream)> {
    let mut inside = BufReader::new(inside);
    let mut greeting = String::new();
    inside.read_line(&mut greeting).await.ok()?;
    let mut outside = BufReader::new(outside);
    outside.write_all(greeting.as_bytes()).await.ok()?;
    loop {
        let mut line = String::new();
        outside.read_line(&mut line).await.ok()?;
        let answer = match line.split_whitespace().next()?.to_ascii_uppercase().as_str() {
            "EHLO" => ehlo,
            "STARTTLS" => starttls,
            _ => "530 must issue a STARTTLS command first\r\n",
        };
        outside.write_all(answer.as_bytes()).await.ok()?;
        if answer.starts_with("220") {
            return Some((outside.into_inner(), inside.into_inner()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mails_travel_over_tls_to_a_server_of_a_trusted_authority() {
    for protection in [Protection::Starttls, Protection::Implicit] {
        let door = Door::open(protection, "localhost").await;
        let said = door.send(protection, Some(door.ca_file.clone()), PASSWORD).await;
        assert!(said.is_ok(), "{protection:?}: {said:?}");
        let mails = door.mailbox.mails();
        assert_eq!(mails.len(), 1, "{protection:?}");
        assert_eq!(mails[0].subject(), "[rekeyd] it happened");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_prove_who_it_is_gets_nothing() {
    for protection in [Protection::Starttls, Protection::Implicit] {
        let unknown = Door::open(protection, "localhost").await;
        let another = Door::open(protection, "mail.example.com").await;
        for (door, ca_file) in [(&unknown, None), (&another, Some(another.ca_file.clone()))] {
            let failed = door.send(protection, ca_file, PASSWORD).await.unwrap_err();
            assert_eq!(failed.obstacle, Obstacle::Away, "{failed}");
            assert!(failed.reason.to_lowercase().contains("certificate"), "{failed}");
            assert!(door.mailbox.mails().is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_is_said_without_the_password() {
    let door = Door::open(Protection::Implicit, "localhost").await;
    let wrong = "another-false-password";
    let failed = door.send(Protection::Implicit, Some(door.ca_file.clone()), wrong).await.unwrap_err();
    assert_eq!(failed.obstacle, Obstacle::Away, "a person mends it, and the mail goes out: {failed}");
    assert!(failed.reason.contains("535") && !failed.reason.contains(wrong), "{failed}");
    assert!(door.mailbox.mails().is_empty());
}

/// What would count as the answers of a whole session, had it been read after the handshake.
const WORDS_IN_ITS_MOUTH: &str = "220 go ahead\r\n250-localhost\r\n250 AUTH PLAIN\r\n235 come in\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 taken\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_puts_words_into_the_mouth_of_a_server() {
    for (ehlo, starttls, said) in [
        (ANSWERS[0], WORDS_IN_ITS_MOUTH, "more than its answer to STARTTLS"),
        ("250 localhost\r\n", ANSWERS[1], "offers no STARTTLS on this port"),
        (ANSWERS[0], "454 not now\r\n", "refuses STARTTLS: 454 not now"),
        ("550 who are you\r\n", ANSWERS[1], "refuses our name in EHLO (550 who are you)"),
        ("HTTP/1.1 400 Bad Request\r\n", ANSWERS[1], "no mail server"),
    ] {
        let answers = Box::leak(Box::new([ehlo, starttls]));
        let door = Door::with_answers(Protection::Starttls, "localhost", answers).await;
        let failed = door.send(Protection::Starttls, Some(door.ca_file.clone()), PASSWORD).await.unwrap_err();
        assert_eq!(failed.obstacle, Obstacle::Away, "{failed}");
        assert!(failed.reason.contains(said), "{failed}");
        assert!(door.mailbox.mails().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_on_the_wrong_port_is_said_with_the_next_move() {
    let door = Door::open(Protection::Starttls, "localhost").await;
    let failed = door.send(Protection::Implicit, Some(door.ca_file.clone()), PASSWORD).await.unwrap_err();
    assert!(failed.reason.contains("write smtp:// to use STARTTLS"), "{failed}");
}
