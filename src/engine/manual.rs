//! What a person does by hand: keys in the store, keys at the provider. The same guard, the same journal.

use serde_json::json;

use super::kill::{Killed, Target};
use super::session::Session;
use super::{Engine, EngineError, Opened};
use crate::domain::guard::Kill;
use crate::domain::key::{KeySpec, MicroUsd, RemoteKey};
use crate::domain::outcome::FailureKind;
use crate::domain::rotation::facts::{Remote, Request};
use crate::store::{Change, EffectKind, EffectStatus, KeyRow, NewEffect, Origin, new_id};

impl Engine {
    /// Removes a key from the store, and says nothing to the provider unless `at_provider`.
    ///
    /// # Errors
    /// Refused for a generation of a rotation (R15) and for the last usable regular key of a configured account.
    pub async fn delete_key(
        &self,
        provider: &str,
        number: i64,
        at_provider: bool,
    ) -> Result<KeyRow, EngineError> {
        let key = self.numbered(provider, number).await?;
        if let Some(rotation) = &key.rotation {
            return Err(EngineError::Refused(format!(
                "refused: this key is generation {} of rotation {rotation}: it changes only through its rotation",
                key.generation.unwrap_or_default()
            )));
        }
        for account in self.parts.accounts.values().filter(|account| account.provider == provider) {
            self.not_the_last(account.name.as_str(), &key, at_provider).await?;
        }
        let entry =
            self.entry("key.removed", format!("provider {provider} number {number}"), key.mask.clone());
        self.parts.store.remove_key(&key.id, &entry).await?;
        Ok(key)
    }

    /// Holds or lets go new runs and kill steps of a rotation.
    pub async fn pause(&self, name: &str, paused: bool) -> Result<(), EngineError> {
        self.rotation(name)?;
        self.parts.store.ensure_rotation(name, None).await?;
        let action = if paused { "rotation.paused" } else { "rotation.resumed" };
        let entry = self.entry(action, format!("rotation {name}"), "");
        Ok(self.parts.store.set_paused(name, paused, &entry).await?)
    }

    /// Notes what a person wants of a run. Answers a ticket: [`crate::store::Store::request_answer`] tells what came
    /// of it once the run was worked.
    pub async fn ask(&self, run: &str, request: &Request) -> Result<String, EngineError> {
        let detail = serde_json::to_string(request).unwrap_or_default();
        let entry = self.entry("run.asked", format!("run {run}"), detail);
        Ok(self.parts.store.ask(run, request, &self.parts.actor, &entry).await?)
    }

    /// Seals every stored secret anew, see [`crate::store::Store::reseal`].
    pub async fn reseal(
        &self,
        seal: impl Fn(&str) -> Result<Option<String>, EngineError>,
    ) -> Result<u64, EngineError> {
        let entry = self.entry("encryption.resealed", "store", "");
        self.parts.store.reseal(&entry, seal).await
    }

    /// The stored key with this number, or an error that says how to find it.
    pub async fn numbered(&self, provider: &str, number: i64) -> Result<KeyRow, EngineError> {
        self.parts.store.key_numbered(provider, number).await?.ok_or_else(|| {
            EngineError::usage(
                format!("provider {provider} has no key number {number}"),
                "`rekeyd keys list` shows them",
            )
        })
    }

    /// A session, waiting up to `patience` for another process to let go of the account.
    pub async fn session(
        &self,
        account: &str,
        patience: crate::domain::time::Span,
    ) -> Result<Session<'_>, EngineError> {
        let until = self.clock().monotonic().0 + patience.0;
        loop {
            match self.open_session(account).await? {
                Opened::Ready(session) => return Ok(*session),
                Opened::Busy if self.clock().monotonic().0 >= until => {
                    return Err(EngineError::Busy(account.to_owned()));
                }
                Opened::Busy => self.clock().sleep(crate::domain::time::Span(200)).await,
            }
        }
    }

    /// Refuses to let go of a key that the account could not do without.
    async fn not_the_last(&self, account: &str, key: &KeyRow, at_provider: bool) -> Result<(), EngineError> {
        let Some(hash) = &key.hash else { return Ok(()) };
        let mut session = self.session(account, crate::domain::time::Span::seconds(30)).await?;
        let outcome = session.let_go(hash, at_provider).await;
        session.close().await?;
        outcome
    }
}

impl Session<'_> {
    /// Refuses for the last usable key; with `at_provider` disables and deletes it there, through the guard.
    async fn let_go(&mut self, hash: &str, at_provider: bool) -> Result<(), EngineError> {
        self.list()
            .await?
            .map_err(|failure| EngineError::outside("the account could not be listed", failure))?;
        let Some(target) = self.listing.as_ref().and_then(|listing| listing.key(hash).cloned()) else {
            return Ok(());
        };
        if at_provider {
            self.kill_by_hand(&target.hash, Kill::Disable).await?;
            return self.kill_by_hand(&target.hash, Kill::Delete).await;
        }
        let others = self.count_usable_but(hash);
        if target.is_live(self.now().ours) && others == 0 {
            return Err(crate::domain::guard::Refusal::LastRegularKey {
                label: target.label,
                name: target.name,
                account: self.account.name.clone(),
            }
            .into());
        }
        Ok(())
    }

    fn count_usable_but(&self, hash: &str) -> usize {
        let now = self.now();
        let now = now.theirs.unwrap_or(now.ours);
        let provisioning = self.account.issuer.provisioning_hash();
        let keys = self.listing.iter().flat_map(|listing| listing.but_strays(hash));
        keys.filter(|key| key.hash != hash && key.hash != provisioning && key.is_live(now)).count()
    }

    /// Disables or deletes a key at the provider because a person says so: the same guard as everybody.
    pub async fn kill_by_hand(&mut self, hash: &str, kill: Kill) -> Result<(), EngineError> {
        self.not_a_generation(hash).await?;
        let target = Target { hash, kill, urgent: false, stray: false, run: None };
        match self.try_kill(&target).await? {
            Killed::Done | Killed::Already(Remote::Gone) => {}
            Killed::Already(_) if kill == Kill::Disable => {}
            Killed::Already(_) | Killed::EnabledAgain => {
                return Err(EngineError::Refused("the key is still there".to_owned()));
            }
            Killed::Refused(refusal) => {
                if let Some(alert) = self.refusal_alert(&refusal) {
                    self.commit(&[Change::Alert(alert)]).await?;
                }
                return Err(refusal.into());
            }
            Killed::Later(failure) => {
                return Err(EngineError::outside(format!("the key could not be {}d", kill.word()), failure));
            }
        }
        if kill == Kill::Delete
            && let Some(row) = self.stored_key(hash).await?
        {
            self.commit(&[Change::Bury { id: row.id }]).await?;
        }
        Ok(())
    }

    /// R15: a generation changes only through its rotation.
    async fn not_a_generation(&self, hash: &str) -> Result<(), EngineError> {
        match self.stored_key(hash).await?.and_then(|key| key.rotation) {
            Some(rotation) => Err(EngineError::Refused(format!(
                "refused: this key is a generation of rotation {rotation}: it changes only through its rotation"
            ))),
            None => Ok(()),
        }
    }

    /// The account as it is now.
    pub async fn account_keys(&mut self) -> Result<Vec<RemoteKey>, EngineError> {
        self.list()
            .await?
            .map_err(|failure| EngineError::outside("the account could not be listed", failure))?;
        Ok(self.listing.as_ref().map(|listing| listing.keys.clone()).unwrap_or_default())
    }

    /// Credits of the account.
    pub async fn account_credits(&mut self) -> Result<crate::provider::Credits, EngineError> {
        let deadline = self.deadline().await?;
        let called = self.account.issuer.credits(deadline).await;
        self.noting(called).map_err(|failure| EngineError::outside("the credits could not be read", failure))
    }

    /// Issues a key that belongs to no rotation, and stores it. Journalled like any other create.
    pub async fn create_by_hand(&mut self, limit: Option<MicroUsd>) -> Result<KeyRow, EngineError> {
        self.list()
            .await?
            .map_err(|failure| EngineError::outside("the account could not be listed", failure))?;
        self.not_frozen().await?;
        let name = format!("{}manual/{}", self.prefix(), self.engine.clock().nonce());
        let spec = KeySpec { limit, workspace: self.account.workspace.clone(), ..KeySpec::default() };
        let effect = NewEffect {
            id: new_id(),
            run: None,
            account: self.identity.clone(),
            kind: EffectKind::Create,
            target: name.clone(),
        };
        let deadline = self.deadline().await?;
        let entry = self.engine.entry("key.create", format!("account {}", self.account.name), name.clone());
        self.commit(&[Change::Intend(effect.clone()), Change::Audit(entry)]).await?;
        let called = self.account.issuer.create(&name, &spec, deadline).await;
        match self.noting(called) {
            Ok(issued) => self.store_by_hand(&effect.id, &name, issued).await,
            Err(failure) => {
                let unclear = failure.kind == FailureKind::Unclear;
                let status = if unclear { EffectStatus::Unknown } else { EffectStatus::Failed };
                let evidence = json!({ "status": failure.status, "answer": failure.message });
                self.commit(&[Change::Settle { id: effect.id, status, evidence }]).await?;
                let what = "the provider did not issue a key; if one surfaces it is removed as a stray";
                Err(EngineError::outside(what, failure))
            }
        }
    }

    async fn store_by_hand(
        &self,
        effect: &str,
        name: &str,
        issued: crate::provider::IssuedKey,
    ) -> Result<KeyRow, EngineError> {
        let row = self.issued_row(name, &issued);
        let id = row.id.clone();
        let evidence = json!({ "hash": issued.remote.hash, "key": row.mask });
        self.commit(&[
            Change::NewKey { provider: self.provider_row(), key: Box::new(row) },
            Change::Settle { id: effect.to_owned(), status: EffectStatus::Done, evidence },
        ])
        .await?;
        let row = self.engine.parts.store.key(&id).await?;
        row.ok_or_else(|| EngineError::Refused("the new key vanished from the store".to_owned()))
    }

    /// Enables a key that rekeyd created, because a person says so.
    pub async fn enable_by_hand(&mut self, hash: &str) -> Result<(), EngineError> {
        self.not_a_generation(hash).await?;
        self.journalled(EffectKind::Enable, hash, None).await
    }

    /// Sets or clears the spending limit of a key that rekeyd created.
    pub async fn limit_by_hand(&mut self, hash: &str, limit: Option<MicroUsd>) -> Result<(), EngineError> {
        self.not_a_generation(hash).await?;
        self.journalled(EffectKind::Limit, hash, limit).await
    }

    async fn journalled(
        &mut self,
        kind: EffectKind,
        hash: &str,
        limit: Option<MicroUsd>,
    ) -> Result<(), EngineError> {
        let ours = self.stored_key(hash).await?.is_some_and(|row| row.origin != Origin::Given);
        if !ours {
            return Err(crate::domain::guard::Refusal::NotOurs.into());
        }
        let effect = NewEffect {
            id: new_id(),
            run: None,
            account: self.identity.clone(),
            kind,
            target: hash.to_owned(),
        };
        let deadline = self.deadline().await?;
        let entry = self.engine.entry(
            format!("key.{}", kind.word()),
            format!("account {}", self.account.name),
            "by hand",
        );
        self.commit(&[Change::Intend(effect.clone()), Change::Audit(entry)]).await?;
        let called = match kind {
            EffectKind::Limit => self.account.issuer.set_limit(hash, limit, deadline).await,
            _ => self.account.issuer.set_disabled(hash, false, deadline).await,
        };
        let answered = self.noting(called);
        let status = match &answered {
            Ok(Some(_)) => EffectStatus::Done,
            Err(failure) if failure.kind == FailureKind::Unclear => EffectStatus::Unknown,
            Ok(None) | Err(_) => EffectStatus::Failed,
        };
        self.commit(&[Change::Settle { id: effect.id, status, evidence: json!({}) }]).await?;
        match answered {
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                Err(EngineError::Usage { text: "the provider has no such key".to_owned(), hint: None })
            }
            Err(failure) => Err(EngineError::outside(format!("{} failed", kind.word()), failure)),
        }
    }
}
