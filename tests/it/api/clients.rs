//! Keys for applications: who gets which, what is recorded of it, and the programs of `docs/clients.md`.

use serde_json::json;
use tokio::process::Command;

use super::clients;
use crate::support::client::Client;
use crate::support::wait::{serve, stop};
use crate::support::{Db, World, on_both_databases};

const PAGE: &str = include_str!("../../../docs/clients.md");

async fn consumer(world: &World, name: &str, providers: &str) -> (Client, String) {
    let args = ["tokens", "create", name, "--role", "consumer", "--providers", providers, "--json"];
    let token = world.rekeyd(&args).await.ok().json()["token"].as_str().unwrap().to_owned();
    (Client::of_newest(world, &token), token)
}

on_both_databases! {
    async fn an_application_gets_what_its_token_was_made_for(db: Db) {
        let world = World::new(db).await;
        world.adopt().await;
        world.rekeyd_with(&["keys", "add", "openai", "--no-test", "--name", "main"], "sk-proj-false-key-0123456789").await.ok();
        let daemon = serve(&world).await;
        let (shop, _) = consumer(&world, "shop", "openrouter").await;
        let path = "/api/v1/credentials";
        for _ in 0..2 {
            let given = shop.get(&format!("{path}/openrouter")).await.ok();
            assert_eq!((&given.json()["key"], given.header("cache-control")), (&json!(world.first), Some("no-store")));
        }
        for (asked, status, code) in [
            ("openai", 403, "forbidden"),
            ("openrouter?fallback=openai", 403, "forbidden"),
            ("openrouter?number=99", 404, "no_usable_key"),
            ("openrouter?strategy=number", 400, "bad_parameter"),
            ("openrouter?colour=red", 400, "bad_request"),
        ] {
            let refused = shop.get(&format!("{path}/{asked}")).await;
            assert_eq!((refused.status, &refused.json()["code"]), (status, &json!(code)), "{asked}: {}", refused.body);
        }
        assert_eq!(shop.get("/api/v1/rotations").await.status, 403, "only this path");
        let admin = clients(&world).await.remove("admin").unwrap();
        assert_eq!(admin.get(&format!("{path}/nothing")).await.status, 404);
        let other = admin.get(&format!("{path}/groq?fallback=openai&strategy=random")).await.ok().json();
        assert_eq!((&other["provider_type"], &other["name"]), (&json!("openai"), &json!("main")));
        assert_eq!(admin.get(&format!("{path}/groq")).await.json()["code"], "no_usable_key");

        let trail = admin.get("/api/v1/audit?action=key.handed_out&actor=token%20shop").await.json();
        let rows = trail["items"].as_array().unwrap();
        let counted = rows.len() == 1 && rows[0]["detail"].as_str().unwrap().ends_with(", 2 times in this minute");
        assert!(counted || rows.len() == 2, "a row a minute: {trail}");
        assert!(!trail.to_string().contains(&world.first));
        let refusals = admin.get("/api/v1/audit?action=request.refused&actor=token%20shop").await.json();
        assert_eq!(refusals["total"], 3, "{refusals}");
        stop(daemon).await;
    }
}

/// The page's program in this language.
fn program(language: &str) -> String {
    let block = PAGE.split(&format!("```{language}\n")).nth(1).unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

#[tokio::test]
async fn the_programs_of_the_page_get_a_key_and_keep_it_when_rekeyd_is_away() {
    let world = World::new(Db::Sqlite).await;
    world.adopt().await;
    let daemon = serve(&world).await;
    let (client, token) = consumer(&world, "page", "openrouter").await;
    // The first is asked for, the second kept, the third is of a rekeyd that is away.
    let python = "\nKEEP = 0\nprint(api_key('openrouter'))\nos.environ['REKEYD_URL'] = 'http://127.0.0.1:1'\n\
                  print(api_key('openrouter'))\n";
    let node = "\nKEEP = 0;\n(async () => {\n  console.log(await apiKey('openrouter'));\n  \
                process.env.REKEYD_URL = 'http://127.0.0.1:1';\n  console.log(await apiKey('openrouter'));\n})();\n";
    let say = "printf '%s\\n' \"$OPENROUTER_API_KEY\"";
    let shell = format!("\n{say}\nREKEYD_URL=http://127.0.0.1:1\n{}\n{say}\n", program("sh"));
    for (interpreter, language, more) in
        [("python3", "python", python), ("node", "js", node), ("sh", "sh", &shell)]
    {
        let script = world.path(&format!("example.{language}"));
        std::fs::write(&script, program(language) + more).unwrap();
        let mut command = Command::new(interpreter);
        command.arg(&script).env("REKEYD_URL", client.url()).env("REKEYD_TOKEN", &token);
        let out = command.output().await.unwrap_or_else(|error| panic!("{interpreter}: {error}"));
        let expected = format!("{0}\n{0}\n", world.first);
        assert_eq!(String::from_utf8_lossy(&out.stdout), expected, "{language}: {out:?}");
        // A token that is taken back is no reason to go on.
        let mut command = Command::new(interpreter);
        command.arg(&script).env("REKEYD_URL", client.url()).env("REKEYD_TOKEN", "rk_nobody");
        let out = command.output().await.unwrap();
        assert!(!String::from_utf8_lossy(&out.stdout).contains(&world.first), "{language}: {out:?}");
    }
    stop(daemon).await;
}
