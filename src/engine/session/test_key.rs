//! One honest test of a key of this account.

use crate::domain::key::{CurrentKey, KeyKind, KeySpec};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::rotation::facts::TestResult;
use crate::domain::secret::Secret;
use crate::domain::verdict::{Judgement, Observation, Occasion, Outcome};
use crate::engine::EngineError;
use crate::engine::session::Session;
use crate::engine::testing::record;
use crate::engine::testing::record::Sighting;
use crate::provider::Base;
use crate::store::{Change, KeyRow};

/// One test of a stored key; commits what it showed ([`crate::engine::testing::record`]). `asked`: it must be as it was asked
/// for.
pub(crate) async fn test_key(
    session: &mut Session<'_>,
    row: &KeyRow,
    asked: Option<&KeySpec>,
    chat: Option<&str>,
) -> Result<TestResult, EngineError> {
    let asked_at = session.now();
    let look = match session.engine.open(row)? {
        None => {
            let seen = Observation::new(Judgement::UNEXPECTED, "nobody has its secret");
            Sighting::new(seen, Occasion::Extra)
        }
        Some(secret) => probe(session, row, &secret, asked, chat).await?,
    };
    let result = look.result.clone().unwrap_or_else(|| record::meaning(&look.seen));
    // A proof is as old as its question (R19).
    let (engine, now) = (session.engine, asked_at);
    let asked_with = row.fingerprint.as_ref();
    let decide = |rows: Vec<KeyRow>| -> Result<Vec<Change>, EngineError> {
        let folded = rows.into_iter().filter_map(|row| record::fold(engine, row, asked_with, &look, now));
        Ok(folded.flat_map(|folded| record::tested(engine, folded)).collect())
    };
    engine.parts.store.commit_tests(Some(&session.lease), std::slice::from_ref(&row.id), decide).await?;
    Ok(result)
}

async fn probe(
    session: &mut Session<'_>,
    row: &KeyRow,
    secret: &Secret,
    asked: Option<&KeySpec>,
    chat: Option<&str>,
) -> Result<Sighting, EngineError> {
    let deadline = session.deadline().await?;
    let (kind, base) = (&session.account.provider, Some(Base::configured(&session.account.base_url)));
    let seen = session.engine.parts.tester.test(kind, base, secret, &row.settings, deadline).await;
    session.note_date(seen.date);
    let valid = seen.outcome() == Outcome::Valid;
    let mut look = Sighting::new(seen, Occasion::Extra);
    if valid && let Some(asked) = asked {
        look.result = compare(session, secret, asked).await?;
    }
    if let (true, None, Some(model)) = (valid, &look.result, chat) {
        let deadline = session.deadline().await?;
        let called = session.account.issuer.chat(secret, model, deadline).await;
        look.result = session.noting(called).err().map(|failure| refused_probe(&failure));
    }
    Ok(look)
}

/// What is wrong with a working key that was asked for with this spec; `None` when nothing is.
async fn compare(
    session: &mut Session<'_>,
    secret: &Secret,
    asked: &KeySpec,
) -> Result<Option<TestResult>, EngineError> {
    let deadline = session.deadline().await?;
    let called = session.account.issuer.whoami(secret, deadline).await;
    Ok(match session.noting(called) {
        Ok(key) => unlike(&key, secret, asked),
        Err(failure) => Some(failed_probe(&failure)),
    })
}

fn failed_probe(failure: &Failure) -> TestResult {
    match failure.kind {
        FailureKind::Unauthorized => TestResult::Unauthorized,
        _ => TestResult::Inconclusive { reason: failure.message.clone() },
    }
}

/// The billed completion: refused in the provider's own form it will be refused again, however often it is asked for.
fn refused_probe(failure: &Failure) -> TestResult {
    match failure.kind {
        FailureKind::Refused | FailureKind::NotFound | FailureKind::Forbidden => {
            TestResult::ProbeRefused { reason: format!("the billed probe is refused: {}", failure.message) }
        }
        _ => failed_probe(failure),
    }
}

/// What is wrong with a working key: its kind, its label, other limits than asked for.
fn unlike(key: &CurrentKey, secret: &Secret, asked: &KeySpec) -> Option<TestResult> {
    let wrong = |reason: &str| Some(TestResult::WrongKind { reason: reason.to_owned() });
    let other = |reason: &str| Some(TestResult::Unlike { reason: reason.to_owned() });
    if key.kind == KeyKind::Provisioning {
        return wrong("it is a provisioning key: it cannot call models and must never reach production");
    }
    if !label_fits(&key.label, secret) {
        return wrong("the provider shows another key's label for it");
    }
    if key.limit != asked.limit {
        return other("its spending limit is not the one that was asked for");
    }
    if key.limit_reset != asked.limit_reset {
        return other("its limit resets otherwise than was asked for");
    }
    None
}

/// The provider's label of a key: first 12 and last 3 characters (wire-facts.md).
fn label_fits(label: &str, secret: &Secret) -> bool {
    let text = secret.expose();
    match label.split_once("...") {
        Some((first, last)) => text.starts_with(first) && text.ends_with(last),
        None => false,
    }
}
