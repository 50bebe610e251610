//! What the store says for `/metrics`, at the moment of the scrape.

use super::view::{account_views, rotation_views};
use crate::domain::time::Timestamp;
use crate::engine::{Engine, EngineError};
use crate::meter::{self, Metric, Sample};
use crate::store::Gauges;

/// Samples so far.
#[derive(Default)]
struct Samples(Vec<Sample>);

impl Samples {
    fn add<const N: usize>(&mut self, metric: &'static Metric, labels: [&str; N], value: f64) {
        self.0.push(Sample { metric, labels: labels.map(str::to_owned).to_vec(), value });
    }

    fn counts(&mut self, metric: &'static Metric, counts: &[([String; 2], i64)]) {
        for ([one, other], count) in counts {
            self.add(metric, [one, other], number(*count));
        }
    }
}

/// All gauges, and the counters that the store keeps.
pub async fn gauges(engine: &Engine) -> Result<Vec<Sample>, EngineError> {
    let counted = engine.store().gauges().await?;
    let mut samples = Samples::default();
    samples.counts(&meter::KEYS, &counted.keys);
    samples.counts(&meter::ROTATION_RUNS, &counted.runs);
    samples.counts(&meter::EFFECTS, &counted.effects);
    samples.counts(&meter::ALERTS_OPEN, &counted.alerts);
    samples.add(&meter::EFFECTS_UNKNOWN, [], number(engine.store().unknown_effects().await?));
    samples.add(&meter::BUILD_INFO, [env!("CARGO_PKG_VERSION")], 1.0);
    of_rotations(engine, &counted, &mut samples).await?;
    of_accounts(engine, &counted, &mut samples).await?;
    let backlog = engine.store().backlog().await?;
    samples.add(&meter::NOTICES_PENDING, [], number(backlog.pending));
    if let Some(oldest) = backlog.oldest {
        samples.add(&meter::NOTICE_OLDEST, [], seconds(oldest));
    }
    Ok(samples.0)
}

async fn of_rotations(engine: &Engine, counted: &Gauges, samples: &mut Samples) -> Result<(), EngineError> {
    for (rotation, at) in engine.store().issued().await? {
        samples.add(&meter::KEY_ISSUED, [&rotation], seconds(at));
    }
    for (rotation, at) in &counted.last_success {
        samples.add(&meter::ROTATION_LAST_SUCCESS, [rotation], seconds(*at));
    }
    for row in engine.store().rotations().await? {
        if let Some(due) = row.next_due_at.filter(|_| engine.rotation(&row.name).is_ok()) {
            samples.add(&meter::ROTATION_DUE, [&row.name], seconds(due));
        }
    }
    for open in engine.store().open_runs().await? {
        samples.add(&meter::RUN_STATE, [&open.run.rotation, open.run.state.word()], 1.0);
    }
    for view in rotation_views(engine).await? {
        let current = view.current.as_ref().and_then(|key| key.generation);
        for target in &view.destinations {
            let Some(held) = target.generation else { continue };
            samples.add(&meter::DESTINATION_GENERATION, [&target.name], number(held));
            samples.add(
                &meter::DESTINATION_LAG,
                [&target.name],
                number((current.unwrap_or(held) - held).max(0)),
            );
        }
    }
    Ok(())
}

async fn of_accounts(engine: &Engine, counted: &Gauges, samples: &mut Samples) -> Result<(), EngineError> {
    for view in account_views(engine).await? {
        samples.add(&meter::FROZEN, [&view.name], f64::from(u8::from(view.frozen.is_some())));
        let Some(identity) = view.identity else { continue };
        let usable = counted.usable_keys.iter().find(|(account, _)| *account == identity);
        samples.add(&meter::USABLE_KEYS, [&view.name], number(usable.map_or(0, |(_, count)| *count)));
    }
    Ok(())
}

fn number(count: i64) -> f64 {
    meter::as_number(u64::try_from(count).unwrap_or_default())
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
fn seconds(at: Timestamp) -> f64 {
    at.0 as f64 / 1000.0
}
