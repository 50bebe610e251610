//! Who calls, and what they may.
//!
//! - `caller`: who shows this token, whose session this is
//! - `login`: a person's password against a session, and its end
//! - `users`: people: added, changed, disabled
//! - `sessions`, `tokens`: who is logged in, and what programs show
//! - `passwords`: what is a password, and how many are looked at at once
//! - `seals`: rows that rekeyd did not write are not believed
//! - `limits`: what is asked for too often
//! - `audit`: the trail of all this, and what was refused

mod audit;
mod caller;
mod limits;
mod login;
mod passwords;
mod seals;
mod sessions;
mod tokens;
mod users;

pub use audit::{audit_page, note_refusal};
pub use caller::{Identity, Way, by_session, by_token};
pub use limits::allow;
pub use login::{LoggedIn, log_in};
pub use passwords::acceptable as acceptable_password;
pub use sessions::{end_session, session_views};
pub use tokens::{MakeToken, create_token, revoke_token, token_views};
pub use users::{
    ChangeUser, add_user, change_own_password, change_user, find_user, has_users, user_view, user_views,
};
