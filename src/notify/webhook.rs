//! The second channel: one JSON object for each event of an alert.

use async_trait::async_trait;
use http::Method;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use url::Url;

use super::message::clean;
use super::{LetterContext, Obstacle, Undelivered};
use crate::domain::alert::Notice;
use crate::net::{Deadline, Http};

/// The object for one event.
fn event(notice: &Notice, voice: &LetterContext) -> Value {
    json!({
        "id": notice.id,
        "event": notice.event.word(),
        "at": notice.at.rfc3339(),
        "alert": {
            "id": notice.alert,
            "kind": notice.kind.word(),
            "severity": notice.severity.word(),
            "subject": clean(&notice.subject.to_string()),
            "account": notice.account,
            "rotation": notice.rotation,
            "detail": clean(&notice.detail),
            "opened_at": notice.opened_at.rfc3339(),
        },
        "url": voice.public_url,
    })
}

/// A URL that takes the events. The URL is a secret: many services put a token into its path.
pub struct HttpWebhook {
    http: Http,
    url: Url,
}

impl HttpWebhook {
    /// Posts to `url`.
    pub fn new(http: Http, url: Url) -> Self {
        Self { http, url }
    }
}

#[async_trait]
impl super::Webhook for HttpWebhook {
    fn body(&self, notice: &Notice, voice: &LetterContext) -> String {
        event(notice, voice).to_string()
    }

    async fn post(&self, id: &str, body: &str, deadline: Deadline) -> Result<String, Undelivered> {
        let request = self.http.request(Method::POST, self.url.clone());
        let request = request.header(CONTENT_TYPE, "application/json").header("Idempotency-Key", id);
        let answer = self.http.send(request.body(body.to_owned()), deadline).await;
        let answer = answer
            .map_err(|failure| Undelivered { obstacle: Obstacle::Away, reason: failure.to_string() })?;
        let said = format!("{} answered {}", answer.host, answer.status);
        match answer.status {
            200..=299 => Ok(said),
            408 | 425 | 429 | 500.. => Err(Undelivered { obstacle: Obstacle::NotNow, reason: said }),
            _ => Err(Undelivered { obstacle: Obstacle::Refused, reason: said }),
        }
    }
}
