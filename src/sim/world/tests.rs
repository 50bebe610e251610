//! The plumbing, with a vendor that only counts: what a client sees of each mishap, and what took effect.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Client as Http, RequestBuilder};

use super::super::fault::{Rule, When};
use super::super::testing::client;
use super::*;

#[derive(Default)]
struct Counter(AtomicUsize);

impl Vendor for Counter {
    fn label(&self, call: &Call) -> &'static str {
        if call.method == "POST" { "bump" } else { "look" }
    }

    fn answer(&self, call: &Call) -> Answer {
        let step = usize::from(call.method == "POST");
        Answer::json(200, &json!({"count": self.0.fetch_add(step, Ordering::SeqCst) + step}))
    }

    fn error_body(&self, status: u16) -> Value {
        json!({"status": status})
    }
}

struct Bench {
    vendor: Arc<Counter>,
    server: Server,
    http: Http,
}

impl Bench {
    async fn new() -> Self {
        let vendor = Arc::new(Counter::default());
        let server = Server::start(Arc::<Counter>::clone(&vendor), Arc::default(), Script::default()).await;
        Self { vendor, server, http: client() }
    }

    fn url(&self) -> String {
        format!("http://{}/it", self.server.address())
    }

    fn bump(&self) -> RequestBuilder {
        self.http.post(self.url())
    }

    fn count(&self) -> usize {
        self.vendor.0.load(Ordering::SeqCst)
    }

    fn faults(&self) -> &Script {
        self.server.faults()
    }

    fn last(&self) -> RequestLog {
        self.server.requests().pop().unwrap()
    }
}

fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source: Option<&dyn Error> = Some(error);
    while let Some(error) = source {
        text = format!("{text}{error}; ");
        source = error.source();
    }
    text
}

#[tokio::test]
async fn a_plain_call_is_answered_dated_and_written_down() {
    let bench = Bench::new().await;
    let answer = bench.bump().bearer_auth("hidden").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers()["date"].to_str().unwrap().ends_with(" GMT"));
    let log = bench.last();
    assert_eq!((log.number, log.label, log.path.as_str()), (1, "bump", "/it"));
    assert_eq!((log.status, log.applied, log.settled), (Some(200), true, true));
    assert!(!format!("{log:?}").contains("hidden"));
}

#[tokio::test]
async fn a_reset_is_a_reset_on_either_side_of_the_effect() {
    let bench = Bench::new().await;
    bench.faults().once("bump", When::Before, Act::Reset);
    bench.faults().nth("bump", 2, When::After, Act::Reset);
    for count in [0, 1] {
        let error = bench.bump().send().await.unwrap_err();
        assert!(chain(&error).contains("reset"), "{}", chain(&error));
        assert_eq!((bench.count(), bench.last().applied, bench.last().status), (count, count == 1, None));
    }
    assert_eq!(bench.bump().send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_truncated_body_promises_more_than_it_holds() {
    let bench = Bench::new().await;
    bench.faults().once("bump", When::After, Act::Truncate(4));
    let answer = bench.bump().send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.content_length()), (200, Some(11)));
    assert!(answer.bytes().await.is_err());
    assert_eq!(bench.count(), 1);
}

#[tokio::test]
async fn a_hang_lasts_until_the_client_gives_up() {
    let bench = Bench::new().await;
    bench.faults().once("bump", When::After, Act::Hang);
    let call = tokio::spawn(bench.bump().send());
    bench.server.wait_until(|log| log.first().is_some_and(|entry| entry.applied)).await;
    assert!(!call.is_finished() && !bench.last().settled);
    call.abort();
    bench.server.wait_until(|log| log[0].settled).await;
    assert_eq!((bench.count(), bench.last().status), (1, None));
}

#[tokio::test]
async fn a_delayed_call_lands_though_its_client_is_gone() {
    let bench = Bench::new().await;
    bench.faults().once("bump", When::Before, Act::Delay(Duration::from_millis(100)));
    let call = tokio::spawn(bench.bump().send());
    bench.server.wait_until(|log| !log.is_empty()).await;
    assert_eq!(bench.count(), 0);
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    bench.server.wait_until(|log| log[0].settled).await;
    assert_eq!(bench.count(), 1);
}

#[tokio::test]
async fn made_up_answers_replace_the_effect_or_only_its_answer() {
    let bench = Bench::new().await;
    let acts = [
        (Act::status(529), 529, r#"{"status":529}"#),
        (Act::body(418, json!([])), 418, "[]"),
        (Act::rate_limited(Some(7)), 429, r#"{"status":429}"#),
        (Act::Html(502), 502, "<!DOCTYPE html>"),
        (Act::ZodError, 400, "ZodError"),
        (Act::Ok200WithErrorObject, 200, r#"{"status":500}"#),
        (Act::EchoKey(401), 401, "sk-false"),
    ];
    for (when, effects) in [(When::Before, 0), (When::After, 7)] {
        for (act, status, text) in acts.clone() {
            bench.faults().once("bump", when, act);
            let answer = bench.bump().bearer_auth("sk-false").send().await.unwrap();
            assert_eq!(answer.status(), status);
            assert!(answer.headers().contains_key("date"));
            assert_eq!(answer.headers().contains_key("retry-after"), status == 429);
            let body = answer.text().await.unwrap();
            assert!(body.contains(text), "{body}");
        }
        assert_eq!(bench.count(), effects);
    }
    bench.faults().once("look", When::Before, Act::Flood(2_000_000));
    let body = bench.http.get(bench.url()).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(body.len(), 2_000_000);
}

#[tokio::test]
async fn rules_are_narrowed_by_label_method_path_and_count() {
    let bench = Bench::new().await;
    let strike = |code| Act::status(code);
    bench.faults().add(Rule::new("*", When::Before, strike(501)).method("PUT"));
    bench.faults().add(Rule::new("look", When::Before, strike(502)).path("?why=").nth(2).times(2));
    bench.faults().always("bump", When::Before, strike(503));
    let status = async |request: RequestBuilder| request.send().await.unwrap().status().as_u16();
    assert_eq!(status(bench.http.put(bench.url())).await, 501);
    let mut seen = Vec::new();
    for path in ["", "?why=1", "?why=2", "", "?why=3", "?why=4"] {
        seen.push(status(bench.http.get(format!("{}{path}", bench.url()))).await);
    }
    assert_eq!(seen, [200, 200, 502, 200, 502, 200]);
    assert_eq!([status(bench.bump()).await, status(bench.bump()).await], [503, 503]);
    bench.faults().clear();
    assert_eq!(status(bench.bump()).await, 200);
    assert_eq!((bench.count(), bench.faults().count()), (1, 10));
}

#[tokio::test]
async fn a_held_call_waits_for_the_test() {
    for (when, count) in [(When::Before, 0), (When::After, 1)] {
        let bench = Bench::new().await;
        let held = bench.faults().hold("bump", when);
        let call = tokio::spawn(bench.bump().send());
        held.arrived().await;
        assert_eq!((bench.count(), bench.last().applied, bench.last().settled), (count, count == 1, false));
        held.release();
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
        assert_eq!(bench.count(), 1);
    }
}

#[tokio::test]
async fn a_held_call_whose_client_dies_has_no_effect_any_more() {
    let bench = Bench::new().await;
    let held = bench.faults().hold_nth(2, When::Before);
    bench.bump().send().await.unwrap();
    let call = tokio::spawn(bench.bump().send());
    held.arrived().await;
    call.abort();
    bench.server.wait_until(|log| log[1].settled).await;
    held.release();
    bench.bump().send().await.unwrap();
    assert_eq!(bench.count(), 2);
}

#[tokio::test]
async fn a_held_call_may_land_after_its_client_died() {
    let bench = Bench::new().await;
    let held = bench.faults().hold("bump", When::Before).survive_client();
    let call = tokio::spawn(bench.bump().send());
    held.arrived().await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    held.release();
    bench.server.wait_until(|log| log[0].settled).await;
    assert_eq!((bench.count(), bench.last().applied), (1, true));
}

#[tokio::test]
async fn dropping_a_hold_resets_the_call() {
    let bench = Bench::new().await;
    let held = bench.faults().hold("bump", When::Before);
    let call = tokio::spawn(bench.bump().send());
    held.arrived().await;
    drop(held);
    assert!(call.await.unwrap().is_err());
    assert_eq!(bench.count(), 0);
}

#[tokio::test]
async fn two_simulators_may_share_one_row_of_numbers() {
    let script = Script::default();
    let start = async || Server::start(Arc::new(Counter::default()), Arc::default(), script.clone()).await;
    let (one, two) = (start().await, start().await);
    let held = script.hold_nth(2, When::Before);
    let url = |server: &Server| format!("http://{}/", server.address());
    let http = client();
    http.get(url(&one)).send().await.unwrap();
    let call = tokio::spawn(http.get(url(&two)).send());
    held.arrived().await;
    assert_eq!((one.requests()[0].number, two.requests()[0].number, script.count()), (1, 2, 2));
    held.release();
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_dropped_server_is_gone() {
    let bench = Bench::new().await;
    let url = bench.url();
    let http = client();
    http.get(&url).send().await.unwrap();
    bench.server.stop();
    tokio::task::yield_now().await;
    assert!(http.get(&url).send().await.is_err());
}
