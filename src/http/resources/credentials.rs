//! Keys for applications, in clear: the one path that gives secrets out. Whom a key is given to is recorded before it is.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::domain::role::Permission::Credentials;
use crate::engine::EngineError;
use crate::engine::commands::{self, Ask, CredentialView, Strategy};
use crate::http::api::Api;
use crate::http::auth::Caller;
use crate::http::login::no_store;
use crate::http::problem::Problem;
use crate::http::routes::{Allow, Routes};

pub(super) fn routes() -> Routes {
    Routes::default()
        .at(Method::GET, "/api/v1/credentials/{provider}", Allow::May(Credentials), give)
        .says("A key that works, in clear; recorded before it is given")
        .with("strategy", "best (when nobody says), random, number or name.")
        .with("number", "This key; another one only with fallback or preference.")
        .with("name", "The best of those with this name; another one only with fallback or preference.")
        .with("fallback", "Where else, in this order, when the provider has none: openai,anthropic.")
        .with("preference", "The same by the name of an order of the configuration.")
        .answers::<CredentialView>(200)
}

/// Which key.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    strategy: Option<Kind>,
    number: Option<i64>,
    name: Option<String>,
    fallback: Option<String>,
    preference: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Best,
    Random,
    Number,
    Name,
}

impl Wish {
    fn strategy(&self) -> Result<Strategy, Problem> {
        match (self.strategy, self.number, &self.name) {
            (None | Some(Kind::Best), None, None) => Ok(Strategy::Best),
            (Some(Kind::Random), None, None) => Ok(Strategy::Random),
            (None | Some(Kind::Number), Some(number), None) => Ok(Strategy::Number(number)),
            (None | Some(Kind::Name), None, Some(name)) => Ok(Strategy::Name(name.clone())),
            _ => Err(Problem::bad_parameter(
                "strategy: number goes with number=N and name with name=NAME, best and random with neither",
            )),
        }
    }

    fn fallback(&self) -> Result<Vec<String>, Problem> {
        if self.fallback.is_some() && self.preference.is_some() {
            return Err(Problem::bad_parameter("fallback and preference: one of them"));
        }
        let names = self.fallback.iter().flat_map(|names| names.split(','));
        Ok(names.filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }
}

async fn give(
    State(api): State<Api>,
    caller: Caller,
    Path(provider): Path<String>,
    Query(wish): Query<Wish>,
) -> Result<Response, Problem> {
    let (strategy, fallback) = (wish.strategy()?, wish.fallback()?);
    for name in [&provider].into_iter().chain(&fallback) {
        caller.may_fetch(name)?;
    }
    let only = caller.identity.providers.clone();
    let ask = Ask { provider, strategy, fallback, preference: wish.preference, only };
    let given = commands::hand_out(&api.engine_for(&caller), &ask).await.map_err(without_key)?;
    Ok(([no_store()], Json(commands::credential_view(&given))).into_response())
}

fn without_key(error: EngineError) -> Problem {
    match error {
        EngineError::Absent { text, .. } => Problem::new(StatusCode::NOT_FOUND, "no_usable_key", text),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Strategy, Problem> {
        let uri = format!("http://x/?{query}").parse().unwrap();
        let Query(wish) = Query::<Wish>::try_from_uri(&uri).unwrap();
        wish.strategy()
    }

    #[test]
    fn a_strategy_goes_with_what_it_needs() {
        assert_eq!(read("").unwrap(), Strategy::Best);
        assert_eq!(read("strategy=random").unwrap(), Strategy::Random);
        assert_eq!(read("number=2").unwrap(), Strategy::Number(2));
        assert_eq!(read("strategy=name&name=main").unwrap(), Strategy::Name("main".to_owned()));
        for wrong in ["strategy=number", "strategy=best&number=2", "number=2&name=main", "strategy=name"] {
            assert_eq!(read(wrong).unwrap_err().status(), StatusCode::BAD_REQUEST, "{wrong}");
        }
    }
}
