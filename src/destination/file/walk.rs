//! From the configured path to the folder that really holds the file, by handles: what was looked at is what is used,
//! whatever others rename meanwhile.
//!
//! A link is followed when root, ourselves or the owner of its folder made it: who may merely write there cannot turn
//! our write to a file of somebody else. A folder that strangers may write is refused, since they could take our place
//! in it; in a sticky one, such as `/tmp`, they cannot take what root or we made.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::geteuid;

use super::disk::{explain, refused};
use super::writers::{Trust, is_hidden, is_known, stranger};
use crate::domain::outcome::Failure;

/// More links than this are a circle.
const LINK_CAP: usize = 40;

/// Where the file is, or will be: its folder, opened, and its name there, which is no link.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) folder: File,
    pub(super) name: OsString,
    /// The same as a path without links, for people.
    pub(super) path: PathBuf,
    /// Strangers may write the folder, and the configuration accepts it.
    pub(super) is_open: bool,
}

/// The way so far, and what is left of it.
struct Walk<'a> {
    asked: &'a Path,
    trust: Trust,
    at: OwnedFd,
    path: PathBuf,
    left: VecDeque<OsString>,
    links: usize,
}

/// The place that a configured path means.
pub(super) fn find(path: &Path, trust: Trust) -> Result<Place, Failure> {
    if !path.is_absolute() || path.file_name().is_none() {
        return Err(refused(format!("{} is not the absolute path of a file", path.display())));
    }
    let at = root().map_err(|error| failed(path, error))?;
    let mut walk = Walk { asked: path, trust, at, path: "/".into(), left: parts(path), links: 0 };
    while let Some(next) = walk.left.pop_front() {
        match walk.look(&next)? {
            Some(meta) if kind(&meta) == SFlag::S_IFLNK => walk.follow(&next, &meta)?,
            _ if walk.left.is_empty() => return walk.arrive(next),
            Some(meta) => walk.enter(&next, &meta)?,
            None => return Err(failed(path, Errno::ENOENT)),
        }
    }
    Err(refused(format!("{} leads to a folder", path.display())))
}

fn root() -> nix::Result<OwnedFd> {
    open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// The steps of a path; `..` is one, which leads to the folder that is really above.
fn parts(path: &Path) -> VecDeque<OsString> {
    let steps = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    steps.map(|part| part.as_os_str().to_owned()).collect()
}

fn kind(meta: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(meta.st_mode) & SFlag::S_IFMT
}

fn failed(path: &Path, error: Errno) -> Failure {
    explain("cannot open the folder of", path, &error.into())
}

impl Walk<'_> {
    fn look(&self, name: &OsString) -> Result<Option<FileStat>, Failure> {
        match fstatat(&self.at, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(meta) => Ok(Some(meta)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(failed(self.asked, error)),
        }
    }

    fn follow(&mut self, name: &OsString, link: &FileStat) -> Result<(), Failure> {
        self.links += 1;
        if self.links > LINK_CAP {
            return Err(refused(format!(
                "{} goes through more than {LINK_CAP} symbolic links",
                self.asked.display()
            )));
        }
        let target = readlinkat(&self.at, name.as_os_str()).map_err(|error| failed(self.asked, error))?;
        let target = PathBuf::from(target);
        let folder = self.check_folder(link)?;
        if !is_known(link.st_uid, folder.st_uid, self.trust) {
            let text =
                format!("{} is a symbolic link that another user made", self.path.join(name).display());
            let meant = self.path.join(&target);
            return Err(refused(text)
                .hint(format!("write `path = \"{}\"` if that is what you mean", meant.display())));
        }
        if target.is_absolute() {
            self.at = root().map_err(|error| failed(self.asked, error))?;
            self.path = "/".into();
        }
        parts(&target).into_iter().rev().for_each(|part| self.left.push_front(part));
        Ok(())
    }

    /// Goes into a folder on the way.
    fn enter(&mut self, name: &OsString, meta: &FileStat) -> Result<(), Failure> {
        self.check_folder(meta)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        self.at = openat(&self.at, name.as_os_str(), flags, Mode::empty())
            .map_err(|error| failed(self.asked, error))?;
        if name == ".." {
            self.path.pop();
        } else {
            self.path.push(name);
        }
        Ok(())
    }

    /// The folder that we are in, whose entry leads on: strangers may not write it, or not take the entry's place.
    fn check_folder(&self, entry: &FileStat) -> Result<FileStat, Failure> {
        let here = fstat(&self.at).map_err(|error| failed(self.asked, error))?;
        let stranger = (!self.trust.anybody).then(|| stranger(&self.at, &here, self.trust)).flatten();
        let is_sticky = here.st_mode & Mode::S_ISVTX.bits() != 0;
        match stranger {
            Some(who) if !(is_sticky && [0, geteuid().as_raw()].contains(&entry.st_uid)) => {
                Err(writable(&self.path, &here, &who))
            }
            _ => Ok(here),
        }
    }

    /// In the folder of the file. To list and to lock it, it is opened for reading.
    fn arrive(self, name: OsString) -> Result<Place, Failure> {
        let path = self.path.join(&name);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = openat(&self.at, ".", flags, Mode::empty()).map_err(|error| failed(&path, error))?;
        let meta = fstat(&folder).map_err(|error| failed(&path, error))?;
        let others = stranger(&folder, &meta, self.trust);
        match others {
            Some(who) if !self.trust.anybody => Err(writable(&self.path, &meta, &who)),
            others => Ok(Place { folder: File::from(folder), name, path, is_open: others.is_some() }),
        }
    }
}

/// What strangers may write, and the next move: for a folder of this software, for one that all users share, and for one
/// whose owner cannot be told.
pub(super) fn writable(path: &Path, meta: &FileStat, who: &str) -> Failure {
    let at = path.display();
    let hint = if is_hidden(meta.st_uid) || is_hidden(meta.st_gid) {
        "let the service see the host's users: PrivateUsers=no (`systemctl edit rekeyd`)".to_owned()
    } else if meta.st_mode & Mode::S_ISVTX.bits() != 0 {
        "use a folder of its own; or write `unsafe_folder = true` to accept this one".to_owned()
    } else {
        format!(
            "take that right away, for example by: chmod go-w {at}; or write `unsafe_folder = true` to accept it"
        )
    };
    refused(format!("{who} may write {at}, and could take the key's place there")).hint(hint)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};

    use super::*;

    const STRANGER: u32 = 4242;

    fn found(path: &Path) -> Result<PathBuf, String> {
        find(path, Trust::default()).map(|place| place.path).map_err(|failure| failure.message)
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn links_lead_to_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("releases/1")).unwrap();
        fs::create_dir_all(root.join("releases/2")).unwrap();
        symlink("releases/1", root.join("current")).unwrap();
        symlink("../../shared.env", root.join("releases/1/.env")).unwrap();
        assert_eq!(found(&root.join("current/.env")), Ok(root.join("shared.env")), "also when it is missing");
        fs::remove_file(root.join("current")).unwrap();
        symlink(root.join("releases/2/"), root.join("current")).unwrap();
        assert_eq!(found(&root.join("current/.env")), Ok(root.join("releases/2/.env")), "where it leads now");
        symlink("loop", root.join("loop")).unwrap();
        assert!(found(&root.join("loop")).unwrap_err().contains("more than 40 symbolic links"));
        symlink("/", root.join("up")).unwrap();
        for (path, said) in
            [("up", "leads to a folder"), ("no/x.env", "No such file"), ("shared.env/x", "Not a directory")]
        {
            fs::write(root.join("shared.env"), "").unwrap();
            assert!(found(&root.join(path)).unwrap_err().contains(said), "{path}");
        }
        assert!(found(Path::new("x.env")).unwrap_err().contains("not the absolute path"));
    }

    /// Only root can make what belongs to others.
    fn is_root() -> bool {
        geteuid().is_root()
    }

    #[test]
    fn links_of_strangers_are_not_followed() {
        if !is_root() {
            return;
        }
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let (link, target) = (folder.join("link"), folder.join("target"));
        fs::write(&target, "x").unwrap();
        symlink(&target, &link).unwrap();
        lchown(&link, Some(STRANGER), None).unwrap();
        assert!(found(&link).unwrap_err().contains("another user made"));
        chown(&target, Some(STRANGER), None).unwrap();
        assert!(found(&link).is_err(), "nor to what is his");
        chown(&folder, Some(STRANGER), None).unwrap();
        assert!(found(&link).is_ok(), "who owns the folder may");
    }

    #[test]
    fn folders_that_strangers_write_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let inner = root.join("inner");
        fs::create_dir(&inner).unwrap();
        let path = inner.join("x.env");
        for (at, bits) in [(&inner, 0o777), (&inner, 0o1777), (&root, 0o757)] {
            mode(at, bits);
            let failure = find(&path, Trust::default()).unwrap_err();
            assert_eq!(
                failure.message,
                format!(
                    "every user of this system may write {}, and could take the key's place there",
                    at.display()
                )
            );
            assert!(failure.hint.unwrap().contains("unsafe_folder"));
            let accepted = find(&path, Trust { anybody: true, ..Trust::default() }).unwrap();
            assert_eq!(accepted.is_open, *at == inner);
            mode(at, 0o755);
        }
        mode(&root, 0o1777);
        assert!(found(&path).is_ok(), "nobody can take ours in a sticky folder");
        if is_root() {
            chown(&inner, Some(STRANGER), None).unwrap();
            assert!(found(&path).is_err(), "a stranger may have laid his there first");
        }
    }

    #[test]
    fn groups_that_write_are_known_or_refused() {
        if !is_root() {
            return;
        }
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let path = folder.join("x.env");
        mode(&folder, 0o775);
        chown(&folder, None, Some(STRANGER)).unwrap();
        assert!(found(&path).unwrap_err().starts_with("group 4242 may write"));
        assert!(
            find(&path, Trust { group: Some(STRANGER), ..Trust::default() }).is_ok(),
            "the configured one"
        );
        chown(&folder, Some(STRANGER), None).unwrap();
        assert!(found(&path).is_ok(), "the owner's own");
        assert_eq!(fs::metadata(&folder).unwrap().gid(), STRANGER);
    }
}
