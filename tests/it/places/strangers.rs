//! Who may write where a file destination is, or laid something there first, gets no key and turns no write elsewhere.
//!
//! Only root can make what belongs to others; where the tests run as somebody else, the rows about strangers are left out
//! by asking [`is_root`], and the rest is tried all the same.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rekeyd::destination::file::{File, FileSpec, Format};
use rekeyd::destination::{Delivery, Destination};
use rekeyd::domain::outcome::FailureKind;
use rekeyd::domain::secret::Secret;
use rekeyd::net::Deadline;

const STRANGER: u32 = 4242;

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn spec(path: &Path) -> FileSpec {
    let format = Format::Env { variable: "OPENROUTER_API_KEY".to_owned() };
    FileSpec { path: path.into(), format, mode: None, owner: None, group: None, unsafe_folder: false }
}

async fn publish(spec: FileSpec) -> Result<(), String> {
    let delivery = Delivery {
        secret: Secret::new(format!("sk-or-v1-{}", "0f".repeat(32))),
        rotation: "production".to_owned(),
        generation: 2,
        destination: "agent-env".to_owned(),
    };
    let done = File::new(spec).publish(&delivery, Deadline::after(Duration::from_mins(1))).await;
    done.map(|_| ()).map_err(|failure| {
        assert_eq!(failure.kind, FailureKind::NotSent, "{failure:?}");
        assert!(failure.hint.is_some(), "{failure:?}");
        failure.message
    })
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A folder of ours in one of ours.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    let inner = outer.path().join("agents");
    fs::create_dir(&inner).unwrap();
    mode(&inner, 0o755);
    (outer, inner)
}

#[tokio::test]
async fn a_link_of_a_stranger_leads_nowhere() {
    let (outer, folder) = folder();
    let (store, link) = (outer.path().join("rekeyd.db"), folder.join("agents.env"));
    fs::write(&store, "A=the store\n").unwrap();
    symlink(&store, &link).unwrap();
    if is_root() {
        lchown(&link, Some(STRANGER), None).unwrap();
        let refused = publish(spec(&link)).await.unwrap_err();
        assert!(refused.contains("is a symbolic link that another user made"), "{refused}");
        assert_eq!(fs::read_to_string(&store).unwrap(), "A=the store\n");
    }
    fs::remove_file(&link).unwrap();
    symlink(&store, &link).unwrap();
    publish(spec(&link)).await.unwrap();
    assert!(
        fs::read_to_string(&store).unwrap().starts_with("A=the store\nOPENROUTER_API_KEY="),
        "our own is followed"
    );
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[tokio::test]
async fn a_folder_that_strangers_write_gets_no_key() {
    let (_outer, folder) = folder();
    let path = folder.join("agents.env");
    for bits in [0o777, 0o1777, 0o757] {
        mode(&folder, bits);
        let refused = publish(spec(&path)).await.unwrap_err();
        assert!(refused.contains("every user of this system may write"), "{refused}");
        assert!(!path.exists());
    }
    publish(FileSpec { unsafe_folder: true, ..spec(&path) }).await.unwrap();
}

#[tokio::test]
async fn who_laid_a_file_there_first_does_not_own_the_key() {
    let (_outer, folder) = folder();
    let path = folder.join("agents.env");
    fs::write(&path, "OPENROUTER_API_KEY=old\n").unwrap();
    mode(&path, 0o6755);
    mode(&folder, 0o777);
    let open = FileSpec { unsafe_folder: true, ..spec(&path) };
    publish(open.clone()).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o755, "no bit lets a program run as its owner");
    if is_root() {
        chown(&path, Some(STRANGER), Some(STRANGER)).unwrap();
        let refused = publish(open.clone()).await.unwrap_err();
        assert!(refused.contains("belongs to user 4242, and others may write its folder"), "{refused}");
        publish(FileSpec { owner: Some(STRANGER.to_string()), ..open }).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().uid(), STRANGER, "who was asked for");
    }
}

#[tokio::test]
async fn a_line_that_programs_read_differently_is_not_touched() {
    let (_outer, folder) = folder();
    let path = folder.join("agents.env");
    for text in [
        "A=\"\nOPENROUTER_API_KEY=old\n\"\n",
        "OPENROUTER_API_KEY=old B=1\n",
        "setenv OPENROUTER_API_KEY old\n",
    ] {
        fs::write(&path, text).unwrap();
        let refused = publish(spec(&path)).await.unwrap_err();
        assert!(refused.contains("rekeyd does not guess"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}
