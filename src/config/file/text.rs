//! Texts with a grammar. They only carry their pattern into the schema; [`crate::config::settings`] reads
//! them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::domain::postgres_url::PostgresUrl;

/// Makes a text type with a schema of its own.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $pattern:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The text as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "examples": [$example] })
            }
        }
    };
}

text!(
    /// One number and a unit: ms, s, m, h or d.
    DurationText, "^[0-9]+(ms|s|m|h|d)$", "15m"
);
text!(
    /// Cron with seconds: second, minute, hour, day, month, weekday. Empty where it may be turned off.
    CronText, r"^\s*(\S+(\s+\S+){5}\s*)?$", "0 */15 * * * *"
);
text!(
    /// A secret reference.
    ReferenceText, "^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.*|credential:[A-Za-z0-9_-][A-Za-z0-9._-]*)$",
    "credential:name"
);
text!(
    /// The name of an account, rotation, destination or provider.
    NameText, "^[a-z0-9][a-z0-9-]*$", "production"
);

/// The URL of the store. The only field that may hold a password, so it shows none.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct DatabaseText(pub String);

impl DatabaseText {
    /// The text without passwords: a reference, the path of a file, or an address of harmless parts.
    pub fn redacted(&self) -> String {
        if !self.0.starts_with("postgres") {
            return self.0.clone();
        }
        PostgresUrl::parse(&self.0).map_or_else(|_| "postgres://***".to_owned(), |url| url.shown())
    }
}

impl std::fmt::Debug for DatabaseText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DatabaseText(..)")
    }
}

impl Serialize for DatabaseText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.redacted())
    }
}

impl JsonSchema for DatabaseText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DatabaseText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(sqlite:|postgres://|postgresql://|env:|file:/|credential:)",
            "examples": ["sqlite:/var/lib/rekeyd/rekeyd.db", "credential:database-url"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_password() {
        for (text, shown) in [
            ("sqlite:/var/lib/rekeyd/rekeyd.db", "sqlite:/var/lib/rekeyd/rekeyd.db"),
            ("env:DATABASE_URL", "env:DATABASE_URL"),
            ("postgres://rekeyd@db/rekeyd", "postgres://rekeyd@db/rekeyd"),
            ("postgres://rekeyd:hunter2@db:5432/rekeyd", "postgres://rekeyd:***@db:5432/rekeyd"),
            ("postgres://user:/hunter2@db/rekeyd", "postgres://***"),
            (
                "postgresql://db/rekeyd?password=hunter2&sslmode=require",
                "postgresql://db/rekeyd?sslmode=require",
            ),
        ] {
            let text = DatabaseText(text.to_owned());
            assert_eq!(text.redacted(), shown);
            assert_eq!(serde_json::to_string(&text).unwrap(), format!("\"{shown}\""));
            assert!(!format!("{text:?}").contains("hunter2"));
        }
    }
}
