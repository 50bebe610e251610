//! Lists of keys: found by what is asked, a page at a time, in one order.

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Row};

use super::damaged::readable;
use super::keys::{KeyRow, lenient};
use super::{Store, StoreError};
use crate::domain::time::Timestamp;

/// Which keys, of those that are no tombstones. What is `None` is not asked.
#[derive(Debug, Clone, Default)]
pub struct KeyFilter {
    /// Of this provider.
    pub provider: Option<String>,
    /// With this verdict.
    pub status: Option<String>,
    /// Active or not.
    pub active: Option<bool>,
    /// With these words in what their last test said.
    pub reason: Option<String>,
    /// Whose.
    pub owner: Option<String>,
    /// With these letters in name, note, owner or the shown end of the key.
    pub search: Option<String>,
    /// Whose secret was stored before then.
    pub stored_before: Option<Timestamp>,
    /// That expire before then.
    pub expires_before: Option<Timestamp>,
    /// That were stored before then, and given to nobody since.
    pub unused_since: Option<Timestamp>,
    /// That are to be tested by then.
    pub due_before: Option<Timestamp>,
    /// In which order.
    pub sort: KeySort,
    /// At most so many.
    pub limit: i64,
    /// After so many.
    pub offset: i64,
}

/// The order of a list; what is equal stands by provider and number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeySort {
    /// By provider and number; keys without one last.
    #[default]
    Provider,
    /// By name.
    Name,
    /// Production first.
    Priority,
    /// By verdict.
    Status,
    /// By owner; ownerless last.
    Owner,
    /// Oldest first.
    Created,
    /// Changed last first.
    Updated,
    /// What expires next first.
    Expires,
    /// Slowest first.
    Latency,
}

impl KeySort {
    const ALL: [(&'static str, Self); 9] = [
        ("provider", Self::Provider),
        ("name", Self::Name),
        ("priority", Self::Priority),
        ("status", Self::Status),
        ("owner", Self::Owner),
        ("created", Self::Created),
        ("updated", Self::Updated),
        ("expires", Self::Expires),
        ("latency", Self::Latency),
    ];

    /// The order of this name.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == word).map(|(_, sort)| *sort)
    }

    /// The names of all orders.
    pub fn words() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().map(|(name, _)| *name)
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Provider => "",
            Self::Name => "name, ",
            Self::Priority => "priority DESC, ",
            Self::Status => "verdict, ",
            Self::Owner => "owner IS NULL, owner, ",
            Self::Created => "created_at, ",
            Self::Updated => "updated_at DESC, ",
            Self::Expires => "expires_at IS NULL, expires_at, ",
            Self::Latency => "latency_ms IS NULL, latency_ms DESC, ",
        }
    }
}

/// A value of a condition.
enum Value {
    Text(String),
    Number(i64),
}

/// Conditions and their values: markers are numbered as they come.
#[derive(Default)]
struct Conditions {
    sql: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    /// Adds a condition, where `?` stands for the value; what is `None` is no condition.
    fn add(&mut self, condition: &str, value: Option<Value>) {
        let Some(value) = value else { return };
        self.values.push(value);
        self.sql.push(condition.replace('?', &format!("${}", self.values.len())));
    }

    fn of(filter: &KeyFilter) -> Self {
        let text = |text: &Option<String>| text.clone().map(Value::Text);
        let moment = |at: Option<Timestamp>| at.map(|at| Value::Number(at.0));
        let mut all = Self { sql: vec!["role <> 'dead'".to_owned()], values: Vec::new() };
        all.add("provider = ?", text(&filter.provider));
        all.add("verdict = ?", text(&filter.status));
        all.add("is_active = ?", filter.active.map(|active| Value::Number(i64::from(active))));
        all.add("owner = ?", text(&filter.owner));
        all.add(
            r#"(LOWER(detail) LIKE '%' || ? || '%' ESCAPE '!' OR health LIKE '%"reason":"' || ? || '"%' ESCAPE '!')"#,
            filter.reason.as_deref().map(plain),
        );
        all.add(
            "LOWER(name || ' ' || COALESCE(note, '') || ' ' || COALESCE(owner, '') || ' ' || mask)
               LIKE '%' || ? || '%' ESCAPE '!'",
            filter.search.as_deref().map(plain),
        );
        all.add("COALESCE(replaced_at, created_at) < ?", moment(filter.stored_before));
        all.add("expires_at < ?", moment(filter.expires_before));
        all.add(
            "COALESCE(replaced_at, created_at) < ? AND COALESCE(handed_out_at, 0) < ?",
            moment(filter.unused_since),
        );
        all.add(
            "next_look_at <= ? AND is_active = 1 AND secret IS NOT NULL AND role IN ('current', 'manual')",
            moment(filter.due_before),
        );
        all
    }

    fn bind<'q>(&self, sql: String) -> Query<'q, Any, AnyArguments> {
        let query = sqlx::query(AssertSqlSafe(sql));
        self.values.iter().fold(query, |query, value| match value {
            Value::Text(text) => query.bind(text.clone()),
            Value::Number(number) => query.bind(*number),
        })
    }
}

/// For a pattern in lower case, where each sign is meant as it is.
fn plain(text: &str) -> Value {
    Value::Text(text.to_lowercase().replace('!', "!!").replace('%', "!%").replace('_', "!_"))
}

/// The statement that reads a page.
fn page_sql(filter: &KeyFilter, conditions: &Conditions) -> String {
    format!(
        "SELECT * FROM keys WHERE {} ORDER BY {}provider, COALESCE(number, 1000000000), created_at, id
         LIMIT {} OFFSET {}",
        conditions.sql.join(" AND "),
        filter.sort.sql(),
        filter.limit,
        filter.offset,
    )
}

impl Store {
    /// One page of the keys that the filter finds; of rows that cannot be read whole, what can be.
    pub async fn list_keys(&self, filter: &KeyFilter) -> Result<Vec<KeyRow>, StoreError> {
        let conditions = Conditions::of(filter);
        let sql = page_sql(filter, &conditions);
        let rows = conditions.bind(sql).fetch_all(self.pools.reader()).await?;
        Ok(readable(&rows, |row: &AnyRow| Ok(lenient(row)?.0)))
    }

    /// How many keys the filter finds on all pages.
    pub async fn count_keys(&self, filter: &KeyFilter) -> Result<i64, StoreError> {
        let conditions = Conditions::of(filter);
        let sql = format!("SELECT COUNT(*) AS n FROM keys WHERE {}", conditions.sql.join(" AND "));
        Ok(conditions.bind(sql).fetch_one(self.pools.reader()).await?.try_get("n")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How SQLite goes about a statement.
    async fn plan(store: &Store, filter: &KeyFilter) -> Vec<String> {
        let conditions = Conditions::of(filter);
        let sql = format!("EXPLAIN QUERY PLAN {}", page_sql(filter, &conditions));
        let rows = conditions.bind(sql).fetch_all(store.pools.reader()).await.unwrap();
        rows.iter().map(|row| row.try_get::<String, _>("detail").unwrap()).collect()
    }

    #[tokio::test]
    async fn every_list_goes_by_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("rekeyd.db").display());
        let store = Store::open(&url, 2).await.unwrap();
        store.migrate().await.unwrap();
        let page = || KeyFilter { limit: 100, ..KeyFilter::default() };
        let text = || Some("x".to_owned());
        let moment = || Some(Timestamp(0));
        let filters = [
            page(),
            KeyFilter { provider: text(), ..page() },
            KeyFilter { status: text(), ..page() },
            KeyFilter { owner: text(), ..page() },
            KeyFilter { search: text(), ..page() },
            KeyFilter { stored_before: moment(), ..page() },
            KeyFilter { expires_before: moment(), ..page() },
            KeyFilter { unused_since: moment(), ..page() },
            KeyFilter { due_before: moment(), ..page() },
        ];
        for filter in filters {
            let steps = plan(&store, &filter).await;
            assert!(steps[0].contains("USING INDEX"), "{filter:?}: {steps:?}");
        }
        let steps = plan(&store, &page()).await;
        assert_eq!(steps.len(), 1, "a page is read in its order, and no further: {steps:?}");
    }
}
