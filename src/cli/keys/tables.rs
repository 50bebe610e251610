//! What tables of keys show.

use super::super::output::{Column, column, or_dash, yes_or_no};
use crate::engine::commands::{KeyView, SuggestionView, TestedKeyView};

pub(super) const KEYS: &[Column<KeyView>] = &[
    column("provider", |key| key.provider_type.clone()),
    column("no", |key| or_dash(key.number.as_ref())),
    column("name", |key| key.name.clone()),
    column("key", |key| key.masked_key.clone()),
    column("priority", |key| key.priority.to_string()),
    column("active", |key| yes_or_no(key.is_active)),
    column("status", |key| key.status.clone()),
    column("rotation", |key| or_dash(key.rotation.as_ref().map(|name| place_in(name, key)).as_ref())),
    column("last tested", |key| or_dash(key.last_tested_at.as_ref())),
];

pub(super) const ONE: &[Column<KeyView>] = &[
    column("provider", |key| key.provider_type.clone()),
    column("number", |key| or_dash(key.number.as_ref())),
    column("name", |key| key.name.clone()),
    column("key", |key| key.masked_key.clone()),
    column("priority", |key| key.priority.to_string()),
    column("active", |key| key.is_active.to_string()),
    column("status", |key| key.status.clone()),
    column("detail", |key| or_dash(key.status_detail.as_ref())),
    column("rotation", |key| or_dash(key.rotation.as_ref())),
    column("generation", |key| or_dash(key.generation.as_ref())),
    column("role", |key| key.role.to_owned()),
    column("last tested", |key| or_dash(key.last_tested_at.as_ref())),
    column("owner", |key| or_dash(key.owner.as_ref())),
    column("note", |key| or_dash(key.note.as_ref())),
    column("expires", |key| or_dash(key.expires_at.as_ref())),
    column("last handed out", |key| or_dash(key.handed_out_at.as_ref())),
    column("created", |key| key.created_at.clone()),
];

pub(super) const SUGGESTIONS: &[Column<SuggestionView>] = &[
    column("about", |one| one.about.to_owned()),
    column("provider", |one| one.provider_type.clone()),
    column("no", |one| or_dash(one.number.as_ref())),
    column("key", |one| or_dash(one.masked_key.as_ref())),
    column("what", |one| one.text.clone()),
];

pub(super) const TESTED: &[Column<TestedKeyView>] = &[
    column("provider", |key| key.provider_type.clone()),
    column("no", |key| or_dash(key.number.as_ref())),
    column("name", |key| key.name.clone()),
    column("key", |key| key.masked_key.clone()),
    column("outcome", |key| key.outcome.clone()),
    column("reason", |key| or_dash(key.reason.as_ref())),
    column("latency", |key| format!("{} ms", key.latency_ms)),
    column("status", |key| key.status.clone()),
    column("detail", |key| key.detail.clone()),
];

fn place_in(rotation: &str, key: &KeyView) -> String {
    format!("{rotation} generation {} ({})", or_dash(key.generation.as_ref()), key.role)
}
