//! The catalog as a [`Tester`].

use async_trait::async_trait;
use serde_json::Value;
use url::Url;

use super::Tester;
use super::catalog::{self, CATALOG};
use super::probe::{Subject, probe};
use crate::domain::secret::Secret;
use crate::domain::time::Span;
use crate::domain::verdict::{Judgement, Observation};
use crate::net::{Deadline, Http};

/// Tests keys by the rows of the catalog.
#[derive(Debug, Clone)]
pub struct CatalogTester {
    http: Http,
}

impl CatalogTester {
    /// All tests go through this client.
    pub fn new(http: Http) -> Self {
        Self { http }
    }
}

#[async_trait]
impl Tester for CatalogTester {
    async fn test(
        &self,
        kind: &str,
        base_url: Option<&Url>,
        secret: &Secret,
        settings: &Value,
        deadline: Deadline,
    ) -> Observation {
        let Some(entry) = catalog::find(kind) else {
            let detail = format!("this version knows no provider of kind {kind}");
            return Observation::new(Judgement::UNEXPECTED, detail);
        };
        probe(&self.http, &Subject { entry, base_url, secret, settings }, deadline).await
    }

    fn kinds(&self) -> Vec<&'static str> {
        CATALOG.iter().map(|entry| entry.name).collect()
    }

    fn has_two_kinds(&self, kind: &str) -> bool {
        catalog::find(kind).is_some_and(|entry| entry.capabilities.contains(&"create"))
    }

    fn odd_form(&self, kind: &str, secret: &Secret) -> Option<&'static str> {
        let entry = catalog::find(kind)?;
        (!entry.looks_right(secret.expose())).then_some(entry.key_format)
    }

    fn min_interval(&self, kind: &str) -> Option<Span> {
        catalog::find(kind)?.min_interval
    }
}
