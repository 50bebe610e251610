//! Who may change a file or a folder besides its owner: by its mode, and by its access control list where it has one.
//! With a list, the mode's bits of the group are the list's mask (acl(5)), so they say little alone.

use std::os::fd::{AsFd, AsRawFd};

use nix::sys::stat::FileStat;
use nix::unistd::{Gid, Group, Uid, User, geteuid};

/// Whom the kernel shows instead of those who are not in our namespace of users.
const OVERFLOW: u32 = 65534;

/// Whom an administrator lets write where keys go.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trust {
    /// The configured owner and group of the file.
    pub(super) owner: Option<u32>,
    pub(super) group: Option<u32>,
    /// Others may write the folder (`unsafe_folder`).
    pub(super) anybody: bool,
}

/// Those who may write, the owner aside.
#[derive(Debug, Default, PartialEq, Eq)]
struct Writers {
    everybody: bool,
    users: Vec<u32>,
    groups: Vec<u32>,
}

/// The first who may write without being root, ourselves, the owner, or whom the configuration names; in words.
pub(super) fn stranger(handle: impl AsFd, meta: &FileStat, trust: Trust) -> Option<String> {
    let writers = Writers::of(meta.st_mode, meta.st_gid, &list(handle));
    let user = |uid: &u32| is_known(*uid, meta.st_uid, trust);
    let group = |gid: &u32| *gid == 0 || trust.group == Some(*gid) || is_of_one(*gid, meta.st_uid);
    if writers.everybody {
        return Some("every user of this system".to_owned());
    }
    let group =
        writers.groups.into_iter().find(|gid| !group(gid)).map(|gid| format!("group {}", group_name(gid)));
    group.or_else(|| {
        writers.users.into_iter().find(|uid| !user(uid)).map(|uid| format!("user {}", user_name(uid)))
    })
}

/// Whether a user may decide where a key goes: root, ourselves, the owner of the folder, and whom the configuration names.
pub(super) fn is_known(uid: u32, folder: u32, trust: Trust) -> bool {
    let named = [0, geteuid().as_raw()].contains(&uid) || trust.owner == Some(uid);
    named || uid == folder && !is_hidden(uid)
}

/// In a namespace of users, all who are not in it have one number (`user_namespaces(7)`): nobody can be told from another.
pub(super) fn is_hidden(id: u32) -> bool {
    let map = || std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    id == OVERFLOW && !map().trim_end().ends_with("4294967295")
}

/// Groups that only one user has: the owner's or our own. By the custom of distributions it has his name, and nobody
/// else in it; where users have no names, his number.
fn is_of_one(gid: u32, owner: u32) -> bool {
    let own = |uid: u32| match User::from_uid(Uid::from_raw(uid)).ok().flatten() {
        Some(user) => {
            user.gid.as_raw() == gid
                && group(gid).is_some_and(|group| {
                    let others =
                        |member: &String| *member != user.name && *member != user_name(geteuid().as_raw());
                    group.name == user.name && !group.mem.iter().any(others)
                })
        }
        None => uid == gid,
    };
    !is_hidden(gid) && [owner, geteuid().as_raw()].into_iter().any(own)
}

/// An image without users has no file of them either: that is no name, like any other that is not there.
fn group(gid: u32) -> Option<Group> {
    Group::from_gid(Gid::from_raw(gid)).ok().flatten()
}

fn group_name(gid: u32) -> String {
    group(gid).map_or_else(|| gid.to_string(), |group| group.name)
}

fn user_name(uid: u32) -> String {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

/// The access control list as the kernel hands it out; empty without one. Through `/proc`, because a handle that only
/// names a folder has no attributes.
fn list(handle: impl AsFd) -> Vec<u8> {
    let path = format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd());
    let mut bytes = Vec::with_capacity(64 * 1024);
    match rustix::fs::getxattr(path, "system.posix_acl_access", rustix::buffer::spare_capacity(&mut bytes)) {
        Ok(_) => bytes,
        Err(_) => Vec::new(),
    }
}

impl Writers {
    const WRITE: u16 = 2;

    /// By mode, group and list: a version of 4 bytes, then entries of a tag, its permissions and its id, in the order of
    /// the smallest byte first (`linux/posix_acl_xattr.h`).
    fn of(mode: u32, gid: u32, list: &[u8]) -> Self {
        let entries =
            || list.get(4..).unwrap_or_default().as_chunks::<8>().0.iter().copied().map(Entry::read);
        let mask = entries().find(|entry| entry.tag == Entry::MASK).map_or(Self::WRITE, |mask| mask.allows);
        let mut writers = Self { everybody: mode & 0o002 != 0, ..Self::default() };
        if list.is_empty() {
            writers.groups.extend((mode & 0o020 != 0).then_some(gid));
        }
        for entry in entries().filter(|entry| entry.allows & mask & Self::WRITE != 0) {
            match entry.tag {
                Entry::USER => writers.users.push(entry.id),
                Entry::OWNING_GROUP => writers.groups.push(gid),
                Entry::GROUP => writers.groups.push(entry.id),
                _ => {}
            }
        }
        writers
    }
}

/// One entry of an access control list.
struct Entry {
    tag: u16,
    allows: u16,
    id: u32,
}

impl Entry {
    const USER: u16 = 0x02;
    const OWNING_GROUP: u16 = 0x04;
    const GROUP: u16 = 0x08;
    const MASK: u16 = 0x10;

    fn read([t0, t1, p0, p1, i0, i1, i2, i3]: [u8; 8]) -> Self {
        Self {
            tag: u16::from_le_bytes([t0, t1]),
            allows: u16::from_le_bytes([p0, p1]),
            id: u32::from_le_bytes([i0, i1, i2, i3]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would hand out for these entries.
    fn list_of(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (tag, allows, id) in entries {
            bytes.extend([tag.to_le_bytes(), allows.to_le_bytes()].concat());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn modes_and_lists_say_who_writes() {
        let none = u32::MAX;
        let by_mode = |mode| Writers::of(mode, 50, &[]);
        assert_eq!(by_mode(0o755), Writers::default());
        assert_eq!(by_mode(0o775), Writers { groups: vec![50], ..Writers::default() });
        assert_eq!(by_mode(0o1777), Writers { everybody: true, users: vec![], groups: vec![50] });
        // setfacl -m u:7:rwx on a folder of mode 0755: the mode shows the mask, 0775.
        let named = [(0x01, 7, none), (0x02, 7, 7), (0x04, 5, none), (0x10, 7, none), (0x20, 5, none)];
        let seen = Writers::of(0o775, 50, &list_of(&named));
        assert_eq!(seen, Writers { users: vec![7], ..Writers::default() });
        // The same under a mask without w; and groups, the owning one among them.
        let masked = [(0x02, 7, 7), (0x04, 7, none), (0x08, 7, 60), (0x10, 5, none)];
        assert_eq!(Writers::of(0o755, 50, &list_of(&masked)), Writers::default());
        let groups = [(0x04, 7, none), (0x08, 2, 60), (0x10, 7, none)];
        assert_eq!(Writers::of(0o775, 50, &list_of(&groups)).groups, [50, 60]);
    }

    #[test]
    fn a_list_that_is_cut_is_no_panic() {
        let list = list_of(&[(0x02, 7, 7), (0x10, 7, 0)]);
        for length in 0..list.len() {
            Writers::of(0o775, 50, &list[..length]);
        }
    }
}
