//! What happens in the demo, and what each step has to prove: at the simulators, never by rekeyd's own word.

use anyhow::{Context as _, bail};

use super::stage::Stage;
use crate::cli::output::say;
use crate::domain::secret::Secret;
use crate::sim::openrouter::KeyRow;

/// One line of the table at the end.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) what: &'static str,
    pub(super) how: String,
    pub(super) proved: bool,
    pub(super) seconds: f64,
}

/// Plays everything, in order.
pub(super) async fn play(stage: &Stage) -> anyhow::Result<Vec<Proof>> {
    let mut proofs = Vec::new();
    let mut began = stage.seconds();
    let mut note = |what: &'static str, (proved, how): (bool, String)| {
        let now = stage.seconds();
        say!("{} {what}: {how}\n", if proved { "+" } else { "!" });
        proofs.push(Proof { what, how, proved, seconds: now - began });
        began = now;
    };
    note("the key in use is adopted", adopt(stage).await?);
    let old = Secret::new(stage.first.clone()).sha256_hex();
    note("it is rotated to every destination", rotate(stage).await?);
    note("the old key is held while it is used", held_while_used(stage, &old).await?);
    note("then quiet, disabled, deleted", retired(stage, &old).await?);
    note("no agent went dark", nobody_dark(stage));
    note("the last key is not deleted", last_key(stage).await?);
    note("a key deleted by hand is healed and mailed", healed(stage).await?);
    note("a leaked key is replaced and killed", leaked(stage).await?);
    note("mail server down: no notice is lost", mail_server_down(stage).await?);
    Ok(proofs)
}

fn key(stage: &Stage, hash: &str) -> anyhow::Result<KeyRow> {
    stage.openrouter.key_by_hash(hash).context("the simulator does not know this key")
}

/// The hash that every place holds, when it is one and the same.
fn held_everywhere(stage: &Stage) -> Option<String> {
    let mut hashes =
        stage.places().into_iter().map(|(_, value)| value.map(|key| Secret::new(key).sha256_hex()));
    let first = hashes.next()??;
    hashes.all(|hash| hash.as_deref() == Some(first.as_str())).then_some(first)
}

/// Looks until it is so, or until patience ends.
async fn until(stage: &Stage, seconds: f64, so: impl Fn() -> bool) -> bool {
    let end = stage.seconds() + seconds;
    while !so() {
        if stage.seconds() > end {
            return false;
        }
        stage.pause(100).await;
    }
    true
}

pub(super) async fn adopt(stage: &Stage) -> anyhow::Result<(bool, String)> {
    let before = stage.openrouter.keys();
    // The daemon makes the store; whoever comes first does.
    let args = ["rotations", "adopt", "production", "--secret-stdin"];
    let said = stage.rekeyd(&args, Some(&stage.first)).await?;
    if said.status != 0 {
        bail!("the key could not be adopted");
    }
    let view = stage.json(&["rotations", "show", "production"]).await?;
    let names = |keys: &[KeyRow]| keys.iter().map(|key| key.hash.clone()).collect::<Vec<_>>();
    let same = names(&before) == names(&stage.openrouter.keys());
    Ok((
        same && view["current"]["generation"] == 1,
        "generation 1; nothing changed at the provider".to_owned(),
    ))
}

async fn rotate(stage: &Stage) -> anyhow::Result<(bool, String)> {
    stage.rekeyd(&["rotations", "run", "production"], None).await?;
    // A worker that was started before goes on with the old key: the figures move.
    stage.openrouter.use_key(&stage.first, 0.01);
    let arrived = until(stage, 20.0, || held_everywhere(stage).is_some()).await;
    let places: Vec<&str> = stage.places().iter().map(|(place, _)| *place).collect();
    let places = places.join(", ");
    let fresh =
        held_everywhere(stage).is_some_and(|hash| hash != Secret::new(stage.first.clone()).sha256_hex());
    Ok((arrived && fresh, format!("one new key in: {places}")))
}

async fn held_while_used(stage: &Stage, old: &str) -> anyhow::Result<(bool, String)> {
    for _ in 0..10 {
        if !stage.openrouter.use_key(&stage.first, 0.01) {
            return Ok((false, "the old key was refused while a worker used it".to_owned()));
        }
        stage.pause(500).await;
    }
    let why = stage.rekeyd(&["why", "production"], None).await?;
    let alive = !key(stage, old)?.disabled;
    Ok((
        alive && why.stdout.contains("not quiet"),
        "5 s of use by a slow worker; `why` says: not quiet yet".to_owned(),
    ))
}

async fn retired(stage: &Stage, old: &str) -> anyhow::Result<(bool, String)> {
    let seen = || stage.openrouter.key_by_hash(old).map(|key| (key.disabled, key.deleted));
    let disabled = until(stage, 30.0, || seen() == Some((true, false))).await;
    let at = stage.seconds();
    let deleted = until(stage, 30.0, || seen().is_some_and(|(_, deleted)| deleted)).await;
    let apart = stage.seconds() - at;
    Ok((disabled && deleted && apart > 1.0, format!("disabled, and deleted {apart:.1} s later")))
}

fn nobody_dark(stage: &Stage) -> (bool, String) {
    let (calls, dark) = stage.agents.counts();
    (dark == 0 && calls > 0, format!("{calls} calls of {} agents, {dark} refused", super::agents::COUNT))
}

async fn last_key(stage: &Stage) -> anyhow::Result<(bool, String)> {
    let issued = stage.json(&["accounts", "keys", "spare", "create"]).await?;
    let hash = issued["hash"].as_str().context("no key was issued")?.to_owned();
    let said = stage.rekeyd(&["accounts", "keys", "spare", "delete", &hash, "--yes"], None).await?;
    let alive = !key(stage, &hash)?.deleted && !key(stage, &hash)?.disabled;
    let told = said.stderr.contains("is the last regular key");
    Ok((said.status == 3 && told && alive, format!("exit status {}; the key works", said.status)))
}

async fn healed(stage: &Stage) -> anyhow::Result<(bool, String)> {
    let hash = held_everywhere(stage).context("the places hold different keys")?;
    say!("somebody deletes production's key in the provider's dashboard");
    stage.openrouter.edit_key(&hash, |key| key.deleted = true);
    let replaced = |now: &str| {
        now != hash && stage.openrouter.key_by_hash(now).is_some_and(|key| !key.deleted && !key.disabled)
    };
    let healed = until(stage, 45.0, || held_everywhere(stage).is_some_and(|now| replaced(&now))).await;
    let mailed = until(stage, 20.0, || mailed(stage, "key invalid")).await;
    Ok((healed && mailed, told(healed, mailed)))
}

fn told(healed: bool, mailed: bool) -> String {
    let healed = if healed { "a new key is everywhere" } else { "no new key came" };
    let mailed = if mailed { "the admins got mail" } else { "nobody got mail" };
    format!("{healed}; {mailed}")
}

fn mailed(stage: &Stage, what: &str) -> bool {
    stage.mailbox.mails().iter().any(|mail| mail.subject().contains(what))
}

async fn leaked(stage: &Stage) -> anyhow::Result<(bool, String)> {
    let hash = held_everywhere(stage).context("the places hold different keys")?;
    settle(stage).await?;
    stage.rekeyd(&["rotations", "run", "production", "--leaked", "--wait"], None).await?;
    let dead =
        until(stage, 20.0, || stage.openrouter.key_by_hash(&hash).is_some_and(|key| key.deleted)).await;
    let fresh = until(stage, 20.0, || held_everywhere(stage).is_some_and(|now| now != hash)).await;
    Ok((dead && fresh, "the leaked key is deleted, another one is everywhere".to_owned()))
}

/// Keys that people keep beside the rotation, under a name of its own: two that work, one that was ended elsewhere, and a
/// place that waits for its key.
pub(super) async fn furnish(stage: &Stage) -> anyhow::Result<()> {
    let base = stage.openrouter.base_url();
    let add = ["providers", "add", "vision-nova", "--kind", "openrouter", "--base-url", &base];
    told_well(stage, &[&add[..], &["--title", "Vision Nova"]].concat(), None).await?;
    let [main, spare, trial] = ["pictures", "pictures, spare", "trial of last spring"]
        .map(|name| stage.openrouter.new_regular_key(name));
    let table = format!(
        "provider,key,name,priority,owner,note\n\
         vision-nova,{main},pictures,90,ada@example.com,the shop's product pictures\n\
         vision-nova,{spare},spare,50,ada@example.com,\n\
         vision-nova,{trial},trial,40,grace@example.com,a trial\n\
         anthropic,your-api-key,,,,wanted by the research team\n"
    );
    told_well(stage, &["keys", "import", "-"], Some(&table)).await?;
    stage.openrouter.edit_key(&Secret::new(trial).sha256_hex(), |key| key.disabled = true);
    Ok(())
}

async fn told_well(stage: &Stage, args: &[&str], stdin: Option<&str>) -> anyhow::Result<()> {
    let said = stage.quietly(args, stdin).await?;
    anyhow::ensure!(said.status == 0, "{}: {}", args.join(" "), said.stderr);
    Ok(())
}

/// Waits until no run is open.
async fn settle(stage: &Stage) -> anyhow::Result<()> {
    for _ in 0..150 {
        if stage.json(&["rotations", "show", "production"]).await?["state"] == "idle" {
            return Ok(());
        }
        stage.pause(200).await;
    }
    bail!("a run does not end")
}

async fn mail_server_down(stage: &Stage) -> anyhow::Result<(bool, String)> {
    let about =
        |what: &str| stage.mailbox.mails().iter().filter(|mail| mail.subject().contains(what)).count();
    until(stage, 15.0, || about("leak detected") > 0).await;
    let before = about("leak detected");
    stage.mailbox.set_down(true);
    stage.rekeyd(&["rotations", "run", "production", "--leaked", "--wait"], None).await?;
    stage.pause(3000).await;
    let meanwhile = about("leak detected") - before;
    stage.mailbox.set_down(false);
    let arrived = until(stage, 60.0, || about("leak detected") > before).await;
    Ok((
        arrived && meanwhile == 0,
        "its mail waited in the outbox and arrived when the server was back".to_owned(),
    ))
}
