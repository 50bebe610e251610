//! Where leaked keys are reported: a scanner that looks for secrets in places that strangers read.
//!
//! No destination, but a neighbour of one: GitHub's scanner is asked with the client of GitHub's destination.

use async_trait::async_trait;

use crate::domain::outcome::Failure;
use crate::domain::secret::Secret;
use crate::domain::time::Span;

/// A secret that a scanner found and that nobody has dealt with yet.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Its number at the scanner.
    pub number: u64,
    /// What was found. Most of them are none of our business: it is compared and forgotten.
    pub secret: Secret,
}

/// A scanner of one place.
#[async_trait]
pub trait LeakSource: Send + Sync {
    /// Where it looks: `acme/app`.
    fn place(&self) -> String;

    /// Everything that nobody has dealt with yet. `patience`: the deadline of each of its calls.
    async fn open(&self, patience: Span) -> Result<Vec<Finding>, Failure>;

    /// Says that a found secret was revoked. A put: repeating it is harmless. The comment holds no secret.
    async fn resolve(&self, number: u64, comment: &str, patience: Span) -> Result<(), Failure>;
}
