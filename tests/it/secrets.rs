//! Nothing that is secret comes out anywhere, and nothing that others wrote does anything where it comes out.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use rekeyd::sim::github::{Level, Permissions};
use rekeyd::sim::smtp::Mailbox;
use rekeyd::sim::vercel::Vercel;
use sqlx::Row;

use crate::support::wait::until;
use crate::support::world::{REPOSITORY, SECRET};
use crate::support::{Db, World, ledger, on_both_databases};

/// Obviously false, and short: nothing would find them by their form.
const SMTP_PASSWORD: &str = "qZ7-mX";
const APP_PASSWORD: &str = "vK4-wB";
const STORE_PASSWORD: &str = "jR9-hT";
const HOOK_TOKEN: &str = "yD3-nC";
const BEAT_TOKEN: &str = "uL8-fG";

/// A server that keeps what is posted to it.
async fn listener() -> (String, Arc<Mutex<Vec<String>>>) {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let take = async |State(bodies): State<Arc<Mutex<Vec<String>>>>, body: String| {
        bodies.lock().unwrap().push(body);
    };
    let router = axum::Router::new().fallback(take).with_state(Arc::clone(&bodies));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, bodies)
}

/// A world with everything that has a secret.
struct Everything {
    world: World,
    mailbox: Mailbox,
    posted: Arc<Mutex<Vec<String>>>,
    tokens: Vec<String>,
    _vercel: Vercel,
}

impl Everything {
    async fn new(db: Db) -> Self {
        let mut world = World::new(db).await;
        let with_password =
            |url: &str, password: &str| url.replace("postgres@", &format!("postgres:{password}@"));
        world.database.url = with_password(&world.database.url, STORE_PASSWORD);
        let app = crate::support::Database::new(Db::Postgres, world.folder.path()).await;
        world.private("app-url", &with_password(&app.url, APP_PASSWORD));
        let vercel = Vercel::start_with(world.script.clone()).await;
        let project = vercel.add_project("acme-app");
        vercel.deploy_by_hand(&project);
        let tokens = vec![
            vercel.new_token(),
            world
                .github
                .new_token(Permissions { secret_scanning_alerts: Level::Write, ..Permissions::none() }),
        ];
        world.private("vercel-token", &tokens[0]);
        world.private("scanning-token", &tokens[1]);
        let mailbox = Mailbox::start().await;
        mailbox.require_login("mailer", SMTP_PASSWORD);
        world.private("smtp-password", SMTP_PASSWORD);
        let (url, posted) = listener().await;
        world.private("webhook-url", &format!("{url}/{HOOK_TOKEN}"));
        world.private("heartbeat-url", &format!("{url}/{BEAT_TOKEN}"));
        let hook = world.private("hook.sh", "#!/bin/sh\nk=$(cat); printf '\\033]0;%s\\007\\r' \"$k\"; printf '%s' \"$k\" | base64 -w0; exit $(cat $0.status)\n");
        std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        world.private("hook.sh.status", "0");
        let smtp = mailbox.url().replace("smtp://", "smtp://mailer@");
        world.configure_with(&more(&world, &smtp, &vercel.api_url()), PLACES);
        let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
        std::fs::write(
            world.path("rekeyd.toml"),
            text.replace("filter = \"rekeyd=debug\"", "filter = \"trace\""),
        )
        .unwrap();
        Self { world, mailbox, posted, tokens, _vercel: vercel }
    }

    /// All that anybody reads of us: the log, what commands printed, mails, what webhooks got, and the store.
    async fn read_all(&self, printed: &str) -> Vec<(&'static str, String)> {
        let posted = self.posted.lock().unwrap().concat();
        let mails = self.mailbox.mails();
        let mails = mails
            .iter()
            .map(|mail| format!("{}\n{}\n{}", mail.subject(), mail.text(), mail.html().unwrap_or_default()));
        vec![
            ("the log", std::fs::read_to_string(self.world.path("serve.log")).unwrap()),
            ("what commands printed", printed.to_owned()),
            ("mails", mails.collect()),
            ("webhooks", posted),
            ("the store", dump(&self.world).await),
        ]
    }
}

const PLACES: &str = r#"["github-production", "agent-env", "app-database", "vercel-app", "hook"]"#;

fn more(world: &World, smtp: &str, vercel: &str) -> String {
    let (folder, github) = (world.folder.path().display(), world.github.api_url());
    format!(
        r#"
[email]
smtp = "{smtp}"
tls = "none"
password = "file:{folder}/smtp-password"
from = "rekeyd@example.com"
to = ["ops@example.com"]
group_within = "0s"
[webhook]
url = "file:{folder}/webhook-url"
[heartbeat]
url = "file:{folder}/heartbeat-url"
every = "1s"
[leaks]
repositories = ["{REPOSITORY}"]
token = "file:{folder}/scanning-token"
schedule = "* * * * * *"
api_url = "{github}"
[[destinations]]
name = "app-database"
type = "postgres"
url = "file:{folder}/app-url"
[[destinations]]
name = "vercel-app"
type = "vercel"
project = "acme-app"
variable = "{SECRET}"
token = "file:{folder}/vercel-token"
api_url = "{vercel}"
[[destinations]]
name = "hook"
type = "command"
command = ["{folder}/hook.sh"]
show_output = true
"#
    )
}

/// Every column of every table of our own store, as text.
async fn dump(world: &World) -> String {
    if !world.database.url.starts_with("postgres") {
        let bytes =
            ["rekeyd.db", "rekeyd.db-wal"].map(|name| std::fs::read(world.path(name)).unwrap_or_default());
        return String::from_utf8_lossy(&bytes.concat()).into_owned();
    }
    let mut connection = ledger::connect_to(&world.database.url).await;
    let dumped = sqlx::query("SELECT CAST(schema_to_xml('public', false, false, '') AS TEXT) AS dumped");
    dumped.fetch_one(&mut connection).await.unwrap().get("dumped")
}

on_both_databases! {
    /// At `trace`, with a mail server that asks for a password, databases that do, webhooks, and every kind of destination.
    async fn nothing_secret_is_said_anywhere_at_trace(db: Db) {
        let all = Everything::new(db).await;
        let world = &all.world;
        let mut printed = String::new();
        let mut run = async |args: &[&str]| {
            let out = world.rekeyd(args).await;
            printed.push_str(&format!("{}{}", out.stdout, out.stderr));
            out.status
        };
        assert_eq!(run(&["destinations", "check", "app-database", "--migrate"]).await, 0);
        world.adopt().await;
        let mut daemon = world.serve();
        let strangers = world.openrouter.new_regular_key("a stranger's");
        world.github.add_alert(REPOSITORY, "openrouter_api_key", &strangers);
        let ended = run(&["rotations", "run", "production", "--wait"]).await;
        assert_eq!(ended, 0, "{}", world.newest_run().await);
        std::fs::write(world.path("hook.sh.status"), "3").unwrap();
        assert_eq!(run(&["destinations", "publish", "hook"]).await, 1);
        for args in [
            &["config", "show"][..],
            &["config", "check"],
            &["destinations", "list", "--json"],
            &["runs", "list", "--json"],
            &["alerts", "list", "--all", "--json"],
            &["alerts", "list", "--outbox", "--json"],
            &["keys", "list", "--json"],
            &["accounts", "keys", "main", "--json"],
            &["rotations", "plan", "production"],
            &["why", "production"],
        ] {
            run(args).await;
        }
        until("a mail, a webhook and a heartbeat", async || {
            all.mailbox.mails().iter().any(|mail| mail.subject().contains("leak"))
                && all.posted.lock().unwrap().iter().any(|body| body.contains("leak_detected"))
                && all.posted.lock().unwrap().iter().any(String::is_empty)
        }).await;
        daemon.kill().await.unwrap();
        let texts = all.read_all(&printed).await;
        assert!(texts.iter().all(|(_, text)| text.len() > 200), "each was there");
        let mut secrets = world.openrouter.issued_secrets();
        secrets.extend(world.github.issued_tokens());
        secrets.extend(all.tokens.iter().cloned());
        secrets.extend([SMTP_PASSWORD, APP_PASSWORD, STORE_PASSWORD, HOOK_TOKEN, BEAT_TOKEN].map(str::to_owned));
        let encoded: Vec<String> = secrets.iter().flat_map(|secret| forms(secret)).collect();
        let mut found = Vec::new();
        for (place, text) in &texts {
            found.extend(encoded.iter().filter_map(|secret| {
                let at = text.find(secret.as_str())?;
                let before: String = text[..at].chars().rev().take(80).collect::<Vec<_>>().into_iter().rev().collect();
                Some(format!("{place} holds a secret behind {before:?}"))
            }));
        }
        assert!(found.is_empty(), "{}", found.join("\n"));
        world.assert_nothing_leaked();
    }
}

/// A secret as it is, and as programs and the SMTP protocol write it.
fn forms(secret: &str) -> Vec<String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    vec![
        secret.to_owned(),
        STANDARD_NO_PAD.encode(secret),
        STANDARD_NO_PAD.encode(format!("\0mailer\0{secret}")),
        hex::encode(secret),
    ]
}

/// Titles, colours, line breaks, turned direction, nothing to see.
const HOSTILE: &str = "x\u{1b}]0;owned\u{7}\u{1b}[2J\r\nerror: gone\u{9b}1m\u{202e}txt\u{200b}";

fn acts(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_others_do_nothing_where_they_are_shown() {
    let all = Everything::new(Db::Sqlite).await;
    let world = &all.world;
    let key = world.openrouter.new_regular_key(HOSTILE);
    world.rekeyd(&["destinations", "check", "app-database", "--migrate"]).await.ok();
    world.adopt().await;
    world.github.add_alert(REPOSITORY, "openrouter_api_key", &key);
    std::fs::write(world.path("hook.sh.status"), "3").unwrap();
    let mut daemon = world.serve();
    until("people are told", async || {
        all.mailbox.mails().iter().any(|mail| mail.subject().contains("leak"))
            && all.posted.lock().unwrap().iter().any(|body| body.contains("leak_detected"))
    })
    .await;
    let mut printed = String::new();
    for args in [
        &["accounts", "keys", "main"][..],
        &["accounts", "keys", "main", "--json"],
        &["alerts", "list", "--all"],
        &["alerts", "list", "--all", "--json"],
        &["destinations", "publish", "hook"],
        &["destinations", "list"],
    ] {
        let out = world.rekeyd(args).await;
        let lines = |text: &str| text.lines().filter(|line| line.starts_with("error: gone")).count();
        assert_eq!(lines(&out.stdout) + lines(&out.stderr), 0, "a name began a line: {out:?}");
        printed.push_str(&format!("{}{}", out.stdout, out.stderr));
    }
    daemon.kill().await.unwrap();
    assert!(
        printed.matches("u{202e}").count() + printed.matches("u202e").count() >= 2,
        "the name was there: {printed}"
    );
    let rows = world.rekeyd(&["accounts", "keys", "main", "--json"]).await.ok().json();
    assert!(rows.as_array().unwrap().iter().any(|row| row["name"] == HOSTILE), "JSON says what it is");
    for (place, text) in all.read_all(&printed).await {
        if place != "the store" {
            let shown = text.replace("\r\n", "\n");
            assert!(!shown.contains(acts), "{place}: {:?}", shown.chars().find(|c| acts(*c)));
        }
    }
}

#[tokio::test]
async fn an_argument_that_looks_like_a_key_is_refused_unread() {
    let world = World::new(Db::Sqlite).await;
    for args in [
        &["keys", "add", "openrouter", &world.first][..],
        &["rotations", "adopt", "production", "--hash", &world.first],
        &["why", &world.first],
        &["--config", &world.first, "config", "check"],
        &[&world.first],
    ] {
        let out = world.rekeyd(args).await;
        assert_eq!(out.status, 2, "{out:?}");
        assert!(out.stderr.contains("looks like a key") && out.stdout.is_empty(), "{out:?}");
    }
    assert!(!world.path("rekeyd.db").exists(), "nothing was opened");
    world.assert_nothing_leaked();
}

/// `rekeyd config check` of a configuration in which `old` is replaced.
async fn checked(world: &World, old: &str, new: &str) -> crate::support::world::Out {
    let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
    assert!(text.contains(old));
    std::fs::write(world.path("rekeyd.toml"), text.replace(old, new)).unwrap();
    let out = world.rekeyd(&["config", "check"]).await;
    std::fs::write(world.path("rekeyd.toml"), text).unwrap();
    out
}

#[tokio::test]
async fn a_key_in_the_wrong_place_of_the_configuration_stays_unread() {
    let world = World::new(Db::Sqlite).await;
    let key = "false/key+0123456789abcdef0123456789";
    for (old, new) in [
        (format!("secret = \"{SECRET}\""), format!("secret = \"{key}\"")),
        (format!("variable = \"{SECRET}\""), format!("variable = \"{key}\"")),
        ("grace = \"1s\"".to_owned(), format!("grace = \"{key}\"")),
        ("account = \"main\"".to_owned(), format!("account = \"{key}\"")),
        ("format = \"env\"".to_owned(), format!("format = \"env\"\n\"{key}\" = 1")),
    ] {
        let out = checked(&world, &old, &new).await;
        assert_eq!(out.status, 2, "{new}: {out:?}");
        assert!(!out.stderr.contains("0123456789"), "{out:?}");
    }
}

/// A password that begins with a slash moves itself to where the name of the database stands.
#[tokio::test]
async fn a_database_url_is_shown_without_its_password_or_refused() {
    let world = World::new(Db::Sqlite).await;
    let with = async |url: &str, args: &[&str]| {
        let out = world.command(args).env("REKEYD_DATABASE_URL", url).output().await.unwrap();
        let text =
            [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (out.status.code(), text)
    };
    let commands = [
        &["config", "check"][..],
        &["db", "status"],
        &["db", "migrate"],
        &["keys", "list"],
        &["alerts", "list"],
    ];
    for args in commands {
        let (status, said) = with("postgres://user:/hunter2@127.0.0.1/app", args).await;
        assert_eq!(status, Some(2), "{args:?}: {said}");
        assert!(!said.contains("hunter2") && said.contains("%2F"), "{args:?}: {said}");
        let (status, said) = with("postgres://user:hunter2@db.example.com/app?sslmode=require", args).await;
        assert_eq!(status, Some(2), "{args:?}: {said}");
        assert!(!said.contains("hunter2") && said.contains("insecure_tls"), "{args:?}: {said}");
    }
    let plain = "url = \"env:REKEYD_DATABASE_URL\"";
    let out = checked(&world, plain, "url = \"postgres://user:/hunter2@127.0.0.1/app\"").await;
    assert!(out.status == 2 && !out.stderr.contains("hunter2"), "{out:?}");
}

#[tokio::test]
async fn files_that_others_may_change_are_not_read() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new(Db::Sqlite).await;
    world.rekeyd(&["config", "check"]).await.ok();
    let chmod = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::create_dir(world.path("rekeyd.d")).unwrap();
    world.private("rekeyd.d/10.toml", "");
    for (name, sound) in [
        ("rekeyd.toml", 0o644),
        ("rekeyd.d/10.toml", 0o600),
        ("rekeyd.d", 0o755),
        ("github-token", 0o600),
        ("", 0o700),
    ] {
        chmod(&world.path(name), 0o777);
        let out = world.rekeyd(&["config", "check"]).await;
        assert!(out.status == 2 && out.stderr.contains("may change"), "{name}: {out:?}");
        assert!(out.stderr.contains("chmod go-w"), "{out:?}");
        chmod(&world.path(name), sound);
    }
    // A stranger's link decides as well, where that can be tried.
    if nix::unistd::geteuid().is_root() {
        std::fs::rename(world.path("github-token"), world.path("real")).unwrap();
        std::os::unix::fs::symlink("real", world.path("github-token")).unwrap();
        world.rekeyd(&["config", "check"]).await.ok();
        std::os::unix::fs::lchown(world.path("github-token"), Some(12_345), None).unwrap();
        let out = world.rekeyd(&["config", "check"]).await;
        assert!(out.status == 2 && out.stderr.contains("belongs to user 12345"), "{out:?}");
    }
}
