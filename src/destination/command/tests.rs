use std::fs;
use std::os::unix::fs::PermissionsExt;

use tokio::sync::oneshot;

use super::*;
use crate::net::testing::soon;

fn delivery(generation: i64) -> Delivery {
    Delivery {
        secret: Secret::new(format!("sk-or-v1-{}", "0f".repeat(32))),
        rotation: "production".into(),
        generation,
        destination: "deploy-hook".into(),
    }
}

fn shell(script: &str) -> Command {
    command(&["/bin/sh", "-c", script], Span::seconds(30))
}

fn command(words: &[&str], timeout: Span) -> Command {
    let command = words.iter().map(|&word| word.to_owned()).collect();
    Command::new(CommandSpec { command, timeout, show_output: true }).unwrap()
}

async fn failure(command: &Command) -> Failure {
    command.publish(&delivery(3), soon()).await.unwrap_err()
}

#[tokio::test]
async fn the_key_arrives_on_stdin_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let script = format!("cat > {}; /usr/bin/env > {}; pwd > {}", at("key"), at("env"), at("pwd"));
    let hook = shell(&script);
    let evidence = hook.publish(&delivery(3), soon()).await.unwrap();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("key"), delivery(3).secret.expose(), "every byte and no newline");
    let mut names: Vec<String> =
        read("env").lines().map(|line| line.split('=').next().unwrap().to_owned()).collect();
    names.retain(|name| !matches!(name.as_str(), "PWD" | "SHLVL" | "_" | "OLDPWD")); // The shell's own.
    names.sort();
    assert_eq!(names, ["PATH", "REKEYD_DESTINATION", "REKEYD_GENERATION", "REKEYD_ROTATION"]);
    assert!(
        read("env").contains("REKEYD_GENERATION=3\n") && read("env").contains("REKEYD_ROTATION=production\n")
    );
    assert_eq!(read("pwd"), "/\n");
    assert_eq!(evidence, json!({"exit": 0, "generation": 3}));
    let standing = async |generation, evidence: &Value| {
        hook.look(&delivery(generation), evidence, soon()).await.unwrap().standing
    };
    assert_eq!(standing(3, &evidence).await, Standing::Confirmed);
    assert_eq!(standing(4, &evidence).await, Standing::Unprovable);
    assert_eq!(standing(3, &Value::Null).await, Standing::Unprovable);
}

#[tokio::test]
async fn a_failure_shows_its_last_line_without_the_key() {
    let rows = [
        ("cat >&2; exit 3", "/bin/sh ended with status 3: sk-or-v...0f0f"),
        ("cat; exit 1", "/bin/sh ended with status 1: sk-or-v...0f0f"),
        ("cat | base64 -w0; exit 1", "/bin/sh ended with status 1: [redacted]"),
        ("printf x; cat | base64 -w12; exit 1", "/bin/sh ended with status 1: [redacted]"),
        (
            "cat | sed 's/.*/{\"key\":\"&\"}/' | base64 -w0; exit 1",
            "/bin/sh ended with status 1: eyJrZXk[redacted]",
        ),
        ("cat | od -An -v -tx1; exit 1", "/bin/sh ended with status 1: [redacted]"),
        ("cat | tr a-z A-Z; exit 1", "/bin/sh ended with status 1: [redacted]"),
        ("echo one; echo two >&2; echo >&2; exit 2", "/bin/sh ended with status 2: two"),
        ("kill -9 $$", "/bin/sh was ended by signal 9"),
        ("exit 7", "/bin/sh ended with status 7"),
    ];
    for (script, expected) in rows {
        let failure = failure(&shell(script)).await;
        assert_eq!(failure.message, expected, "{script}");
        assert_eq!(failure.kind, FailureKind::Unclear);
    }
}

#[tokio::test]
async fn nothing_of_its_output_is_shown_unless_asked_for() {
    let words = ["/bin/sh", "-c", "echo hunter2 >&2; exit 3"].map(str::to_owned);
    let spec = |show_output| CommandSpec { command: words.to_vec(), timeout: Span::seconds(30), show_output };
    let silent = failure(&Command::new(spec(false)).unwrap()).await;
    assert_eq!(silent.message, "/bin/sh ended with status 3");
    assert!(silent.hint.unwrap().contains("show_output = true"));
    let shown = failure(&Command::new(spec(true)).unwrap()).await;
    assert_eq!(shown.message, "/bin/sh ended with status 3: hunter2");
}

#[tokio::test]
async fn much_output_is_bounded_and_read_to_its_end() {
    let script = "i=0; while [ $i -lt 20000 ]; do echo line-$i-xxxxxxxxxxxxxxxx; i=$((i+1)); done; exit 1";
    assert!(failure(&shell(script)).await.message.ends_with(": line-19999-xxxxxxxxxxxxxxxx"));
    let one_line = "k=$(cat); head -c 4000 /dev/zero | tr '\\0' x; printf '%s' \"$k$k\"; head -c 60 /dev/zero | tr '\\0' x; exit 1";
    let failure = failure(&shell(one_line)).await;
    assert_eq!(failure.message, "/bin/sh ended with status 1", "a line cut inside the key is not shown");
}

/// Whoever holds the fifo open in the script, the reader's end of file is its death. Answers once when the
/// script has said that it is up, once when it is gone. A thread of its own: a test that fails must end.
fn watch(fifo: &std::path::Path) -> (oneshot::Receiver<()>, oneshot::Receiver<()>) {
    use std::io::Read;
    nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (says_up, up) = oneshot::channel();
    let (says_gone, gone) = oneshot::channel();
    let fifo = fifo.to_path_buf();
    std::thread::spawn(move || {
        let mut pipe = fs::File::open(fifo).unwrap();
        pipe.read_exact(&mut [0; 3]).unwrap();
        says_up.send(()).ok();
        pipe.read_to_end(&mut Vec::new()).unwrap();
        says_gone.send(()).ok();
    });
    (up, gone)
}

#[tokio::test]
async fn when_time_is_up_the_whole_group_ends() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    let (up, gone) = watch(&fifo);
    // A grandchild that ignores SIGTERM.
    let script = format!("(trap '' TERM; exec 3>{}; echo up >&3; sleep 30; sleep 30) & wait", fifo.display());
    let hook = command(&["/bin/sh", "-c", &script], Span::seconds(2));
    let failure = failure(&hook).await;
    assert_eq!(failure.message, "/bin/sh did not end in time");
    assert_eq!(failure.kind, FailureKind::Unclear);
    up.await.unwrap();
    timeout(Duration::from_mins(1), gone).await.expect("the grandchild lives").unwrap();
}

#[tokio::test]
async fn when_nobody_waits_the_group_ends() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    let (up, gone) = watch(&fifo);
    let hook = shell(&format!("(exec 3>{}; echo up >&3; sleep 30) & wait", fifo.display()));
    let publishing = tokio::spawn(async move { hook.publish(&delivery(3), soon()).await });
    up.await.unwrap();
    publishing.abort();
    timeout(Duration::from_mins(1), gone).await.expect("the grandchild lives").unwrap();
}

#[tokio::test]
async fn a_child_left_behind_does_not_hold_up_a_success() {
    let hook = shell("sleep 15 & echo $!");
    let began = soon();
    hook.publish(&delivery(3), began).await.unwrap();
    assert!(!began.passed());
}

#[tokio::test]
async fn programs_that_do_not_read_are_fine() {
    shell("exec 0<&-; exit 0").publish(&delivery(3), soon()).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_started_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    fs::write(&plain, "echo").unwrap();
    let script = folder.path().join("script");
    fs::write(&script, "\x7fELF no").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let rows = [
        ("/nonexistent/push-key".to_owned(), "there is no such program"),
        ("rekeyd-no-such-program".to_owned(), "there is no such program"),
        (plain.display().to_string(), "not executable"),
    ];
    for (program, said) in rows {
        let hook = command(&[&program], Span::seconds(5));
        for failure in [failure(&hook).await, hook.preflight(soon()).await.unwrap_err()] {
            assert_eq!(failure.kind, FailureKind::NotSent, "{failure:?}");
            assert!(failure.message.contains(said) && failure.hint.is_some(), "{failure:?}");
        }
    }
    let hook = command(&[&script.display().to_string()], Span::seconds(5));
    assert!(failure(&hook).await.hint.unwrap().contains("#!/bin/sh"));
    assert!(
        Command::new(CommandSpec { command: vec![], timeout: Span::seconds(5), show_output: false }).is_err()
    );
    let late = Deadline::after(Duration::ZERO);
    let failure = shell("exit 0").publish(&delivery(3), late).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotSent);
    assert!(
        command(&["sh"], Span::seconds(5)).preflight(soon()).await.unwrap()[0]
            .text
            .contains("/sh is executable")
    );
}

#[test]
fn address_and_plan_show_the_line() {
    let hook = command(&["/usr/local/bin/push-key", "--to", "a b"], Span::seconds(60));
    assert_eq!(hook.address(), "command:/usr/local/bin/push-key --to 'a b'");
    assert_eq!(hook.plan()[0].call, "/usr/local/bin/push-key --to 'a b'");
    assert_eq!(hook.patience(), Some(Span::seconds(60)));
}
