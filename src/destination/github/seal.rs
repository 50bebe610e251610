//! Sealed boxes: what GitHub takes instead of a plain value.
//!
//! libsodium's `crypto_box_seal`: X25519 with an ephemeral key, XSalsa20-Poly1305, nonce = `BLAKE2b` of both
//! public keys; base64 around it. Source: GitHub REST documentation, "Encrypting secrets for the REST API".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_box::PublicKey;
use crypto_box::aead::OsRng;

use crate::domain::secret::Secret;

/// The key of `GET …/public-key`: base64 of 32 bytes.
pub(super) fn public_key(text: &str) -> Option<PublicKey> {
    let bytes: [u8; 32] = STANDARD.decode(text).ok()?.try_into().ok()?;
    Some(PublicKey::from(bytes))
}

/// `encrypted_value`; `None` only when the cipher refuses, which it does for no value that fits in memory.
pub(super) fn seal(key: &PublicKey, secret: &Secret) -> Option<String> {
    key.seal(&mut OsRng, secret.expose().as_bytes()).ok().map(|sealed| STANDARD.encode(sealed))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use crypto_box::SecretKey;

    use super::*;

    #[test]
    fn a_box_opens_with_the_secret_key_only() {
        let (ours, other) = (SecretKey::generate(&mut OsRng), SecretKey::generate(&mut OsRng));
        let text = STANDARD.encode(ours.public_key().as_bytes());
        let secret = Secret::new(format!("sk-or-v1-{}", "0f".repeat(32)));
        let (one, two) = (seal_for(&text, &secret), seal_for(&text, &secret));
        assert_ne!(one, two, "an ephemeral key each");
        let bytes = STANDARD.decode(one).unwrap();
        assert_eq!(bytes.len(), 48 + secret.expose().len());
        assert_eq!(ours.unseal(&bytes).unwrap(), secret.expose().as_bytes());
        assert!(other.unseal(&bytes).is_err());
    }

    #[test]
    fn keys_of_other_lengths_are_refused() {
        for text in ["", "AAAA", "not base64!", &STANDARD.encode([0; 33])] {
            assert!(public_key(text).is_none(), "{text}");
        }
    }

    /// The proof that counts: the libsodium that GitHub's own examples use opens what we seal.
    #[test]
    fn libsodium_opens_it() {
        const SCRIPT: &str = "import base64, sys\n\
            try:\n    from nacl.public import PrivateKey, SealedBox\n\
            except ImportError:\n    sys.exit('PyNaCl is missing: python3 -m pip install pynacl')\n\
            key, sealed = sys.stdin.read().split()\n\
            box = SealedBox(PrivateKey(base64.b64decode(key)))\n\
            sys.stdout.write(box.decrypt(base64.b64decode(sealed)).decode())\n";
        let ours = SecretKey::generate(&mut OsRng);
        let secret = Secret::new(format!("sk-or-v1-{}-é", "0f".repeat(32)));
        let sealed = seal_for(&STANDARD.encode(ours.public_key().as_bytes()), &secret);
        let mut python = Command::new("python3")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this test needs python3 with PyNaCl");
        let input = format!("{}\n{sealed}\n", STANDARD.encode(ours.to_bytes()));
        python.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), secret.expose());
    }

    fn seal_for(public: &str, secret: &Secret) -> String {
        seal(&public_key(public).unwrap(), secret).unwrap()
    }
}
