//! Sealing and opening what is in the store (R24): with which key, and for what.

use crate::crypto::{CryptoError, EncryptionKeyId, Purpose, Ring, Sealed, Use};
use crate::domain::secret::Secret;
use crate::engine::{Engine, EngineError};
use crate::store::{AdoptedKey, KeyRow, NewKey, SealedText, Sealer, StoreError};

impl Engine {
    /// The key that seals now, which this process has. [`CryptoError::Stale`] when it does not.
    pub(crate) async fn sealing_key(&self) -> Result<EncryptionKeyId, EngineError> {
        let key = self.parts.store.sealing_key().await?;
        let key = key.ok_or(StoreError::Corrupt("encryption_epochs"))?;
        let has = self.parts.ring.ids().any(|id| *id == key);
        if has { Ok(key) } else { Err(EngineError::Crypto(CryptoError::Stale(key))) }
    }

    /// Seals for one purpose.
    pub(crate) fn seal(
        &self,
        by: &EncryptionKeyId,
        purpose: &Purpose,
        secret: &Secret,
    ) -> Result<Sealed, EngineError> {
        self.parts.ring.seal(by, purpose, secret).map_err(EngineError::Crypto)
    }

    /// The row with its secrets in it, sealed for what all else in it says.
    pub(crate) fn with_secrets(
        &self,
        by: &EncryptionKeyId,
        row: NewKey,
        secret: Option<&Secret>,
        api_secret: Option<&Secret>,
    ) -> Result<NewKey, EngineError> {
        let seal = |secret: Option<&Secret>, r#use| {
            secret.map(|secret| self.seal(by, &row.purpose(r#use), secret)).transpose()
        };
        let (secret, api_secret) = (seal(secret, Use::Key)?, seal(api_secret, Use::ApiSecret)?);
        Ok(NewKey { secret, api_secret, ..row })
    }

    /// The secrets of a stored key, sealed anew for the generation that it becomes.
    pub(crate) fn adopted(
        &self,
        by: &EncryptionKeyId,
        stored: &KeyRow,
        row: AdoptedKey,
    ) -> Result<AdoptedKey, EngineError> {
        let seal = |secret: Option<Secret>, r#use| {
            secret.map(|secret| self.seal(by, &row.purpose(r#use), &secret)).transpose()
        };
        let secret = seal(self.open(stored)?, Use::Key)?;
        let api_secret = seal(self.open_api_secret(stored)?, Use::ApiSecret)?;
        Ok(AdoptedKey { secret, api_secret, ..row })
    }

    /// The key material of a row, read back from the store; `None` when the store holds none. An error when it is not
    /// what was sealed for this row, or not the key that the row's fingerprint is of.
    pub(crate) fn open(&self, row: &KeyRow) -> Result<Option<Secret>, EngineError> {
        let Some(token) = &row.secret else { return Ok(None) };
        let secret = self.parts.ring.open(token, &row.purpose(Use::Key)).map_err(EngineError::Crypto)?;
        let is_it =
            row.fingerprint.as_ref().is_none_or(|print| self.parts.fingerprints.of(&secret) == *print);
        if is_it { Ok(Some(secret)) } else { Err(EngineError::Crypto(CryptoError::Moved)) }
    }

    /// The same of its second secret.
    pub(crate) fn open_api_secret(&self, row: &KeyRow) -> Result<Option<Secret>, EngineError> {
        let Some(token) = &row.api_secret else { return Ok(None) };
        self.parts.ring.open(token, &row.purpose(Use::ApiSecret)).map(Some).map_err(EngineError::Crypto)
    }

    /// The same for work on many keys: one that cannot be opened is passed by, and `passes::unreadable` tells of it.
    pub(crate) fn open_or_pass_by(&self, row: &KeyRow) -> Option<Secret> {
        self.open(row).unwrap_or_else(|error| {
            tracing::debug!(key = %row.id, %error, "a key cannot be opened");
            None
        })
    }

    /// An address that this store holds sealed for one purpose.
    pub(crate) fn open_address(&self, token: &str, purpose: &Purpose) -> Option<String> {
        self.parts.ring.open(token, purpose).ok().map(|url| url.expose().to_owned())
    }
}

/// The keys of this process at work on all sealed texts of a store.
#[derive(Debug)]
pub struct RingSealer<'a> {
    /// The keys.
    pub ring: &'a Ring,
    /// The one that seals; it is in the ring.
    pub sealing: EncryptionKeyId,
}

impl Sealer for RingSealer<'_> {
    fn sealing(&self) -> &EncryptionKeyId {
        &self.sealing
    }

    fn seal(&self, purpose: &Purpose, text: &str) -> Sealed {
        let sealed = self.ring.seal(&self.sealing, purpose, &Secret::new(text));
        sealed.expect("the sealing key is in the ring")
    }

    fn take_over(&self, text: &SealedText) -> Option<Sealed> {
        self.ring.take_over(&self.sealing, &text.token, &text.purpose()).ok()
    }

    fn reseal(&self, text: &SealedText) -> Result<Option<Sealed>, CryptoError> {
        self.ring.reseal(&self.sealing, &text.token, &text.purpose())
    }
}
