//! Who calls, and what they may.
//!
//! - `caller`: who shows this token, whose session this is
//! - `tokens`: tokens of programs

mod caller;
mod tokens;

pub use caller::{Identity, Way, by_session, by_token};
pub use tokens::{MakeToken, create_token, revoke_token, token_views};
