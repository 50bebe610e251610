//! Where in the files the settings came from that only the outside can judge: secret references, providers,
//! the file of certificate authorities. `rekeyd config check` and `doctor` ask about them after loading.

use std::path::{Path, PathBuf};

use super::values::{DatabaseAddress, parse_secret_url};
use crate::config::nearest::suggestion;
use crate::config::problem::Problem;
use crate::crypto::{Ring, SecretRef};
use crate::domain::name::Name;
use crate::domain::postgres_url::PostgresUrl;
use crate::domain::secret::Secret;

/// What a secret is for, and so what it must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Anything: a key, a token, a password.
    Token,
    /// Fernet keys.
    EncryptionKeys,
    /// A URL of our own store.
    DatabaseUrl {
        /// Whether its server need not prove itself.
        insecure_tls: bool,
    },
    /// A PostgreSQL URL.
    PostgresUrl,
    /// A URL that is called.
    WebUrl,
    /// A private key in PEM.
    PrivateKey,
}

/// Origins of what [`super::Settings::check_references`] and [`super::Settings::check_providers`] look at.
/// Empty for settings that were not read from a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins {
    references: Vec<(Problem, SecretRef, Purpose)>,
    providers: Vec<(Problem, Name)>,
    ca_file: Option<(Problem, PathBuf)>,
}

impl Origins {
    /// `place` is a problem without a message.
    pub(super) fn add_reference(&mut self, place: Problem, reference: SecretRef, purpose: Purpose) {
        self.references.push((place, reference, purpose));
    }

    pub(super) fn add_provider(&mut self, place: Problem, name: Name) {
        self.providers.push((place, name));
    }

    pub(super) fn add_ca_file(&mut self, place: Problem, path: PathBuf) {
        self.ca_file = Some((place, path));
    }

    pub(super) fn check_references(&self) -> Vec<Problem> {
        let references = self.references.iter().filter_map(|(place, reference, purpose)| {
            let (message, hint) = fault(reference, *purpose)?;
            Some(Problem { message, hint, ..place.clone() })
        });
        let ca_file = self.ca_file.iter().filter_map(|(place, path)| {
            let message = ca_file_fault(path)?;
            Some(Problem { message, ..place.clone() })
        });
        let mut problems: Vec<Problem> = references.chain(ca_file).collect();
        problems.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
        problems
    }

    pub(super) fn has_credentials(&self) -> bool {
        self.references.iter().any(|(_, reference, _)| matches!(reference, SecretRef::Credential(_)))
    }

    pub(super) fn check_providers(&self, known: &[&str]) -> Vec<Problem> {
        let unknown = self.providers.iter().filter(|(_, name)| !known.contains(&name.as_str()));
        let problem = |(place, name): &(Problem, Name)| Problem {
            message: format!("there is no provider {:?}", name.as_str()),
            hint: Some(suggestion(name.as_str(), known.iter().copied(), "providers")),
            ..place.clone()
        };
        unknown.map(problem).collect()
    }
}

/// What is wrong with what a reference names. Never repeats it.
fn fault(reference: &SecretRef, purpose: Purpose) -> Option<(String, Option<String>)> {
    let secret = match reference.resolve() {
        Ok(secret) => secret,
        Err(error) => {
            let source = std::error::Error::source(&error).map(|source| format!(" ({source})"));
            return Some((format!("{error}{}", source.unwrap_or_default()), error.hint()));
        }
    };
    misfit(&secret, purpose).map(|(what, hint)| (format!("{reference}: {what}"), hint))
}

/// Why a secret cannot serve its purpose.
fn misfit(secret: &Secret, purpose: Purpose) -> Option<(String, Option<String>)> {
    match purpose {
        Purpose::Token => {
            let odd = secret.expose().contains(char::is_control);
            odd.then(|| ("there are line breaks or control characters in it".to_owned(), None))
        }
        Purpose::EncryptionKeys => {
            Ring::parse(secret).err().map(|error| (error.to_string(), error.hint().map(ToOwned::to_owned)))
        }
        Purpose::DatabaseUrl { insecure_tls } => DatabaseAddress::parse(secret)
            .and_then(|address| address.must_be_proved(insecure_tls))
            .err()
            .map(|bad| (bad.message, bad.hint)),
        Purpose::PostgresUrl => PostgresUrl::parse(secret.expose())
            .err()
            .map(|error| (error.to_string(), Some(error.hint().to_owned()))),
        Purpose::WebUrl => parse_secret_url(secret).err().map(|bad| (bad.message, bad.hint)),
        Purpose::PrivateKey => (!secret.expose().contains("-----BEGIN")).then(|| {
            (
                "not a private key in PEM".to_owned(),
                Some("it begins with -----BEGIN … PRIVATE KEY-----".to_owned()),
            )
        }),
    }
}

fn ca_file_fault(path: &Path) -> Option<String> {
    match std::fs::read_to_string(path) {
        Err(error) => Some(format!("{} cannot be read: {error}", path.display())),
        Ok(text) if !text.contains("-----BEGIN CERTIFICATE-----") => {
            Some(format!("{} has no certificate in it (PEM)", path.display()))
        }
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use crate::config::testing::settings;

    /// What `check_references` prints, with the folder of the files called `/secrets`.
    fn check(folder: &std::path::Path, config: &str) -> String {
        let config = config.replace("/secrets", &folder.to_string_lossy());
        let problems: Vec<String> =
            settings(&config).check_references().iter().map(ToString::to_string).collect();
        problems.join("\n").replace(&*folder.to_string_lossy(), "/secrets")
    }

    #[test]
    fn every_reference_is_resolved_and_fit_for_its_purpose() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, content: &str, mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        put("word", "hunter2\n", 0o600);
        put("open", "hunter2\n", 0o644);
        put("lines", "hunter2\nhunter2\n", 0o600);
        let config = include_str!("testdata/references.toml");
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!(check(folder.path(), config));
        });
        assert!(!check(folder.path(), config).contains("hunter2"));

        put("fernet", crate::crypto::fernet::generate_key().expose(), 0o600);
        put("database", "postgres://user:hunter2@db/app\n", 0o600);
        put("url", "https://hooks.example.com/hunter2\n", 0o600);
        put("pem", "-----BEGIN PRIVATE KEY-----\nnot a key\n-----END PRIVATE KEY-----\n", 0o600);
        put("ca", "-----BEGIN CERTIFICATE-----\nnot one\n-----END CERTIFICATE-----\n", 0o644);
        assert_eq!(check(folder.path(), include_str!("testdata/references-good.toml")), "");
    }
}
