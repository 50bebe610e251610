//! People: added, changed, disabled. Whatever changes of a person ends their sessions.

use serde_json::{Value, json};

use super::limits::allow;
use super::passwords::{Turn, hashed};
use super::seals;
use crate::domain::limit::Limit;
use crate::domain::role::Role;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::engine::commands::view::UserView;
use crate::engine::{Engine, EngineError};
use crate::notify;
use crate::store::{NewUser, UserChange, UserRow, new_id};

/// What changes of a person; `None` stays.
#[derive(Debug, Clone, Default)]
pub struct ChangeUser {
    /// What they may.
    pub role: Option<Role>,
    /// Their password.
    pub password: Option<Secret>,
    /// Whether they may do nothing any more.
    pub disabled: Option<bool>,
}

/// Addresses are compared in lower case.
pub(super) fn lower(email: &str) -> String {
    email.trim().to_lowercase()
}

/// Adds a person. Without a password they cannot log in with one.
pub async fn add_user(
    engine: &Engine,
    email: &str,
    role: Role,
    password: Option<Secret>,
) -> Result<UserView, EngineError> {
    let email = lower(email);
    if !notify::is_address(&email) {
        return Err(EngineError::usage(
            format!("{email:?} is not an e-mail address"),
            "write it like ada@example.com",
        ));
    }
    let password = match password {
        Some(password) => Some(hashed(password).await?),
        None => None,
    };
    let user = sealed(engine, NewUser { id: new_id(), email, role, password, seal: String::new() });
    let after = json!({"role": role.word(), "disabled": false});
    let entry = engine.entry("user.added", format!("user {}", user.email), "").changing(None, Some(after));
    match engine.store().add_user(&user, &entry).await {
        Err(error) if error.is_conflict("users_email") => Err(EngineError::Conflict {
            text: format!("there is a user {} already", user.email),
            hint: Some("`rekeyd users passwd` gives them another password".to_owned()),
        }),
        done => {
            done?;
            let row = engine.store().user(&user.id).await?;
            row.map(view).ok_or_else(|| absent(&user.email))
        }
    }
}

fn sealed(engine: &Engine, user: NewUser) -> NewUser {
    let never = Timestamp(0);
    let NewUser { id, email, role, password, seal } = user;
    let row =
        UserRow { id, email, role, password, seal, disabled_at: None, created_at: never, updated_at: never };
    let seal = seals::of_user(engine, &row);
    NewUser { id: row.id, email: row.email, role, password: row.password, seal }
}

/// Whether anybody may log in at all.
pub async fn has_users(engine: &Engine) -> Result<bool, EngineError> {
    Ok(engine.store().has_users().await?)
}

/// Everybody, by address.
pub async fn user_views(engine: &Engine) -> Result<Vec<UserView>, EngineError> {
    Ok(engine.store().users().await?.into_iter().map(view).collect())
}

/// One person, by id.
pub async fn user_view(engine: &Engine, id: &str) -> Result<UserView, EngineError> {
    engine.store().user(id).await?.map(view).ok_or_else(|| absent(id))
}

/// One person, by address.
pub async fn find_user(engine: &Engine, email: &str) -> Result<UserView, EngineError> {
    let email = lower(email);
    engine.store().user_of(&email).await?.map(view).ok_or_else(|| absent(&email))
}

/// Changes a person, by id, and ends all their sessions. Refused for the last admin that would be none any more.
pub async fn change_user(engine: &Engine, id: &str, change: ChangeUser) -> Result<UserView, EngineError> {
    let password = match change.password {
        Some(password) => Some(hashed(password).await?),
        None => None,
    };
    let with_password = password.is_some();
    let change = UserChange { role: change.role, password, disabled: change.disabled };
    let entry = |before: &UserRow, after: &UserRow| {
        let detail = if with_password { "with another password" } else { "" };
        let entry = engine.entry("user.changed", format!("user {}", after.email), detail);
        entry.changing(Some(told(before)), Some(told(after)))
    };
    let changed = engine.store().change_user(id, &change, |user| seals::of_user(engine, user), entry).await?;
    changed.map(view).ok_or_else(|| absent(id))
}

/// Gives a person who knows their password another one. A wrong one counts like a failed login.
pub async fn change_own_password(
    engine: &Engine,
    id: &str,
    current: Secret,
    new: Secret,
) -> Result<UserView, EngineError> {
    let turn = Turn::wait().await?;
    let user = engine.store().user(id).await?.and_then(|user| seals::genuine_user(engine, user));
    let user = user.ok_or_else(|| absent(id))?;
    let counter = format!("{id} changes its password");
    allow(engine, Limit::LOGINS_OF_ACCOUNT, &counter).await?;
    if !turn.verify(current, user.password).await {
        return Err(EngineError::usage("that is not the present password", "nothing was changed"));
    }
    engine.store().forgive(Limit::LOGINS_OF_ACCOUNT, &counter).await?;
    change_user(engine, id, ChangeUser { password: Some(new), ..ChangeUser::default() }).await
}

/// What the audit trail says of a person.
fn told(user: &UserRow) -> Value {
    json!({"role": user.role.word(), "disabled": user.disabled_at.is_some()})
}

fn view(row: UserRow) -> UserView {
    UserView {
        id: row.id,
        email: row.email,
        role: row.role.word(),
        has_password: row.password.is_some(),
        disabled_at: row.disabled_at.map(Timestamp::rfc3339),
        created_at: row.created_at.rfc3339(),
        updated_at: row.updated_at.rfc3339(),
    }
}

fn absent(who: &str) -> EngineError {
    EngineError::Absent {
        text: format!("there is no user {who:?}; nothing was changed"),
        hint: Some("`rekeyd users list` shows all".to_owned()),
    }
}
