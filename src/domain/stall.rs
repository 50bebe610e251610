//! No silence (rotation.md, R17): which waits people are told of, and when that is over.
//!
//! [`decide`] takes everything that waits, the alerts that are open and what was remembered by the look before, and says
//! what to open, what to resolve and what to remember. One alert a cause, however many runs wait for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::alert::{Kind, NewAlert, Severity, Subject};
use super::rotation::{Cause, Waiting};
use super::time::{Span, Timestamp};

/// A cause that nobody has waited for during so long is over.
const QUIET: Span = Span::minutes(10);

/// Who waits: a run, or a key that no run looks after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// The rotation.
    pub rotation: String,
    /// Its entry in the configuration, or the account's identity.
    pub account: String,
    /// The provider of that account, where it is known.
    pub provider: Option<String>,
    /// The run with its state, or what stands there without a run.
    pub who: String,
    /// It waits for nobody willingly.
    pub emergency: bool,
    /// A leaked or a dead key is in use meanwhile.
    pub in_danger: bool,
    /// What a person can do.
    pub help: String,
    /// The wait.
    pub wait: Waiting,
}

impl Waiter {
    /// What must change first: what an alert about the wait is about. `None` for a wait that the policy names.
    pub fn subject(&self) -> Option<Subject> {
        Some(match self.wait.cause.as_ref()? {
            Cause::Account => Subject::Account(self.account.clone()),
            Cause::Destination(name) => Subject::Destination(name.clone()),
            Cause::Person => Subject::Rotation(self.rotation.clone()),
        })
    }

    fn said(&self) -> String {
        let until =
            self.wait.until.map(|until| format!(", until {}", until.at.rfc3339())).unwrap_or_default();
        format!(
            "{} waits since {}{until}: {}. {}",
            self.who,
            self.wait.since.rfc3339(),
            self.wait.text,
            self.help
        )
    }

    /// True when an open alert tells of the very cause.
    fn is_told_by(&self, alert: &Told) -> bool {
        match alert.kind {
            Kind::DestinationFailed
            | Kind::DestinationDrift
            | Kind::RotationParked
            | Kind::KeyInvalid
            | Kind::InheritanceFailed
            | Kind::AccountFrozen
            | Kind::AccountWithoutKeys
            | Kind::LastKeyRefused
            | Kind::BreakerWaiting
            | Kind::CallBudget
            | Kind::ClockSkew => Some(&alert.subject) == self.subject().as_ref(),
            Kind::ProvisioningKeyInvalid => {
                self.wait.cause == Some(Cause::Account) && alert.subject.account() == Some(&self.account)
            }
            Kind::ProviderUnreachable | Kind::ProviderIncident => {
                let provider = self.provider.clone().map(Subject::Provider);
                self.wait.cause == Some(Cause::Account) && Some(&alert.subject) == provider.as_ref()
            }
            // They tell of something else, or are about the run and not about what it waits for.
            Kind::RunStalled
            | Kind::KeyUnreadable
            | Kind::PassFailing
            | Kind::EncryptionKeysStale
            | Kind::LeakDetected
            | Kind::LeakScanFailed
            | Kind::KeyRestricted
            | Kind::KeyQuota
            | Kind::KeyExpiring
            | Kind::CreditsLow
            | Kind::WrongKeyKind
            | Kind::DuplicateProvisioningKey
            | Kind::RotationFailed
            | Kind::RotationOverdue
            | Kind::OldKeyInUse
            | Kind::ConfigRejected
            | Kind::StrayKey
            | Kind::NameImitated
            | Kind::TestsBehind
            | Kind::NoEgress
            | Kind::KeyHealed => false,
        }
    }
}

/// An alert that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What is wrong.
    pub kind: Kind,
    /// What it is about.
    pub subject: Subject,
    /// How bad it is.
    pub severity: Severity,
    /// What it says.
    pub detail: String,
}

/// What one look leaves to the next, by the text of the subject, on the database's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Since when nobody waits for a cause that was told.
    #[serde(default)]
    pub over: BTreeMap<String, Timestamp>,
    /// Since when a key that no run looks after is known to be so.
    #[serde(default)]
    pub alone: BTreeMap<String, Timestamp>,
}

impl Memory {
    /// Remembers since when each of `seen` stands there, and forgets the others.
    pub fn keep_alone(&mut self, seen: &[String], now: Timestamp) {
        let since = |known: Option<&Timestamp>| known.copied().map_or(now, |at| began(at, now));
        self.alone = seen.iter().map(|one| (one.clone(), since(self.alone.get(one)))).collect();
    }
}

/// Nothing began in the future (R18).
fn began(at: Timestamp, now: Timestamp) -> Timestamp {
    if at.is_future(now) { now } else { at }
}

/// What a look comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// To open, or to bring up to date.
    pub open: Vec<NewAlert>,
    /// What is over.
    pub resolve: Vec<Subject>,
    /// For the next look.
    pub over: BTreeMap<String, Timestamp>,
}

/// Decides. `told` are all open alerts, those of this kind among them.
pub fn decide(
    waiters: &[Waiter],
    told: &[Told],
    over: &BTreeMap<String, Timestamp>,
    now: Timestamp,
) -> Decision {
    let mut causes: BTreeMap<String, (Subject, Vec<&Waiter>)> = BTreeMap::new();
    for waiter in waiters {
        let Some(subject) = waiter.subject() else { continue };
        causes.entry(subject.to_string()).or_insert((subject, Vec::new())).1.push(waiter);
    }
    let mut decision = Decision::default();
    for (subject, waiting) in causes.values() {
        let ours = told.iter().find(|alert| alert.kind == Kind::RunStalled && alert.subject == *subject);
        decision.open.extend(alert(subject, waiting, told, now).filter(|alert| is_news(alert, ours)));
    }
    for alert in told.iter().filter(|alert| alert.kind == Kind::RunStalled) {
        let subject = alert.subject.to_string();
        if causes.contains_key(&subject) {
            continue;
        }
        let since = over.get(&subject).map_or(now, |at| began(*at, now));
        if now.since(since) >= QUIET {
            decision.resolve.push(alert.subject.clone());
        } else {
            decision.over.insert(subject, since);
        }
    }
    decision
}

/// The alert about a cause, when somebody waits for it too long and no other alert says so.
fn alert(subject: &Subject, waiting: &[&Waiter], told: &[Told], now: Timestamp) -> Option<NewAlert> {
    let stalled: Vec<&&Waiter> = waiting
        .iter()
        .filter(|one| {
            one.wait.is_stalled(one.emergency, now) && !told.iter().any(|alert| one.is_told_by(alert))
        })
        .collect();
    let first = stalled.first()?;
    let said: Vec<String> = stalled.iter().map(|one| one.said()).collect();
    let mut alert = NewAlert::new(Kind::RunStalled, subject.clone(), said.join("\n"));
    alert.account = Some(first.account.clone());
    if stalled.iter().any(|one| one.in_danger) {
        alert.severity = Severity::Critical;
    }
    Some(alert.rotation(first.rotation.clone()))
}

/// True when nobody was told this yet.
fn is_news(alert: &NewAlert, open: Option<&Told>) -> bool {
    open.is_none_or(|open| open.detail != alert.detail || open.severity < alert.severity)
}

#[cfg(test)]
mod tests;
