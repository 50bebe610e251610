//! Files that decide what we do: the configuration, its drop-ins, secrets. Whoever may change one of them, or a folder or a
//! link on the way to it, decides as well. So each step of the way belongs to root or to the caller, and others may not
//! write there; the file is a regular one of bounded size. What lies on a mount that cannot be written is
//! nobody's to change: containers get their secrets like that, readable by everybody in them.

use std::collections::BTreeSet;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::sys::statvfs::{FsFlags, statvfs};
use zeroize::Zeroizing;

/// More links than this are a circle.
const MOST_LINKS: usize = 40;
/// No configuration is larger.
pub const CONFIG_BYTES: u64 = 1024 * 1024;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum Distrust {
    /// A folder, a pipe or a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// Larger than anything that belongs there.
    #[error("it is larger than {} KiB", .0 / 1024)]
    TooLarge(u64),
    /// Somebody else's.
    #[error("{} belongs to user {owner}, who may change it: it must be root's or the caller's", .path.display())]
    Owner {
        /// The file, folder or link.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others may write it.
    #[error("others may change {} (mode {mode:04o})", .path.display())]
    Writable {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A circle of links.
    #[error("the links on the way to it go round in a circle")]
    Circle,
    /// What the system says.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Distrust {
    /// The next move, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Owner { path, .. } => Some(format!("chown root {}", path.display())),
            Self::Writable { path, .. } => Some(format!("chmod go-w {}", path.display())),
            _ => None,
        }
    }
}

/// A file that was read.
pub struct Trusted {
    /// Its content, wiped when dropped.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Its permission bits.
    pub mode: u32,
    /// Nobody on this machine can change it.
    pub unchangeable: bool,
}

/// Whom we trust.
pub struct Caller {
    users: Vec<u32>,
    groups: Vec<u32>,
    read_only: fn(&Path) -> bool,
}

impl Caller {
    /// Root, whoever runs this, and who asked root to by `sudo`, which alone sets `$SUDO_UID` for root.
    pub fn of_this_process() -> Self {
        let (uid, euid) = (nix::unistd::getuid(), nix::unistd::geteuid());
        let mut users = vec![0, uid.as_raw(), euid.as_raw()];
        if uid.is_root() {
            users.extend(std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse::<u32>().ok()));
        }
        Self { users, groups: vec![0, nix::unistd::getegid().as_raw()], read_only: is_read_only }
    }

    /// The same on mounts that cannot be written.
    #[cfg(test)]
    pub(super) fn where_nothing_can_be_written(self) -> Self {
        Self { read_only: |_| true, ..self }
    }

    /// Reads a file of at most `most` bytes.
    pub fn read(&self, path: &Path, most: u64) -> Result<Trusted, Distrust> {
        let real = self.walk(path)?;
        // Nobody waits for the writer of a pipe, and the way was looked at already.
        let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&real)?;
        // Asked of the open file, so that it cannot be exchanged between the look and the reading.
        let meta = file.metadata()?;
        let unchangeable = (self.read_only)(&real);
        if !unchangeable {
            self.check(&real, &meta)?;
        }
        let bytes = read_regular(file, most)?;
        Ok(Trusted { bytes, mode: meta.mode() & 0o7777, unchangeable })
    }

    /// Follows the links of a path. Every folder on the way must be trusted, and whoever made a link.
    pub fn walk(&self, path: &Path) -> Result<PathBuf, Distrust> {
        let mut rest: Vec<PathBuf> = steps(&std::path::absolute(path)?);
        let (mut at, mut links) = (PathBuf::from("/"), 0);
        while let Some(step) = rest.pop() {
            if step == Path::new("..") {
                at.pop();
                continue;
            }
            let next = at.join(&step);
            let meta = std::fs::symlink_metadata(&next)?;
            if meta.is_symlink() {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Distrust::Circle);
                }
                self.owned(&next, &meta)?;
                let target = std::fs::read_link(&next)?;
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                rest.extend(steps(&target));
                continue;
            }
            if meta.is_dir() && !(self.read_only)(&next) {
                self.check(&next, &meta)?;
            }
            at = next;
        }
        Ok(at)
    }

    fn check(&self, path: &Path, meta: &Metadata) -> Result<(), Distrust> {
        self.owned(path, meta)?;
        // In a folder such as /tmp others may make files, and touch none but their own.
        let sticky = meta.is_dir() && meta.mode() & 0o1000 != 0;
        let by_group = meta.mode() & 0o020 != 0 && !self.groups.contains(&meta.gid());
        if (by_group || meta.mode() & 0o002 != 0) && !sticky {
            return Err(Distrust::Writable { path: path.to_owned(), mode: meta.mode() & 0o7777 });
        }
        Ok(())
    }

    fn owned(&self, path: &Path, meta: &Metadata) -> Result<(), Distrust> {
        if self.users.contains(&meta.uid()) || (self.read_only)(path.parent().unwrap_or(path)) {
            return Ok(());
        }
        Err(Distrust::Owner { path: path.to_owned(), owner: meta.uid() })
    }
}

/// Reads all of a file without asking whose it is.
pub fn read_regular(file: File, most: u64) -> Result<Zeroizing<Vec<u8>>, Distrust> {
    if !file.metadata()?.is_file() {
        return Err(Distrust::NotAFile);
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(Distrust::TooLarge(most));
    }
    Ok(bytes)
}

/// Logs once for each file why it is read although everybody may read it.
pub fn tell_unchangeable(path: &Path) {
    static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    if TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned()) {
        let path = path.display();
        tracing::info!(%path, "every user here may read this secret; it is used, since it lies on a mount that nobody can write");
    }
}

/// The steps of a path, the last one first.
fn steps(path: &Path) -> Vec<PathBuf> {
    let named = path.components().filter(|step| matches!(step, Component::Normal(_) | Component::ParentDir));
    let mut steps: Vec<PathBuf> = named.map(|step| PathBuf::from(step.as_os_str())).collect();
    steps.reverse();
    steps
}

fn is_read_only(path: &Path) -> bool {
    statvfs(path).is_ok_and(|mount| mount.flags().contains(FsFlags::ST_RDONLY))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn us() -> Caller {
        Caller { read_only: |_| false, ..Caller::of_this_process() }
    }

    /// One to whom files of ours are a stranger's. Folders above are not asked about: root's and ours alike.
    fn somebody_else() -> Caller {
        Caller { users: vec![u32::MAX], groups: vec![u32::MAX], read_only: |_| false }
    }

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn folder_with_file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "content").unwrap();
        chmod(&file, 0o644);
        (folder, file)
    }

    #[test]
    fn what_others_may_change_is_refused() {
        let (folder, file) = folder_with_file();
        assert_eq!(**us().read(&file, 100).unwrap().bytes, *b"content");
        for mode in [0o646, 0o602, 0o666] {
            chmod(&file, mode);
            assert!(matches!(us().read(&file, 100), Err(Distrust::Writable { .. })), "{mode:o}");
        }
        chmod(&file, 0o644);
        for mode in [0o707, 0o777, 0o702] {
            chmod(folder.path(), mode);
            assert!(matches!(us().read(&file, 100), Err(Distrust::Writable { .. })), "{mode:o}");
        }
        chmod(folder.path(), 0o700);
        assert!(us().read(&file, 100).is_ok());
        let others = Caller { groups: vec![u32::MAX], ..us() };
        chmod(&file, 0o664);
        assert!(us().read(&file, 100).is_ok() && others.read(&file, 100).is_err());
    }

    #[test]
    fn what_is_a_strangers_is_refused() {
        let (_folder, file) = folder_with_file();
        let error = somebody_else().read(&file, 100).err().unwrap();
        assert!(matches!(&error, Distrust::Owner { .. }), "{error}");
        assert!(error.hint().unwrap().starts_with("chown root /"));
    }

    #[test]
    fn links_are_followed_when_they_and_their_targets_are_trusted() {
        let (folder, file) = folder_with_file();
        let link = folder.path().join("link");
        symlink("file", &link).unwrap();
        assert!(us().read(&link, 100).is_ok());
        let meta = std::fs::symlink_metadata(&link).unwrap();
        assert!(matches!(somebody_else().owned(&link, &meta), Err(Distrust::Owner { .. })));

        let (open, elsewhere) = folder_with_file();
        chmod(open.path(), 0o777);
        let out = folder.path().join("out");
        symlink(&elsewhere, &out).unwrap();
        assert!(matches!(us().read(&out, 100), Err(Distrust::Writable { .. })), "a folder behind a link");
        chmod(open.path(), 0o700);
        assert!(us().read(&out, 100).is_ok());

        let circle = folder.path().join("circle");
        symlink("circle", &circle).unwrap();
        assert!(matches!(us().read(&circle, 100), Err(Distrust::Circle)));
        assert!(us().read(&folder.path().join("x/../file"), 100).is_err(), "x is not there");
        drop(file);
    }

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let (folder, file) = folder_with_file();
        assert!(matches!(us().read(&file, 6), Err(Distrust::TooLarge(6))));
        assert!(matches!(us().read(folder.path(), 100), Err(Distrust::NotAFile)));
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(us().read(&pipe, 100), Err(Distrust::NotAFile)));
    }

    #[test]
    fn what_nobody_can_change_is_read_whoever_it_belongs_to() {
        let (_folder, file) = folder_with_file();
        chmod(&file, 0o666);
        let caller = Caller { read_only: |_| true, ..somebody_else() };
        let read = caller.read(&file, 100).unwrap();
        assert!(read.unchangeable && read.mode == 0o666);
    }
}
