//! Vendors of LLM APIs: how a key is tested (every provider) and how keys are issued (optional capability).
//!
//! The engine sees only what is in this file: the [`Issuer`], [`RollKeeper`] and [`Tester`] traits and the plain values of
//! [`crate::domain`].

pub mod catalog;
pub mod openrouter;
pub mod probe;
pub mod tester;

use async_trait::async_trait;
use serde_json::Value;
use url::Url;

use crate::domain::inherit::AllowList;
use crate::domain::key::{CurrentKey, KeySpec, MicroUsd, RemoteKey};
use crate::domain::outcome::Called;
use crate::domain::secret::Secret;
use crate::domain::time::Span;
use crate::domain::verdict::Observation;
use crate::net::Deadline;

/// Most tokens of the completion that proves a new key, where a policy asks for one.
pub const CHAT_TOKENS: u32 = 5;

/// No account has so many pages of keys; a server that always has another one would be read for ever.
pub const MAX_PAGES: usize = 500;

/// A key that was just issued: the only moment its secret is ever shown.
#[derive(Debug)]
pub struct IssuedKey {
    /// The secret, to be sealed and stored at once.
    pub secret: Secret,
    /// What the provider says of it.
    pub remote: RemoteKey,
}

/// Total credits and their use, `GET /credits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credits {
    /// Bought in total.
    pub total: MicroUsd,
    /// Used in total.
    pub used: MicroUsd,
}

/// Where a page of a listing begins, in the provider's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    /// What the provider understands.
    pub fn new(place: impl Into<String>) -> Self {
        Self(place.into())
    }

    /// The same again.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A part of the account's keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Newest first.
    pub keys: Vec<RemoteKey>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<Cursor>,
}

/// A part of a listing whose length the provider tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows<T> {
    /// In the provider's order.
    pub rows: Vec<T>,
    /// How many there are on all pages.
    pub total: usize,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<Cursor>,
}

/// A key and the guardrail that it is assigned to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The key.
    pub hash: String,
    /// Id of the guardrail.
    pub guardrail: String,
}

/// A credential of the customer's own at a vendor, and who may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub id: String,
    /// The keys that may; `None` for all of them.
    pub keys: Option<Vec<String>>,
}

/// What of an account names keys by their identity (rotation.md, R23). Where a listing answers `None` the provider said
/// in its own form, with 403 or 404, that the account has no such thing.
#[async_trait]
pub trait RollKeeper: Send + Sync {
    /// One page of all guardrail assignments; `None` is the first.
    async fn assignments(&self, at: Option<&Cursor>, deadline: Deadline) -> Called<Option<Rows<Assignment>>>;

    /// One page of the credentials of the workspace.
    async fn credentials(&self, at: Option<&Cursor>, deadline: Deadline) -> Called<Option<Rows<Credential>>>;

    /// Assigns a key to a guardrail. It takes the key away from any other one.
    async fn assign(&self, guardrail: &str, hash: &str, deadline: Deadline) -> Called<()>;

    /// Replaces the list of keys that may use a credential.
    async fn allow(&self, credential: &str, list: &AllowList, deadline: Deadline) -> Called<()>;
}

/// A provider account whose keys can be managed by API. One value holds one provisioning key.
///
/// No method retries. A [`crate::domain::outcome::Failure`] says what the answer proves: only a vendor's own
/// error proves that nothing was done.
#[async_trait]
pub trait Issuer: Send + Sync {
    /// What `key` says of itself (`GET /key` with that key): its kind, limits and account.
    async fn whoami(&self, key: &Secret, deadline: Deadline) -> Called<CurrentKey>;

    /// What the provisioning key of this issuer says of itself.
    async fn whoami_provisioning(&self, deadline: Deadline) -> Called<CurrentKey>;

    /// What the provider calls a key whose text is known: the identity that its listings show. An opaque word; `None`
    /// where only the provider can tell.
    fn identity_of(&self, key: &Secret) -> Option<String>;

    /// The same of the provisioning key itself, so that nobody takes it for a regular key of the account.
    fn provisioning_hash(&self) -> String;

    /// False where a key can only be deleted: then it is not observed, and nothing leads back to it.
    fn can_disable(&self) -> bool;

    /// One page of the keys of the workspace, newest first, disabled and expired ones included; `None` is the first.
    /// Pages are cut from a list that others change meanwhile: one may repeat rows of the page before, or skip some.
    async fn list(&self, at: Option<&Cursor>, deadline: Deadline) -> Called<Page>;

    /// One key by hash; `None` when the provider says 404 in its own form.
    async fn read(&self, hash: &str, deadline: Deadline) -> Called<Option<RemoteKey>>;

    /// Makes a key. Sent once per `name`, never retried (I4).
    async fn create(&self, name: &str, spec: &KeySpec, deadline: Deadline) -> Called<IssuedKey>;

    /// Disables or enables a key; the answer is the key as the provider now has it. `None` for a 404.
    async fn set_disabled(&self, hash: &str, disabled: bool, deadline: Deadline)
    -> Called<Option<RemoteKey>>;

    /// Sets or clears (`None`) the spending limit. `None` for a 404.
    async fn set_limit(
        &self,
        hash: &str,
        limit: Option<MicroUsd>,
        deadline: Deadline,
    ) -> Called<Option<RemoteKey>>;

    /// Deletes a key; true when it was there, false when it was gone already (404).
    async fn delete(&self, hash: &str, deadline: Deadline) -> Called<bool>;

    /// What of the account names keys by their identity, where the provider has that.
    fn rolls(&self) -> Option<&dyn RollKeeper>;

    /// The account's credits.
    async fn credits(&self, deadline: Deadline) -> Called<Credits>;

    /// One completion of at most [`CHAT_TOKENS`] with `key`, for `probe = { chat = "model" }`.
    async fn chat(&self, key: &Secret, model: &str, deadline: Deadline) -> Called<()>;
}

/// Where a provider is asked, when not where its row of the catalog says.
#[derive(Debug, Clone, Copy)]
pub struct Base<'a> {
    /// Its API.
    pub url: &'a Url,
    /// A person named it by a command, not the configuration: it is reached at public addresses only.
    pub is_given: bool,
}

impl<'a> Base<'a> {
    /// One that the configuration names.
    pub fn configured(url: &'a Url) -> Self {
        Self { url, is_given: false }
    }
}

/// What can be done with the keys of a provider.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Text for text.
    Chat,
    /// Vectors for text.
    Embeddings,
    /// Pictures.
    Image,
    /// Films.
    Video,
    /// Speech, music, transcripts.
    Audio,
    /// Answers from the web.
    Search,
    /// rekeyd issues, disables and deletes its keys with a provisioning key.
    RotatesByApi,
}

impl Capability {
    /// The word in JSON and in tables.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Search => "search",
            Self::RotatesByApi => "rotates_by_api",
        }
    }
}

/// What people are told of a kind of provider.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// Its name in the catalog.
    pub kind: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What it is, in one sentence.
    pub description: &'static str,
    /// What its keys look like.
    pub key_format: &'static str,
    /// Where they are documented.
    pub docs_url: &'static str,
    /// Where its API begins; empty for one that brings its own.
    pub base_url: &'static str,
    /// What its keys are good for.
    pub capabilities: &'static [Capability],
}

/// Tests keys of any provider with the cheapest honest request that it offers.
#[async_trait]
pub trait Tester: Send + Sync {
    /// One test. `kind` is the provider's row in the catalog, `base` where its API is when not where the row
    /// says, `settings` the key's free settings. No retries but one after a failed connect.
    async fn test(
        &self,
        kind: &str,
        base: Option<Base<'_>>,
        secret: &Secret,
        settings: &Value,
        deadline: Deadline,
    ) -> Observation;

    /// Every kind of provider, by name.
    fn kinds(&self) -> Vec<&'static str>;

    /// What people are told of one of them.
    fn profile(&self, kind: &str) -> Option<Profile>;

    /// Whether an endpoint that a person names can be asked: false for one that spells out a private address, or this
    /// machine, unless the configuration allows that. A name is looked at again when it is resolved.
    fn may_ask(&self, url: &Url) -> bool;

    /// The providers whose keys alone look like this one; several where it is not clear.
    fn kinds_of_form(&self, key: &str) -> Vec<&'static str>;

    /// True when keys of this provider come in two kinds that look alike, so that the kind must be proved before
    /// one is stored (product.md).
    fn has_two_kinds(&self, kind: &str) -> bool;

    /// What keys of this provider look like, when this one looks otherwise: worth a warning, never a refusal.
    fn odd_form(&self, kind: &str, secret: &Secret) -> Option<&'static str>;

    /// Not more often than this, where tests cost the customer something.
    fn min_interval(&self, kind: &str) -> Option<Span>;
}
