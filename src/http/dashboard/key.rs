//! One key: how it is, how it was, what breaks when it dies, and what is changed of it.

use askama::Template;
use axum::extract::Path;
use axum::http::Method;
use axum::response::Response;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::fields::Fields;
use super::frame::Frame;
use super::parts::{self, Html};
use super::visit::{Visit, page, page_after};
use crate::domain::role::Permission::Keys;
use crate::domain::time::Timestamp;
use crate::engine::commands::{
    self, DayView, Expiry, KeyPageView, KeyView, Scope, UpdateKey, Which, Why, key_page_view, key_with_id,
};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    let admin = Allow::May(Keys);
    Routes::default()
        .at(Method::GET, "/keys/{id}", admin, show)
        .at(Method::POST, "/keys/{id}", admin, edit)
        .at(Method::POST, "/keys/{id}/test", admin, test)
}

#[derive(Template)]
#[template(path = "key.html")]
struct KeyPage {
    frame: Frame,
    view: KeyPageView,
    /// What was filled in.
    form: Form,
    /// Why it was not taken.
    failed: Option<String>,
}

/// The fields of the form, as text. A secret is not among them: no form carries one back.
struct Form {
    name: String,
    priority: String,
    owner: String,
    note: String,
    expires: String,
    settings: String,
    active: bool,
}

impl Form {
    fn of(key: &KeyView) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            name: key.name.clone(),
            priority: key.priority.to_string(),
            owner: text(&key.owner),
            note: text(&key.note),
            expires: text(&key.expires_at).chars().take(DAY_LETTERS).collect(),
            settings: settings_text(&key.config),
            active: key.is_active,
        }
    }

    fn filled_in(fields: &Fields) -> Self {
        let text = |name| fields.text(name).trim().to_owned();
        Self {
            name: text("name"),
            priority: text("priority"),
            owner: text("owner"),
            note: text("note"),
            expires: text("expires"),
            settings: text("settings"),
            active: fields.is_ticked("active"),
        }
    }

    /// What it changes of a key: of a field that was left as it was, nothing.
    fn changes(&self, key: &KeyView) -> Result<UpdateKey, String> {
        let was = Self::of(key);
        let differs = |now: &String, was: &String| (now != was).then(|| now.clone());
        let priority = differs(&self.priority, &was.priority);
        let priority = priority.map(|text| text.parse().map_err(|_| "the priority is a number, 0 to 100"));
        let settings = differs(&self.settings, &was.settings).map(|text| settings(&text));
        Ok(UpdateKey {
            name: differs(&self.name, &was.name),
            priority: priority.transpose()?,
            owner: differs(&self.owner, &was.owner),
            note: differs(&self.note, &was.note),
            expiry: differs(&self.expires, &was.expires).map_or(Ok(Expiry::AsItWas), |text| expiry(&text))?,
            settings: settings.transpose()?,
            is_active: (self.active != was.active).then_some(self.active),
            ..UpdateKey::default()
        })
    }
}

/// Letters of a day, `2026-12-01`.
const DAY_LETTERS: usize = 10;

fn settings_text(settings: &Value) -> String {
    match settings.as_object() {
        Some(fields) if fields.is_empty() => String::new(),
        _ => serde_json::to_string_pretty(settings).unwrap_or_default(),
    }
}

/// Settings as somebody typed them; nothing typed is no settings.
pub(super) fn settings(text: &str) -> Result<Value, String> {
    let text = if text.is_empty() { "{}" } else { text };
    let value = serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
    value.ok_or_else(|| "the settings are not one JSON object, like {\"model\": \"…\"}".to_owned())
}

fn expiry(text: &str) -> Result<Expiry, String> {
    if text.is_empty() {
        return Ok(Expiry::Never);
    }
    day(text).map(Expiry::At)
}

/// A day as somebody typed it.
pub(super) fn day(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_day_or_time(text).ok_or_else(|| "the day it expires is like 2027-01-31".to_owned())
}

impl KeyPage {
    fn key(&self) -> &KeyView {
        &self.view.shown.key
    }

    /// A generation changes only through its rotation.
    fn may_edit(&self) -> bool {
        self.key().rotation.is_none() && self.key().number.is_some()
    }

    /// 90 days as cells, oldest first; the list below it says the same in words.
    fn strip(&self) -> Html {
        strip(&self.view.days)
    }

    fn uptime(&self) -> Option<String> {
        self.view.shown.history.summary.uptime.map(|part| format!("{:.1} %", 100.0 * part))
    }
}

/// Days of the strip, and the width of one.
const CELLS: i64 = 90;
const CELL: i64 = 4;

fn strip(days: &[DayView]) -> Html {
    let cells = days.iter().filter(|day| (0..CELLS).contains(&day.ago)).map(|day| {
        let x = (CELLS - 1 - day.ago) * CELL;
        format!(
            "<rect class=\"{}\" x=\"{x}\" width=\"{}\" height=\"24\"/>",
            parts::tone(&day.worst),
            CELL - 1
        )
    });
    Html::of(format!(
        "<svg class=\"strip\" viewBox=\"0 0 {} 24\" role=\"img\" aria-label=\"Tests of the last 90 days\">{}</svg>",
        CELLS * CELL,
        cells.collect::<String>()
    ))
}

async fn show(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let key = key_with_id(visit.engine(), &id).await?;
    let view = key_page_view(visit.engine(), &key).await?;
    let form = Form::of(&view.shown.key);
    page(&KeyPage { frame: framed(&visit, &view.shown.key), view, form, failed: None })
}

fn framed(visit: &Visit, key: &KeyView) -> Frame {
    let number = key.number.map(|number| format!(" {number}")).unwrap_or_default();
    visit.frame(format!("{}{number}", key.provider_type))
}

/// Changes it; what was not taken is said where it was filled in.
async fn edit(visit: Visit, Path(id): Path<String>, fields: Fields) -> Result<Response, Problem> {
    let key = key_with_id(visit.engine(), &id).await?;
    let view = key_page_view(visit.engine(), &key).await?;
    let form = Form::filled_in(&fields);
    let changed = match form.changes(&view.shown.key) {
        Ok(changes) => change(&visit, &view.shown.key, with_secret(changes, &fields)).await,
        Err(why) => Err(Problem::malformed(&why)),
    };
    match changed {
        Ok(()) => Ok(visit.done(&format!("/keys/{id}"), "changed")),
        Err(problem) => {
            let (frame, failed) = (framed(&visit, &view.shown.key), Some(problem.detail().to_owned()));
            page_after(&KeyPage { frame, view, form, failed }, problem)
        }
    }
}

fn with_secret(changes: UpdateKey, fields: &Fields) -> UpdateKey {
    let secret = |name| Some(fields.secret(name)).filter(|secret| !secret.expose().is_empty());
    UpdateKey { secret: secret("secret"), api_secret: secret("api_secret"), ..changes }
}

async fn change(visit: &Visit, key: &KeyView, changes: UpdateKey) -> Result<(), Problem> {
    let (provider, number) = (key.provider_type.clone(), key.number.unwrap_or_default());
    let updated = visit
        .whole(move |engine| async move { commands::update_key(&engine, &provider, number, changes).await });
    updated.await.map(drop)
}

/// The answer comes with the page, unless the provider takes its time.
async fn test(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let scope = Scope { which: Which::Key(key_with_id(visit.engine(), &id).await?.id), why: Why::Person };
    let tested = visit.begun(move |engine| async move {
        commands::check_keys(&engine, &scope, &CancellationToken::new()).await
    });
    let word = if tested.await?.is_some() { "tested" } else { "testing" };
    Ok(visit.done(&format!("/keys/{id}"), word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(ago: i64, worst: &str) -> DayView {
        DayView { ago, day: String::new(), worst: worst.to_owned() }
    }

    #[test]
    fn today_is_the_last_cell_of_the_strip() {
        let drawn = strip(&[day(89, "valid"), day(0, "invalid"), day(90, "valid")]).to_string();
        assert!(drawn.contains("<rect class=\"good\" x=\"0\""), "{drawn}");
        assert!(drawn.contains("<rect class=\"bad\" x=\"356\""), "{drawn}");
        assert_eq!(drawn.matches("<rect").count(), 2, "{drawn}");
    }

    #[test]
    fn settings_are_an_object_or_nothing() {
        assert_eq!(settings("").unwrap(), serde_json::json!({}));
        assert!(settings("[1]").is_err() && settings("{").is_err());
        assert_eq!(settings_text(&serde_json::json!({})), "");
    }
}
