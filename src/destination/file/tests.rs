use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::destination::shown;

fn key(last: char) -> Secret {
    Secret::new(format!("sk-or-v1-{}{last}", "0f".repeat(31)))
}

fn delivery(last: char, generation: i64) -> Delivery {
    Delivery { secret: key(last), rotation: "production".into(), generation, destination: "agent-env".into() }
}

fn file(path: &Path, format: Format) -> File {
    File::new(FileSpec {
        path: path.into(),
        format,
        mode: None,
        owner: None,
        group: None,
        unsafe_folder: false,
    })
}

fn env_file(path: &Path) -> File {
    file(path, Format::Env { variable: "OPENROUTER_API_KEY".into() })
}

#[expect(clippy::disallowed_methods, reason = "a deadline far away")]
fn soon() -> Deadline {
    Deadline(tokio::time::Instant::now() + Duration::from_secs(30))
}

#[tokio::test]
async fn every_format_is_written_and_proved() {
    let folder = tempfile::tempdir().unwrap();
    let name = || "OPENROUTER_API_KEY".to_owned();
    let k = key('a');
    let rows = [
        (Format::Env { variable: name() }, format!("OPENROUTER_API_KEY={}\n", k.expose())),
        (
            Format::Json { variable: name() },
            format!("{{\n  \"OPENROUTER_API_KEY\": \"{}\"\n}}\n", k.expose()),
        ),
        (Format::Raw, k.expose().to_owned()),
    ];
    for (format, expected) in rows {
        let path = folder.path().join("key");
        let file = file(&path, format.clone());
        let delivery = delivery('a', 3);
        let before = file.look(&delivery, &Value::Null, soon()).await.unwrap();
        assert_eq!(before.standing, Standing::Missing, "{format:?}");
        let evidence = file.publish(&delivery, soon()).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let look = file.look(&delivery, &evidence, soon()).await.unwrap();
        assert_eq!(look, Look { standing: Standing::Confirmed, evidence: evidence.clone() }, "{format:?}");
        assert!(!evidence.to_string().contains("0f0f"), "no key material: {evidence}");
        assert_eq!(file.publish(&delivery, soon()).await.unwrap()["generation"], 3, "again");
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        fs::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn a_change_by_hand_is_drift() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agents.env");
    let file = env_file(&path);
    let evidence = file.publish(&delivery('a', 3), soon()).await.unwrap();
    fs::write(&path, format!("A=1\nOPENROUTER_API_KEY={}\n", key('b').expose())).unwrap();
    let look = file.look(&delivery('a', 3), &evidence, soon()).await.unwrap();
    assert!(
        matches!(&look.standing, Standing::Drift(text) if text.contains("holds another value since 20")),
        "{look:?}"
    );
    assert_eq!(look.evidence, evidence);
    let next = file.look(&delivery('c', 4), &evidence, soon()).await.unwrap();
    assert_eq!(next.standing, Standing::Unprovable, "generation 4 was never written");
    fs::write(&path, "A=1\n").unwrap();
    let look = file.look(&delivery('a', 3), &evidence, soon()).await.unwrap();
    assert_eq!(look.standing, Standing::Missing);
    let stale =
        format!("OPENROUTER_API_KEY={}\nOPENROUTER_API_KEY={}\n", key('b').expose(), key('a').expose());
    fs::write(&path, stale).unwrap();
    let look = file.look(&delivery('a', 3), &evidence, soon()).await.unwrap();
    assert!(matches!(look.standing, Standing::Drift(_)), "some readers take the first line: {look:?}");
}

#[tokio::test]
async fn adopted_values_are_recognised_without_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    fs::write(&path, format!("{}\r\n", key('a').expose())).unwrap();
    let file = file(&path, Format::Raw);
    let look = file.look(&delivery('a', 1), &Value::Null, soon()).await.unwrap();
    assert_eq!((look.standing, &look.evidence["generation"]), (Standing::Confirmed, &json!(1)));
    let other = file.look(&delivery('b', 1), &Value::Null, soon()).await.unwrap();
    assert_eq!(other.standing, Standing::Unprovable);
}

#[tokio::test]
async fn mode_and_link_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real.env"), folder.path().join("link.env"));
    fs::write(&real, "# ours\nOPENROUTER_API_KEY=x\n").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o644)).unwrap();
    symlink("real.env", &link).unwrap();
    let file = env_file(&link);
    assert!(file.address().ends_with("link.env#OPENROUTER_API_KEY"));
    assert!(file.extent().overlaps(&env_file(&real).extent()), "two names of one file are one place");
    assert!(!file.extent().overlaps(&env_file(&folder.path().join("other.env")).extent()));
    let beside = folder.path().join("beside");
    symlink(folder.path(), &beside).unwrap();
    let by_link = env_file(&beside.join("real.env"));
    assert!(by_link.address().ends_with("beside/real.env#OPENROUTER_API_KEY"), "as it is configured");
    assert_eq!(
        by_link.former_address(),
        Some(env_file(&real).address()),
        "under which older versions knew it"
    );
    assert!(by_link.extent().overlaps(&file.extent()));
    file.publish(&delivery('a', 1), soon()).await.unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().starts_with("# ours\nOPENROUTER_API_KEY=sk-or-v1-0f"));
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o7777, 0o644);
    let seen = shown(&file.preflight(soon()).await.unwrap());
    assert!(seen.contains("holds OPENROUTER_API_KEY, mode 0644"), "{seen}");
    assert!(seen.contains("warning: mode 0644"), "{seen}");
    let strict = File::new(FileSpec { mode: Some(0o640), ..file.spec.clone() });
    strict.publish(&delivery('a', 1), soon()).await.unwrap();
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o7777, 0o640);
}

#[tokio::test]
async fn what_is_in_the_way_is_said_and_nothing_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agents.env");
    fs::write(&path, "OPENROUTER_API_KEY=old\n").unwrap();
    let good = env_file(&path).spec;
    let format = |variable: &str| Format::Env { variable: variable.into() };
    let rows = [
        (FileSpec { owner: Some("no-such-user".into()), ..good.clone() }, "no user no-such-user"),
        (FileSpec { group: Some("no-such-group".into()), ..good.clone() }, "no group no-such-group"),
        (FileSpec { format: format("1A"), ..good.clone() }, "not the name of a variable"),
        (FileSpec { format: Format::Json { variable: "A".into() }, ..good.clone() }, "not a JSON object"),
        (FileSpec { path: folder.path().join("missing/agents.env"), ..good.clone() }, "No such file"),
        (FileSpec { path: "agents.env".into(), ..good.clone() }, "not the absolute path"),
    ];
    for (spec, said) in rows {
        let file = File::new(spec);
        for failure in [
            file.publish(&delivery('a', 1), soon()).await.unwrap_err(),
            file.preflight(soon()).await.unwrap_err(),
        ] {
            assert_eq!(failure.kind, FailureKind::NotSent, "{failure:?}");
            assert!(failure.message.contains(said), "{failure:?}");
        }
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "OPENROUTER_API_KEY=old\n");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_wrecked_json_file_is_drift_once_it_was_ours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.json");
    let file = file(&path, Format::Json { variable: "key".into() });
    let evidence = file.publish(&delivery('a', 1), soon()).await.unwrap();
    fs::write(&path, "{").unwrap();
    let look = file.look(&delivery('a', 1), &evidence, soon()).await.unwrap();
    assert!(
        matches!(&look.standing, Standing::Drift(text) if text.contains("not a JSON object")),
        "{look:?}"
    );
    assert!(file.look(&delivery('a', 1), &Value::Null, soon()).await.is_err());
}

#[tokio::test]
async fn a_writer_that_waits_too_long_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agents.env");
    fs::write(&path, "OPENROUTER_API_KEY=old\n").unwrap();
    let other = fs::File::open(folder.path()).unwrap();
    other.lock().unwrap();
    let soon = Deadline::after(Duration::from_millis(300));
    let failure = env_file(&path).publish(&delivery('a', 1), soon).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotSent, "{failure:?}");
    assert!(failure.message.contains("another process is writing"), "{failure:?}");
    other.unlock().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "OPENROUTER_API_KEY=old\n");
    env_file(&path).publish(&delivery('a', 1), Deadline::after(Duration::from_secs(30))).await.unwrap();
}

/// What flips to another release is followed at each write and each proof.
#[tokio::test]
async fn the_release_of_the_moment_gets_the_key_and_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let current = folder.path().join("current");
    for release in ["1", "2"] {
        fs::create_dir(folder.path().join(release)).unwrap();
        fs::write(folder.path().join(release).join(".env"), "OPENROUTER_API_KEY=old\n").unwrap();
    }
    symlink("1", &current).unwrap();
    let file = env_file(&current.join(".env"));
    let (address, delivery) = (file.address(), delivery('a', 1));
    let evidence = file.publish(&delivery, soon()).await.unwrap();
    fs::remove_file(&current).unwrap();
    symlink("2", &current).unwrap();
    assert_eq!((env_file(&current.join(".env")).address(), file.address()), (address.clone(), address));
    let look = file.look(&delivery, &evidence, soon()).await.unwrap();
    assert!(matches!(look.standing, Standing::Drift(_)), "the new release has the old key: {look:?}");
    file.publish(&delivery, soon()).await.unwrap();
    for release in ["1", "2"] {
        let text = fs::read_to_string(folder.path().join(release).join(".env")).unwrap();
        assert_eq!(text, format!("OPENROUTER_API_KEY={}\n", delivery.secret.expose()));
    }
}

#[tokio::test]
async fn nobody_who_was_not_asked_for_gets_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agents.env");
    fs::write(&path, "OPENROUTER_API_KEY=old\n").unwrap();
    let file = env_file(&path);
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(&path, 0o6755);
    file.publish(&delivery('a', 1), soon()).await.unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o755,
        "no program of its owner's"
    );
    mode(&path, 0o666);
    let failure = file.publish(&delivery('b', 2), soon()).await.unwrap_err();
    assert!(failure.message.contains("every user of this system may write"), "{failure:?}");
    let open = File::new(FileSpec { unsafe_folder: true, ..file.spec.clone() });
    open.publish(&delivery('b', 2), soon()).await.unwrap();
    mode(folder.path(), 0o1777);
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(4242), Some(4242)).unwrap();
        let failure = open.publish(&delivery('a', 3), soon()).await.unwrap_err();
        assert!(
            failure.message.contains("belongs to user 4242, and others may write its folder"),
            "{failure:?}"
        );
        let asked = File::new(FileSpec { owner: Some("4242".into()), ..open.spec.clone() });
        asked.publish(&delivery('a', 3), soon()).await.unwrap();
    }
}
