//! What people and programs are shown: one serialisable type for each `--json`, and how it is made. The command line
//! prints these, as JSON or by a table whose cells read the same fields. Shapes: interface.md §2; rows of the store
//! are never shown themselves.
//!
//! ```text
//! rotation · run · why · plan   rotations and their runs · waits   what they wait for, in the same words
//! way_out                       what would become of a run that a person ends
//! key · provider · account      stored keys, whose they are; accounts and their keys at the provider
//! key_page · provider_card      a key with what breaks when it dies; how many keys are in which state
//! import · credential           what was pasted; what is handed out
//! destination · alert           where keys go; what people are told
//! now · glance                  does production work; a rotation in three answers
//! people · audit                who may log in, and by which token; who did what
//! system · finding              what the program says of itself; what stands of all that it depends on
//! database                      where the schema stands, what was sealed anew
//! ```

mod account;
mod alert;
mod audit;
mod credential;
mod database;
mod destination;
mod finding;
mod glance;
mod history;
mod import;
mod key;
mod key_page;
mod now;
mod people;
mod plan;
mod provider;
mod provider_card;
mod rotation;
mod run;
mod system;
mod waits;
mod way_out;
mod why;

pub use account::{
    AccountView, HandledKeyView, IssuedKeyView, ListedAccountView, RemoteKeyView, ThawedView, account_view,
    account_views, issued_key_view, remote_key_views, thawed_view,
};
pub use alert::{
    AdviceView, AlertDetailView, AlertView, OutboxView, TrialView, alert_detail, alert_view, alert_views,
    outbox_views,
};
pub use audit::AuditView;
pub(super) use audit::audit_view;
pub use credential::{CredentialView, Exposed, credential_view};
pub use database::{BackupView, DatabaseView, ReencryptedView, SchemaView};
pub(super) use destination::destination_view;
pub use destination::{CheckedView, DestinationView, PublishedView};
pub use finding::{FindingView, Health};
pub use glance::{Glance, glance};
pub use history::{HistoryView, LookView, PeriodView, ShownKeyView, history_view, shown_key_view};
pub use import::{ImportView, ImportedView, imported_views};
pub use key::{
    DeletedKeyView, FoundKeysView, KeyListView, KeyQuery, KeyTestView, KeyTriedView, KeyView, StoredKeyView,
    TestedKeyView, find_keys, key_test_view, key_view, tested_key_view,
};
pub use key_page::{DayView, KeyPageView, UndoneView, key_page_view};
pub use now::{NowView, Step, now_view};
pub use people::{
    CreatedTokenView, SessionListView, SessionView, TokenListView, TokenView, UserListView, UserView,
};
pub use plan::{PlanView, PlannedStep};
pub use provider::{
    DeletedProviderView, ProviderView, ProvidersView, deleted_provider_view, provider_view, provider_views,
};
pub use provider_card::{ProviderCardView, provider_card, provider_cards};
pub use rotation::{
    AdoptedView, GenerationView, LastRunView, PausedView, PreviousView, RotationView, TargetView,
    adopted_view, rotation_view, rotation_views,
};
pub use run::{EffectView, ListedRunView, RunView, listed_run_view, run_view, run_views};
pub use system::{OutboxStateView, ReplicaView, SystemView, system_view};
pub use waits::{MomentView, WaitView, WaitsView};
pub use way_out::{WayOutView, way_out_view};
pub use why::{WhyView, why};
