//! What is done to keys that were picked from the list. A deletion goes to a page first that says what the rules say.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use tokio_util::sync::CancellationToken;

use crate::engine::commands::{self, Deed, KeyView, Scope, UndoneView, Which, Why};
use crate::http::dashboard::fields::Fields;
use crate::http::dashboard::frame::Frame;
use crate::http::dashboard::parts;
use crate::http::dashboard::visit::{Visit, page};
use crate::http::problem::Problem;

/// More are not picked at once.
const MOST: usize = 200;

#[derive(Template)]
#[template(path = "keys_delete.html")]
struct DeletePage {
    frame: Frame,
    keys: Vec<KeyView>,
    /// What breaks, of one key.
    breaks: Vec<String>,
    /// Why the rules refuse it; none when they allow it.
    refused: Option<String>,
    ids: String,
    /// The query of the list that they were picked from.
    back: String,
}

#[derive(Template)]
#[template(path = "keys_undone.html")]
struct UndonePage {
    frame: Frame,
    asked: usize,
    undone: Vec<UndoneView>,
}

/// The ids of a form: those that were ticked, or all that were shown.
fn ids(fields: &Fields) -> Result<Vec<String>, Problem> {
    let ids: Vec<String> = if fields.is_ticked("all") {
        fields.text("shown").split_whitespace().map(str::to_owned).collect()
    } else {
        fields.all("ids").flat_map(str::split_whitespace).map(str::to_owned).collect()
    };
    match ids.len() {
        0 => Err(Problem::malformed("no key was picked: tick one, or all on the page")),
        1..=MOST => Ok(ids),
        n => Err(Problem::malformed(&format!("at most {MOST} keys at once, not {n}"))),
    }
}

pub(super) async fn act(visit: Visit, fields: Fields) -> Result<Response, Problem> {
    let (ids, back) = (ids(&fields)?, fields.text("back"));
    match fields.text("what") {
        "test" => test(&visit, ids, back).await,
        "activate" => do_to_each(&visit, ids, Deed::Activate, back).await,
        "deactivate" => do_to_each(&visit, ids, Deed::Deactivate, back).await,
        "delete" => ask_about(&visit, ids, back).await,
        _ => Err(Problem::malformed("the form does not say what is to be done")),
    }
}

/// Tests go on when they take longer than somebody waits; the page shows each verdict as it comes.
async fn test(visit: &Visit, ids: Vec<String>, back: &str) -> Result<Response, Problem> {
    let scope = Scope { which: Which::Keys(ids), why: Why::Person };
    let tested = visit.begun(move |engine| async move {
        commands::check_keys(&engine, &scope, &CancellationToken::new()).await
    });
    Ok(match tested.await? {
        Some(_) => visit.done_in("/keys", back, "tested"),
        None => visit.done_in("/keys", back, "testing"),
    })
}

pub(super) async fn ask_about_one(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    ask_about(&visit, vec![id], "").await
}

/// Which keys, what breaks, and what the rules say: nothing is changed yet.
async fn ask_about(visit: &Visit, ids: Vec<String>, back: &str) -> Result<Response, Problem> {
    let engine = visit.engine();
    let (mut keys, mut breaks) = (Vec::new(), Vec::new());
    for id in &ids {
        let key = commands::key_with_id(engine, id).await?;
        breaks.extend(commands::key_page_view(engine, &key).await?.breaks);
        keys.push(commands::key_view(&key));
    }
    breaks.dedup();
    let asked = ids.clone();
    let allowed =
        visit.whole(move |engine| async move { commands::may_go(&engine, &asked).await.map(drop) }).await;
    let refused = match allowed {
        Ok(()) => None,
        Err(problem) if problem.status().is_server_error() => return Err(problem),
        Err(problem) => Some(problem.detail().to_owned()),
    };
    page(&DeletePage {
        frame: visit.frame("Delete keys"),
        keys,
        breaks,
        refused,
        ids: ids.join(" "),
        back: back.to_owned(),
    })
}

pub(super) async fn delete(visit: Visit, fields: Fields) -> Result<Response, Problem> {
    let deed = Deed::Delete { at_provider: fields.is_ticked("at_provider") };
    do_to_each(&visit, ids(&fields)?, deed, fields.text("back")).await
}

async fn do_to_each(visit: &Visit, ids: Vec<String>, deed: Deed, back: &str) -> Result<Response, Problem> {
    let asked = ids.len();
    let done =
        visit.begun(move |engine| async move { commands::do_to_each(&engine, &ids, deed).await }).await?;
    match done {
        None => Ok(visit.done_in("/keys", back, "going-on")),
        Some(undone) if undone.is_empty() => {
            let what = if matches!(deed, Deed::Delete { .. }) { "deleted" } else { "changed" };
            Ok(visit.done_in("/keys", back, what))
        }
        Some(undone) => page(&UndonePage { frame: visit.frame("Not all of it was done"), asked, undone }),
    }
}
