//! Names that this database gives to keys at the provider, `rekeyd/<instance>/<rotation>/<generation>-<nonce>`, and
//! how it knows them again (rotation.md R6).
//!
//! The nonce ends in a seal, an HMAC over the name before it: whoever may name keys can write our prefix, but no name
//! that we would have given. The key of the seal is drawn from that of the fingerprints, which every database has had
//! since its first start: so each backup of it, however old, knows the names of all that came after.
//!
//! Names from before had no seal, and anybody can write one. They count only on keys that the provider made before the
//! first start of a program that seals.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::domain::key::RemoteKey;
use crate::domain::name::Name;
use crate::domain::secret::Secret;
use crate::domain::time::{MAX_SKEW, Timestamp};

/// Draws the key of the seals: a fingerprint is never made under it.
const PURPOSE: &[u8] = b"rekeyd: names of keys at the provider";
/// Hex digits of a random part; all that a name from before ends in.
const RANDOM: usize = 16;
/// Bytes of a seal: whoever guesses must make a key for each guess.
const SEAL: usize = 16;
/// What stands in the place of a rotation and its generation in names of keys that a person asked for.
const BY_HAND: &str = "manual";

/// Gives names and knows them again.
#[derive(Clone)]
pub struct KeyNames {
    prefix: String,
    seal: Hmac<Sha256>,
    sealed_since: Timestamp,
}

impl KeyNames {
    /// `root` is the key of the fingerprints; names without a seal end at `sealed_since`.
    pub fn new(instance: &str, root: &Secret, sealed_since: Timestamp) -> Self {
        let keyed = |key: &[u8]| Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
        let key = keyed(PURPOSE).chain_update(root.expose().as_bytes()).finalize().into_bytes();
        Self { prefix: format!("rekeyd/{instance}/"), seal: keyed(&key), sealed_since }
    }

    /// The beginning of every name.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The name of a generation. `random` is 16 hex digits.
    pub fn of_generation(&self, rotation: &str, generation: i64, random: &str) -> String {
        self.sealed(format!("{}{rotation}/{generation}-{random}", self.prefix))
    }

    /// The name of a key that belongs to no rotation.
    pub fn by_hand(&self, random: &str) -> String {
        self.sealed(format!("{}{BY_HAND}/{random}", self.prefix))
    }

    fn sealed(&self, name: String) -> String {
        let seal = self.seal.clone().chain_update(name.as_bytes()).finalize().into_bytes();
        name + &hex::encode(&seal[..SEAL])
    }

    /// Whether only this database, or a copy of it, can have given this key its name.
    pub fn gave(&self, key: &RemoteKey) -> bool {
        let Some(parts) = self.parts(&key.name) else { return false };
        match parts.seal {
            Some(seal) => self.is_sealed(&key.name, &seal),
            // A time that the provider does not tell speaks for a freeze, and against doing anything.
            None => key.created_at.is_none_or(|at| at <= self.sealed_since.plus(MAX_SKEW)),
        }
    }

    /// The rotation and generation that a name tells.
    pub fn generation(&self, name: &str) -> Option<(String, i64)> {
        let parts = self.parts(name)?;
        Some((parts.rotation, parts.generation?))
    }

    /// Compares in constant time.
    fn is_sealed(&self, name: &str, seal: &[u8]) -> bool {
        let before = &name.as_bytes()[..name.len() - 2 * SEAL];
        self.seal.clone().chain_update(before).verify_truncated_left(seal).is_ok()
    }

    fn parts(&self, name: &str) -> Option<Parts> {
        let (rotation, rest) = name.strip_prefix(&self.prefix)?.split_once('/')?;
        Name::parse(rotation).ok()?;
        let (generation, nonce) = match rest.split_once('-') {
            Some((generation, nonce)) => (Some(number(generation)?), nonce),
            None if rotation == BY_HAND => (None, rest),
            None => return None,
        };
        let is_hex = nonce.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let (_, seal) = nonce.split_at_checked(RANDOM).filter(|_| is_hex)?;
        let seal = match seal.len() {
            0 => None,
            len if len == 2 * SEAL => Some(hex::decode(seal).ok()?),
            _ => return None,
        };
        Some(Parts { rotation: rotation.to_owned(), generation, seal })
    }
}

/// What a name of ours says.
struct Parts {
    rotation: String,
    generation: Option<i64>,
    seal: Option<Vec<u8>>,
}

/// A generation as we write it: one text for each number, and far from where a counter ends.
fn number(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number: &i64| (1..1 << 32).contains(number) && number.to_string() == text)
}

impl std::fmt::Debug for KeyNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyNames({}..)", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "0123456789abcdef";
    const SINCE: Timestamp = Timestamp(1_000_000_000);

    fn names(instance: &str, root: &str) -> KeyNames {
        KeyNames::new(instance, &Secret::new(root), SINCE)
    }

    /// A key that was made when names were sealed already.
    fn key(name: &str) -> RemoteKey {
        let created_at = Some(SINCE.plus(crate::domain::time::Span::hours(1)));
        RemoteKey { name: name.to_owned(), created_at, ..RemoteKey::sample("h") }
    }

    #[test]
    fn what_was_given_is_known_again_and_by_every_copy() {
        let one = names("i", "root");
        let given = [one.of_generation("production", 7, NONCE), one.by_hand(NONCE)];
        assert_eq!(given[0].len(), "rekeyd/i/production/7-".len() + 16 + 32);
        for name in &given {
            assert!(one.gave(&key(name)) && names("i", "root").gave(&key(name)), "{name}");
        }
        assert_eq!(one.generation(&given[0]), Some(("production".to_owned(), 7)));
        assert_eq!(one.generation(&given[1]), None);
    }

    #[test]
    fn no_change_of_a_name_goes_unseen() {
        let one = names("i", "root");
        let given = one.of_generation("production", 7, NONCE);
        for at in "rekeyd/i/".len()..given.len() {
            let mut bytes = given.clone().into_bytes();
            bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(!one.gave(&key(&changed)), "{changed}");
        }
        for (other, why) in [(names("i", "toor"), "another key"), (names("j", "root"), "another instance")] {
            assert!(!other.gave(&key(&given)), "{why}");
        }
    }

    #[test]
    fn forms_that_were_never_given_are_nobodys() {
        let one = names("i", "root");
        let seal = "0".repeat(32);
        let long = format!("production/7-{NONCE}{seal}00");
        let forged = format!("production/7-{NONCE}{seal}");
        for rest in [
            "",
            "production",
            "production/7",
            "production/7-",
            "production/7-x",
            "Production/7-0123456789abcdef",
            "production/-7-0123456789abcdef",
            "production/07-0123456789abcdef",
            "production/99999999999999999999-0123456789abcdef",
            "production/7-0123456789ABCDEF",
            "production/7-0123456789abcdé0",
            "production/0123456789abcdef",
            &long,
            &forged,
        ] {
            let name = format!("rekeyd/i/{rest}");
            let old = RemoteKey { created_at: Some(Timestamp(0)), ..key(&name) };
            assert!(!one.gave(&key(&name)) && !one.gave(&old), "{name}");
        }
    }

    #[test]
    fn names_without_a_seal_end_when_sealing_begins() {
        let one = names("i", "root");
        for rest in ["production/7-0123456789abcdef", "manual/0123456789abcdef"] {
            let made = |created_at| one.gave(&RemoteKey { created_at, ..key(&format!("rekeyd/i/{rest}")) });
            assert!(made(None) && made(Some(SINCE)) && made(Some(SINCE.plus(MAX_SKEW))), "{rest}");
            assert!(!made(Some(Timestamp(SINCE.plus(MAX_SKEW).0 + 1))), "{rest}");
        }
    }

    #[test]
    fn a_seal_is_no_fingerprint() {
        let (name, root) = ("rekeyd/i/manual/0123456789abcdef", Secret::new("root"));
        let print = crate::crypto::Fingerprinter::new(&root).of(&Secret::new(name));
        assert!(!names("i", "root").by_hand(NONCE).ends_with(&print[..32]));
    }

    #[test]
    fn debug_says_no_key() {
        assert_eq!(format!("{:?}", names("i", "root")), "KeyNames(rekeyd/i/..)");
    }
}
