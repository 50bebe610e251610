//! Tests of our own keys, with the bytes read back from the store: accepted, of the right kind, as asked for.

use super::EngineError;
use super::record::{Look, meaning};
use super::session::Session;
use super::step::Performed;
use crate::domain::key::{CurrentKey, KeyKind, KeySpec};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::rotation::facts::TestResult;
use crate::domain::rotation::{Event, KeyRef, Run, State};
use crate::domain::secret::Secret;
use crate::domain::verdict::{Judgement, Observation, Occasion, Outcome};
use crate::store::{Change, KeyRow};

impl Session<'_> {
    /// Tests one of our keys with the bytes read back from the store.
    pub(super) async fn test(&mut self, run: &Run, key: &KeyRef) -> Result<Performed, EngineError> {
        let row = self.engine.parts.store.key(&key.id).await?;
        let Some(row) = row else {
            let event =
                Event::Parked { reason: format!("generation {} is not in the store", key.generation) };
            return Ok(Performed {
                run: self.record(run, &event, Vec::new()).await?,
                did: "a key is missing".into(),
            });
        };
        let verifying = matches!(run.state, State::Verifying { .. });
        let asked = run.asked.as_ref().filter(|_| verifying);
        let chat = run.policy.chat_model.as_deref().filter(|_| verifying);
        let result = self.test_key(&row, asked, chat).await?;
        let nothing_follows = match &result {
            TestResult::Inconclusive { reason } => Some(reason),
            // Only verifying knows what to do with it; elsewhere the same test would be asked for again at once.
            TestResult::Unlike { reason } if !verifying => Some(reason),
            _ => None,
        };
        if let Some(reason) = nothing_follows {
            let reason = format!("generation {} could not be tested: {reason}", key.generation);
            let after = self.postpone(run, reason.clone(), None, Vec::new()).await?;
            return Ok(Performed { run: after, did: reason });
        }
        Ok(Performed {
            run: run.clone(),
            did: format!("tested generation {}: {}", key.generation, said(&result)),
        })
    }

    /// One test of a stored key; commits what it showed ([`super::record`]). `asked`: it must be as it was asked
    /// for.
    pub(super) async fn test_key(
        &mut self,
        row: &KeyRow,
        asked: Option<&KeySpec>,
        chat: Option<&str>,
    ) -> Result<TestResult, EngineError> {
        let look = match self.engine.open(row)? {
            None => {
                let seen = Observation::new(Judgement::UNEXPECTED, "nobody has its secret");
                Look::new(seen, Occasion::Extra)
            }
            Some(secret) => self.probe(row, &secret, asked, chat).await?,
        };
        let result = look.result.clone().unwrap_or_else(|| meaning(&look.seen));
        let (engine, now) = (self.engine, self.now());
        let decide = |rows: Vec<KeyRow>| -> Result<Vec<Change>, EngineError> {
            let folded = rows.into_iter().map(|row| engine.fold(row, &look, now));
            Ok(folded.flat_map(|folded| engine.tested(folded, None)).collect())
        };
        engine.parts.store.commit_tests(Some(&self.lease), std::slice::from_ref(&row.id), decide).await?;
        Ok(result)
    }

    async fn probe(
        &mut self,
        row: &KeyRow,
        secret: &Secret,
        asked: Option<&KeySpec>,
        chat: Option<&str>,
    ) -> Result<Look, EngineError> {
        let deadline = self.deadline().await?;
        let (kind, base) = (&self.account.provider, Some(&self.account.base_url));
        let seen = self.engine.parts.tester.test(kind, base, secret, &row.settings, deadline).await;
        self.note_date(seen.date);
        let valid = seen.outcome() == Outcome::Valid;
        let mut look = Look::new(seen, Occasion::Extra);
        if valid && let Some(asked) = asked {
            look.result = self.compare(secret, asked).await?;
        }
        if let (true, None, Some(model)) = (valid, &look.result, chat) {
            let deadline = self.deadline().await?;
            let called = self.account.issuer.chat(secret, model, deadline).await;
            look.result = self.noting(called).err().map(|failure| failed_probe(&failure));
        }
        Ok(look)
    }

    /// What is wrong with a working key that was asked for with this spec; `None` when nothing is.
    async fn compare(&mut self, secret: &Secret, asked: &KeySpec) -> Result<Option<TestResult>, EngineError> {
        let deadline = self.deadline().await?;
        let called = self.account.issuer.whoami(secret, deadline).await;
        Ok(match self.noting(called) {
            Ok(key) => unlike(&key, secret, asked).map(|reason| TestResult::Unlike { reason }),
            Err(failure) => Some(failed_probe(&failure)),
        })
    }
}

fn failed_probe(failure: &Failure) -> TestResult {
    match failure.kind {
        FailureKind::Unauthorized => TestResult::Unauthorized,
        _ => TestResult::Inconclusive { reason: failure.message.clone() },
    }
}

/// Why a working key is not what it should be: wrong kind, wrong label, other limits than asked for.
fn unlike(key: &CurrentKey, secret: &Secret, asked: &KeySpec) -> Option<String> {
    if key.kind == KeyKind::Provisioning {
        return Some(
            "it is a provisioning key: it cannot call models and must never reach production".to_owned(),
        );
    }
    if !label_fits(&key.label, secret) {
        return Some("the provider shows another key's label for it".to_owned());
    }
    if key.limit != asked.limit {
        return Some("its spending limit is not the one that was asked for".to_owned());
    }
    (key.limit_reset != asked.limit_reset).then(|| "its limit resets otherwise than was asked for".to_owned())
}

/// The provider's label of a key: first 12 and last 3 characters (wire-facts.md).
fn label_fits(label: &str, secret: &Secret) -> bool {
    let text = secret.expose();
    match label.split_once("...") {
        Some((first, last)) => text.starts_with(first) && text.ends_with(last),
        None => false,
    }
}

fn said(result: &TestResult) -> String {
    match result {
        TestResult::Valid => "valid".to_owned(),
        TestResult::Unauthorized => "the provider answered 401".to_owned(),
        TestResult::Unlike { reason } | TestResult::Inconclusive { reason } => reason.clone(),
    }
}
