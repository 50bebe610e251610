//! Keys are added in three steps: paste, preview, result. Between the first two the paste waits sealed in the store, so that
//! no page carries a key back; a row of the result says what became of each line.

use askama::Template;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::channel::Channel;

use super::fields::Fields;
use super::frame::Frame;
use super::key::{day, settings};
use super::parts;
use super::visit::{Visit, page, page_after};
use crate::domain::role::Permission::Keys;
use crate::engine::commands::{
    self, ImportedView, Pasting, ProviderView, Said, Way, imported_views, provider_views,
};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

/// Where a paste goes: it may be longer than other requests.
pub(in crate::http) const PASTE: &str = "/keys/add";

pub(super) fn routes() -> Routes {
    let admin = Allow::May(Keys);
    Routes::default()
        .at(Method::GET, PASTE, admin, form)
        .at(Method::POST, PASTE, admin, keep)
        .at(Method::GET, "/keys/add/{paste}", admin, preview)
        .at(Method::POST, "/keys/add/{paste}", admin, import)
}

#[derive(Template)]
#[template(path = "add.html")]
struct AddPage {
    frame: Frame,
    providers: Vec<ProviderView>,
    form: Form,
    failed: Option<String>,
}

/// What was filled in, but for what was pasted.
#[derive(Default)]
struct Form {
    of: String,
    name: String,
    priority: String,
    owner: String,
    note: String,
    expires: String,
    settings: String,
    untested: bool,
}

impl Form {
    fn filled_in(fields: &Fields) -> Self {
        let text = |name| fields.text(name).trim().to_owned();
        Self {
            of: text("of"),
            name: text("name"),
            priority: text("priority"),
            owner: text("owner"),
            note: text("note"),
            expires: text("expires"),
            settings: text("settings"),
            untested: fields.is_ticked("untested"),
        }
    }

    fn pasting(&self) -> Result<Pasting, String> {
        let said = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let priority = said(&self.priority).map(|text| text.parse::<i64>());
        Ok(Pasting {
            of: said(&self.of),
            said: Said {
                name: said(&self.name),
                priority: priority.transpose().map_err(|_| "the priority is a number, 0 to 100")?,
                settings: said(&self.settings).map(|text| settings(&text)).transpose()?,
                owner: said(&self.owner),
                note: said(&self.note),
                expires_at: said(&self.expires).map(|text| day(&text)).transpose()?,
            },
            test: !self.untested,
        })
    }
}

#[derive(Template)]
#[template(path = "preview.html")]
struct PreviewPage {
    frame: Frame,
    paste: String,
    pasting: Pasting,
    rows: Vec<ImportedView>,
}

impl PreviewPage {
    fn new_keys(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row.outcome, "added" | "placeholder")).count()
    }
}

#[derive(Template)]
#[template(path = "imported.html")]
struct ImportedPage {
    frame: Frame,
}

#[derive(Template)]
#[template(path = "imported_rows.html")]
struct ImportedRows {
    frame: Frame,
    rows: Vec<ImportedView>,
    failed: Option<String>,
}

impl ImportedRows {
    fn count(&self, outcome: &str) -> usize {
        self.rows.iter().filter(|row| row.outcome == outcome).count()
    }
}

/// A paste is bound to the session of a person.
fn session(visit: &Visit) -> Result<String, Problem> {
    match &visit.caller().identity.way {
        Way::Session(id) => Ok(id.clone()),
        Way::Token(_) => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "a program has no paste that waits for it: it uses the API",
        )),
    }
}

async fn form(visit: Visit) -> Result<Response, Problem> {
    let form = Form { of: visit.asked("provider").unwrap_or_default(), ..Form::default() };
    page(&add_page(&visit, form, None).await?)
}

async fn add_page(visit: &Visit, form: Form, failed: Option<String>) -> Result<AddPage, Problem> {
    let providers = provider_views(visit.engine()).await?;
    Ok(AddPage { frame: visit.frame("Add keys"), providers, form, failed })
}

async fn keep(visit: Visit, fields: Fields) -> Result<Response, Problem> {
    let session = session(&visit)?;
    let form = Form::filled_in(&fields);
    let kept = match form.pasting() {
        Ok(pasting) => {
            let text = fields.secret("keys");
            let kept = commands::keep_paste(visit.engine(), &session, &pasting, &text).await;
            kept.map_err(Problem::from)
        }
        Err(why) => Err(Problem::malformed(&why)),
    };
    match kept {
        Ok(id) => Ok(visit.to(&format!("{PASTE}/{id}"))),
        Err(problem) => {
            let failed = Some(problem.detail().to_owned());
            page_after(&add_page(&visit, form, failed).await?, problem)
        }
    }
}

async fn preview(visit: Visit, Path(paste): Path<String>) -> Result<Response, Problem> {
    let (pasting, rows) = commands::preview_paste(visit.engine(), &session(&visit)?, &paste).await?;
    page(&PreviewPage { frame: visit.frame("Preview"), paste, pasting, rows: imported_views(rows) })
}

/// The providers are asked at their pace: the page comes at once, and its rows when all are answered.
async fn import(visit: Visit, Path(paste): Path<String>) -> Result<Response, Problem> {
    let taken = commands::take_paste(visit.engine(), &session(&visit)?, &paste).await?;
    let (head, tail) = halves(&ImportedPage { frame: visit.frame("What became of each line") })?;
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        // Who leaves meanwhile finds the keys in the list.
        drop(sender.send_data(Bytes::from(head)).await);
        let done =
            visit.whole(move |engine| async move { commands::import_paste(&engine, taken).await }).await;
        let (rows, failed) = match done {
            Ok(rows) => (imported_views(rows), None),
            Err(problem) => (Vec::new(), Some(problem.detail().to_owned())),
        };
        let rows = ImportedRows { frame: visit.frame(""), rows, failed }.render().unwrap_or_default();
        drop(sender.send_data(Bytes::from(rows + &tail)).await);
    });
    Ok(([(CONTENT_TYPE, "text/html; charset=utf-8")], Body::new(body)).into_response())
}

/// Stands where the rows come.
const ROWS: &str = "<!-- rows -->";

fn halves(template: &ImportedPage) -> Result<(String, String), Problem> {
    let whole = template.render().map_err(|error| {
        tracing::error!(%error, "a page could not be made");
        Problem::from(StatusCode::INTERNAL_SERVER_ERROR)
    })?;
    let (head, tail) = whole.split_once(ROWS).unwrap_or((&whole, ""));
    Ok((head.to_owned(), tail.to_owned()))
}
