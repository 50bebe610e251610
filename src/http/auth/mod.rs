//! Who calls: found out once a request, before its handler runs.
//!
//! - `caller`: by the token or the cookie of a request
//! - `cookie`: how a browser keeps its session
//! - `csrf`: whether a browser sends it for the page that it claims
//! - `origin`: from which address it really comes

mod caller;
mod cookie;
mod csrf;
mod origin;

pub use caller::Caller;
pub(super) use caller::{bearer, identity};
pub(super) use cookie::{cleared, session_cookie, set};
pub(super) use csrf::{believe_stranger, csrf_token};
pub use origin::Origin;
pub(super) use origin::origin;
