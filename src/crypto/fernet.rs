//! The ring of Fernet keys that seals every secret in the store.
//!
//! Fernet is AES-128-CBC with HMAC-SHA256; the text can be opened by Python's `cryptography` and every other
//! implementation of the specification. What is sealed is one line that says what the secret is and whose
//! ([`Purpose`]), and the secret: a token that was copied to another row opens as nothing (R24). Which key of the ring
//! seals, the store says (its epochs); all of them open.
//!
//! A token carries the time at which it was made. It is deliberately not looked at when opening: a secret
//! sealed while our clock was ahead must open after the clock was put right (I13), which is also how Python
//! opens a token without a time to live.

use fernet::Fernet;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::purpose::{self, Purpose};
use crate::domain::secret::Secret;

/// "Now" for the crate's clock check, so far ahead that no token comes from the future of it.
const END_OF_TIME: u64 = u64::MAX - 60;
/// Makes the name of a key: nothing else is made under it.
const NAMING: &[u8] = b"rekeyd: name of an encryption key";

/// What an encryption key is called in the store and to people: a keyed hash, from which nobody gets the key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct EncryptionKeyId(String);

impl EncryptionKeyId {
    /// Takes back what [`EncryptionKeyId::as_str`] gave.
    pub fn from_stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// 16 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for EncryptionKeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One or more Fernet keys. Cheap to clone, wiped when dropped.
#[derive(Clone)]
pub struct Ring(Vec<(EncryptionKeyId, Fernet)>);

/// What can be wrong with a ring or a sealed secret. Never repeats either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// There is no key at all.
    #[error("there is no encryption key")]
    NoKey,
    /// One of the keys is not 32 bytes of URL-safe base64. Positions count from 1.
    #[error("encryption key {position} of {count} is not a Fernet key (32 bytes in URL-safe base64)")]
    BadKey {
        /// Which one, from 1.
        position: usize,
        /// How many there are.
        count: usize,
    },
    /// One key stands twice in the list. Positions count from 1.
    #[error("encryption key {position} stands in the list twice")]
    Twice {
        /// The second of the two, from 1.
        position: usize,
    },
    /// No key of the ring opens it: sealed by a key that is not in the ring, or damaged.
    #[error("none of the encryption keys opens this secret: another key sealed it, or it is damaged")]
    CannotOpen,
    /// It opened, and is not what it stands for: it was sealed for another row or use, or before secrets were bound.
    #[error("this secret was sealed for something else: somebody moved it, or put an old one in its place")]
    Moved,
    /// The key that seals now is not in the ring (R24).
    #[error("the encryption key that seals now ({0}) is not in this process's list")]
    Stale(EncryptionKeyId),
    /// It opened, but what was sealed is not text.
    #[error("what was sealed is not text")]
    NotText,
}

impl CryptoError {
    /// The next move, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoKey | Self::BadKey { .. } => Some("`rekeyd encryption generate-key` prints a good one"),
            Self::Twice { .. } => Some("remove one of the two"),
            Self::CannotOpen => {
                Some("give back the key that sealed it, behind the others and separated by a comma")
            }
            Self::Moved => Some("find out who writes to this database; then add the key anew"),
            Self::Stale(_) => {
                Some("put the newest key first in the list, then reload: `systemctl reload rekeyd`")
            }
            Self::NotText => None,
        }
    }
}

impl Ring {
    /// Reads keys separated by commas; spaces around a key do not matter, nor does which alphabet of base64 it is in
    /// (RFC 4648, sections 4 and 5): other programs write keys with `+` and `/`.
    pub fn parse(keys: &Secret) -> Result<Self, CryptoError> {
        if keys.expose().trim().is_empty() {
            return Err(CryptoError::NoKey);
        }
        let url_safe = |c: char| {
            if c == '+' {
                '-'
            } else if c == '/' {
                '_'
            } else {
                c
            }
        };
        let url_safe: Zeroizing<String> = Zeroizing::new(keys.expose().chars().map(url_safe).collect());
        let texts: Vec<&str> = url_safe.split(',').map(str::trim).collect();
        let mut ring: Vec<(EncryptionKeyId, Fernet)> = Vec::new();
        for (position, text) in (1..).zip(&texts) {
            let key = Fernet::new(text).ok_or(CryptoError::BadKey { position, count: texts.len() })?;
            let id = id_of(text);
            if ring.iter().any(|(other, _)| *other == id) {
                return Err(CryptoError::Twice { position });
            }
            ring.push((id, key));
        }
        Ok(Self(ring))
    }

    /// The first key of the list: the one that `rekeyd encryption reencrypt` makes the sealing one.
    pub fn first(&self) -> &EncryptionKeyId {
        &self.0[0].0
    }

    /// The names of all keys, in the order of the list.
    pub fn ids(&self) -> impl Iterator<Item = &EncryptionKeyId> {
        self.0.iter().map(|(id, _)| id)
    }

    /// Seals with this key of the ring, for this purpose alone. Two seals of one secret differ.
    pub fn seal(
        &self,
        by: &EncryptionKeyId,
        purpose: &Purpose,
        secret: &Secret,
    ) -> Result<Sealed, CryptoError> {
        let key = self.key(by).ok_or_else(|| CryptoError::Stale(by.clone()))?;
        let text = Zeroizing::new(purpose.bind(secret.expose()));
        Ok(Sealed { token: key.encrypt(text.as_bytes()), by: by.clone() })
    }

    /// Opens with whichever key fits what was sealed for this purpose.
    pub fn open(&self, token: &str, purpose: &Purpose) -> Result<Secret, CryptoError> {
        let (_, text) = self.text_of(token)?;
        purpose.unbind(&text).map(Secret::new).ok_or(CryptoError::Moved)
    }

    /// What another program sealed with one of these keys, bound to nothing. `None` when none of them opens it.
    pub fn open_foreign(&self, token: &str) -> Option<Secret> {
        let (_, text) = self.text_of(token).ok()?;
        Some(Secret::new(text.as_str()))
    }

    /// The same secret sealed by this key; `None` when it is already. What was sealed for another purpose, or by a key
    /// that is not in the ring, is an error.
    pub fn reseal(
        &self,
        by: &EncryptionKeyId,
        token: &str,
        purpose: &Purpose,
    ) -> Result<Option<Sealed>, CryptoError> {
        let (sealed_by, text) = self.text_of(token)?;
        let secret = Secret::new(purpose.unbind(&text).ok_or(CryptoError::Moved)?);
        if sealed_by == *by { Ok(None) } else { self.seal(by, purpose, &secret).map(Some) }
    }

    /// Binds a token from before secrets were bound to what it now is for. For the one time at which a database is taken
    /// over; a token that is bound must be bound to this.
    pub fn take_over(
        &self,
        by: &EncryptionKeyId,
        token: &str,
        purpose: &Purpose,
    ) -> Result<Sealed, CryptoError> {
        let (_, text) = self.text_of(token)?;
        let secret = match purpose.unbind(&text) {
            Some(secret) => secret,
            None if purpose::is_bound(&text) => return Err(CryptoError::Moved),
            None => &text,
        };
        self.seal(by, purpose, &Secret::new(secret))
    }

    fn key(&self, id: &EncryptionKeyId) -> Option<&Fernet> {
        self.0.iter().find(|(other, _)| other == id).map(|(_, key)| key)
    }

    /// Who sealed it, and all that was sealed.
    fn text_of(&self, token: &str) -> Result<(EncryptionKeyId, Zeroizing<String>), CryptoError> {
        let opened = self.0.iter().find_map(|(id, key)| {
            let bytes = key.decrypt_at_time(token, None, END_OF_TIME).ok()?;
            Some((id.clone(), Zeroizing::new(bytes)))
        });
        let (id, bytes) = opened.ok_or(CryptoError::CannotOpen)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| CryptoError::NotText)?;
        Ok((id, Zeroizing::new(text.to_owned())))
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ring({} keys)", self.0.len())
    }
}

fn id_of(key: &str) -> EncryptionKeyId {
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    let digest = mac.chain_update(NAMING).finalize().into_bytes();
    EncryptionKeyId(hex::encode(&digest[..8]))
}

/// A new random Fernet key, for `rekeyd encryption generate-key` and `rekeyd init`.
pub fn generate_key() -> Secret {
    Secret::new(Fernet::generate_key())
}

/// A sealed secret on its way into the store: the text of a Fernet token, and which key sealed it, so that the
/// transaction that stores it can ask whether that key is still in force.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Fit for a database column.
    pub token: String,
    /// Which key of the ring.
    pub by: EncryptionKeyId,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} characters by {})", self.token.len(), self.by)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;

    use super::*;

    /// The key of all published vectors, <https://github.com/fernet/spec>.
    const SPEC_KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    /// The token of generate.json and verify.json; its source is `hello`.
    const SPEC_TOKEN: &str = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";
    /// invalid.json, without the two vectors that are wrong only by their time.
    const SPEC_INVALID: [(&str, &str); 6] = [
        (
            "incorrect mac",
            "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykQUFBQUFBQUFBQQ==",
        ),
        ("too short", "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPA=="),
        (
            "invalid base64",
            "%%%%%%%%%%%%%AECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1YsUD2Q==",
        ),
        (
            "payload size not multiple of block size",
            "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPOm73QeoCk9uGib28Xe5vz6oxq5nmxbx_v7mrfyudzUm",
        ),
        (
            "payload padding error",
            "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0ODz4LEpdELGQAad7aNEHbf-JkLPIpuiYRLQ3RtXatOYREu2FWke6CnJNYIbkuKNqOhw==",
        ),
        (
            "incorrect IV (causes padding error)",
            "gAAAAAAdwJ6xBQECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAkLhFLHpGtDBRLRTZeUfWgHSv49TF2AUEZ1TIvcZjK1zQ==",
        ),
    ];
    /// invalid.json, `far-future TS` and `expired TTL`: refused by time there, opened here and by
    /// Python, see the module's header. Both sealed an empty text.
    const SPEC_FAR_FUTURE: &str = "gAAAAAAdwStRAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAnja1xKYyhd-Y6mSkTOyTGJmw2Xc2a6kBd-iX9b_qXQcw==";
    const SPEC_EXPIRED: &str = "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1YsUD2Q==";

    fn ring(keys: &[&Secret]) -> Ring {
        let keys: Vec<&str> = keys.iter().map(|key| key.expose()).collect();
        Ring::parse(&Secret::new(keys.join(","))).unwrap()
    }

    fn spec_ring() -> Ring {
        Ring::parse(&Secret::new(SPEC_KEY)).unwrap()
    }

    const PURPOSE: Purpose<'_> = Purpose {
        r#use: super::super::purpose::Use::Key,
        row: "k",
        provider: Some("openai"),
        account: None,
        rotation: None,
        generation: None,
    };

    /// What any Fernet would open.
    fn open(ring: &Ring, token: &str) -> Result<String, CryptoError> {
        ring.text_of(token).map(|(_, text)| text.to_string())
    }

    fn seal(ring: &Ring, text: &str) -> Sealed {
        ring.seal(ring.first(), &PURPOSE, &Secret::new(text)).unwrap()
    }

    fn opened(ring: &Ring, token: &str) -> Result<String, CryptoError> {
        ring.open(token, &PURPOSE).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn opens_what_the_specification_generates_and_verifies() {
        assert_eq!(open(&spec_ring(), SPEC_TOKEN), Ok("hello".to_owned()));
    }

    #[test]
    fn keys_of_either_alphabet_are_the_same() {
        let standard = format!("{}+/A=", "-_".repeat(20)).replace('-', "+").replace('_', "/");
        let url_safe = standard.replace('+', "-").replace('/', "_");
        let [standard, url_safe] = [standard, url_safe].map(|text| Ring::parse(&Secret::new(text)).unwrap());
        assert_eq!(standard.first(), url_safe.first());
    }

    #[test]
    fn refuses_every_invalid_vector() {
        for (why, token) in SPEC_INVALID {
            assert_eq!(open(&spec_ring(), token), Err(CryptoError::CannotOpen), "{why}");
        }
    }

    #[test]
    fn a_token_from_a_clock_that_was_ahead_still_opens() {
        assert_eq!(open(&spec_ring(), SPEC_FAR_FUTURE), Ok(String::new()));
        assert_eq!(open(&spec_ring(), SPEC_EXPIRED), Ok(String::new()));
        let a_century_ahead = Fernet::new(SPEC_KEY).unwrap().encrypt_at_time(b"hello", 4_900_000_000);
        assert_eq!(open(&spec_ring(), &a_century_ahead), Ok("hello".to_owned()));
    }

    #[test]
    fn seals_in_the_layout_of_the_specification() {
        let sealed = seal(&spec_ring(), "hello");
        let bytes = base64::engine::general_purpose::URL_SAFE.decode(&sealed.token).unwrap();
        let blocks = PURPOSE.bind("hello").len() / 16 + 1;
        // version, time, initialisation vector, blocks, HMAC
        assert_eq!((bytes[0], bytes.len()), (0x80, 1 + 8 + 16 + 16 * blocks + 32));
        assert_ne!(sealed, seal(&spec_ring(), "hello"), "the vector must be random");
    }

    #[test]
    fn the_key_that_is_named_seals_and_all_open() {
        let (old, new) = (generate_key(), generate_key());
        let (only_old, both) = (ring(&[&old]), ring(&[&new, &old]));
        let sealed = seal(&only_old, "grüße\n");
        assert_eq!(opened(&both, &sealed.token), Ok("grüße\n".to_owned()));
        let by_old = both.seal(only_old.first(), &PURPOSE, &Secret::new("x")).unwrap();
        assert_eq!((&by_old.by, opened(&only_old, &by_old.token)), (only_old.first(), Ok("x".to_owned())));
        let by_new = seal(&both, "x").token;
        assert_eq!(opened(&only_old, &by_new), Err(CryptoError::CannotOpen));
        assert_eq!(opened(&ring(&[&new]), &sealed.token), Err(CryptoError::CannotOpen));
        let stale = only_old.seal(both.first(), &PURPOSE, &Secret::new("x"));
        assert_eq!(stale, Err(CryptoError::Stale(both.first().clone())));
    }

    #[test]
    fn a_token_opens_for_its_purpose_only() {
        let ring = spec_ring();
        let sealed = seal(&ring, "not-a-key");
        let mine = Purpose { row: "mine", provider: Some("custom"), ..PURPOSE };
        assert_eq!(ring.open(&sealed.token, &mine).unwrap_err(), CryptoError::Moved);
        assert_eq!(ring.reseal(ring.first(), &sealed.token, &mine), Err(CryptoError::Moved));
        assert_eq!(ring.take_over(ring.first(), &sealed.token, &mine), Err(CryptoError::Moved));
        assert_eq!(opened(&ring, SPEC_TOKEN), Err(CryptoError::Moved), "one from before");
    }

    #[test]
    fn a_token_from_before_is_taken_over_for_one_purpose() {
        let (old, new) = (Secret::new(SPEC_KEY), generate_key());
        let ring = ring(&[&new, &old]);
        let taken = ring.take_over(ring.first(), SPEC_TOKEN, &PURPOSE).unwrap();
        assert_eq!((&taken.by, opened(&ring, &taken.token)), (ring.first(), Ok("hello".to_owned())));
        let again = ring.take_over(ring.first(), &taken.token, &PURPOSE).unwrap();
        assert_eq!(opened(&ring, &again.token), Ok("hello".to_owned()));
    }

    #[test]
    fn what_another_key_sealed_is_sealed_anew_once() {
        let (old, new) = (generate_key(), generate_key());
        let (only_old, both) = (ring(&[&old]), ring(&[&new, &old]));
        let before = seal(&only_old, "x").token;
        let after = both.reseal(both.first(), &before, &PURPOSE).unwrap().unwrap();
        assert_eq!(opened(&ring(&[&new]), &after.token), Ok("x".to_owned()));
        assert_eq!(both.reseal(both.first(), &after.token, &PURPOSE), Ok(None));
    }

    #[test]
    fn a_key_is_called_the_same_everywhere() {
        let (one, two) = (generate_key(), generate_key());
        let (both, turned) = (ring(&[&one, &two]), ring(&[&two, &one]));
        assert_eq!(
            both.ids().collect::<Vec<_>>(),
            turned.ids().collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>()
        );
        assert_eq!(spec_ring().first().as_str().len(), 16);
        assert!(!SPEC_KEY.contains(spec_ring().first().as_str()));
        let twice = Secret::new(format!("{},{}", one.expose(), one.expose()));
        assert_eq!(Ring::parse(&twice).unwrap_err(), CryptoError::Twice { position: 2 });
    }

    #[test]
    fn says_which_key_is_bad_without_repeating_it() {
        let good = generate_key();
        let parse = |text: String| Ring::parse(&Secret::new(text)).map(|_| ()).unwrap_err();
        assert_eq!(parse(String::new()), CryptoError::NoKey);
        assert_eq!(parse(" \n".to_owned()), CryptoError::NoKey);
        assert_eq!(parse("not-a-key".to_owned()), CryptoError::BadKey { position: 1, count: 1 });
        let error = parse(format!("{}, hunter2,", good.expose()));
        assert_eq!(error, CryptoError::BadKey { position: 2, count: 3 });
        assert!(!error.to_string().contains("hunter2"));
        assert_eq!(parse(format!("{},", good.expose())), CryptoError::BadKey { position: 2, count: 2 });
        assert!(Ring::parse(&Secret::new(format!(" {} , {} \n", good.expose(), SPEC_KEY))).is_ok());
    }

    #[test]
    fn refuses_what_is_not_text() {
        let token = Fernet::new(SPEC_KEY).unwrap().encrypt(&[0xff, 0xfe]);
        assert_eq!(open(&spec_ring(), &token), Err(CryptoError::NotText));
    }

    #[test]
    fn debug_says_nothing() {
        let sealed = Sealed { token: SPEC_TOKEN.to_owned(), by: EncryptionKeyId::from_stored("00") };
        assert_eq!(format!("{sealed:?} {:?}", spec_ring()), "Sealed(100 characters by 00) Ring(1 keys)");
    }

    /// Runs a line of Python over the words on its standard input.
    fn python(program: &str, words: &[&str]) -> String {
        use std::io::Write;
        use std::process::{Command, Stdio};
        let mut child = Command::new("python3")
            .args(["-c", &format!("import sys; from cryptography.fernet import Fernet; w = sys.stdin.read().split(); {program}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this test needs python3");
        child.stdin.take().unwrap().write_all(words.join("\n").as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(
            !errors.contains("No module named"),
            "this test needs the Python module `cryptography`, which tests/run.sh installs: {errors}"
        );
        assert!(done.status.success(), "python3: {errors}");
        String::from_utf8(done.stdout).unwrap().trim_end().to_owned()
    }

    #[test]
    fn round_trip_with_python() {
        let key = generate_key();
        let sealed = seal(&ring(&[&key]), "not-a-key-ü");
        let opened = python("print(Fernet(w[0]).decrypt(w[1]).decode())", &[key.expose(), &sealed.token]);
        assert_eq!(opened, PURPOSE.bind("not-a-key-ü"));
        let token =
            python("print(Fernet(w[0]).encrypt(w[1].encode()).decode())", &[key.expose(), "from-python"]);
        assert_eq!(open(&ring(&[&key]), &token), Ok("from-python".to_owned()));
        let theirs = python("print(Fernet.generate_key().decode())", &[]);
        assert!(Ring::parse(&Secret::new(theirs)).is_ok());
    }
}
