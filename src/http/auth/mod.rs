//! Who calls: found out once a request, before its handler runs.
//!
//! - `caller`: by the token or the cookie of a request
//! - `csrf`: whether a browser sends it for the page that it claims
//! - `origin`: from which address it really comes

mod caller;
mod csrf;
mod origin;

pub use caller::Caller;
pub(super) use csrf::believe_stranger;
pub(super) use origin::origin;
