//! The right to work on one account: who it is (R8), the lease (R4), and what an earlier process left open.

use serde_json::json;

use super::survey::Listing;
use super::{Account, Engine, EngineError};
use crate::domain::alert::{Kind, NewAlert};
use crate::domain::key::{CurrentKey, KeyKind};
use crate::domain::outcome::{Called, Failure, FailureKind};
use crate::domain::rotation::facts::RemoteFacts;
use crate::domain::time::{Span, Stamp, Timestamp};
use crate::net::Deadline;
use crate::store::{Change, EffectKind, EffectRow, EffectStatus, Lease};

/// A call must be over this long before the lease ends (R4).
const MARGIN: Span = Span::seconds(2);

/// What came of opening a session.
pub enum Opened<'e> {
    /// Ours.
    Ready(Box<Session<'e>>),
    /// Another process works on this account; look again later.
    Busy,
}

/// Work on one account under its lease. What was looked at in this session is remembered here, never stored.
pub struct Session<'e> {
    pub(crate) engine: &'e Engine,
    pub(crate) account: &'e Account,
    /// R8.
    pub(crate) identity: String,
    pub(crate) lease: Lease,
    granted_at: Span,
    theirs: Option<(Timestamp, Span)>,
    /// The last listing of the account.
    pub(crate) listing: Option<Listing>,
    /// Keys that were read one by one.
    pub(crate) remote: Vec<RemoteFacts>,
    /// Runs that this session has claimed.
    pub(crate) claimed: Vec<String>,
}

impl Engine {
    /// Asks the provider who the account is, then takes its lease.
    ///
    /// # Errors
    /// [`EngineError::Outside`] when the provisioning key is refused or the provider does not answer,
    /// [`EngineError::Refused`] when the key is a regular one.
    pub async fn open_session(&self, account: &str) -> Result<Opened<'_>, EngineError> {
        let account = self.account(account)?;
        let reply = match account.issuer.whoami_provisioning(self.deadline()).await {
            Ok(reply) => reply,
            Err(failure) => {
                if failure.kind == FailureKind::Unauthorized {
                    self.doubt_provisioning(account).await?;
                }
                return Err(explain_provisioning(account, failure));
            }
        };
        let identity = identity_of(account, &reply.value)?;
        let resource = format!("account:{identity}");
        let asked_at = self.clock().monotonic();
        let lease = self.parts.store.acquire(&resource, &self.parts.owner, self.parts.lease).await?;
        let Some(lease) = lease else { return Ok(Opened::Busy) };
        self.parts.store.note_entry(&account.name, &identity).await?;
        let mut session = Session {
            engine: self,
            account,
            identity,
            lease,
            granted_at: asked_at,
            theirs: None,
            listing: None,
            remote: Vec::new(),
            claimed: Vec::new(),
        };
        session.note_date(reply.date);
        session.watch_clocks().await?;
        session.settle_toggles().await?;
        Ok(Opened::Ready(Box::new(session)))
    }

    /// The deadline of a call that needs no lease.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(self.parts.call_timeout.to_std())
    }
}

/// The account behind a provisioning key (R8): organisation or creator, and workspace.
pub(super) fn identity_of(account: &Account, key: &CurrentKey) -> Result<String, EngineError> {
    if key.kind == KeyKind::Regular {
        return Err(EngineError::Refused(format!(
            "refused: the provisioning key of account {} is a regular key: it cannot issue keys",
            account.name
        )));
    }
    let who = key.account().ok_or_else(|| {
        EngineError::outside(
            format!("account {}", account.name),
            Failure::new(FailureKind::Unclear, "the provider does not say whose key this is"),
        )
    })?;
    let workspace = account.workspace.clone().or_else(|| key.workspace_id.clone());
    Ok(match workspace {
        Some(workspace) => format!("{}:{who}/{workspace}", account.provider),
        None => format!("{}:{who}", account.provider),
    })
}

fn explain_provisioning(account: &Account, failure: Failure) -> EngineError {
    let what = format!("the provisioning key of account {}", account.name);
    let failure = match failure.kind {
        FailureKind::Unauthorized => failure.hint(
            "make a new provisioning key in the provider's dashboard and put it where accounts.provisioning_key points",
        ),
        _ => failure,
    };
    EngineError::outside(what, failure)
}

impl Session<'_> {
    /// The present moment on both clocks.
    pub(crate) fn now(&self) -> Stamp {
        let monotonic = self.engine.clock().monotonic();
        let theirs = self.theirs.map(|(date, noted)| date.plus(Span(monotonic.0 - noted.0)));
        Stamp { ours: self.engine.clock().now(), theirs }
    }

    /// Why nothing may be destroyed by what the clocks say (R11).
    pub(crate) fn clocks_differ(&self) -> Option<&'static str> {
        let now = self.now();
        match now.theirs {
            _ if now.clocks_agree() => None,
            Some(_) => Some("our clock and the provider's differ by more than 5 minutes"),
            None => Some("the provider's answers do not tell its time"),
        }
    }

    /// R11: people are told while the clocks differ, whether something is to be destroyed now or is still waited for.
    async fn watch_clocks(&self) -> Result<(), EngineError> {
        let kind = Kind::ClockSkew;
        let differ = self.clocks_differ();
        let alert = self.account_alert(kind, "");
        let told = self.engine.parts.store.open_subjects(kind).await?.contains(&alert.subject);
        match (differ, told) {
            (Some(reason), false) => {
                let detail = format!("Every destructive act waits: {reason}.");
                self.commit(&[Change::Alert(NewAlert { detail, ..alert })]).await
            }
            (None, true) => self.commit(&[Change::Resolve { kind, subject: alert.subject }]).await,
            _ => Ok(()),
        }
    }

    /// Remembers what the provider's clock said. `Date` has whole seconds: on average half a second late.
    pub(crate) fn note_date(&mut self, date: Option<Timestamp>) {
        if let Some(date) = date {
            self.theirs = Some((date, self.engine.clock().monotonic()));
        }
    }

    /// Remembers the provider's clock of an answer, good or bad.
    pub(crate) fn noting<T>(&mut self, called: Called<T>) -> Result<T, Failure> {
        match called {
            Ok(reply) => {
                self.note_date(reply.date);
                Ok(reply.value)
            }
            Err(failure) => {
                self.note_date(failure.date);
                Err(failure)
            }
        }
    }

    /// Makes sure that the lease outlives one call, and gives that call's deadline (R4).
    pub(crate) async fn deadline(&mut self) -> Result<Deadline, EngineError> {
        let needed = Span(self.engine.parts.call_timeout.0 + MARGIN.0);
        if self.lease_left().0 < needed.0.max(self.engine.parts.lease.0 / 2) {
            let asked_at = self.engine.clock().monotonic();
            self.lease = self.engine.parts.store.renew(&self.lease, self.engine.parts.lease).await?;
            self.granted_at = asked_at;
        }
        let safe = Span(self.lease_left().0 - MARGIN.0);
        Ok(Deadline::after(self.engine.parts.call_timeout.min(safe).to_std()))
    }

    /// The deadline of a call that may take longer than an ordinary one: the lease is taken for as long.
    pub(crate) async fn long_deadline(&mut self, patience: Span) -> Result<Deadline, EngineError> {
        let span = Span(patience.0 + MARGIN.0 + 1000).max(self.engine.parts.lease);
        let asked_at = self.engine.clock().monotonic();
        self.lease = self.engine.parts.store.renew(&self.lease, span).await?;
        self.granted_at = asked_at;
        Ok(Deadline::after(patience.to_std()))
    }

    /// Who the account is (R8).
    pub fn identity(&self) -> &str {
        &self.identity
    }

    fn lease_left(&self) -> Span {
        Span(self.granted_at.0 + self.lease.granted.0 - self.engine.clock().monotonic().0)
    }

    /// Commits under the lease.
    pub(crate) async fn commit(&self, changes: &[Change]) -> Result<(), EngineError> {
        Ok(self.engine.parts.store.commit(&self.lease, changes).await?)
    }

    /// Gives the lease back. Dropping a session without this only makes others wait for the lease's end.
    pub async fn close(self) -> Result<(), EngineError> {
        Ok(self.engine.parts.store.release(&self.lease).await?)
    }

    /// Disables, deletes and enables that an earlier process intended and never settled: ask the provider (R5).
    async fn settle_toggles(&mut self) -> Result<(), EngineError> {
        for effect in self.engine.parts.store.open_toggles(&self.identity).await? {
            let deadline = self.deadline().await?;
            let called = self.account.issuer.read(&effect.target, deadline).await;
            let Ok(seen) = self.noting(called) else { return Ok(()) };
            let disabled = seen.as_ref().map(|key| key.disabled);
            let open_for = self.engine.parts.store.now().await?.since(effect.started_at);
            if let Some((status, seen)) = self.settled(&effect, disabled, open_for) {
                let evidence = json!({ "settled_by": "looking", "seen": seen });
                self.commit(&[Change::Settle { id: effect.id, status, evidence }]).await?;
            }
        }
        Ok(())
    }

    /// What a look says about an unsettled toggle; `None` while it may still land. Once it cannot land any more it
    /// did not happen, whatever its run wants: an open intent would hold back every kill of the account. A run that
    /// still wants it commits another.
    fn settled(
        &self,
        effect: &EffectRow,
        disabled: Option<bool>,
        open_for: Span,
    ) -> Option<(EffectStatus, &'static str)> {
        let late = open_for.0 < self.engine.parts.lease.0 + self.engine.parts.call_timeout.0;
        match (effect.kind, disabled) {
            (EffectKind::Delete, None) => Some((EffectStatus::Done, "gone")),
            (EffectKind::Disable, Some(true)) => Some((EffectStatus::Done, "disabled")),
            (EffectKind::Enable, Some(false)) => Some((EffectStatus::Done, "enabled")),
            (_, None) => Some((EffectStatus::Failed, "gone")),
            _ => (!late).then_some((EffectStatus::Failed, "not done")),
        }
    }

    /// A subject line and routes for an alert about this account.
    pub(crate) fn account_alert(&self, kind: Kind, detail: impl Into<String>) -> NewAlert {
        let mut alert = NewAlert::new(kind, format!("account {}", self.account.name), detail);
        alert.account = Some(self.account.name.clone());
        alert
    }
}
