//! Providers: a card each, with counts and states for everybody, and for admins the keys behind them.

use askama::Template;
use axum::extract::Path;
use axum::http::Method;
use axum::response::Response;
use tokio_util::sync::CancellationToken;

use super::fields::Fields;
use super::frame::Frame;
use super::parts;
use super::visit::{Visit, page};
use crate::domain::role::Permission::{Keys, Look};
use crate::engine::commands::{
    self, AddProvider, DeletedProviderView, ProviderCardView, ProviderView, Scope, Which, Why,
    deleted_provider_view, provider_cards,
};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    let admin = Allow::May(Keys);
    Routes::default()
        .at(Method::GET, "/providers", Allow::May(Look), list)
        .at(Method::POST, "/providers", admin, add)
        .at(Method::POST, "/providers/{name}/test", admin, test)
        .at(Method::GET, "/providers/{name}/delete", admin, ask)
        .at(Method::POST, "/providers/{name}/delete", admin, delete)
}

#[derive(Template)]
#[template(path = "providers.html")]
struct ProvidersPage {
    frame: Frame,
    /// Those with keys, the worst first.
    configured: Vec<ProviderCardView>,
    others: Vec<ProviderCardView>,
    /// Of the catalog, for one under a name of its own.
    kinds: Vec<String>,
}

#[derive(Template)]
#[template(path = "provider_delete.html")]
struct DeletePage {
    frame: Frame,
    provider: ProviderView,
    /// Why the rules refuse it.
    refused: Option<String>,
}

#[derive(Template)]
#[template(path = "provider_deleted.html")]
struct DeletedPage {
    frame: Frame,
    deleted: DeletedProviderView,
}

/// Two letters that stand for it.
fn monogram(provider: &ProviderView) -> String {
    let words = provider.name.split([' ', '-', '.']).filter(|word| !word.is_empty());
    let initials: String = words.filter_map(|word| word.chars().next()).take(2).collect();
    let letters =
        if initials.chars().count() < 2 { provider.name.chars().take(2).collect() } else { initials };
    letters.to_uppercase()
}

/// What its keys can do, in words.
fn good_for(provider: &ProviderView) -> String {
    let words = provider.capabilities.iter().map(|one| one.word()).filter(|word| *word != ROTATES);
    words.collect::<Vec<_>>().join(", ")
}

/// Said beside it in other words.
const ROTATES: &str = "rotates_by_api";

async fn list(visit: Visit) -> Result<Response, Problem> {
    let cards = provider_cards(visit.engine()).await?;
    let of_catalog = cards.iter().filter(|card| card.provider.provider_type == card.provider.kind);
    let kinds = of_catalog.map(|card| card.provider.kind.clone()).collect();
    let (mut configured, others): (Vec<_>, Vec<_>) =
        cards.into_iter().partition(|card| card.provider.configured || is_added(card));
    configured.sort_by_key(|card| !needs_somebody(card));
    page(&ProvidersPage { frame: visit.frame("Providers"), configured, others, kinds })
}

fn is_added(card: &ProviderCardView) -> bool {
    card.provider.provider_type != card.provider.kind
}

fn needs_somebody(card: &ProviderCardView) -> bool {
    let worst = card.states.first().map(|(word, _)| word.as_str()).unwrap_or_default();
    card.unreachable_since.is_some() || matches!(parts::tone(worst), "bad" | "warn")
}

async fn add(visit: Visit, fields: Fields) -> Result<Response, Problem> {
    let text = |name| Some(fields.text(name).trim().to_owned()).filter(|text| !text.is_empty());
    let provider = AddProvider {
        name: fields.text("name").trim().to_owned(),
        kind: text("kind"),
        base_url: text("base_url"),
        title: text("title"),
    };
    visit.whole(move |engine| async move { commands::add_provider(&engine, provider).await }).await?;
    Ok(visit.done("/providers", "changed"))
}

async fn test(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    // A name that nobody knows is said so before anything is asked.
    commands::provider_view(visit.engine(), &name).await?;
    let scope = Scope { which: Which::Provider(name), why: Why::Person };
    let tested = visit.begun(move |engine| async move {
        commands::check_keys(&engine, &scope, &CancellationToken::new()).await
    });
    let word = if tested.await?.is_some() { "tested" } else { "testing" };
    Ok(visit.done("/providers", word))
}

async fn ask(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    let provider = commands::provider_view(visit.engine(), &name).await?;
    let allowed =
        visit.whole(move |engine| async move { commands::removable(&engine, &name).await.map(drop) }).await;
    let refused = match allowed {
        Ok(()) => None,
        Err(problem) if problem.status().is_server_error() => return Err(problem),
        Err(problem) => Some(problem.detail().to_owned()),
    };
    page(&DeletePage { frame: visit.frame(format!("Remove {}", provider.name)), provider, refused })
}

async fn delete(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    let title = format!("{name} is removed");
    let deleted = visit
        .whole(move |engine| async move {
            let keys = commands::delete_provider(&engine, &name).await?;
            Ok(deleted_provider_view(&name, &keys))
        })
        .await?;
    page(&DeletedPage { frame: visit.frame(title), deleted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monogram_has_two_letters() {
        let named = |name: &str| ProviderView {
            provider_type: String::new(),
            kind: String::new(),
            name: name.to_owned(),
            description: "",
            key_format: "",
            docs_url: "",
            base_url: None,
            configured: false,
            status: String::new(),
            keys_total: 0,
            keys_valid: 0,
            capabilities: &[],
        };
        assert_eq!(monogram(&named("Together AI")), "TA");
        assert_eq!(monogram(&named("OpenRouter")), "OP");
        assert_eq!(monogram(&named("vision-nova")), "VN");
    }
}
