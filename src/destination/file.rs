//! A file that other programs read the key from: an env file, a JSON file, or a file with nothing else in it.
//!
//! Map: this file says what a publish and a look are; `env` and `json` edit content without touching what is
//! not ours; `disk` finds the real file and replaces it whole; `lock` lets one write at a time.
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

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use self::disk::{Attributes, Found, refused};
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
}

/// A file destination.
#[derive(Debug, Clone)]
pub struct File {
    spec: FileSpec,
    address: String,
    /// The same by the file that is replaced, when the name is a link.
    real: String,
}

/// What the file holds under our name.
#[derive(Debug, PartialEq, Eq)]
enum Held {
    Delivered,
    Other,
    Nothing,
}

impl File {
    /// A destination for `spec`. Its address is the real folder and the configured name: what a link in that place
    /// leads to may change with every write of somebody else.
    pub fn new(spec: FileSpec) -> Self {
        let variable = spec.format.variable().map(|name| format!("#{name}")).unwrap_or_default();
        let path = disk::in_real_folder(&spec.path).unwrap_or_else(|_| spec.path.clone());
        let real = disk::resolve(&spec.path).unwrap_or_else(|_| path.clone());
        let address = format!("file:{}{variable}", path.display());
        let real = format!("file:{}{variable}", real.display());
        Self { spec, address, real }
    }
}

#[async_trait]
impl Destination for File {
    fn address(&self) -> String {
        self.address.clone()
    }

    /// The folder as it is configured, where that is a link.
    fn former_address(&self) -> Option<String> {
        let variable = self.spec.format.variable().map(|name| format!("#{name}")).unwrap_or_default();
        let former = format!("file:{}{variable}", self.spec.path.display());
        (former != self.address).then_some(former)
    }

    fn extent(&self) -> Extent {
        Extent { places: vec![self.address.clone(), self.real.clone()], mirror: None }
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
            Self::Env { variable } => env::values(content, variable).into_iter().map(text).collect(),
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
    fn preflight(&self) -> Result<Vec<Remark>, Failure> {
        self.format.check_name()?;
        let path = disk::resolve(&self.path)?;
        let folder = disk::check_folder(&path)?;
        let writable = format!("{} is writable for {}", folder.display(), disk::who());
        let found = disk::read(&path)?;
        let attributes = self.attributes(found.as_ref())?;
        disk::check_owners(&path, attributes)?;
        let described = match &found {
            Some(found) => self.describe(&path, found)?,
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
        let path = disk::resolve(&self.path)?;
        let lock = lock::lock(&path, deadline)?;
        let found = disk::read(&path)?;
        let old: &[u8] = found.as_ref().map_or(&[], |found| &found.bytes);
        let new = self.format.edit(old, &delivery.secret).map_err(|failure| about(&path, failure))?;
        if deadline.passed() {
            return Err(refused("the deadline of the write passed before anything was written"));
        }
        disk::replace(&path, &new, self.attributes(found.as_ref())?, &lock)?;
        let now = disk::read(&path)?.map(|found| marker(delivery, &found));
        Ok(now.unwrap_or_else(|| json!({ "generation": delivery.generation })))
    }

    fn look(&self, delivery: &Delivery, evidence: &Value) -> Result<Look, Failure> {
        let path = disk::resolve(&self.path)?;
        let keep = |standing| Ok(Look { standing, evidence: evidence.clone() });
        let Some(found) = disk::read(&path)? else { return keep(Standing::Missing) };
        let ours = evidence["generation"] == delivery.generation;
        match self.format.holds(&found.bytes, &delivery.secret).map_err(|failure| about(&path, failure)) {
            Ok(Held::Delivered) => {
                Ok(Look { standing: Standing::Confirmed, evidence: marker(delivery, &found) })
            }
            Ok(Held::Nothing) => keep(Standing::Missing),
            Ok(Held::Other) if ours => keep(Standing::Drift(changed(&path, &found, "holds another value"))),
            Ok(Held::Other) => keep(Standing::Unprovable),
            Err(failure) if ours => keep(Standing::Drift(changed(&path, &found, &failure.message))),
            Err(failure) => Err(failure),
        }
    }

    fn held(&self) -> Result<Option<Secret>, Failure> {
        let path = disk::resolve(&self.path)?;
        let Some(found) = disk::read(&path)? else { return Ok(None) };
        let mut values = self.format.values(&found.bytes).map_err(|failure| about(&path, failure))?;
        values.dedup();
        Ok(values.pop().flatten().filter(|_| values.is_empty()))
    }

    fn attributes(&self, found: Option<&Found>) -> Result<Attributes, Failure> {
        let meta = found.map(|found| &found.meta);
        let uid = self.owner.as_deref().map(disk::user_id).transpose()?;
        let gid = self.group.as_deref().map(disk::group_id).transpose()?;
        Ok(Attributes {
            mode: self.mode.or(meta.map(MetadataExt::mode)).unwrap_or(0o600) & 0o7777,
            uid: uid.or(meta.map(MetadataExt::uid)),
            gid: gid.or(meta.map(MetadataExt::gid)),
        })
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
