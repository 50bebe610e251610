//! The vendors answer their own request only, and each key as it is.

use super::*;
use crate::sim::testing::client;

async fn ask(vendors: &Vendors, path: &str, header: (&str, &str)) -> (u16, String) {
    let url = format!("{}{path}", vendors.base_url("anthropic"));
    let request = client().get(url).header(header.0, header.1).header("anthropic-version", "2023-06-01");
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn a_key_is_answered_as_it_is_and_only_where_it_belongs() {
    let vendors = Vendors::start().await;
    let key = vendors.new_key("anthropic");
    assert_eq!(ask(&vendors, "/models?limit=1", ("x-api-key", &key)).await.0, 200);
    assert_eq!(ask(&vendors, "/models?limit=1", ("x-goog-api-key", &key)).await.0, 401, "another header");
    assert_eq!(ask(&vendors, "/models", ("x-api-key", &key)).await.0, 404, "another request");
    let other = vendors.new_key("openai");
    assert_eq!(ask(&vendors, "/models?limit=1", ("x-api-key", &other)).await.0, 401, "another vendor's");
    for (state, word) in [
        (State::Revoked, "authentication_error"),
        (State::Restricted, "permission_error"),
        (State::Empty, "credit balance is too low"),
        (State::Limited, "rate_limit_error"),
    ] {
        assert!(vendors.set(&key, state));
        let (_, said) = ask(&vendors, "/models?limit=1", ("x-api-key", &key)).await;
        assert!(said.contains(word) && !said.contains(&key), "{said}");
    }
    assert!(vendors.requests().iter().all(|request| request.label == "anthropic"));
    assert!(!vendors.set("nobody's", State::Empty));
}
