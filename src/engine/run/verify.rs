//! Tests of our own keys, with the bytes read back from the store: accepted, of the right kind, as asked for.

use crate::domain::rotation::facts::TestResult;
use crate::domain::rotation::{Directive, Event, KeyRef, Run, State};
use crate::engine::EngineError;
use crate::engine::session::commit::Performed;
use crate::engine::session::{Session, commit, test_key};

/// Tests one of our keys with the bytes read back from the store.
pub(crate) async fn test(
    session: &mut Session<'_>,
    run: &Run,
    key: &KeyRef,
) -> Result<Performed, EngineError> {
    let row = session.engine.parts.store.key(&key.id).await?;
    let Some(row) = row else {
        let event = Event::Parked { reason: format!("generation {} is not in the store", key.generation) };
        return Ok(Performed {
            run: commit::record(session, run, &event, Vec::new()).await?,
            did: "a key is missing".into(),
        });
    };
    let verifying = matches!(run.state, State::Verifying { .. });
    let asked = run.asked.as_ref().filter(|_| verifying);
    let chat = run.policy.chat_model.as_deref().filter(|_| verifying);
    let result = test_key::test_key(session, &row, asked, chat).await?;
    let nothing_follows = match &result {
        TestResult::Inconclusive { reason } => Some(reason),
        // Only verifying knows what to do with it; elsewhere the same test would be asked for again at once.
        TestResult::WrongKind { reason }
        | TestResult::Unlike { reason }
        | TestResult::ProbeRefused { reason }
            if !verifying =>
        {
            Some(reason)
        }
        _ => None,
    };
    if let Some(reason) = nothing_follows {
        let reason = format!("generation {} could not be tested: {reason}", key.generation);
        return commit::postpone(session, run, &Directive::Test(key.clone()), reason, None, Vec::new()).await;
    }
    Ok(Performed {
        run: run.clone(),
        did: format!("tested generation {}: {}", key.generation, said(&result)),
    })
}

fn said(result: &TestResult) -> String {
    match result {
        TestResult::Valid => "valid".to_owned(),
        TestResult::Unauthorized => "the provider answered 401".to_owned(),
        TestResult::WrongKind { reason }
        | TestResult::Unlike { reason }
        | TestResult::ProbeRefused { reason }
        | TestResult::Inconclusive { reason } => reason.clone(),
    }
}
