//! A key with all that a person asks before they touch it: how it is, how it was, and what breaks when it dies.

use serde::Serialize;

use super::history::{ShownKeyView, shown_key_view};
use super::key::KeyView;
use crate::domain::hand_out::USABLE;
use crate::domain::time::Timestamp;
use crate::domain::verdict::Outcome;
use crate::engine::passes::mirror::mirrored_at;
use crate::engine::{Engine, EngineError};
use crate::store::{KeyCount, KeyRow, Role};

/// So many days of tests are drawn.
const DAYS: i64 = 90;
const DAY: i64 = 24 * 60 * 60 * 1000;

/// A key, whole.
#[derive(Debug, Serialize)]
pub struct KeyPageView {
    /// How it is, and its last tests.
    #[serde(flatten)]
    pub shown: ShownKeyView,
    /// What breaks when it dies, one sentence each, the worst first; empty when nothing is known to.
    pub breaks: Vec<String>,
    /// The days since it was first tested, of the last 90, oldest first.
    pub days: Vec<DayView>,
}

/// What the tests of one day showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DayView {
    /// How many days ago; 0 is today, in UTC.
    pub ago: i64,
    /// The day, `2026-12-01`.
    pub day: String,
    /// The worst outcome.
    pub worst: String,
}

/// A key to which something was not done, and why.
#[derive(Debug, Serialize)]
pub struct UndoneView {
    /// The key.
    pub key: KeyView,
    /// Why, in one sentence.
    pub why: String,
}

/// A key, whole.
pub async fn key_page_view(engine: &Engine, key: &KeyRow) -> Result<KeyPageView, EngineError> {
    let breaks = uses(engine, key).await?.breaks();
    let today = engine.clock().now().0 / DAY;
    let since = Timestamp((today - DAYS + 1) * DAY);
    let days = by_day(today, &engine.store().outcomes_since(&key.id, since).await?);
    Ok(KeyPageView { shown: shown_key_view(engine, key).await?, breaks, days })
}

/// What is known of who uses a key.
#[derive(Debug, Default)]
struct Uses {
    provider: String,
    /// Its rotation, where it is the current generation.
    current_of: Option<String>,
    /// Its rotation, where it is on its way out.
    retiring_of: Option<String>,
    /// Destinations that may hold it.
    holders: Vec<String>,
    /// Tables that hand it out, and under which number.
    tables: Vec<(String, i64)>,
    /// It may be handed out, and is the only one of its provider.
    is_only_usable: bool,
}

async fn uses(engine: &Engine, key: &KeyRow) -> Result<Uses, EngineError> {
    let places = mirrored_at(engine, &key.id).await?;
    let holdings = engine.store().holdings_of(&key.id).await?;
    let rotation = |role: Role| key.rotation.clone().filter(|_| key.role == role);
    Ok(Uses {
        provider: key.provider.clone(),
        current_of: rotation(Role::Current),
        retiring_of: rotation(Role::Retiring),
        holders: holdings.into_iter().map(|row| row.fact.destination).collect(),
        tables: places.into_iter().map(|(place, number)| (place.target.name.clone(), number)).collect(),
        is_only_usable: is_only_usable(key, &engine.store().count_by_verdict().await?),
    })
}

fn is_only_usable(key: &KeyRow, counts: &[KeyCount]) -> bool {
    let usable =
        |verdict: &str| USABLE.iter().flat_map(|equals| equals.iter()).any(|one| one.as_str() == verdict);
    let own = counts.iter().filter(|count| count.provider == key.provider && count.is_active);
    let all: i64 = own.filter(|count| usable(&count.verdict)).map(|count| count.count).sum();
    key.is_active && usable(&key.verdict) && all == 1
}

impl Uses {
    fn breaks(&self) -> Vec<String> {
        let mut said = Vec::new();
        if let Some(rotation) = &self.current_of {
            said.push(match self.holders.len() {
                0 => format!("It is the current key of rotation {rotation}."),
                _ => format!(
                    "Production: it is the current key of rotation {rotation}, at {}.",
                    self.holders.join(", ")
                ),
            });
        }
        if let Some(rotation) = &self.retiring_of {
            said.push(format!(
                "Whoever still uses it: rotation {rotation} is retiring it, once it is quiet."
            ));
        }
        let tables = self.tables.iter();
        said.extend(
            tables.map(|(table, number)| format!("The table of {table} hands it out as key {number}.")),
        );
        if self.is_only_usable {
            let provider = &self.provider;
            said.push(format!(
                "It is the only key of {provider} that is handed out: `rekeyd keys get {provider}` finds none then."
            ));
        }
        said
    }
}

/// The worst of each day: of its tests, and of what was known when it began.
fn by_day(today: i64, looks: &[(Timestamp, String)]) -> Vec<DayView> {
    let Some((first, _)) = looks.first() else { return Vec::new() };
    let (mut left, mut known) = (looks.iter().peekable(), None::<&str>);
    let mut days = Vec::new();
    for day in first.0 / DAY..=today {
        let mut worst = known;
        while let Some((_, outcome)) = left.next_if(|(at, _)| at.0 / DAY <= day) {
            known = Some(outcome);
            worst = worst.filter(|worst| badness(worst) >= badness(outcome)).or(known);
        }
        days.extend(worst.filter(|_| today - day < DAYS).map(|worst| DayView {
            ago: today - day,
            day: Timestamp(day * DAY).rfc3339().chars().take(10).collect(),
            worst: worst.to_owned(),
        }));
    }
    days
}

/// What a day is remembered by: a refusal before a silence before a success.
fn badness(outcome: &str) -> usize {
    const WORST_LAST: [Outcome; 8] = [
        Outcome::Valid,
        Outcome::Unverified,
        Outcome::RateLimited,
        Outcome::Unexpected,
        Outcome::Unreachable,
        Outcome::Restricted,
        Outcome::QuotaExhausted,
        Outcome::Invalid,
    ];
    WORST_LAST.iter().position(|one| one.as_str() == outcome).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_is_said_the_worst_first() {
        assert_eq!(Uses::default().breaks(), Vec::<String>::new());
        let uses = Uses {
            provider: "openai".to_owned(),
            current_of: Some("production".to_owned()),
            holders: vec!["github".to_owned(), "vercel".to_owned()],
            tables: vec![("app-database".to_owned(), 2)],
            is_only_usable: true,
            ..Uses::default()
        };
        let said = uses.breaks();
        assert_eq!(said[0], "Production: it is the current key of rotation production, at github, vercel.");
        assert_eq!(said[1], "The table of app-database hands it out as key 2.");
        assert!(said[2].contains("only key of openai") && said.len() == 3, "{said:?}");
    }

    #[test]
    fn a_day_is_remembered_by_its_worst_test() {
        let look =
            |day: i64, hour: i64, outcome: &str| (Timestamp(day * DAY + hour * DAY / 24), outcome.to_owned());
        let looks = [look(19_997, 4, "valid"), look(19_998, 2, "unreachable"), look(19_998, 3, "valid")];
        let seen: Vec<(i64, String)> =
            by_day(20_000, &looks).into_iter().map(|day| (day.ago, day.worst)).collect();
        let expected = [(3, "valid"), (2, "unreachable"), (1, "valid"), (0, "valid")];
        assert_eq!(seen, expected.map(|(ago, worst)| (ago, worst.to_owned())), "what did not change goes on");
        assert_eq!(by_day(20_000, &looks)[3].day, "2024-10-04");
        assert_eq!(by_day(20_000, &[look(10, 0, "valid")]).len(), 90);
        assert!(badness("invalid") > badness("restricted") && badness("valid") < badness("unreachable"));
    }
}
