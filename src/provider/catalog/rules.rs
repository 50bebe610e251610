//! How each provider's failures are read (providers.md, "Rules for failures"): top to bottom, the body's code
//! before the status, billing before rate limits. Every rule wants JSON unless it names a page; 408, 429, 5xx
//! and what no rule names are read alike for all (`domain::verdict::rule::judge`).

use crate::domain::verdict::rule::Denying::{BadRequest, Forbidden, Ok, Unauthorized};
use crate::domain::verdict::rule::Rejection::{Disabled, Expired, Leaked, Rejected};
use crate::domain::verdict::rule::Restriction::{
    Ip, Organisation, Region, Scope, ServiceDisabled, WrongKind,
};
use crate::domain::verdict::rule::Shortage::{Credits, Plan, SpendLimit};
use crate::domain::verdict::rule::Sign::{
    All, Anything, Code, CodeForm, Either, Int, Is, Json, NotPositive, Number, Page, Says,
};
use crate::domain::verdict::rule::{Rule, Sign};

const REJECTED_401: Rule = Rule::invalid(Unauthorized, Json, Rejected);
const NO_CREDIT_402: Rule = Rule::exhausted(402, Json, Credits);
const SCOPE_403: Rule = Rule::restricted(403, Json, Scope);

/// OpenRouter's own error form for this status (wire-facts.md): the code within repeats it.
const OWN_401: Sign = All(&[Int("/error/code", 401), Sign::AnyText("/error/message")]);
const OWN_402: Sign = All(&[Int("/error/code", 402), Sign::AnyText("/error/message")]);
const OWN_403: Sign = All(&[Int("/error/code", 403), Sign::AnyText("/error/message")]);

/// The label proves that the key was looked at; the kind must be told, by the newer field or the older one.
pub(super) const OPENROUTER_PROOF: Sign = All(&[
    Sign::AnyText("/data/label"),
    Either(&[Is("/data/is_management_key", false), Is("/data/is_provisioning_key", false)]),
]);

pub(super) const OPENROUTER: &[Rule] = &[
    Rule::restricted(
        200,
        Either(&[Is("/data/is_management_key", true), Is("/data/is_provisioning_key", true)]),
        WrongKind,
    ),
    Rule::exhausted(200, All(&[Number("/data/limit"), NotPositive("/data/limit_remaining")]), SpendLimit),
    // The header was lost on the way: says nothing of the key.
    Rule::unexpected(401, Says(&["no cookie auth credentials"])),
    // The text for disabled and expired keys is open; where it says so, it is believed.
    Rule::invalid(Unauthorized, All(&[OWN_401, Says(&["expired"])]), Expired),
    Rule::invalid(Unauthorized, All(&[OWN_401, Says(&["disabled"])]), Disabled),
    Rule::invalid(Unauthorized, OWN_401, Rejected),
    Rule::exhausted(402, All(&[OWN_402, Code(&["openrouter_key_limit"])]), SpendLimit),
    Rule::exhausted(402, OWN_402, Credits),
    Rule::exhausted(403, All(&[OWN_403, Says(&["key limit exceeded"])]), SpendLimit),
    Rule::restricted(403, OWN_403, Scope),
];

const OPENAI_NO_CREDIT: Sign = Code(&["insufficient_quota", "credit_balance_exhausted"]);
const OPENAI_SPENT: Sign =
    Either(&[CodeForm("", "_spend_limit_exceeded"), Code(&["organization_usage_limit_exceeded"])]);
const OPENAI_SCOPE: Sign = Either(&[
    Code(&["missing_scope"]),
    Says(&["missing scopes", "missing_scope", "insufficient permissions"]),
]);

pub(super) const OPENAI: &[Rule] = &[
    Rule::exhausted(429, OPENAI_NO_CREDIT, Credits),
    Rule::exhausted(429, OPENAI_SPENT, SpendLimit),
    Rule::invalid(Unauthorized, Code(&["invalid_api_key"]), Rejected),
    Rule::invalid(Unauthorized, Code(&["account_deactivated"]), Disabled),
    Rule::restricted(401, Code(&["ip_not_authorized"]), Ip),
    Rule::restricted(401, OPENAI_SCOPE, Scope),
    Rule::restricted(403, OPENAI_SCOPE, Scope),
    Rule::restricted(401, Says(&["organization", "organisation"]), Organisation),
    Rule::restricted(403, Code(&["unsupported_country_region_territory"]), Region),
];

/// An endpoint that claims to be like OpenAI: its codes first, then what the statuses mean everywhere.
pub(super) const CUSTOM: &[Rule] = &[
    OPENAI[0],
    OPENAI[1],
    OPENAI[2],
    OPENAI[3],
    OPENAI[4],
    OPENAI[5],
    OPENAI[6],
    OPENAI[7],
    OPENAI[8],
    REJECTED_401,
    NO_CREDIT_402,
    SCOPE_403,
    Rule::unverified(404, Anything),
    Rule::unverified(405, Anything),
];

pub(super) const ANTHROPIC: &[Rule] = &[
    Rule::unexpected(401, All(&[Code(&["authentication_error"]), Says(&["cors"])])),
    Rule::invalid(Unauthorized, Code(&["authentication_error"]), Rejected),
    Rule::restricted(403, Code(&["permission_error"]), Scope),
    Rule::exhausted(400, Says(&["usage limits"]), SpendLimit),
    Rule::exhausted(400, Says(&["credit balance is too low"]), Credits),
    Rule::exhausted(402, Code(&["billing_error"]), Credits),
    Rule::exhausted(429, Says(&["enforced_spend_limit_reached"]), SpendLimit),
];

pub(super) const GOOGLE: &[Rule] = &[
    Rule::invalid(BadRequest, Says(&["api key expired"]), Expired),
    Rule::invalid(BadRequest, Code(&["API_KEY_INVALID"]), Rejected),
    Rule::restricted(403, Code(&["SERVICE_DISABLED"]), ServiceDisabled),
    Rule::restricted(403, Code(&["API_KEY_IP_ADDRESS_BLOCKED"]), Ip),
    Rule::restricted(403, CodeForm("API_KEY_", "_BLOCKED"), Scope),
    Rule::invalid(Forbidden, Says(&["reported as leaked"]), Leaked),
    Rule::invalid(Forbidden, Code(&["CONSUMER_SUSPENDED"]), Leaked),
    Rule::restricted(400, Code(&["FAILED_PRECONDITION"]), Region),
    NO_CREDIT_402,
    Rule::restricted(401, Code(&["ACCESS_TOKEN_TYPE_UNSUPPORTED"]), WrongKind),
];

pub(super) const COHERE: &[Rule] =
    &[Rule::invalid(Ok, Is("/valid", false), Rejected), REJECTED_401, NO_CREDIT_402, SCOPE_403];

pub(super) const GROQ: &[Rule] = &[
    Rule::invalid(Unauthorized, Code(&["invalid_api_key"]), Rejected),
    SCOPE_403,
    // "Flex tier capacity exceeded".
    Rule::rate_limited(498, Anything),
];

pub(super) const TOGETHER: &[Rule] = &[REJECTED_401, NO_CREDIT_402];
pub(super) const MISTRAL: &[Rule] = &[REJECTED_401, NO_CREDIT_402, SCOPE_403];
pub(super) const DEEPINFRA: &[Rule] = &[REJECTED_401, NO_CREDIT_402];

/// Perplexity refuses a key with the page of its own front server, not with JSON.
pub(super) const PERPLEXITY: &[Rule] = &[
    Rule::exhausted(401, Says(&["credit", "quota"]), Credits),
    REJECTED_401,
    Rule::invalid(Unauthorized, Page(&["401 authorization required", "openresty"]), Rejected),
];

pub(super) const RUNWAY: &[Rule] =
    &[Rule::exhausted(200, NotPositive("/creditBalance"), Credits), REJECTED_401];

pub(super) const XAI: &[Rule] = &[
    Rule::invalid(Ok, Is("/api_key_blocked", true), Disabled),
    Rule::invalid(Ok, Is("/api_key_disabled", true), Disabled),
    Rule::restricted(200, Is("/team_blocked", true), Organisation),
    Rule::invalid(BadRequest, Says(&["api key"]), Rejected),
    REJECTED_401,
    SCOPE_403,
];

pub(super) const DEEPSEEK: &[Rule] =
    &[Rule::exhausted(200, Is("/is_available", false), Credits), REJECTED_401, NO_CREDIT_402];

pub(super) const FIREWORKS: &[Rule] =
    &[REJECTED_401, NO_CREDIT_402, Rule::exhausted(412, Json, SpendLimit), SCOPE_403];

pub(super) const HUGGINGFACE: &[Rule] =
    &[Rule::invalid(Unauthorized, Says(&["expired"]), Expired), REJECTED_401, NO_CREDIT_402];

pub(super) const REPLICATE: &[Rule] = &[REJECTED_401, NO_CREDIT_402];

pub(super) const ELEVENLABS: &[Rule] = &[
    Rule::invalid(Unauthorized, Code(&["invalid_api_key"]), Rejected),
    Rule::restricted(401, Code(&["missing_permissions"]), Scope),
    Rule::exhausted(401, Code(&["quota_exceeded"]), Plan),
    Rule::restricted(401, Code(&["detected_unusual_activity"]), ServiceDisabled),
];

pub(super) const STABILITY: &[Rule] = &[REJECTED_401, NO_CREDIT_402, SCOPE_403];
pub(super) const CEREBRAS: &[Rule] = &[REJECTED_401, NO_CREDIT_402, SCOPE_403];
