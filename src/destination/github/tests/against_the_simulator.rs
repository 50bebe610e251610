//! The whole story, told against the simulator.

use super::super::*;
use super::refusals::private_key;
use super::{delivery, repository, spec};
use crate::destination::{Standing, shown};
use crate::domain::secret::Secret;
use crate::net::testing::{client, soon};
use crate::sim::fault::{Act, When};
use crate::sim::github as sim;

const NAME: &str = "OPENROUTER_API_KEY";

async fn world() -> sim::GitHub {
    let github = sim::GitHub::start().await;
    github.add_repo("Acme/app");
    github.add_environment("Acme/app", "production");
    github.add_org("acme");
    github
}

fn at(world: &sim::GitHub, scope: Scope, store: Store) -> Github {
    let token = world.new_token(sim::Permissions::everything());
    let auth = Auth::Token(Secret::new(token));
    let spec = GithubSpec { store, auth, ..spec(&world.api_url(), scope) };
    Github::new(spec, &client()).unwrap()
}

fn environment() -> Scope {
    Scope::Environment { owner: "acme".into(), repo: "app".into(), environment: "production".into() }
}

fn organization(visibility: Option<Visibility>, repositories: &[&str]) -> Scope {
    let repositories = repositories.iter().map(|&name| name.to_owned()).collect();
    Scope::Organization { organization: "acme".into(), visibility, repositories }
}

async fn published(github: &Github, generation: i64) -> Look {
    let evidence = github.publish(&delivery(generation), soon()).await.unwrap();
    github.look(&delivery(generation), &evidence, soon()).await.unwrap()
}

fn labels(world: &sim::GitHub) -> Vec<String> {
    world.requests().into_iter().map(|request| request.label.to_string()).collect()
}

#[tokio::test]
async fn every_place_takes_holds_and_proves_a_key() {
    let world = world().await;
    let all = |org: &str| sim::Scope::org(org);
    let rows = [
        (repository(), Store::Actions, sim::Scope::repo("acme/app")),
        (repository(), Store::Dependabot, sim::Scope::repo("acme/app").dependabot()),
        (repository(), Store::Codespaces, sim::Scope::repo("acme/app").codespaces()),
        (environment(), Store::Actions, sim::Scope::environment("acme/app", "production")),
        (organization(None, &[]), Store::Actions, all("acme")),
        (organization(Some(Visibility::All), &[]), Store::Dependabot, all("acme").dependabot()),
        (organization(None, &["app"]), Store::Codespaces, all("acme").codespaces()),
    ];
    for (scope, store, held) in rows {
        let github = at(&world, scope, store);
        let row = github.address();
        let before = github.look(&delivery(1), &Value::Null, soon()).await.unwrap();
        assert_eq!(before.standing, Standing::Missing, "{row}");
        let look = published(&github, 1).await;
        assert_eq!(look.standing, Standing::Confirmed, "{row}");
        assert_eq!(world.secret_value(&held, NAME).unwrap(), delivery(1).secret.expose(), "{row}");
        let kept = world.secret(&held, NAME).unwrap().updated_at.timestamp_millis();
        let proof = Timestamp::parse_rfc3339(look.evidence["updated_at"].as_str().unwrap());
        assert_eq!(proof, Some(Timestamp(kept)), "{row}");
        assert!(!look.evidence.to_string().contains("sk-or"), "{row}");
        let seen = shown(&github.preflight(soon()).await.unwrap());
        assert!(seen.contains("OPENROUTER_API_KEY exists since 20"), "{row}: {seen}");

        assert_eq!(github.look(&delivery(1), &look.evidence, soon()).await.unwrap(), look, "{row}");
        world.edit_secret_by_hand(&held, NAME);
        let drift = github.look(&delivery(1), &look.evidence, soon()).await.unwrap();
        assert!(matches!(drift.standing, Standing::Drift(_)), "{row}: {drift:?}");
        assert_eq!(drift.evidence, look.evidence, "{row}");
        assert!(world.delete_secret_by_hand(&held, NAME));
        let gone = github.look(&delivery(1), &look.evidence, soon()).await.unwrap();
        assert_eq!(gone, Look { standing: Standing::Missing, evidence: look.evidence }, "{row}");
    }
}

#[tokio::test]
async fn a_swallowed_write_is_not_proof() {
    let world = world().await;
    let github = at(&world, repository(), Store::Actions);
    world.settings(|settings| settings.swallow_writes = true);
    let look = published(&github, 1).await;
    assert!(
        matches!(&look.standing, Standing::Accepted(text) if text.contains("no such secret")),
        "{look:?}"
    );
    world.settings(|settings| settings.swallow_writes = false);
    assert_eq!(published(&github, 1).await.standing, Standing::Confirmed);
    world.settings(|settings| settings.swallow_writes = true);
    let look = published(&github, 2).await;
    assert!(matches!(&look.standing, Standing::Accepted(text) if text.contains("still shows")), "{look:?}");
    world.settings(|settings| settings.swallow_writes = false);
    assert_eq!(published(&github, 2).await.standing, Standing::Confirmed);
}

#[tokio::test]
async fn two_writes_in_a_row_are_both_proved() {
    let world = world().await;
    let github = at(&world, repository(), Store::Actions);
    world.set_secret_by_hand(&sim::Scope::repo("acme/app"), NAME, "by hand");
    for generation in 1..=2 {
        assert_eq!(published(&github, generation).await.standing, Standing::Confirmed);
    }
}

#[tokio::test]
async fn a_write_of_somebody_else_is_not_taken_for_ours() {
    let world = world().await;
    let github = at(&world, repository(), Store::Actions);
    let scope = sim::Scope::repo("acme/app");
    let evidence = github.publish(&delivery(1), soon()).await.unwrap();
    world.set_clock_offset(600);
    world.edit_secret_by_hand(&scope, NAME);
    let look = github.look(&delivery(1), &evidence, soon()).await.unwrap();
    assert!(matches!(&look.standing, Standing::Drift(text) if text.contains("after our own")), "{look:?}");

    let key_rotation = world.faults().hold("put_secret", When::Before);
    let second = delivery(2);
    let (evidence, ()) = tokio::join!(github.publish(&second, soon()), async {
        key_rotation.arrived().await;
        world.rotate_public_key(&scope);
        key_rotation.release();
    });
    let look = github.look(&delivery(2), &evidence.unwrap(), soon()).await.unwrap();
    assert_ne!(look.standing, Standing::Unprovable);
    assert_eq!(world.secret_value(&scope, NAME).unwrap(), delivery(2).secret.expose());
}

#[tokio::test]
async fn who_sees_an_organization_secret_still_does() {
    let world = world().await;
    for n in 0..230 {
        world.add_repo(&format!("acme/service-{n}"));
    }
    let names: Vec<String> = (0..230).map(|n| format!("service-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let github = at(&world, organization(Some(Visibility::Selected), &names), Store::Actions);
    assert_eq!(published(&github, 1).await.standing, Standing::Confirmed);
    let kept = at(&world, organization(None, &["app"]), Store::Actions);
    world.set_clock_offset(60);
    assert_eq!(published(&kept, 2).await.standing, Standing::Confirmed);
    let row = world.secret(&sim::Scope::org("acme"), NAME).unwrap();
    assert_eq!(row.selected_repository_ids.len(), 231);
    assert_eq!(world.workflow_sees("acme/service-229", NAME).unwrap(), delivery(2).secret.expose());
    assert_eq!(world.workflow_sees("acme/app", NAME).unwrap(), delivery(2).secret.expose());
}

#[tokio::test]
async fn missing_permissions_are_named() {
    let world = world().await;
    let read_only = world.new_token(sim::Permissions::read_only());
    let spec = |scope, store, token: &str| GithubSpec {
        store,
        auth: Auth::Token(Secret::new(token)),
        ..spec(&world.api_url(), scope)
    };
    let rows = [
        (repository(), Store::Actions, "repository permission \"Secrets"),
        (repository(), Store::Dependabot, "\"Dependabot secrets"),
        (repository(), Store::Codespaces, "\"Codespaces secrets"),
        (environment(), Store::Actions, "\"Environments"),
        (organization(Some(Visibility::All), &[]), Store::Actions, "organization permission \"Secrets"),
        (organization(Some(Visibility::All), &[]), Store::Dependabot, "\"Organization dependabot secrets"),
        (organization(Some(Visibility::All), &[]), Store::Codespaces, "\"Organization codespaces secrets"),
        (organization(Some(Visibility::All), &[]), Store::Actions, "`admin:org`"),
    ];
    for (scope, store, hint) in rows {
        let github = Github::new(spec(scope, store, &read_only), &client()).unwrap();
        let failure = github.publish(&delivery(1), soon()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Forbidden, "{failure:?}");
        assert!(failure.hint.as_deref().unwrap().contains(hint), "{failure:?}");
    }
    let blind = world.new_token_for(sim::Permissions::everything(), &["acme/other"]);
    let github = Github::new(spec(repository(), Store::Actions, &blind), &client()).unwrap();
    let failure = github.preflight(soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound, "{failure:?}");
    let github = Github::new(spec(repository(), Store::Actions, "github_pat_false"), &client()).unwrap();
    assert_eq!(github.preflight(soon()).await.unwrap_err().kind, FailureKind::Unauthorized);
}

#[tokio::test]
async fn a_secondary_limit_says_how_long() {
    let world = world().await;
    let github = at(&world, repository(), Store::Actions);
    for (given, expected) in [(Some(42), 42), (None, 60)] {
        world.faults().once("put_secret", When::Before, sim::secondary_rate_limit(given));
        let failure = github.publish(&delivery(1), soon()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::RateLimited);
        assert_eq!(failure.retry_after.unwrap().0, expected * 1000);
    }
}

#[tokio::test]
async fn a_lost_answer_is_unclear_and_the_put_can_be_repeated() {
    let world = world().await;
    let github = at(&world, repository(), Store::Actions);
    for act in [Act::Reset, Act::status(502), Act::Html(503), Act::EchoKey(500)] {
        world.faults().once("put_secret", When::After, act);
        let failure = github.publish(&delivery(1), soon()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unclear, "{failure:?}");
        let shown = format!("{failure:?}");
        assert!(world.issued_tokens().iter().all(|token| !shown.contains(token)), "{shown}");
    }
    let puts = labels(&world).iter().filter(|label| *label == "put_secret").count();
    assert_eq!(puts, 4, "nothing is repeated behind our back");
    world.set_clock_offset(60);
    assert_eq!(published(&github, 1).await.standing, Standing::Confirmed);
}

#[tokio::test]
async fn an_app_logs_in_once_and_again_when_refused() {
    let world = world().await;
    let app = world.add_app(sim::Permissions::everything());
    let auth = Auth::App { id: app.app_id, installation: app.installation_id, private_key: private_key() };
    let spec = |auth| GithubSpec { auth, ..spec(&world.enterprise_api_url(), repository()) };
    let github = Github::new(spec(auth), &client()).unwrap();
    let seen = shown(&github.preflight(soon()).await.unwrap());
    assert!(seen.contains("installation has secrets: write"), "{seen}");
    assert_eq!(published(&github, 1).await.standing, Standing::Confirmed);
    let logins = |world: &sim::GitHub| labels(world).iter().filter(|label| *label == "access_token").count();
    assert_eq!(logins(&world), 1);
    world.expire_installation_tokens();
    assert_eq!(published(&github, 2).await.standing, Standing::Confirmed);
    assert_eq!(logins(&world), 2);

    let wrong = Auth::App { id: app.app_id, installation: 1, private_key: private_key() };
    let failure = Github::new(spec(wrong), &client()).unwrap().preflight(soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound, "{failure:?}");
    assert!(failure.hint.unwrap().contains("installation"));
    world.set_clock_offset(-3600);
    let early = Auth::App { id: app.app_id, installation: app.installation_id, private_key: private_key() };
    let failure = Github::new(spec(early), &client()).unwrap().preflight(soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unauthorized, "{failure:?}");
    assert!(failure.hint.unwrap().contains("this machine's clock"));
    let broken = Auth::App { id: 1, installation: 1, private_key: Secret::new("not a key") };
    let failure = Github::new(spec(broken), &client()).unwrap().preflight(soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotSent, "{failure:?}");
    assert!(failure.hint.unwrap().contains(".pem file"));
}

#[tokio::test]
async fn a_dispatch_follows_a_proved_write_once() {
    let world = world().await;
    let token = world.new_token(sim::Permissions::everything());
    let dispatch = Some("openrouter-key-rotated".to_owned());
    let auth = Auth::Token(Secret::new(token));
    let spec = GithubSpec { dispatch, auth, ..spec(&world.api_url(), repository()) };
    let github = Github::new(spec, &client()).unwrap();
    let rollout = github.rollout().unwrap();
    assert!(!rollout.required());
    let evidence = github.publish(&delivery(7), soon()).await.unwrap();
    assert!(!rollout.due(&evidence), "not before the write is proved");
    let look = github.look(&delivery(7), &evidence, soon()).await.unwrap();
    assert!(rollout.due(&look.evidence) && !rollout.due(&Value::Null));
    let evidence = rollout.start(&delivery(7), &look.evidence, soon()).await.unwrap();
    assert!(!rollout.due(&evidence));
    let look = github.look(&delivery(7), &evidence, soon()).await.unwrap();
    assert_eq!(look.standing, Standing::Confirmed);
    assert!(!rollout.due(&look.evidence), "a look keeps it");
    let sent = world.dispatches();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].event_type, "openrouter-key-rotated");
    assert_eq!(
        sent[0].client_payload,
        json!({"rotation": "production", "generation": 7, "secret": "OPENROUTER_API_KEY"})
    );
    let evidence = github.publish(&delivery(8), soon()).await.unwrap();
    assert_eq!(evidence["dispatched"], false, "each write has its own");
}
