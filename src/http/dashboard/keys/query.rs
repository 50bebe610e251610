//! What a list of keys is narrowed by, as it stands in the address.

use crate::domain::time::Span;
use crate::engine::commands::{KeyQuery, KeySort};
use crate::http::dashboard::visit::Visit;
use crate::http::problem::Problem;

/// Rows of a page: they fit into 60 KB.
pub(super) const PER_PAGE: i64 = 50;

/// The fields of the form, as they were filled in.
pub(super) struct Query {
    fields: Vec<(&'static str, String)>,
    /// Counted from 1.
    pub(super) page: i64,
}

const FIELDS: [&str; 8] = ["q", "provider", "status", "active", "owner", "reason", "expiring", "unused"];

impl Query {
    pub(super) fn of(visit: &Visit) -> Self {
        let all = FIELDS.into_iter().chain(["sort"]);
        let fields = all.map(|name| (name, visit.asked(name).unwrap_or_default())).collect();
        let page = visit.asked("page").and_then(|page| page.parse().ok()).unwrap_or(1);
        Self { fields, page: i64::max(page, 1) }
    }

    /// Nothing is asked.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { fields: Vec::new(), page: 1 }
    }

    /// A field as it was filled in; empty when it was not.
    pub(super) fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Whether anything narrows the list.
    pub(super) fn narrows(&self) -> bool {
        FIELDS.iter().any(|name| !self.field(name).is_empty())
    }

    /// The query of another page of the same list.
    pub(super) fn at(&self, page: i64) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.fields.iter().filter(|(_, value)| !value.is_empty()));
        if page > 1 {
            query.append_pair("page", &page.to_string());
        }
        query.finish()
    }

    /// What is asked of the store.
    pub(super) fn asked(&self) -> Result<KeyQuery, Problem> {
        let text = |name| Some(self.field(name).to_owned()).filter(|text| !text.is_empty());
        let sort = text("sort").map(|word| KeySort::parse(&word).ok_or_else(|| wrong("sort", &word)));
        Ok(KeyQuery {
            due: false,
            search: text("q"),
            provider: text("provider"),
            status: text("status"),
            active: text("active").map(|word| word == "yes"),
            owner: text("owner"),
            reason: text("reason"),
            expiring: self.span("expiring")?,
            unused: self.span("unused")?,
            older: None,
            sort: sort.transpose()?.unwrap_or_default(),
            limit: Some(PER_PAGE),
            offset: self.page.saturating_sub(1).saturating_mul(PER_PAGE),
        })
    }

    fn span(&self, name: &'static str) -> Result<Option<Span>, Problem> {
        let text = self.field(name);
        if text.is_empty() {
            return Ok(None);
        }
        let span = humantime::parse_duration(text).map_err(|_| wrong(name, text))?;
        Ok(Some(Span::from(span)))
    }
}

fn wrong(name: &str, value: &str) -> Problem {
    Problem::bad_parameter(&format!("{name}: {value:?} is not understood"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(fields: &[(&'static str, &str)], page: i64) -> Query {
        Query { fields: fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(), page }
    }

    #[test]
    fn filters_stay_in_the_address_from_page_to_page() {
        let query = query(&[("q", "a&b"), ("provider", "openai"), ("status", "")], 3);
        assert_eq!(query.at(4), "q=a%26b&provider=openai&page=4");
        assert_eq!(query.at(1), "q=a%26b&provider=openai");
        let asked = query.asked().unwrap();
        assert_eq!((asked.offset, asked.limit), (100, Some(50)));
        assert_eq!(asked.search.as_deref(), Some("a&b"));
        assert_eq!(asked.status, None);
    }

    #[test]
    fn what_is_not_understood_is_said() {
        assert!(query(&[("expiring", "soon")], 1).asked().is_err());
        assert!(query(&[("sort", "colour")], 1).asked().is_err());
        assert!(query(&[("expiring", "14d")], 1).asked().unwrap().expiring.is_some());
    }
}
