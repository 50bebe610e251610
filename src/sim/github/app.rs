//! GitHub Apps: a JWT in, an installation's token out, good for an hour.
//!
//! The signature is not verified (the simulator has no key of the App's); form, algorithm and times are.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::super::wire::{Answer, Call};
use super::forge::Forge;
use super::shape;

/// An App with one installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct App {
    /// The issuer of its JWTs.
    pub app_id: u64,
    /// Where it is installed.
    pub installation_id: u64,
}

impl Forge {
    pub(super) fn access_token(
        &mut self,
        call: &Call,
        installation: u64,
        now: DateTime<Utc>,
    ) -> Result<Answer, Answer> {
        let undecodable = || shape::error(401, "A JSON web token could not be decoded");
        let claims = call.bearer().and_then(claims).ok_or_else(undecodable)?;
        check_times(&claims, now)?;
        let issuer = claims["iss"].as_u64().map(|id| id.to_string());
        let issuer = issuer.or_else(|| claims["iss"].as_str().map(str::to_owned));
        let found = self.apps.iter().find(|(app, _)| Some(app.app_id.to_string()) == issuer);
        let (app, permissions) = *found.ok_or_else(|| shape::error(404, "Integration not found"))?;
        if app.installation_id != installation {
            return Err(shape::not_found());
        }
        let expires = now + TimeDelta::hours(1);
        let token = self.tokens.issue_installation(permissions, expires);
        let body = json!({"token": token, "expires_at": shape::time(expires),
            "permissions": permissions.shown(), "repository_selection": "all"});
        Ok(Answer::json(201, &body))
    }
}

/// The claims of something that looks like an RS256 JWT.
fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (head, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
    let decoded = |part| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    let signed = !signature.is_empty() && URL_SAFE_NO_PAD.decode(signature).is_ok() && parts.next().is_none();
    let claims = decoded(claims)?;
    (signed && decoded(head)?["alg"] == "RS256").then_some(claims)
}

/// Issued in the past, not expired, and not for longer than ten minutes.
fn check_times(claims: &Value, now: DateTime<Utc>) -> Result<(), Answer> {
    let refuse = |text: &str| Err(shape::error(401, text));
    match (claims["iat"].as_i64(), claims["exp"].as_i64()) {
        (Some(issued), _) if issued > now.timestamp() + 60 => refuse(
            "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
        ),
        (_, Some(expires)) if expires > now.timestamp() + 600 => {
            refuse("'Expiration time' claim ('exp') is too far in the future")
        }
        (Some(_), Some(expires)) if expires > now.timestamp() => Ok(()),
        _ => refuse(
            "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the \
             assertion expires",
        ),
    }
}
