//! Does production work, and what must be done now: one sentence, and what it rests on.

use serde::Serialize;

use super::{AlertView, ProviderCardView, RotationView, alert_views, provider_cards, rotation_views};
use crate::domain::alert::Kind;
use crate::domain::time::Timestamp;
use crate::engine::{Engine, EngineError};
use crate::store::Daemon;

/// Everything at a glance.
#[derive(Debug, Serialize)]
pub struct NowView {
    /// Whether every key that production uses works, as far as it is known.
    pub works: bool,
    /// Whether a person must do something.
    pub needs_somebody: bool,
    /// Both in a sentence.
    pub sentence: String,
    /// What is left to do before the first rotation, in order.
    pub steps: Vec<Step>,
    /// Open alerts, the worst first.
    pub alerts: Vec<AlertView>,
    /// Every rotation of the configuration.
    pub rotations: Vec<RotationView>,
    /// Providers that have keys.
    pub providers: Vec<ProviderCardView>,
    /// When a daemon was last heard of.
    pub daemon_seen_at: Option<String>,
}

/// Something that is left to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What and why.
    pub text: String,
    /// The command that does it.
    pub command: String,
}

/// Everything at a glance.
pub async fn now_view(engine: &Engine) -> Result<NowView, EngineError> {
    let mut alerts = alert_views(engine, false).await?;
    alerts.sort_by_key(|alert| (rank(&alert.severity), alert.acked_at.is_some()));
    let rotations = rotation_views(engine).await?;
    let daemons = engine.store().daemons(Daemon::SILENT).await?;
    let steps = steps(engine.accounts().next().is_some(), &rotations);
    let (works, needs_somebody, sentence) = sentence(&alerts, &rotations, &steps);
    let daemon_seen_at = daemons.iter().map(|daemon| daemon.seen_at).max().map(Timestamp::rfc3339);
    let mut providers = provider_cards(engine).await?;
    providers.retain(|card| card.provider.configured);
    Ok(NowView { works, needs_somebody, sentence, steps, alerts, rotations, providers, daemon_seen_at })
}

fn rank(severity: &str) -> u8 {
    match severity {
        "critical" => 0,
        "warning" => 1,
        _ => 2,
    }
}

fn steps(has_account: bool, rotations: &[RotationView]) -> Vec<Step> {
    let step = |text: String, command: String| Step { text, command };
    if !has_account || rotations.is_empty() {
        let write = "Write a configuration with an account, its destinations and a rotation".to_owned();
        return vec![
            step(write, "rekeyd init".to_owned()),
            step("See whether it is right".to_owned(), "rekeyd config check".to_owned()),
            step("Let the daemon read it".to_owned(), "systemctl reload rekeyd".to_owned()),
        ];
    }
    let bare = rotations.iter().filter(|rotation| rotation.current.is_none() && rotation.state == "idle");
    bare.map(|rotation| {
        let name = &rotation.name;
        step(
            format!("Take the key that production uses now into rotation {name}; it stays as it is"),
            format!("rekeyd rotations adopt {name}"),
        )
    })
    .collect()
}

/// Whether production works, whether somebody is needed, and both in words. The worst goes first.
fn sentence(alerts: &[AlertView], rotations: &[RotationView], steps: &[Step]) -> (bool, bool, String) {
    let dead = rotations
        .iter()
        .find(|rotation| rotation.current.as_ref().is_some_and(|current| current.verdict == "invalid"));
    if let Some(rotation) = dead {
        let text = format!("The current key of rotation {} is refused by its provider.", rotation.name);
        return (false, true, text);
    }
    if let Some(alert) = alerts.iter().find(|alert| alert.kind == Kind::AccountWithoutKeys.word()) {
        return (false, true, format!("Production does not work: {}.", title(alert)));
    }
    // Critical for the keys that production uses, whether a rotation looks after them or not.
    let is_dead = |alert: &&AlertView| alert.kind == Kind::KeyInvalid.word() && alert.severity == "critical";
    if let Some(alert) = alerts.iter().find(is_dead) {
        return (false, true, format!("A key of production does not work: {}.", title(alert)));
    }
    let critical: Vec<&AlertView> = alerts.iter().filter(|alert| alert.severity == "critical").collect();
    if let Some(worst) = critical.first() {
        let more = match critical.len() {
            1 => String::new(),
            n => format!(" (+{} more)", n - 1),
        };
        return (true, true, format!("Production works, but somebody is needed: {}{more}.", title(worst)));
    }
    let warnings = alerts.iter().filter(|alert| alert.severity == "warning" && alert.acked_at.is_none());
    let text = match (warnings.count(), steps.len()) {
        (0, 0) => "Production works. Nothing needs you.".to_owned(),
        (0, 1) => "One step is left before the first rotation.".to_owned(),
        (0, n) => format!("{n} steps are left before the first rotation."),
        (1, _) => "Production works. One warning can wait until the morning.".to_owned(),
        (n, _) => format!("Production works. {n} warnings can wait until the morning."),
    };
    (true, false, text)
}

/// `rotation production: rotation parked`
fn title(alert: &AlertView) -> String {
    format!("{}: {}", alert.subject, alert.kind.replace('_', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::commands::view::glance::tests::rotation;

    fn alert(kind: Kind) -> AlertView {
        AlertView {
            id: "a".to_owned(),
            kind: kind.word().to_owned(),
            severity: kind.severity().word().to_owned(),
            subject: "rotation production".to_owned(),
            account: None,
            rotation: None,
            detail: String::new(),
            advice: None,
            opened_at: String::new(),
            acked_at: None,
            acked_by: None,
            reminded_at: None,
            resolved_at: None,
        }
    }

    #[test]
    fn the_worst_goes_first() {
        let mut dead = rotation("production");
        dead.current.as_mut().unwrap().verdict = "invalid".to_owned();
        let (warning, critical) = (alert(Kind::DestinationDrift), alert(Kind::RotationParked));
        let none = alert(Kind::AccountWithoutKeys);
        for (alerts, rotation, works, needs, begins) in [
            (vec![], rotation("production"), true, false, "Production works. Nothing needs you."),
            (vec![warning], rotation("production"), true, false, "Production works. One warning"),
            (
                vec![critical],
                rotation("production"),
                true,
                true,
                "Production works, but somebody is needed: rotation production: rotation parked.",
            ),
            (vec![none], rotation("production"), false, true, "Production does not work"),
            (vec![], dead, false, true, "The current key of rotation production is refused"),
        ] {
            let (found, needed, text) = sentence(&alerts, &[rotation], &[]);
            assert_eq!((found, needed), (works, needs), "{text}");
            assert!(text.starts_with(begins), "{text}");
        }
    }

    #[test]
    fn what_is_left_to_do_is_a_command() {
        let mut bare = rotation("production");
        bare.current = None;
        assert_eq!(steps(false, &[]).len(), 3);
        assert_eq!(steps(true, &[bare])[0].command, "rekeyd rotations adopt production");
        assert_eq!(steps(true, &[rotation("production")]), []);
    }
}
