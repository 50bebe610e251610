//! Secret references: where the configuration says a secret lies, never the secret itself.
//!
//! | text | read from |
//! |---|---|
//! | `env:NAME` | the environment of this process |
//! | `file:/path` | a file that others cannot read, and nobody but root and the caller can change (`trusted`) |
//! | `credential:NAME` | `$CREDENTIALS_DIRECTORY/NAME` or `…/rekeyd_NAME`, which systemd fills at start; where that has none, `/etc/rekeyd/credentials/NAME`, so that the command line works outside the service |
//!
//! A text that is no reference may be a pasted secret, so the error for it never repeats it.

use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::trusted::{self, Caller, Distrust};
use crate::domain::secret::Secret;

/// Where credentials lie when systemd did not hand them over.
const CREDENTIALS: &str = "/etc/rekeyd/credentials";
/// What systemd puts before the name of a file that came with `LoadCredential=rekeyd:/etc/rekeyd/credentials`.
const FOLDER_PREFIX: &str = "rekeyd_";
/// No secret is larger; a reference to something larger points at the wrong file.
const MAX_BYTES: u64 = 64 * 1024;

/// A parsed reference. `Display` and `Serialize` give back the text of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretRef {
    /// `env:NAME`
    Env(String),
    /// `file:/path`
    File(PathBuf),
    /// `credential:NAME`
    Credential(String),
}

/// Why a text is not a reference. Repeats nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// It has none of the three forms.
    #[error(
        "this is not a secret reference: write \"env:NAME\", \"file:/path\" or \"credential:NAME\", never the secret itself"
    )]
    Form,
    /// What follows `env:` cannot be the name of a variable.
    #[error("what follows \"env:\" is not the name of an environment variable (letters, digits and _)")]
    Env,
    /// What follows `file:` is not an absolute path.
    #[error("what follows \"file:\" is not an absolute path")]
    File,
    /// What follows `credential:` cannot be the name of a credential.
    #[error(
        "what follows \"credential:\" is not the name of a credential (letters, digits, \".\", \"_\" and \"-\")"
    )]
    Credential,
    /// The name itself looks like a key.
    #[error("what follows the colon looks like a secret: name the place where it lies instead")]
    LooksLikeSecret,
}

/// Why a reference gives no secret. Names the reference, never the content.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// There is nothing at that place.
    #[error("{reference}: there is no such {what}")]
    Missing {
        /// The reference.
        reference: SecretRef,
        /// "environment variable", "file" or "credential".
        what: &'static str,
    },
    /// It is there, but empty.
    #[error("{0}: it is empty")]
    Empty(SecretRef),
    /// Everybody may read it.
    #[error("{reference}: every user of this machine may read it (mode {mode:04o})")]
    Exposed {
        /// The reference.
        reference: SecretRef,
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no file, too large, or somebody else's to change.
    #[error("{reference}: {why}")]
    Distrusted {
        /// The reference.
        reference: SecretRef,
        /// Why it is not read.
        why: Distrust,
    },
    /// It is not UTF-8.
    #[error("{0}: it is not text (UTF-8)")]
    NotText(SecretRef),
    /// The system refuses to read it.
    #[error("{reference}: it cannot be read")]
    Unreadable {
        /// The reference.
        reference: SecretRef,
        /// What the system says.
        source: std::io::Error,
    },
}

impl ReferenceError {
    /// The next move, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { reference: SecretRef::Env(name), .. } => Some(format!(
                "set {name} in the environment of rekeyd, or use a credential: or file: reference"
            )),
            Self::Missing { reference: SecretRef::File(path), .. } => {
                Some(format!("write the secret to {}, readable by its owner only", path.display()))
            }
            Self::Missing { reference: SecretRef::Credential(name), .. } => Some(format!(
                "write the secret to {CREDENTIALS}/{name}; the service takes it over at its next restart"
            )),
            Self::Exposed { path, .. } => Some(format!("chmod o-rwx {}", path.display())),
            Self::Distrusted { why, .. } => why.hint(),
            Self::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("run this as root or as the user rekeyd".to_owned())
            }
            _ => None,
        }
    }
}

impl SecretRef {
    /// Reads the text of a configuration field.
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        let (kind, place) = text.split_once(':').ok_or(InvalidReference::Form)?;
        if matches!(kind, "env" | "file" | "credential") && looks_like_secret(place) {
            return Err(InvalidReference::LooksLikeSecret);
        }
        match kind {
            "env" if is_variable(place) => Ok(Self::Env(place.to_owned())),
            "env" => Err(InvalidReference::Env),
            "file" if place.starts_with('/') => Ok(Self::File(PathBuf::from(place))),
            "file" => Err(InvalidReference::File),
            "credential" if is_credential(place) => Ok(Self::Credential(place.to_owned())),
            "credential" => Err(InvalidReference::Credential),
            _ => Err(InvalidReference::Form),
        }
    }

    /// Reads the secret, without a byte order mark and without blanks and line ends around it: editors and `echo` leave
    /// them, and no key or password of ours begins or ends with one.
    pub fn resolve(&self) -> Result<Secret, ReferenceError> {
        self.resolve_in(&Surroundings::of_this_process())
    }

    /// The same with the surroundings given.
    fn resolve_in(&self, here: &Surroundings) -> Result<Secret, ReferenceError> {
        match self {
            Self::Env(name) => self.read_variable(here, name),
            Self::File(path) => self.read_file(here, path, Readers::Checked),
            Self::Credential(name) => self.read_credential(here, name),
        }
    }

    fn read_variable(&self, here: &Surroundings, name: &str) -> Result<Secret, ReferenceError> {
        let value = (here.env)(name).ok_or_else(|| self.missing("environment variable"))?;
        let text = Zeroizing::new(value.into_string().map_err(|_| ReferenceError::NotText(self.clone()))?);
        self.trimmed(&text)
    }

    fn read_credential(&self, here: &Surroundings, name: &str) -> Result<Secret, ReferenceError> {
        if let Some(directory) = &here.credentials {
            for name in [name.to_owned(), format!("{FOLDER_PREFIX}{name}")] {
                match self.read_file(here, &directory.join(name), Readers::SystemdDecides) {
                    Err(ReferenceError::Missing { .. }) => {}
                    found => return found,
                }
            }
        }
        self.read_file(here, &here.fallback.join(name), Readers::Checked)
    }

    fn read_file(
        &self,
        here: &Surroundings,
        path: &Path,
        readers: Readers,
    ) -> Result<Secret, ReferenceError> {
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => self.missing(match self {
                Self::Credential(_) => "credential",
                _ => "file",
            }),
            _ => ReferenceError::Unreadable { reference: self.clone(), source },
        };
        let distrusted = |why| match why {
            Distrust::Io(error) => failed(error),
            why => ReferenceError::Distrusted { reference: self.clone(), why },
        };
        let bytes = match readers {
            Readers::SystemdDecides => {
                let file = std::fs::File::open(path).map_err(failed)?;
                trusted::read_regular(file, MAX_BYTES).map_err(distrusted)?
            }
            Readers::Checked => {
                let file = here.caller.read(path, MAX_BYTES).map_err(distrusted)?;
                let mode = file.mode;
                if mode & 0o007 != 0 && !file.unchangeable {
                    return Err(ReferenceError::Exposed {
                        reference: self.clone(),
                        path: path.to_owned(),
                        mode,
                    });
                }
                if mode & 0o007 != 0 {
                    trusted::tell_unchangeable(path);
                }
                file.bytes
            }
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| ReferenceError::NotText(self.clone()))?;
        self.trimmed(text)
    }

    fn trimmed(&self, text: &str) -> Result<Secret, ReferenceError> {
        match text.trim_start_matches('\u{feff}').trim() {
            "" => Err(ReferenceError::Empty(self.clone())),
            secret => Ok(Secret::new(secret)),
        }
    }

    fn missing(&self, what: &'static str) -> ReferenceError {
        ReferenceError::Missing { reference: self.clone(), what }
    }
}

/// A key pasted behind the colon. Only beginnings that no name of a place has: `task-` is not `sk-`.
fn looks_like_secret(place: &str) -> bool {
    const BEGINNINGS: [&str; 7] = ["sk-or-v1-", "sk-ant-", "sk-proj-", "ghp_", "gho_", "ghs_", "github_pat_"];
    BEGINNINGS.iter().any(|beginning| place.starts_with(beginning)) && place.len() >= 20
}

fn is_variable(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(word) && name.starts_with(|c: char| !c.is_ascii_digit())
}

fn is_credential(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.chars().all(word) && name.starts_with(|c: char| c != '.') && name.len() <= 255
}

/// Whether the permission bits of a file are looked at: those below `$CREDENTIALS_DIRECTORY` are systemd's.
#[derive(Clone, Copy)]
enum Readers {
    Checked,
    SystemdDecides,
}

/// What a reference is looked up in; given, so that tests need not change the process's environment.
struct Surroundings {
    env: fn(&str) -> Option<std::ffi::OsString>,
    credentials: Option<PathBuf>,
    fallback: PathBuf,
    caller: Caller,
}

impl Surroundings {
    fn of_this_process() -> Self {
        Self {
            env: |name| std::env::var_os(name),
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            fallback: PathBuf::from(CREDENTIALS),
            caller: Caller::of_this_process(),
        }
    }
}

impl std::fmt::Display for SecretRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

impl std::str::FromStr for SecretRef {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        Self::parse(text)
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn nowhere() -> Surroundings {
        let caller = Caller::of_this_process();
        Surroundings { env: |_| None, credentials: None, fallback: PathBuf::from("/nonexistent"), caller }
    }

    fn write(path: &Path, content: &[u8], mode: u32) {
        std::fs::write(path, content).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// What `file:` gives for this content and mode.
    fn read(content: &[u8], mode: u32) -> Result<String, ReferenceError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write(&path, content, mode);
        SecretRef::File(path).resolve_in(&nowhere()).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn parses_and_prints_the_three_forms() {
        for text in [
            "env:NAME_1",
            "env:_x",
            "file:/run/a b",
            "credential:github-token",
            "credential:a.b_c",
            "credential:task-scheduler-token",
        ] {
            assert_eq!(SecretRef::parse(text).unwrap().to_string(), text);
        }
        let json = serde_json::to_string(&SecretRef::parse("env:A").unwrap()).unwrap();
        assert_eq!(json, "\"env:A\"");
    }

    #[test]
    fn refuses_everything_else_without_repeating_it() {
        for (text, why) in [
            ("", InvalidReference::Form),
            ("hunter2hunter2", InvalidReference::Form),
            ("https://hunter2.example", InvalidReference::Form),
            ("ENV:HUNTER2", InvalidReference::Form),
            ("env:", InvalidReference::Env),
            ("env:1HUNTER2", InvalidReference::Env),
            ("env:hunter2-x", InvalidReference::Env),
            ("file:hunter2", InvalidReference::File),
            ("file:", InvalidReference::File),
            ("credential:", InvalidReference::Credential),
            ("credential:../hunter2", InvalidReference::Credential),
            ("credential:.hunter2", InvalidReference::Credential),
            ("credential:sk-or-v1-hunter2hunter2", InvalidReference::LooksLikeSecret),
            ("credential:ghp_hunter2hunter2hunter2", InvalidReference::LooksLikeSecret),
            ("env:github_pat_hunter2hunter2", InvalidReference::LooksLikeSecret),
        ] {
            let error = SecretRef::parse(text).unwrap_err();
            assert_eq!(error, why, "{text}");
            assert!(!error.to_string().to_lowercase().contains("hunter2"));
        }
        assert!(
            InvalidReference::Form
                .to_string()
                .contains("\"env:NAME\", \"file:/path\" or \"credential:NAME\"")
        );
    }

    #[test]
    fn reads_the_environment() {
        let here = Surroundings {
            env: |name| match name {
                "GOOD" => Some("not-a-key\n".into()),
                "BLANK" => Some("".into()),
                _ => None,
            },
            ..nowhere()
        };
        let get = |name: &str| SecretRef::Env(name.to_owned()).resolve_in(&here);
        assert_eq!(get("GOOD").unwrap(), Secret::new("not-a-key"));
        assert_eq!(get("BLANK").unwrap_err().to_string(), "env:BLANK: it is empty");
        let error = get("ABSENT").unwrap_err();
        assert_eq!(error.to_string(), "env:ABSENT: there is no such environment variable");
        assert!(error.hint().unwrap().starts_with("set ABSENT in the environment"));
    }

    #[test]
    fn refuses_a_file_that_others_may_touch() {
        for mode in [0o602, 0o666, 0o777] {
            let error = read(b"not-a-key", mode).unwrap_err();
            assert!(error.hint().unwrap().starts_with("chmod go-w /"), "{error}");
        }
        for mode in [0o604, 0o601, 0o644] {
            let error = read(b"not-a-key", mode).unwrap_err();
            assert!(error.to_string().ends_with(&format!("may read it (mode {mode:04o})")), "{error}");
            assert!(error.hint().unwrap().starts_with("chmod o-rwx /"));
        }
        for mode in [0o400, 0o600, 0o640, 0o660] {
            assert_eq!(read(b"not-a-key", mode).unwrap(), "not-a-key");
        }
    }

    #[test]
    fn what_everybody_may_read_is_used_where_nobody_can_change_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write(&path, b"not-a-key", 0o444);
        let read = |caller| SecretRef::File(path.clone()).resolve_in(&Surroundings { caller, ..nowhere() });
        assert!(matches!(read(Caller::of_this_process()), Err(ReferenceError::Exposed { .. })));
        assert_eq!(
            read(Caller::of_this_process().where_nothing_can_be_written()).unwrap().expose(),
            "not-a-key"
        );
    }

    #[test]
    fn what_editors_leave_around_a_secret_is_no_part_of_it() {
        for text in ["not-a-key", "not-a-key\n", " not-a-key\r\n\n", "\u{feff}not-a-key", "\tnot-a-key "] {
            assert_eq!(read(text.as_bytes(), 0o600).unwrap(), "not-a-key", "{text:?}");
        }
        assert_eq!(read(b"two\nlines\n", 0o600).unwrap(), "two\nlines");
    }

    #[test]
    fn refuses_what_is_not_a_secret() {
        assert!(matches!(read(b"", 0o600), Err(ReferenceError::Empty(_))));
        assert!(matches!(read(b"\r\n", 0o600), Err(ReferenceError::Empty(_))));
        assert!(matches!(read(&[0xff, 0xfe], 0o600), Err(ReferenceError::NotText(_))));
        let too_large = read("a".repeat(65 * 1024).as_bytes(), 0o600).unwrap_err().to_string();
        assert!(too_large.ends_with("it is larger than 64 KiB"), "{too_large}");
        let folder = tempfile::tempdir().unwrap();
        let error = SecretRef::File(folder.path().to_owned()).resolve_in(&nowhere()).unwrap_err();
        assert!(error.to_string().ends_with("it is not a regular file"), "{error}");
        let error = SecretRef::File(folder.path().join("absent")).resolve_in(&nowhere()).unwrap_err();
        assert!(error.to_string().ends_with("absent: there is no such file"), "{error}");
    }

    #[test]
    fn credentials_come_from_systemd_first_and_then_from_etc() {
        let (systemd, etc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let outside = Surroundings { fallback: etc.path().to_owned(), ..nowhere() };
        let inside = Surroundings {
            credentials: Some(systemd.path().to_owned()),
            fallback: etc.path().to_owned(),
            ..nowhere()
        };
        let token = SecretRef::parse("credential:token").unwrap();
        let error = token.resolve_in(&outside).unwrap_err();
        assert_eq!(error.to_string(), "credential:token: there is no such credential");
        assert!(
            error
                .hint()
                .unwrap()
                .contains("/etc/rekeyd/credentials/token; the service takes it over at its next restart")
        );

        write(&etc.path().join("token"), b"from-etc\n", 0o600);
        assert_eq!(token.resolve_in(&outside).unwrap(), Secret::new("from-etc"));
        assert_eq!(token.resolve_in(&inside).unwrap(), Secret::new("from-etc"));

        // As `LoadCredential=` of a folder calls it, and as one of a file does.
        write(&systemd.path().join("rekeyd_token"), b"from-folder\n", 0o400);
        assert_eq!(token.resolve_in(&inside).unwrap(), Secret::new("from-folder"));

        // systemd guards its folder by other means: the mode of its files is not looked at.
        write(&systemd.path().join("token"), b"from-systemd\n", 0o444);
        assert_eq!(token.resolve_in(&inside).unwrap(), Secret::new("from-systemd"));
        write(&etc.path().join("token"), b"from-etc\n", 0o644);
        assert!(matches!(token.resolve_in(&outside), Err(ReferenceError::Exposed { .. })));
    }

    #[test]
    fn resolves_in_the_environment_of_this_process() {
        assert!(!SecretRef::parse("env:PATH").unwrap().resolve().unwrap().expose().is_empty());
    }
}
