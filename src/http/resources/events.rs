//! What changes, as it happens: one run, or what a page is about.

use std::collections::BTreeSet;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use crate::domain::role::Permission::Look;
use crate::domain::time::Timestamp;
use crate::domain::topic::Topic;
use crate::engine::commands::{self, Changed, RunView};
use crate::http::api::Api;
use crate::http::auth::Caller;
use crate::http::events::{LAST_EVENT_ID, Listening, Message, no_more, opened};
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

const STREAM: &str = "text/event-stream";

pub(super) fn routes() -> Routes {
    Routes::default()
        .at(Method::GET, "/api/v1/runs/{id}/events", Allow::May(Look), of_run)
        .says("One run as it goes on, as server-sent events: `run`, with the run, now and after each change; 204 to who comes back when it is over")
        .answers_text(STREAM)
        .at(Method::GET, "/api/v1/events", Allow::May(Look), of_topics)
        .says("Server-sent events, named by their topic, whenever something of it changed: look at it again")
        .with("topics", "Some of runs, rotations, destinations, alerts, accounts, keys, people, audit; else all that one may see.")
        .answers_text(STREAM)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    topics: Option<String>,
}

/// Until when somebody was told, when they come back.
fn told_until(headers: &HeaderMap) -> Option<Timestamp> {
    headers.get(LAST_EVENT_ID)?.to_str().ok()?.parse().ok().map(Timestamp)
}

async fn of_topics(
    State(api): State<Api>,
    caller: Caller,
    Query(about): Query<About>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let topics = topics(&caller, about.topics.as_deref())?;
    let mut news = api.events().listen();
    let missed = match told_until(&headers) {
        Some(since) => Some(commands::missed(&api.engine(), since).await?),
        None => None,
    };
    let (response, mut listening) = opened(api, caller, headers);
    tokio::spawn(async move {
        let mut until = Timestamp(0);
        if let Some(missed) = missed
            && !tell(&mut listening, &topics, &missed).await
        {
            return;
        }
        while let Some(changed) = listening.next(&mut news).await {
            let changed = changed.unwrap_or_else(|| Changed::everything(until));
            until = changed.until;
            if !tell(&mut listening, &topics, &changed).await {
                return;
            }
        }
    });
    Ok(response)
}

async fn tell(listening: &mut Listening, topics: &BTreeSet<Topic>, changed: &Changed) -> bool {
    for topic in topics.intersection(&changed.topics) {
        let data = json!({ "topic": topic.word() }).to_string();
        if !listening.tell(&Message { id: changed.until, event: topic.word(), data }).await {
            return false;
        }
    }
    true
}

fn topics(caller: &Caller, asked: Option<&str>) -> Result<BTreeSet<Topic>, Problem> {
    let Some(asked) = asked else {
        return Ok(Topic::ALL.into_iter().filter(|topic| caller.role().may(topic.permission())).collect());
    };
    let mut topics = BTreeSet::new();
    for word in asked.split(',') {
        let topic = Topic::parse(word).ok_or_else(|| {
            let known = Topic::ALL.map(Topic::word).join(", ");
            Problem::bad_parameter(&format!("topics: some of {known}"))
        })?;
        caller.may(topic.permission())?;
        topics.insert(topic);
    }
    Ok(topics)
}

async fn of_run(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut news = api.events().listen();
    let run = commands::run_view(&api.engine(), &id).await?;
    if run.outcome.is_some() && headers.contains_key(LAST_EVENT_ID) {
        return Ok(no_more());
    }
    let (response, mut listening) = opened(api.clone(), caller, headers);
    tokio::spawn(async move {
        let (mut run, mut until) = (run, Timestamp(0));
        while tell_run(&mut listening, &run, until).await && run.outcome.is_none() {
            let concerns =
                |changed: &Option<Changed>| changed.as_ref().is_none_or(|changed| changed.runs.contains(&id));
            loop {
                let Some(changed) = listening.next(&mut news).await else { return };
                until = changed.as_ref().map_or(until, |changed| changed.until);
                if concerns(&changed) {
                    break;
                }
            }
            match commands::run_view(&api.engine(), &id).await {
                Ok(now) => run = now,
                Err(error) => return tracing::debug!(%error, "a run could not be told"),
            }
        }
    });
    Ok(response)
}

async fn tell_run(listening: &mut Listening, run: &RunView, until: Timestamp) -> bool {
    let data = serde_json::to_string(run).unwrap_or_default();
    listening.tell(&Message { id: until, event: "run", data }).await
}
