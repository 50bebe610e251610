//! Budgets that were exceeded (rotation.md, R16): told once, and once more when that is over. Whoever works on an account
//! tells of it with the next commit; here is told what was exceeded without one, and the end.

use serde_json::json;

use crate::domain::alert::Kind;
use crate::domain::time::{Span, Timestamp};
use crate::engine::{Engine, EngineError, budget};

/// A budget that nobody exceeded for so long is kept again. Several processes share an alert: each notes every minute
/// that it still exceeds.
const QUIET: Span = Span::minutes(10);

/// One look at all budgets of this process, and at the alerts of all.
pub async fn tell_budgets(engine: &Engine) -> Result<(), EngineError> {
    let store = engine.store();
    for news in engine.budgets.news() {
        let alert = &news.alert;
        let entry = engine.entry("budget.exceeded", &alert.subject, &alert.detail);
        store.note(&budget::memory(&alert.subject), &json!(Some(store.now().await?))).await?;
        store.raise(alert, &entry).await?;
        news.told();
    }
    for subject in store.open_subjects(Kind::CallBudget).await? {
        let at: Option<Timestamp> = store.memory_or_anew(&budget::memory(&subject)).await?;
        let now = store.now().await?;
        if at.is_none_or(|at| at.is_future(now) || now.since(at) >= QUIET) {
            let entry = engine.entry("budget.kept", &subject, "");
            store.resolve(Kind::CallBudget, &subject, &entry).await?;
        }
    }
    Ok(())
}
