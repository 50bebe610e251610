//! Keys that somebody brings: one, which is stored under its name or only asked about, or many.

use axum::Json;
use axum::body::{Body as Stream, Bytes};
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::keys::moment;
use crate::domain::limit::Limit;
use crate::domain::role::Permission::Keys;
use crate::domain::time::Span;
use crate::engine::commands::{self, Import, ImportView, KeyTriedView, Put, PutKey, StoredKeyView};
use crate::engine::{Engine, EngineError};
use crate::http::api::Api;
use crate::http::auth::Caller;
use crate::http::body::{Body, Hidden};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

/// Who waits for an import sees so often that it goes on.
const SIGN_OF_LIFE: Span = Span::seconds(5);

pub(super) fn routes() -> Routes {
    let admin = Allow::May(Keys);
    Routes::default()
        .once("/api/v1/llm/providers/keys", admin, put)
        .says(
            "Store a key under a name, or in the place of the one that has it, once its provider accepts it",
        )
        .takes::<NewKey>()
        .answers::<StoredKeyView>(201)
        .answers::<StoredKeyView>(200)
        .at(Method::POST, "/api/v1/llm/providers/keys/test", admin, test)
        .says("Ask the provider about a stored key, or about one that is stored nowhere")
        .takes::<Trial>()
        .answers::<KeyTriedView>(200)
        .at(Method::POST, "/api/v1/llm/providers/keys/import", admin, import)
        .says("Store many keys: lines, .env, JSON or CSV, at most 2 MiB")
        .with("provider", "Whose all of them are; else each line says so, or the form of its key.")
        .with("dry_run", "true: answer the same, and store nothing.")
        .with("test", "false: do not ask the providers first.")
        .takes_text()
        .answers::<ImportView>(200)
}

/// A key to store.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    /// Name of its provider.
    provider_type: String,
    /// The key.
    api_key: Hidden,
    /// Its name; the provider's when nobody says.
    name: Option<String>,
    /// A second secret, where the provider has one.
    api_secret: Option<Hidden>,
    /// 100 production, 50 to 90 backup, below 50 testing; 100 when nobody says.
    priority: Option<i64>,
    /// Neither tested nor handed out when false.
    is_active: Option<bool>,
    /// An object: endpoint, model, version.
    config: Option<Value>,
    /// Where a provider that nobody knows yet is.
    base_url: Option<String>,
    /// E-mail address of whoever answers for it.
    owner: Option<String>,
    /// What it is for.
    note: Option<String>,
    /// Until when it is good: a day or a moment.
    expires_at: Option<String>,
    /// Store it as invalid when its provider does not accept it; never a key of the wrong kind.
    #[serde(default)]
    force: bool,
}

/// A key to ask about.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Trial {
    /// Name of its provider.
    provider_type: String,
    /// The key; null for a stored one.
    api_key: Option<Hidden>,
    /// Which stored one; else the one that counts most.
    id: Option<String>,
}

/// How keys are imported.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct How {
    provider: Option<String>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default = "yes")]
    test: bool,
}

fn yes() -> bool {
    true
}

async fn put(State(api): State<Api>, caller: Caller, Body(new): Body<NewKey>) -> Result<Response, Problem> {
    let put = PutKey {
        provider: new.provider_type,
        base_url: new.base_url,
        name: new.name,
        secret: new.api_key.key()?,
        api_secret: new.api_secret.map(Hidden::key).transpose()?,
        priority: new.priority,
        is_active: new.is_active,
        settings: new.config,
        owner: new.owner,
        note: new.note,
        expires_at: new.expires_at.as_deref().map(moment).transpose()?,
        force: new.force,
    };
    let is_asked_about = !put.secret.is_placeholder();
    let engine = api.engine_for(&caller);
    let stored = async {
        Ok(match api.whole(async move { commands::put_key(&engine, put).await }).await? {
            Put::Added(key) => (StatusCode::CREATED, Json(key)),
            Put::Replaced(key) => (StatusCode::OK, Json(key)),
        })
    };
    if is_asked_about {
        return Ok(api.limited(Limit::TESTS, &caller, stored).await);
    }
    stored.await.map(IntoResponse::into_response)
}

async fn test(State(api): State<Api>, caller: Caller, Body(trial): Body<Trial>) -> Result<Response, Problem> {
    if trial.api_key.is_some() && trial.id.is_some() {
        return Err(Problem::malformed("either a key, or the id of a stored one"));
    }
    let given = trial.api_key.map(Hidden::key).transpose()?;
    let engine = api.engine_for(&caller);
    let tried = api.whole(async move {
        match given {
            Some(key) => commands::try_given(&engine, &trial.provider_type, &key).await,
            None => commands::try_stored(&engine, &trial.provider_type, trial.id.as_deref()).await,
        }
    });
    Ok(api.limited(Limit::TESTS, &caller, async { tried.await.map(Json) }).await)
}

/// Providers are asked at their own pace, which may take minutes: the answer begins at once, and says by blanks, which are
/// nothing in JSON, that it goes on.
async fn import(
    State(api): State<Api>,
    caller: Caller,
    Query(how): Query<How>,
    text: Bytes,
) -> Result<Response, Problem> {
    let text = std::str::from_utf8(&text).map_err(|_| Problem::malformed("the body is not text in UTF-8"))?;
    let engine = api.engine_for(&caller);
    let rows = commands::read_pasted(&engine, text, how.provider.as_deref()).await?;
    let import = Import { rows: commands::decrypted(rows, None), test: how.test, dry_run: how.dry_run };
    let (sender, body) = Channel::<Bytes, EngineError>::new(1);
    let begun = async {
        api.begin(imported(engine, import, sender));
        Ok(([(CONTENT_TYPE, "application/json")], Stream::new(body)))
    };
    Ok(if how.test { api.limited(Limit::TESTS, &caller, begun).await } else { begun.await.into_response() })
}

async fn imported(engine: Engine, import: Import, mut to: Sender<Bytes, EngineError>) {
    let working = engine.clone();
    // By itself: who reads slowly, or has gone, does not hold it up.
    let mut work = tokio::spawn(async move { commands::import(&working, import, &mut |_| ()).await });
    let rows = loop {
        tokio::select! {
            rows = &mut work => break rows,
            () = engine.clock().sleep(SIGN_OF_LIFE) => {
                to.send_data(Bytes::from_static(b" ")).await.ok();
            }
        }
    };
    match rows {
        Ok(Ok(rows)) => {
            let view = ImportView::from(commands::imported_views(rows));
            to.send_data(Bytes::from(serde_json::to_string(&view).unwrap_or_default())).await.ok();
        }
        Ok(Err(error)) => to.abort(error),
        Err(_) => {}
    }
}
