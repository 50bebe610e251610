//! Who may use the API: passwords, sessions, tokens, roles, limits, and the trail of all that. One real daemon a story,
//! asked over HTTP.

mod doors;
mod site;

use rekeyd::domain::limit::Limit;
use rekeyd::store::Store;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection;

use crate::support::{Db, World, on_both_databases};
use site::{Login, Site};

const ADMIN: &str = "ada@example.com";
const FIRST: &str = "not a password of ada";
const SECOND: &str = "not a password of ada either";

/// Every row of the audit trail, the newest first.
async fn trail(world: &World) -> Vec<Value> {
    let out = world.rekeyd(&["audit", "export"]).await.ok();
    out.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of<'t>(trail: &'t [Value], action: &str) -> Vec<&'t Value> {
    trail.iter().filter(|row| row["action"] == action).collect()
}

/// No secret of this story lies anywhere.
async fn assert_nothing_kept(world: &World, secrets: &[&str]) {
    world.assert_nothing_leaked();
    let mut places = vec![("the audit trail".to_owned(), format!("{:?}", trail(world).await))];
    for name in ["rekeyd.db", "rekeyd.db-wal", "serve.log"] {
        let bytes = std::fs::read(world.path(name)).unwrap_or_default();
        places.push((name.to_owned(), String::from_utf8_lossy(&bytes).into_owned()));
    }
    for (place, text) in places {
        for secret in secrets {
            assert!(!text.contains(secret), "{place} holds a secret");
        }
    }
}

on_both_databases! {
    async fn a_person_is_let_in_and_out(db: Db) {
        let world = World::new(db).await;
        let site = Site::start(&world).await;
        nobody_is_let_in_before_there_is_somebody(&world, &site).await;
        world.rekeyd_with(&["users", "add", ADMIN, "--role", "admin"], FIRST).await.ok();

        let refused = site.log_in(ADMIN, SECOND).await.unwrap_err();
        assert_eq!((refused.status, refused.code()), (401, "unauthenticated"));
        let stranger = site.log_in("eve@example.com", SECOND).await.unwrap_err();
        assert_eq!(refused.body["detail"], stranger.body["detail"], "nobody learns who is known here");

        let login = site.log_in("Ada@Example.com", FIRST).await.unwrap();
        assert_eq!((login.body["email"].as_str(), login.body["role"].as_str()), (Some(ADMIN), Some("admin")));
        assert!(login.set_cookie.contains("; HttpOnly; SameSite=Lax") && !login.set_cookie.contains("Secure"));
        let me = site.get("/api/v1/auth/me", &login).await;
        assert_eq!((me.status, &me.body["csrf_token"]), (200, &login.body["csrf_token"]));
        assert_eq!(me.header("cache-control"), "no-store");
        out_again(&site, &login).await;
        a_change_ends_what_was_begun(&world, &site).await;

        let trail = trail(&world).await;
        assert_eq!(of(&trail, "session.refused").len(), 4, "{trail:#?}");
        let began = of(&trail, "session.began");
        assert_eq!((&began[0]["actor"], &began[0]["via"]), (&json!(ADMIN), &json!("api")));
        assert_eq!(began[0]["address"], "127.0.0.1");
        assert!(began[0]["request_id"].as_str().is_some_and(|id| !id.is_empty()));
        let refusals = of(&trail, "command.refused");
        assert!(refusals.iter().any(|row| row["via"] == "cli" && row["outcome"] == "refused"), "{refusals:#?}");
        assert_nothing_kept(&world, &[FIRST, SECOND, &login.cookie, login.csrf()]).await;
    }
}

async fn nobody_is_let_in_before_there_is_somebody(world: &World, site: &Site) {
    let refused = site.log_in(ADMIN, FIRST).await.unwrap_err();
    assert_eq!(refused.status, 401);
    assert!(refused.body["detail"].as_str().unwrap().contains("rekeyd users add"), "{:?}", refused.body);
    let bare = site.ask(Method::GET, "/api/v1/users", &Login::nobody(), Value::Null).await;
    assert_eq!((bare.status, bare.header("www-authenticate")), (401, "Bearer realm=\"rekeyd\""));
    assert_eq!(bare.header("x-request-id"), bare.body["request_id"].as_str().unwrap());
    let short = world.rekeyd_with(&["users", "add", ADMIN, "--role", "admin"], "short").await;
    assert_eq!(short.status, 2, "{short:?}");
}

async fn out_again(site: &Site, login: &Login) {
    let path = "/api/v1/auth/logout";
    let forged = site.ask(Method::POST, path, &login.without_csrf(), Value::Null).await;
    assert_eq!((forged.status, forged.code()), (403, "forbidden"));
    let foreign = site.forge(path, login, "https://evil.example.com").await;
    assert_eq!(foreign.status, 403);
    assert_eq!(site.get("/api/v1/auth/me", login).await.status, 200, "nobody logged this person out");
    let done = site.ask(Method::POST, path, login, Value::Null).await;
    assert_eq!(done.status, 204);
    assert!(done.header("set-cookie").starts_with("session_token=; "));
    assert_eq!(site.get("/api/v1/auth/me", login).await.status, 401);
}

async fn a_change_ends_what_was_begun(world: &World, site: &Site) {
    let (one, two) = (site.log_in(ADMIN, FIRST).await.unwrap(), site.log_in(ADMIN, FIRST).await.unwrap());
    let sessions = site.get("/api/v1/sessions", &one).await.body["sessions"].clone();
    assert_eq!(sessions.as_array().unwrap().len(), 2, "{sessions}");
    let users = site.get("/api/v1/users", &one).await.body;
    let id = users["users"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/users/{id}");
    for (change, status) in [
        (json!({"password": SECOND}), 400),
        (json!({"password": SECOND, "current_password": SECOND}), 400),
        (json!({"role": "viewer"}), 409),
        (json!({"disabled": true}), 409),
        (json!({"password": SECOND, "current_password": FIRST}), 200),
    ] {
        let answer = site.ask(Method::PATCH, &path, &one, change.clone()).await;
        assert_eq!(answer.status, status, "{change}: {:?}", answer.body);
    }
    for session in [&one, &two] {
        assert_eq!(
            site.get("/api/v1/auth/me", session).await.status,
            401,
            "another password ends all sessions"
        );
    }
    assert!(site.log_in(ADMIN, FIRST).await.is_err());
    let last = world.rekeyd(&["users", "disable", ADMIN]).await;
    assert_eq!(last.status, 3, "{last:?}");

    let session = site.log_in(ADMIN, SECOND).await.unwrap();
    world.rekeyd_with(&["users", "add", "bob@example.com", "--role", "admin"], FIRST).await.ok();
    world.rekeyd(&["users", "disable", ADMIN]).await.ok();
    assert_eq!(site.get("/api/v1/auth/me", &session).await.status, 401, "so does being disabled");
    assert!(site.log_in(ADMIN, SECOND).await.is_err());
}

on_both_databases! {
    async fn a_token_may_what_it_was_made_for(db: Db) {
        let world = World::new(db).await;
        let site = Site::start(&world).await;
        world.rekeyd_with(&["users", "add", ADMIN, "--role", "admin"], FIRST).await.ok();
        world.rekeyd_with(&["users", "add", "olga@example.com", "--role", "operator"], FIRST).await.ok();
        let made = world.rekeyd(&["tokens", "create", "backup", "--role", "viewer", "--expires", "90d", "--json"]).await;
        let made = made.ok().json();
        let backup = Login::token(made["token"].as_str().unwrap());
        assert_eq!(site.get("/api/v1/auth/me", &backup).await.body["name"], "token backup");
        assert_eq!(site.get("/api/v1/tokens", &backup).await.status, 403, "one's own matters are a person's");
        let again = world.rekeyd(&["tokens", "create", "backup", "--role", "viewer"]).await;
        assert_eq!(again.status, 1, "{again:?}");

        let olga = site.log_in("olga@example.com", FIRST).await.unwrap();
        let create = async |name: &str, role: &str| {
            site.ask(Method::POST, "/api/v1/tokens", &olga, json!({"name": name, "role": role})).await
        };
        assert_eq!(create("much", "admin").await.status, 403, "nobody makes one that may more than they");
        assert_eq!(create("credentials", "consumer").await.status, 403);
        let own = create("own", "viewer").await;
        assert_eq!((own.status, own.header("cache-control")), (201, "no-store"));
        let own_token = own.body["token"].as_str().unwrap().to_owned();
        let own_login = Login::token(&own_token);
        assert_eq!(site.get("/api/v1/auth/me", &own_login).await.status, 200);
        let hers = site.get("/api/v1/tokens", &olga).await.body;
        assert_eq!(hers["tokens"].as_array().unwrap().len(), 1, "{hers}");
        assert!(!hers.to_string().contains(&own_token), "a token is shown once");
        let others = format!("/api/v1/tokens/{}", made["id"].as_str().unwrap());
        assert_eq!(site.ask(Method::DELETE, &others, &olga, Value::Null).await.status, 404);

        world.rekeyd(&["users", "disable", "olga@example.com"]).await.ok();
        assert_eq!(site.get("/api/v1/auth/me", &own_login).await.status, 401, "a disabled person's token is dead");
        world.rekeyd(&["tokens", "revoke", "backup"]).await.ok();
        assert_eq!(site.get("/api/v1/auth/me", &backup).await.status, 401);
        let trail = trail(&world).await;
        let refused = of(&trail, "request.refused");
        assert!(refused.iter().any(|row| row["actor"] == "olga@example.com" && row["outcome"] == "refused"));
        let created = of(&trail, "token.created");
        assert_eq!((created.len(), &created[0]["after"]["role"]), (2, &json!("viewer")), "{created:#?}");
        assert_nothing_kept(&world, &[FIRST, &own_token, made["token"].as_str().unwrap(), &olga.cookie]).await;
    }
}

/// So many guesses were made already: by the store, which is faster than a minute on any machine.
async fn spend(store: &Store, limit: Limit, subject: &str, times: usize) {
    for _ in 0..times {
        store.take(limit, subject).await.unwrap().unwrap();
    }
}

on_both_databases! {
    async fn guessing_is_limited_and_locks_nobody_out(db: Db) {
        let world = World::new(db).await;
        let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
        let text = text.replace("[database]", "trusted_proxies = [\"127.0.0.1\"]\n[database]");
        std::fs::write(world.path("rekeyd.toml"), text).unwrap();
        let (here, there) = (Site::start(&world).await, Site::start(&world).await);
        world.rekeyd_with(&["users", "add", ADMIN, "--role", "admin"], FIRST).await.ok();
        here.log_in_from(ADMIN, FIRST, "192.0.2.1").await.unwrap();

        // Strangers at many addresses and two replicas share five guesses at one account.
        let store = Store::open(&world.database.url, 2).await.unwrap();
        let ada = store.user_of(ADMIN).await.unwrap().unwrap();
        spend(&store, Limit::LOGINS_OF_ACCOUNT, &ada.id, 3).await;
        let fourth = here.log_in_from(ADMIN, SECOND, "198.51.100.4").await.unwrap_err();
        let fifth = there.log_in_from(ADMIN, SECOND, "198.51.100.5").await.unwrap_err();
        let sixth = here.log_in_from(ADMIN, SECOND, "198.51.100.6").await.unwrap_err();
        assert_eq!([fourth.status, fifth.status, sixth.status], [401, 401, 429]);
        assert!(fifth.header("ratelimit").starts_with("\"account-logins\";r=0;t="));
        assert_eq!(sixth.header("ratelimit-policy"), "\"account-logins\";q=5;w=60");
        assert!((1..=60).contains(&sixth.header("retry-after").parse().unwrap()));
        let right = there.log_in_from(ADMIN, FIRST, "198.51.100.7").await.unwrap_err();
        assert_eq!(right.status, 429, "a right guess is no better than a wrong one");
        here.log_in_from(ADMIN, FIRST, "192.0.2.1").await.expect("where she logged in before, ada is let in");

        // One address has twenty guesses, at whomever.
        spend(&store, Limit::LOGINS_FROM_ADDRESS, "203.0.113.1", 19).await;
        let statuses = [
            here.log_in_from("eve@example.com", SECOND, "203.0.113.1").await.unwrap_err().status,
            there.log_in_from("mallory@example.com", SECOND, "203.0.113.1").await.unwrap_err().status,
        ];
        assert_eq!(statuses, [401, 429]);
        // What a client writes into the header itself is not believed.
        let forged = here.log_in_from(ADMIN, FIRST, "192.0.2.1, 203.0.113.1").await.unwrap_err();
        assert_eq!(forged.status, 429);
    }
}

/// Writes the database as somebody else would.
async fn past_rekeyd(world: &World, sql: &'static str) {
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(&world.database.url).await.unwrap();
    sqlx::query(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

on_both_databases! {
    async fn who_writes_the_database_makes_nobody_an_admin(db: Db) {
        let world = World::new(db).await;
        let site = Site::start(&world).await;
        world.rekeyd_with(&["users", "add", ADMIN, "--role", "admin"], FIRST).await.ok();
        world.rekeyd_with(&["users", "add", "eve@example.com", "--role", "viewer"], SECOND).await.ok();
        let made = world.rekeyd(&["tokens", "create", "eve", "--role", "viewer", "--json"]).await.ok().json();
        let token = Login::token(made["token"].as_str().unwrap());
        let session = site.log_in("eve@example.com", SECOND).await.unwrap();
        let asked = async || {
            [
                site.get("/api/v1/auth/me", &token).await.status,
                site.get("/api/v1/auth/me", &session).await.status,
                site.log_in("eve@example.com", SECOND).await.map_or_else(|refused| refused.status, |_| 200),
            ]
        };
        assert_eq!(asked().await, [200, 200, 200]);
        for (forged, expected) in [
            ("UPDATE tokens SET role = 'admin'", [401, 200, 200]),
            ("UPDATE sessions SET user_id = (SELECT id FROM users WHERE role = 'admin')", [401, 401, 200]),
            ("UPDATE users SET role = 'admin'", [401, 401, 401]),
        ] {
            past_rekeyd(&world, forged).await;
            assert_eq!(asked().await, expected, "{forged}");
        }
        let kept = world.rekeyd_with(&["users", "passwd", "eve@example.com"], FIRST).await;
        assert_eq!(kept.status, 1, "a change seals no row that somebody else wrote: {kept:?}");
    }
}
