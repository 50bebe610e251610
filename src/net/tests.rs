use std::time::Duration;

use http::Method;

use super::answer::{parse_date, parse_retry_after};
use super::testing::{Act, Wire, brief, client, http, soon};
use super::*;
use crate::domain::time::{Span, Timestamp};

/// One GET of what the server plays.
async fn get(acts: Vec<Act>, deadline: Deadline) -> Result<Answer, Failure> {
    let wire = Wire::play(acts).await;
    let client = client();
    client.send(client.request(Method::GET, wire.url.clone()), deadline).await
}

async fn unclear(acts: Vec<Act>, deadline: Deadline) -> Failure {
    let failure = get(acts, deadline).await.expect_err("must fail");
    assert_eq!(failure.kind, FailureKind::Unclear, "{failure:?}");
    assert!(failure.message.starts_with("127.0.0.1:"), "{failure:?}");
    failure
}

#[tokio::test]
async fn a_whole_answer() {
    let bytes = http(200, "retry-after: 1.5\r\ncontent-type: application/json\r\n", r#"{"a":1}"#);
    let answer = get(vec![Act::Say(bytes)], soon()).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.date, Some(Timestamp(784_111_777_000)));
    assert_eq!(answer.retry_after, Some(Span(1500)));
    assert_eq!(answer.value().unwrap()["a"], 1);
    assert!(!format!("{answer:?}").contains("\"a\""), "the body is never printed");
}

#[tokio::test]
async fn a_deadline_in_the_past_sends_nothing() {
    let wire = Wire::json(200, "{}").await;
    let client = client();
    let request = client.request(Method::POST, wire.url.clone());
    let failure = client.send(request, Deadline::after(Duration::ZERO)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotSent);
    assert!(wire.requests().is_empty());
}

#[tokio::test]
async fn silence_and_dripping_end_at_the_deadline() {
    let words = "no whole answer came before the deadline";
    let mut half = http(200, "", "0123456789");
    half.truncate(half.len() - 5);
    let slow = http(201, "", &"x".repeat(500));
    let (silent, cut, dripping) = tokio::join!(
        unclear(vec![Act::Hang(Vec::new())], brief()),
        unclear(vec![Act::Hang(half)], brief()),
        unclear(vec![Act::Drip(slow)], brief()),
    );
    assert!(silent.message.contains(words), "{silent:?}");
    assert!(cut.message.contains(words) && cut.status == Some(200), "{cut:?}");
    assert!(dripping.message.contains(words), "{dripping:?}");
}

#[tokio::test]
async fn bodies_over_the_cap_are_not_read() {
    let announced = b"HTTP/1.1 200 OK\r\ncontent-length: 1048577\r\n\r\n".to_vec();
    let failure = unclear(vec![Act::Hang(announced)], soon()).await;
    assert!(failure.message.ends_with("answer larger than 1 MiB"), "{failure:?}");
    let mut endless = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
    endless.extend(std::iter::repeat_n(b'x', BODY_CAP + 1));
    let failure = unclear(vec![Act::Hang(endless)], soon()).await;
    assert!(failure.message.ends_with("answer larger than 1 MiB"), "{failure:?}");
    let fits = http(200, "", &"x".repeat(BODY_CAP));
    assert_eq!(get(vec![Act::Say(fits)], soon()).await.unwrap().body.len(), BODY_CAP);
}

#[tokio::test]
async fn cut_off_answers_are_unclear_and_keep_their_status() {
    let mut cut = http(201, "", r#"{"key":"sk-or-v1-"}"#);
    cut.truncate(cut.len() - 4);
    for act in [Act::Say(cut.clone()), Act::Reset(cut)] {
        let failure = unclear(vec![act], soon()).await;
        assert_eq!(failure.status, Some(201));
        assert!(failure.message.ends_with("the connection ended before the answer did"), "{failure:?}");
    }
    for act in [Act::Reset(Vec::new()), Act::Say(Vec::new())] {
        let failure = unclear(vec![act], soon()).await;
        assert_eq!(failure.status, None);
    }
}

#[tokio::test]
async fn no_fault_is_retried() {
    let wire = Wire::play(vec![Act::Reset(Vec::new()), Act::Say(http(200, "", "{}"))]).await;
    let client = client();
    client.send(client.request(Method::POST, wire.url.clone()), soon()).await.unwrap_err();
    assert_eq!(wire.requests().len(), 1);
}

#[tokio::test]
async fn redirects_are_answers() {
    let target = Wire::json(200, "{}").await;
    let moved = http(307, &format!("location: {}\r\n", target.url), "");
    let answer = get(vec![Act::Say(moved)], soon()).await.unwrap();
    assert_eq!(answer.status, 307);
    assert!(target.requests().is_empty());
}

#[tokio::test]
async fn html_is_named_and_not_quoted() {
    let page = http(502, "content-type: text/html; charset=utf-8\r\n", "<html>sk-or-v1-secret</html>");
    let answer = get(vec![Act::Say(page)], soon()).await.unwrap();
    let failure = answer.json::<serde_json::Value>().unwrap_err();
    assert!(failure.message.ends_with("status 502 with a body of type text/html"), "{failure:?}");
    assert!(!format!("{failure:?}").contains("secret"));
}

#[tokio::test]
async fn failed_connections_say_host_and_kind_only() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = client();
    let url = Url::parse(&format!("http://user:hunter2@{free}/?key=hunter2")).unwrap();
    let failure = client.send(client.request(Method::GET, url), soon()).await.unwrap_err();
    assert_eq!(failure.message, format!("{free}: the connection was refused"));
    let url = Url::parse("http://no-such-host.invalid/").unwrap();
    let direct = Http::public_only(&HttpOptions::default()).unwrap();
    let fault = direct.exchange(direct.request(Method::GET, url), soon()).await.unwrap_err();
    assert_eq!((fault.kind, fault.is_connect()), (FaultKind::Dns, true));
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("https://{}/", listener.local_addr().unwrap())).unwrap();
    let client = client();
    let call = client.exchange(client.request(Method::GET, url), soon());
    let peer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail.example.com ESMTP\r\n").await.unwrap();
        stream
    };
    let (outcome, _stream) = tokio::join!(call, peer);
    assert_eq!(outcome.unwrap_err().kind, FaultKind::Tls);
}

#[tokio::test]
async fn public_only_refuses_names_and_literals() {
    let wire = Wire::json(200, "{}").await;
    let client = Http::public_only(&HttpOptions::default()).unwrap();
    let port = wire.url.port().unwrap();
    for host in ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "0x7f.1", "2130706433"] {
        let url = Url::parse(&format!("http://{host}:{port}/")).unwrap();
        let failure = client.send(client.request(Method::GET, url), soon()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotSent, "{host}: {failure:?}");
        assert!(failure.message.contains("private"), "{host}: {failure:?}");
    }
    assert!(wire.requests().is_empty());
}

#[tokio::test]
async fn secrets_that_are_no_header_are_not_sent() {
    let failure = secret_header("Bearer ", &Secret::new("line\nbreak")).unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotSent);
    let value = secret_header("Bearer ", &Secret::new("sk-or-v1-abc")).unwrap();
    assert_eq!(format!("{value:?}"), "Sensitive");
}

#[test]
fn options_that_cannot_work() {
    let missing = HttpOptions { ca_file: Some("/nonexistent/ca.pem".into()), ..HttpOptions::default() };
    assert!(matches!(Http::new(&missing), Err(NetError::CaFile { .. })));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "not a certificate").unwrap();
    let empty = HttpOptions { ca_file: Some(file.path().into()), ..HttpOptions::default() };
    assert!(matches!(Http::new(&empty), Err(NetError::CaContent { .. })));
    let proxy = HttpOptions { proxy: Some("ftp://hunter2@proxy".into()), ..HttpOptions::default() };
    let error = Http::new(&proxy).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn the_given_proxy_carries_the_call() {
    let proxy = Wire::json(200, r#"{"via":"proxy"}"#).await;
    let options = HttpOptions { proxy: Some(proxy.url.to_string()), ..HttpOptions::default() };
    let client = Http::new(&options).unwrap();
    let url = Url::parse("http://vendor.invalid/v1").unwrap();
    let answer = client.send(client.request(Method::GET, url), soon()).await.unwrap();
    assert_eq!(answer.value().unwrap()["via"], "proxy");
    assert!(proxy.requests()[0].starts_with("GET http://vendor.invalid/v1 "));
    let near = Wire::json(200, r#"{"via":"nobody"}"#).await;
    let answer = client.send(client.request(Method::GET, near.url.clone()), soon()).await.unwrap();
    assert_eq!(answer.value().unwrap()["via"], "nobody", "loopback is never proxied");
}

#[test]
fn fuzz_retry_after_and_sentences() {
    let seeds: [&[u8]; 5] =
        [b"120", b"0.25", b"-1e300", b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT"];
    let secret = Secret::new("zz-false-0123456789abcdef");
    super::testing::fuzz(&seeds, |text| {
        let text = String::from_utf8_lossy(text);
        if let Some(wait) = parse_retry_after(&text, Some(Timestamp(784_111_777_000))) {
            assert!(wait >= Span::ZERO && wait <= Span::hours(25));
        }
        assert!(sentence(&text, &[&secret]).chars().count() <= 300);
    });
}

#[test]
fn dates_and_retry_after_in_all_forms() {
    let date = Timestamp(784_111_777_000);
    for text in
        ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
    {
        assert_eq!(parse_date(text), Some(date), "{text}");
    }
    let rows = [
        ("120", Some(Span::seconds(120))),
        (" 0.25 ", Some(Span(250))),
        ("-3", Some(Span::ZERO)),
        ("1e300", Some(Span::hours(25))),
        ("inf", Some(Span::hours(25))),
        ("NaN", None),
        ("soon", None),
        ("Sun, 06 Nov 1994 08:50:07 GMT", Some(Span::seconds(30))),
        ("Sun, 06 Nov 1994 08:00:00 GMT", Some(Span::ZERO)),
    ];
    for (text, expected) in rows {
        assert_eq!(parse_retry_after(text, Some(date)), expected, "{text}");
    }
    assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:50:07 GMT", None), None, "no clock to count from");
}

#[test]
fn sentences_are_clean_and_short() {
    let secret = Secret::new("q".repeat(40));
    let text = format!("bad\r\nkey {} {}", secret.expose(), "é".repeat(400));
    let clean = sentence(&text, &[&secret]);
    assert!(clean.starts_with("bad  key qqqqqqq...qqqq "), "{clean}");
    assert_eq!(clean.chars().count(), 300);
}
