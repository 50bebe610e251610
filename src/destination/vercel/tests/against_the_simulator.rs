//! The whole story, told against the simulator.

use serde_json::json;

use super::super::*;
use crate::net::testing::{client, soon};
use crate::sim::fault::{Act, When};
use crate::sim::vercel as sim;

const NAME: &str = "OPENROUTER_API_KEY";

fn delivery(generation: i64) -> Delivery {
    Delivery {
        secret: Secret::new(format!("sk-or-v1-{:064x}", generation + 0x0fa1_5e00)),
        rotation: "production".into(),
        generation,
        destination: "vercel-production".into(),
    }
}

/// A simulator, a team's project in it, and the destination for all three targets.
async fn world(redeploy: bool) -> (sim::Vercel, String, Vercel) {
    let world = sim::Vercel::start().await;
    let team = world.add_team("acme");
    let project = world.add_project_of(&team, "acme-app");
    let vercel = at(&world, &team, redeploy);
    (world, project, vercel)
}

fn at(world: &sim::Vercel, team: &str, redeploy: bool) -> Vercel {
    let spec = VercelSpec {
        project: "acme-app".into(),
        team: Some(team.into()),
        variable: NAME.into(),
        targets: ["production", "preview", "development"].map(str::to_owned).to_vec(),
        git_branch: None,
        sensitive: true,
        redeploy,
        promote: redeploy,
        token: Secret::new(world.new_token()),
        api_url: world.api_url(),
    };
    Vercel::new(spec, &client()).unwrap()
}

async fn look(vercel: &Vercel, generation: i64, evidence: &Value) -> Look {
    vercel.look(&delivery(generation), evidence, soon()).await.unwrap()
}

async fn published(vercel: &Vercel, generation: i64) -> Look {
    let evidence = vercel.publish(&delivery(generation), soon()).await.unwrap();
    look(vercel, generation, &evidence).await
}

fn kinds(world: &sim::Vercel, project: &str) -> Vec<(String, String)> {
    world.envs(project).into_iter().map(|row| (row.target.join(","), row.kind)).collect()
}

#[tokio::test]
async fn a_new_variable_then_the_next_generation_then_drift() {
    let (world, project, vercel) = world(false).await;
    assert_eq!(look(&vercel, 1, &Value::Null).await.standing, Standing::Missing);
    let first = published(&vercel, 1).await;
    assert_eq!(first.standing, Standing::Confirmed);
    let made = [("production", "sensitive"), ("preview", "sensitive"), ("development", "encrypted")];
    assert_eq!(kinds(&world, &project), made.map(|(target, kind)| (target.to_owned(), kind.to_owned())));
    let second = published(&vercel, 2).await;
    assert_eq!(second.standing, Standing::Confirmed);
    for target in ["production", "preview", "development"] {
        assert_eq!(world.value(&project, NAME, target).unwrap(), delivery(2).secret.expose());
    }
    assert_eq!(world.envs(&project).len(), 3, "patched, not made again");
    assert_eq!(look(&vercel, 2, &second.evidence).await, second);
    assert_eq!(look(&vercel, 1, &second.evidence).await.standing, Standing::Unprovable);
    assert!(!second.evidence.to_string().contains("sk-or"));

    world.set_by_hand(&project, NAME, &["production"], "sensitive", "by hand");
    let drift = look(&vercel, 2, &second.evidence).await;
    assert!(matches!(drift.standing, Standing::Drift(_)), "{drift:?}");
    assert_eq!(drift.evidence, second.evidence);
    world.delete_by_hand(&project, NAME);
    assert_eq!(look(&vercel, 2, &second.evidence).await.standing, Standing::Missing);
}

#[tokio::test]
async fn an_existing_variable_keeps_its_shape() {
    for as_text in [false, true] {
        let (world, project, vercel) = world(false).await;
        world.settings(|settings| settings.single_target_as_text = as_text);
        world.set_by_hand(&project, NAME, &["preview", "production"], "encrypted", "old");
        world.set_by_hand(&project, NAME, &["development"], "plain", "old");
        assert_eq!(published(&vercel, 1).await.standing, Standing::Confirmed);
        let kept = [("preview,production", "encrypted"), ("development", "plain")];
        assert_eq!(kinds(&world, &project), kept.map(|(target, kind)| (target.to_owned(), kind.to_owned())));
        assert_eq!(world.value(&project, NAME, "production").unwrap(), delivery(1).secret.expose());
        let adopted = look(&vercel, 1, &Value::Null).await;
        assert_eq!(adopted.standing, Standing::Confirmed, "readable values prove themselves");
    }
}

#[tokio::test]
async fn a_swallowed_write_is_not_proof() {
    let (world, _project, vercel) = world(false).await;
    world.settings(|settings| settings.swallow_writes = true);
    let swallowed = published(&vercel, 1).await;
    assert!(matches!(swallowed.standing, Standing::Accepted(_)), "{swallowed:?}");
    world.settings(|settings| settings.swallow_writes = false);
    assert_eq!(published(&vercel, 1).await.standing, Standing::Confirmed);
    world.settings(|settings| settings.swallow_writes = true);
    let swallowed = published(&vercel, 2).await;
    assert!(matches!(swallowed.standing, Standing::Accepted(_)), "{swallowed:?}");
    world.settings(|settings| settings.swallow_writes = false);
    assert_eq!(published(&vercel, 2).await.standing, Standing::Confirmed);
}

#[tokio::test]
async fn creations_that_fail_are_failures() {
    let (world, _project, vercel) = world(false).await;
    let failing = ("PROJECT_LIMIT".to_owned(), "too many variables".to_owned());
    world.settings(|settings| settings.fail_creates = Some(failing));
    let failure = vercel.publish(&delivery(1), soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.message.contains("for production (PROJECT_LIMIT)"), "{failure:?}");
}

#[tokio::test]
async fn a_lost_answer_is_unclear_and_is_found_at_the_next_write() {
    let (world, project, vercel) = world(false).await;
    for label in ["create_env", "patch_env"] {
        for act in [Act::Reset, Act::Html(502), Act::EchoKey(500)] {
            world.faults().once(label, When::After, act);
            let failure = vercel.publish(&delivery(1), soon()).await.unwrap_err();
            assert_eq!(failure.kind, FailureKind::Unclear, "{label}: {failure:?}");
            let shown = format!("{failure:?}");
            assert!(world.issued_tokens().iter().all(|token| !shown.contains(token)), "{shown}");
            if label == "create_env" {
                world.delete_by_hand(&project, NAME);
            } else {
                assert_eq!(published(&vercel, 1).await.standing, Standing::Confirmed);
            }
        }
        published(&vercel, 1).await;
    }
    assert_eq!(world.envs(&project).len(), 3);
}

#[tokio::test]
async fn tokens_and_teams() {
    let (world, _project, vercel) = world(false).await;
    let other = at(&world, "somebody-else", false);
    assert_eq!(other.preflight(soon()).await.unwrap_err().kind, FailureKind::Forbidden);
    assert!(vercel.preflight(soon()).await.is_ok());
    for token in world.issued_tokens() {
        world.revoke_token(&token);
    }
    let failure = vercel.preflight(soon()).await.unwrap_err();
    assert!(failure.is_permanent() && failure.hint.unwrap().contains("may be revoked"));
}

/// Looks and rolls out like the engine does, until the standing is reached or nothing moves any more.
async fn rolled_out(vercel: &Vercel, generation: i64, mut seen: Look) -> Look {
    for _ in 0..12 {
        if seen.standing == Standing::Effective {
            break;
        }
        if vercel.due(&seen.evidence) {
            match vercel.start(&delivery(generation), &seen.evidence, soon()).await {
                Ok(evidence) => seen.evidence = evidence,
                Err(failure) if failure.is_permanent() => break,
                Err(_) => {}
            }
        }
        seen = look(vercel, generation, &seen.evidence).await;
    }
    seen
}

#[tokio::test]
async fn production_runs_with_the_key_at_the_end() {
    let (world, project, vercel) = world(true).await;
    let before = world.deployments(&project).len();
    let proved = published(&vercel, 1).await;
    assert_eq!(proved.standing, Standing::Confirmed);
    assert_eq!(world.production_sees(&project, NAME), None);
    let done = rolled_out(&vercel, 1, proved).await;
    assert_eq!(done.standing, Standing::Effective);
    assert_eq!(world.production_sees(&project, NAME).unwrap(), delivery(1).secret.expose());
    assert_eq!(world.deployments(&project).len(), before + 1);
    assert_eq!(look(&vercel, 1, &done.evidence).await.standing, Standing::Effective);
}

#[tokio::test]
async fn a_deployment_whose_answer_was_lost_is_not_built_twice() {
    let (world, project, vercel) = world(true).await;
    let before = world.deployments(&project).len();
    let proved = published(&vercel, 1).await;
    for act in [Act::Reset, Act::status(504)] {
        world.faults().once("create_deployment", When::After, act);
    }
    let failure = vercel.start(&delivery(1), &proved.evidence, soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unclear);
    let done = rolled_out(&vercel, 1, proved).await;
    assert_eq!(done.standing, Standing::Effective);
    assert_eq!(world.deployments(&project).len(), before + 1);
}

#[tokio::test]
async fn builds_that_fail_end_with_a_person() {
    let (world, project, vercel) = world(true).await;
    let before = world.deployments(&project).len();
    world.settings(|settings| settings.outcome = sim::ReadyState::Error);
    let proved = published(&vercel, 1).await;
    let stuck = rolled_out(&vercel, 1, proved).await;
    assert_eq!(stuck.standing, Standing::Confirmed);
    assert_eq!(stuck.evidence["deployment"]["state"], "ERROR");
    assert_eq!(world.deployments(&project).len(), before + 3);
    let failure = vercel.start(&delivery(1), &stuck.evidence, soon()).await.unwrap_err();
    assert!(failure.is_permanent(), "{failure:?}");
    let given_up = Look { evidence: vercel.given_up(stuck.evidence.clone()), ..stuck };
    let again = rolled_out(&vercel, 1, given_up).await;
    assert_eq!(again.evidence["deployment"]["attempt"], 6, "a person said so: as often again");
    assert_eq!(world.deployments(&project).len(), before + 6);
    world.settings(|settings| settings.outcome = sim::ReadyState::Ready);
    let given_up = Look { evidence: vercel.given_up(again.evidence.clone()), ..again };
    assert_eq!(rolled_out(&vercel, 1, given_up).await.standing, Standing::Effective, "mended");
    let again = published(&vercel, 1).await;
    assert_eq!(rolled_out(&vercel, 1, again).await.standing, Standing::Effective, "published again");
}

#[tokio::test]
async fn what_never_gets_ready_or_is_rolled_back_is_not_effective() {
    let (world, project, vercel) = world(true).await;
    let first = world.production(&project).unwrap();
    world.settings(|settings| settings.progress = sim::Progress::Never);
    let proved = published(&vercel, 1).await;
    let waiting = rolled_out(&vercel, 1, proved).await;
    assert_eq!(waiting.standing, Standing::Confirmed);
    assert_eq!(waiting.evidence["deployment"]["state"], "QUEUED");
    world.settings(|settings| settings.progress = sim::Progress::PerPoll);
    let done = rolled_out(&vercel, 1, waiting).await;
    assert_eq!(done.standing, Standing::Effective);
    world.roll_back(&project, &first);
    let once = look(&vercel, 1, &done.evidence).await;
    assert_eq!(once.standing, Standing::Confirmed, "it is ready a moment before it serves");
    let back = look(&vercel, 1, &once.evidence).await;
    assert!(matches!(back.standing, Standing::Held(_)), "{back:?}");
    assert!(!vercel.due(&back.evidence), "a person's decision is not fought");
    world.set_clock_offset(60);
    let by_hand = world.deploy_by_hand(&project);
    world.roll_back(&project, &by_hand);
    assert_eq!(
        look(&vercel, 1, &done.evidence).await.standing,
        Standing::Effective,
        "somebody deployed since"
    );
}

#[tokio::test]
async fn the_daily_cap_is_not_the_end() {
    let (world, _project, vercel) = world(true).await;
    world.settings(|settings| (settings.deployments_per_day, settings.cap_status) = (0, 429));
    let proved = published(&vercel, 1).await;
    let failure = vercel.start(&delivery(1), &proved.evidence, soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::RateLimited, "{failure:?}");
    assert!(failure.retry_after.is_some());
    world.settings(|settings| settings.cap_status = 402);
    let failure = vercel.start(&delivery(1), &proved.evidence, soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::RateLimited, "a cap passes, whatever its status: {failure:?}");
    assert_eq!(json!(proved.evidence["deployment"]), Value::Null);
}

#[tokio::test]
async fn a_staged_deployment_is_promoted_and_nobodys_decision_undone() {
    for (reads, promotion) in
        [(0, sim::Promotion::Done), (2, sim::Promotion::Done), (2, sim::Promotion::Fails)]
    {
        let (world, project, vercel) = world(true).await;
        world.assign_domains(&project, false);
        world.settings(|settings| (settings.promotion_reads, settings.promotion) = (reads, promotion));
        let proved = published(&vercel, 1).await;
        let done = rolled_out(&vercel, 1, proved).await;
        let asked = world.requests().iter().filter(|request| request.label == "promote").count();
        let sees = world.production_sees(&project, NAME);
        if promotion == sim::Promotion::Fails {
            assert_eq!((asked, sees), (3, None), "{done:?}");
            assert!(matches!(done.standing, Standing::Held(_)), "{done:?}");
        } else {
            assert_eq!((asked, done.standing), (1, Standing::Effective));
            assert_eq!(sees.unwrap(), delivery(1).secret.expose());
        }
    }
    // One that is taken and never seen again is asked for once more.
    let (cloud, project, vercel) = world(true).await;
    cloud.assign_domains(&project, false);
    cloud.settings(|settings| settings.promotion = sim::Promotion::Swallowed);
    let proved = published(&vercel, 1).await;
    let waiting = rolled_out(&vercel, 1, proved).await;
    cloud.settings(|settings| settings.promotion = sim::Promotion::Done);
    assert_eq!(rolled_out(&vercel, 1, waiting).await.standing, Standing::Effective);
    // A person rolls back while it is built: what they put back is rebuilt, and that is promoted.
    let (cloud, project, vercel) = world(true).await;
    let first = cloud.production(&project).unwrap();
    cloud.deploy_by_hand(&project);
    let mut seen = published(&vercel, 1).await;
    seen.evidence = vercel.start(&delivery(1), &seen.evidence, soon()).await.unwrap();
    cloud.roll_back(&project, &first);
    let done = rolled_out(&vercel, 1, seen).await;
    assert_eq!(done.standing, Standing::Effective, "{done:?}");
    assert_eq!(done.evidence["deployment"]["from"], first);
}

#[tokio::test]
async fn a_release_in_steps_is_waited_for_and_never_promoted() {
    let (world, project, vercel) = world(true).await;
    world.release_in_steps(&project, true);
    let proved = published(&vercel, 1).await;
    let waiting = rolled_out(&vercel, 1, proved).await;
    assert!(matches!(&waiting.standing, Standing::Held(how) if how.contains("in steps")), "{waiting:?}");
    assert!(world.requests().iter().all(|request| request.label != "promote"));
    let ours = waiting.evidence["deployment"]["id"].as_str().unwrap().to_owned();
    world.promote_by_hand(&project, &ours);
    assert_eq!(look(&vercel, 1, &waiting.evidence).await.standing, Standing::Effective);
}
