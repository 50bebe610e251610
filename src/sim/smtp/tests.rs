//! The mailbox, by the client library that the mails really come from, and by hand.

use std::time::Duration;

use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::*;

type Sender = AsyncSmtpTransport<Tokio1Executor>;
type Outcome = Result<lettre::transport::smtp::response::Response, lettre::transport::smtp::Error>;

async fn send(mailbox: &Mailbox, login: Option<(&str, &str)>) -> Outcome {
    let mut builder = Sender::builder_dangerous("127.0.0.1")
        .port(mailbox.address().port())
        .timeout(Some(Duration::from_mins(1)));
    if let Some((user, password)) = login {
        builder = builder.credentials(Credentials::new(user.to_owned(), password.to_owned()));
    }
    let mail = Message::builder()
        .from("rekeyd@example.invalid".parse().unwrap())
        .to("admin@example.invalid".parse().unwrap())
        .subject("Grüße")
        .body(".a line that begins with a dot\r\nund ein Gruß\r\n".to_owned())
        .unwrap();
    builder.build().send(mail).await
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_meant() {
    let mailbox = Mailbox::start().await;
    send(&mailbox, None).await.unwrap();
    mailbox.wait_until(|mails| mails.len() == 1).await;
    let mail = mailbox.mails().remove(0);
    assert_eq!((&*mail.from, &*mail.to[0]), ("rekeyd@example.invalid", "admin@example.invalid"));
    assert_eq!(mail.subject(), "Grüße");
    assert!(mail.text().starts_with(".a line") && mail.text().contains("Gruß"), "{}", mail.text());
    assert!(mail.acknowledged && mail.user.is_none());
}

#[tokio::test]
async fn a_server_that_is_down_keeps_its_port() {
    let mailbox = Mailbox::start().await;
    mailbox.set_down(true);
    tokio::task::yield_now().await;
    let refused = TcpStream::connect(mailbox.address()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(send(&mailbox, None).await.is_err());
    mailbox.set_down(false);
    send(&mailbox, None).await.unwrap();
    assert_eq!(mailbox.mails().len(), 1);
}

#[tokio::test]
async fn refusals_are_temporary_or_final_and_deliver_nothing() {
    let mailbox = Mailbox::start().await;
    for stage in [Stage::Greeting, Stage::Recipient, Stage::Data, Stage::Message] {
        mailbox.fail_next(Mishap::Refuse(stage, 451));
        assert!(send(&mailbox, None).await.unwrap_err().is_transient(), "{stage:?}");
        mailbox.fail_next(Mishap::Refuse(stage, 554));
        assert!(send(&mailbox, None).await.unwrap_err().is_permanent(), "{stage:?}");
    }
    assert!(mailbox.mails().is_empty());
    send(&mailbox, None).await.unwrap();
    mailbox.fail_always(Mishap::Refuse(Stage::Data, 421));
    for _ in 0..2 {
        assert!(send(&mailbox, None).await.is_err());
    }
    mailbox.heal();
    send(&mailbox, None).await.unwrap();
}

#[tokio::test]
async fn a_hang_is_a_timeout() {
    let mailbox = Mailbox::start().await;
    for stage in [Stage::Greeting, Stage::Recipient, Stage::Data, Stage::Message] {
        mailbox.fail_next(Mishap::Hang(stage));
        // The library's own deadline covers the connect only: the caller must bring one.
        let outcome = tokio::time::timeout(Duration::from_millis(200), send(&mailbox, None)).await;
        assert!(outcome.is_err(), "{stage:?}");
    }
    assert!(mailbox.mails().is_empty());
}

#[tokio::test]
async fn a_lost_answer_leaves_a_mail_that_the_client_knows_nothing_of() {
    let mailbox = Mailbox::start().await;
    mailbox.fail_next(Mishap::LoseAnswer);
    assert!(send(&mailbox, None).await.is_err());
    assert!(!mailbox.mails()[0].acknowledged);
}

#[tokio::test]
async fn a_login_is_asked_for_and_checked() {
    let mailbox = Mailbox::start().await;
    mailbox.require_login("robot", "false-password");
    assert!(send(&mailbox, None).await.unwrap_err().is_permanent());
    assert!(send(&mailbox, Some(("robot", "wrong"))).await.unwrap_err().is_permanent());
    send(&mailbox, Some(("robot", "false-password"))).await.unwrap();
    assert_eq!(mailbox.mails()[0].user.as_deref(), Some("robot"));
}

#[tokio::test]
async fn commands_have_an_order_and_a_form() {
    let mailbox = Mailbox::start().await;
    mailbox.require_login("robot", "pw");
    let mut stream = BufReader::new(TcpStream::connect(mailbox.address()).await.unwrap());
    let mut say = async |line: &str| {
        if !line.is_empty() {
            stream.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        }
        loop {
            let mut answer = String::new();
            stream.read_line(&mut answer).await.unwrap();
            if answer.as_bytes()[3] == b' ' {
                return answer[..3].parse::<u16>().unwrap();
            }
        }
    };
    let dialogue = [
        ("", 220),
        ("MAIL FROM:<a@b>", 503),
        ("EHLO me", 250),
        ("MAIL FROM:<a@b>", 530),
        ("AUTH LOGIN", 334),
        ("cm9ib3Q=", 334),
        ("cHc=", 235),
        ("RCPT TO:<a@b>", 503),
        ("MAIL FROM:a@b", 501),
        ("MAIL FROM:<a@b> SIZE=3", 250),
        ("DATA", 503),
        ("RCPT TO:<nobody>", 501),
        ("RCPT TO:<c@d>", 250),
        ("RSET", 250),
        ("DATA", 503),
        ("VRFY x", 502),
        ("QUIT", 221),
    ];
    for (line, code) in dialogue {
        assert_eq!(say(line).await, code, "{line}");
    }
}
