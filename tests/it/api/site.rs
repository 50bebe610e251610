//! Where the API lives, and who reads its metrics.

use serde_json::json;

use super::clients;
use crate::support::client::Client;
use crate::support::wait::{reconfigure, serve, stop};
use crate::support::{Db, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_lives_under_the_path_of_the_public_url() {
    let world = World::new(Db::Sqlite).await;
    world.private("metrics-token", "not-a-metrics-token");
    let token = world.path("metrics-token").display().to_string();
    let more = format!(
        "[metrics]\ntoken = \"file:{token}\"\n[server]\npublic_url = \"https://ops.example.com/rekeyd\"\n"
    );
    reconfigure(&world, "[server]\n", &more);
    let daemon = serve(&world).await;
    let admin = clients(&world).await.remove("admin").unwrap();
    for base in ["/rekeyd", ""] {
        assert_eq!(admin.get(&format!("{base}/api/v1/auth/me")).await.ok().json()["name"], "token admin");
        assert_eq!(admin.get(&format!("{base}/healthz")).await.status, 200);
        let page = admin.get(&format!("{base}/api/docs")).await.ok();
        assert!(page.body.contains("href=\"v1/openapi.json\""), "links stay below it");
    }
    let lost = admin.get("/rekeyder/api/v1/runs").await;
    assert_eq!(
        (lost.status, &lost.json()["type"]),
        (404, &json!("https://ops.example.com/rekeyd/api/docs#not_found"))
    );

    let nobody = Client::of_newest(&world, "");
    for path in ["/metrics", "/rekeyd/metrics"] {
        let refused = nobody.get(path).await;
        assert_eq!((refused.status, refused.header("www-authenticate").is_some()), (401, true));
        assert_eq!(admin.get(path).await.status, 401, "another's token");
        let scraped = nobody.with("Authorization", "Bearer not-a-metrics-token").get(path).await.ok();
        assert!(scraped.body.contains("route=\"/metrics\""), "one name for one path");
    }
    stop(daemon).await;
}
