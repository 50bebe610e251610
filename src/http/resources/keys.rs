//! Stored keys, masked.

use axum::Json;
use axum::body::{Body as Stream, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::domain::listing::{Page, Wanted};
use crate::domain::role::Permission::Keys;
use crate::domain::time::Timestamp;
use crate::engine::commands::{self, Expiry, HISTORY, KEYS, KeyListView, KeyTestView, KeyView, UpdateKey};
use crate::engine::{Engine, EngineError};
use crate::http::api::Api;
use crate::http::asked::Asked;
use crate::http::auth::Caller;
use crate::http::body::{Body, Field};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

/// Rows that are read and sent at one time.
const CHUNK: usize = 500;

pub(super) fn routes() -> Routes {
    let admin = Allow::May(Keys);
    Routes::default()
        .list::<KeyView, _, _>("/api/v1/llm/providers/keys", admin, &KEYS, list)
        .says("The stored keys, masked; without a limit all of them")
        .answers::<KeyListView>(200)
        .at(Method::DELETE, "/api/v1/llm/providers/keys/{id}", admin, delete)
        .says("Remove a key from the store")
        .with("at_provider", "true: at the provider too, through the guard.")
        .answers_nothing()
        .at(Method::PATCH, "/api/v1/llm/providers/keys/{id}", admin, change)
        .says("Change what is kept of a key of no rotation; activate it, or put it aside")
        .takes::<KeyChange>()
        .answers::<KeyView>(200)
        .list::<KeyTestView, _, _>("/api/v1/keys/{id}/history", admin, &HISTORY, history)
        .says("What tests of a key showed, the newest first, and how long they took")
}

/// Where a key is deleted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    #[serde(default)]
    at_provider: bool,
}

async fn list(State(api): State<Api>, _: Caller, Asked(wanted): Asked) -> Result<Response, Problem> {
    let engine = api.engine();
    if wanted.limit.is_some() {
        let page = commands::key_page(&engine, &wanted).await?;
        return Ok(Json(KeyListView::from(page)).into_response());
    }
    let wanted = Wanted { limit: Some(CHUNK), ..wanted };
    let first = commands::key_page(&engine, &wanted).await?;
    let (sender, body) = Channel::<Bytes, EngineError>::new(1);
    tokio::spawn(send(engine, wanted, first, sender));
    Ok(([(CONTENT_TYPE, "application/json")], Stream::new(body)).into_response())
}

/// Sends all rows, page after page, so that none but one is in memory. A reader who leaves ends it.
async fn send(engine: Engine, wanted: Wanted, first: Page<KeyView>, mut to: Sender<Bytes, EngineError>) {
    let mut page = first;
    let (mut text, mut has_rows) = (String::from("{\"providers\":["), false);
    loop {
        let rows: Vec<String> =
            page.items.iter().map(|row| serde_json::to_string(row).unwrap_or_default()).collect();
        if !rows.is_empty() && has_rows {
            text.push(',');
        }
        has_rows |= !rows.is_empty();
        text.push_str(&rows.join(","));
        let Some(next) = &page.next_cursor else { break };
        if to.send_data(Bytes::from(std::mem::take(&mut text))).await.is_err() {
            return;
        }
        page = match commands::key_page(&engine, &wanted.following(next)).await {
            Ok(page) => page,
            Err(error) => return to.abort(error),
        };
    }
    text.push_str(&format!("],\"next_cursor\":null,\"total\":{}}}", page.total));
    to.send_data(Bytes::from(text)).await.ok();
}

async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Query(place): Query<Place>,
) -> Result<StatusCode, Problem> {
    let engine = api.engine_for(&caller);
    let deleted = api.whole(async move { commands::delete_key_by_id(&engine, &id, place.at_provider).await });
    deleted.await.map(|()| StatusCode::NO_CONTENT)
}

/// What changes of a key; what is not there stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KeyChange {
    /// Name for people.
    name: Option<String>,
    /// 100 production, 50 to 90 backup, below 50 testing.
    priority: Option<i64>,
    /// Neither tested nor handed out when false.
    is_active: Option<bool>,
    /// An object, whole.
    config: Option<Value>,
    /// E-mail address of whoever answers for it; null for nobody.
    #[serde(default)]
    owner: Field<String>,
    /// What it is for; null for nothing.
    #[serde(default)]
    note: Field<String>,
    /// Until when it is good: a day or a moment; null for never.
    #[serde(default)]
    expires_at: Field<String>,
}

impl KeyChange {
    fn read(self) -> Result<UpdateKey, Problem> {
        let expiry = match self.expires_at {
            Field::Missing => Expiry::AsItWas,
            Field::Null => Expiry::Never,
            Field::Value(text) => Expiry::At(moment(&text)?),
        };
        Ok(UpdateKey {
            name: self.name,
            priority: self.priority,
            is_active: self.is_active,
            settings: self.config,
            owner: emptied(self.owner),
            note: emptied(self.note),
            expiry,
            ..UpdateKey::default()
        })
    }
}

/// What is taken away is empty.
fn emptied(field: Field<String>) -> Option<String> {
    match field {
        Field::Missing => None,
        Field::Null => Some(String::new()),
        Field::Value(text) => Some(text),
    }
}

/// A day, which begins at midnight UTC, or a moment.
pub(super) fn moment(text: &str) -> Result<Timestamp, Problem> {
    let at = Timestamp::parse_day_or_time(text);
    at.ok_or_else(|| Problem::malformed("expires_at: a day like 2027-01-31, or a moment of RFC 3339"))
}

async fn change(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Body(change): Body<KeyChange>,
) -> Result<Json<KeyView>, Problem> {
    let update = change.read()?;
    if update.changes_nothing() {
        return Err(Problem::malformed("nothing is to change: say one of the fields"));
    }
    let engine = api.engine_for(&caller);
    let updated = api.whole(async move { commands::update_key_by_id(&engine, &id, update).await });
    Ok(Json(commands::key_view(&updated.await?.key)))
}

async fn history(
    State(api): State<Api>,
    _: Caller,
    Path(id): Path<String>,
    Asked(wanted): Asked,
) -> Result<Json<Page<KeyTestView>>, Problem> {
    Ok(Json(commands::key_history(&api.engine(), &id, wanted).await?))
}
