//! The URL of a PostgreSQL database, of which only what cannot be a part of the password is ever shown.
//!
//! A `/`, `?` or `#` that stands in a password as it is moves the rest of it, host and all, to where the name of the database
//! or the options stand: `postgres://user:/secret@host/app` has the host "user" and the database "/secret@host/app".
//! Such a URL is refused, and an address for people is built from parts that were looked at, never cut out of
//! the text.

use url::{Host, Url};

/// A URL whose parts are where they seem to be.
#[derive(Clone)]
pub struct PostgresUrl(Url);

/// Why a text is none. Repeats nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotPostgres {
    /// Something else.
    #[error("not a PostgreSQL URL")]
    Form,
    /// A sign of the password ends the host.
    #[error(
        "a sign in the password of this PostgreSQL URL ends it too early, or its database has no plain name"
    )]
    Misplaced,
}

impl NotPostgres {
    /// What to write instead.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Form => "postgres://user:password@host:5432/database",
            Self::Misplaced => "write / ? # @ : % in a password as %2F %3F %23 %40 %3A %25",
        }
    }
}

impl PostgresUrl {
    /// Reads `postgres://…` or `postgresql://…`.
    pub fn parse(text: &str) -> Result<Self, NotPostgres> {
        let url = Url::parse(text).map_err(|_| NotPostgres::Form)?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(NotPostgres::Form);
        }
        let database = url.path().strip_prefix('/').unwrap_or(url.path());
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        // A socket's folder stands in the host, with its slashes escaped.
        let plain_host = is_word(&host.replace("%2F", "/").replace("%2f", "/"), "-._:/");
        let plain_options = url.query_pairs().all(|(name, value)| {
            is_word(&name, "-._") && (name == "password" || name == "options" || !value.contains('@'))
        });
        let plain = url.fragment().is_none() && plain_host && is_word(database, "-._$%+ ") && plain_options;
        if plain { Ok(Self(url)) } else { Err(NotPostgres::Misplaced) }
    }

    /// Its parts.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// True when nothing leaves this machine. An option may name another host than the one before it.
    pub fn is_local(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let loopback = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let here = host.is_empty()
            || host == "localhost"
            || host.to_ascii_lowercase().starts_with("%2f")
            || loopback;
        here && self.0.query_pairs().all(|(name, _)| name != "host" && name != "hostaddr")
    }

    /// What it says about TLS.
    pub fn ssl_mode(&self) -> Option<String> {
        let modes = self.0.query_pairs().filter(|(name, _)| name == "sslmode" || name == "ssl-mode");
        modes.last().map(|(_, mode)| mode.into_owned())
    }

    /// True when whoever answers must prove with a certificate that it is the host of the URL. Without a word about TLS we
    /// ask for it.
    pub fn is_proved(&self) -> bool {
        self.is_local() || self.ssl_mode().is_none_or(|mode| mode == "verify-full")
    }

    /// The address for people: user, host, port, database and what it says about TLS.
    pub fn shown(&self) -> String {
        let url = &self.0;
        let user = Some(url.username()).filter(|user| !user.is_empty()).map(|user| {
            let password = if url.password().is_some() { ":***" } else { "" };
            let user = if is_word(user, "-._%") { user } else { "***" };
            format!("{user}{password}@")
        });
        let host = match url.host() {
            Some(Host::Ipv6(address)) => format!("[{address}]"),
            _ => url.host_str().unwrap_or_default().to_owned(),
        };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let modes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
        let mode = self.ssl_mode().filter(|mode| modes.contains(&mode.as_str()));
        let mode = mode.map(|mode| format!("?sslmode={mode}")).unwrap_or_default();
        format!("{}://{}{host}{port}{}{mode}", url.scheme(), user.unwrap_or_default(), url.path())
    }
}

impl std::fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

fn is_word(text: &str, also: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || also.contains(c))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shows_what_is_harmless() {
        for (text, shown) in [
            ("postgres://rekeyd@db/rekeyd", "postgres://rekeyd@db/rekeyd"),
            ("postgres://rekeyd:hunter2@db:5432/rekeyd", "postgres://rekeyd:***@db:5432/rekeyd"),
            ("postgresql://db/a?password=hunter2&sslmode=require", "postgresql://db/a?sslmode=require"),
            ("postgresql://db/a?options=-c%20x%3Dhunter2", "postgresql://db/a"),
            ("postgres://u:hunter2@[::1]/a", "postgres://u:***@[::1]/a"),
            ("postgres://u:hun@ter2@db/a", "postgres://u:***@db/a"),
            ("postgres://%2Frun%2Fpostgresql/x", "postgres://%2Frun%2Fpostgresql/x"),
            ("postgres://u:hunter2%2F@db", "postgres://u:***@db"),
        ] {
            assert_eq!(PostgresUrl::parse(text).unwrap().shown(), shown, "{text}");
        }
    }

    #[test]
    fn a_password_that_spills_over_is_refused() {
        for text in [
            "postgres://user:/hunter2@db/app",
            "postgres://user:12/hunter2@db/app",
            "postgres://user:1?hunter2@db/app",
            "postgres://user:1?sslmode=hunter2@db/app",
            "postgres://user:1#hunter2@db/app",
            "postgres://user:/hunter2:x@db/app",
            "postgres://user:/hunter2/@db",
        ] {
            let error = PostgresUrl::parse(text).unwrap_err();
            assert_eq!(error, NotPostgres::Misplaced, "{text}");
        }
        for text in
            ["postgres://user:hunter2#@db/app", "mysql://u:hunter2@db/x", "hunter2", "postgres://a b/c"]
        {
            assert!(PostgresUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn far_hosts_are_proved_unless_the_url_says_otherwise() {
        let proved = |text: &str| PostgresUrl::parse(text).unwrap().is_proved();
        for text in [
            "postgres://u@db.example.com/x",
            "postgres://u@db.example.com/x?sslmode=verify-full",
            "postgres://u@127.0.0.1/x?sslmode=disable",
            "postgres://u@[::1]/x?sslmode=prefer",
            "postgres://%2Frun%2Fpostgresql/x?sslmode=disable",
        ] {
            assert!(proved(text), "{text}");
        }
        for text in [
            "postgres://u@db.example.com/x?sslmode=verify-ca",
            "postgres://u@db.example.com/x?sslmode=require",
            "postgres://u@db.example.com/x?ssl-mode=disable",
            "postgres://u@10.0.0.7/x?sslmode=hunter2",
            "postgres://u@127.0.0.1/x?host=10.0.0.7&sslmode=prefer",
            "postgres://u@db.example.com/x?sslmode=verify-full&sslmode=disable",
        ] {
            assert!(!proved(text), "{text}");
        }
    }

    proptest! {
        /// Whatever signs the password has: the URL is refused, or what is shown has nothing of it.
        #[test]
        fn no_password_is_ever_shown(
            signs in "[-/?#@:%&=+ \\\\\\[\\]a-z]{0,6}",
            more in "[-/?#@:%&=+ \\\\\\[\\]]{0,6}",
            scheme in "(postgres|postgresql)",
        ) {
            let text = format!("{scheme}://user:{signs}HUNTER2{more}@db.example.com:5432/app");
            if let Ok(url) = PostgresUrl::parse(&text) {
                prop_assert!(!url.shown().to_uppercase().contains("HUNTER2"), "{} as {}", text, url.shown());
            }
        }
    }
}
