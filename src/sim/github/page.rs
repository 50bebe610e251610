//! Listings of several pages: `per_page`, `page`, and the `Link` header that leads on.

use serde_json::Value;

use super::super::wire::{Answer, Call};

/// One page of `items`; `wrap` makes the body of it.
pub(super) fn paged(call: &Call, items: &[Value], wrap: impl FnOnce(&[Value]) -> Value) -> Answer {
    let number =
        |name, default: usize| call.param(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let per_page = number("per_page", 30).clamp(1, 100);
    let page = number("page", 1).max(1);
    let last = items.len().div_ceil(per_page).max(1);
    let start = ((page - 1) * per_page).min(items.len());
    let end = (start + per_page).min(items.len());
    let answer = Answer::json(200, &wrap(&items[start..end]));
    let mut links = Vec::new();
    let mut link = |rel, to| links.push(format!("<{}>; rel=\"{rel}\"", address(call, per_page, to)));
    if page > 1 {
        link("prev", page - 1);
        link("first", 1);
    }
    if page < last {
        link("next", page + 1);
        link("last", last);
    }
    if links.is_empty() { answer } else { answer.header("link", links.join(", ")) }
}

/// This listing's address at another page, with everything else that was asked.
fn address(call: &Call, per_page: usize, page: usize) -> String {
    let path = call.target.split('?').next().unwrap_or_default();
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in call.query.iter().filter(|(name, _)| name != "page" && name != "per_page") {
        query.append_pair(name, value);
    }
    query.append_pair("per_page", &per_page.to_string()).append_pair("page", &page.to_string());
    format!("http://{}{path}?{}", call.header("host").unwrap_or_default(), query.finish())
}
