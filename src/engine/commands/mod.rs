//! What a person asks for, and what is shown: the service layer of the command line.
//!
//! ```text
//! add_key · by_hand      keys in the store, keys at the provider
//! adopt · plan · thaw    a key that exists; every call before it is made; an account that froze
//! destinations · mirror  ask a destination, publish to it, fill its tables
//! alerts                 acknowledge, prove the way to every recipient
//! status · view          what the daemon says of itself; what is shown of rotations and runs
//! start_run, step, check_keys, …   what the daemon does by itself, done by hand: the same functions
//! ```

mod add_key;
mod adopt;
mod alerts;
mod by_hand;
mod destinations;
mod mirror;
mod plan;
mod status;
mod thaw;
mod view;

pub use super::passes::{CheckReport, KeyReport, Scope, Which, Why, check_keys};
pub use super::run::start::{Start, start_emergency, start_run};
pub use super::run::step::{Progress, Report, step};
pub use super::session::keys::rotation_of_place;
pub use super::session::provisioning::account_credits;
pub use super::session::{Opened, Session, open_session, wait_for_session};
pub use add_key::{AddKey, Added, add_key, provider_of};
pub use adopt::{Adoption, adopt};
pub use alerts::{Trial, acknowledge, notice_backlog, test_email};
pub use by_hand::{
    account_keys, ask, create_by_hand, delete_key, enable_by_hand, kill_by_hand, limit_by_hand, numbered,
    pause, reseal,
};
pub use destinations::{
    Checked, all_places, any_place, check_place, migrate_place, publish_by_hand, publish_copy_by_hand,
};
pub use mirror::{mirror_by_hand, mirrors};
pub use plan::plan;
pub use status::{Outlook, outlook, prove_writable};
pub use thaw::thaw;
pub use view::{PlanView, RotationView, RunView, WhyView, freeze_of, rotation_view, run_view, why};
