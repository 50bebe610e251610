//! Pages of the tables that grow. What may be sorted and narrowed by stands beside each table's [`Source`]; a page begins
//! after a value and an id, never after a number of rows, so that what comes in meanwhile moves nothing.

use serde_json::Value;
use sqlx::any::{Any, AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Row};

use super::{Store, StoreError};
use crate::domain::listing::{Cursor, Given, Page, Wanted};

/// A table, and how its list is asked for.
pub(super) struct Source {
    /// `FROM …`.
    pub(super) table: &'static str,
    /// What every row of the list must be.
    pub(super) always: &'static str,
    /// Fields of [`crate::domain::listing::Shape::sorts`], and their expressions, which are never null.
    pub(super) sorts: &'static [(&'static str, Of)],
    /// Filters, and their conditions, in which `$?` is what was given.
    pub(super) filters: &'static [(&'static str, &'static str)],
}

/// What is sorted by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of {
    Text(&'static str),
    Number(&'static str),
}

/// One value of a statement.
#[derive(Debug, Clone)]
enum Bound {
    Text(String),
    Number(i64),
}

/// A statement with its values.
struct Statement {
    conditions: Vec<String>,
    values: Vec<Bound>,
}

impl Of {
    fn expression(self) -> &'static str {
        match self {
            Self::Text(expression) | Self::Number(expression) => expression,
        }
    }
}

impl Statement {
    /// Adds a condition, whose `$?` is this value, as often as it stands there.
    fn add(&mut self, condition: &str, value: Bound) {
        self.values.push(value);
        self.conditions.push(condition.replace("$?", &format!("${}", self.values.len())));
    }

    fn clause(&self) -> String {
        self.conditions.join(" AND ")
    }

    fn query(&self, sql: String) -> Query<'static, Any, AnyArguments> {
        let query = sqlx::query(AssertSqlSafe(sql));
        self.values.iter().cloned().fold(query, |query, value| match value {
            Bound::Text(text) => query.bind(text),
            Bound::Number(number) => query.bind(number),
        })
    }
}

impl Source {
    fn narrowed(&self, wanted: &Wanted) -> Statement {
        let mut statement = Statement { conditions: vec![self.always.to_owned()], values: Vec::new() };
        for (name, given) in &wanted.filters {
            let Some((_, condition)) = self.filters.iter().find(|(filter, _)| filter == name) else {
                continue;
            };
            statement.add(
                condition,
                match given {
                    Given::Text(words) if *name == "q" => Bound::Text(pattern(words)),
                    Given::Text(text) => Bound::Text(text.clone()),
                    Given::Flag(flag) => Bound::Number(i64::from(*flag)),
                    Given::Moment(at) => Bound::Number(at.0),
                },
            );
        }
        statement
    }

    /// The rows after the cursor, in their order; one more than the page has, to know whether it is the last.
    fn after(&self, wanted: &Wanted, of: Of, mut statement: Statement) -> (String, Statement) {
        let (beyond, order) = if wanted.is_descending { ("<", "DESC") } else { (">", "ASC") };
        let by = of.expression();
        if let Some(cursor) = &wanted.after {
            let value = match of {
                Of::Text(_) => Bound::Text(cursor.value.as_str().unwrap_or_default().to_owned()),
                Of::Number(_) => Bound::Number(cursor.value.as_i64().unwrap_or_default()),
            };
            statement.add("", Bound::Text(cursor.id.clone()));
            statement.conditions.pop();
            let id = statement.values.len();
            statement.add(&format!("({by} {beyond} $? OR ({by} = $? AND id {beyond} ${id}))"), value);
        }
        let mut sql = format!(
            "SELECT *, {by} AS sorted_by FROM {} WHERE {} ORDER BY {by} {order}, id {order}",
            self.table,
            statement.clause()
        );
        if let Some(limit) = wanted.limit {
            sql.push_str(&format!(" LIMIT {}", limit + 1));
        }
        (sql, statement)
    }
}

/// Words as `LIKE` looks for them, with `\` before what would be a wildcard.
fn pattern(words: &str) -> String {
    let plain = words.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{plain}%")
}

impl Store {
    /// A page of a table; a row that cannot be read is left out.
    pub(super) async fn page<T>(
        &self,
        source: &Source,
        wanted: &Wanted,
        read: impl Fn(&AnyRow) -> Result<T, StoreError>,
    ) -> Result<Page<T>, StoreError> {
        let of = source.sorts.iter().find(|(name, _)| *name == wanted.sort).map(|(_, of)| *of);
        let of = of.ok_or(StoreError::Corrupt("a sort that this table does not have"))?;
        let narrowed = source.narrowed(wanted);
        let count = format!("SELECT COUNT(*) AS total FROM {} WHERE {}", source.table, narrowed.clause());
        let total: i64 = narrowed.query(count).fetch_one(self.pools.reader()).await?.try_get("total")?;
        let (sql, statement) = source.after(wanted, of, narrowed);
        let mut rows = statement.query(sql).fetch_all(self.pools.reader()).await?;
        let limit = wanted.limit.unwrap_or(usize::MAX);
        let is_last = rows.len() <= limit;
        rows.truncate(limit);
        let next_cursor = match rows.last().filter(|_| !is_last) {
            Some(last) => Some(place(last, of)?.text()),
            None => None,
        };
        let items = super::damaged::readable(&rows, read);
        Ok(Page { items, next_cursor, total: usize::try_from(total).unwrap_or_default() })
    }
}

fn place(row: &AnyRow, of: Of) -> Result<Cursor, StoreError> {
    let value = match of {
        Of::Text(_) => Value::from(row.try_get::<String, _>("sorted_by")?),
        Of::Number(_) => Value::from(row.try_get::<i64, _>("sorted_by")?),
    };
    Ok(Cursor { value, id: row.try_get("id")? })
}
