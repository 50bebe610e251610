//! What a sealed text is, and whose: it opens as nothing else (rotation.md R24).
//!
//! Whoever writes to the database without the encryption key could otherwise put a token that is there already into
//! a row of his own, and let rekeyd send the secret to him. So the first line of what is sealed says the use, the row,
//! and all of the row that decides where the secret goes. It is compared, never parsed.

use serde::Serialize;

/// How every bound text begins; nothing else that was ever sealed does, since no key has a space in it.
const FORM: &str = "rekeyd 1 ";

/// What a sealed text is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// The key itself.
    Key,
    /// The second secret of a key.
    ApiSecret,
    /// A fact about the database: the key of the fingerprints, a canary.
    Fact,
    /// Where keys of a provider are tested: the row is the provider.
    Endpoint,
    /// Where an account is: the row is its identity.
    Place,
    /// What somebody pasted and has not stored yet.
    Paste,
}

/// What a sealed text is, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Purpose<'a> {
    /// What it is used for.
    pub r#use: Use,
    /// Id of its row.
    pub row: &'a str,
    /// Whose key it is.
    pub provider: Option<&'a str>,
    /// Identity of the key's account.
    pub account: Option<&'a str>,
    /// The key's rotation.
    pub rotation: Option<&'a str>,
    /// The key's generation in it.
    pub generation: Option<i64>,
}

impl<'a> Purpose<'a> {
    /// Of what is no key's.
    pub fn of(r#use: Use, row: &'a str) -> Self {
        Self { r#use, row, provider: None, account: None, rotation: None, generation: None }
    }

    /// The text to seal.
    pub(super) fn bind(&self, secret: &str) -> String {
        self.line() + secret
    }

    /// The secret of a text that was sealed for this.
    pub(super) fn unbind<'t>(&self, text: &'t str) -> Option<&'t str> {
        text.strip_prefix(&self.line())
    }

    fn line(&self) -> String {
        let what = serde_json::to_string(self).expect("plain data serialises");
        format!("{FORM}{what}\n")
    }
}

/// True for a text that was sealed for one purpose, whichever.
pub(super) fn is_bound(text: &str) -> bool {
    text.starts_with(FORM)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: Purpose<'_> = Purpose {
        r#use: Use::Key,
        row: "k",
        provider: Some("openai"),
        account: Some("org:acme"),
        rotation: Some("production"),
        generation: Some(7),
    };

    #[test]
    fn what_is_bound_is_had_back_for_the_same_purpose_only() {
        let bound = KEY.bind("not-a-key\nof two lines");
        assert_eq!(KEY.unbind(&bound), Some("not-a-key\nof two lines"));
        let others = [
            Purpose { r#use: Use::ApiSecret, ..KEY },
            Purpose { row: "l", ..KEY },
            Purpose { provider: Some("mine"), ..KEY },
            Purpose { provider: None, ..KEY },
            Purpose { account: None, ..KEY },
            Purpose { rotation: Some("staging"), ..KEY },
            Purpose { generation: Some(8), ..KEY },
            Purpose { generation: None, ..KEY },
        ];
        for other in others {
            assert_eq!(other.unbind(&bound), None, "{other:?}");
        }
        assert_eq!(KEY.unbind("not-a-key"), None);
        assert!(is_bound(&bound) && !is_bound("not-a-key"));
    }

    proptest! {
        /// No text in one place of the line is read as another place of it.
        #[test]
        fn no_two_purposes_share_a_line(a in ".{0,12}", b in ".{0,12}", c in ".{0,12}", d in ".{0,12}") {
            let one = Purpose { row: &a, provider: Some(&b), ..KEY };
            let two = Purpose { row: &c, provider: Some(&d), ..KEY };
            prop_assert_eq!(two.unbind(&one.bind("secret")).is_some(), (a == c) && (b == d));
        }
    }
}
