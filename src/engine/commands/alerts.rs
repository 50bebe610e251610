//! What a person does about alerts: say that they were seen, prove the way to every recipient.

use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::engine::commands::view::{AlertView, TrialView, alert_view};
use crate::engine::passes::notices::limits;
use crate::engine::{Engine, EngineError};
use crate::net::Deadline;
use crate::notify;
use crate::notify::{Mail, Undelivered};
use crate::store::{Backlog, new_id};

/// How much is still to be told, and since when: for metrics and readiness.
pub async fn notice_backlog(engine: &Engine) -> Result<Backlog, EngineError> {
    Ok(engine.parts.store.backlog().await?)
}

/// A person has seen an alert.
pub async fn acknowledge(engine: &Engine, alert: &str) -> Result<AlertView, EngineError> {
    let store = engine.store();
    let Some(row) = store.alert(alert).await? else {
        return Err(EngineError::not_there(
            format!("there is no alert {alert}"),
            "`rekeyd alerts list` shows the open ones",
        ));
    };
    if row.resolved_at.is_some() {
        return Err(EngineError::Conflict { text: format!("alert {alert} is over"), hint: None });
    }
    let entry = engine.entry("alert.acknowledged", &row.subject, &row.kind);
    store.acknowledge(alert, &entry).await?;
    Ok(alert_view(store.alert(alert).await?.unwrap_or(row)))
}

/// Sends a test mail to everybody who may get one, each in an envelope of their own.
pub async fn test_email(engine: &Engine) -> Result<Vec<TrialView>, EngineError> {
    let Some(room) = &engine.parts.notifier.mail else {
        return Err(EngineError::usage("the configuration has no [email]", "add it, then try again"));
    };
    let mut trials = Vec::new();
    for recipient in room.everybody() {
        let mail = Mail {
            message_id: format!("{}@{}", new_id(), room.mailer.domain()),
            in_reply_to: None,
            references: Vec::new(),
            to: vec![recipient.clone()],
            at: engine.clock().now(),
            letter: notify::trial(&engine.parts.notifier.voice()),
        };
        let deadline = Deadline::after(limits::send_patience(engine).to_std());
        let said = room.mailer.send(&mail, std::slice::from_ref(&recipient), deadline).await;
        let (sent, answer) = match said {
            Ok(answer) => (true, answer),
            Err(Undelivered { reason, .. }) => (false, reason),
        };
        trials.push(TrialView { recipient, sent, answer });
    }
    Ok(trials)
}

/// Tells people that a pass of the daemon fails again and again, or that it works again.
pub async fn tell_pass(engine: &Engine, pass: &str, failure: Option<&str>) -> Result<(), EngineError> {
    let (kind, subject) = (Kind::PassFailing, Subject::Pass(pass.to_owned()));
    let told = engine.parts.store.open_subjects(kind).await?.contains(&subject);
    match failure {
        Some(why) => {
            let detail = format!("The pass {pass} of the daemon has failed three times in a row: {why}.");
            let entry = engine.entry("pass.failing", &subject, why);
            Ok(engine.parts.store.raise(&NewAlert::new(kind, subject, detail), &entry).await?)
        }
        None if told => {
            let entry = engine.entry("pass.works", &subject, "");
            Ok(engine.parts.store.resolve(kind, &subject, &entry).await?)
        }
        None => Ok(()),
    }
}
