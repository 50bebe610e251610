//! Stored keys: found by filters that stand in the address, and what is done to those that were picked.

mod picked;
mod query;
mod table;

use askama::Template;
use axum::http::Method;
use axum::response::Response;

use self::query::{PER_PAGE, Query};
use super::frame::Frame;
use super::parts;
use super::visit::{Visit, page};
use crate::domain::role::Permission::Keys;
use crate::domain::verdict::Verdict;
use crate::engine::commands::{self, KeyView, find_keys, provider_names};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    let admin = Allow::May(Keys);
    Routes::default()
        .at(Method::GET, "/keys", admin, list)
        .at(Method::GET, "/keys.csv", admin, table::csv)
        .at(Method::POST, "/keys/picked", admin, picked::act)
        .at(Method::GET, "/keys/{id}/delete", admin, picked::ask_about_one)
        .at(Method::POST, "/keys/delete", admin, picked::delete)
}

#[derive(Template)]
#[template(path = "keys.html")]
struct KeysPage {
    frame: Frame,
    keys: Vec<KeyView>,
    total: i64,
    query: Query,
    providers: Vec<String>,
    statuses: Vec<&'static str>,
    /// Verdicts are on their way.
    is_live: bool,
}

impl KeysPage {
    fn before(&self) -> Option<String> {
        self.at(self.query.page - 1)
    }

    fn after(&self) -> Option<String> {
        self.at(self.query.page + 1)
    }

    /// Address of another page of the list, where there is one.
    fn at(&self, number: i64) -> Option<String> {
        let exists = number >= 1 && (number - 1) * PER_PAGE < self.total;
        exists.then(|| format!("{}/keys?{}", self.frame.base, self.query.at(number)))
    }

    fn csv(&self) -> String {
        format!("{}/keys.csv?{}", self.frame.base, self.query.at(1))
    }
}

async fn list(visit: Visit) -> Result<Response, Problem> {
    let query = Query::of(&visit);
    let found = find_keys(visit.engine(), query.asked()?).await?;
    page(&KeysPage {
        frame: visit.frame("Keys"),
        keys: found.keys,
        total: found.total,
        providers: provider_names(visit.engine()).await?,
        statuses: Verdict::ALL.map(Verdict::as_str).into_iter().chain([commands::PLACEHOLDER]).collect(),
        is_live: visit.asked("done").as_deref() == Some("testing"),
        query,
    })
}
