//! A person's password against a session.
//!
//! Guessing is limited twice: by address, and by account. The second limit would let strangers lock a person out, so the
//! addresses from which that person logged in before are counted each by itself, and all others together.

use std::net::Ipv6Addr;

use super::limits::allow;
use super::passwords::Turn;
use super::seals;
use super::users::lower;
use crate::crypto::bearer;
use crate::domain::actor::Actor;
use crate::domain::limit::{Allowance, Limit};
use crate::domain::role::Role;
use crate::domain::secret::Secret;
use crate::domain::time::Span;
use crate::engine::{Engine, EngineError};
use crate::store::{NewSession, Outcome, UserRow, new_id};

/// An address is a known one for so long after a login.
const KNOWN: Span = Span::hours(30 * 24);

/// Somebody who logged in just now.
#[derive(Debug)]
pub struct LoggedIn {
    /// What goes into the cookie; nobody sees it again.
    pub cookie: Secret,
    /// Who.
    pub email: String,
    /// What they may.
    pub role: Role,
    /// What is left of the limit on guesses at this account.
    pub allowance: Allowance,
}

/// What counts the failures of one login.
struct Counters([(Limit, String); 2]);

impl Counters {
    async fn of(
        engine: &Engine,
        email: &str,
        user: Option<&UserRow>,
        address: &str,
    ) -> Result<Self, EngineError> {
        let since = engine.store().now().await?.plus(Span(-KNOWN.0));
        let account = match user {
            Some(user) if engine.store().knows_address(&user.id, address, since).await? => {
                format!("{} at {address}", user.id)
            }
            Some(user) => user.id.clone(),
            // Nobody's account is counted like somebody's, and what was typed there is not kept.
            None => Secret::new(email).sha256_hex(),
        };
        Ok(Self([(Limit::LOGINS_FROM_ADDRESS, network(address)), (Limit::LOGINS_OF_ACCOUNT, account)]))
    }

    /// Counts a failure before it is one, so that no two guesses pass the same count.
    async fn take(&self, engine: &Engine) -> Result<Allowance, EngineError> {
        let [address, account] = &self.0;
        allow(engine, address.0, &address.1).await?;
        allow(engine, account.0, &account.1).await
    }

    /// It was none.
    async fn give_back(&self, engine: &Engine, taken: Allowance) -> Result<Allowance, EngineError> {
        for (limit, subject) in &self.0 {
            engine.store().forgive(*limit, subject).await?;
        }
        Ok(Allowance { left: taken.left + 1, ..taken })
    }
}

/// Whose guesses are counted together: an IPv6 address is one of the very many of its owner.
fn network(address: &str) -> String {
    match address.parse::<Ipv6Addr>() {
        Ok(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{}/64", Ipv6Addr::from([a, b, c, d, 0, 0, 0, 0]))
        }
        Err(_) => address.to_owned(),
    }
}

/// Begins a session for who knows the password of this account. [`EngineError::Unknown`] for everybody else, whether the
/// account is unknown or disabled, or the password wrong; [`EngineError::Limited`] after too many of those.
pub async fn log_in(
    engine: &Engine,
    email: &str,
    password: Secret,
    address: Option<&str>,
) -> Result<LoggedIn, EngineError> {
    let turn = Turn::wait().await?;
    let email = lower(email);
    let found =
        if email.chars().any(char::is_control) { None } else { engine.store().user_of(&email).await? };
    let user = found.and_then(|user| seals::genuine_user(engine, user));
    let counters = Counters::of(engine, &email, user.as_ref(), address.unwrap_or("unknown")).await?;
    let taken = counters.take(engine).await?;
    let hash = user.as_ref().filter(|user| user.disabled_at.is_none()).and_then(|user| user.password.clone());
    let genuine = turn.verify(password, hash).await;
    let began = match user.as_ref().filter(|_| genuine) {
        Some(user) => begin(engine, user, address).await?,
        None => None,
    };
    match (began, user) {
        (Some(cookie), Some(user)) => {
            let allowance = counters.give_back(engine, taken).await?;
            Ok(LoggedIn { cookie, email: user.email, role: user.role, allowance })
        }
        (_, user) => {
            note_refused(engine, user.as_ref()).await?;
            Err(EngineError::Unknown { allowance: taken })
        }
    }
}

/// The cookie of a new session; `None` when the person was changed meanwhile.
async fn begin(
    engine: &Engine,
    user: &UserRow,
    address: Option<&str>,
) -> Result<Option<Secret>, EngineError> {
    let cookie = bearer::new_session();
    let (id, hash) = (new_id(), cookie.sha256_hex());
    let session = NewSession {
        seal: seals::of_session(engine, &id, &hash, &user.id),
        id,
        hash,
        user: user.id.clone(),
        address: address.map(str::to_owned),
    };
    let engine = engine.acting_as(Actor { name: user.email.clone(), ..engine.actor.clone() });
    let entry =
        engine.entry("session.began", format!("user {}", user.email), format!("session {}", session.id));
    let oldest = engine.store().now().await?.plus(Span(-engine.access().session_max.0));
    if !engine.store().begin_session(&session, user, oldest, &entry).await? {
        return Ok(None);
    }
    if let Some(address) = address {
        engine.store().know_address(&user.id, address).await?;
    }
    Ok(Some(cookie))
}

/// What a stranger typed is not written down: it may be a password in the wrong field.
async fn note_refused(engine: &Engine, user: Option<&UserRow>) -> Result<(), EngineError> {
    let subject =
        user.map_or_else(|| "user (nobody known)".to_owned(), |user| format!("user {}", user.email));
    let entry = engine.entry("session.refused", subject, "a login with a wrong address or password");
    Ok(engine.store().audit_alone(&entry.ended(Outcome::Refused)).await?)
}
