//! Who calls, by the token or the cookie of a request.

use axum::extract::{FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::cookie::session_cookie;
use super::{csrf, origin};
use crate::domain::actor::{Actor, Via};
use crate::domain::role::{Permission, Role};
use crate::domain::secret::Secret;
use crate::engine::commands::{Identity, Way, by_session, by_token};
use crate::engine::{Engine, EngineError};
use crate::http::api::Api;
use crate::http::problem::Problem;
use crate::http::request_id::RequestId;

/// Who calls. As an argument of a handler it is there on every path that was declared with [`super::super::Allow`]; on any
/// other the answer is 403.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who it is, and what they may.
    pub identity: Identity,
    /// From which true address; `unix` for the socket file.
    pub address: Option<String>,
    /// The id of this request.
    pub request_id: String,
    /// By the API, or by a page.
    pub via: Via,
}

/// What a request shows.
enum Proof {
    Token(Secret),
    Session(Secret),
}

impl Caller {
    /// Finds out who sent a request. 401 for nobody, 403 when another site may have sent it with their cookie.
    pub(in crate::http) async fn of(api: &Api, request: &mut Request) -> Result<Self, Problem> {
        let proof = proof(request.headers()).ok_or_else(|| {
            Problem::unauthenticated("log in, or send a token as Authorization: Bearer rk_…")
        })?;
        let engine = api.engine();
        let identity = proved(&engine, &proof).await?.ok_or_else(|| unknown(&proof))?;
        if let Proof::Session(cookie) = &proof {
            csrf::believe(engine.access(), request.method(), request.headers(), cookie)?;
        }
        let request_id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
        let (parts, body) = std::mem::take(request).into_parts();
        let address = origin::origin(engine.access(), &parts);
        let via = if parts.uri.path().starts_with("/api/") { Via::Api } else { Via::Dashboard };
        *request = Request::from_parts(parts, body);
        Ok(Self { identity, address, request_id, via })
    }

    /// Their role.
    pub fn role(&self) -> Role {
        self.identity.role
    }

    /// Refuses with 403 what they may not. One's own matters are a person's: of a program's token only who manages
    /// everybody's may ask for them.
    pub fn may(&self, permission: Permission) -> Result<(), Problem> {
        let role = self.role();
        let in_person = matches!(self.identity.way, Way::Session(_)) || role.may(Permission::People);
        if role.may(permission) && (permission != Permission::Own || in_person) {
            return Ok(());
        }
        Err(Problem::forbidden(format!("the role {} may not {}", role.word(), permission.deed())))
    }

    /// Refuses with 403 the credentials of a provider that this token was not made for.
    pub fn may_fetch(&self, provider: &str) -> Result<(), Problem> {
        self.may(Permission::Credentials)?;
        let all = self.identity.providers.as_ref();
        if all.is_none_or(|all| all.iter().any(|allowed| allowed == provider)) {
            return Ok(());
        }
        Err(Problem::forbidden(format!("this token may not fetch credentials of {provider}")))
    }

    /// Whose sessions and tokens they may see and end: `None` for everybody's, else only their own. A program without a
    /// person has none.
    pub fn whose(&self) -> Option<&str> {
        if self.role().may(Permission::People) {
            return None;
        }
        Some(self.identity.user.as_deref().unwrap_or_default())
    }

    /// Who asks, whatever they are called: a name may be another's tomorrow.
    pub fn id(&self) -> String {
        match (&self.identity.way, &self.identity.user) {
            (Way::Token(id), _) => format!("token {id}"),
            (Way::Session(_), Some(user)) => format!("user {user}"),
            (Way::Session(id), None) => format!("session {id}"),
        }
    }

    /// Whose limit counts: of a person one for all their tokens.
    pub fn counted_as(&self) -> String {
        self.identity.user.as_ref().map_or_else(|| self.id(), |user| format!("user {user}"))
    }

    /// As the audit trail names them.
    pub fn actor(&self) -> Actor {
        Actor {
            name: self.identity.name.clone(),
            via: self.via,
            address: self.address.clone(),
            request_id: Some(self.request_id.clone()),
        }
    }
}

/// Who shows a session or token that is in force; nobody else is anybody.
pub(in crate::http) async fn identity(
    api: &Api,
    headers: &HeaderMap,
) -> Result<Option<Identity>, EngineError> {
    let Some(proof) = proof(headers) else { return Ok(None) };
    proved(&api.engine(), &proof).await
}

async fn proved(engine: &Engine, proof: &Proof) -> Result<Option<Identity>, EngineError> {
    match proof {
        Proof::Token(token) => by_token(engine, token).await,
        Proof::Session(cookie) => by_session(engine, cookie).await,
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let declared = parts.extensions.get::<Self>().cloned();
        declared.ok_or_else(|| {
            Problem::forbidden("nobody may ask for this path: it says of no one that they may")
        })
    }
}

/// A token goes before a cookie: who sends one wants to be it. Two of one kind are none.
fn proof(headers: &HeaderMap) -> Option<Proof> {
    let mut shown = headers.get_all(AUTHORIZATION).iter();
    match (shown.next(), shown.next()) {
        (Some(_), None) => bearer(headers).map(Proof::Token),
        (None, _) => session_cookie(headers).map(Proof::Session),
        _ => None,
    }
}

/// The token of `Authorization: Bearer`, when there is exactly one.
pub(in crate::http) fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let mut shown = headers.get_all(AUTHORIZATION).iter();
    let (one, None) = (shown.next()?, shown.next()) else { return None };
    let (scheme, token) = one.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Secret::new(token.trim()))
}

fn unknown(proof: &Proof) -> Problem {
    Problem::unauthenticated(match proof {
        Proof::Token(_) => "this token is unknown, over or revoked: ask an admin for another",
        Proof::Session(_) => "this session is over: log in again",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(headers: &[(&'static str, &str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        proof(&map).map(|proof| match proof {
            Proof::Token(token) => format!("token {}", token.expose()),
            Proof::Session(cookie) => format!("session {}", cookie.expose()),
        })
    }

    #[test]
    fn a_token_goes_before_a_cookie_and_nothing_doubtful_is_read() {
        let cookie = ("cookie", "a=b; session_token=s; c=d");
        assert_eq!(shown(&[cookie]).as_deref(), Some("session s"));
        assert_eq!(shown(&[("authorization", "bearer rk_x"), cookie]).as_deref(), Some("token rk_x"));
        assert_eq!(shown(&[("authorization", "Basic x"), cookie]), None);
        assert_eq!(shown(&[("authorization", "Bearer rk_x"), ("authorization", "Bearer rk_y")]), None);
        assert_eq!(shown(&[("cookie", "session_token=s; session_token=t")]), None);
        assert_eq!(shown(&[("cookie", "xsession_token=s")]), None);
        assert_eq!(shown(&[]), None);
    }

    fn caller(role: Role, way: Way, providers: Option<Vec<String>>) -> Caller {
        let identity = Identity { name: "x".to_owned(), user: None, role, providers, way };
        Caller { identity, address: None, request_id: String::new(), via: Via::Api }
    }

    #[test]
    fn one_s_own_matters_are_no_program_s() {
        let token = || Way::Token("t".to_owned());
        for role in Role::ALL {
            assert!(caller(role, Way::Session("s".to_owned()), None).may(Permission::Own).is_ok());
        }
        assert!(caller(Role::Operator, token(), None).may(Permission::Own).is_err());
        assert!(caller(Role::Consumer, token(), None).may(Permission::Own).is_err());
        assert!(caller(Role::Admin, token(), None).may(Permission::Own).is_ok());
    }

    #[test]
    fn a_consumer_fetches_what_its_token_was_made_for() {
        let only = caller(Role::Consumer, Way::Token("t".to_owned()), Some(vec!["openai".to_owned()]));
        assert!(only.may_fetch("openai").is_ok() && only.may_fetch("groq").is_err());
        let all = caller(Role::Consumer, Way::Token("t".to_owned()), None);
        assert!(all.may_fetch("groq").is_ok());
        assert!(caller(Role::Operator, Way::Token("t".to_owned()), None).may_fetch("groq").is_err());
    }
}
