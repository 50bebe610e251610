//! What people are told of a key: alert kinds and severities of interface.md §5, in whole sentences.

use crate::domain::alert::{Kind, NewAlert, Severity, Subject};
use crate::domain::time::Timestamp;
use crate::domain::verdict::{Concern, Health, Observation, Reason, Tell};
use crate::store::{Change, KeyRow, Role};

/// The kinds that end with a key: a proved successor of the same rotation resolves them.
pub(crate) const OF_A_KEY: [Kind; 5] =
    [Kind::KeyInvalid, Kind::KeyRestricted, Kind::WrongKeyKind, Kind::KeyQuota, Kind::KeyExpiring];

/// What an alert about this key is about: the rotation for its current generation, so that one dead key is one
/// alert, else the key.
pub(crate) fn subject(row: &KeyRow) -> Subject {
    match (&row.rotation, row.role, row.number) {
        (Some(rotation), Role::Current, _) => Subject::Rotation(rotation.clone()),
        (Some(rotation), ..) => {
            Subject::Generation { rotation: rotation.clone(), generation: row.generation.unwrap_or_default() }
        }
        (None, _, Some(number)) => Subject::Key { provider: row.provider.clone(), number },
        (None, ..) => Subject::Unnumbered { provider: row.provider.clone(), mask: row.mask.clone() },
    }
}

/// The changes that open, renew and resolve alerts.
pub(crate) fn changes(row: &KeyRow, health: &Health, seen: &Observation, tells: &[Tell]) -> Vec<Change> {
    let subject = subject(row);
    let resolve = |kind| Change::Resolve { kind, subject: subject.clone() };
    let mut changes = Vec::new();
    for tell in tells {
        match tell {
            Tell::Open(concern) => {
                changes.push(Change::Alert(alert(row, health, seen, *concern)));
            }
            Tell::Nearer(concern, _) => {
                // Another warning is another mail: the old one is over.
                changes.push(resolve(kind(*concern, health)));
                changes.push(Change::Alert(alert(row, health, seen, *concern)));
            }
            Tell::Close(Concern::Restricted) => {
                changes.extend([Kind::KeyRestricted, Kind::WrongKeyKind].map(resolve));
            }
            Tell::Close(concern) => {
                let kind = kind(*concern, health);
                let other_holds = health.told.iter().any(|other| self::kind(*other, health) == kind);
                changes.extend((!other_holds).then(|| resolve(kind)));
            }
        }
    }
    changes
}

fn kind(concern: Concern, health: &Health) -> Kind {
    match concern {
        Concern::Invalid | Concern::Flapping => Kind::KeyInvalid,
        Concern::Restricted if health.reason == Some(Reason::WrongKind) => Kind::WrongKeyKind,
        Concern::Restricted => Kind::KeyRestricted,
        Concern::QuotaExhausted | Concern::RateLimited => Kind::KeyQuota,
        Concern::Expiring => Kind::KeyExpiring,
    }
}

fn alert(row: &KeyRow, health: &Health, seen: &Observation, concern: Concern) -> NewAlert {
    let kind = kind(concern, health);
    let detail = format!("{} {}", named(row), told(row, health, seen, concern));
    let mut alert = NewAlert::new(kind, subject(row), detail);
    alert.rotation.clone_from(&row.rotation);
    let production = row.role == Role::Current || row.priority >= 100;
    if concern == Concern::Invalid && production {
        alert.severity = Severity::Critical;
        // What heals the key may have said already what becomes of it.
        alert.yields = row.role == Role::Current;
    }
    alert
}

/// The key in words, at the beginning of a sentence.
pub(crate) fn named(row: &KeyRow) -> String {
    match &row.rotation {
        Some(rotation) if row.role != Role::Current => format!(
            "Generation {} of rotation {rotation} ({}, {})",
            row.generation.unwrap_or_default(),
            row.role.word(),
            row.mask
        ),
        Some(rotation) => format!(
            "The current key of rotation {rotation} (generation {}, {})",
            row.generation.unwrap_or_default(),
            row.mask
        ),
        None => format!(
            "Key number {} of provider {} ({}, {})",
            row.number.unwrap_or_default(),
            row.provider,
            row.name,
            row.mask
        ),
    }
}

fn told(row: &KeyRow, health: &Health, seen: &Observation, concern: Concern) -> String {
    let said = seen.detail.trim_end_matches('.');
    match concern {
        Concern::Invalid => {
            let todo = if row.rotation.is_some() {
                "If the account shows that it was deleted or disabled, it is replaced by itself; else look there, and start \
                 `rekeyd rotations run`."
            } else {
                "Replace it: `rekeyd keys add`, then delete this one. It is not handed out any more."
            };
            format!("is not accepted by the provider, seen twice: {said}. {todo}")
        }
        Concern::Restricted if health.reason == Some(Reason::WrongKind) => format!(
            "is a provisioning key: it manages keys and cannot call a model. Delete it here, and put it where \
             accounts.provisioning_key points, if anywhere. {said}."
        ),
        Concern::Restricted => {
            format!("works, but may not do this: {said}. Change its permissions at the provider.")
        }
        Concern::QuotaExhausted => {
            format!("works, but has no money or limit left: {said}. Top up, or raise its limit.")
        }
        Concern::RateLimited => {
            format!("has been answered with rate limits for long: {said}. Its verdict is kept.")
        }
        Concern::Expiring => {
            let when = health.expires_at.map(Timestamp::rfc3339).unwrap_or_default();
            format!("expires at {when}. Rotate or replace it before then.")
        }
        Concern::Flapping => format!(
            "does not come to rest: its verdict changed four times within six hours, now {}: {said}.",
            health.verdict
        ),
    }
}
