//! Waiting notices become messages.
//!
//! Alerts that open (or get worse) within `group_within` of the first one travel together, one mail for each
//! set of recipients. Reminders and recoveries travel together when their alerts came in the same mail, so
//! that each mail answers the one that it belongs to.

use std::collections::BTreeMap;

use crate::domain::alert::{Event, Kind, Notice, Severity};
use crate::domain::time::Timestamp;
use crate::engine::{Engine, EngineError, MailConfig};
use crate::notify;
use crate::notify::{Letter, Open};
use crate::store::{Channel, Lease, NewMessage, new_id};

/// What travels together: the same recipients, the same sort of news, an answer to the same mail.
type Group = (Vec<String>, &'static str, Option<String>);

/// The sort of news: beginnings, reminders and ends each have mails of their own.
fn sort(event: Event) -> &'static str {
    match event {
        Event::Opened | Event::Escalated => "news",
        Event::Reminded => "reminder",
        Event::Resolved => "end",
    }
}

/// Puts together what is due, and says how many messages that makes.
pub(crate) async fn build_messages(engine: &Engine, lease: &Lease) -> Result<usize, EngineError> {
    let mut built = build_webhook_calls(engine, lease).await?;
    let waiting = engine.parts.store.waiting_notices(Channel::Mail).await?;
    let Some(room) = &engine.parts.notifier.mail else {
        return tell_nobody(engine, lease, Channel::Mail, &waiting).await.map(|()| built);
    };
    let is_news = |notice: &Notice| sort(notice.event) == "news";
    built += build_mails(engine, lease, room, waiting.into_iter().filter(is_news).collect()).await?;
    // What follows answers the mail that began it, which may be of this very pass, and never comes before it.
    let waiting = engine.parts.store.waiting_notices(Channel::Mail).await?;
    let (news, mut after): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_news);
    after.retain(|notice| news.iter().all(|first| first.alert != notice.alert));
    built += build_mails(engine, lease, room, after).await?;
    built += usize::from(build_digest(engine, lease, room).await?);
    Ok(built)
}

async fn build_mails(
    engine: &Engine,
    lease: &Lease,
    room: &MailConfig,
    waiting: Vec<Notice>,
) -> Result<usize, EngineError> {
    let mut built = 0;
    for ((recipients, _, first), notices) in groups(engine, room, waiting).await? {
        let voice = engine.parts.notifier.voice();
        for notices in ripe(notices, room, engine.clock().now()) {
            let letter = notify::letter(&notices, &voice);
            let mut message = message(engine, room, letter, recipients.clone());
            message.thread = threads(engine, &notices, &recipients).await?;
            message.in_reply_to = first.clone().or_else(|| message.thread.first().cloned());
            message.notices = notices.into_iter().map(|notice| notice.id).collect();
            built += usize::from(engine.parts.store.post(lease, &message).await?);
        }
    }
    Ok(built)
}

/// Notices by what travels together, in the order of time.
async fn groups(
    engine: &Engine,
    room: &MailConfig,
    waiting: Vec<Notice>,
) -> Result<BTreeMap<Group, Vec<Notice>>, EngineError> {
    let mut groups: BTreeMap<Group, Vec<Notice>> = BTreeMap::new();
    for notice in waiting {
        let account = notice.rotation.as_ref().and_then(|name| engine.parts.rotations.get(name));
        let recipients = room.recipients(&notice, account.map(|rotation| rotation.account.as_str()));
        let first = match notice.event {
            Event::Opened | Event::Escalated => None,
            Event::Reminded | Event::Resolved => first_mail(engine, &notice.alert, &recipients).await?,
        };
        groups.entry((recipients, sort(notice.event), first)).or_default().push(notice);
    }
    Ok(groups)
}

/// The first mails about these alerts, each once.
async fn threads(
    engine: &Engine,
    notices: &[Notice],
    recipients: &[String],
) -> Result<Vec<String>, EngineError> {
    let mut thread = Vec::new();
    for notice in notices {
        let first = first_mail(engine, &notice.alert, recipients).await?;
        thread.extend(first.filter(|first| !thread.contains(first)));
    }
    Ok(thread)
}

/// The first mail about an alert that one of these recipients got.
async fn first_mail(
    engine: &Engine,
    alert: &str,
    recipients: &[String],
) -> Result<Option<String>, EngineError> {
    let mails = engine.parts.store.mails_about(alert).await?;
    let reached = |to: &Vec<String>| to.iter().any(|one| recipients.contains(one));
    Ok(mails.into_iter().find(|(_, to)| reached(to)).map(|(id, _)| id))
}

fn message(engine: &Engine, room: &MailConfig, letter: Letter, recipients: Vec<String>) -> NewMessage {
    let id = new_id();
    NewMessage {
        message_id: format!("{id}@{}", room.mailer.domain()),
        id,
        channel: Channel::Mail,
        in_reply_to: None,
        thread: Vec::new(),
        recipients,
        subject: letter.subject,
        plain: letter.text,
        html: letter.html,
        created_at: engine.clock().now(),
        notices: Vec::new(),
    }
}

/// Programs want every event at once and alone.
async fn build_webhook_calls(engine: &Engine, lease: &Lease) -> Result<usize, EngineError> {
    let waiting = engine.parts.store.waiting_notices(Channel::Webhook).await?;
    let Some(webhook) = &engine.parts.notifier.webhook else {
        return tell_nobody(engine, lease, Channel::Webhook, &waiting).await.map(|()| 0);
    };
    let voice = engine.parts.notifier.voice();
    for notice in &waiting {
        let call = NewMessage {
            id: new_id(),
            channel: Channel::Webhook,
            message_id: notice.id.clone(),
            in_reply_to: None,
            thread: Vec::new(),
            recipients: vec!["webhook".to_owned()],
            subject: format!("{} {}: {}", notice.subject.short(), notice.kind.title(), notice.event.word()),
            plain: webhook.body(notice, &voice),
            html: String::new(),
            created_at: engine.clock().now(),
            notices: vec![notice.id.clone()],
        };
        engine.parts.store.post(lease, &call).await?;
    }
    Ok(waiting.len())
}

/// A channel that is configured later starts with what happens then, not with the past.
async fn tell_nobody(
    engine: &Engine,
    lease: &Lease,
    channel: Channel,
    waiting: &[Notice],
) -> Result<(), EngineError> {
    let ids: Vec<String> = waiting.iter().map(|notice| notice.id.clone()).collect();
    if !ids.is_empty() {
        engine.parts.store.leave_out(lease, channel, &ids).await?;
    }
    Ok(())
}

/// True when there is a digest to plan or to send.
pub(crate) async fn digest_is_due(engine: &Engine) -> Result<bool, EngineError> {
    let Some(next) = engine.parts.notifier.mail.as_ref().and_then(|room| room.digest.as_ref()) else {
        return Ok(false);
    };
    let now = engine.clock().now();
    let planned = engine.parts.store.digest_due().await?;
    let soonest = next(now);
    // A plan later than the schedule's next moment was made by another schedule, or by a clock ahead of time.
    Ok(planned.is_none_or(|at| at <= now || soonest.is_some_and(|soonest| at > soonest)))
}

/// What is open, on schedule; missed ones once. Nothing open: no mail. The first start only plans.
async fn build_digest(engine: &Engine, lease: &Lease, room: &MailConfig) -> Result<bool, EngineError> {
    if !digest_is_due(engine).await? {
        return Ok(false);
    }
    let now = engine.clock().now();
    let Some(next) = room.digest.as_ref().and_then(|next| next(now)) else { return Ok(false) };
    let came = engine.parts.store.digest_due().await?.is_some_and(|at| at <= now);
    let open = if came { open_alerts(engine).await? } else { Vec::new() };
    let message = (!open.is_empty()).then(|| {
        let letter = notify::digest(&open, &engine.parts.notifier.voice());
        message(engine, room, letter, room.to.clone())
    });
    engine.parts.store.post_digest(lease, message.as_ref(), next).await?;
    Ok(message.is_some())
}

async fn open_alerts(engine: &Engine) -> Result<Vec<Open>, EngineError> {
    let mut open: Vec<Open> = engine.parts.store.alerts(false).await?.into_iter().map(open_alert).collect();
    open.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.opened_at.cmp(&b.opened_at)));
    Ok(open)
}

fn open_alert(row: crate::store::AlertRow) -> Open {
    Open {
        severity: Severity::parse(&row.severity).unwrap_or(Severity::Warning),
        title: Kind::parse(&row.kind).map_or_else(|| row.kind.replace('_', " "), Kind::title),
        subject: row.subject,
        detail: row.detail,
        opened_at: row.opened_at,
        acked: row.acked_at.is_some(),
    }
}

/// Cuts notices in the order of time into groups that began within `group_within`, and keeps those that no
/// further notice can join. A group whose time lies in the future was written before the clock went back.
fn ripe(notices: Vec<Notice>, room: &MailConfig, now: Timestamp) -> Vec<Vec<Notice>> {
    let mut groups: Vec<Vec<Notice>> = Vec::new();
    for notice in notices {
        match groups.last_mut() {
            Some(group) if notice.at.since(group[0].at) <= room.group_within => group.push(notice),
            _ => groups.push(vec![notice]),
        }
    }
    groups.retain(|group| {
        let age = now.since(group[0].at);
        age >= room.group_within || age.0 < -room.group_within.0 - 60_000
    });
    groups
}
