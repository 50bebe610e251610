//! The dashboard: does production work, and what must I do now.
//!
//! Server-rendered pages over the views of `engine/commands`: one file a page, with its template beside it. Every page
//! and every action works without a script; what changes something is a form with a POST, answered with 303 to a page
//! that shows what happened. Who may see or do what is the table of roles, as for the API: each path is declared with it.
//!
//! ```text
//! assets       stylesheet, script and mark, inside the binary
//! visit        who looks at a page, and the answer with its headers
//! frame        what every page has round its contents
//! parts        how a state, a moment or a sentence looks
//! fields       what a form sends, and its hidden token
//! failure      what is shown instead of a page
//! login · now · alerts · providers · keys · key · add · rotations · runs · destinations · accounts · system · audit ·
//! people · own  the pages
//! ```

mod accounts;
mod add;
mod alerts;
mod assets;
mod audit;
mod destinations;
mod failure;
mod fields;
mod frame;
mod key;
mod keys;
mod login;
mod now;
mod own;
mod parts;
mod people;
mod providers;
mod rotations;
mod runs;
mod system;
mod visit;

pub(super) use add::PASTE;
pub(super) use failure::dressed;

use super::routes::Routes;

/// Every page and every form.
pub(super) fn routes() -> Routes {
    assets::routes()
        .and(login::routes())
        .and(now::routes())
        .and(alerts::routes())
        .and(providers::routes())
        .and(keys::routes())
        .and(key::routes())
        .and(add::routes())
        .and(rotations::routes())
        .and(runs::routes())
        .and(destinations::routes())
        .and(accounts::routes())
        .and(system::routes())
        .and(audit::routes())
        .and(people::routes())
        .and(own::routes())
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;
    use crate::domain::role::Permission;
    use crate::http::routes::Allow;

    #[test]
    fn only_the_login_is_open() {
        let routes = routes();
        let open = routes.declared().iter().filter(|route| route.allow == Allow::Anyone);
        let open: Vec<&str> =
            open.map(|route| route.path).filter(|path| !path.starts_with("/assets/")).collect();
        assert_eq!(open, ["/login", "/login"]);
    }

    #[test]
    fn who_only_looks_changes_nothing() {
        let routes = routes();
        let forms = routes.declared().iter().filter(|route| route.method == Method::POST);
        for route in forms {
            assert_ne!(route.allow, Allow::May(Permission::Look), "{}", route.path);
        }
        assert!(routes.declared().iter().all(|route| matches!(route.method, Method::GET | Method::POST)));
    }
}
