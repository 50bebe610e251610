//! What looks say of a whole provider: an outage, or the incident that the mass guard holds alerts for.

use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::verdict::crowd::{Crowd, ProviderTell};
use crate::store::Change;

/// The alert of a whole provider that begins or ends.
pub(crate) fn provider_change(provider: &str, tell: ProviderTell, crowd: Crowd) -> Change {
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
                "Of {} keys of provider {provider} that were looked at, {} turned bad at once. That is more often an outage, our own address or a \
                 moved endpoint than so many dead keys: their own alerts wait for another look in 10 minutes.",
                crowd.looked, crowd.turned_bad
            ),
        ),
        ProviderTell::IncidentEnds => {
            Change::Resolve { kind: Kind::ProviderIncident, subject: subject.clone() }
        }
    }
}
