//! The dashboard of a real daemon, as a browser without a script reads it.

mod browser;
mod keys;

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use rekeyd::sim::fault::When;

use crate::support::wait::{self, idle, logged, signal, until};
use crate::support::{Db, World, on_both_databases};
use browser::{Browser, Shown};

const PASSWORD: &str = "not a password of anybody";
/// Where a proxy shows the dashboard: nothing leads out of this path.
const BELOW: &str = "/ops/rekeyd";

/// A daemon, and three people who may log in.
async fn inhabited(db: Db) -> (World, tokio::process::Child) {
    let world = World::new(db).await;
    wait::reconfigure(
        &world,
        "[server]",
        &format!("[server]\npublic_url = \"http://ops.example.com{BELOW}\""),
    );
    world.adopt().await;
    let daemon = wait::serve(&world).await;
    for role in ["admin", "operator", "viewer"] {
        let email = format!("{role}@example.com");
        world.rekeyd_with(&["users", "add", &email, "--role", role], PASSWORD).await.ok();
    }
    (world, daemon)
}

/// What holds for every page.
fn assert_page(page: &Shown) {
    let what = format!("{} answered {}", page.path, page.status);
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"),
        "{what}: {policy}"
    );
    assert!(policy.contains("frame-ancestors 'none'"), "{what}");
    assert_eq!(page.header("cache-control"), "no-store", "{what}");
    assert_eq!(page.header("referrer-policy"), "same-origin", "{what}");
    assert!(page.body.len() <= 60 * 1024, "{what}: {} bytes", page.body.len());
    for inline in ["<style", " style=", "<script>", "javascript:", " onclick", " onload", "src=\"http"] {
        assert!(!page.body.contains(inline), "{what}: {inline} in {}", page.body);
    }
    for address in page.links().iter().chain(&page.forms()) {
        assert!(address.starts_with(BELOW) || is_documentation(page, address), "{what}: {address} leads out");
    }
}

/// Nobody out there learns from where somebody came.
fn is_documentation(page: &Shown, address: &str) -> bool {
    address.starts_with("https://") && page.body.contains(&format!("href=\"{address}\" rel=\"noreferrer\""))
}

/// Follows every link from the first page on; each page is there. Answers what all of them said.
async fn read_all(browser: &mut Browser) -> Vec<Shown> {
    let (mut seen, mut todo, mut pages) = (BTreeSet::new(), vec![format!("{BELOW}/")], Vec::new());
    while let Some(path) = todo.pop() {
        if path.contains("/assets/") || path.contains(".csv") || !seen.insert(path.clone()) {
            continue;
        }
        let page = browser.get(&path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.body);
        assert_page(&page);
        todo.extend(page.links().into_iter().filter(|link| link.starts_with(BELOW)));
        pages.push(page);
    }
    pages
}

on_both_databases! {
    async fn from_the_login_to_the_end_of_a_run(db: Db) {
        let (world, daemon) = inhabited(db).await;
        let mut browser = Browser::of_newest(&world);
        nobody_known_is_sent_to_the_login(&mut browser).await;
        browser.log_in("admin@example.com", PASSWORD, &format!("{BELOW}/alerts")).await;
        an_alert_is_acknowledged(&world, &daemon, &mut browser).await;
        a_rotation_is_planned_and_run(&world, &mut browser).await;
        let pages = read_all(&mut browser).await;
        for path in ["/alerts", "/providers", "/keys", "/rotations/production", "/accounts/main", "/people", "/audit", "/system", "/me"] {
            let path = format!("{BELOW}{path}");
            assert!(pages.iter().any(|page| page.path == path), "no link leads to {path}");
        }
        for page in &pages {
            assert!(!page.body.contains(PASSWORD));
            world.note(&page.body);
        }
        forms_of_others_do_nothing(&mut browser).await;
        let out = browser.submit("/logout", &[]).await;
        assert!(out.body.contains("You are logged out."), "{}", out.body);
        assert_eq!(browser.get(&format!("{BELOW}/me")).await.path, format!("{BELOW}/login"));
        wait::stop(daemon).await;
        world.assert_nothing_leaked();
    }
}

async fn nobody_known_is_sent_to_the_login(browser: &mut Browser) {
    for path in ["/", "/alerts", "/rotations/production", "/audit"] {
        let page = browser.get(&format!("{BELOW}{path}")).await;
        assert_eq!((page.status, page.path.as_str()), (200, "/ops/rekeyd/login"), "{path}");
        assert!(!page.body.contains("agent-env"), "{}", page.body);
        assert_page(&page);
    }
    let unknown = browser.get(&format!("{BELOW}/nothing-here")).await;
    assert_eq!(unknown.status, 404);
    assert_page(&unknown);
    browser.get(&format!("{BELOW}/login")).await;
    let refused = browser.submit("/login", &[("email", "admin@example.com"), ("password", "mistyped")]).await;
    assert_eq!(refused.status, 401);
    assert!(
        refused.body.contains("admin@example.com") && !refused.body.contains("mistyped"),
        "{}",
        refused.body
    );
}

async fn an_alert_is_acknowledged(world: &World, daemon: &tokio::process::Child, browser: &mut Browser) {
    let good = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
    std::fs::write(world.path("rekeyd.toml"), good.replace("max_deletes_per_hour", "max_deletes_per_our"))
        .unwrap();
    signal(daemon, Signal::SIGHUP);
    logged(world, "the new configuration was rejected", 1).await;
    let now = format!("{BELOW}/");
    until("the alert on the first page", async || browser.get(&now).await.body.contains("config rejected"))
        .await;
    let link = browser.link_to("config rejected");
    let detail = browser.get(&link).await;
    assert!(detail.body.contains("What you must do"), "{}", detail.body);
    let acknowledged = browser.submit("/alerts/ack", &[]).await;
    assert!(acknowledged.body.contains("Acknowledged. There will be no more reminders."));
    assert!(acknowledged.body.contains("seen by admin@example.com"), "{}", acknowledged.body);
    std::fs::write(world.path("rekeyd.toml"), good).unwrap();
    signal(daemon, Signal::SIGHUP);
    until("it is over", async || !browser.get(&now).await.body.contains("config rejected")).await;
}

async fn a_rotation_is_planned_and_run(world: &World, browser: &mut Browser) {
    let before = world.living().len();
    let page = browser.get(&format!("{BELOW}/rotations/production")).await;
    assert!(page.body.contains("Yes. Nobody is waited for."), "{}", page.body);
    let plan = browser.get(&format!("{BELOW}/rotations/production/plan")).await;
    assert!(plan.body.contains("POST /keys") && plan.body.contains("Rotate now"), "{}", plan.body);
    assert_eq!(world.living().len(), before, "a plan changes nothing");
    let held = world.script.hold("create_key", When::After);
    let run = browser.submit("/rotations/production/run", &[]).await;
    assert!(run.body.contains("The run has begun.") && run.path.contains("/runs/"), "{}", run.body);
    held.arrived().await;
    for (way, said) in [("abort", "Stop it now"), ("rollback", "Roll back now")] {
        let asked = browser.get(&format!("{}/{way}", run.path)).await;
        assert_page(&asked);
        assert!(asked.body.contains("The rules allow it") && asked.body.contains(said), "{}", asked.body);
        assert!(asked.body.contains("a key that was issued and not stored"), "{}", asked.body);
    }
    held.release();
    until("the page says that it is done", async || {
        browser.get(&run.path).await.body.contains("Run of production <span class=\"state good\">")
    })
    .await;
    idle(world).await;
    let over = browser.get(&format!("{}/rollback", run.path)).await;
    assert!(over.status == 409 && over.body.contains("is over: done"), "{}", over.body);
    let page = browser.get(&format!("{BELOW}/rotations/production")).await;
    assert!(page.body.contains("Yes: all 2 required destinations hold it, generation 2."), "{}", page.body);
    world.assert_destinations_work("after a rotation by the dashboard");
}

/// Neither without the hidden token, nor with another's, nor from another site.
async fn forms_of_others_do_nothing(browser: &mut Browser) {
    let path = format!("{BELOW}/rotations/production/pause");
    browser.get(&format!("{BELOW}/")).await;
    let token = browser.token();
    let bare = browser.post(&path, &[], &[]).await;
    assert_eq!(bare.status, 403);
    assert_page(&bare);
    let guessed = browser.post(&path, &[("csrf_token", "00")], &[]).await;
    assert_eq!(guessed.status, 403);
    let foreign = [("origin", "https://evil.example.com"), ("sec-fetch-site", "cross-site")];
    let foreign =
        browser.post(&format!("{BELOW}/login"), &[("email", "a"), ("password", "b")], &foreign).await;
    assert_eq!(foreign.status, 403);
    let page = browser.get(&format!("{BELOW}/rotations/production")).await;
    assert!(!page.body.contains("</b>paused</span>"), "{}", page.body);
    let own = browser.post(&path, &[("csrf_token", &token)], &[]).await;
    assert!(own.body.contains("Paused."), "{}", own.body);
}

/// Who may not see a page has no link to it, and none of what stands on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_sees_what_it_may() {
    let (world, daemon) = inhabited(Db::Sqlite).await;
    let mask = rekeyd::domain::secret::mask(&world.first);
    let admins = ["/accounts/main", "/people", "/audit", "/system", "/keys", "/keys/add", "/keys.csv"];
    let operators =
        ["/rotations/production/plan", "/rotations/production/leaked", "/destinations/agent-env/check"];
    for role in ["operator", "viewer"] {
        let mut browser = Browser::of_newest(&world);
        browser.log_in(&format!("{role}@example.com"), PASSWORD, &format!("{BELOW}/")).await;
        let pages = read_all(&mut browser).await;
        assert!(pages.len() >= 7, "{role} has pages");
        for page in &pages {
            assert!(!page.body.contains(&mask), "{role} sees a mask on {}", page.path);
            let forms = page.forms();
            let own = |form: &&String| {
                ["/logout", "/me/password", "/me/sessions/end"].iter().any(|end| form.ends_with(end))
            };
            let shows = |form: &&String| ["/alerts", "/runs", "/keys"].iter().any(|end| form.ends_with(end));
            let acts: Vec<&String> = forms.iter().filter(|form| !own(form) && !shows(form)).collect();
            assert!(role == "operator" || acts.is_empty(), "{role} may act on {}: {acts:?}", page.path);
        }
        for path in admins {
            assert_eq!(browser.get(&format!("{BELOW}{path}")).await.status, 403, "{role} at {path}");
        }
        for path in operators {
            let expected = if role == "operator" { 200 } else { 403 };
            assert_eq!(browser.get(&format!("{BELOW}{path}")).await.status, expected, "{role} at {path}");
        }
        browser.get(&format!("{BELOW}/")).await;
        let token = browser.token();
        let act = browser.post(&format!("{BELOW}/accounts/main/thaw"), &[("csrf_token", &token)], &[]).await;
        assert_eq!(act.status, 403);
        let pause = browser
            .post(&format!("{BELOW}/rotations/production/pause"), &[("csrf_token", &token)], &[])
            .await;
        assert_eq!(pause.status, if role == "operator" { 200 } else { 403 });
    }
    wait::stop(daemon).await;
}

/// Nobody can log in yet: the page says how that changes. Whoever then logs in stays here, whatever a link says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_admin_is_asked_for() {
    let world = World::new(Db::Sqlite).await;
    let daemon = wait::serve(&world).await;
    let mut browser = Browser::of_newest(&world);
    let page = browser.get("/").await;
    assert!(page.body.contains("rekeyd users add you@example.com --role admin"), "{}", page.body);
    let email = "admin@example.com";
    world.rekeyd_with(&["users", "add", email, "--role", "admin"], PASSWORD).await.ok();
    let fields = [("email", email), ("password", PASSWORD), ("next", "//evil.example.com/")];
    let page = browser.post("/login", &fields, &[]).await;
    assert_eq!((page.status, page.path.as_str()), (200, "/"), "{}", page.body);
    assert!(page.body.contains("rekeyd rotations adopt production"), "{}", page.body);
    wait::stop(daemon).await;
}
