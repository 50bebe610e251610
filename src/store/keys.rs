//! Stored keys and their providers.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::damaged::readable;
use super::listing::{Of, Source};
use super::pool::Tx;
use super::{Store, StoreError, from_json};
use crate::crypto::{Purpose, Sealed, Use};
use crate::domain::listing::{Page, Wanted};
use crate::domain::rotation::facts::{KeyFacts, TestResult};
use crate::domain::time::{Stamp, Timestamp};
use crate::domain::verdict::Health;

/// What a key is to its rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Belongs to no rotation.
    Manual,
    /// Issued, not yet proved.
    Candidate,
    /// The one that consumers should use.
    Current,
    /// On its way out; never handed out.
    Retiring,
    /// Gone at the provider; a tombstone without secret.
    Dead,
}

impl Role {
    /// The word in the database and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Candidate => "candidate",
            Self::Current => "current",
            Self::Retiring => "retiring",
            Self::Dead => "dead",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Manual, Self::Candidate, Self::Current, Self::Retiring, Self::Dead]
            .into_iter()
            .find(|role| role.word() == word)
    }
}

/// How a key came to us: decides whether rekeyd may ever touch it at the provider (I9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// rekeyd asked the provider for it.
    Created,
    /// An admin adopted it into a rotation.
    Adopted,
    /// An admin gave it to us to keep.
    Given,
}

impl Origin {
    /// The word in the database.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Adopted => "adopted",
            Self::Given => "given",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Created, Self::Adopted, Self::Given].into_iter().find(|origin| origin.word() == word)
    }
}

/// The verdict of what stands where a key belongs: never tested, never handed out.
pub const PLACEHOLDER: &str = "placeholder";

/// What people say of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// E-mail address of whoever answers for it.
    pub owner: Option<String>,
    /// What it is for.
    pub note: Option<String>,
    /// Until when it is good; what the provider says of it counts more.
    pub expires_at: Option<Timestamp>,
}

/// A key to insert.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of KeyRow")]
pub struct NewKey {
    pub id: String,
    pub provider: String,
    pub name: String,
    pub priority: i64,
    pub is_active: bool,
    pub settings: serde_json::Value,
    pub secret: Option<Sealed>,
    pub api_secret: Option<Sealed>,
    pub fingerprint: Option<String>,
    pub mask: String,
    pub hash: Option<String>,
    pub account: Option<String>,
    pub rotation: Option<String>,
    pub generation: Option<i64>,
    pub role: Role,
    pub origin: Origin,
    pub issued_name: Option<String>,
    /// Give it a number of its provider now. Generations get the rotation's number when they become current.
    pub numbered: bool,
    /// It only stands where a key belongs.
    pub is_placeholder: bool,
    pub about: About,
}

impl NewKey {
    /// What its secrets are sealed for.
    pub fn purpose(&self, r#use: Use) -> Purpose<'_> {
        Purpose {
            provider: Some(&self.provider),
            account: self.account.as_deref(),
            rotation: self.rotation.as_deref(),
            generation: self.generation,
            ..Purpose::of(r#use, &self.id)
        }
    }
}

/// A stored key that becomes a generation of a rotation.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the fields are those of KeyRow")]
pub struct AdoptedKey {
    pub id: String,
    pub provider: String,
    pub rotation: String,
    pub generation: i64,
    pub account: String,
    pub hash: String,
    pub secret: Option<Sealed>,
    pub api_secret: Option<Sealed>,
}

impl AdoptedKey {
    /// What its secrets are sealed for.
    pub fn purpose(&self, r#use: Use) -> Purpose<'_> {
        Purpose {
            provider: Some(&self.provider),
            account: Some(&self.account),
            rotation: Some(&self.rotation),
            generation: Some(self.generation),
            ..Purpose::of(r#use, &self.id)
        }
    }
}

/// A stored key. Secrets are Fernet tokens.
#[derive(Debug, Clone)]
pub struct KeyRow {
    /// Unique, sorts by time.
    pub id: String,
    /// Name of its provider.
    pub provider: String,
    /// Number in its provider; `None` for generations that are not current.
    pub number: Option<i64>,
    /// Name for people.
    pub name: String,
    /// 100 production, 50–90 backup, below 50 testing.
    pub priority: i64,
    /// Inactive keys are neither tested nor handed out.
    pub is_active: bool,
    /// Free JSON.
    pub settings: serde_json::Value,
    /// Sealed key; `None` for a key adopted by hash and for tombstones.
    pub secret: Option<String>,
    /// Sealed second secret.
    pub api_secret: Option<String>,
    /// HMAC of the key, to find it without opening.
    pub fingerprint: Option<String>,
    /// What people see.
    pub mask: String,
    /// Identity at the provider.
    pub hash: Option<String>,
    /// Identity of its account.
    pub account: Option<String>,
    /// Its rotation.
    pub rotation: Option<String>,
    /// Its generation in the rotation.
    pub generation: Option<i64>,
    /// What it is to its rotation.
    pub role: Role,
    /// How it came to us.
    pub origin: Origin,
    /// Its name at the provider, when we created it.
    pub issued_name: Option<String>,
    /// What tests showed: `untested`, `valid`, `invalid` …
    pub verdict: String,
    /// Why, in one sentence.
    pub detail: Option<String>,
    /// The last test in the form that decisions use.
    pub facts: KeyFacts,
    /// All that is remembered of its tests.
    pub health: Health,
    /// Milliseconds that the last test took.
    pub latency_ms: Option<i64>,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When the row last changed.
    pub updated_at: Timestamp,
    /// What people say of it.
    pub about: About,
    /// When its secret was changed last.
    pub replaced_at: Option<Timestamp>,
    /// When somebody was given it last.
    pub handed_out_at: Option<Timestamp>,
}

impl KeyRow {
    /// True for what only stands where a key belongs.
    pub fn is_placeholder(&self) -> bool {
        self.verdict == PLACEHOLDER
    }

    /// What its secrets must have been sealed for.
    pub fn purpose(&self, r#use: Use) -> Purpose<'_> {
        Purpose {
            provider: Some(&self.provider),
            account: self.account.as_deref(),
            rotation: self.rotation.as_deref(),
            generation: self.generation,
            ..Purpose::of(r#use, &self.id)
        }
    }
}

/// A provider to insert.
#[derive(Debug, Clone)]
pub struct NewProvider {
    /// Unique name, `[a-z0-9][a-z0-9-]*`.
    pub name: String,
    /// Row of the catalog, or `custom`.
    pub kind: String,
    /// Name for people, where it is not the catalog's.
    pub title: Option<String>,
    /// Endpoint, where it is not the catalog's, and the same sealed.
    pub endpoint: Option<(String, Sealed)>,
}

impl NewProvider {
    /// One that is there already, or needs no more than its row of the catalog.
    pub fn known(row: &ProviderRow) -> Self {
        Self { name: row.name.clone(), kind: row.kind.clone(), title: None, endpoint: None }
    }
}

/// A stored provider.
#[derive(Debug, Clone)]
pub struct ProviderRow {
    /// Unique name.
    pub name: String,
    /// Row of the catalog, or `custom`.
    pub kind: String,
    /// Name for people, where it is not the catalog's.
    pub title: Option<String>,
    /// Endpoint, where it is not the catalog's.
    pub base_url: Option<String>,
    /// The same sealed: without it, or with another one in it, somebody else wrote the endpoint.
    pub base_url_seal: Option<String>,
}

impl ProviderRow {
    /// The row of the catalog of this name, while nothing is stored of it.
    pub fn of_catalog(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: name.to_owned(),
            title: None,
            base_url: None,
            base_url_seal: None,
        }
    }
}

/// What decisions use of a key's tests, as JSON.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct TestColumn {
    pub(super) last: Option<(TestResult, Stamp)>,
    pub(super) refused_since: Option<Stamp>,
}

/// The key, when all of its row can be read.
pub(super) fn key_row(row: &AnyRow) -> Result<KeyRow, StoreError> {
    match lenient(row)? {
        (key, None) => Ok(key),
        (_, Some(column)) => Err(StoreError::Corrupt(column)),
    }
}

/// The key without what cannot be read of its settings and tests, and the column where that is.
pub(super) fn lenient(row: &AnyRow) -> Result<(KeyRow, Option<&'static str>), StoreError> {
    let mut damaged = None;
    let test: Option<String> = row.try_get("test")?;
    let test: Option<TestColumn> = test.and_then(|text| sound(&text, "keys.test", &mut damaged));
    let facts = test.map(|column| KeyFacts { tested: column.last, refused_since: column.refused_since });
    let health: Option<String> = row.try_get("health")?;
    let health = health.and_then(|text| sound(&text, "keys.health", &mut damaged));
    let settings = sound(&row.try_get::<String, _>("settings")?, "keys.settings", &mut damaged);
    let moment = |column| row.try_get::<Option<i64>, _>(column).map(|at| at.map(Timestamp));
    let key = KeyRow {
        id: row.try_get("id")?,
        provider: row.try_get("provider")?,
        number: row.try_get("number")?,
        name: row.try_get("name")?,
        priority: row.try_get("priority")?,
        is_active: row.try_get::<i64, _>("is_active")? != 0,
        settings: settings.unwrap_or_default(),
        secret: row.try_get("secret")?,
        api_secret: row.try_get("api_secret")?,
        fingerprint: row.try_get("fingerprint")?,
        mask: row.try_get("mask")?,
        hash: row.try_get("hash")?,
        account: row.try_get("account")?,
        rotation: row.try_get("rotation")?,
        generation: row.try_get("generation")?,
        role: Role::parse(&row.try_get::<String, _>("role")?).ok_or(StoreError::Corrupt("keys.role"))?,
        origin: Origin::parse(&row.try_get::<String, _>("origin")?)
            .ok_or(StoreError::Corrupt("keys.origin"))?,
        issued_name: row.try_get("issued_name")?,
        verdict: row.try_get("verdict")?,
        detail: row.try_get("detail")?,
        facts: facts.unwrap_or_default(),
        health: health.unwrap_or_default(),
        latency_ms: row.try_get("latency_ms")?,
        created_at: Timestamp(row.try_get("created_at")?),
        updated_at: Timestamp(row.try_get("updated_at")?),
        about: About {
            owner: row.try_get("owner")?,
            note: row.try_get("note")?,
            expires_at: moment("expires_at")?,
        },
        replaced_at: moment("replaced_at")?,
        handed_out_at: moment("handed_out_at")?,
    };
    Ok((key, damaged))
}

fn sound<T: serde::de::DeserializeOwned>(
    text: &str,
    column: &'static str,
    damaged: &mut Option<&'static str>,
) -> Option<T> {
    let value = from_json(text, column).ok();
    if value.is_none() {
        *damaged = Some(column);
    }
    value
}

/// The list of stored keys, without tombstones.
const LIST: Source = Source {
    table: "keys",
    always: "role <> 'dead'",
    sorts: &[
        ("created_at", Of::Number("created_at")),
        ("provider_type", Of::Text("provider")),
        ("name", Of::Text("name")),
        ("priority", Of::Number("priority")),
        ("status", Of::Text("verdict")),
        ("updated_at", Of::Number("updated_at")),
    ],
    filters: &[
        ("q", "LOWER(provider || ' ' || name || ' ' || mask) LIKE $? ESCAPE '\\'"),
        ("provider", "provider = $?"),
        ("status", "verdict = $?"),
        ("active", "is_active = $?"),
        ("owner", "owner = $?"),
        ("tested_before", "COALESCE(looked_at, 0) < $?"),
        ("expires_before", "expires_at < $?"),
    ],
};

impl Store {
    /// A page of the stored keys.
    pub async fn key_page(&self, wanted: &Wanted) -> Result<Page<KeyRow>, StoreError> {
        self.page(&LIST, wanted, key_row).await
    }

    /// Every key whose row can be read, tombstones last, by provider and number.
    pub async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM keys ORDER BY provider, COALESCE(number, 1000000000), created_at, id")
                .fetch_all(self.pools.reader())
                .await?;
        Ok(readable(&rows, key_row))
    }

    /// Ids of a provider's keys that may be tested, by number: active, with a secret, of a role that is tested.
    pub async fn tested_ids(&self, provider: &str) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query(
            "SELECT id FROM keys WHERE provider = $1 AND is_active = 1 AND secret IS NOT NULL
               AND role IN ('current', 'manual') ORDER BY COALESCE(number, 1000000000), created_at, id",
        )
        .bind(provider)
        .fetch_all(self.pools.reader())
        .await?;
        rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
    }

    /// A provider's keys of nobody's rotation whose verdict is bad.
    pub async fn bad_keys(&self, provider: &str) -> Result<Vec<KeyRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM keys WHERE provider = $1 AND turned_bad_at IS NOT NULL AND role = 'manual'
             ORDER BY COALESCE(number, 1000000000), created_at, id",
        )
        .bind(provider)
        .fetch_all(self.pools.reader())
        .await?;
        Ok(readable(&rows, key_row))
    }

    /// Rows of living keys in the order of their ids, after this one, a page of them.
    pub(super) async fn living_page(&self, after: &str, most: i64) -> Result<Vec<AnyRow>, StoreError> {
        let page = "SELECT * FROM keys WHERE id > $1 AND role <> 'dead' ORDER BY id LIMIT $2";
        Ok(sqlx::query(page).bind(after).bind(most).fetch_all(self.pools.reader()).await?)
    }

    /// Keys that wait for a run that is not there: dead ones in use, and those on their way out.
    pub async fn keys_alone(&self) -> Result<Vec<KeyRow>, StoreError> {
        let mut rows = sqlx::query(
            "SELECT k.* FROM keys k WHERE k.role = 'current' AND k.verdict = 'invalid'
               AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.rotation = k.rotation AND r.is_open = 1)",
        )
        .fetch_all(self.pools.reader())
        .await?;
        let retiring = sqlx::query(
            "SELECT k.* FROM keys k WHERE k.role = 'retiring'
               AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.rotation = k.rotation AND r.is_open = 1)",
        );
        rows.extend(retiring.fetch_all(self.pools.reader()).await?);
        Ok(readable(&rows, key_row))
    }

    /// When the current key of each rotation was issued or taken over.
    pub async fn issued(&self) -> Result<std::collections::BTreeMap<String, Timestamp>, StoreError> {
        let rows = sqlx::query(
            "SELECT rotation, created_at FROM keys WHERE role = 'current' AND rotation IS NOT NULL",
        )
        .fetch_all(self.pools.reader())
        .await?;
        rows.iter().map(|row| Ok((row.try_get("rotation")?, Timestamp(row.try_get("created_at")?)))).collect()
    }

    /// One key by id.
    pub async fn key(&self, id: &str) -> Result<Option<KeyRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM keys WHERE id = $1")
            .bind(id)
            .fetch_optional(self.pools.reader())
            .await?;
        row.as_ref().map(key_row).transpose()
    }

    /// One key by its number in its provider.
    pub async fn key_numbered(&self, provider: &str, number: i64) -> Result<Option<KeyRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM keys WHERE provider = $1 AND number = $2")
            .bind(provider)
            .bind(number)
            .fetch_optional(self.pools.reader())
            .await?;
        row.as_ref().map(key_row).transpose()
    }

    /// All generations of a rotation, newest first. A tombstone that cannot be read is passed by; no living key is.
    pub async fn generations(&self, rotation: &str) -> Result<Vec<KeyRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM keys WHERE rotation = $1 ORDER BY generation DESC")
            .bind(rotation)
            .fetch_all(self.pools.reader())
            .await?;
        let gone =
            |row: &AnyRow| row.try_get::<String, _>("role").is_ok_and(|role| role == Role::Dead.word());
        let read = rows.iter().filter_map(|row| match key_row(row) {
            Err(_) if gone(row) => None,
            read => Some(read),
        });
        read.collect()
    }
}

/// One key inside a transaction.
pub(super) async fn read(tx: &mut Tx, id: &str) -> Result<Option<KeyRow>, StoreError> {
    let row = sqlx::query("SELECT * FROM keys WHERE id = $1").bind(id).fetch_optional(&mut *tx.inner).await?;
    row.as_ref().map(key_row).transpose()
}
