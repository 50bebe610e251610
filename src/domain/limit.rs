//! How often somebody may ask for something within a while, over all replicas.

use super::time::Span;

/// So often within a window, which begins with the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What clients read in `RateLimit-Policy`.
    pub name: &'static str,
    /// So often.
    pub most: u32,
    /// Within this.
    pub window: Span,
}

impl Limit {
    /// Tests of keys that one person or token asks for.
    pub const TESTS: Self = Self::a_minute("tests", 10);
    /// Failed logins of one account.
    pub const LOGINS_OF_ACCOUNT: Self = Self::a_minute("account-logins", 5);
    /// Failed logins from one address.
    pub const LOGINS_FROM_ADDRESS: Self = Self::a_minute("address-logins", 20);

    const fn a_minute(name: &'static str, most: u32) -> Self {
        Self { name, most, window: Span::minutes(1) }
    }
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Of which.
    pub limit: Limit,
    /// How often still.
    pub left: u32,
    /// Until the window ends.
    pub resets_in: Span,
}

impl Allowance {
    /// Whole seconds until the window ends, at least one.
    pub fn seconds(&self) -> i64 {
        (self.resets_in.0 + 999).div_euclid(1000).max(1)
    }
}
