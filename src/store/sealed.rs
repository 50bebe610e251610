//! Every sealed text of the store: what it was sealed for, sealed anew, and the proof that all of them open (R24).

use sha2::{Digest, Sha256};
use sqlx::Row;
use sqlx::any::AnyRow;

use super::audit::{self, AuditEntry};
use super::pool::Tx;
use super::{Store, StoreError, epochs, to_json};
use crate::crypto::{CryptoError, EncryptionKeyId, Purpose, Sealed, Use};
use crate::domain::time::Span;

/// So many rows of keys are sealed anew in one transaction: others write in between.
const TOGETHER: i64 = 200;

/// A sealed text, and all that says what it is.
#[derive(Debug, Clone)]
pub struct SealedText {
    place: Place,
    row: String,
    provider: Option<String>,
    account: Option<String>,
    rotation: Option<String>,
    generation: Option<i64>,
    /// The Fernet token.
    pub token: String,
}

/// The column that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Secret,
    ApiSecret,
    Fact,
    Endpoint,
    Account,
    Paste,
}

impl Place {
    fn r#use(self) -> Use {
        match self {
            Self::Secret => Use::Key,
            Self::ApiSecret => Use::ApiSecret,
            Self::Fact => Use::Fact,
            Self::Endpoint => Use::Endpoint,
            Self::Account => Use::Place,
            Self::Paste => Use::Paste,
        }
    }

    /// Only over the token that was read: meanwhile the key may have been buried.
    fn update(self) -> &'static str {
        match self {
            Self::Secret => "UPDATE keys SET secret = $1 WHERE id = $2 AND secret = $3",
            Self::ApiSecret => "UPDATE keys SET api_secret = $1 WHERE id = $2 AND api_secret = $3",
            Self::Fact => "UPDATE meta SET value = $1 WHERE name = $2 AND value = $3",
            Self::Endpoint => {
                "UPDATE providers SET base_url_seal = $1 WHERE name = $2 AND base_url_seal = $3"
            }
            Self::Account => "UPDATE accounts SET place = $1 WHERE identity = $2 AND place = $3",
            Self::Paste => "UPDATE pastes SET text = $1 WHERE id = $2 AND text = $3",
        }
    }
}

impl SealedText {
    fn of(place: Place, row: String, token: String) -> Self {
        Self { place, row, provider: None, account: None, rotation: None, generation: None, token }
    }

    /// What it is and where, in one word that a list may hold.
    fn digest(&self) -> String {
        let what = format!("{:?} {} {}", self.place, self.row, self.token);
        hex::encode(Sha256::digest(what))
    }

    /// What it must have been sealed for.
    pub fn purpose(&self) -> Purpose<'_> {
        Purpose {
            provider: self.provider.as_deref(),
            account: self.account.as_deref(),
            rotation: self.rotation.as_deref(),
            generation: self.generation,
            ..Purpose::of(self.place.r#use(), &self.row)
        }
    }

    /// For people: which one does not open.
    pub fn describe(&self) -> String {
        match (self.place, &self.provider) {
            (Place::Secret, Some(provider)) => format!("key {} of provider {provider}", self.row),
            (Place::ApiSecret, Some(provider)) => {
                format!("second secret of key {} of provider {provider}", self.row)
            }
            (Place::Endpoint, _) => format!("address of provider {}", self.row),
            (Place::Account, _) => format!("address of account {}", self.row),
            (Place::Paste, _) => format!("paste {}", self.row),
            _ => format!("fact {}", self.row),
        }
    }

    async fn replace(&self, tx: &mut Tx, sealed: &Sealed) -> Result<u64, StoreError> {
        let query = sqlx::query(self.place.update()).bind(&sealed.token).bind(&self.row).bind(&self.token);
        Ok(query.execute(&mut *tx.inner).await?.rows_affected())
    }
}

/// What came of the wish to retire the keys that only open.
#[derive(Debug)]
pub enum Retired {
    /// So many are retired.
    Keys(u64),
    /// A key that is being made may still be sealed by one of them.
    CreateUnderWay,
    /// These do not open with the sealing key alone.
    Left(Vec<SealedText>),
}

/// What is sealed anew, and what could not be opened.
#[derive(Debug, Default)]
pub struct Resealed {
    /// How many texts changed.
    pub changed: u64,
    /// Those that no key opens, and why.
    pub unreadable: Vec<(SealedText, CryptoError)>,
}

/// What only who has the encryption keys can do. The store never sees a secret.
pub trait Sealer: Sync {
    /// Which key seals.
    fn sealing(&self) -> &EncryptionKeyId;
    /// Seals a text that is no secret, so that nobody else can have written it.
    fn seal(&self, purpose: &Purpose, text: &str) -> Sealed;
    /// Binds what was sealed before texts were bound. `None` when no key opens it.
    fn take_over(&self, text: &SealedText) -> Option<Sealed>;
    /// Seals anew. `None` when the sealing key has sealed it already.
    fn reseal(&self, text: &SealedText) -> Result<Option<Sealed>, CryptoError>;
}

/// The fact that lists what could not be taken over, sealed: only that may be later.
const LEFT: &str = "sealed:unbound";

impl Store {
    /// The sealed texts of some keys, by their ids after this one, and the last id; `None` when there are no more. However
    /// many are stored, only these are in memory.
    pub async fn sealed_keys(&self, after: &str) -> Result<Option<(Vec<SealedText>, String)>, StoreError> {
        let rows = sqlx::query(KEYS).bind(after).bind(TOGETHER).fetch_all(self.pools.reader()).await?;
        let Some(last) = rows.last() else { return Ok(None) };
        Ok(Some((of_keys(&rows)?, last.try_get("id")?)))
    }

    /// The sealed texts of all that is no key's.
    pub async fn sealed_others(&self) -> Result<Vec<SealedText>, StoreError> {
        let mut texts = Vec::new();
        for (place, sql) in OTHERS {
            let rows = sqlx::query(sql).fetch_all(self.pools.reader()).await?;
            texts.extend(of_others(place, &rows)?);
        }
        Ok(texts)
    }

    /// Makes the first epoch, and binds all that was sealed before there were any. What no key opens stays as it is, and
    /// is listed: [`Store::take_over_late`] may still bind it when its key is given back. `fact` is stored when the
    /// database does not have it yet. False when somebody else was first.
    pub async fn take_over(&self, ring: &dyn Sealer, fact: (&str, &Sealed)) -> Result<bool, StoreError> {
        let mut tx = self.pools.begin().await?;
        if !epochs::first(&mut tx, ring.sealing()).await? {
            return Ok(false);
        }
        let texts = all(&mut tx).await?;
        let left = bind(&mut tx, ring, texts).await?;
        remember_left(&mut tx, ring, &left).await?;
        seal_addresses(&mut tx, ring).await?;
        let (name, sealed) = fact;
        sqlx::query("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .bind(&sealed.token)
            .execute(&mut *tx.inner)
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Binds what was left, as far as it opens now. `listed` are the texts that `open` finds in the fact that lists them.
    pub async fn take_over_late(
        &self,
        ring: &dyn Sealer,
        open: impl Fn(&SealedText) -> Option<String>,
    ) -> Result<(), StoreError> {
        if self.fact(LEFT).await?.is_none() {
            return Ok(());
        }
        let mut tx = self.pools.begin().await?;
        epochs::seals(&mut tx, ring.sealing()).await?;
        let texts = all(&mut tx).await?;
        let list = texts.iter().find(|text| text.row == LEFT).and_then(open);
        let Some(list) = list.and_then(|list| serde_json::from_str::<Vec<String>>(&list).ok()) else {
            return Ok(());
        };
        let listed = texts.into_iter().filter(|text| list.contains(&text.digest())).collect();
        let left = bind(&mut tx, ring, listed).await?;
        remember_left(&mut tx, ring, &left).await?;
        tx.commit().await
    }

    /// Seals anew all that another key has sealed, in small transactions: it may be broken off and begun again, and others
    /// go on meanwhile.
    pub async fn reseal(&self, ring: &dyn Sealer) -> Result<Resealed, StoreError> {
        let mut done = Resealed::default();
        let mut after = String::new();
        loop {
            let mut tx = self.pools.begin().await?;
            let rows = sqlx::query(KEYS).bind(&after).bind(TOGETHER).fetch_all(&mut *tx.inner).await?;
            let Some(last) = rows.last() else { break };
            after = last.try_get("id")?;
            reseal_some(&mut tx, ring, of_keys(&rows)?, &mut done).await?;
            tx.commit().await?;
        }
        let mut tx = self.pools.begin().await?;
        for (place, sql) in OTHERS {
            let rows = sqlx::query(sql).fetch_all(&mut *tx.inner).await?;
            reseal_some(&mut tx, ring, of_others(place, &rows)?, &mut done).await?;
        }
        tx.commit().await?;
        Ok(done)
    }

    /// Retires all keys that only open, if every text opens with the sealing key, in one transaction: what another process
    /// stores meanwhile is refused, or was there to be looked at. Not while a create that was intended less than `longest`
    /// ago may still bring a key.
    pub async fn retire_epochs(
        &self,
        ring: &dyn Sealer,
        longest: Span,
        entry: &AuditEntry,
    ) -> Result<Retired, StoreError> {
        let mut tx = self.pools.begin().await?;
        let retired = epochs::retire(&mut tx, ring.sealing()).await?;
        if retired == 0 {
            return Ok(Retired::Keys(0));
        }
        let after = tx.now.plus(Span(-longest.0));
        if epochs::create_under_way(&mut tx, after).await? {
            return Ok(Retired::CreateUnderWay);
        }
        let texts = all(&mut tx).await?;
        let left: Vec<SealedText> =
            texts.into_iter().filter(|text| !matches!(ring.reseal(text), Ok(None))).collect();
        if !left.is_empty() {
            return Ok(Retired::Left(left));
        }
        audit::write(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(Retired::Keys(retired))
    }
}

const KEYS: &str = "SELECT id, provider, account, rotation, generation, secret, api_secret FROM keys
     WHERE id > $1 AND (secret IS NOT NULL OR api_secret IS NOT NULL) ORDER BY id LIMIT $2";

/// Name and token of all that is no key's.
const OTHERS: [(Place, &str); 4] = [
    (Place::Fact, "SELECT name, value AS token FROM meta WHERE name LIKE 'sealed:%' ORDER BY name"),
    (
        Place::Endpoint,
        "SELECT name, base_url_seal AS token FROM providers WHERE base_url_seal IS NOT NULL ORDER BY name",
    ),
    (
        Place::Account,
        "SELECT identity AS name, place AS token FROM accounts WHERE place IS NOT NULL ORDER BY identity",
    ),
    (Place::Paste, "SELECT id AS name, text AS token FROM pastes ORDER BY id"),
];

async fn all(tx: &mut Tx) -> Result<Vec<SealedText>, StoreError> {
    let rows = sqlx::query(KEYS).bind("").bind(i64::MAX).fetch_all(&mut *tx.inner).await?;
    let mut texts = of_keys(&rows)?;
    for (place, sql) in OTHERS {
        let rows = sqlx::query(sql).fetch_all(&mut *tx.inner).await?;
        texts.extend(of_others(place, &rows)?);
    }
    Ok(texts)
}

fn of_keys(rows: &[AnyRow]) -> Result<Vec<SealedText>, StoreError> {
    let mut texts = Vec::new();
    for row in rows {
        for (place, column) in [(Place::Secret, "secret"), (Place::ApiSecret, "api_secret")] {
            let Some(token) = row.try_get::<Option<String>, _>(column)? else { continue };
            texts.push(SealedText {
                place,
                row: row.try_get("id")?,
                provider: Some(row.try_get("provider")?),
                account: row.try_get("account")?,
                rotation: row.try_get("rotation")?,
                generation: row.try_get("generation")?,
                token,
            });
        }
    }
    Ok(texts)
}

fn of_others(place: Place, rows: &[AnyRow]) -> Result<Vec<SealedText>, StoreError> {
    let text = |row: &AnyRow| Ok(SealedText::of(place, row.try_get("name")?, row.try_get("token")?));
    rows.iter().map(text).collect()
}

/// Binds these; answers what no key opens.
async fn bind(tx: &mut Tx, ring: &dyn Sealer, texts: Vec<SealedText>) -> Result<Vec<SealedText>, StoreError> {
    let mut left = Vec::new();
    for text in texts {
        match ring.take_over(&text) {
            Some(sealed) => {
                text.replace(tx, &sealed).await?;
            }
            None => left.push(text),
        }
    }
    Ok(left)
}

/// No row when nothing is left.
async fn remember_left(tx: &mut Tx, ring: &dyn Sealer, left: &[SealedText]) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM meta WHERE name = $1").bind(LEFT).execute(&mut *tx.inner).await?;
    if left.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = left.iter().map(SealedText::digest).collect();
    let sealed = ring.seal(&Purpose::of(Use::Fact, LEFT), &to_json(&list));
    sqlx::query("INSERT INTO meta (name, value) VALUES ($1, $2)")
        .bind(LEFT)
        .bind(&sealed.token)
        .execute(&mut *tx.inner)
        .await?;
    Ok(())
}

/// Addresses that were stored before they were sealed.
async fn seal_addresses(tx: &mut Tx, ring: &dyn Sealer) -> Result<(), StoreError> {
    let providers = sqlx::query("SELECT name, base_url FROM providers WHERE base_url IS NOT NULL")
        .fetch_all(&mut *tx.inner)
        .await?;
    for row in providers {
        let (name, url): (String, String) = (row.try_get("name")?, row.try_get("base_url")?);
        let sealed = ring.seal(&Purpose::of(Use::Endpoint, &name), &url);
        sqlx::query("UPDATE providers SET base_url_seal = $1 WHERE name = $2")
            .bind(&sealed.token)
            .bind(&name)
            .execute(&mut *tx.inner)
            .await?;
    }
    let places = sqlx::query("SELECT subject, doc FROM provider_health WHERE subject LIKE 'place:%'")
        .fetch_all(&mut *tx.inner)
        .await?;
    for row in places {
        let (subject, doc): (String, String) = (row.try_get("subject")?, row.try_get("doc")?);
        let identity = subject.trim_start_matches("place:");
        let Ok(url) = serde_json::from_str::<String>(&doc) else { continue };
        let sealed = ring.seal(&Purpose::of(Use::Place, identity), &url);
        sqlx::query("UPDATE accounts SET place = $1 WHERE identity = $2")
            .bind(&sealed.token)
            .bind(identity)
            .execute(&mut *tx.inner)
            .await?;
    }
    sqlx::query("DELETE FROM provider_health WHERE subject LIKE 'place:%'").execute(&mut *tx.inner).await?;
    Ok(())
}

async fn reseal_some(
    tx: &mut Tx,
    ring: &dyn Sealer,
    texts: Vec<SealedText>,
    done: &mut Resealed,
) -> Result<(), StoreError> {
    epochs::seals(tx, ring.sealing()).await?;
    for text in texts {
        match ring.reseal(&text) {
            Ok(None) => {}
            Ok(Some(sealed)) => done.changed += text.replace(tx, &sealed).await?,
            Err(error) => done.unreadable.push((text, error)),
        }
    }
    Ok(())
}
