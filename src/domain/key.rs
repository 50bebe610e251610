//! What a provider says about a key: the rows of an account's listing and a key's view of itself.
//! Field meanings and quirks: wire-facts.md, "Key object" and "`CurrentKey`".

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// The two kinds of OpenRouter key that look exactly alike (product.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// Calls models, cannot manage keys.
    Regular,
    /// Manages keys, cannot call a model. OpenRouter also says *management key*.
    Provisioning,
}

/// Micro-dollars: money as whole numbers, so that "unchanged" is exact and values can be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct MicroUsd(pub i64);

impl MicroUsd {
    /// From the provider's floating-point dollars, rounded to the nearest millionth.
    #[expect(clippy::cast_possible_truncation, reason = "dollar figures are far below 2^53 micro-dollars")]
    pub fn from_usd(usd: f64) -> Self {
        Self((usd * 1_000_000.0).round() as i64)
    }

    /// Dollars, for people and for the provider's JSON.
    #[expect(clippy::cast_precision_loss, reason = "micro-dollars below 2^53 are exact in f64")]
    pub fn usd(self) -> f64 {
        self.0 as f64 / 1_000_000.0
    }
}

/// The figures that move when a key is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Spent through the provider.
    pub usage: MicroUsd,
    /// Spent with own vendor keys.
    pub byok_usage: MicroUsd,
    /// Last call.
    pub last_used_at: Option<Timestamp>,
}

impl Figures {
    /// True when somebody ever used the key.
    pub fn is_used(&self) -> bool {
        self.usage.0 > 0 || self.byok_usage.0 > 0 || self.last_used_at.is_some()
    }
}

/// What a provider tells of the use of a key. One that tells nothing stays as it is: time alone passes (rotation.md,
/// "grace").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Usage {
    /// These figures.
    Figures(Figures),
    /// It has none.
    Unknown,
}

impl Usage {
    /// True unless the provider says that nobody ever used the key.
    pub fn may_be_used(&self) -> bool {
        self.figures().is_none_or(Figures::is_used)
    }

    /// The figures, where there are any.
    pub fn figures(&self) -> Option<&Figures> {
        match self {
            Self::Figures(figures) => Some(figures),
            Self::Unknown => None,
        }
    }
}

/// One key as the account's listing, or `GET /keys/{hash}`, shows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RemoteKey {
    /// Its identity, in the provider's own words.
    pub hash: String,
    /// The name given at creation; not unique.
    pub name: String,
    /// First 12 and last 3 characters, as the provider shows them.
    pub label: String,
    /// True when somebody disabled it.
    pub disabled: bool,
    /// Spending limit, if any.
    pub limit: Option<MicroUsd>,
    /// What is left of the limit; `None` without a limit.
    pub limit_remaining: Option<MicroUsd>,
    /// `daily`, `weekly`, `monthly` or never.
    pub limit_reset: Option<String>,
    /// Whether usage with the customer's own vendor keys counts against the limit.
    pub include_byok_in_limit: bool,
    /// How much it was used; lags by minutes.
    pub usage: Usage,
    /// When the provider stops accepting it.
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// The workspace it lives in.
    pub workspace_id: Option<String>,
}

impl RemoteKey {
    /// What it is allowed: what a successor inherits (R10).
    pub fn spec(&self) -> KeySpec {
        KeySpec {
            limit: self.limit,
            limit_reset: self.limit_reset.clone(),
            include_byok_in_limit: self.include_byok_in_limit,
            workspace: self.workspace_id.clone(),
        }
    }

    /// Enabled, not expired at `now`, limit not used up (first half of the guard's "usable").
    pub fn is_live(&self, now: Timestamp) -> bool {
        let expired = self.expires_at.is_some_and(|at| at <= now);
        let spent = self.limit_remaining.is_some_and(|left| left.0 <= 0);
        !self.disabled && !expired && !spent
    }
}

#[cfg(test)]
impl RemoteKey {
    /// An enabled key without limit or history, for tests.
    pub(crate) fn sample(hash: &str) -> Self {
        Self {
            hash: hash.to_owned(),
            name: String::new(),
            label: String::new(),
            disabled: false,
            limit: None,
            limit_remaining: None,
            limit_reset: None,
            include_byok_in_limit: false,
            usage: Usage::Figures(Figures {
                usage: MicroUsd(0),
                byok_usage: MicroUsd(0),
                last_used_at: None,
            }),
            expires_at: None,
            created_at: None,
            workspace_id: None,
        }
    }
}

/// What a key says of itself: `GET /key`. Has no hash, name or disabled flag.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CurrentKey {
    /// Which of the two kinds it is.
    pub kind: KeyKind,
    /// First 12 and last 3 characters.
    pub label: String,
    /// Spending limit, if any.
    pub limit: Option<MicroUsd>,
    /// What is left of the limit.
    pub limit_remaining: Option<MicroUsd>,
    /// Period of the limit.
    pub limit_reset: Option<String>,
    /// Whether own-vendor-key usage counts against the limit.
    pub include_byok_in_limit: bool,
    /// When the provider stops accepting it.
    pub expires_at: Option<Timestamp>,
    /// The person who made it.
    pub creator_user_id: Option<String>,
    /// The organisation it belongs to.
    pub organization_id: Option<String>,
    /// The workspace it lives in.
    pub workspace_id: Option<String>,
}

impl CurrentKey {
    /// The account behind the key (R8): organisation, or else creator. `None` when the provider names neither.
    pub fn account(&self) -> Option<String> {
        let organization = self.organization_id.as_ref().map(|id| format!("org:{id}"));
        organization.or_else(|| self.creator_user_id.as_ref().map(|id| format!("user:{id}")))
    }
}

/// What to ask for when a key is made (R10: what the policy leaves open is the predecessor's).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub struct KeySpec {
    /// Spending limit; `None` for no limit.
    pub limit: Option<MicroUsd>,
    /// `daily`, `weekly`, `monthly`; `None` for never.
    pub limit_reset: Option<String>,
    /// Whether own-vendor-key usage counts against the limit.
    pub include_byok_in_limit: bool,
    /// Workspace to create it in; `None` for the account's default.
    pub workspace: Option<String>,
}
