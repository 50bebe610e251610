//! Every path of the API and of the dashboard, asked by every role in every way: the table is made from the router's own list, so that no path
//! can be added without standing in it.

use rekeyd::domain::role::{Permission, Role};
use rekeyd::http::{Allow, Declared, pages, routes};
use reqwest::Method;
use serde_json::json;

use super::site::{Login, Site};
use crate::support::{Db, World};

const PASSWORD: &str = "not a password of anybody";

/// A role with a session and a token.
struct Somebody {
    role: Role,
    session: Login,
    token: Login,
}

async fn somebody(world: &World, site: &Site, role: Role) -> Somebody {
    let (called, email) = (role.word(), format!("{}@example.com", role.word()));
    world.rekeyd_with(&["users", "add", &email, "--role", called], PASSWORD).await.ok();
    let made = world.rekeyd(&["tokens", "create", called, "--role", called, "--json"]).await.ok().json();
    let token = Login::token(made["token"].as_str().unwrap());
    Somebody { role, session: site.log_in(&email, PASSWORD).await.unwrap(), token }
}

/// What the design says, written once more: whether a role may ask for a path in this way.
fn may(allow: Allow, role: Role, in_person: bool) -> bool {
    match allow {
        Allow::Anyone | Allow::Known => true,
        Allow::May(Permission::Own) => in_person || role == Role::Admin,
        Allow::May(Permission::Look) => matches!(role, Role::Admin | Role::Operator | Role::Viewer),
        Allow::May(Permission::Operate) => matches!(role, Role::Admin | Role::Operator),
        Allow::May(Permission::Credentials) => matches!(role, Role::Admin | Role::Consumer),
        Allow::May(_) => role == Role::Admin,
    }
}

/// The path with names of nothing in it.
fn nowhere(declared: &Declared) -> String {
    let parts = declared.path.split('/').map(|part| if part.starts_with('{') { "nothing" } else { part });
    // A stream of events has no end: whoever is let in asks for what there is not.
    let asked = if declared.path == "/api/v1/events" { "?topics=nothing" } else { "" };
    parts.collect::<Vec<_>>().join("/") + asked
}

async fn status(site: &Site, declared: &Declared, login: &Login) -> u16 {
    let body = if declared.method == Method::GET { serde_json::Value::Null } else { json!({}) };
    site.ask(declared.method.clone(), &nowhere(declared), login, body).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_path_lets_in_whom_it_says_and_nobody_else() {
    let world = World::new(Db::Sqlite).await;
    let site = Site::start(&world).await;
    let mut all = Vec::new();
    for role in Role::ALL {
        all.push(somebody(&world, &site, role).await);
    }
    let routes = routes().and(pages());
    let ends = |declared: &&Declared| declared.path.ends_with("/logout");
    let (last, first): (Vec<&Declared>, Vec<&Declared>) =
        routes.declared().iter().filter(|declared| declared.path != "/logout").partition(ends);
    let mut wrong = Vec::new();
    for declared in first.into_iter().chain(last) {
        let (method, path, allow) = (&declared.method, declared.path, declared.allow);
        for (who, login) in [("nobody", Login::nobody()), ("a made-up token", Login::token("rk_made-up"))] {
            let status = status(&site, declared, &login).await;
            if allow != Allow::Anyone && status != 401 {
                wrong.push(format!("{method} {path} as {who}: {status}"));
            }
        }
        for Somebody { role, session, token } in &all {
            for (login, in_person) in [(session, true), (token, false)] {
                let status = status(&site, declared, login).await;
                let right =
                    if may(allow, *role, in_person) { !matches!(status, 401 | 403) } else { status == 403 };
                if allow != Allow::Anyone && (!right || status >= 500) {
                    let way = if in_person { "session" } else { "token" };
                    wrong.push(format!("{method} {path} as {} by {way}: {status}", role.word()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
