//! What people do with the keys that they keep: change them, find them, paste many, hand them out.

use rekeyd::sim::fault::When;
use rekeyd::sim::vendors::Vendors;
use serde_json::{Value, json};
use sqlx::Row;

use crate::support::{Db, World, ledger, on_both_databases};

/// The number of a key that was just added.
fn number(key: &Value) -> String {
    key["number"].as_i64().unwrap_or_else(|| panic!("no number: {key}")).to_string()
}

/// Names of the keys that a list shows.
async fn listed(world: &World, flags: &[&str]) -> Vec<String> {
    let args = [&["keys", "list", "--json"], flags].concat();
    let keys = world.rekeyd(&args).await.ok().json();
    keys.as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
}

/// Stores a backup key under this name; answers its number.
async fn add(world: &World, name: &str, flags: &[&str]) -> String {
    let secret = world.openrouter.new_regular_key(name);
    let args = [&["keys", "add", "openrouter", "--json", "--name", name], flags].concat();
    number(&world.rekeyd_with(&args, &secret).await.ok().json())
}

on_both_databases! {
    async fn keys_are_found_by_what_is_asked(db: Db) {
        let world = World::new(db).await;
        let about = ["--owner", "ada@example.com", "--note", "search, 100%", "--expires", "2030-01-31"];
        add(&world, "spare", &[&about[..], &["--priority", "60"]].concat()).await;
        add(&world, "main", &[]).await;
        world.rekeyd_with(&["keys", "add", "openai", "--name", "later"], "changeme").await.ok();
        assert_eq!(listed(&world, &[]).await, ["later", "spare", "main"], "by provider and number");
        assert_eq!(listed(&world, &["--sort", "priority", "--provider", "openrouter"]).await, ["main", "spare"]);
        assert_eq!(listed(&world, &["--sort", "name", "--limit", "2"]).await, ["later", "main"]);
        for (flags, found) in [
            (&["--owner", "ada@example.com"][..], &["spare"][..]),
            (&["--search", "SEARCH, 100%"], &["spare"]),
            (&["--search", "10_%"], &[]),
            (&["--status", "valid"], &["spare", "main"]),
            (&["--status", "placeholder"], &["later"]),
            (&["--expiring", "3650d"], &["spare"]),
            (&["--expiring", "1d"], &[]),
            (&["--older", "1d"], &[]),
            (&["--older", "0s", "--provider", "openai"], &["later"]),
            (&["--unused", "30d"], &[]),
            (&["--due"], &[]),
        ] {
            assert_eq!(listed(&world, flags).await, found, "{flags:?}");
        }
        ledger::rows(&world, "UPDATE keys SET next_look_at = 1 WHERE name IN ('spare', 'later')").await;
        assert_eq!(listed(&world, &["--due"]).await, ["spare"], "a placeholder is never tested");
        let rows = world.rekeyd(&["keys", "list", "--owner", "ada@example.com", "--json"]).await.ok().json();
        assert_eq!(rows[0]["expires_at"], "2030-01-31T00:00:00.000Z", "{rows}");
        let out = world.rekeyd(&["keys", "list", "--status", "valdi"]).await;
        assert!(out.status == 2 && out.stderr.contains("the nearest is valid"), "{out:?}");
        let page = world.rekeyd(&["keys", "list", "--limit", "1"]).await.ok();
        assert!(page.stderr.contains("1 of 3"), "{page:?}");
    }
}

on_both_databases! {
    async fn a_key_is_changed_put_aside_and_replaced(db: Db) {
        let world = World::new(db).await;
        let spare = add(&world, "spare", &["--note", "of the batch", "--expires", "2030-01-31"]).await;
        let update = async |flags: &[&str], stdin: &str| {
            let args = [&["keys", "update", "openrouter", &spare, "--json"], flags].concat();
            world.rekeyd_with(&args, stdin).await
        };
        let flags = ["--name", "second", "--owner", "ada@example.com", "--note", "", "--settings", r#"{"model":"m"}"#];
        let key = update(&flags, "").await.ok().json();
        assert_eq!((&key["name"], &key["owner"], &key["note"]), (&json!("second"), &json!("ada@example.com"), &json!(null)));
        assert_eq!((&key["config"]["model"], &key["status"]), (&json!("m"), &json!("valid")));
        assert_eq!(key["expires_at"], "2030-01-31T00:00:00.000Z", "what no flag names stays: {key}");
        world.rekeyd(&["keys", "set-priority", "openrouter", &spare, "40"]).await.ok();
        let key = world.rekeyd(&["keys", "deactivate", "openrouter", &spare, "--json"]).await.ok().json();
        assert_eq!((&key["priority"], &key["is_active"]), (&json!(40), &json!(false)), "{key}");
        assert_eq!(world.rekeyd(&["keys", "test", "--all", "--json"]).await.ok().json(), json!([]));
        world.rekeyd(&["keys", "activate", "openrouter", &spare]).await.ok();

        let next = world.openrouter.new_regular_key("next");
        let out = update(&[], &next).await.ok();
        assert!(out.stderr.contains("still honours"), "{}", out.stderr);
        let key = out.json();
        assert_eq!((&key["status"], &key["expires_at"]), (&json!("valid"), &json!(null)), "another key has another expiry");
        assert!(key["masked_key"].as_str().unwrap().ends_with(&next[next.len() - 4..]), "{key}");
        let tested = world.rekeyd(&["keys", "test", "openrouter", &spare, "--json"]).await.ok().json();
        assert_eq!(tested[0]["outcome"], "valid", "what is sealed is the new key: {tested}");
        world.assert_nothing_leaked();
    }
}

on_both_databases! {
    async fn a_look_that_was_on_its_way_says_nothing_of_the_key_that_came_meanwhile(db: Db) {
        let world = World::new(db).await;
        allow_private_endpoints(&world, true);
        let vendors = Vendors::start().await;
        let base = vendors.base_url("custom");
        world.rekeyd(&["providers", "add", "nova", "--kind", "custom", "--base-url", &base]).await.ok();
        world.rekeyd_with(&["keys", "add", "nova", "--no-test"], "nova-false-key-1").await.ok();
        let held = vendors.faults().hold("custom", When::After);
        let mut testing = world.command(&["keys", "test", "nova", "1"]).spawn().unwrap();
        held.arrived().await;
        world.rekeyd_with(&["keys", "update", "nova", "1", "--no-test"], "nova-false-key-2").await.ok();
        held.release();
        testing.wait().await.unwrap();
        let key = world.rekeyd(&["keys", "list", "--provider", "nova", "--json"]).await.ok().json()[0].clone();
        assert_eq!(key["status"], "untested", "{key}");
    }
}

on_both_databases! {
    async fn what_is_no_key_takes_no_key_s_place(db: Db) {
        let world = World::new(db).await;
        let spare = add(&world, "spare", &[]).await;
        let other = world.openrouter.new_regular_key("other");
        world.rekeyd_with(&["keys", "add", "openrouter"], &other).await.ok();
        let update = async |secret: &str| {
            world.rekeyd_with(&["keys", "update", "openrouter", &spare, "--no-test"], secret).await
        };
        let mask = rekeyd::domain::secret::mask(&world.first);
        for (secret, status, said) in [
            (mask.as_str(), 2, "mask"),
            (other.as_str(), 2, "stored already"),
            (world.provisioning.as_str(), 3, "provisioning key"),
        ] {
            let out = update(secret).await;
            assert!(out.status == status && out.stderr.contains(said), "{said}: {out:?}");
        }
        let masked = world.rekeyd_with(&["keys", "add", "openai", "--no-test"], &mask).await;
        assert!(masked.status == 2 && masked.stderr.contains("mask"), "{masked:?}");
        let out = world.rekeyd(&["keys", "update", "openrouter", &spare, "--owner", "nobody"]).await;
        assert!(out.status == 2 && out.stderr.contains("e-mail"), "{out:?}");

        // A placeholder is kept, and nothing else.
        update("your-api-key-here").await.ok();
        let key = world.rekeyd(&["keys", "show", "openrouter", &spare, "--json"]).await.ok().json();
        assert_eq!((&key["status"], &key["is_active"]), (&json!("placeholder"), &json!(false)), "{key}");
        for args in [&["keys", "activate", "openrouter", &spare], &["keys", "test", "openrouter", &spare]] {
            let out = world.rekeyd(args).await;
            assert!(out.status == 2 && out.stderr.contains("placeholder"), "{args:?}: {out:?}");
        }

        // A generation changes only through its rotation (R15).
        world.adopt().await;
        let current = world.rekeyd(&["keys", "list", "--provider", "openrouter", "--json"]).await.ok().json();
        let current = current.as_array().unwrap().iter().find(|key| key["role"] == "current").unwrap().clone();
        for args in [
            &["keys", "update", "openrouter", &number(&current), "--priority", "10"][..],
            &["keys", "deactivate", "openrouter", &number(&current)],
        ] {
            let out = world.rekeyd(args).await;
            assert!(out.status == 3 && out.stderr.contains("generation 1"), "{out:?}");
        }
        world.assert_nothing_leaked();
    }
}

/// The same configuration with more in its table of tests.
fn allow_private_endpoints(world: &World, allowed: bool) {
    world.configure();
    let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
    let line = format!("[tests]\nallow_private_endpoints = {allowed}");
    std::fs::write(world.path("rekeyd.toml"), text.replace("[tests]", &line)).unwrap();
}

on_both_databases! {
    async fn a_provider_has_a_name_of_its_own_and_goes_with_its_keys(db: Db) {
        let world = World::new(db).await;
        let add = async |url: &str| {
            world.rekeyd(&["providers", "add", "nova", "--kind", "openrouter", "--base-url", url]).await
        };
        for (url, status, said) in [
            ("https://10.0.0.5/v1", 3, "private network"),
            ("https://localhost/v1", 3, "private network"),
            ("https://[::ffff:127.0.0.1]/v1", 3, "private network"),
            ("http://llm.example.com/v1", 2, "in clear"),
            ("https://ada:hunter2@llm.example.com/v1", 2, "a user"),
            ("llm.example.com", 2, "no URL"),
        ] {
            let out = add(url).await;
            assert!(out.status == status && out.stderr.contains(said), "{url}: {out:?}");
            assert!(!out.stderr.contains("hunter2"), "{out:?}");
        }
        for (args, said) in [
            (&["providers", "add", "openai"][..], "in the catalog already"),
            (&["providers", "add", "Nova"], "lowercase"),
            (&["providers", "add", "nova", "--kind", "opnai"], "the nearest is openai"),
            (&["providers", "add", "nova"], "where its API is"),
            (&["providers", "show", "nova"], "there is no provider"),
        ] {
            let out = world.rekeyd(args).await;
            assert!(out.status == 2 && out.stderr.contains(said), "{args:?}: {out:?}");
        }

        // A name that resolves to this machine, where that is allowed.
        allow_private_endpoints(&world, true);
        let base = world.openrouter.base_url().replace("127.0.0.1", "localhost");
        add(&base).await.ok();
        assert!(add(&base).await.stderr.contains("there already"));
        let add_key = ["keys", "add", "nova", "--json"];
        let key = world.rekeyd_with(&add_key, &world.first).await.ok().json();
        assert_eq!((&key["provider_type"], &key["status"]), (&json!("nova"), &json!("valid")), "{key}");
        let shown = world.rekeyd(&["providers", "show", "nova", "--json"]).await.ok().json();
        assert_eq!((&shown["kind"], &shown["keys_valid"]), (&json!("openrouter"), &json!(1)), "{shown}");
        let all = world.rekeyd(&["providers", "list", "--json"]).await.ok().json();
        let status = |name: &str| all.as_array().unwrap().iter().find(|row| row["provider_type"] == name).unwrap()["status"].clone();
        assert_eq!((status("nova"), status("openai")), (json!("valid"), json!("not_configured")));

        // Where it is not, the address counts that the name resolves to, at the moment of the call.
        allow_private_endpoints(&world, false);
        let before = world.openrouter.requests().len();
        let tested = world.rekeyd(&["keys", "test", "nova", "1", "--json"]).await.ok().json();
        assert_ne!(tested[0]["outcome"], "valid", "{tested}");
        assert_eq!(world.openrouter.requests().len(), before, "nobody was asked: {tested}");
        allow_private_endpoints(&world, true);

        // Its key is the only one of the account, whatever the name it is kept under.
        let last = world.rekeyd(&["providers", "delete", "nova", "--yes"]).await;
        assert!(last.status == 3 && last.stderr.contains("last"), "{last:?}");
        let last = world.rekeyd(&["keys", "delete", "nova", "1", "--yes"]).await;
        assert!(last.status == 3 && last.stderr.contains("last"), "{last:?}");
        let unasked = world.rekeyd(&["providers", "delete", "nova"]).await;
        assert_ne!(unasked.status, 0, "nobody confirmed");
        let spare = world.openrouter.new_regular_key("spare");
        let gone = world.rekeyd(&["providers", "delete", "nova", "--yes"]).await.ok();
        let mask = rekeyd::domain::secret::mask(&world.first);
        assert!(gone.stdout.contains("still honours") && gone.stdout.contains(&mask), "{gone:?}");
        assert_eq!(listed(&world, &[]).await, Vec::<String>::new());
        assert_eq!(world.living().len(), 2, "the vendor knows nothing of it");
        add(&base).await.ok();
        let key = world.rekeyd_with(&add_key, &spare).await.ok().json();
        assert_eq!(key["number"], 2, "a number is never given to another key: {key}");

        // A generation changes only through its rotation (R15).
        world.adopt().await;
        let kept = world.rekeyd(&["providers", "delete", "openrouter", "--yes"]).await;
        assert!(kept.status == 3 && kept.stderr.contains("generation 1"), "{kept:?}");
        world.assert_nothing_leaked();
    }
}

/// Line, outcome and number of each row of an import.
fn fates(rows: &Value) -> Vec<String> {
    let rows = rows.as_array().unwrap_or_else(|| panic!("no rows: {rows}")).iter();
    rows.map(|row| format!("{} {} {}", row["line"], row["outcome"].as_str().unwrap(), row["number"]))
        .collect()
}

on_both_databases! {
    async fn anything_that_is_pasted_is_answered_line_by_line(db: Db) {
        let world = World::new(db).await;
        let good = world.openrouter.new_regular_key("good");
        let boss = world.openrouter.new_provisioning_key();
        let mask = rekeyd::domain::secret::mask(&good);
        let text = format!(
            "# all that we have\nopenai sk-proj-{0}\nexport GROQ_API_KEY='gsk_{1}'\n{good}\nOPENROUTER_API_KEY={boss}\n\
             openrouter {2}\nDATABASE_URL=postgres://u:hunter2@db/x\nANTHROPIC_API_KEY=your-api-key-here\n\
             openai, sk-proj-{0}\nopenai {mask}\nnova abc123abc123abc1\n",
            "false0".repeat(8),
            "no1".repeat(17),
            world.provisioning
        );
        let file = world.private("keys.txt", &text);
        let file = file.to_str().unwrap();
        let dry = world.rekeyd(&["keys", "import", file, "--no-test", "--dry-run", "--json"]).await.ok();
        assert!(dry.stderr.contains("nothing was stored"), "{}", dry.stderr);
        let expected = [
            "2 added null", "3 added null", "4 added null", "5 refused null", "6 refused null", "7 refused null",
            "8 placeholder null", "9 known null", "10 refused null", "11 refused null",
        ];
        assert_eq!(fates(&dry.json()), expected);
        assert_eq!(listed(&world, &[]).await, Vec::<String>::new());
        let done = world.rekeyd(&["keys", "import", file, "--no-test", "--json"]).await.ok();
        let rows = done.json();
        assert_eq!(fates(&rows)[..3], ["2 added 1", "3 added 1", "4 added 1"]);
        assert_eq!(fates(&rows)[6], "8 placeholder 1");
        for (row, said) in [(3, "provisioning key"), (4, "provisioning key"), (5, "no provider"), (7, "line 2"), (8, "mask"), (9, "providers add nova")] {
            let detail = rows[row]["detail"].as_str().unwrap();
            assert!(detail.contains(said), "{detail}");
        }
        assert!(done.stderr.contains("added 3, known already 1, placeholders 1, refused 5"), "{}", done.stderr);
        let statuses = world.rekeyd(&["keys", "list", "--json"]).await.ok().json();
        let statuses: Vec<&str> = statuses.as_array().unwrap().iter().map(|key| key["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["placeholder", "untested", "untested", "valid"], "its kind was proved by a test");
        let again = world.rekeyd(&["keys", "import", file, "--no-test", "--json"]).await.ok().json();
        assert_eq!(fates(&again)[..3], ["2 known 1", "3 known 1", "4 known 1"]);

        // One provider for all; a key that its provider refuses is not stored.
        let other = world.openrouter.new_regular_key("other");
        let lines = format!("{other}\nsk-or-v1-{}\n", "0f".repeat(32));
        let bulk = world.rekeyd_with(&["keys", "add-bulk", "openrouter", "--json"], &lines).await.ok().json();
        assert_eq!(fates(&bulk), ["1 added 2", "2 refused null"]);
        let nothing = world.rekeyd_with(&["keys", "add-bulk"], "three words here").await;
        assert_eq!(nothing.status, 1, "{nothing:?}");
        let json = format!(r#"[{{"provider":"openai","key":"sk-proj-{}","priority":40,"name":"of json"}}]"#, "json01".repeat(8));
        world.rekeyd_with(&["keys", "import", "-", "--no-test"], &json).await.ok();
        let csv = format!("provider,key,name,priority\nopenai,sk-proj-{},of csv,300\nopenai,sk-proj-{},second of csv,30\n", "csv001".repeat(8), "csv002".repeat(8));
        let rows = world.rekeyd_with(&["keys", "import", "-", "--no-test", "--json"], &csv).await.ok().json();
        assert_eq!(fates(&rows), ["2 refused null", "3 added 3"]);
        assert_eq!(listed(&world, &["--provider", "openai", "--sort", "priority"]).await, ["openai", "of json", "second of csv"]);
        world.assert_nothing_leaked();
    }
}

on_both_databases! {
    async fn what_could_be_tidied_up_is_said(db: Db) {
        let world = World::new(db).await;
        let number = add(&world, "spare", &["--owner", "ada@example.com"]).await;
        world.rekeyd_with(&["keys", "add", "groq", "--no-test"], &format!("gsk_{}", "no1".repeat(17))).await.ok();
        let suggested = async || {
            let rows = world.rekeyd(&["keys", "suggest", "--json"]).await.ok().json();
            let rows = rows.as_array().unwrap().iter().map(|row| {
                format!("{} {} {}", row["about"].as_str().unwrap(), row["provider_type"].as_str().unwrap(), row["number"])
            });
            rows.collect::<Vec<String>>()
        };
        assert_eq!(suggested().await, ["ownerless groq null"]);
        let old = "UPDATE keys SET created_at = 1, replaced_at = NULL, owner = 'ada@example.com'";
        ledger::rows(&world, old).await;
        // Two rows with one secret, as a version without fingerprints left them.
        ledger::rows(&world, "UPDATE keys SET fingerprint = 'the same'").await;
        let hash = world.openrouter.key_by_name("spare").unwrap().hash;
        let long_ago = "2020-01-01T00:00:00Z".parse().unwrap();
        assert!(world.openrouter.edit_key(&hash, |key| {
            (key.limit, key.created_at) = (Some(500.0), long_ago);
        }));
        let unused = format!("unused openrouter {number}");
        assert_eq!(suggested().await, ["unused groq 1", &unused, "double groq 1", "limit openrouter null"]);
        // What its provider saw somebody use is no spare.
        assert!(world.openrouter.use_key(&world.openrouter.issued_secrets().into_iter().find(|secret| {
            rekeyd::domain::secret::Secret::new(secret.clone()).sha256_hex() == hash
        }).unwrap(), 400.0));
        assert_eq!(suggested().await, ["unused groq 1", "double groq 1"]);
    }
}

on_both_databases! {
    async fn no_key_is_said_where_everybody_reads(db: Db) {
        let world = World::new(db).await;
        let key = |letter: &str| format!("gsk_{}1", letter.repeat(51));
        let plain = "0123456789abcdef0123456789abcdef";
        let csv = format!(
            "provider,key,api_secret,config,note\ngroq,{},two words,,\ngroq,{},,\"{{\"\"at\"\": \"\"key={}\"\"}}\",\n\
             groq,{},,,the other is ({})\nmistral,{plain},,,\"its key, {plain}\"\n\
             groq,{},second-of-it,\"{{\"\"model\"\": \"\"m\"\"}}\",of the batch\n",
            key("a"), key("b"), key("c"), key("d"), key("e"), key("f")
        );
        let rows = world.rekeyd_with(&["keys", "import", "-", "--no-test", "--json"], &csv).await.ok().json();
        let expected = ["2 refused null", "3 refused null", "4 refused null", "5 refused null", "6 added 1"];
        assert_eq!(fates(&rows), expected, "{rows}");
        for (row, said) in [(0, "second secret"), (1, "settings"), (2, "note"), (3, "note")] {
            assert!(rows[row]["detail"].as_str().unwrap().contains(said), "{rows}");
        }
        let settings = format!(r#"{{"of": "{}"}}"#, key("g"));
        for flags in [["--settings", &settings], ["--note", "key=sk-proj-0123456789abcdef01"]] {
            let args = [&["keys", "add", "groq", "--no-test"][..], &flags].concat();
            let out = world.rekeyd_with(&args, &key("h")).await;
            assert!(out.status == 2 && !out.stderr.contains(&key("g")), "{out:?}");
        }
        assert_eq!(listed(&world, &[]).await, ["groq"]);
        world.assert_nothing_leaked();
    }
}

on_both_databases! {
    async fn whoever_gives_a_key_its_provider_is_asked_as_what_it_is(db: Db) {
        let mut world = World::new(db).await;
        world.waits.tests = "*/2 * * * * *";
        allow_private_endpoints(&world, true);
        let vendors = Vendors::start().await;
        for (name, kind) in [("nova", "openai"), ("house", "custom"), ("aya", "cohere")] {
            let base = vendors.base_url(kind);
            world.rekeyd(&["providers", "add", name, "--kind", kind, "--base-url", &base]).await.ok();
        }

        // Two kinds of key look alike there, and this kind cannot tell them apart.
        let base = world.openrouter.base_url();
        let out = world.rekeyd(&["providers", "add", "hidden", "--kind", "custom", "--base-url", &base]).await;
        assert!(out.status == 2 && out.stderr.contains("--kind openrouter"), "{out:?}");

        // What one provider refuses is another's, and no line says that it is known.
        let key = vendors.new_key("custom");
        let lines = format!("nova {key}\nhouse {key}\nhouse {key}\nnova {key}\n");
        let rows = world.rekeyd_with(&["keys", "import", "-", "--json"], &lines).await.ok().json();
        assert_eq!(fates(&rows), ["1 refused null", "2 added 1", "3 known null", "4 refused null"], "{rows}");
        assert!(rows[2]["detail"].as_str().unwrap().contains("line 2"), "{rows}");

        // Tests of this kind cost its owner something, whatever the provider is called.
        world.rekeyd_with(&["keys", "add", "aya"], &vendors.new_key("cohere")).await.ok();
        let next = "SELECT next_look_at - created_at FROM keys WHERE provider = 'aya'";
        let after: i64 = ledger::rows(&world, next).await[0].get(0);
        assert!(after >= rekeyd::domain::time::Span::hours(6).0, "{after}");
        world.assert_nothing_leaked();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_of_an_application_are_taken_over() {
    use sqlx::{Connection, Executor};
    let world = World::new(Db::Sqlite).await;
    let folder = tempfile::tempdir().unwrap();
    let app = crate::support::Database::new(Db::Postgres, folder.path()).await;
    let foreign = rekeyd::crypto::fernet::generate_key();
    let secret = format!("sk-proj-{}", "sealed".repeat(8));
    let sealed = fernet::Fernet::new(foreign.expose()).unwrap().encrypt(secret.as_bytes());
    let plain = format!("gsk_{}", "a1".repeat(26));
    let mut connection = sqlx::PgConnection::connect(&app.url).await.unwrap();
    let tables = format!(
        "CREATE TABLE providers (id serial PRIMARY KEY, provider_name text UNIQUE, created_at timestamptz);
         CREATE TABLE provider_api_keys (id serial PRIMARY KEY, provider_id int REFERENCES providers, key_number int,
           api_key text, created_at timestamptz);
         INSERT INTO providers (provider_name) VALUES ('Groq'), ('openai'), ('nova');
         INSERT INTO provider_api_keys (provider_id, key_number, api_key) VALUES (1, 1, '{plain}'), (2, 4, '{sealed}'), (3, 1, 'x1x1x1x1x1x1')"
    );
    connection.execute(sqlx::AssertSqlSafe(tables)).await.unwrap();
    let url = format!("file:{}", world.private("app-url", &app.url).display());
    let key = format!("file:{}", world.private("foreign-key", foreign.expose()).display());

    let in_clear = world.rekeyd(&["keys", "import", "postgres://u:hunter2@db/x"]).await;
    assert!(in_clear.status == 2 && !in_clear.stderr.contains("hunter2"), "{in_clear:?}");
    let closed = world.rekeyd(&["keys", "import", &url, "--no-test", "--json"]).await.ok().json();
    assert_eq!(fates(&closed), ["1 added 1", "2 refused null", "3 refused null"], "{closed}");
    assert!(closed[2]["detail"].as_str().unwrap().contains("--fernet-key"), "{closed}");
    let opened = world
        .rekeyd(&["keys", "import", &url, "--no-test", "--fernet-key", &key, "--json"])
        .await
        .ok()
        .json();
    assert_eq!(fates(&opened), ["1 known 1", "2 refused null", "3 added 1"], "{opened}");
    let given = world.rekeyd(&["keys", "get", "openai"]).await.ok();
    assert_eq!(given.stdout.trim_end(), secret);
}

on_both_databases! {
    async fn the_best_usable_key_is_handed_out_and_recorded(db: Db) {
        let world = World::new(db).await;
        world.configure_with("[[preferences]]\nname = \"fast\"\norder = [\"groq\", \"openrouter\"]\n", r#"["agent-env"]"#);
        let get = async |flags: &[&str]| world.rekeyd(&[&["keys", "get"], flags].concat()).await;
        let none = get(&["openrouter"]).await;
        assert!(none.status == 1 && none.stderr.contains("no usable key"), "{none:?}");
        assert_eq!(get(&["opnrouter"]).await.status, 2);

        let store = async |name: &str, priority: &str| {
            let secret = world.openrouter.new_regular_key(name);
            let args = ["keys", "add", "openrouter", "--name", name, "--priority", priority, "--json"];
            (number(&world.rekeyd_with(&args, &secret).await.ok().json()), secret)
        };
        let (first, main) = store("main", "100").await;
        let (second, backup) = store("backup", "60").await;
        let given = async |flags: &[&str]| get(flags).await.ok().stdout.trim_end().to_owned();
        assert_eq!(given(&["openrouter"]).await, main);
        assert_eq!(given(&["openrouter", "--number", &second]).await, backup);
        assert_eq!(given(&["openrouter", "--name", "backup"]).await, backup);
        let any = given(&["openrouter", "--random"]).await;
        assert!([&main, &backup].contains(&&any));
        let whole = get(&["openrouter", "--json"]).await.ok().json();
        assert_eq!((&whole["key"], &whole["number"]), (&json!(main), &json!(first.parse::<i64>().unwrap())));

        // Down the priorities, and on to other providers where that was asked for.
        world.rekeyd(&["keys", "deactivate", "openrouter", &first]).await.ok();
        assert_eq!(given(&["openrouter"]).await, backup);
        assert_eq!(get(&["openrouter", "--number", &first]).await.status, 1, "that one was meant");
        assert_eq!(given(&["groq", "--fallback", "openai,openrouter"]).await, backup);
        assert_eq!(given(&["groq", "--preference", "fast"]).await, backup);
        assert_eq!(get(&["groq", "--preference", "slow"]).await.status, 2);
        assert_eq!(given(&["openrouter", "--number", &first, "--fallback", "groq"]).await, backup);

        // Never one that is over, nor a provisioning key that got in by mistake.
        world.rekeyd(&["keys", "update", "openrouter", &second, "--expires", "2020-01-31"]).await.ok();
        assert_eq!(get(&["openrouter"]).await.status, 1);
        world.rekeyd(&["keys", "update", "openrouter", &second, "--expires", "never"]).await.ok();
        assert_eq!(given(&["openrouter"]).await, backup);
        let mut connection = crate::support::ledger::connect(&world).await;
        for (verdict, health, status) in [
            ("restricted", r#"{"verdict":"restricted","reason":"scope"}"#, 0),
            ("restricted", r#"{"verdict":"restricted","reason":"wrong_kind"}"#, 1),
            ("invalid", r#"{"verdict":"invalid"}"#, 1),
            ("quota_exhausted", r#"{"verdict":"quota_exhausted"}"#, 1),
            ("untested", "{}", 0),
        ] {
            let sql = "UPDATE keys SET verdict = $1, health = $2 WHERE number = $3";
            let number: i64 = second.parse().unwrap();
            sqlx::query(sql).bind(verdict).bind(health).bind(number).execute(&mut connection).await.unwrap();
            assert_eq!(get(&["openrouter"]).await.status, status, "{verdict} {health}");
        }

        // One row of the audit a key, user and minute, with a count.
        let count = async |connection: &mut sqlx::AnyConnection, sql: &'static str| {
            let row = sqlx::query(sql).fetch_one(connection).await.unwrap();
            sqlx::Row::get::<i64, _>(&row, 0)
        };
        let times = count(&mut connection, "SELECT CAST(SUM(times) AS BIGINT) FROM hand_outs").await;
        assert_eq!(times, 12, "every one of them is counted");
        let rows = count(&mut connection, "SELECT COUNT(*) FROM hand_outs").await;
        let audited = count(&mut connection, "SELECT COUNT(*) FROM audit WHERE action = 'key.handed_out'").await;
        assert_eq!(rows, audited);
        assert!(rows < times, "{rows} rows for {times}");
    }
}
