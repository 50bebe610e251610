//! File destinations on a disk that really refuses: full, over a limit, a folder and an owner that are not ours.
//!
//! The real binary each time, since who it runs as and what it may write belong to the process.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::support::world::{Out, SECRET};
use crate::support::{Db, World};

const PUBLISH: [&str; 3] = ["destinations", "publish", "agents"];
const FILE: &str = "openrouter.env";
/// `nobody` of Linux; a user without a right to anything.
const STRANGER: u32 = 65534;

/// A world whose rotation publishes to a file in a folder of its own. Its store is PostgreSQL, so that a limit on
/// files is felt at the destination only.
async fn world(lines: &str) -> World {
    let world = World::new(Db::Postgres).await;
    std::fs::create_dir(folder(&world)).unwrap();
    let destination = format!(
        "[[destinations]]\nname = \"agents\"\ntype = \"file\"\npath = \"{}\"\nvariable = \"{SECRET}\"\n{lines}",
        folder(&world).join(FILE).display()
    );
    world.configure_with(&destination, r#"["agents"]"#);
    world.adopt().await;
    world
}

fn folder(world: &World) -> PathBuf {
    world.path("agents")
}

/// What stood there before: other lines, as large as a real one may get, and a key.
fn before() -> String {
    format!("# of the agents\nOTHER=1\n{}{SECRET}=by-hand\nLAST='2'\n", "# padding\n".repeat(2000))
}

/// The same with our key in it.
fn after(world: &World) -> String {
    before().replace("by-hand", &world.first)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The binary behind other programs, which end in `exec "$@"`.
async fn run_behind(world: &World, programs: &[&str], args: &[&str]) -> Out {
    let inner = world.command(args);
    let inner = inner.as_std();
    let mut command = Command::new(programs[0]);
    command.args(&programs[1..]).arg(inner.get_program()).args(inner.get_args()).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let done = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let out = Out {
        status: done.status.code().unwrap_or(-1),
        stdout: text(&done.stdout),
        stderr: text(&done.stderr),
    };
    world.note(&out.stdout);
    world.note(&out.stderr);
    out
}

/// A write that reaches a limit on the size of files: `write` itself fails, half-way.
async fn over_a_limit() {
    let world = world("").await;
    let path = folder(&world).join(FILE);
    std::fs::write(&path, before()).unwrap();
    let limited = |action| format!("{action}; ulimit -f 16; exec \"$@\"");
    let told = limited("trap '' XFSZ");
    let out = run_behind(&world, &["sh", "-c", &told, "sh"], &PUBLISH).await;
    assert_eq!(out.status, 1, "{out:?}");
    assert!(out.stderr.contains(&format!("cannot write {}: File too large", path.display())), "{out:?}");
    assert!(out.stderr.contains("ulimit -f"), "{out:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before());
    assert_eq!(names(&folder(&world)), [FILE]);
    // Killed in the middle of the write.
    let out = run_behind(&world, &["sh", "-c", &limited(":"), "sh"], &PUBLISH).await;
    assert_eq!(out.status, -1, "by a signal: {out:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before());
    let left = names(&folder(&world));
    assert!(left.len() == 2 && left[0].starts_with(".openrouter.env.rekeyd-new-"), "{left:?}");
    assert_eq!(left[1], FILE, "nobody was left to remove it");
    let mode = std::fs::metadata(folder(&world).join(&left[0])).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o600, "and only we can read it");
    world.rekeyd(&PUBLISH).await.ok();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), after(&world));
    assert_eq!(names(&folder(&world)), [FILE], "the next write did");
    world.assert_nothing_leaked();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_fails_half_way_leaves_the_old_file() {
    over_a_limit().await;
}

/// A disk of 64 KiB of its own, full but for the file; then with room again.
const FULL_DISK: &str = r#"
    at=$1 seen=$2
    shift 2
    mount -t tmpfs -o size=64k,mode=700 none "$at"
    cp "$seen/before" "$at/openrouter.env"
    cat /dev/zero >"$at/filler" 2>/dev/null || true
    status=0
    "$@" || status=$?
    ls -A "$at" >"$seen/names"
    cp "$at/openrouter.env" "$seen/after"
    rm "$at/filler"
    "$@" >&2
    cp "$at/openrouter.env" "$seen/repaired"
    exit $status
"#;

/// How a process gets mounts of its own here: as root, or as root of a user namespace.
fn own_mounts(at: &Path) -> Option<&'static str> {
    ["-m", "-rm"].into_iter().find(|flags| {
        let mut command = std::process::Command::new("unshare");
        command.args([flags, "mount", "-t", "tmpfs", "none"]).arg(at);
        command.output().is_ok_and(|done| done.status.success())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_leaves_the_old_file_and_is_named() {
    let world = world("").await;
    let Some(flags) = own_mounts(&folder(&world)) else {
        // No disk can be made here; another write that really fails is proved in its place.
        return over_a_limit().await;
    };
    let seen = world.path("seen");
    std::fs::create_dir(&seen).unwrap();
    std::fs::write(seen.join("before"), before()).unwrap();
    let (at, to) = (folder(&world).display().to_string(), seen.display().to_string());
    let out = run_behind(&world, &["unshare", flags, "sh", "-ec", FULL_DISK, "sh", &at, &to], &PUBLISH).await;
    assert_eq!(out.status, 1, "{out:?}");
    assert!(out.stderr.contains(&format!("cannot write {at}/{FILE}: No space left on device")), "{out:?}");
    assert!(out.stderr.contains(&format!("free some space on the disk of {at}")), "{out:?}");
    let read = |name: &str| std::fs::read_to_string(seen.join(name)).unwrap();
    assert_eq!(read("after"), before(), "whole, byte for byte");
    assert_eq!(read("names"), format!("filler\n{FILE}\n"), "nothing is left behind");
    assert_eq!(read("repaired"), after(&world), "and with room it is written");
    world.assert_nothing_leaked();
}

/// Runs the binary as somebody without rights: root becomes nobody, for everybody else it is as it is.
struct Stranger<'w> {
    world: &'w World,
    program: PathBuf,
    uid: Option<u32>,
}

impl<'w> Stranger<'w> {
    fn new(world: &'w World) -> Self {
        let uid = nix::unistd::geteuid().is_root().then_some(STRANGER);
        // Where the tests are built, nobody may have no way to.
        let program = world.path("rekeyd");
        std::fs::hard_link(env!("CARGO_BIN_EXE_rekeyd"), &program)
            .or_else(|_| std::fs::copy(env!("CARGO_BIN_EXE_rekeyd"), &program).map(drop))
            .unwrap();
        let own = |path: &Path| chown(path, uid, uid).unwrap();
        own(world.folder.path());
        for entry in std::fs::read_dir(world.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path != program {
                own(&path);
            }
        }
        Self { world, program, uid }
    }

    async fn rekeyd(&self, args: &[&str]) -> Out {
        let inner = self.world.command(args);
        let mut command = Command::new(&self.program);
        command.args(args).env_clear().current_dir("/");
        command.envs(inner.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        let done = command.output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Out {
            status: done.status.code().unwrap_or(-1),
            stdout: text(&done.stdout),
            stderr: text(&done.stderr),
        }
    }

    /// Its name, as `setfacl` takes it.
    fn name(&self) -> String {
        let uid = self.uid.map_or_else(nix::unistd::geteuid, nix::unistd::Uid::from_raw);
        nix::unistd::User::from_uid(uid).unwrap().map_or_else(|| uid.to_string(), |user| user.name)
    }

    /// Publish and check refuse with the same words, and nothing changes.
    async fn is_refused(&self, expected: &[String]) {
        let folder = folder(self.world);
        let look = || {
            let path = folder.join(FILE);
            let meta = std::fs::symlink_metadata(&path).unwrap();
            (meta.ino(), meta.mode(), meta.uid(), meta.size(), meta.mtime_nsec(), names(&folder))
        };
        let before = look();
        for args in [PUBLISH, ["destinations", "check", "agents"]] {
            let out = self.rekeyd(&args).await;
            assert_eq!(out.status, 1, "{out:?}");
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let said = words(&format!("{} {}", out.stdout, out.stderr));
            for part in expected {
                assert!(said.contains(part), "{args:?} says no {part:?}: {said}");
            }
            assert_eq!(look(), before);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_and_an_owner_that_are_not_ours_are_named_with_what_to_grant() {
    let world = world("").await;
    let (folder, path) = (folder(&world), folder(&world).join(FILE));
    std::fs::write(&path, before()).unwrap();
    let stranger = Stranger::new(&world);
    let mode =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let (at, file, name) = (folder.display(), path.display(), stranger.name());
    let of_root = stranger.uid.is_some();
    if of_root {
        chown(&folder, Some(0), Some(0)).unwrap();
    }
    mode(&path, 0o000);
    mode(&folder, 0o555);
    stranger
        .is_refused(&[
            format!("cannot read {file}: Permission denied"),
            format!("setfacl -m u:{name}:r {file}"),
        ])
        .await;
    mode(&path, 0o640);
    chown(&path, stranger.uid, stranger.uid).unwrap();
    stranger
        .is_refused(&[
            format!("cannot write {file}: Permission denied"),
            format!("let user {name} write into the folder"),
            format!("setfacl -m u:{name}:rwx {at}"),
        ])
        .await;
    // Theirs now, with a file in it of another user, to whom the new one would have to be given.
    mode(&folder, 0o755);
    chown(&folder, stranger.uid, stranger.uid).unwrap();
    if of_root {
        // Of another user, whom the new file would have to be given to.
        mode(&path, 0o644);
        chown(&path, Some(0), Some(0)).unwrap();
        stranger.is_refused(&owner_is_missing(&path)).await;
        chown(&path, stranger.uid, stranger.uid).unwrap();
        mode(&path, 0o640);
    }
    let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
    std::fs::write(world.path("rekeyd.toml"), format!("{text}owner = \"root\"\ngroup = \"root\"\n")).unwrap();
    stranger.is_refused(&owner_is_missing(&path)).await;
    std::fs::write(world.path("rekeyd.toml"), text).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before());
    let did = stranger.rekeyd(&PUBLISH).await.ok();
    assert!(did.stdout.contains("proved that it holds the key"), "{did:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), after(&world));
    let meta = std::fs::metadata(&path).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o640, stranger.uid.unwrap_or(meta.uid())));
}

fn owner_is_missing(path: &Path) -> [String; 2] {
    [
        format!("cannot give {} to user 0 and group 0: Operation not permitted", path.display()),
        "AmbientCapabilities=CAP_CHOWN CAP_FOWNER".to_owned(),
    ]
}

/// What the configuration says, or what the file was; a new one is ours alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mode_owner_and_group_are_the_configurations_then_the_files() {
    let root = nix::unistd::geteuid().is_root();
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let (other_user, other_group) = if root { (4242, 4343) } else { (uid, gid) };
    let world = world("").await;
    let path = folder(&world).join(FILE);
    let seen = |path: &Path| {
        let meta = std::fs::metadata(path).unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid())
    };
    world.rekeyd(&PUBLISH).await.ok();
    assert_eq!(seen(&path), (0o600, uid, gid), "a new file");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{SECRET}={}\n", world.first));
    std::fs::write(&path, before()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o440)).unwrap();
    chown(&path, Some(other_user), Some(other_group)).unwrap();
    world.rekeyd(&PUBLISH).await.ok();
    assert_eq!(seen(&path), (0o440, other_user, other_group), "as the file was");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), after(&world), "and its other lines");
    let text = std::fs::read_to_string(world.path("rekeyd.toml")).unwrap();
    let lines = format!("mode = \"0640\"\nowner = \"{uid}\"\ngroup = \"{gid}\"\n");
    std::fs::write(world.path("rekeyd.toml"), format!("{text}{lines}")).unwrap();
    world.rekeyd(&PUBLISH).await.ok();
    assert_eq!(seen(&path), (0o640, uid, gid), "as the configuration says");
    world.rekeyd(&["destinations", "check", "agents"]).await.ok();
}
