//! One writer at a time.
//!
//! Several destinations may be variables of one file, in rotations of several accounts, and other processes write
//! too. So from reading the old content to renaming the new one the folder is locked (flock): the file itself is
//! another one after each write, and a lock file would lie beside it for ever. The lock ends with the process.
//!
//! Known limit: on a file system that cannot lock a folder (NFS) two writes of one file in the same moment may lose
//! one of them.

use std::fs::{File, TryLockError};
use std::io;
use std::time::Duration;

use nix::libc::{EBADF, EINVAL, ENOLCK, ENOSYS, ENOTSUP};

use super::disk::{explain, refused};
use super::walk::Place;
use crate::domain::outcome::Failure;
use crate::net::Deadline;

/// A folder that somebody else holds is asked for again after this long.
const PAUSE: Duration = Duration::from_millis(10);
/// What must be left of the deadline for the write itself.
const WRITE_TIME: Duration = Duration::from_millis(100);

/// The right to write files of one folder; it ends when this is dropped.
pub(super) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

/// Waits for the folder of a place, as long as the deadline leaves time for the write.
#[expect(
    clippy::disallowed_methods,
    reason = "not on the event loop, and bounded by the deadline of the call"
)]
pub(super) fn lock(place: &Place, deadline: Deadline) -> Result<Lock, Failure> {
    let path = &place.path;
    let folder =
        place.folder.try_clone().map_err(|error| explain("cannot lock the folder of", path, &error))?;
    loop {
        match folder.try_lock() {
            Err(TryLockError::WouldBlock) if deadline.left() > WRITE_TIME => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {
                let text = format!("another process is writing in the folder of {}", path.display());
                return Err(refused(text).hint("it is tried again; `fuser` on the folder says who holds it"));
            }
            Err(TryLockError::Error(error)) if !cannot_lock(&error) => {
                return Err(explain("cannot lock the folder of", path, &error));
            }
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(Lock(folder)),
        }
    }
}

/// File systems without locks of folders: NFS wants the right to write for an exclusive one.
fn cannot_lock(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| [EBADF, EINVAL, ENOLCK, ENOSYS, ENOTSUP].contains(&code))
}
