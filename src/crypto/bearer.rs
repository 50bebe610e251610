//! What proves a caller by being known: the cookie of a session, the token of a program.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::secret::Secret;

/// How every token of a program begins.
pub const TOKEN_PREFIX: &str = "rk_";

/// 256 random bits as 43 characters of base64, fit for a cookie.
pub fn new_session() -> Secret {
    Secret::new(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
}

/// The same for a program, with the prefix by which scanners know it.
pub fn new_token() -> Secret {
    Secret::new(format!("{TOKEN_PREFIX}{}", new_session().expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_alike_and_all_have_256_bits() {
        let (one, two) = (new_session(), new_session());
        assert_ne!(one, two);
        assert_eq!(URL_SAFE_NO_PAD.decode(one.expose()).unwrap().len(), 32);
        assert!(new_token().expose().starts_with("rk_"));
    }
}
