//! An account whose calls are counted.

use std::sync::Arc;

use async_trait::async_trait;

use super::Meter;
use crate::domain::inherit::AllowList;
use crate::domain::key::{CurrentKey, KeySpec, MicroUsd, RemoteKey};
use crate::domain::outcome::{Called, Failure};
use crate::domain::secret::Secret;
use crate::net::Deadline;
use crate::provider::{Assignment, Credential, Credits, Cursor, IssuedKey, Issuer, Page, RollKeeper, Rows};

/// See [`super`].
pub(super) struct CountedIssuer {
    pub(super) inner: Arc<dyn Issuer>,
    pub(super) meter: Arc<Meter>,
}

#[async_trait]
impl Issuer for CountedIssuer {
    async fn whoami(&self, key: &Secret, deadline: Deadline) -> Called<CurrentKey> {
        self.meter.ask()?;
        self.inner.whoami(key, deadline).await
    }

    async fn whoami_provisioning(&self, deadline: Deadline) -> Called<CurrentKey> {
        self.meter.ask_who()?;
        self.inner.whoami_provisioning(deadline).await
    }

    fn identity_of(&self, key: &Secret) -> Option<String> {
        self.inner.identity_of(key)
    }

    fn provisioning_hash(&self) -> String {
        self.inner.provisioning_hash()
    }

    fn can_disable(&self) -> bool {
        self.inner.can_disable()
    }

    async fn list(&self, at: Option<&Cursor>, deadline: Deadline) -> Called<Page> {
        self.look(at)?;
        self.inner.list(at, deadline).await
    }

    async fn read(&self, hash: &str, deadline: Deadline) -> Called<Option<RemoteKey>> {
        self.meter.ask()?;
        self.inner.read(hash, deadline).await
    }

    async fn create(&self, name: &str, spec: &KeySpec, deadline: Deadline) -> Called<IssuedKey> {
        self.meter.ask()?;
        self.inner.create(name, spec, deadline).await
    }

    async fn set_disabled(
        &self,
        hash: &str,
        disabled: bool,
        deadline: Deadline,
    ) -> Called<Option<RemoteKey>> {
        self.meter.ask()?;
        self.inner.set_disabled(hash, disabled, deadline).await
    }

    async fn set_limit(
        &self,
        hash: &str,
        limit: Option<MicroUsd>,
        deadline: Deadline,
    ) -> Called<Option<RemoteKey>> {
        self.meter.ask()?;
        self.inner.set_limit(hash, limit, deadline).await
    }

    async fn delete(&self, hash: &str, deadline: Deadline) -> Called<bool> {
        self.meter.ask()?;
        self.inner.delete(hash, deadline).await
    }

    fn rolls(&self) -> Option<&dyn RollKeeper> {
        self.inner.rolls().map(|_| self as &dyn RollKeeper)
    }

    async fn credits(&self, deadline: Deadline) -> Called<Credits> {
        self.meter.ask()?;
        self.inner.credits(deadline).await
    }

    async fn chat(&self, key: &Secret, model: &str, deadline: Deadline) -> Called<()> {
        self.meter.ask()?;
        self.inner.chat(key, model, deadline).await
    }
}

impl CountedIssuer {
    /// A listing is one look, whatever its pages: whoever reads them has a bound of its own for them.
    fn look(&self, at: Option<&Cursor>) -> Result<(), Failure> {
        if at.is_none() { self.meter.ask() } else { Ok(()) }
    }

    /// Asked only of who has it: [`Issuer::rolls`] hands this out.
    fn keeper(&self) -> &dyn RollKeeper {
        self.inner.rolls().expect("the provider has it, since it was handed out")
    }
}

#[async_trait]
impl RollKeeper for CountedIssuer {
    async fn assignments(&self, at: Option<&Cursor>, deadline: Deadline) -> Called<Option<Rows<Assignment>>> {
        self.look(at)?;
        self.keeper().assignments(at, deadline).await
    }

    async fn credentials(&self, at: Option<&Cursor>, deadline: Deadline) -> Called<Option<Rows<Credential>>> {
        self.look(at)?;
        self.keeper().credentials(at, deadline).await
    }

    async fn assign(&self, guardrail: &str, hash: &str, deadline: Deadline) -> Called<()> {
        self.meter.ask()?;
        self.keeper().assign(guardrail, hash, deadline).await
    }

    async fn allow(&self, credential: &str, list: &AllowList, deadline: Deadline) -> Called<()> {
        self.meter.ask()?;
        self.keeper().allow(credential, list, deadline).await
    }
}
