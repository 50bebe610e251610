//! What a test of a key shows, what that says of the key, and what people are told of it (providers.md).
//!
//! Three layers, each a pure function of the one before:
//!
//! 1. a *judgement* ([`rule`]): one answer of a provider against that provider's rules. Only a matched rule
//!    can say `invalid`, and no rule for a 408, 429, 3xx or 5xx can be written that says so;
//! 2. a *verdict* ([`health`]): sticky, moved by conclusive [`Observation`]s only, and to `invalid` only
//!    after a second look;
//! 3. a *tell* ([`tell`], and [`crowd`] for whole providers): changes of verdict, not observations; flapping,
//!    rate limits that last, outages, recoveries.

pub mod crowd;
pub mod egress;
pub mod health;
pub mod history;
pub mod observation;
pub mod rule;
pub mod tally;
pub mod tell;

use serde::{Deserialize, Serialize};

pub use health::{Concern, Health, Occasion, Step, VerdictChange};
pub use observation::Observation;
pub use rule::{Judgement, Rule};
pub use tell::Tell;

/// What one test showed. As a name only: the evidence behind it is a [`Judgement`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The provider authenticated this key, proved by the body.
    Valid,
    /// A live key that may not do this.
    Restricted,
    /// A live key without money or limit left.
    QuotaExhausted,
    /// The provider does not accept this credential.
    Invalid,
    /// Too many requests; passes.
    RateLimited,
    /// DNS, connect, TLS, timeout, 408, 5xx.
    Unreachable,
    /// Anything that no rule names: HTML, a redirect, a moved endpoint.
    Unexpected,
    /// The endpoint does not check the key.
    Unverified,
}

impl Outcome {
    /// Every outcome, in the order of providers.md.
    pub const ALL: [Self; 8] = [
        Self::Valid,
        Self::Restricted,
        Self::QuotaExhausted,
        Self::Invalid,
        Self::RateLimited,
        Self::Unreachable,
        Self::Unexpected,
        Self::Unverified,
    ];

    /// True when it says something about the key rather than about the day.
    pub const fn is_conclusive(self) -> bool {
        matches!(self, Self::Valid | Self::Restricted | Self::QuotaExhausted | Self::Invalid)
    }

    /// The stored form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Restricted => "restricted",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Invalid => "invalid",
            Self::RateLimited => "rate_limited",
            Self::Unreachable => "unreachable",
            Self::Unexpected => "unexpected",
            Self::Unverified => "unverified",
        }
    }
}

/// Why a key is restricted, exhausted or invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A permission or scope is missing.
    Scope,
    /// The caller's address is not on the key's list.
    Ip,
    /// The provider does not serve this country.
    Region,
    /// The organisation, team or membership behind the key is the obstacle.
    Organisation,
    /// The service behind the key is switched off.
    ServiceDisabled,
    /// A credential of another kind, such as a provisioning key.
    WrongKind,
    /// No money left.
    Credits,
    /// A spending limit is reached.
    SpendLimit,
    /// The plan does not include more.
    Plan,
    /// Not known to the provider.
    Rejected,
    /// Past its date.
    Expired,
    /// Switched off at the provider.
    Disabled,
    /// The provider withdrew it because it leaked.
    Leaked,
}

impl Reason {
    /// The stored form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::Ip => "ip",
            Self::Region => "region",
            Self::Organisation => "organisation",
            Self::ServiceDisabled => "service_disabled",
            Self::WrongKind => "wrong_kind",
            Self::Credits => "credits",
            Self::SpendLimit => "spend_limit",
            Self::Plan => "plan",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
            Self::Leaked => "leaked",
        }
    }
}

/// What is held of a key: sticky, and what people see as its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// No conclusive test yet.
    #[default]
    Untested,
    /// Its endpoint does not check keys.
    Unverified,
    /// Works.
    Valid,
    /// Alive, and may not do this.
    Restricted,
    /// Alive, without money or limit.
    QuotaExhausted,
    /// Not accepted, seen twice.
    Invalid,
}

impl Verdict {
    /// Every verdict, in the order of providers.md.
    pub const ALL: [Self; 6] = [
        Self::Untested,
        Self::Unverified,
        Self::Valid,
        Self::Restricted,
        Self::QuotaExhausted,
        Self::Invalid,
    ];

    /// The stored form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Untested => "untested",
            Self::Unverified => "unverified",
            Self::Valid => "valid",
            Self::Restricted => "restricted",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Invalid => "invalid",
        }
    }

    /// True for the verdicts that people are told of.
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Restricted | Self::QuotaExhausted | Self::Invalid)
    }

    /// True once a provider has said anything conclusive of the key.
    pub const fn is_settled(self) -> bool {
        !matches!(self, Self::Untested | Self::Unverified)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Verdict {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == text).ok_or(UnknownName)
    }
}

impl std::str::FromStr for Outcome {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text).ok_or(UnknownName)
    }
}

/// A stored name that this version does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown verdict or outcome")]
pub struct UnknownName;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_names_are_the_serde_names() {
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
            assert_eq!(outcome.as_str().parse(), Ok(outcome));
        }
        for verdict in Verdict::ALL {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.as_str());
            assert_eq!(verdict.as_str().parse(), Ok(verdict));
        }
        for reason in [Reason::ServiceDisabled, Reason::WrongKind, Reason::SpendLimit, Reason::Organisation] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
