//! What a test of a key changes, and says.
//!
//! ```text
//! endpoint  which keys are tested, where, and whether a pass is due
//! alerts    what a test tells people · record   the one place that records a test
//! probing   many tests at once, each provider at its own pace
//! ```

pub(crate) mod alerts;
pub(crate) mod endpoint;
pub(crate) mod probing;
pub(crate) mod record;
