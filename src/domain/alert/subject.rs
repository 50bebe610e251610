//! What an alert is about.
//!
//! The store keeps the text: with the kind it is what makes an alert one alert, so a text that changed would open
//! a second one beside the first. Whatever is read is written again as it was.

use std::fmt;

/// What an alert is about. `Display` is the text in the store, in mails and in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A rotation and its current key, so that one dead key is one alert: `rotation production`.
    Rotation(String),
    /// Another key of a rotation: `rotation production generation 3`.
    Generation {
        /// The rotation's name.
        rotation: String,
        /// Its number in the rotation.
        generation: i64,
    },
    /// A leaked key of a rotation that is not being replaced: `generation 3 of rotation production`.
    LeakedGeneration {
        /// The rotation's name.
        rotation: String,
        /// Its number in the rotation.
        generation: i64,
    },
    /// An entry of the configuration, or the account behind several of them: `account main`.
    Account(String),
    /// What manages an account's keys: `provisioning key of account main`.
    ProvisioningKey {
        /// The account's name.
        account: String,
    },
    /// A key of an account that rekeyd does not hold: `key sk-or-v...1234 of account main`.
    ForeignKey {
        /// All that is shown of it.
        mask: String,
        /// The account's name.
        account: String,
    },
    /// A key that a lost answer left behind: `stray key sk-or-v1-123...456`.
    StrayKey {
        /// What the provider calls it.
        label: String,
    },
    /// A stored key that belongs to no rotation: `key openai number 3`.
    Key {
        /// The provider's name.
        provider: String,
        /// Its number at the provider.
        number: i64,
    },
    /// The same without a number: `key openai sk-proj...1234`.
    Unnumbered {
        /// The provider's name.
        provider: String,
        /// All that is shown of it.
        mask: String,
    },
    /// A whole provider: `provider openai`.
    Provider(String),
    /// A destination: `destination vercel-production`.
    Destination(String),
    /// The stored keys that a destination follows: `destination app-database (mirror)`.
    Mirror(String),
    /// A scanner that is asked for leaked keys: `secret scanning of acme/app`.
    Scanning {
        /// What it scans.
        place: String,
    },
    /// A row of our own store: `row 0192 of effects`.
    Row {
        /// Of which table.
        table: String,
        /// Its id.
        id: String,
    },
    /// A pass of the daemon: `pass tests`.
    Pass(String),
    /// The configuration's file: `configuration`.
    Configuration,
    /// The lists of encryption keys of all processes.
    EncryptionKeys,
    /// The way from this machine to all providers: `network`.
    Egress,
    /// A text that this version does not write.
    Other(String),
}

const ENCRYPTION_KEYS: &str = "encryption keys";
const EGRESS: &str = "network";
const MIRROR: &str = " (mirror)";
const SCANNING: &str = "secret scanning of ";

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rotation(name) => write!(f, "rotation {name}"),
            Self::Generation { rotation, generation } => {
                write!(f, "rotation {rotation} generation {generation}")
            }
            Self::LeakedGeneration { rotation, generation } => {
                write!(f, "generation {generation} of rotation {rotation}")
            }
            Self::Account(name) => write!(f, "account {name}"),
            Self::ProvisioningKey { account } => write!(f, "provisioning key of account {account}"),
            Self::ForeignKey { mask, account } => write!(f, "key {mask} of account {account}"),
            Self::StrayKey { label } => write!(f, "stray key {label}"),
            Self::Key { provider, number } => write!(f, "key {provider} number {number}"),
            Self::Unnumbered { provider, mask } => write!(f, "key {provider} {mask}"),
            Self::Provider(name) => write!(f, "provider {name}"),
            Self::Destination(name) => write!(f, "destination {name}"),
            Self::Mirror(name) => write!(f, "destination {name}{MIRROR}"),
            Self::Scanning { place } => write!(f, "{SCANNING}{place}"),
            Self::Row { table, id } => write!(f, "row {id} of {table}"),
            Self::Pass(name) => write!(f, "pass {name}"),
            Self::Configuration => f.write_str("configuration"),
            Self::EncryptionKeys => f.write_str(ENCRYPTION_KEYS),
            Self::Egress => f.write_str(EGRESS),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl From<&Subject> for String {
    fn from(subject: &Subject) -> Self {
        subject.to_string()
    }
}

impl Subject {
    /// The subject of that text. It always has this very text again.
    pub fn parse(text: &str) -> Self {
        let known = read(text).filter(|subject| subject.to_string() == text);
        known.unwrap_or_else(|| Self::Other(text.to_owned()))
    }

    /// In the subject of a mail, where the words of the kind say what sort of thing it is: often the bare name.
    pub fn short(&self) -> String {
        let text = self.to_string();
        match self {
            Self::Rotation(_)
            | Self::Generation { .. }
            | Self::Account(_)
            | Self::ForeignKey { .. }
            | Self::Key { .. }
            | Self::Unnumbered { .. }
            | Self::Destination(_)
            | Self::Mirror(_) => text.split_once(' ').map_or(text.as_str(), |(_, name)| name).to_owned(),
            Self::LeakedGeneration { .. }
            | Self::ProvisioningKey { .. }
            | Self::StrayKey { .. }
            | Self::Provider(_)
            | Self::Scanning { .. }
            | Self::Row { .. }
            | Self::Pass(_)
            | Self::Configuration
            | Self::EncryptionKeys
            | Self::Egress
            | Self::Other(_) => text,
        }
    }

    /// The rotation that a command about this would name.
    pub fn rotation(&self) -> Option<&str> {
        match self {
            Self::Rotation(name) => Some(name),
            Self::Generation { rotation, .. } | Self::LeakedGeneration { rotation, .. } => Some(rotation),
            _ => None,
        }
    }

    /// The account that a command about this would name.
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Account(name) => Some(name),
            Self::ProvisioningKey { account } | Self::ForeignKey { account, .. } => Some(account),
            _ => None,
        }
    }

    /// The destination that a command about this would name.
    pub fn destination(&self) -> Option<&str> {
        match self {
            Self::Destination(name) | Self::Mirror(name) => Some(name),
            _ => None,
        }
    }
}

fn read(text: &str) -> Option<Subject> {
    if let Some(place) = text.strip_prefix(SCANNING) {
        return Some(Subject::Scanning { place: place.to_owned() });
    }
    if text == "configuration" {
        return Some(Subject::Configuration);
    }
    if text == ENCRYPTION_KEYS {
        return Some(Subject::EncryptionKeys);
    }
    if text == EGRESS {
        return Some(Subject::Egress);
    }
    let (word, rest) = text.split_once(' ')?;
    match word {
        "rotation" => rotation(rest),
        "generation" => leaked_generation(rest),
        "account" => Some(Subject::Account(rest.to_owned())),
        "provisioning" => provisioning_key(rest),
        "key" => key(rest),
        "stray" => Some(Subject::StrayKey { label: rest.strip_prefix("key ")?.to_owned() }),
        "row" => {
            let (id, table) = rest.rsplit_once(" of ")?;
            Some(Subject::Row { table: table.to_owned(), id: id.to_owned() })
        }
        "pass" => Some(Subject::Pass(rest.to_owned())),
        "provider" => Some(Subject::Provider(rest.to_owned())),
        "destination" => Some(match rest.strip_suffix(MIRROR) {
            Some(name) => Subject::Mirror(name.to_owned()),
            None => Subject::Destination(rest.to_owned()),
        }),
        _ => None,
    }
}

fn rotation(rest: &str) -> Option<Subject> {
    let Some((name, generation)) = rest.split_once(" generation ") else {
        return Some(Subject::Rotation(rest.to_owned()));
    };
    Some(Subject::Generation { rotation: name.to_owned(), generation: generation.parse().ok()? })
}

fn leaked_generation(rest: &str) -> Option<Subject> {
    let (generation, name) = rest.split_once(" of rotation ")?;
    Some(Subject::LeakedGeneration { rotation: name.to_owned(), generation: generation.parse().ok()? })
}

fn provisioning_key(rest: &str) -> Option<Subject> {
    Some(Subject::ProvisioningKey { account: rest.strip_prefix("key of account ")?.to_owned() })
}

fn key(rest: &str) -> Option<Subject> {
    if let Some((mask, account)) = rest.split_once(" of account ") {
        return Some(Subject::ForeignKey { mask: mask.to_owned(), account: account.to_owned() });
    }
    let (provider, which) = rest.split_once(' ')?;
    let provider = provider.to_owned();
    Some(match which.strip_prefix("number ") {
        Some(number) => Subject::Key { provider, number: number.parse().ok()? },
        None => Subject::Unnumbered { provider, mask: which.to_owned() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each with its text, and with what a mail's subject says.
    fn known() -> Vec<(Subject, &'static str, &'static str)> {
        let text = |text: &str| text.to_owned();
        vec![
            (Subject::Rotation(text("prod")), "rotation prod", "prod"),
            (
                Subject::Generation { rotation: text("prod"), generation: 3 },
                "rotation prod generation 3",
                "prod generation 3",
            ),
            (
                Subject::LeakedGeneration { rotation: text("prod"), generation: 3 },
                "generation 3 of rotation prod",
                "generation 3 of rotation prod",
            ),
            (Subject::Account(text("org:acme")), "account org:acme", "org:acme"),
            (
                Subject::ProvisioningKey { account: text("main") },
                "provisioning key of account main",
                "provisioning key of account main",
            ),
            (
                Subject::ForeignKey { mask: text("sk-or-v...1234"), account: text("main") },
                "key sk-or-v...1234 of account main",
                "sk-or-v...1234 of account main",
            ),
            (Subject::StrayKey { label: text("a b...c") }, "stray key a b...c", "stray key a b...c"),
            (Subject::Key { provider: text("openai"), number: 3 }, "key openai number 3", "openai number 3"),
            (
                Subject::Unnumbered { provider: text("openai"), mask: text("...") },
                "key openai ...",
                "openai ...",
            ),
            (Subject::Provider(text("openai")), "provider openai", "provider openai"),
            (Subject::Destination(text("vercel")), "destination vercel", "vercel"),
            (Subject::Mirror(text("table")), "destination table (mirror)", "table (mirror)"),
            (
                Subject::Scanning { place: text("acme/app") },
                "secret scanning of acme/app",
                "secret scanning of acme/app",
            ),
            (
                Subject::Row { table: text("effects"), id: text("0192 of 3") },
                "row 0192 of 3 of effects",
                "row 0192 of 3 of effects",
            ),
            (Subject::Pass(text("tests")), "pass tests", "pass tests"),
            (Subject::Configuration, "configuration", "configuration"),
            (Subject::EncryptionKeys, "encryption keys", "encryption keys"),
            (Subject::Egress, "network", "network"),
            (Subject::Other(text("store")), "store", "store"),
        ]
    }

    #[test]
    fn every_subject_is_read_as_it_was_written() {
        for (subject, text, short) in known() {
            assert_eq!(subject.to_string(), text);
            assert_eq!(Subject::parse(text), subject);
            assert_eq!(subject.short(), short);
        }
    }

    #[test]
    fn a_text_that_nobody_knows_stays_as_it_is() {
        for text in [
            "",
            "rotation",
            "rotation prod generation 03",
            "rotation prod generation three",
            "generation x of rotation prod",
            "key 1",
            "key openai number 007",
            "stray cat",
            "provisioning account main",
            "Configuration",
        ] {
            assert_eq!(Subject::parse(text), Subject::Other(text.to_owned()), "{text}");
        }
    }

    #[test]
    fn the_names_in_it_are_those_that_commands_take() {
        let names = |text: &str| {
            let subject = Subject::parse(text);
            [subject.rotation(), subject.account(), subject.destination()]
                .map(|name| name.unwrap_or("-").to_owned())
                .join(" ")
        };
        assert_eq!(names("rotation prod generation 3"), "prod - -");
        assert_eq!(names("generation 3 of rotation prod"), "prod - -");
        assert_eq!(names("provisioning key of account main"), "- main -");
        assert_eq!(names("destination table (mirror)"), "- - table");
        assert_eq!(names("rotation"), "- - -");
    }
}
