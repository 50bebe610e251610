//! `/`: does production work, and what must I do now. The first screen of a phone holds the sentence, the worst alert and
//! what to do about it.

use askama::Template;
use axum::http::Method;
use axum::response::Response;

use super::frame::Frame;
use super::parts;
use super::visit::{Visit, page};
use crate::domain::role::Permission::Look;
use crate::engine::commands::{NowView, glance, now_view};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    Routes::default().at(Method::GET, "/", Allow::May(Look), show)
}

/// More are on the page of alerts.
const MOST: usize = 5;

#[derive(Template)]
#[template(path = "now.html")]
struct NowPage {
    frame: Frame,
    now: NowView,
    /// Alerts that are not shown here.
    more: usize,
}

impl NowPage {
    /// The class of the sentence's colour, and its glyph.
    fn tone(&self) -> (&'static str, &'static str) {
        match (self.now.works, self.now.needs_somebody) {
            (false, _) => ("bad", "✖"),
            (true, true) => ("warn", "▲"),
            (true, false) => ("good", "✓"),
        }
    }
}

async fn show(visit: Visit) -> Result<Response, Problem> {
    let mut now = now_view(visit.engine()).await?;
    let more = now.alerts.len().saturating_sub(MOST);
    now.alerts.truncate(MOST);
    page(&NowPage { frame: visit.frame("Now"), now, more })
}
