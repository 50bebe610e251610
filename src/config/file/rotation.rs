//! `[[rotations]]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{CronText, DurationText, NameText};
use crate::config::settings::values::{parse_span, span_text};
use crate::domain::time::Span;

/// `max_age` where nothing else follows from `every`.
const MAX_AGE: Span = Span::hours(45 * 24);
/// `jitter` where nothing else follows from `every`.
const JITTER: Span = Span::minutes(10);
/// `max_overlap` where nothing else follows from `grace` and `quiet`.
const MAX_OVERLAP: Span = Span::hours(7 * 24);

/// The policy for one logical credential.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Rotation {
    /// What people call it; part of the names of its keys.
    pub name: NameText,
    /// The account that issues its keys.
    pub account: NameText,
    /// When a new key is due: cron with seconds. Either this or `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<CronText>,
    /// How long after the last key a new one is due. Either this or `schedule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<DurationText>,
    /// Zone of the schedule and the window, an IANA name.
    #[serde(default = "timezone")]
    pub timezone: String,
    /// When a run should start; a preference, never a reason to exceed `max_age`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// A key never gets older. 45d, or one and a half times `every` where that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<DurationText>,
    /// A run starts up to this much later than it is due. 10m, or a tenth of `every` where that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<DurationText>,
    /// Where the key is published.
    #[serde(default)]
    pub destinations: Vec<NameText>,
    /// Least time between publishing the new key and disabling the old one.
    #[serde(default = "day")]
    pub grace: DurationText,
    /// The old key is disabled only when it has not been used for this long; it may overlap grace.
    #[serde(default = "day")]
    pub quiet: DurationText,
    /// Time between disabling and deleting the old key, in which a rollback takes one call.
    #[serde(default = "day")]
    pub observe: DurationText,
    /// An alert opens when the old key is still used after this long. 7d, or twice the longer of `grace` and
    /// `quiet` where that is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_overlap: Option<DurationText>,
    /// A leaked key that lives longer than this is told as critical, and a person may let go of the destination that holds
    /// its replacement up.
    #[serde(default = "max_exposure")]
    pub max_exposure: DurationText,
    /// How long a new key may be refused before it counts as broken.
    #[serde(default = "propagation")]
    pub propagation: DurationText,
    /// Wait before the second look for a key whose creation has no known outcome.
    #[serde(default = "settle")]
    pub settle: DurationText,
    /// What happens when the current key is dead: a new one, or only an alert.
    #[serde(default = "on_invalid")]
    pub on_invalid: OnInvalid,
    /// Least time between two keys issued because the current one was dead.
    #[serde(default = "heal_cooldown")]
    pub heal_cooldown: DurationText,
    /// How a new key is proved: "key" asks the provider about it, { chat = "model" } also makes one billed
    /// completion of at most 5 tokens.
    #[serde(default = "probe")]
    pub probe: Probe,
    /// Limits of new keys; what is left out is inherited from the predecessor.
    #[serde(default)]
    pub key: KeyPolicy,
}

impl Rotation {
    /// A default never contradicts what is given. Times that cannot be read are reported elsewhere.
    pub(super) fn complete(&mut self) {
        let read = |text: &DurationText| parse_span(text.as_str()).ok();
        let text = |span: Span| DurationText(span_text(span));
        let every = self.every.as_ref().and_then(read);
        let overlap = read(&self.grace).max(read(&self.quiet)).map(|longer| Span(longer.0 * 2));
        let max_age = every.map_or(MAX_AGE, |every| MAX_AGE.max(Span(every.0 + every.0 / 2)));
        let jitter = every.map_or(JITTER, |every| JITTER.min(Span(every.0 / 10)));
        self.max_age.get_or_insert_with(|| text(max_age));
        self.jitter.get_or_insert_with(|| text(jitter));
        self.max_overlap
            .get_or_insert_with(|| text(overlap.map_or(MAX_OVERLAP, |overlap| MAX_OVERLAP.max(overlap))));
    }
}

fn timezone() -> String {
    "UTC".to_owned()
}

fn day() -> DurationText {
    "24h".into()
}

fn propagation() -> DurationText {
    "2m".into()
}

fn max_exposure() -> DurationText {
    "15m".into()
}

fn settle() -> DurationText {
    "15s".into()
}

const fn on_invalid() -> OnInvalid {
    OnInvalid::Rotate
}

fn heal_cooldown() -> DurationText {
    "1h".into()
}

const fn probe() -> Probe {
    Probe::Key
}

/// A maintenance window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Window {
    /// "HH:MM", in the rotation's zone.
    #[schemars(regex(pattern = "^[0-2][0-9]:[0-5][0-9]$"))]
    pub start: String,
    /// "HH:MM"; before `start` it means the next day.
    #[schemars(regex(pattern = "^[0-2][0-9]:[0-5][0-9]$"))]
    pub end: String,
    /// Days on which it starts.
    #[serde(default = "every_day")]
    #[schemars(length(min = 1))]
    pub days: Vec<Day>,
}

fn every_day() -> Vec<Day> {
    vec![Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun]
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// What happens when the current key is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnInvalid {
    /// A new key is issued and published at once.
    Rotate,
    /// An alert opens.
    Alert,
}

/// How a new key is proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(deny_unknown_fields)]
pub enum Probe {
    /// The provider is asked about it.
    Key,
    /// And this model answers with it, in at most 5 tokens.
    Chat(String),
}

/// Limits of new keys.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct KeyPolicy {
    /// Spending limit in USD.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000_000.0), extend("exclusiveMinimum" = 0))]
    pub limit: Option<f64>,
    /// How often the limit starts anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_reset: Option<LimitReset>,
    /// Whether usage of own vendor keys counts against the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_byok_in_limit: Option<bool>,
}

/// How often a limit starts anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LimitReset {
    /// Every day.
    Daily,
    /// Every week.
    Weekly,
    /// Every month.
    Monthly,
}

impl LimitReset {
    /// The provider's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }
}
