//! Keys by the dashboard: pasted, previewed, stored, tested, changed, put aside, deleted.

use rekeyd::domain::secret::mask;

use super::browser::{Browser, Shown};
use super::{BELOW, PASSWORD, assert_page, inhabited};
use crate::support::ledger::rows;
use crate::support::{Db, World, on_both_databases, wait};

fn at(path: &str) -> String {
    format!("{BELOW}{path}")
}

async fn get(world: &World, browser: &mut Browser, path: &str) -> Shown {
    let page = browser.get(&at(path)).await;
    assert_eq!(page.status, 200, "{path}: {}", page.body);
    seen(world, page)
}

/// What a browser shows holds no key, and what holds for every page.
fn seen(world: &World, page: Shown) -> Shown {
    assert_page(&page);
    world.note(&page.body);
    page
}

/// Two keys that work, one of them twice, a placeholder, a key that nobody accepts, and no key at all.
fn pasted(world: &World) -> (String, [String; 2]) {
    let keys = ["first pasted", "second pasted"].map(|name| world.openrouter.new_regular_key(name));
    let [one, two] = &keys;
    let dead = format!("sk-or-v1-{}", "0f".repeat(32));
    (
        format!(
            "openrouter {one}\nOPENROUTER_API_KEY={two}\n{one}\nopenrouter your-api-key\n{dead}\nhello\n"
        ),
        keys,
    )
}

on_both_databases! {
    async fn keys_from_the_paste_to_their_end(db: Db) {
        let (world, daemon) = inhabited(db).await;
        let mut browser = Browser::of_newest(&world);
        browser.log_in("admin@example.com", PASSWORD, &at("/keys/add")).await;
        let keys = many_are_pasted(&world, &mut browser).await;
        let page = get(&world, &mut browser, "/keys?q=of+the+batch&status=valid").await;
        assert!(page.body.contains("2 keys"), "{}", page.body);
        let one = browser.link_to("openrouter 2");
        one_is_changed(&world, &mut browser, &one, &keys[0]).await;
        picked_keys_are_put_aside(&world, &mut browser).await;
        a_table_for_spreadsheets(&world, &mut browser, &keys).await;
        what_must_not_go_stays(&world, &mut browser).await;
        picked_keys_are_deleted(&world, &mut browser).await;
        wait::stop(daemon).await;
        world.assert_nothing_leaked();
    }
}

/// The paste waits sealed, for whoever pasted it, and is used once.
async fn many_are_pasted(world: &World, browser: &mut Browser) -> [String; 2] {
    let (text, keys) = pasted(world);
    let empty = seen(world, browser.submit("/keys/add", &[("keys", " "), ("note", "of the batch")]).await);
    assert!(empty.status == 400 && empty.body.contains("nothing was pasted"), "{}", empty.body);
    assert!(empty.body.contains("of the batch"), "the form is kept: {}", empty.body);

    let fields = [("keys", text.as_str()), ("note", "of the batch")];
    let preview = seen(world, browser.submit("/keys/add", &fields).await);
    assert!(
        preview.body.contains("6 lines, 4 new") && preview.body.contains(&mask(&keys[0])),
        "{}",
        preview.body
    );
    assert!(preview.body.contains("line 1 has it"), "{}", preview.body);
    let sealed = rows(world, "SELECT text FROM pastes").await;
    assert_eq!(sealed.len(), 1);
    let stored = world.rekeyd(&["keys", "list", "--json"]).await.ok().json();
    assert_eq!(stored.as_array().unwrap().len(), 1, "a preview stores nothing: {stored}");

    let mut other = Browser::of_newest(world);
    other.log_in("admin@example.com", PASSWORD, &at("/keys")).await;
    assert_eq!(other.get(&preview.path).await.status, 404, "another session's paste");

    let take = preview.path.trim_start_matches(BELOW).to_owned();
    let result = seen(world, browser.submit(&take, &[]).await);
    assert!(result.body.contains("2 added, 1 known already, 1 placeholders, 2 refused"), "{}", result.body);
    assert!(result.body.contains("its provider does not accept it"), "{}", result.body);
    assert!(rows(world, "SELECT text FROM pastes").await.is_empty());
    let again = browser.get(&preview.path).await;
    assert!(again.status == 404 && again.body.contains("used once"), "{}", again.body);
    browser.get(&at("/keys")).await;
    keys
}

async fn one_is_changed(world: &World, browser: &mut Browser, page: &str, secret: &str) {
    let shown = seen(world, browser.get(page).await);
    assert!(shown.body.contains("Nothing that rekeyd delivers uses it"), "{}", shown.body);
    assert!(
        shown.body.contains(&mask(secret)) && shown.body.contains("<svg class=\"strip\""),
        "{}",
        shown.body
    );
    let action = page.trim_start_matches(BELOW).to_owned();
    let form = |priority, owner| {
        [
            ("name", "openrouter"),
            ("priority", priority),
            ("owner", owner),
            ("note", "of the batch"),
            ("active", "yes"),
        ]
    };
    let wrong = seen(world, browser.submit(&action, &form("500", "ada@example.com")).await);
    assert!(wrong.status == 400 && wrong.body.contains("there is no priority 500"), "{}", wrong.body);
    assert!(wrong.body.contains("value=\"ada@example.com\""), "the form is kept: {}", wrong.body);
    let right = seen(world, browser.submit(&action, &form("60", "ada@example.com")).await);
    assert!(right.status == 200 && right.body.contains("<dd>60</dd>"), "{}", right.body);
    let tested = seen(world, browser.submit(&format!("{action}/test"), &[]).await);
    assert!(tested.body.contains("Tested.") && tested.body.contains("</b>valid</span>"), "{}", tested.body);
    let found = get(world, browser, "/keys?owner=ada%40example.com").await;
    assert!(found.body.contains("1 key") && !found.body.contains("2 keys"), "{}", found.body);
}

async fn picked_keys_are_put_aside(world: &World, browser: &mut Browser) {
    get(world, browser, "/keys?q=of+the+batch&status=valid").await;
    let nothing = browser.submit("/keys/picked", &[("what", "test")]).await;
    assert!(nothing.status == 422 && nothing.body.contains("no key was picked"), "{}", nothing.body);
    for (what, said, count) in [("deactivate", "Done.", "2 keys"), ("activate", "Done.", "0")] {
        get(world, browser, "/keys?q=of+the+batch&status=valid").await;
        let done = seen(world, browser.submit("/keys/picked", &[("all", "yes"), ("what", what)]).await);
        assert!(done.body.contains(said), "{what}: {}", done.body);
        let aside = get(world, browser, "/keys?active=no&status=valid").await;
        assert_eq!(aside.body.contains("2 keys"), count == "2 keys", "{what}: {}", aside.body);
    }
    get(world, browser, "/keys?q=of+the+batch&status=valid").await;
    let tested = seen(world, browser.submit("/keys/picked", &[("all", "yes"), ("what", "test")]).await);
    assert!(tested.body.contains("Tested."), "{}", tested.body);
}

async fn a_table_for_spreadsheets(world: &World, browser: &mut Browser, keys: &[String; 2]) {
    let csv = browser.get(&at("/keys.csv?q=of+the+batch&status=valid")).await;
    world.note(&csv.body);
    assert!(csv.header("content-type").starts_with("text/csv"), "{csv:?}");
    assert_eq!(csv.body.lines().count(), 3, "{}", csv.body);
    assert!(keys.iter().all(|key| csv.body.contains(&mask(key)) && !csv.body.contains(key)), "{}", csv.body);
}

/// A generation changes only through its rotation: the page says so before it asks, and nobody is asked.
async fn what_must_not_go_stays(world: &World, browser: &mut Browser) {
    get(world, browser, "/keys").await;
    let current = browser.link_to("openrouter 1");
    let page = seen(world, browser.get(&current).await);
    assert!(page.body.contains("the current key of rotation production"), "{}", page.body);
    let asked = seen(world, browser.get(&format!("{current}/delete")).await);
    assert!(asked.body.contains("It cannot be: refused: this key is generation 1"), "{}", asked.body);
    assert!(!asked.forms().iter().any(|form| form.ends_with("/keys/delete")), "{}", asked.body);
    let id = current.rsplit('/').next().unwrap().to_owned();
    let token = browser.token();
    let undone = browser.post(&at("/keys/delete"), &[("csrf_token", &token), ("ids", &id)], &[]).await;
    assert!(undone.body.contains("It was done to 0 of 1"), "{}", undone.body);
    let trail = get(world, browser, "/audit?outcome=refused&action=request.refused").await;
    assert!(trail.body.contains("dashboard") && trail.body.contains(&id), "{}", trail.body);
}

async fn picked_keys_are_deleted(world: &World, browser: &mut Browser) {
    get(world, browser, "/keys?q=of+the+batch&status=valid").await;
    let asked = seen(world, browser.submit("/keys/picked", &[("all", "yes"), ("what", "delete")]).await);
    assert!(asked.body.contains("The rules allow it."), "{}", asked.body);
    // Nobody adopted them: at their provider they are not ours to end.
    let undone = seen(world, browser.submit("/keys/delete", &[("at_provider", "yes")]).await);
    assert!(undone.body.contains("It was done to 0 of 2"), "{}", undone.body);
    get(world, browser, "/keys?q=of+the+batch&status=valid").await;
    browser.submit("/keys/picked", &[("all", "yes"), ("what", "delete")]).await;
    let gone = seen(world, browser.submit("/keys/delete", &[]).await);
    assert!(gone.body.contains("Deleted."), "{}", gone.body);
    let left = get(world, browser, "/keys?q=of+the+batch&active=yes").await;
    assert!(left.body.contains("No match."), "{}", left.body);
    assert_eq!(world.living().len(), 3, "the provider still honours them");
    get(world, browser, "/providers").await;
}

/// A paste whose time is over is nobody's any more, and one that is not used leaves the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paste_waits_for_minutes_and_not_for_hours() {
    let (world, daemon) = inhabited(Db::Sqlite).await;
    let mut browser = Browser::of_newest(&world);
    browser.log_in("admin@example.com", PASSWORD, &at("/keys/add")).await;
    let preview = browser.submit("/keys/add", &[("keys", "nova false-key-of-nobody")]).await;
    assert_eq!(preview.status, 200, "{}", preview.body);
    rows(&world, "UPDATE pastes SET made_at = made_at - 16 * 60000").await;
    assert_eq!(browser.get(&preview.path).await.status, 404);
    assert!(rows(&world, "SELECT id FROM pastes").await.is_empty());
    browser.get(&at("/keys/add")).await;
    browser.submit("/keys/add", &[("keys", "nova false-key-of-nobody")]).await;
    browser.submit("/logout", &[]).await;
    assert!(rows(&world, "SELECT id FROM pastes").await.is_empty(), "it goes with its session");
    wait::stop(daemon).await;
}
