//! The files that `init` leaves behind: readable by the service and by nobody else, never over another one.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::unistd::{Gid, Group, geteuid};
use serde::Serialize;

use crate::app::Misconfigured;
use crate::config::load::DEFAULT_PATH;
use crate::crypto::{Ring, fernet};
use crate::domain::secret::Secret;

/// Name of the credential with the encryption key.
pub(super) const ENCRYPTION_KEY: &str = "encryption-key";
/// The group of the service, which `systemd/rekeyd.sysusers` makes.
const GROUP: &str = "rekeyd";

/// The folder of the configuration, and the one of the credentials in it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// The service's group, when there is one and we may give files to it.
    group: Option<Gid>,
}

/// One file, and whether it was there already.
#[derive(Debug, Serialize)]
pub(super) struct Written {
    file: PathBuf,
    state: &'static str,
}

impl std::fmt::Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<7} {}", self.state, self.file.display())
    }
}

impl Folder {
    /// The folder that this configuration file is in. Files of the service belong to its group.
    pub(super) fn of(config: &Path) -> Self {
        let group = Group::from_name(GROUP).ok().flatten().filter(|_| geteuid().is_root());
        Self {
            path: config.parent().unwrap_or(Path::new("/")).to_owned(),
            group: group.map(|group| group.gid),
        }
    }

    /// True for `/etc/rekeyd`: there the service looks for credentials.
    pub(super) fn is_the_systems(&self) -> bool {
        Path::new(DEFAULT_PATH).parent() == Some(&self.path)
    }

    pub(super) fn has_group(&self) -> bool {
        self.group.is_some()
    }

    /// How the configuration refers to a credential of this folder.
    pub(super) fn reference(&self, name: &str) -> String {
        if self.is_the_systems() {
            format!("credential:{name}")
        } else {
            format!("file:{}", self.credential_path(name).display())
        }
    }

    /// Where the database lies, when it is not where it always lies.
    pub(super) fn database(&self) -> Option<String> {
        (!self.is_the_systems()).then(|| {
            format!("sqlite:{}", self.path.join("rekeyd.db").display().to_string().replace('%', "%25"))
        })
    }

    fn credential_path(&self, name: &str) -> PathBuf {
        self.path.join("credentials").join(name)
    }

    /// Looks before the first write: a credential that is there must be the one that was given.
    pub(super) fn refuse_others(&self, secrets: &[(&'static str, &Secret)]) -> anyhow::Result<()> {
        for (name, secret) in secrets {
            let path = self.credential_path(name);
            if read(&path)?.is_some_and(|present| present != **secret) {
                let text = format!("{} exists and holds something else; nothing was changed", path.display());
                let hint = Some("remove it, or leave out the new one".to_owned());
                return Err(Misconfigured { text, hint }.into());
            }
        }
        Ok(())
    }

    /// A new encryption key; one that is there is kept, since a store may be sealed with it.
    pub(super) fn encryption_key(&self) -> anyhow::Result<Written> {
        let path = self.credential_path(ENCRYPTION_KEY);
        match read(&path)? {
            Some(present) => {
                is_encryption_key(&present)?;
                Ok(Written { file: path, state: "kept" })
            }
            None => self.credential(ENCRYPTION_KEY, &fernet::generate_key()),
        }
    }

    /// A credential; the same one that is there is kept.
    pub(super) fn credential(&self, name: &str, secret: &Secret) -> anyhow::Result<Written> {
        let path = self.credential_path(name);
        self.make_folder(&self.path.join("credentials"))?;
        if path.exists() {
            return Ok(Written { file: path, state: "kept" });
        }
        // The whole content at once: a line break of its own would be a moment without one.
        self.make_file(path, secret.expose().as_bytes(), self.private_mode())
    }

    /// The configuration.
    pub(super) fn configuration(&self, path: &Path, text: &str) -> anyhow::Result<Written> {
        self.make_file(path.to_owned(), text.as_bytes(), 0o640)
    }

    fn private_mode(&self) -> u32 {
        if self.group.is_some() { 0o640 } else { 0o600 }
    }

    fn make_folder(&self, path: &Path) -> anyhow::Result<()> {
        let mode = if self.group.is_some() { 0o750 } else { 0o700 };
        match DirBuilder::new().mode(mode).create(path) {
            Ok(()) => std::os::unix::fs::chown(path, None, self.group.map(Gid::as_raw))
                .with_context(|| path.display().to_string()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let parent = path.parent().context("/ is always there")?;
                self.make_folder(parent)?;
                self.make_folder(path)
            }
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    fn make_file(&self, path: PathBuf, content: &[u8], mode: u32) -> anyhow::Result<Written> {
        let written = || -> std::io::Result<()> {
            // Closed to others from its first moment; opened to the group when it is whole.
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(content)?;
            fchown(&file, None, self.group.map(Gid::as_raw))?;
            file.set_permissions(Permissions::from_mode(mode))?;
            file.sync_all()
        };
        written().with_context(|| path.display().to_string())?;
        Ok(Written { file: path, state: "written" })
    }
}

/// What a credential file holds; `None` when there is none.
fn read(path: &Path) -> anyhow::Result<Option<Secret>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(Secret::new(text.trim()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// An encryption key that lies there already must be one.
fn is_encryption_key(text: &Secret) -> anyhow::Result<()> {
    Ring::parse(text).map(|_| ()).map_err(|error| {
        let hint = Some(format!("move {ENCRYPTION_KEY} away, and a new one is made"));
        Misconfigured { text: format!("credential {ENCRYPTION_KEY}: {error}"), hint }.into()
    })
}
