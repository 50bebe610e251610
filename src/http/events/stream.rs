//! One listener of server-sent events, as WHATWG's HTML describes them.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::domain::role::Permission;
use crate::domain::secret::without_masks;
use crate::domain::time::{Span, Timestamp};
use crate::engine::commands::Changed;
use crate::http::api::Api;
use crate::http::auth::{Caller, identity};

/// Proxies end what is silent for long.
const COMMENT_EVERY: Span = Span::seconds(15);
/// What a browser repeats when it connects again.
pub(in crate::http) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http) struct Message {
    /// Up to when everything was told.
    pub(in crate::http) id: Timestamp,
    /// Its kind.
    pub(in crate::http) event: &'static str,
    /// JSON.
    pub(in crate::http) data: String,
}

impl Message {
    /// As it travels; JSON has no line breaks.
    fn text(&self) -> String {
        format!("id: {}\nevent: {}\ndata: {}\n\n", self.id.0, self.event, self.data)
    }
}

/// Somebody who listens.
pub(in crate::http) struct Listening {
    api: Api,
    caller: Caller,
    headers: HeaderMap,
    to: Sender<Bytes, Infallible>,
    /// When it is looked again whether somebody listens, and still may; monotonic.
    comment_at: Span,
}

/// An answer that goes on until the listener leaves, and who writes it.
pub(in crate::http) fn opened(api: Api, caller: Caller, headers: HeaderMap) -> (Response, Listening) {
    let (to, body) = Channel::<Bytes, Infallible>::new(1);
    let head = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ];
    let comment_at = after(api.engine().clock().monotonic());
    ((head, Body::new(body)).into_response(), Listening { api, caller, headers, to, comment_at })
}

fn after(now: Span) -> Span {
    Span(now.0.saturating_add(COMMENT_EVERY.0))
}

/// Tells a browser not to connect again: nothing more will happen.
pub(in crate::http) fn no_more() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

impl Listening {
    /// Tells one event. False when nobody listens any more.
    pub(in crate::http) async fn tell(&mut self, message: &Message) -> bool {
        let text = message.text();
        let hides = !self.caller.role().may(Permission::Keys);
        self.write(if hides { without_masks(&text) } else { text }).await
    }

    async fn write(&mut self, text: String) -> bool {
        let stopping = self.api.events().stopping().clone();
        tokio::select! {
            () = stopping.cancelled() => false,
            sent = self.to.send_data(Bytes::from(text)) => sent.is_ok(),
        }
    }

    /// The next change. None when the listener has left or may not listen any more, or the daemon stops. Who was too slow
    /// is told that everything changed.
    pub(in crate::http) async fn next(&mut self, news: &mut Receiver<Changed>) -> Option<Option<Changed>> {
        let stopping = self.api.events().stopping().clone();
        loop {
            let engine = self.api.engine();
            let left = Span(self.comment_at.0.saturating_sub(engine.clock().monotonic().0).max(0));
            tokio::select! {
                biased;
                () = stopping.cancelled() => return None,
                // Before any news: however much of it comes, this is looked at in time.
                () = engine.clock().sleep(left) => {
                    self.comment_at = after(engine.clock().monotonic());
                    if !self.may_still().await || !self.write(":\n\n".to_owned()).await {
                        return None;
                    }
                }
                changed = news.recv() => match changed {
                    Ok(changed) => return Some(Some(changed)),
                    Err(RecvError::Lagged(_)) => return Some(None),
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }

    /// A session may end, and a token be taken back, while somebody listens.
    async fn may_still(&self) -> bool {
        // A store that is away says nothing about who listens.
        identity(&self.api, &self.headers).await.map_or(true, |found| {
            found.is_some_and(|found| {
                found.way == self.caller.identity.way && found.role == self.caller.role()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_three_lines_and_an_empty_one() {
        let message = Message { id: Timestamp(7), event: "runs", data: "{}".to_owned() };
        assert_eq!(message.text(), "id: 7\nevent: runs\ndata: {}\n\n");
    }
}
