//! Measures the tester of stored keys: how fast it looks, what it costs when nothing is due, and how soon a dead production
//! key is replaced beside thousands of slow ones. The program is the optimised one, its vendors are the simulators of
//! `src/sim` in this process, its stores are made for it. `tests/run.sh bench` runs all of it, with a PostgreSQL server for
//! the replicas:
//!
//! ```text
//! tests/run.sh bench [SCENE…] [small]    due, idle, claim, dead, replicas; small: a tenth of the keys
//! ```
//!
//! Each line is one figure and what it must reach; the exit status is 1 when one does not. Nothing else should run meanwhile.

mod scenes;
mod seed;
mod stage;

use std::process::ExitCode;

use scenes::Scale;

/// What was measured, in one unit, and what it must not exceed.
pub struct Figure {
    what: String,
    measured: f64,
    most: f64,
    unit: &'static str,
}

impl Figure {
    fn new(what: impl Into<String>, measured: f64, most: f64, unit: &'static str) -> Self {
        Self { what: what.into(), measured, most, unit }
    }

    fn is_reached(&self) -> bool {
        self.measured <= self.most
    }

    fn tell(&self) {
        let verdict = if self.is_reached() { "" } else { "   MISSED" };
        println!("{:<58} {:>9.2} of {:>8.2} {}{verdict}", self.what, self.measured, self.most, self.unit);
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let Some(unknown) = words.iter().find(|word| *word != "small" && !scenes::ALL.contains(&word.as_str()))
    {
        eprintln!("unknown scene {unknown}: {}, and small", scenes::ALL.join(", "));
        return ExitCode::from(2);
    }
    let scale = if words.iter().any(|word| word == "small") { Scale(10) } else { Scale(1) };
    let wanted =
        |scene: &str| words.iter().all(|word| word == "small") || words.iter().any(|word| word == scene);
    let mut all = true;
    for scene in scenes::ALL.into_iter().filter(|scene| wanted(scene)) {
        match scenes::play(scene, scale).await {
            Ok(figures) => {
                figures.iter().for_each(Figure::tell);
                all &= figures.iter().all(Figure::is_reached);
            }
            Err(error) => {
                eprintln!("{scene}: {error:#}");
                all = false;
            }
        }
    }
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
