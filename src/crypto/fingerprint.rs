//! Fingerprints: a keyed hash by which a stored key is found without opening every other one.
//!
//! The key of the hash is not one of the encryption keys: fingerprints must survive `encryption reencrypt`.
//! The store makes one at its first start, keeps it sealed, and hands it in.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::domain::secret::Secret;

/// Makes fingerprints under one key.
#[derive(Clone)]
pub struct Fingerprinter(Hmac<Sha256>);

impl Fingerprinter {
    /// Takes the stored fingerprint key; its text is used byte for byte.
    pub fn new(key: &Secret) -> Self {
        Self(Hmac::new_from_slice(key.expose().as_bytes()).expect("HMAC takes a key of any length"))
    }

    /// A new random fingerprint key of 256 bits, to be sealed and stored once per database.
    pub fn generate() -> Secret {
        super::fernet::generate_key()
    }

    /// Lowercase hex HMAC-SHA256 of `secret`.
    pub fn of(&self, secret: &Secret) -> String {
        hex::encode(self.0.clone().chain_update(secret.expose().as_bytes()).finalize().into_bytes())
    }
}

impl std::fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprinter(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_rfc_4231_case_2() {
        let print = Fingerprinter::new(&Secret::new("Jefe"));
        assert_eq!(
            print.of(&Secret::new("what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn depends_on_the_key_and_on_the_secret() {
        let one = Fingerprinter::new(&Fingerprinter::generate());
        let two = Fingerprinter::new(&Fingerprinter::generate());
        let secret = Secret::new("not-a-key");
        assert_eq!(one.of(&secret), one.of(&secret));
        assert_ne!(one.of(&secret), two.of(&secret));
        assert_ne!(one.of(&secret), one.of(&Secret::new("not-a-key ")));
    }

    #[test]
    fn debug_says_nothing() {
        assert_eq!(format!("{:?}", Fingerprinter::new(&Secret::new("Jefe"))), "Fingerprinter(..)");
    }
}
