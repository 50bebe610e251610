//! What a test of a key changes, and says.
//!
//! ```text
//! endpoint  where a key is tested, and whether the accounts are to be watched
//! alerts    what a test tells people · record   the one place that records a test
//! probing   many tests at once, each in its lane
//! ```

pub(crate) mod alerts;
pub(crate) mod endpoint;
pub(crate) mod probing;
pub(crate) mod record;
