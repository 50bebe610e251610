//! Strays: keys that a create of unknown outcome left behind.

use serde_json::json;

use crate::domain::alert::{Kind, Subject};
use crate::domain::guard::{Kill, Refusal};
use crate::domain::key::RemoteKey;
use crate::domain::outcome::Failure;
use crate::engine::EngineError;
use crate::engine::retire::kill;
use crate::engine::retire::kill::{KillTarget, Killed};
use crate::engine::session::{Session, listing, whose};
use crate::store::Change;

/// A key that we asked for and never stored: its secret is gone. Disabled and deleted through the guard. True
/// when nothing of it is left to wait for: it is gone, or it is the only usable key and must stay.
async fn remove_stray(
    session: &mut Session<'_>,
    stray: &RemoteKey,
    urgent: bool,
) -> Result<bool, EngineError> {
    let can_disable = session.account.issuer.can_disable();
    for kill in [Kill::Disable, Kill::Delete].into_iter().filter(|kill| can_disable || *kill == Kill::Delete)
    {
        let target = KillTarget { hash: &stray.hash, kill, urgent, stray: true, run: None };
        match kill::try_kill(session, &target).await? {
            Killed::Done | Killed::Already(_) => {}
            Killed::EnabledAgain => return Ok(false),
            Killed::Refused(Refusal::LastRegularKey { .. }) => return Ok(true),
            Killed::Refused(refusal) => {
                tracing::warn!(account = %session.account.name, reason = %refusal, "a stray key stays for now");
                return Ok(false);
            }
            Killed::Later(failure) => {
                tracing::warn!(account = %session.account.name, reason = %failure, "a stray key stays for now");
                return Ok(false);
            }
        }
    }
    let detail = format!(
        "A key that rekeyd had asked for, and whose answer was lost, surfaced as {} ({}). Nobody has its secret; it was \
         disabled and deleted.",
        stray.name, stray.label
    );
    let mut alert = session.account_alert(Kind::StrayKey, detail.clone());
    alert.subject = Subject::StrayKey { label: stray.label.clone() };
    let entry =
        session.engine.entry("key.stray_removed", format!("account {}", session.account.name), detail);
    let resolve = Change::Resolve { kind: Kind::StrayKey, subject: alert.subject.clone() };
    let removed = Change::Remember { subject: whose::removed(&stray.name), doc: json!(Some(&stray.hash)) };
    session.commit(&[Change::Alert(alert), resolve, Change::Audit(entry), removed]).await?;
    Ok(true)
}

/// Lists, then removes every stray that the guard lets go. Strays have no time limit. `urgent`: an emergency
/// waits for it, and the breaker does not hold an emergency.
pub(crate) async fn reconcile(
    session: &mut Session<'_>,
    urgent: bool,
) -> Result<Result<(), Failure>, EngineError> {
    if let Err(failure) = listing::list(session).await? {
        return Ok(Err(failure));
    }
    let strays = session.listing.as_ref().map(|listing| listing.strays.clone()).unwrap_or_default();
    let mut left = 0;
    for stray in &strays {
        if !remove_stray(session, stray, urgent).await? {
            left += 1;
        }
    }
    if let Some(listing) = &mut session.listing {
        listing.strays_left = left;
    }
    Ok(Ok(()))
}
