//! The ring of Fernet keys that seals every secret in the store.
//!
//! Fernet is AES-128-CBC with HMAC-SHA256; the text can be opened by Python's `cryptography` and every other
//! implementation of the specification. The first key of the ring seals, all of them open, so that keys are
//! exchanged by putting a new one in front, running `rekeyd encryption reencrypt`, and dropping the old one.
//!
//! A token carries the time at which it was made. It is deliberately not looked at when opening: a secret
//! sealed while our clock was ahead must open after the clock was put right (I13), which is also how Python
//! opens a token without a time to live.

use fernet::Fernet;
use zeroize::Zeroize;

use crate::domain::secret::Secret;

/// "Now" for the crate's clock check, so far ahead that no token comes from the future of it.
const END_OF_TIME: u64 = u64::MAX - 60;

/// One or more Fernet keys. Cheap to clone, wiped when dropped.
#[derive(Clone)]
pub struct Ring {
    first: Fernet,
    others: Vec<Fernet>,
}

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
    /// No key of the ring opens it: sealed by a key that is not in the ring, or damaged.
    #[error("none of the encryption keys opens this secret: another key sealed it, or it is damaged")]
    CannotOpen,
    /// It opened, but what was sealed is not text.
    #[error("what was sealed is not text")]
    NotText,
}

impl CryptoError {
    /// The next move, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoKey | Self::BadKey { .. } => Some("`rekeyd encryption generate-key` prints a good one"),
            Self::CannotOpen => {
                Some("give back the key that sealed it, behind the others and separated by a comma")
            }
            Self::NotText => None,
        }
    }
}

impl Ring {
    /// Reads keys separated by commas; spaces around a key do not matter.
    pub fn parse(keys: &Secret) -> Result<Self, CryptoError> {
        if keys.expose().trim().is_empty() {
            return Err(CryptoError::NoKey);
        }
        let texts: Vec<&str> = keys.expose().split(',').map(str::trim).collect();
        let bad = |position| CryptoError::BadKey { position, count: texts.len() };
        let first = Fernet::new(texts[0]).ok_or_else(|| bad(1))?;
        let others = (2..)
            .zip(&texts[1..])
            .map(|(position, text)| Fernet::new(text).ok_or_else(|| bad(position)))
            .collect::<Result<_, _>>()?;
        Ok(Self { first, others })
    }

    /// Seals with the first key. Two seals of one secret differ.
    pub fn seal(&self, secret: &Secret) -> Sealed {
        Sealed(self.first.encrypt(secret.expose().as_bytes()))
    }

    /// Opens with whichever key fits.
    pub fn open(&self, sealed: &Sealed) -> Result<Secret, CryptoError> {
        std::iter::once(&self.first)
            .chain(&self.others)
            .find_map(|key| open_with(key, sealed))
            .ok_or(CryptoError::CannotOpen)
            .and_then(text)
    }

    /// True when the first key opens it, so that `encryption reencrypt` has nothing to do.
    pub fn sealed_by_first(&self, sealed: &Sealed) -> bool {
        open_with(&self.first, sealed).is_some_and(|mut bytes| {
            bytes.zeroize();
            true
        })
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ring({} keys)", 1 + self.others.len())
    }
}

fn open_with(key: &Fernet, sealed: &Sealed) -> Option<Vec<u8>> {
    key.decrypt_at_time(sealed.as_str(), None, END_OF_TIME).ok()
}

fn text(bytes: Vec<u8>) -> Result<Secret, CryptoError> {
    String::from_utf8(bytes).map(Secret::new).map_err(|error| {
        error.into_bytes().zeroize();
        CryptoError::NotText
    })
}

/// A new random Fernet key, for `rekeyd encryption generate-key` and `rekeyd init`.
pub fn generate_key() -> Secret {
    Secret::new(Fernet::generate_key())
}

/// A sealed secret: the text of a Fernet token, fit for a database column.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(String);

impl Sealed {
    /// Takes back what [`Sealed::as_str`] gave. Whether it opens, [`Ring::open`] says.
    pub fn from_stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The token, to be stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} characters)", self.0.len())
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

    fn open(ring: &Ring, token: &str) -> Result<String, CryptoError> {
        ring.open(&Sealed::from_stored(token)).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn opens_what_the_specification_generates_and_verifies() {
        assert_eq!(open(&spec_ring(), SPEC_TOKEN), Ok("hello".to_owned()));
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
        let sealed = spec_ring().seal(&Secret::new("hello"));
        let bytes = base64::engine::general_purpose::URL_SAFE.decode(sealed.as_str()).unwrap();
        // version, time, initialisation vector, one block, HMAC
        assert_eq!((bytes[0], bytes.len()), (0x80, 1 + 8 + 16 + 16 + 32));
        assert_ne!(sealed, spec_ring().seal(&Secret::new("hello")), "the vector must be random");
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let (old, new) = (generate_key(), generate_key());
        let sealed_by_old = ring(&[&old]).seal(&Secret::new("grüße\n"));
        let both = ring(&[&new, &old]);
        assert_eq!(both.open(&sealed_by_old).unwrap(), Secret::new("grüße\n"));
        assert!(!both.sealed_by_first(&sealed_by_old));
        let sealed_by_new = both.seal(&Secret::new("x"));
        assert!(both.sealed_by_first(&sealed_by_new));
        assert_eq!(ring(&[&old]).open(&sealed_by_new), Err(CryptoError::CannotOpen));
        assert_eq!(ring(&[&new]).open(&sealed_by_old), Err(CryptoError::CannotOpen));
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
        let sealed = Sealed::from_stored(SPEC_TOKEN);
        assert_eq!(format!("{sealed:?} {:?}", spec_ring()), "Sealed(100 characters) Ring(1 keys)");
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
        let sealed = ring(&[&key]).seal(&Secret::new("not-a-key-ü"));
        let opened = python("print(Fernet(w[0]).decrypt(w[1]).decode())", &[key.expose(), sealed.as_str()]);
        assert_eq!(opened, "not-a-key-ü");
        let token =
            python("print(Fernet(w[0]).encrypt(w[1].encode()).decode())", &[key.expose(), "from-python"]);
        assert_eq!(open(&ring(&[&key]), &token), Ok("from-python".to_owned()));
        let theirs = python("print(Fernet.generate_key().decode())", &[]);
        assert!(Ring::parse(&Secret::new(theirs)).is_ok());
    }
}
