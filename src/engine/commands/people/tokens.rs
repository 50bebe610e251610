//! Tokens of programs: made, listed, taken back.

use serde_json::json;

use super::seals;
use crate::crypto::bearer;
use crate::domain::name::Name;
use crate::domain::role::{Permission, Role};
use crate::domain::time::{Span, Timestamp};
use crate::engine::commands::view::{CreatedTokenView, TokenView};
use crate::engine::{Engine, EngineError};
use crate::store::{TokenRow, UserRow, new_id};

/// A token to make.
#[derive(Debug, Clone)]
pub struct MakeToken {
    /// Its name, unique among those that live.
    pub name: String,
    /// What it may.
    pub role: Role,
    /// How long it lasts; for ever without.
    pub expires: Option<Span>,
    /// The providers whose credentials it may fetch; only for [`Role::Consumer`], `None` for all.
    pub providers: Option<Vec<String>>,
    /// Id of the person whose it is; it may no more than they may.
    pub owner: Option<String>,
}

/// Makes a token. The answer is the only time that anybody sees it.
pub async fn create_token(engine: &Engine, make: MakeToken) -> Result<CreatedTokenView, EngineError> {
    checked(&make)?;
    let now = engine.store().now().await?;
    let secret = bearer::new_token();
    let row = TokenRow {
        id: new_id(),
        name: make.name,
        hash: secret.sha256_hex(),
        role: make.role,
        providers: make.providers,
        owner: make.owner,
        seal: String::new(),
        created_by: engine.actor.name.clone(),
        created_at: now,
        expires_at: make.expires.map(|span| now.plus(span)),
        used_at: None,
        revoked_at: None,
    };
    let new = TokenRow { seal: seals::of_token(engine, &row), ..row };
    let after = json!({
        "role": new.role.word(), "providers": new.providers, "expires_at": new.expires_at.map(Timestamp::rfc3339)
    });
    let entry = engine.entry("token.created", format!("token {}", new.name), "").changing(None, Some(after));
    match engine.store().add_token(&new, &entry).await {
        Err(error) if error.is_conflict("tokens_name") => Err(EngineError::Conflict {
            text: format!("there is a token {:?} already", new.name),
            hint: Some("choose another name, or revoke that one first".to_owned()),
        }),
        done => {
            done?;
            let view = views(engine, vec![new]).await?.remove(0);
            Ok(CreatedTokenView { token: secret.expose().to_owned(), view })
        }
    }
}

fn checked(make: &MakeToken) -> Result<(), EngineError> {
    const NAMES: &str = "small letters, digits and hyphens, as in nightly-backup";
    if Name::parse(&make.name).is_err() {
        return Err(EngineError::usage(format!("{:?} is no name for a token", make.name), NAMES));
    }
    if make.expires.is_some_and(|span| span.0 <= 0) {
        return Err(EngineError::usage("a token cannot end before it begins", "write a span like 90d"));
    }
    if make.providers.is_some() && !make.role.may(Permission::Credentials) {
        return Err(EngineError::usage(
            format!("a token of role {} fetches no credentials, of whatever provider", make.role.word()),
            "leave the providers out, or make it a consumer",
        ));
    }
    if make.providers.is_some() && make.role != Role::Consumer {
        return Err(EngineError::usage(
            "an admin's token may fetch the credentials of every provider",
            "leave the providers out, or make it a consumer",
        ));
    }
    Ok(())
}

/// Tokens that were not taken back, by name: of one person, or all.
pub async fn token_views(engine: &Engine, owner: Option<&str>) -> Result<Vec<TokenView>, EngineError> {
    views(engine, engine.store().tokens(owner).await?).await
}

async fn views(engine: &Engine, rows: Vec<TokenRow>) -> Result<Vec<TokenView>, EngineError> {
    let users = engine.store().users().await?;
    let email = |row: &TokenRow| {
        let owner = |user: &&UserRow| Some(&user.id) == row.owner.as_ref();
        users.iter().find(owner).map(|user| user.email.clone())
    };
    Ok(rows
        .into_iter()
        .map(|row| TokenView {
            owner: email(&row),
            id: row.id,
            name: row.name,
            role: row.role.word(),
            providers: row.providers,
            created_by: row.created_by,
            created_at: row.created_at.rfc3339(),
            expires_at: row.expires_at.map(Timestamp::rfc3339),
            last_used_at: row.used_at.map(Timestamp::rfc3339),
        })
        .collect())
}

/// Takes a token back, by name or id; at once, everywhere. With `owner` only one of that person's.
pub async fn revoke_token(
    engine: &Engine,
    which: &str,
    owner: Option<&str>,
) -> Result<TokenView, EngineError> {
    let views = token_views(engine, owner).await?;
    let Some(view) = views.into_iter().find(|view| view.name == which || view.id == which) else {
        return Err(EngineError::Absent {
            text: format!("there is no token {which:?}; nothing was revoked"),
            hint: Some("`rekeyd tokens list` shows all".to_owned()),
        });
    };
    let entry = engine.entry("token.revoked", format!("token {}", view.name), "");
    engine.store().revoke_token(&view.id, &entry).await?;
    Ok(view)
}
