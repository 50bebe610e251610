//! Sealing, fingerprints and secret references: everything that turns key material into something that may
//! lie on a disk or in a configuration file, and back.
//!
//! - [`fernet`]: the [`Ring`] of encryption keys and what it makes, [`Sealed`]
//! - [`password`]: argon2id for people
//! - [`purpose`]: [`Purpose`], what a sealed text is and whose
//! - [`fingerprint`]: [`Fingerprinter`], a keyed hash by which a held key is found without opening it
//! - [`bearer`]: the cookie of a session, the token of a program
//! - [`names`]: [`KeyNames`], what keys are called at the provider, and whether we called one so
//! - [`mod@reference`]: [`SecretRef`], where the configuration says a secret lies
//! - [`trusted`]: how a file is read that decides what we do: nobody else may change it
//!
//! Nothing here logs but why a secret is used that everybody may read, and no error repeats key material.

pub mod bearer;
pub mod fernet;
pub mod fingerprint;
pub mod names;
pub mod password;
pub mod purpose;
pub mod reference;
pub mod trusted;

pub use fernet::{CryptoError, EncryptionKeyId, Ring, Sealed};
pub use fingerprint::Fingerprinter;
pub use names::KeyNames;
pub use purpose::{Purpose, Use};
pub use reference::{InvalidReference, ReferenceError, SecretRef};
