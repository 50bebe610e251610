//! A file that other programs read the key from: an env file, a JSON file, or a file with nothing else in it.
//!
//! Map: this file says what a publish and a look are; `env` and `json` edit content without touching what is
//! not ours; `walk` finds the folder of the real file, which `writers` says who may write; `disk` reads the file
//! and replaces it whole; `lock` lets one write at a time.
//!
//! Choices:
//! - *raw* holds exactly the bytes of the key: no final newline, because programs that read such files
//!   (`*_FILE` variables, mounted secrets) take every byte. When it is looked at, one final newline is
//!   tolerated: it is the same key, written by hand.
//! - Mode, owner and group that are not configured are those of the file that is replaced; a new file gets
//!   mode 0600 and our own user.
//! - The evidence is which generation was written and the inode, size and time of the result. It tells a
//!   person when the file changed; whether it holds the key is decided on the value, in memory, alone.

mod disk;
mod env;
mod json;
mod lock;
mod walk;
mod writers;

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use self::disk::{Attributes, Found, refused};
use self::walk::Place;
use self::writers::Trust;
use super::{Delivery, Destination, Extent, Look, PlannedCall, Remark, Standing, Survey};
use crate::domain::outcome::{Failure, FailureKind};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::net::Deadline;

/// How the key stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// A line `VARIABLE=key` among others.
    Env {
        /// Name of the variable.
        variable: String,
    },
    /// The key and nothing else.
    Raw,
    /// A field of a JSON object.
    Json {
        /// Name of the field, at the top level.
        variable: String,
    },
}

/// What a file destination is made from.
#[derive(Debug, Clone)]
pub struct FileSpec {
    /// Absolute path; a symbolic link is followed and kept.
    pub path: PathBuf,
    /// How the key stands in it.
    pub format: Format,
    /// Permission bits; `None` keeps those of the file (0600 for a new one).
    pub mode: Option<u32>,
    /// Owner by name or number; `None` keeps the file's.
    pub owner: Option<String>,
    /// Group by name or number; `None` keeps the file's.
    pub group: Option<String>,
    /// The folder may be one that others can write.
    pub unsafe_folder: bool,
}

/// A file destination.
#[derive(Debug, Clone)]
pub struct File {
    spec: FileSpec,
    address: String,
}

/// What the file holds under our name.
#[derive(Debug, PartialEq, Eq)]
enum Held {
    Delivered,
    Other,
    Nothing,
}

impl File {
    /// A destination for `spec`. Its address is the path as it is configured: where a link in it leads may change with
    /// every release of somebody else's, and is looked up at each write and each proof.
    pub fn new(spec: FileSpec) -> Self {
        let address = spec.address_of(&spec.path);
        Self { spec, address }
    }
}

#[async_trait]
impl Destination for File {
    fn address(&self) -> String {
        self.address.clone()
    }

    /// By the real folder, where the configured one is a link.
    fn former_address(&self) -> Option<String> {
        let folder = self.spec.path.parent()?.canonicalize().ok()?;
        let former = self.spec.address_of(&folder.join(self.spec.path.file_name()?));
        (former != self.address).then_some(former)
    }

    /// Also the place in the folder that it is now, by device and inode: a path may have many spellings.
    fn extent(&self) -> Extent {
        let anybody = Trust { anybody: true, ..self.spec.trust().unwrap_or_default() };
        let real = walk::find(&self.spec.path, anybody).ok().and_then(|place| {
            let folder = place.folder.metadata().ok()?;
            let at = format!("{}:{}/{}", folder.dev(), folder.ino(), place.name.to_string_lossy());
            Some(format!("inode:{at}{}", self.spec.suffix()))
        });
        Extent { places: [self.address.clone()].into_iter().chain(real).collect(), mirror: None }
    }

    async fn preflight(&self, deadline: Deadline) -> Result<Vec<Remark>, Failure> {
        let spec = self.spec.clone();
        blocking(deadline, move || spec.preflight()).await
    }

    async fn publish(&self, delivery: &Delivery, deadline: Deadline) -> Result<Value, Failure> {
        let (spec, delivery) = (self.spec.clone(), delivery.clone());
        blocking(deadline, move || spec.publish(&delivery, deadline)).await
    }

    async fn look(&self, delivery: &Delivery, evidence: &Value, deadline: Deadline) -> Result<Look, Failure> {
        let (spec, delivery, evidence) = (self.spec.clone(), delivery.clone(), evidence.clone());
        blocking(deadline, move || spec.look(&delivery, &evidence)).await
    }

    async fn held(&self, deadline: Deadline) -> Result<Option<Secret>, Failure> {
        let spec = self.spec.clone();
        blocking(deadline, move || spec.held()).await
    }

    /// The write says what it finds: the file's own line of the preflight.
    async fn survey(&self, deadline: Deadline) -> Result<Survey, Failure> {
        let seen = self.preflight(deadline).await?;
        let mut calls = self.plan();
        if let (Some(write), Some(found)) = (calls.last_mut(), seen.iter().rfind(|line| !line.is_warning)) {
            write.effect = format!("{}; {found}", write.effect);
        }
        Ok(Survey::new(calls, seen))
    }

    fn plan(&self) -> Vec<PlannedCall> {
        let path = self.spec.path.display();
        let effect = match &self.spec.format {
            Format::Raw => "replaces the whole file with the key".to_owned(),
            Format::Env { variable } => format!("sets {variable} and keeps every other line"),
            Format::Json { variable } => format!("sets the field {variable} and keeps every other one"),
        };
        vec![PlannedCall { call: format!("write {path}"), effect: format!("{effect}, in one step") }]
    }
}

impl Format {
    fn variable(&self) -> Option<&str> {
        match self {
            Self::Raw => None,
            Self::Env { variable } | Self::Json { variable } => Some(variable),
        }
    }

    /// What stands under our name; `None` for what cannot be a key.
    fn values(&self, content: &[u8]) -> Result<Vec<Option<Secret>>, Failure> {
        let text = |value: &[u8]| std::str::from_utf8(value).ok().map(Secret::new);
        Ok(match self {
            Self::Raw if content.is_empty() => Vec::new(),
            Self::Raw => {
                let bare = content.strip_suffix(b"\n").unwrap_or(content);
                vec![text(bare.strip_suffix(b"\r").filter(|_| bare.len() < content.len()).unwrap_or(bare))]
            }
            Self::Env { variable } => env::values(content, variable)?.into_iter().map(text).collect(),
            Self::Json { variable } => {
                json::values(content, variable)?.into_iter().map(|value| value.map(Secret::new)).collect()
            }
        })
    }

    fn holds(&self, content: &[u8], secret: &Secret) -> Result<Held, Failure> {
        let values = self.values(content)?;
        Ok(match values.as_slice() {
            [] => Held::Nothing,
            all if all.iter().all(|value| value.as_ref() == Some(secret)) => Held::Delivered,
            _ => Held::Other,
        })
    }

    /// The content with the key in it; proved to read back before it reaches the disk.
    fn edit(&self, old: &[u8], secret: &Secret) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let new = Zeroizing::new(match self {
            Self::Raw => secret.expose().as_bytes().to_vec(),
            Self::Env { variable } => env::edit(old, variable, secret)?,
            Self::Json { variable } => json::edit(old, variable, secret)?,
        });
        if self.holds(&new, secret)? == Held::Delivered {
            return Ok(new);
        }
        Err(refused("the key would not read back from this file as it is")
            .hint("look for unclosed quotes or an unusual layout around the variable"))
    }

    /// Names that no reader of such a file would find again.
    fn check_name(&self) -> Result<(), Failure> {
        let letters = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        match self {
            Self::Env { variable }
                if variable.is_empty()
                    || variable.starts_with(|c: char| c.is_ascii_digit())
                    || !letters(variable) =>
            {
                Err(refused(format!("`{variable}` is not the name of a variable"))
                    .hint("use letters, digits and `_`, not a digit first"))
            }
            _ => Ok(()),
        }
    }
}

impl FileSpec {
    fn suffix(&self) -> String {
        self.format.variable().map(|name| format!("#{name}")).unwrap_or_default()
    }

    fn address_of(&self, path: &std::path::Path) -> String {
        format!("file:{}{}", path.display(), self.suffix())
    }

    fn trust(&self) -> Result<Trust, Failure> {
        let owner = self.owner.as_deref().map(disk::user_id).transpose()?;
        let group = self.group.as_deref().map(disk::group_id).transpose()?;
        Ok(Trust { owner, group, anybody: self.unsafe_folder })
    }

    /// Where the file is now.
    fn place(&self) -> Result<Place, Failure> {
        walk::find(&self.path, self.trust()?)
    }

    fn preflight(&self) -> Result<Vec<Remark>, Failure> {
        self.format.check_name()?;
        let place = self.place()?;
        let path = &place.path;
        disk::check_folder(&place)?;
        let folder = path.parent().unwrap_or(path).display();
        let writable = format!("{folder} is writable for {}", disk::who());
        let found = disk::read(&place)?;
        let attributes = self.attributes(&place, found.as_ref())?;
        disk::check_owners(path, attributes)?;
        let described = match &found {
            Some(found) => self.describe(path, found)?,
            None => format!("{} does not exist yet", path.display()),
        };
        let mut seen = vec![Remark::plain(writable), Remark::plain(described)];
        if attributes.mode & 0o007 != 0 {
            let text = format!("mode {:04o} lets every user of this system at the key", attributes.mode);
            seen.push(Remark::warning(text));
        }
        Ok(seen)
    }

    fn describe(&self, path: &std::path::Path, found: &Found) -> Result<String, Failure> {
        let nobody = Secret::new("");
        let held = self.format.holds(&found.bytes, &nobody).map_err(|failure| about(path, failure))?;
        let holds = match (held, self.format.variable()) {
            (Held::Nothing, Some(name)) => format!("has no {name} yet"),
            (Held::Nothing, None) => "is empty".to_owned(),
            (_, Some(name)) => format!("holds {name}"),
            (_, None) => "holds a value".to_owned(),
        };
        let (mode, uid, gid) = (found.meta.mode() & 0o7777, found.meta.uid(), found.meta.gid());
        Ok(format!("{} {holds}, mode {mode:04o}, owner {uid}:{gid}", path.display()))
    }

    /// Other variables of the file are other destinations: nobody else writes between the read and the rename.
    fn publish(&self, delivery: &Delivery, deadline: Deadline) -> Result<Value, Failure> {
        self.format.check_name()?;
        let place = self.place()?;
        let lock = lock::lock(&place, deadline)?;
        let found = disk::read(&place)?;
        let attributes = self.attributes(&place, found.as_ref())?;
        let old: &[u8] = found.as_ref().map_or(&[], |found| &found.bytes);
        let new = self.format.edit(old, &delivery.secret).map_err(|failure| about(&place.path, failure))?;
        if deadline.passed() {
            return Err(refused("the deadline of the write passed before anything was written"));
        }
        disk::replace(&place, &new, attributes, &lock)?;
        let now = disk::read(&place)?.map(|found| marker(delivery, &found));
        Ok(now.unwrap_or_else(|| json!({ "generation": delivery.generation })))
    }

    fn look(&self, delivery: &Delivery, evidence: &Value) -> Result<Look, Failure> {
        let place = self.place()?;
        let path = &place.path;
        let keep = |standing| Ok(Look { standing, evidence: evidence.clone() });
        let Some(found) = disk::read(&place)? else { return keep(Standing::Missing) };
        let ours = evidence["generation"] == delivery.generation;
        match self.format.holds(&found.bytes, &delivery.secret).map_err(|failure| about(path, failure)) {
            Ok(Held::Delivered) => {
                Ok(Look { standing: Standing::Confirmed, evidence: marker(delivery, &found) })
            }
            Ok(Held::Nothing) => keep(Standing::Missing),
            Ok(Held::Other) if ours => keep(Standing::Drift(changed(path, &found, "holds another value"))),
            Ok(Held::Other) => keep(Standing::Unprovable),
            Err(failure) if ours => keep(Standing::Drift(changed(path, &found, &failure.message))),
            Err(failure) => Err(failure),
        }
    }

    fn held(&self) -> Result<Option<Secret>, Failure> {
        let place = self.place()?;
        let Some(found) = disk::read(&place)? else { return Ok(None) };
        let mut values = self.format.values(&found.bytes).map_err(|failure| about(&place.path, failure))?;
        values.dedup();
        Ok(values.pop().flatten().filter(|_| values.is_empty()))
    }

    /// Whose the new file will be, and its permission bits: as configured, else as those of the file that is there. No
    /// bit lets a program run with the rights of its owner.
    fn attributes(&self, place: &Place, found: Option<&Found>) -> Result<Attributes, Failure> {
        let trust = self.trust()?;
        // Where the configuration lets the group write, it lets that of the file.
        let group_writes = self.mode.is_some_and(|mode| mode & 0o020 != 0);
        let group = trust.group.or(found.filter(|_| group_writes).map(|found| found.meta.gid()));
        found.map(|found| disk::check_found(place, found, Trust { group, ..trust })).transpose()?;
        let meta = found.map(|found| found.meta.clone()).or_else(|| disk::heir(place));
        let mode = self.mode.or(found.map(|found| found.meta.mode())).unwrap_or(0o600) & 0o777;
        let uid = trust.owner.or(meta.as_ref().map(MetadataExt::uid));
        Ok(Attributes { mode, uid, gid: trust.group.or(meta.as_ref().map(MetadataExt::gid)) })
    }
}

/// The evidence of a file that holds the delivered key.
fn marker(delivery: &Delivery, found: &Found) -> Value {
    let meta = &found.meta;
    json!({
        "generation": delivery.generation,
        "inode": meta.ino(),
        "size": meta.size(),
        "modified": modified(found).rfc3339(),
    })
}

fn modified(found: &Found) -> Timestamp {
    Timestamp(found.meta.mtime().saturating_mul(1000).saturating_add(found.meta.mtime_nsec() / 1_000_000))
}

fn changed(path: &std::path::Path, found: &Found, what: &str) -> String {
    let text = format!("{} {what} since {}", path.display(), modified(found).rfc3339());
    text.chars().take(300).collect()
}

/// The same failure, with the file named.
fn about(path: &std::path::Path, failure: Failure) -> Failure {
    Failure { message: format!("{}: {}", path.display(), failure.message), ..failure }
}

/// Runs file work off the event loop. Work that outlives the deadline (a dead network mount) goes on alone;
/// what it did is unclear.
async fn blocking<T: Send + 'static>(
    deadline: Deadline,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let late = Failure::new(FailureKind::Unclear, "the file system did not answer before the deadline");
    let done = tokio::time::timeout_at(deadline.0, tokio::task::spawn_blocking(work)).await;
    done.map_err(|_| late.clone())?.map_err(|_| late)?
}

#[cfg(test)]
mod tests;
