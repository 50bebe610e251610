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

    /// The query of this page.
    fn here(&self) -> String {
        self.query.at(self.query.page)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::role::Role;
    use crate::domain::time::Timestamp;

    fn key(n: i64) -> KeyView {
        let at = "2026-12-01T03:04:05.678Z";
        KeyView {
            id: format!("01a222a6-585c-768e-9dde-{n:012}"),
            provider_type: "vision-nova".to_owned(),
            name: "pictures of the shop, spare".to_owned(),
            number: Some(100_000 + n),
            masked_key: "sk-or-v...1234".to_owned(),
            priority: 100,
            is_active: false,
            status: "quota_exhausted".to_owned(),
            status_detail: None,
            last_tested_at: Some(at.to_owned()),
            latency_ms: Some(900),
            config: serde_json::json!({}),
            created_at: at.to_owned(),
            updated_at: at.to_owned(),
            rotation: None,
            generation: None,
            role: "manual",
            owner: Some("ada.lovelace@research.example.com".to_owned()),
            note: None,
            expires_at: Some(at.to_owned()),
            handed_out_at: None,
        }
    }

    /// However many keys there are, a page of them is small.
    #[test]
    fn a_page_of_many_keys_is_small() {
        let who = ("ada@example.com".to_owned(), Role::Admin);
        let frame = Frame::known("/ops".to_owned(), "/keys".to_owned(), who, "0f".repeat(32), Timestamp(0));
        let page = KeysPage {
            frame,
            keys: (0..PER_PAGE).map(key).collect(),
            total: 10_000,
            query: Query::none(),
            providers: (0..30).map(|n| format!("provider-{n}")).collect(),
            statuses: Verdict::ALL.map(Verdict::as_str).to_vec(),
            is_live: false,
        };
        let html = page.render().unwrap();
        assert!(html.len() <= 60 * 1024, "{} bytes", html.len());
        assert!(html.contains("10000 keys, 50 on page 1") && html.contains("/ops/keys?page=2"), "{html}");
    }
}
