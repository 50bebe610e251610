//! The first minutes: `init` writes a configuration that is valid, closed to others, and never in the way of
//! another one; `completions` and `man` know every command.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// False secrets, made up here; none of them may be printed.
const PROVISIONING: &str = "not-a-provisioning-key-0123456789";
const TOKEN: &str = "not-a-github-token-0123456789";
const PASSWORD: &str = "not-a-password-0123456789";

fn rekeyd(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekeyd"));
    command.args(args).env_clear().stdin(Stdio::null()).output().unwrap()
}

fn printed(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// `init` in this folder, with everything that can be said.
fn init(folder: &Path, more: &[&str]) -> Output {
    for (name, secret) in [("p", PROVISIONING), ("t", TOKEN), ("m", PASSWORD)] {
        std::fs::write(folder.join(name), format!("{secret}\n")).unwrap();
    }
    let path = |name: &str| folder.join(name).display().to_string();
    let config = path("etc/rekeyd.toml");
    let (p, t, m) = (path("p"), path("t"), path("m"));
    let mut args = vec!["init", "--yes", "--config", &config, "--provisioning-key-file", &p];
    args.extend(["--github-repository", "acme/app", "--github-token-file", &t]);
    args.extend(["--smtp", "smtp://mailer@mail.example.com:587", "--smtp-password-file", &m]);
    args.extend(["--from", "rekeyd@example.com", "--to", "ops@example.com"]);
    if !more.contains(&"--base-url") {
        // Nobody answers there.
        args.extend(["--base-url", "http://127.0.0.1:1/api/v1"]);
    }
    args.extend(more);
    rekeyd(&args)
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn it_writes_a_valid_configuration_that_others_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let out = init(folder.path(), &[]);
    let said = printed(&out);
    assert!(out.status.success(), "{said}");
    let etc = folder.path().join("etc");
    let key = std::fs::read_to_string(etc.join("credentials/encryption-key")).unwrap();
    for (name, secret) in
        [("openrouter-provisioning-key", PROVISIONING), ("github-token", TOKEN), ("smtp-password", PASSWORD)]
    {
        assert_eq!(std::fs::read_to_string(etc.join("credentials").join(name)).unwrap(), secret);
        assert!(!said.contains(secret), "{name} was printed");
    }
    assert!(!said.contains(&key), "the encryption key was printed");
    for entry in std::fs::read_dir(etc.join("credentials")).unwrap() {
        let path = entry.unwrap().path();
        assert!(matches!(mode(&path), 0o600 | 0o640), "{}: {:o}", path.display(), mode(&path));
    }
    assert!(matches!(mode(&etc.join("credentials")), 0o700 | 0o750));
    assert_eq!(mode(&etc.join("rekeyd.toml")), 0o640);
    let text = std::fs::read_to_string(etc.join("rekeyd.toml")).unwrap();
    for secret in [PROVISIONING, TOKEN, PASSWORD, &key] {
        assert!(!text.contains(secret), "the configuration holds a secret");
    }
    for command in ["rotations adopt production", "rotations plan production", "rotations run production"] {
        assert!(said.contains(command), "{command}: {said}");
    }
    let config = etc.join("rekeyd.toml").display().to_string();
    let check = rekeyd(&["config", "check", "--config", &config]);
    assert!(check.status.success(), "{}", printed(&check));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_regular_key_is_refused_where_the_provisioning_key_belongs() {
    let openrouter = rekeyd::sim::openrouter::OpenRouter::start().await;
    let base = openrouter.base_url();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (config, key) = (path("etc/rekeyd.toml"), path("key"));
    let args = ["init", "--yes", "--config", &config, "--provisioning-key-file", &key, "--base-url", &base];
    std::fs::write(&key, openrouter.new_regular_key("production")).unwrap();
    let refused = rekeyd(&args);
    assert_eq!(refused.status.code(), Some(3), "{}", printed(&refused));
    assert!(printed(&refused).contains("is a regular key"), "{}", printed(&refused));
    assert!(!folder.path().join("etc").exists(), "it left something behind");
    std::fs::write(&key, openrouter.new_provisioning_key()).unwrap();
    let done = rekeyd(&args);
    assert!(done.status.success(), "{}", printed(&done));
    assert!(!printed(&done).contains("could not be proved"), "{}", printed(&done));
}

#[test]
fn it_goes_on_without_the_provider_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let out = init(folder.path(), &[]);
    assert!(out.status.success(), "{}", printed(&out));
    assert!(printed(&out).contains("the provisioning key could not be proved"), "{}", printed(&out));
}

#[test]
fn it_never_writes_over_anything() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("etc/rekeyd.toml");
    let credentials = folder.path().join("etc/credentials");
    assert!(init(folder.path(), &[]).status.success());
    let key = std::fs::read(credentials.join("encryption-key")).unwrap();

    std::fs::write(&config, "# mine\n").unwrap();
    let again = init(folder.path(), &[]);
    assert_eq!(again.status.code(), Some(2), "{}", printed(&again));
    assert!(printed(&again).contains("exists; nothing was changed"));
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "# mine\n");

    // Without a configuration, the credentials that are there are kept.
    std::fs::remove_file(&config).unwrap();
    let kept = init(folder.path(), &[]);
    assert!(kept.status.success(), "{}", printed(&kept));
    assert_eq!(std::fs::read(credentials.join("encryption-key")).unwrap(), key);

    // Another one than the given one is an error, before anything is written.
    std::fs::remove_file(&config).unwrap();
    std::fs::write(credentials.join("github-token"), "another-one").unwrap();
    let other = init(folder.path(), &[]);
    assert_eq!(other.status.code(), Some(2), "{}", printed(&other));
    assert!(!config.exists() && !printed(&other).contains("another-one"));
    assert_eq!(std::fs::read_to_string(credentials.join("github-token")).unwrap(), "another-one");
}

#[test]
fn a_wrong_answer_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for wrong in
        [["--schedule", "at night"], ["--rotation", "Not A Name"], ["--base-url", "http://example.com"]]
    {
        let out = init(folder.path(), &wrong);
        assert_eq!(out.status.code(), Some(2), "{wrong:?}: {}", printed(&out));
        assert!(!folder.path().join("etc").exists(), "{wrong:?} left something behind");
    }
}

#[test]
fn without_answers_it_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("rekeyd.toml").display().to_string();
    let out = rekeyd(&["init", "--yes", "--config", &config, "--json"]);
    assert!(out.status.success(), "{}", printed(&out));
    let done: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let missing = done["missing"].as_array().unwrap();
    assert_eq!(missing.len(), 1, "{done}");
    assert!(missing[0].as_str().unwrap().contains("openrouter-provisioning-key"), "{done}");
}

/// Every command that can be run, from the help texts: `keys add`, `why`, …
fn commands() -> Vec<String> {
    fn below(path: &str, found: &mut Vec<String>) {
        let mut args: Vec<&str> = path.split_whitespace().collect();
        args.push("--help");
        let help = String::from_utf8(rekeyd(&args).stdout).unwrap();
        let Some((_, list)) = help.split_once("Commands:\n") else {
            found.push(path.trim().to_owned());
            return;
        };
        let names = list.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
        for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
            below(&format!("{path} {name}"), found);
        }
    }
    let mut found = Vec::new();
    below("", &mut found);
    assert!(found.len() > 30, "{found:?}");
    found
}

#[test]
fn the_manual_covers_every_command() {
    let page = rekeyd(&["man"]);
    assert!(page.status.success());
    let page = String::from_utf8(page.stdout).unwrap().replace("\\-", "-");
    let folder = tempfile::tempdir().unwrap();
    assert!(rekeyd(&["man", "--out", &folder.path().display().to_string()]).status.success());
    for command in commands() {
        assert!(page.contains(&format!(".SS \"rekeyd {command}\"")), "{command} is not in the manual");
        let file = format!("rekeyd-{}.1", command.replace(' ', "-"));
        assert!(folder.path().join(&file).metadata().is_ok_and(|file| file.len() > 0), "{file} is missing");
    }
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let out = rekeyd(&["completions", shell]);
        assert!(out.status.success());
        let script = String::from_utf8(out.stdout).unwrap();
        for word in commands().iter().flat_map(|command| command.split(' ')) {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
}

#[test]
fn the_first_admin_is_made_and_their_password_is_long_enough() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("a");
    let flags = ["--admin", "Ada@example.com", "--admin-password-file", password.to_str().unwrap()];
    std::fs::write(&password, "too short\n").unwrap();
    let short = init(folder.path(), &flags);
    assert_eq!(short.status.code(), Some(2), "{}", printed(&short));
    assert!(!folder.path().join("etc").exists(), "it left something behind");

    let secret = "not a password of ada";
    std::fs::write(&password, format!("{secret}\n")).unwrap();
    let done = printed(&init(folder.path(), &flags));
    assert!(done.contains("ada@example.com may log in as admin") && !done.contains("users add"), "{done}");
    assert!(!done.contains(secret), "a password was printed");
    let config = folder.path().join("etc/rekeyd.toml").display().to_string();
    let users = rekeyd(&["users", "list", "--json", "--config", &config]);
    let users: serde_json::Value = serde_json::from_slice(&users.stdout).unwrap();
    assert_eq!((&users[0]["role"], &users[0]["has_password"]), (&"admin".into(), &true.into()), "{users}");
}
