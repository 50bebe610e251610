//! Nothing gets out: one alert, and while it is open no provider is said to be away.

use crate::domain::alert::{Kind, NewAlert, Subject};
use crate::domain::time::Span;
use crate::domain::verdict::egress;
use crate::engine::{Engine, EngineError};
use crate::store::{Change, Lease};

/// Opens and resolves the alert.
pub(crate) async fn tell(engine: &Engine, lease: &Lease) -> Result<(), EngineError> {
    let (store, kind) = (&engine.parts.store, Kind::NoEgress);
    let since = |span: Span| engine.clock().now().plus(Span(-span.0));
    let looks = store.looks_since(since(egress::WINDOW)).await?;
    let change = if is_open(engine).await? {
        // What would open it at once does not let it end.
        let lately = store.looks_since(since(egress::RECOVERY)).await?;
        let is_over = egress::is_back(&lately) && !egress::is_cut_off(&looks);
        is_over.then_some(Change::Resolve { kind, subject: Subject::Egress })
    } else {
        egress::is_cut_off(&looks).then(|| {
            let silent: Vec<&str> =
                looks.iter().filter(|one| one.silent > 0).map(|one| one.provider.as_str()).collect();
            Change::Alert(NewAlert::new(kind, Subject::Egress, text(&silent)))
        })
    };
    match change {
        Some(change) => Ok(store.commit(lease, &[change]).await?),
        None => Ok(()),
    }
}

/// True while people are told that nothing gets out.
pub(crate) async fn is_open(engine: &Engine) -> Result<bool, EngineError> {
    Ok(engine.parts.store.open_subjects(Kind::NoEgress).await?.contains(&Subject::Egress))
}

fn text(silent: &[&str]) -> String {
    format!(
        "Tests of keys of {} providers get no answer ({}): that is this machine's way out, not the providers.",
        silent.len(),
        silent.join(", ")
    )
}
