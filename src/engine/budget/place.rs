//! A destination whose calls are counted.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::Meter;
use crate::destination::{
    Delivery, Destination, Extent, Ledger, LedgerEntry, Look, PlannedCall, Remark, Rollout, Survey,
};
use crate::domain::outcome::Failure;
use crate::domain::secret::Secret;
use crate::domain::time::Span;
use crate::net::Deadline;

/// See [`super`].
pub(super) struct CountedPlace {
    pub(super) inner: Arc<dyn Destination>,
    pub(super) meter: Arc<Meter>,
}

impl CountedPlace {
    fn own_rollout(&self) -> &dyn Rollout {
        self.inner.rollout().expect("shown only where the kind has one")
    }

    fn own_ledger(&self) -> &dyn Ledger {
        self.inner.ledger().expect("shown only where the kind has one")
    }
}

#[async_trait]
impl Destination for CountedPlace {
    fn address(&self) -> String {
        self.inner.address()
    }

    fn former_address(&self) -> Option<String> {
        self.inner.former_address()
    }

    fn extent(&self) -> Extent {
        self.inner.extent()
    }

    async fn preflight(&self, deadline: Deadline) -> Result<Vec<Remark>, Failure> {
        self.meter.ask()?;
        self.inner.preflight(deadline).await
    }

    async fn publish(&self, delivery: &Delivery, deadline: Deadline) -> Result<Value, Failure> {
        self.meter.ask()?;
        self.inner.publish(delivery, deadline).await
    }

    async fn look(&self, delivery: &Delivery, evidence: &Value, deadline: Deadline) -> Result<Look, Failure> {
        self.meter.ask()?;
        self.inner.look(delivery, evidence, deadline).await
    }

    async fn held(&self, deadline: Deadline) -> Result<Option<Secret>, Failure> {
        self.meter.ask()?;
        self.inner.held(deadline).await
    }

    fn plan(&self) -> Vec<PlannedCall> {
        self.inner.plan()
    }

    async fn survey(&self, deadline: Deadline) -> Result<Survey, Failure> {
        self.meter.ask()?;
        self.inner.survey(deadline).await
    }

    fn patience(&self) -> Option<Span> {
        self.inner.patience()
    }

    fn rollout(&self) -> Option<&dyn Rollout> {
        self.inner.rollout().map(|_| self as &dyn Rollout)
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        self.inner.ledger().map(|_| self as &dyn Ledger)
    }
}

#[async_trait]
impl Rollout for CountedPlace {
    fn required(&self) -> bool {
        self.own_rollout().required()
    }

    fn due(&self, evidence: &Value) -> bool {
        self.own_rollout().due(evidence)
    }

    async fn start(
        &self,
        delivery: &Delivery,
        evidence: &Value,
        deadline: Deadline,
    ) -> Result<Value, Failure> {
        self.meter.ask()?;
        self.own_rollout().start(delivery, evidence, deadline).await
    }

    fn given_up(&self, evidence: Value) -> Value {
        self.own_rollout().given_up(evidence)
    }
}

/// A look at the whole table, or the writes of its rows that such a look finds to be made, is one call.
#[async_trait]
impl Ledger for CountedPlace {
    async fn migrate(&self, deadline: Deadline) -> Result<Vec<String>, Failure> {
        self.meter.ask()?;
        self.own_ledger().migrate(deadline).await
    }

    fn mirrors(&self) -> Option<&str> {
        self.own_ledger().mirrors()
    }

    fn table(&self) -> String {
        self.own_ledger().table()
    }

    fn own_number(&self) -> i64 {
        self.own_ledger().own_number()
    }

    async fn entries(&self, deadline: Deadline) -> Result<Vec<LedgerEntry>, Failure> {
        self.meter.ask()?;
        self.own_ledger().entries(deadline).await
    }

    async fn put(&self, entry: &LedgerEntry, deadline: Deadline) -> Result<(), Failure> {
        self.own_ledger().put(entry, deadline).await
    }
}
