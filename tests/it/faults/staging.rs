//! Faults 38 and 56: deployments that are ready and do not serve production, and persons who ship or roll back
//! meanwhile.

use rekeyd::sim::fault::{Act, When};
use rekeyd::sim::vercel::{Progress, Substate, Vercel};
use serde_json::json;
use tokio::process::Child;

use super::invariants::{Proof, invariants};
use super::{ended, fault, ledger, until};
use crate::support::world::SECRET;
use crate::support::{Db, World};

/// A world with a Vercel project whose production runs with the first key.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) vercel: Vercel,
    pub(super) project: String,
    /// What serves production, and was deployed before that.
    serving: String,
    before: String,
}

impl Stage {
    pub(super) async fn new(db: Db, promote: bool) -> Self {
        let world = World::new(db).await;
        let vercel = Vercel::start_with(world.script.clone()).await;
        let team = vercel.add_team("acme");
        let project = vercel.add_project_of(&team, "app");
        world.private("vercel-token", &vercel.new_token_for(&team));
        vercel.set_by_hand(&project, SECRET, &["production"], "encrypted", &world.first);
        let (before, serving) = (vercel.deploy_by_hand(&project), vercel.deploy_by_hand(&project));
        let destination = format!(
            "[[destinations]]\nname = \"vercel\"\ntype = \"vercel\"\nproject = \"{project}\"\nteam = \"{team}\"\n\
             variable = \"{SECRET}\"\ntargets = [\"production\"]\nsensitive = false\nredeploy = true\n\
             promote = {promote}\ntoken = \"file:{}\"\napi_url = \"{}\"",
            world.path("vercel-token").display(),
            vercel.api_url()
        );
        world.configure_with(&destination, r#"["github-production", "agent-env", "vercel"]"#);
        world.adopt().await;
        Self { world, vercel, project, serving, before }
    }

    pub(super) fn run(&self) -> Child {
        self.world.command(&["rotations", "run", "production", "--wait"]).spawn().unwrap()
    }

    pub(super) fn asked(&self, label: &str) -> usize {
        self.vercel.requests().iter().filter(|request| request.label == label).count()
    }

    /// Our builds, oldest first.
    fn builds(&self) -> Vec<rekeyd::sim::vercel::DeploymentRow> {
        let all = self.vercel.deployments(&self.project);
        all.into_iter().filter(|row| row.meta.contains_key("rekeyd_run")).collect()
    }

    /// People are told what the run waits for, and nothing was changed meanwhile.
    async fn told(&self, what: &str) {
        let sql = "SELECT detail FROM alerts WHERE kind = 'destination_failed' AND resolved_at IS NULL";
        until(what, async || {
            use sqlx::Row;
            let rows = ledger::rows(&self.world, sql).await;
            rows.iter().any(|row| row.get::<String, _>(0).contains(what))
        })
        .await;
        let why = self.world.rekeyd(&["why", "production"]).await.ok().stdout;
        assert!(why.split_whitespace().collect::<Vec<_>>().join(" ").contains(what), "{what}: {why}");
        assert!(!self.world.openrouter.key_by_hash(&self.world.first_hash()).unwrap().disabled, "{what}");
        let seen = self.vercel.production_sees(&self.project, SECRET);
        assert_eq!(seen.as_deref(), Some(self.world.first.as_str()), "{what}");
    }

    async fn done(&self, child: Child, case: &str) -> Proof {
        let out = ended(child).await;
        assert!(out.status.success(), "{case}: {}", String::from_utf8_lossy(&out.stderr));
        assert_eq!(self.vercel.production_sees(&self.project, SECRET), self.world.at_github(), "{case}");
        let open = ledger::alerts(&self.world).await;
        assert!(!open.contains(&"destination_failed".to_owned()), "{case}: {open:?}");
        invariants(&self.world, case).await
    }
}

async fn promoted_by_a_person(db: Db) -> Proof {
    let stage = Stage::new(db, false).await;
    stage.vercel.assign_domains(&stage.project, false);
    let child = stage.run();
    stage.told("promote it at Vercel").await;
    assert_eq!((stage.asked("promote"), stage.builds().len()), (0, 1));
    stage.vercel.promote_by_hand(&stage.project, &stage.builds()[0].id);
    stage.done(child, "promoted by a person").await
}

async fn promoted_by_us(db: Db) -> Proof {
    let stage = Stage::new(db, true).await;
    stage.vercel.assign_domains(&stage.project, false);
    stage.vercel.settings(|settings| settings.promotion_reads = 5);
    let busy = json!({"error": {"code": "conflict", "message": "another promotion is in progress"}});
    stage.world.script.once("promote", When::Before, Act::body(409, busy));
    stage.world.script.once("promote", When::After, Act::Reset);
    let proof = stage.done(stage.run(), "promoted by us").await;
    assert_eq!(
        stage.asked("promote"),
        2,
        "one was refused for now; what is on its way is not asked for again"
    );
    assert_eq!(stage.builds().len(), 1);
    proof
}

async fn released_in_steps(db: Db) -> Proof {
    let stage = Stage::new(db, true).await;
    stage.vercel.release_in_steps(&stage.project, true);
    let child = stage.run();
    stage.told("in steps").await;
    assert_eq!(stage.asked("promote"), 0, "never promoted");
    stage.vercel.promote_by_hand(&stage.project, &stage.builds()[0].id);
    stage.done(child, "released in steps").await
}

fault! {
    async fn fault_38_a_deployment_ready_and_never_promoted(db: Db) {
        let (person, us, steps) =
            tokio::join!(promoted_by_a_person(db), promoted_by_us(db), released_in_steps(db));
        drop((person, steps));
        us
    }
}

/// A run whose rebuild of what serves production is under way.
async fn building(stage: &Stage) -> Child {
    stage.vercel.settings(|settings| settings.progress = Progress::Never);
    let child = stage.run();
    until("it is built", async || !stage.builds().is_empty()).await;
    assert_eq!(stage.builds()[0].meta["rekeyd_from"], stage.serving);
    child
}

async fn rolls_back(db: Db) -> Proof {
    let stage = Stage::new(db, true).await;
    let child = building(&stage).await;
    stage.vercel.roll_back(&stage.project, &stage.before);
    stage.vercel.settings(|settings| settings.progress = Progress::PerPoll);
    let proof = stage.done(child, "a person rolls back").await;
    let builds = stage.builds();
    assert_eq!(builds[0].substate, Some(Substate::Staged), "what the person took out does not come back");
    assert_eq!((builds.len(), &builds[1].meta["rekeyd_from"]), (2, &stage.before));
    assert_eq!(stage.vercel.production(&stage.project).as_ref(), Some(&builds[1].id));
    proof
}

async fn ships(db: Db) -> Proof {
    let stage = Stage::new(db, true).await;
    stage.vercel.assign_domains(&stage.project, false);
    let child = building(&stage).await;
    stage.vercel.set_clock_offset(60);
    let shipped = stage.vercel.deploy_by_hand(&stage.project);
    stage.vercel.promote_by_hand(&stage.project, &shipped);
    stage.vercel.settings(|settings| settings.progress = Progress::PerPoll);
    let proof = stage.done(child, "a person ships").await;
    assert_eq!((stage.asked("promote"), stage.builds().len()), (0, 1));
    assert_eq!(stage.vercel.production(&stage.project), Some(shipped), "it was made after the write");
    proof
}

fault! {
    async fn fault_56_a_person_ships_or_rolls_back_while_our_rebuild_runs(db: Db) {
        let (back, shipped) = tokio::join!(rolls_back(db), ships(db));
        drop(shipped);
        back
    }
}
