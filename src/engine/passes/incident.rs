//! What a pass says of a whole provider: an outage, or the incident that the mass guard holds alerts for.

use std::collections::BTreeMap;

use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::verdict::pass::{PassCount, ProviderTell};
use crate::domain::verdict::{Observation, Outcome};
use crate::engine::testing::endpoint;
use crate::engine::testing::endpoint::Why;
use crate::engine::testing::record::Folded;
use crate::store::{Change, KeyRow};

/// What a pass saw of one provider.
pub(crate) fn counted(
    provider: &str,
    all: &[KeyRow],
    looks: &BTreeMap<String, Observation>,
    folded: &[Folded],
    why: Why,
) -> PassCount {
    let mine = || all.iter().filter(|row| endpoint::is_tested(row) && row.provider == provider);
    let others = mine().filter(|row| !looks.contains_key(&row.id));
    let unreachable = looks.values().filter(|seen| seen.outcome() == Outcome::Unreachable).count();
    // Only passes count for "3 passes": between them an outage is not seen again, but its end is.
    let reach = if why == Why::Schedule { unreachable } else { 0 };
    PassCount {
        keys: mine().count(),
        looked: looks.len() - unreachable + reach,
        unreachable: reach,
        turned_bad: folded.iter().filter(|one| one.turned_bad()).count(),
        bad: others.filter(|row| row.health.verdict.is_bad()).count()
            + folded.iter().filter(|one| one.step.health.verdict.is_bad()).count(),
    }
}

/// The alert of a whole provider that begins or ends.
pub(crate) fn provider_change(provider: &str, tell: ProviderTell, count: PassCount) -> Change {
    let subject = Subject::Provider(provider.to_owned());
    let open = |kind, detail: String| Change::Alert(NewAlert::new(kind, subject.clone(), detail));
    match tell {
        ProviderTell::UnreachableBegins => open(
            Kind::ProviderUnreachable,
            format!(
                "Provider {provider} does not answer tests of its keys. What was known of them is kept. If other programs \
                 reach it, look at this machine's network, proxy and certificates."
            ),
        ),
        ProviderTell::UnreachableEnds => {
            Change::Resolve { kind: Kind::ProviderUnreachable, subject: subject.clone() }
        }
        ProviderTell::IncidentBegins => open(
            Kind::ProviderIncident,
            format!(
                "{} of {} keys of provider {provider} turned bad at once. That is more often an outage, our own address or a \
                 moved endpoint than so many dead keys: their own alerts wait for another look in 10 minutes.",
                count.turned_bad, count.keys
            ),
        ),
        ProviderTell::IncidentEnds => {
            Change::Resolve { kind: Kind::ProviderIncident, subject: subject.clone() }
        }
    }
}
