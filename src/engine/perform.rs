//! Each directive: one look or one call, and the event that it comes to.

use super::EngineError;
use super::session::Session;
use super::step::Performed;
use crate::domain::guard::Kill;
use crate::domain::outcome::Failure;
use crate::domain::rotation::facts::{Remote, RemoteFacts};
use crate::domain::rotation::{Directive, Event, Figures, KeyRef, Run, Trigger};

impl Session<'_> {
    /// Performs one directive that is neither a wait nor the end.
    pub(super) async fn perform(
        &mut self,
        run: &Run,
        directive: Directive,
    ) -> Result<Performed, EngineError> {
        match directive {
            Directive::Apply(event) => {
                let did = describe(&event);
                Ok(Performed { run: self.record(run, &event, Vec::new()).await?, did })
            }
            Directive::Preflight => self.preflight(run).await,
            Directive::Create => self.create(run).await,
            Directive::Reconcile => self.look_for_strays(run).await,
            Directive::CheckProvisioning => self.check_provisioning(run).await,
            Directive::Test(key) => self.test(run, &key).await,
            Directive::Publish { address, key } => self.publish(run, &address, &key).await,
            Directive::Check { address, key } => self.check(run, &address, &key).await,
            Directive::Read(key) => self.read(run, &key).await,
            Directive::Enable(key) => self.enable(run, &key).await,
            Directive::Disable { key, urgent } => self.kill(run, &key, Kill::Disable, urgent).await,
            Directive::Delete { key, urgent } => self.kill(run, &key, Kill::Delete, urgent).await,
            Directive::Supersede { reason } => self.supersede(run, reason).await,
            Directive::Wait { .. } | Directive::Finished => {
                Ok(Performed { run: run.clone(), did: "nothing".to_owned() })
            }
        }
    }

    async fn read(&mut self, run: &Run, key: &KeyRef) -> Result<Performed, EngineError> {
        match self.read_remote(&key.hash).await? {
            Ok(_) => {
                Ok(Performed { run: run.clone(), did: format!("looked at generation {}", key.generation) })
            }
            Err(failure) => {
                let reason = format!("generation {} could not be read: {failure}", key.generation);
                let after = self.postpone(run, reason.clone(), failure.retry_after, Vec::new()).await?;
                Ok(Performed { run: after, did: reason })
            }
        }
    }

    /// `GET /keys/{hash}`, remembered for this session.
    pub(super) async fn read_remote(&mut self, hash: &str) -> Result<Result<Remote, Failure>, EngineError> {
        let deadline = self.deadline().await?;
        let called = self.account.issuer.read(hash, deadline).await;
        let remote = match self.noting(called) {
            Ok(None) => Remote::Gone,
            Ok(Some(key)) if key.disabled => Remote::Disabled,
            Ok(Some(key)) => Remote::Enabled(Figures {
                usage: key.usage,
                byok_usage: key.byok_usage,
                last_used_at: key.last_used_at,
            }),
            Err(failure) => return Ok(Err(failure)),
        };
        self.remember(hash, remote.clone());
        Ok(Ok(remote))
    }

    pub(super) fn remember(&mut self, hash: &str, remote: Remote) {
        self.remote.retain(|known| known.hash != hash);
        let at = self.now();
        self.remote.push(RemoteFacts { hash: hash.to_owned(), remote, at });
    }

    /// No way on and no way back: a healing run inherits the keys.
    async fn supersede(&mut self, run: &Run, reason: String) -> Result<Performed, EngineError> {
        let successor = self.start_emergency(Trigger::Heal, &run.rotation, None, &reason).await;
        match successor {
            Ok(run) => Ok(Performed { run, did: format!("{reason}: a healing run took over") }),
            Err(
                refusal @ (EngineError::Usage { .. } | EngineError::Refused(_) | EngineError::Frozen { .. }),
            ) => {
                let text = refusal.to_string();
                let event = Event::Parked { reason: format!("{reason}; {text}") };
                Ok(Performed { run: self.record(run, &event, Vec::new()).await?, did: text })
            }
            Err(other) => Err(other),
        }
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::CreateUnclear { .. } => "the outcome of a create is unknown: looking for it".to_owned(),
        Event::Verified { .. } => "the new key works and is as it was asked for".to_owned(),
        Event::VerifyFailed { reason } => format!("the new key is not usable: {reason}"),
        Event::PublishedEverywhere { .. } => "every required destination holds the new key".to_owned(),
        Event::FiguresMoved { .. } => "noted the old key's usage".to_owned(),
        Event::FoundGone { .. } => "a key on its way out was deleted by somebody".to_owned(),
        Event::FoundDisabled { .. } => "a key on its way out was disabled by somebody".to_owned(),
        Event::FoundEnabled { .. } => "somebody enabled the old key again".to_owned(),
        Event::OverlapTold => "told the admins that the old key is still used".to_owned(),
        Event::GraceOver => "the old key is quiet and nothing holds it".to_owned(),
        Event::CandidateFailed { reason } => format!("{reason}: going back"),
        Event::AbortAsked { .. } => "a person asked to abort".to_owned(),
        Event::AbortReady { .. } | Event::AbortFinished { .. } => "aborted".to_owned(),
        Event::RollbackAsked { .. } => "a person asked to roll back".to_owned(),
        Event::Revived { .. } => "the previous key works".to_owned(),
        Event::ReviveAgain => "the previous key is refused again".to_owned(),
        Event::RepublishedEverywhere { .. } => {
            "every required destination holds the previous key again".to_owned()
        }
        Event::RollbackFinished => "rolled back".to_owned(),
        Event::Resumed { .. } => "a person said: go on".to_owned(),
        Event::Released { destination, .. } => format!("a person released {destination}"),
        Event::RequestRefused { reason, .. } => format!("a request was refused: {reason}"),
        Event::Parked { reason } => format!("parked: {reason}"),
        Event::Finished => "the old key is gone".to_owned(),
        other => format!("{other:?}").split([' ', '{']).next().unwrap_or_default().to_owned(),
    }
}
