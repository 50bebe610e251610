//! Passwords of people: argon2id, as a PHC string with its own salt and costs. Both functions take a core for a fifth of
//! a second, by choice: callers run them beside the runtime, a few at a time.

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::domain::secret::Secret;

/// 64 MiB and three passes: the second choice of RFC 9106, on one lane.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;

/// The hash of a password, to be stored.
pub fn hash(password: &Secret) -> Secret {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the costs are within argon2's bounds");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password(password.expose().as_bytes());
    Secret::new(hash.expect("a password of bounded length has a hash").to_string())
}

/// Whether this password was hashed so. The costs are those of the hash. A hash that cannot be read is nobody's.
pub fn verify(password: &Secret, hash: &Secret) -> bool {
    Argon2::default().verify_password(password.expose().as_bytes(), hash.expose()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_again_and_no_other_is() {
        let (one, two) = (Secret::new("not-a-password-1"), Secret::new("not-a-password-2"));
        let hashed = hash(&one);
        assert!(hashed.expose().starts_with("$argon2id$v=19$m=65536,t=3,p=1$"));
        assert!(verify(&one, &hashed) && !verify(&two, &hashed));
        assert_ne!(hashed, hash(&one), "each has its own salt");
        assert!(!verify(&one, &Secret::new("not-a-hash")));
    }
}
