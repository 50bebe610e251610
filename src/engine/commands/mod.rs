//! What a person asks for, and what is shown: the service layer of the command line.
//!
//! ```text
//! add_key · update_key · put_key   a key that a person gives us to keep, and what changes of it · given · kept  what
//!                        all of them ask first · try_key  what its provider says of one now
//! import · hand_out      many keys at once; one for whoever needs it · paste  many keys between their preview and their import
//! selected               keys picked from a list, each for itself · suggest  what could be tidied up
//! by_hand                keys at the provider · providers  names of your own, and the end of one with all its keys
//! at_account             all that needs an account for itself, from the wait for it to the end
//! adopt · plan · thaw    a key that exists; every call before it is made; an account that froze
//! gauges · feed          what the store says for /metrics; what changes, for who waits for it
//! lists                  every list in pages, and how it may be asked for
//! destinations · mirror  ask a destination, publish to it, fill its tables
//! alerts                 acknowledge, prove the way to every recipient
//! runs                   follow a run, and ask something of it
//! people/                who calls and what they may: users, sessions, tokens, limits, the audit trail
//! database · encryption  the schema, a backup; another key for all that is sealed
//! repeats                the same answer to who asks the same again
//! status · examine       what the daemon says of itself; all that rekeyd depends on, asked once
//! view/                  what is shown: one serialisable type for each `--json`
//! start_run, step, check_keys, …   what the daemon does by itself, done by hand: the same functions
//! ```

mod add_key;
mod adopt;
mod alerts;
mod at_account;
mod by_hand;
mod database;
mod destinations;
mod encryption;
mod examine;
mod feed;
mod gauges;
mod given;
mod hand_out;
mod import;
mod kept;
mod lists;
mod mirror;
mod paste;
mod people;
mod plan;
mod providers;
mod put_key;
pub mod repeats;
mod runs;
mod selected;
mod status;
mod suggest;
mod thaw;
mod try_key;
mod update_key;
mod view;

pub use super::passes::{CheckReport, KeyReport, Scope, Which, Why, check_keys};
pub use super::run::start::{Start, start_emergency, start_run};
pub use super::run::step::{Progress, Report, step};
pub use super::session::keys::rotation_of_destination;
pub use super::session::provisioning::account_credits;
pub use super::session::{Opened, Session, open_session, wait_for_session};
pub use crate::domain::hand_out::Strategy;
pub use crate::domain::paste::Said;
pub use crate::store::{About, AuditFilter, KeySort, PLACEHOLDER, Pause};
pub use add_key::{AddKey, Added, add_key};
pub use adopt::{Adoption, adopt};
pub use alerts::{acknowledge, notice_backlog, tell_pass, test_email};
pub use at_account::{
    Handling, Leaked, account_now, adopt_into, ask_of, create_at, handle_at, keys_at, plan_of, publish_now,
    roll_back, rotate, run_to_roll_back, thaw_account,
};
pub use by_hand::{
    account_keys, create_by_hand, delete_key, delete_key_by_id, enable_by_hand, kill_by_hand, limit_by_hand,
    pause,
};
pub use database::{backup, can_back_up, database_view, migrate};
pub use destinations::{
    all_destinations, any_destination, check_destination, destination_views, migrate_destination,
    publish_by_hand, publish_copy_by_hand,
};
pub use encryption::{Proof, prove_secrets, reencrypt};
pub use examine::examine;
pub use feed::{Changed, Feed, missed};
pub use gauges::gauges;
pub use given::provider_names;
pub use hand_out::{Ask, HandedOut, hand_out};
pub use import::{Fate, Import, Imported, decrypted, import, read_pasted};
pub use kept::{numbered, testable};
pub use lists::{
    ACCOUNT_KEYS, ACCOUNTS, ALERTS, AUDIT, DESTINATIONS, HISTORY, KEYS, ROTATIONS, RUNS, SESSIONS, TOKENS,
    USERS, account_page, alert_page, audit_list, destination_page, key_history, key_page, rotation_page,
    run_page, session_page, token_page, user_page,
};
pub use mirror::{mirror_by_hand, mirrors};
pub use paste::{Pasting, import_paste, keep_paste, preview_paste, take_paste};
pub use people::{
    ChangeUser, Identity, LoggedIn, MakeToken, Way, acceptable_password, add_user, allow, audit_page,
    by_session, by_token, change_own_password, change_user, create_token, end_session, find_user, has_users,
    log_in, note_refusal, revoke_token, session_views, token_views, user_view, user_views,
};
pub use plan::plan;
pub use providers::{AddProvider, add_provider, delete_provider, removable};
pub use put_key::{Put, PutKey, put_key};
pub use runs::{
    RunStatus, account_of_run, answer, answered_soon, ask, frozen_under, is_served, open_run_of, run_status,
};
pub use selected::{Deed, do_to_each, key_with_id, may_go};
pub use status::{Status, prove_writable, status};
pub use suggest::{SuggestionView, SuggestionsView, suggest};
pub use thaw::thaw;
pub use try_key::{try_given, try_stored};
pub use update_key::{Expiry, UpdateKey, Updated, update_key, update_key_by_id};
pub use view::*;
