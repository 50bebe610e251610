//! The catalog as a [`Tester`].

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use url::Url;

use super::catalog::{self, CATALOG};
use super::probe::{Controls, Subject, probe};
use super::{Base, Profile, Tester};
use crate::domain::secret::Secret;
use crate::domain::time::Span;
use crate::domain::verdict::{Judgement, Observation};
use crate::net::{Deadline, Http};

/// Tests keys by the rows of the catalog.
#[derive(Debug, Clone)]
pub struct CatalogTester {
    http: Http,
    given: Http,
    controls: Arc<Controls>,
}

impl CatalogTester {
    /// `http` asks the vendors and what the configuration names, `given` the endpoints that a person named.
    pub fn new(http: Http, given: Http) -> Self {
        Self { http, given, controls: Arc::default() }
    }
}

#[async_trait]
impl Tester for CatalogTester {
    async fn test(
        &self,
        kind: &str,
        base: Option<Base<'_>>,
        secret: &Secret,
        settings: &Value,
        deadline: Deadline,
    ) -> Observation {
        let Some(entry) = catalog::find(kind) else {
            let detail = format!("this version knows no provider of kind {kind}");
            return Observation::new(Judgement::UNEXPECTED, detail);
        };
        let http = if base.is_some_and(|base| base.is_given) { &self.given } else { &self.http };
        let subject = Subject { entry, base_url: base.map(|base| base.url), secret, settings };
        probe(http, &self.controls, &subject, deadline).await
    }

    fn kinds(&self) -> Vec<&'static str> {
        CATALOG.iter().map(|entry| entry.name).collect()
    }

    fn profile(&self, kind: &str) -> Option<Profile> {
        catalog::find(kind).map(catalog::CatalogRow::profile)
    }

    fn may_ask(&self, url: &Url) -> bool {
        self.given.may_reach(url)
    }

    fn kinds_of_form(&self, key: &str) -> Vec<&'static str> {
        catalog::kinds_of_form(key)
    }

    fn has_two_kinds(&self, kind: &str) -> bool {
        catalog::find(kind).is_some_and(|entry| entry.two_kinds)
    }

    fn odd_form(&self, kind: &str, secret: &Secret) -> Option<&'static str> {
        let entry = catalog::find(kind)?;
        (!entry.looks_right(secret.expose())).then_some(entry.key_format)
    }

    fn min_interval(&self, kind: &str) -> Option<Span> {
        catalog::find(kind)?.min_interval
    }
}
