//! Stored keys, masked.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use serde::Deserialize;

use crate::domain::listing::{Page, Wanted};
use crate::domain::role::Permission::Keys;
use crate::engine::commands::{self, HISTORY, KEYS, KeyListView, KeyTestView, KeyView};
use crate::engine::{Engine, EngineError};
use crate::http::api::Api;
use crate::http::asked::Asked;
use crate::http::auth::Caller;
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
    Ok(([(CONTENT_TYPE, "application/json")], Body::new(body)).into_response())
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

async fn history(
    State(api): State<Api>,
    _: Caller,
    Path(id): Path<String>,
    Asked(wanted): Asked,
) -> Result<Json<Page<KeyTestView>>, Problem> {
    Ok(Json(commands::key_history(&api.engine(), &id, wanted).await?))
}
