//! What a real account would settle, and how far the simulated one lags behind itself.

use std::time::Duration;

/// How the simulator behaves where the documents leave it open (wire-facts.md, *open*), and its delays.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Keys on one page of a listing.
    pub page_size: usize,
    /// What a regular key gets for `POST /keys`: 401 or 403 (*open*).
    pub create_by_regular_key: u16,
    /// The 401's text for a disabled or expired key (*open*).
    pub disabled_message: String,
    /// Whether `GET /key` itself moves `last_used_at` (*open*).
    pub whoami_moves_last_used: bool,
    /// Whether `GET /key` with a provisioning key says `workspace_id: null` (*open*).
    pub provisioning_workspace_is_null: bool,
    /// How long a key made by API answers 401.
    pub fresh_key_refused_for: Duration,
    /// How long a key that was disabled and enabled again answers 401.
    pub revived_key_refused_for: Duration,
    /// How long a disabled or deleted key goes on working.
    pub dead_key_works_for: Duration,
    /// How long a key made by API is missing from listings.
    pub listing_lag: Duration,
    /// What moves between the first page of a listing and the second. One is used up by each listing that
    /// has more than one page.
    pub listing_shifts: Vec<ListingShift>,
    /// How long usage and `last_used_at` take to show.
    pub usage_lag: Duration,
    /// How a key over its limit is refused.
    pub limit_refusal: LimitRefusal,
    /// An incident: regular keys are refused with 401 and their hashes answered with 404, although listings show them.
    pub knows_no_regular_key: bool,
    /// What one chat call costs, in US dollars.
    pub chat_cost_usd: f64,
    /// What an account without guardrails gets for every call about them: 403 or 404 (*open*).
    pub guardrails_refused: Option<u16>,
    /// The same for credentials of its own.
    pub byok_refused: Option<u16>,
    /// How often a page of assignments or credentials leaves its last row out; `total_count` knows better.
    pub short_pages: u32,
    /// How often a change of an allow-list answers 200 and changes nothing.
    pub lost_byok_changes: u32,
    /// Keys that other people put on an allow-list by one PATCH each, right after one of ours: they had read the list
    /// before it, so that what ours added is gone.
    pub byok_editors: Vec<String>,
}

/// A change between two pages of one listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListingShift {
    /// A person makes a key: the next page repeats the last key of this one.
    Appears,
    /// A person deletes the newest key that people made: the next page skips one.
    Vanishes,
}

/// The two ways a key over its limit is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitRefusal {
    /// 403 `Key limit exceeded (total limit). …`
    Forbidden,
    /// 402 with `metadata.limit_source = "openrouter_key_limit"`.
    PaymentRequired,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            page_size: 100,
            create_by_regular_key: 401,
            disabled_message: "User not found.".to_owned(),
            whoami_moves_last_used: false,
            provisioning_workspace_is_null: false,
            fresh_key_refused_for: Duration::ZERO,
            revived_key_refused_for: Duration::ZERO,
            dead_key_works_for: Duration::ZERO,
            listing_lag: Duration::ZERO,
            listing_shifts: Vec::new(),
            usage_lag: Duration::ZERO,
            limit_refusal: LimitRefusal::Forbidden,
            knows_no_regular_key: false,
            chat_cost_usd: 0.000_1,
            guardrails_refused: None,
            byok_refused: None,
            short_pages: 0,
            lost_byok_changes: 0,
            byok_editors: Vec::new(),
        }
    }
}
