//! How the file is read, to whom it may belong, and how it is replaced whole, all within its opened folder.
//!
//! The new content goes to a temporary file beside the old one, created with mode 0600, so that at no
//! instant a reader sees half a file or another user an open one. Its name is nobody else's
//! (`.NAME.rekeyd-new-…`); what a killed process left behind is removed by the next write instead of lying there
//! for ever.
//!
//! Known limits of replacing by rename: hard links keep the old content; access control lists and extended
//! attributes of the old file are not carried over; a single file mounted into a container cannot be
//! replaced (mount its folder).

use std::fs::{File, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{AccessFlags, Group, Uid, UnlinkatFlags, User, faccessat, getegid, getgroups, unlinkat};
use zeroize::Zeroizing;

use super::lock::Lock;
use super::walk::{Place, writable};
use super::writers::{Trust, is_known, stranger};
use crate::domain::outcome::{Failure, FailureKind};

/// No file with a key in it is larger than this; what is, is not touched.
const SIZE_CAP: u64 = 1024 * 1024;

/// A file as it was found.
pub(super) struct Found {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    pub(super) meta: Metadata,
    file: File,
}

/// Mode and ownership that the new file gets; `None` leaves what the system gives.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// The regular file at its place; `None` when there is none.
pub(super) fn read(place: &Place) -> Result<Option<Found>, Failure> {
    let path = &place.path;
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match openat(&place.folder, place.name.as_os_str(), flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Ok(None),
        Err(error) => return Err(unreadable(path, &error.into())),
    };
    let meta = file.metadata().map_err(|error| explain("cannot look at", path, &error))?;
    if !meta.is_file() {
        return Err(refused(format!("{} is not a regular file", path.display())));
    }
    if meta.len() > SIZE_CAP {
        return Err(refused(format!("{} is larger than 1 MiB", path.display())));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0) + 1));
    let mut limited = (&file).take(SIZE_CAP + 1);
    limited.read_to_end(&mut bytes).map_err(|error| explain("cannot read", path, &error))?;
    Ok(Some(Found { bytes, meta, file }))
}

/// The temporary file; removed unless it has become the real one.
struct Temporary<'a> {
    place: &'a Place,
    name: String,
    renamed: bool,
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            unlinkat(&self.place.folder, self.name.as_str(), UnlinkatFlags::NoRemoveDir).ok();
        }
    }
}

/// Removes what a killed process left: under the lock nobody else is writing.
fn remove_left_overs(place: &Place, stem: &str) -> Result<(), Failure> {
    let folder = place.path.parent().unwrap_or(&place.path);
    let failed = |what: &str, error: Errno| explain(what, folder, &error.into());
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut entries = Dir::openat(&place.folder, ".", flags, Mode::empty())
        .map_err(|error| failed("cannot list", error))?;
    for entry in entries.iter().filter_map(Result::ok) {
        if !entry.file_name().to_bytes().starts_with(stem.as_bytes()) {
            continue;
        }
        match unlinkat(&place.folder, entry.file_name(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(failed("cannot remove a left-over in", error)),
        }
    }
    Ok(())
}

/// Replaces the file whole, or leaves it as it was. The lock is that of its folder.
pub(super) fn replace(place: &Place, bytes: &[u8], wanted: Attributes, _lock: &Lock) -> Result<(), Failure> {
    let (folder, path) = (&place.folder, &place.path);
    let failed = |what: &str, error: io::Error| explain(what, path, &error);
    let stem = format!(".{}.rekeyd-new", place.name.to_string_lossy());
    remove_left_overs(place, &stem)?;
    let name = format!("{stem}-{:016x}", rand::random::<u64>());
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = openat(folder, name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR);
    let mut file = opened.map(File::from).map_err(|error| failed("cannot write", error.into()))?;
    let mut temporary = Temporary { place, name, renamed: false };
    file.write_all(bytes).and_then(|()| file.flush()).map_err(|error| failed("cannot write", error))?;
    apply(&file, wanted).map_err(|error| ownership(path, wanted, &error))?;
    file.sync_all().map_err(|error| failed("cannot write", error))?;
    let renamed = renameat(folder, temporary.name.as_str(), folder, place.name.as_os_str());
    renamed.map_err(|error| failed("cannot replace", error.into()))?;
    temporary.renamed = true;
    folder.sync_all().map_err(|error| Failure {
        kind: FailureKind::Unclear,
        ..failed("replaced, but the disk did not confirm,", error)
    })
}

/// Owner first: changing it clears set-id bits of the mode.
fn apply(file: &File, wanted: Attributes) -> io::Result<()> {
    let meta = file.metadata()?;
    let uid = wanted.uid.filter(|&uid| uid != meta.uid());
    let gid = wanted.gid.filter(|&gid| gid != meta.gid());
    if uid.is_some() || gid.is_some() {
        fchown(file, uid, gid)?;
    }
    file.set_permissions(Permissions::from_mode(wanted.mode))
}

fn ownership(path: &Path, wanted: Attributes, error: &io::Error) -> Failure {
    let id = |id: Option<u32>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let text = format!(
        "cannot give {} to user {} and group {}: {}",
        path.display(),
        id(wanted.uid),
        id(wanted.gid),
        reason(error)
    );
    refused(text).hint(
        "run rekeyd as that user and as a member of that group, or give its service \
         AmbientCapabilities=CAP_CHOWN CAP_FOWNER (`systemctl edit rekeyd`)",
    )
}

/// The numeric id of a configured user: a name, or a number that is no name.
pub(super) fn user_id(name: &str) -> Result<u32, Failure> {
    let found = User::from_name(name).or_else(none).map_err(|error| unresolved("user", name, error))?;
    let id = found.map(|user| user.uid.as_raw()).or_else(|| name.parse().ok());
    id.ok_or_else(|| {
        refused(format!("there is no user {name} on this system")).hint("correct `owner`, or create the user")
    })
}

/// The numeric id of a configured group: a name, or a number that is no name.
pub(super) fn group_id(name: &str) -> Result<u32, Failure> {
    let found = Group::from_name(name).or_else(none).map_err(|error| unresolved("group", name, error))?;
    let id = found.map(|group| group.gid.as_raw()).or_else(|| name.parse().ok());
    id.ok_or_else(|| {
        refused(format!("there is no group {name} on this system"))
            .hint("correct `group`, or create the group")
    })
}

/// An image without users has no file of them either.
fn none<T>(error: Errno) -> nix::Result<Option<T>> {
    if error == Errno::ENOENT { Ok(None) } else { Err(error) }
}

fn unresolved(what: &str, name: &str, error: nix::Error) -> Failure {
    refused(format!("cannot look up the {what} {name}: {}", error.desc()))
}

/// Whose a new file of root's is: the folder's owner's, since the service, which does not run as root, must read it.
pub(super) fn heir(place: &Place) -> Option<Metadata> {
    Uid::effective().is_root().then(|| place.folder.metadata().ok()).flatten()
}

/// As whom files are written, for people.
pub(super) fn who() -> String {
    format!("user {}", own_name())
}

/// Our user's name, as `setfacl` and `chown` take it; its number where it has none.
fn own_name() -> String {
    let uid = Uid::effective();
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

/// Whether a rename into the folder could work, without trying one.
pub(super) fn check_folder(place: &Place) -> Result<(), Failure> {
    let asked = AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK;
    let reachable = faccessat(&place.folder, ".", asked, AtFlags::AT_EACCESS);
    reachable.map_err(|error| explain("cannot write", &place.path, &error.into()))
}

/// Whether the file that is there may say whose the new one will be. Where strangers write, they can have laid it there
/// to be given the key; and what they may change holds the key for as long as they like.
pub(super) fn check_found(place: &Place, found: &Found, trust: Trust) -> Result<(), Failure> {
    let path = &place.path;
    if !trust.anybody
        && let Ok(meta) = fstat(&found.file)
        && let Some(who) = stranger(&found.file, &meta, trust)
    {
        return Err(writable(path, &meta, &who));
    }
    let folder = place.folder.metadata().map_err(|error| explain("cannot look at", path, &error))?;
    let uid = found.meta.uid();
    if place.is_open && trust.owner.is_none() && !is_known(uid, folder.uid(), trust) {
        let text = format!("{} belongs to user {uid}, and others may write its folder", path.display());
        return Err(refused(text)
            .hint(format!("remove it, or write `owner = \"{uid}\"` if the key is for that user")));
    }
    Ok(())
}

/// Whether we may give a file to these owners: root may, `CAP_CHOWN` may, others only to themselves and to
/// groups they are in.
pub(super) fn check_owners(path: &Path, wanted: Attributes) -> Result<(), Failure> {
    let own_user = wanted.uid.is_none_or(|uid| uid == Uid::effective().as_raw());
    let own_group = wanted.gid.is_none_or(|gid| {
        gid == getegid().as_raw() || getgroups().is_ok_and(|groups| groups.iter().any(|g| g.as_raw() == gid))
    });
    if (own_user && own_group) || Uid::effective().is_root() || may_chown() {
        return Ok(());
    }
    Err(ownership(path, wanted, &io::Error::from_raw_os_error(nix::libc::EPERM)))
}

/// Bit 0 of the effective capabilities is `CAP_CHOWN` (proc(5), capabilities(7)).
fn may_chown() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|bits| bits & 1 == 1)
}

/// What the system said, as a sentence with the next move.
pub(super) fn explain(what: &str, path: &Path, error: &io::Error) -> Failure {
    let failure = refused(format!("{what} {}: {}", path.display(), reason(error)));
    match hint(path, error) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn reason(error: &io::Error) -> String {
    error
        .raw_os_error()
        .map_or_else(|| error.kind().to_string(), |code| nix::Error::from_raw(code).desc().to_owned())
}

/// The old content is needed too: its other lines are kept, and a look reads it.
fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let failure = explain("cannot read", path, error);
    if error.kind() != io::ErrorKind::PermissionDenied {
        return failure;
    }
    let grant = format!("setfacl -m u:{}:r {}", own_name(), path.display());
    failure.hint(format!("let {} read it, for example by: {grant}", who()))
}

/// What clears the way for a write of the file at `path`.
fn hint(path: &Path, error: &io::Error) -> Option<String> {
    let folder = path.parent().unwrap_or(path).display();
    match error.kind() {
        io::ErrorKind::NotFound => Some(format!("create the folder {folder}; rekeyd only writes the file")),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(format!(
            "free some space on the disk of {folder}; the old file is untouched and the write is repeated"
        )),
        io::ErrorKind::FileTooLarge => {
            Some("raise the limit on file sizes (LimitFSIZE= of the service, `ulimit -f`)".to_owned())
        }
        io::ErrorKind::PermissionDenied if error.raw_os_error() == Some(nix::libc::EPERM) => Some(format!(
            "the folder {folder} is sticky and the file another user's (chmod -t), or the file is immutable (chattr -i)"
        )),
        io::ErrorKind::PermissionDenied => Some(format!(
            "let {} write into the folder, for example by: setfacl -m u:{}:rwx {folder}",
            who(),
            own_name()
        )),
        io::ErrorKind::ReadOnlyFilesystem => Some(format!(
            "under systemd: ReadWritePaths={folder} (`systemctl edit rekeyd`); else remount it writable"
        )),
        io::ErrorKind::ResourceBusy => {
            Some("a single mounted file cannot be replaced: mount the folder that holds it".to_owned())
        }
        _ => None,
    }
}

/// Nothing was changed: something local is in the way.
pub(super) fn refused(text: impl Into<String>) -> Failure {
    Failure::new(FailureKind::NotSent, text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::super::lock::lock;
    use super::super::walk::find;
    use super::*;
    use crate::net::Deadline;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn place(path: &Path) -> Place {
        find(path, Trust::default()).unwrap()
    }

    fn locked(place: &Place) -> Lock {
        lock(place, Deadline::after(Duration::from_secs(30))).unwrap()
    }

    #[test]
    fn a_file_is_replaced_whole_with_its_attributes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agents.env");
        fs::write(&path, "old").unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        for left in [".agents.env.rekeyd-new", ".agents.env.rekeyd-new-0123456789abcdef"] {
            fs::write(folder.path().join(left), "left by a killed process").unwrap();
        }
        let place = place(&path);
        replace(&place, b"new", Attributes { mode: 0o640, uid: None, gid: None }, &locked(&place)).unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((fs::read(&path).unwrap(), meta.mode() & 0o7777), (b"new".to_vec(), 0o640));
        assert_ne!(meta.ino(), before, "a new file, not a rewritten one");
        assert_eq!(names(folder.path()), ["agents.env"]);
    }

    #[test]
    fn a_failed_replacement_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agents.env");
        fs::create_dir(&path).unwrap();
        let wanted = Attributes { mode: 0o600, ..Attributes::default() };
        let place = place(&path);
        let failure = replace(&place, b"new", wanted, &locked(&place)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotSent);
        assert!(failure.message.contains("cannot replace"), "{failure:?}");
        assert_eq!(names(folder.path()), ["agents.env"]);
    }

    #[test]
    fn what_is_no_regular_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        let read = |name: &str| read(&place(&folder.path().join(name)));
        assert!(read("folder").err().unwrap().message.contains("not a regular file"));
        let large = folder.path().join("large");
        File::create(&large).unwrap().set_len(SIZE_CAP + 1).unwrap();
        assert!(read("large").err().unwrap().message.contains("larger than 1 MiB"));
        assert!(read("missing").unwrap().is_none());
    }

    #[test]
    fn owners_by_name_and_number() {
        assert_eq!(user_id("root").unwrap(), 0);
        assert_eq!(group_id("root").unwrap(), 0);
        assert_eq!(user_id("4242").unwrap(), 4242);
        let failure = user_id("no-such-user").unwrap_err();
        assert_eq!(failure.message, "there is no user no-such-user on this system");
        assert!(group_id("no-such-group").unwrap_err().hint.is_some());
    }

    #[test]
    fn every_reason_has_its_next_move() {
        let path = Path::new("/run/agents/key.env");
        let rows = [
            (nix::libc::ENOSPC, "No space left on device", "free some space"),
            (nix::libc::EDQUOT, "Quota exceeded", "free some space"),
            (nix::libc::EROFS, "Read-only file system", "ReadWritePaths=/run/agents "),
            (nix::libc::EACCES, "Permission denied", ":rwx /run/agents"),
            (nix::libc::EPERM, "Operation not permitted", "/run/agents is sticky"),
            (nix::libc::EFBIG, "File too large", "LimitFSIZE="),
            (nix::libc::EBUSY, "Device or resource busy", "mount the folder"),
            (nix::libc::ENOENT, "No such file or directory", "create the folder /run/agents;"),
        ];
        for (code, said, next) in rows {
            let failure = explain("cannot replace", path, &io::Error::from_raw_os_error(code));
            assert_eq!(failure.message, format!("cannot replace /run/agents/key.env: {said}"));
            assert!(failure.hint.as_deref().unwrap().contains(next), "{failure:?}");
            assert_eq!(failure.kind, FailureKind::NotSent);
        }
    }
}
