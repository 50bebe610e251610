//! Each directive: one look or one call, and the event that it comes to.

use serde_json::json;

use super::EngineError;
use super::record::{Look, meaning};
use super::session::Session;
use super::step::Performed;
use crate::domain::alert::{Kind, NewAlert};
use crate::domain::guard::Kill;
use crate::domain::key::{CurrentKey, KeyKind, KeySpec};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::rotation::facts::{Remote, RemoteFacts, TestResult};
use crate::domain::rotation::{Directive, Event, Figures, Issuing, KeyRef, Run, State, Trigger};
use crate::domain::secret::Secret;
use crate::domain::time::{Span, Timestamp};
use crate::domain::verdict::{Judgement, Observation, Occasion, Outcome};
use crate::provider::IssuedKey;
use crate::store::{
    Change, EffectKind, EffectStatus, KeyRow, NewEffect, NewKey, NewProvider, Origin, Role, new_id,
};

/// A refused create is tried again this much later at the least.
const AFTER_REFUSAL: Span = Span::seconds(5);

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

    /// Everything that would stop a rotation later, found before the first side effect.
    async fn preflight(&mut self, run: &Run) -> Result<Performed, EngineError> {
        let trouble = self.trouble_ahead(run).await?;
        let (event, did) = match trouble {
            None => (Event::PreflightPassed, "checked account, destinations, store and clocks".to_owned()),
            Some(reason) if run.trigger.is_emergency() => return self.delayed(run, reason).await,
            Some(reason) => {
                let did = format!("preflight failed: {reason}");
                (Event::PreflightFailed { reason }, did)
            }
        };
        Ok(Performed { run: self.record(run, &event, Vec::new()).await?, did })
    }

    /// An emergency does not give up: a key is leaked or dead, and the keys of a run that it took over are its own now.
    async fn delayed(&self, run: &Run, reason: String) -> Result<Performed, EngineError> {
        let detail = format!(
            "The emergency of rotation {} cannot start yet: {reason}. It is tried again until a person says \
             `rekeyd runs abort {}`.",
            run.rotation, run.id
        );
        let alert = NewAlert::new(Kind::RotationFailed, format!("rotation {}", run.rotation), detail)
            .rotation(run.rotation.clone());
        let after = self.postpone(run, reason.clone(), None, vec![Change::Alert(alert)]).await?;
        Ok(Performed { run: after, did: format!("preflight failed: {reason}") })
    }

    async fn trouble_ahead(&mut self, run: &Run) -> Result<Option<String>, EngineError> {
        if let Err(failure) = self.reconcile(run.trigger.is_emergency()).await? {
            return Ok(Some(format!("the account could not be listed: {failure}")));
        }
        if let Some(reason) = self.engine.parts.store.account(&self.identity).await?.and_then(|a| a.frozen) {
            return Ok(Some(format!("the account is frozen: {reason}")));
        }
        let canary = self.engine.parts.ring.seal(&Secret::new("canary"));
        let back = self.engine.parts.store.canary(canary.as_str()).await?;
        let opened = self.engine.parts.ring.open(&crate::crypto::Sealed::from_stored(back));
        if !opened.is_ok_and(|secret| secret.expose() == "canary") {
            return Ok(Some("a canary secret did not survive the store".to_owned()));
        }
        if let Some(reason) = self.clocks_differ() {
            return Ok(Some(reason.to_owned()));
        }
        if run.trigger.is_emergency() {
            return Ok(None);
        }
        self.destinations_in_trouble(run).await
    }

    async fn destinations_in_trouble(&mut self, run: &Run) -> Result<Option<String>, EngineError> {
        for target in run.policy.targets.iter().filter(|target| target.required) {
            let deadline = self.deadline().await?;
            let place = self.engine.place(&target.name)?;
            if let Err(failure) = place.adapter.preflight(deadline).await {
                let hint = failure.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
                return Ok(Some(format!("destination {}: {failure}{hint}", target.name)));
            }
        }
        Ok(None)
    }

    /// R1, R6, I4: a unique name is committed alone, then the provider is asked once.
    async fn create(&mut self, run: &Run) -> Result<Performed, EngineError> {
        let spec = run.policy.spec.resolve(self.inherited(run).await?);
        let generation = self.engine.parts.store.take_generation(&self.lease, &run.rotation).await?;
        let nonce = self.engine.clock().nonce();
        let name = format!("{}{}/{generation}-{nonce}", self.prefix(), run.rotation);
        let effect = NewEffect {
            id: new_id(),
            run: Some(run.id.clone()),
            account: self.identity.clone(),
            kind: EffectKind::Create,
            target: name.clone(),
        };
        let deadline = self.deadline().await?;
        let intent = Event::CreateIntended { name: name.clone(), spec: spec.clone() };
        let run = self.record(run, &intent, vec![Change::Intend(effect.clone())]).await?;
        let called = self.account.issuer.create(&name, &spec, deadline).await;
        match self.noting(called) {
            Ok(issued) => self.store_issued(&run, &effect.id, generation, &name, issued).await,
            Err(failure) => self.create_failed(&run, &effect.id, failure).await,
        }
    }

    /// What the predecessor is allowed, as the account shows it now; of one that was deleted, as it last did (R10).
    async fn inherited(&self, run: &Run) -> Result<Option<KeySpec>, EngineError> {
        let Some(predecessor) = &run.predecessor else { return Ok(None) };
        let listed = self.listing.as_ref().and_then(|listing| listing.key(&predecessor.hash));
        if let Some(key) = listed {
            return Ok(Some(key.spec()));
        }
        Ok(self.engine.parts.store.rotation(&run.rotation).await?.and_then(|row| row.spec))
    }

    /// One commit: ciphertext, hash, fingerprint, generation, effect done.
    async fn store_issued(
        &mut self,
        run: &Run,
        effect: &str,
        generation: i64,
        name: &str,
        issued: IssuedKey,
    ) -> Result<Performed, EngineError> {
        let key = KeyRef { id: new_id(), generation, hash: issued.remote.hash.clone(), has_secret: true };
        let row = NewKey {
            id: key.id.clone(),
            provider: self.account.provider.clone(),
            name: run.rotation.clone(),
            priority: 100,
            is_active: true,
            settings: json!({}),
            secret: Some(self.engine.parts.ring.seal(&issued.secret).as_str().to_owned()),
            api_secret: None,
            fingerprint: Some(self.engine.parts.fingerprints.of(&issued.secret)),
            mask: issued.secret.mask(),
            hash: Some(key.hash.clone()),
            account: Some(self.identity.clone()),
            rotation: Some(run.rotation.clone()),
            generation: Some(generation),
            role: Role::Candidate,
            origin: Origin::Created,
            issued_name: Some(name.to_owned()),
            numbered: false,
        };
        let mask = row.mask.clone();
        let extra = vec![
            Change::NewKey { provider: self.provider_row(), key: Box::new(row) },
            Change::Settle {
                id: effect.to_owned(),
                status: EffectStatus::Done,
                evidence: json!({ "hash": key.hash, "key": mask }),
            },
        ];
        let event = Event::Created { key, at: self.now() };
        let after = self.record(run, &event, extra).await?;
        Ok(Performed { run: after, did: format!("issued generation {generation} ({mask})") })
    }

    /// The provider row that this account's keys belong to.
    pub(super) fn provider_row(&self) -> NewProvider {
        NewProvider {
            name: self.account.provider.clone(),
            kind: self.account.provider.clone(),
            base_url: None,
        }
    }

    async fn create_failed(
        &mut self,
        run: &Run,
        effect: &str,
        failure: Failure,
    ) -> Result<Performed, EngineError> {
        let settle = |status| Change::Settle {
            id: effect.to_owned(),
            status,
            evidence: json!({ "status": failure.status, "answer": failure.message }),
        };
        let reason = failure.to_string();
        let not_before =
            self.engine.clock().now().plus(
                failure.retry_after.unwrap_or_else(|| self.engine.backoff(run.creates)).max(AFTER_REFUSAL),
            );
        let (event, status) = match failure.kind {
            FailureKind::Unauthorized | FailureKind::Forbidden => (
                Event::CreateRefused { reason: reason.clone(), doubtful: true, permanent: false, not_before },
                EffectStatus::Failed,
            ),
            FailureKind::Refused | FailureKind::NotFound => (
                Event::CreateRefused { reason: reason.clone(), doubtful: false, permanent: true, not_before },
                EffectStatus::Failed,
            ),
            FailureKind::RateLimited | FailureKind::NotSent => (
                Event::CreateRefused {
                    reason: reason.clone(),
                    doubtful: false,
                    permanent: false,
                    not_before,
                },
                EffectStatus::Failed,
            ),
            FailureKind::Unclear => (Event::CreateUnclear { reason: reason.clone() }, EffectStatus::Unknown),
        };
        let after = self.record(run, &event, vec![settle(status)]).await?;
        Ok(Performed { run: after, did: format!("the provider did not issue a key: {reason}") })
    }

    /// Lists, removes strays; a create of unknown outcome is settled by the second look.
    async fn look_for_strays(&mut self, run: &Run) -> Result<Performed, EngineError> {
        if let Err(failure) = self.reconcile(run.trigger.is_emergency()).await? {
            let reason = format!("the account could not be listed: {failure}");
            let after = self.postpone(run, reason.clone(), failure.retry_after, Vec::new()).await?;
            return Ok(Performed { run: after, did: reason });
        }
        let left = self.listing.as_ref().map_or(0, |listing| listing.strays_left);
        if left > 0 {
            let reason = format!("{left} stray key(s) could not be removed yet");
            self.listing = None;
            let after = self.postpone(run, reason.clone(), None, Vec::new()).await?;
            return Ok(Performed { run: after, did: reason });
        }
        let (extra, not_before) = self.settled_creates(run).await?;
        let event = Event::Listed { at: self.now(), not_before };
        let after = self.record(run, &event, extra).await?;
        Ok(Performed { run: after, did: "listed the account".to_owned() })
    }

    /// After the second look the create in doubt is settled: found and removed, or not there.
    async fn settled_creates(&self, run: &Run) -> Result<(Vec<Change>, Timestamp), EngineError> {
        let State::Issuing { issuing } = &run.state else { return Ok((Vec::new(), Timestamp(0))) };
        match issuing {
            Issuing::Ready { not_before } => Ok((Vec::new(), *not_before)),
            Issuing::Recover { looked: Some(_), .. } => {
                let effects = self.engine.parts.store.effects(&run.id).await?;
                let open = effects.into_iter().filter(|effect| {
                    effect.kind == EffectKind::Create
                        && matches!(effect.status, EffectStatus::Intended | EffectStatus::Unknown)
                });
                let settle = |effect: crate::store::EffectRow| Change::Settle {
                    id: effect.id,
                    status: EffectStatus::Failed,
                    evidence: json!({ "settled_by": "two listings", "usable": false }),
                };
                let wait = self.engine.backoff(run.creates);
                Ok((open.map(settle).collect(), self.engine.clock().now().plus(wait)))
            }
            _ => Ok((Vec::new(), Timestamp(0))),
        }
    }

    async fn check_provisioning(&mut self, run: &Run) -> Result<Performed, EngineError> {
        let deadline = self.deadline().await?;
        let called = self.account.issuer.whoami_provisioning(deadline).await;
        let event = match self.noting(called) {
            Ok(key) if key.kind == KeyKind::Provisioning => {
                let wait = self.engine.backoff(run.creates).max(AFTER_REFUSAL);
                Event::ProvisioningWorks { not_before: self.engine.clock().now().plus(wait) }
            }
            Ok(_) => Event::Parked { reason: "the provisioning key is a regular key now".to_owned() },
            Err(failure) if failure.kind == FailureKind::Unauthorized => {
                let second = matches!(
                    &run.state,
                    State::Issuing { issuing: Issuing::Doubt { refused_since: Some(_), .. } }
                );
                Event::ProvisioningRefused { at: self.now(), confirmed: second }
            }
            Err(failure) => {
                let reason = format!("the provisioning key could not be checked: {failure}");
                let after = self.postpone(run, reason.clone(), failure.retry_after, Vec::new()).await?;
                return Ok(Performed { run: after, did: reason });
            }
        };
        let after = self.record(run, &event, Vec::new()).await?;
        Ok(Performed { run: after, did: "asked what the provisioning key is".to_owned() })
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

    /// Tests one of our keys with the bytes read back from the store.
    async fn test(&mut self, run: &Run, key: &KeyRef) -> Result<Performed, EngineError> {
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

    /// No way on and no way back: a healing run inherits the keys.
    async fn supersede(&mut self, run: &Run, reason: String) -> Result<Performed, EngineError> {
        let successor = self.start_emergency(Trigger::Heal, &run.rotation, None, &reason).await;
        match successor {
            Ok(run) => Ok(Performed { run, did: format!("{reason}: a healing run took over") }),
            Err(EngineError::Usage { text, .. } | EngineError::Refused(text)) => {
                let event = Event::Parked { reason: format!("{reason}; {text}") };
                Ok(Performed { run: self.record(run, &event, Vec::new()).await?, did: text })
            }
            Err(other) => Err(other),
        }
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
