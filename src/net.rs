//! The one HTTP client: deadlines, no redirects with credentials, a body cap, `Retry-After`, the vendor's
//! clock. It never retries: whether a call may be repeated is the engine's decision (R3).

use tokio::time::Instant;

/// The instant by which a call must be over. A request is not written after it (R4).
#[derive(Debug, Clone, Copy)]
pub struct Deadline(pub Instant);
