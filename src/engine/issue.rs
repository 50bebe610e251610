//! Planned and issuing: what must be in order, the create under its unique name, and what became of it.

use serde_json::json;

use super::EngineError;
use super::deliver::with_hint;
use super::session::Session;
use super::step::Performed;
use crate::domain::alert::{Kind, NewAlert};
use crate::domain::key::{KeyKind, KeySpec};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::rotation::{Event, Issuing, KeyRef, Run, State};
use crate::domain::secret::Secret;
use crate::domain::time::{Span, Timestamp};
use crate::provider::IssuedKey;
use crate::store::{Change, EffectKind, EffectStatus, NewEffect, NewKey, NewProvider, Origin, Role, new_id};

/// A refused create is tried again this much later at the least.
const AFTER_REFUSAL: Span = Span::seconds(5);

impl Session<'_> {
    /// Everything that would stop a rotation later, found before the first side effect.
    pub(super) async fn preflight(&mut self, run: &Run) -> Result<Performed, EngineError> {
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
        if let Some(reason) = self.engine.parts.store.freeze_of(&self.identity).await? {
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
                return Ok(Some(format!("destination {}: {}", target.name, with_hint(&failure))));
            }
        }
        Ok(None)
    }

    /// R1, R6, I4: a unique name is committed alone, then the provider is asked once.
    pub(super) async fn create(&mut self, run: &Run) -> Result<Performed, EngineError> {
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
            name: run.rotation.clone(),
            priority: 100,
            rotation: Some(run.rotation.clone()),
            generation: Some(generation),
            role: Role::Candidate,
            numbered: false,
            ..self.issued_row(name, &issued)
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

    /// The row of a key that this account just issued under a name, of no rotation and with a number.
    pub(super) fn issued_row(&self, name: &str, issued: &IssuedKey) -> NewKey {
        NewKey {
            id: new_id(),
            provider: self.account.provider.clone(),
            name: "manual".to_owned(),
            priority: 50,
            is_active: true,
            settings: json!({}),
            secret: Some(self.engine.parts.ring.seal(&issued.secret).as_str().to_owned()),
            api_secret: None,
            fingerprint: Some(self.engine.parts.fingerprints.of(&issued.secret)),
            mask: issued.secret.mask(),
            hash: Some(issued.remote.hash.clone()),
            account: Some(self.identity.clone()),
            rotation: None,
            generation: None,
            role: Role::Manual,
            origin: Origin::Created,
            issued_name: Some(name.to_owned()),
            numbered: true,
        }
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
    pub(super) async fn look_for_strays(&mut self, run: &Run) -> Result<Performed, EngineError> {
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

    pub(super) async fn check_provisioning(&mut self, run: &Run) -> Result<Performed, EngineError> {
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
}
