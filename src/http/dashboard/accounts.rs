//! Accounts at providers, and their keys there, live.

use askama::Template;
use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::response::Response;

use super::fields::Fields;
use super::frame::Frame;
use super::parts;
use super::visit::{PATIENCE, ROWS, Visit, page};
use crate::domain::key::MicroUsd;
use crate::domain::role::Permission::{Accounts as Change, Keys, Look};
use crate::engine::commands::{self, ACCOUNTS, Handling, ListedAccountView, RemoteKeyView};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

/// Keys of an account are rows with masks: they are for who may see those.
pub(super) fn routes() -> Routes {
    let changes = Allow::May(Change);
    Routes::default()
        .at(Method::GET, "/accounts", Allow::May(Look), list)
        .at(Method::GET, "/accounts/{name}", Allow::May(Keys), show)
        .at(Method::POST, "/accounts/{name}/thaw", changes, thaw)
        .at(Method::POST, "/accounts/{name}/keys", changes, handle)
}

#[derive(Template)]
#[template(path = "accounts.html")]
struct AccountsPage {
    frame: Frame,
    accounts: Vec<ListedAccountView>,
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Frame,
    name: String,
    frozen: Option<String>,
    keys: Vec<RemoteKeyView>,
}

impl AccountPage {
    fn is_last(&self, key: &RemoteKeyView) -> bool {
        is_last(key, &self.keys)
    }
}

/// Deleting the only key that works is not offered: the guard would refuse it.
fn is_last(key: &RemoteKeyView, keys: &[RemoteKeyView]) -> bool {
    !key.disabled && keys.iter().filter(|other| !other.disabled).count() == 1
}

/// A key of an account before it is disabled or deleted.
#[derive(Template)]
#[template(path = "account_key.html")]
struct AccountKeyPage {
    frame: Frame,
    name: String,
    key: RemoteKeyView,
    /// `disable` or `delete`.
    what: &'static str,
    is_last: bool,
}

async fn list(visit: Visit) -> Result<Response, Problem> {
    let accounts = commands::account_page(visit.engine(), &visit.wanted(&ACCOUNTS, ROWS)?).await?.items;
    page(&AccountsPage { frame: visit.frame("Accounts"), accounts })
}

async fn show(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    let frame = visit.frame(format!("Account {name}"));
    let all = commands::account_views(visit.engine()).await?;
    let frozen = all.into_iter().find(|account| account.name == name).and_then(|account| account.frozen);
    let asked = name.clone();
    let keys =
        visit.whole(move |engine| async move { commands::keys_at(&engine, &asked, PATIENCE).await }).await?;
    page(&AccountPage { frame, name, frozen, keys })
}

async fn thaw(visit: Visit, Path(name): Path<String>) -> Result<Response, Problem> {
    let address = format!("/accounts/{name}");
    visit.whole(move |engine| async move { commands::thaw_account(&engine, &name, PATIENCE).await }).await?;
    Ok(visit.done(&address, "thawed"))
}

/// One key, by the hash in the form: hashes come from the provider and stand in no address.
async fn handle(visit: Visit, Path(name): Path<String>, fields: Fields) -> Result<Response, Problem> {
    let (address, hash) = (format!("/accounts/{name}"), fields.text("hash").to_owned());
    let handling = handling(&fields)?;
    if !fields.is_ticked("sure")
        && let Some(what) = destroys(handling)
    {
        return ask(&visit, name, &hash, what).await;
    }
    let handled = visit.whole(move |engine| async move {
        commands::handle_at(&engine, &name, &hash, handling, PATIENCE).await
    });
    handled.await?;
    Ok(visit.done(&address, "changed"))
}

/// The word of what ends a key.
fn destroys(handling: Handling) -> Option<&'static str> {
    match handling {
        Handling::Disable => Some("disable"),
        Handling::Delete => Some("delete"),
        Handling::Enable | Handling::Limit(_) => None,
    }
}

/// What the account says of the key now, before anybody is asked whether it shall end.
async fn ask(visit: &Visit, name: String, hash: &str, what: &'static str) -> Result<Response, Problem> {
    let asked = name.clone();
    let keys =
        visit.whole(move |engine| async move { commands::keys_at(&engine, &asked, PATIENCE).await }).await?;
    let last = keys.iter().any(|key| key.hash == hash && is_last(key, &keys));
    let key = keys.into_iter().find(|key| key.hash == hash).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "not_found", "the account has no key with this hash")
    })?;
    let frame = visit.frame(format!("{what} a key of {name}"));
    page(&AccountKeyPage { frame, name, key, what, is_last: last })
}

fn handling(fields: &Fields) -> Result<Handling, Problem> {
    match fields.text("what") {
        "disable" => Ok(Handling::Disable),
        "enable" => Ok(Handling::Enable),
        "delete" => Ok(Handling::Delete),
        "limit" => match fields.text("usd") {
            "" => Ok(Handling::Limit(None)),
            usd => {
                let amount = usd.parse().ok().filter(|usd: &f64| usd.is_finite() && *usd > 0.0);
                let amount =
                    amount.ok_or_else(|| Problem::malformed("the limit: an amount of USD above 0"))?;
                Ok(Handling::Limit(Some(MicroUsd::from_usd(amount))))
            }
        },
        _ => Err(Problem::malformed("the form does not say what is to be done")),
    }
}
