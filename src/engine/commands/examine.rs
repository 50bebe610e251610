//! Every part that rekeyd depends on, asked once, with the next move for what is wrong. Nothing is changed.

use super::destinations::{all_destinations, check_destination};
use super::encryption::prove_secrets;
use super::people::has_users;
use super::view::FindingView;
use crate::crypto::CryptoError;
use crate::domain::key::KeyKind;
use crate::domain::outcome::FailureKind;
use crate::domain::time::{CLOCK_SLACK, Span, Timestamp};
use crate::engine::passes::notices::limits;
use crate::engine::{Account, Engine, EngineError};
use crate::net::Deadline;
use crate::notify::Undelivered;
use crate::store::{Daemon, Kind, LAST_BACKUP};

/// A backup that is older than this is told of.
const BACKUP: Span = Span::hours(7 * 24);
/// So many names of what does not open are shown.
const NAMED: usize = 3;

/// All parts, in the order in which one depends on the other.
pub async fn examine(engine: &Engine) -> Result<Vec<FindingView>, EngineError> {
    let mut found =
        vec![encryption(engine).await?, clock(engine).await?, daemon(engine).await?, people(engine).await?];
    found.extend(backup(engine).await?);
    for entry in engine.accounts() {
        found.push(account(engine, entry).await);
    }
    for (place, _) in all_destinations(engine) {
        found.push(destination(engine, &place.target.name).await?);
    }
    found.push(mail(engine).await);
    Ok(found)
}

async fn encryption(engine: &Engine) -> Result<FindingView, EngineError> {
    const PART: &str = "encryption";
    if let Err(EngineError::Crypto(error @ CryptoError::Stale(_))) = engine.sealing_key().await {
        let remedy = "put the newest key first in the list of [encryption] keys";
        return Ok(FindingView::broken(PART, error.to_string(), Some(remedy.to_owned())));
    }
    let proof = prove_secrets(engine).await?;
    if proof.unreadable.is_empty() {
        return Ok(FindingView::ok(PART, "everything that is stored sealed opens"));
    }
    let names: Vec<&str> = proof.unreadable.iter().take(NAMED).map(|(name, _)| name.as_str()).collect();
    let seen =
        format!("{} sealed secret(s) do not open, among them {}", proof.unreadable.len(), names.join(", "));
    let remedy =
        "give the encryption key that sealed them back to the end of the list, or store these secrets again";
    Ok(FindingView::warning(PART, seen, remedy))
}

async fn clock(engine: &Engine) -> Result<FindingView, EngineError> {
    let (ours, theirs) = (engine.clock().now(), engine.store().now().await?);
    Ok(match skew(ours, theirs) {
        Some(seen) => FindingView::warning("clock", format!("the database's {seen}"), SET_CLOCK),
        None => FindingView::ok("clock", "agrees with the database's"),
    })
}

const SET_CLOCK: &str = "let systemd-timesyncd or chrony set the clock: keys are retired by it";

/// What is wrong with a clock that ought to say the same as ours.
fn skew(ours: Timestamp, theirs: Timestamp) -> Option<String> {
    let ahead = theirs.since(ours);
    let seconds = ahead.0.unsigned_abs() / 1000;
    let way = if ahead.0 > 0 { "ahead of" } else { "behind" };
    (ahead.0.abs() > CLOCK_SLACK.0).then(|| format!("clock is {seconds} s {way} this machine's"))
}

async fn daemon(engine: &Engine) -> Result<FindingView, EngineError> {
    const PART: &str = "daemon";
    let living = engine.store().daemons(Daemon::SILENT).await?;
    Ok(match living.as_slice() {
        [] => FindingView::warning(
            PART,
            "none works on this database: nothing is tested, rotated or mailed",
            "`systemctl start rekeyd`; `journalctl -u rekeyd` says why it ended",
        ),
        [one] => FindingView::ok(PART, format!("works, last heard of at {}", one.seen_at.rfc3339())),
        many => FindingView::ok(PART, format!("{} work side by side", many.len())),
    })
}

async fn people(engine: &Engine) -> Result<FindingView, EngineError> {
    Ok(if has_users(engine).await? {
        FindingView::ok("users", "somebody can log in at the dashboard")
    } else {
        let remedy = "`rekeyd users add you@example.com --role admin`";
        FindingView::warning("users", "nobody can log in at the dashboard", remedy)
    })
}

/// Only the copies that rekeyd makes itself are known.
async fn backup(engine: &Engine) -> Result<Option<FindingView>, EngineError> {
    const PART: &str = "backup";
    let remedy = "`rekeyd db backup FILE`, every day by a timer; keep the encryption key elsewhere";
    if engine.store().kind() == Kind::Postgres {
        return Ok(None);
    }
    let last: Option<Timestamp> = engine.store().memory_or_anew(LAST_BACKUP).await?;
    let age = last.map(|at| (at, engine.clock().now().since(at)));
    Ok(Some(match age {
        None => FindingView::warning(PART, "none was ever made with rekeyd", remedy),
        Some((at, age)) if age > BACKUP => {
            FindingView::warning(PART, format!("the last one is of {}", at.rfc3339()), remedy)
        }
        Some((at, _)) => FindingView::ok(PART, format!("the last one is of {}", at.rfc3339())),
    }))
}

async fn account(engine: &Engine, account: &Account) -> FindingView {
    let part = format!("account {}", account.name);
    let reply = match account.issuer.whoami_provisioning(engine.deadline()).await {
        Ok(reply) => reply,
        Err(failure) => {
            let unauthorized = failure.kind == FailureKind::Unauthorized;
            let make = "make a provisioning key at the provider and put it where `provisioning_key` points";
            let remedy = failure.hint.clone().or_else(|| unauthorized.then(|| make.to_owned()));
            return FindingView::broken(part, failure.to_string(), remedy);
        }
    };
    if reply.value.kind != KeyKind::Provisioning {
        let remedy = "make a provisioning key at the provider: a regular one cannot issue keys";
        return FindingView::broken(part, "its key is a regular key", Some(remedy.to_owned()));
    }
    match reply.date.and_then(|date| skew(engine.clock().now(), date)) {
        Some(seen) => FindingView::warning(part, format!("the provider's {seen}"), SET_CLOCK),
        None => FindingView::ok(part, "the provider takes its provisioning key"),
    }
}

async fn destination(engine: &Engine, name: &str) -> Result<FindingView, EngineError> {
    let checked = check_destination(engine, name).await?;
    let part = format!("destination {name}");
    let seen: Vec<&str> =
        std::iter::once(checked.standing.as_str()).chain(checked.seen.iter().map(String::as_str)).collect();
    let seen = seen.join("; ");
    Ok(if checked.ok {
        FindingView::ok(part, seen)
    } else {
        FindingView::broken(part, seen, Some(format!("`rekeyd destinations check {name}` after mending it")))
    })
}

async fn mail(engine: &Engine) -> FindingView {
    const PART: &str = "mail";
    let Some(room) = &engine.parts.notifier.mail else {
        let seen = if engine.parts.notifier.webhook.is_some() {
            "nobody is mailed; alerts go to the webhook alone"
        } else {
            "nobody is told when something fails"
        };
        return FindingView::warning(PART, seen, "add [email] to the configuration");
    };
    let deadline = Deadline::after(limits::send_patience(engine).to_std());
    match room.mailer.greet(deadline).await {
        Ok(seen) => FindingView::ok(PART, seen),
        Err(Undelivered { reason, .. }) => {
            let remedy = "mend [email], then `rekeyd alerts test-email` proves the way to every recipient";
            FindingView::broken(PART, reason, Some(remedy.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clocks_that_differ_for_long_are_told_of() {
        let now = Timestamp(1_800_000_000_000);
        assert_eq!(skew(now, now.plus(CLOCK_SLACK)), None);
        let seen = skew(now, now.plus(Span::minutes(5)));
        assert_eq!(seen.as_deref(), Some("clock is 300 s ahead of this machine's"));
        let seen = skew(now, now.plus(Span(-Span::minutes(5).0)));
        assert_eq!(seen.as_deref(), Some("clock is 300 s behind this machine's"));
    }
}
