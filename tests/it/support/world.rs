//! Simulated vendors, a database, a configuration and the real binary, all of one test's own.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rekeyd::crypto::{KeyNames, Purpose, Ring, Use};
use rekeyd::domain::actor::Actor;
use rekeyd::domain::secret::Secret;
use rekeyd::domain::time::Timestamp;
use rekeyd::sim::fault::Script;
use rekeyd::sim::github::{GitHub, Permissions, Scope};
use rekeyd::sim::openrouter::{KeyRow, OpenRouter};
use rekeyd::store::Store;
use serde_json::Value;
use tokio::process::{Child, Command};

use super::{Database, Db};

/// Name of the secret and variable everywhere.
pub const SECRET: &str = "OPENROUTER_API_KEY";
pub const REPOSITORY: &str = "acme/app";

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Out {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Out {
    /// Its data, when it was run with `--json`.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails the test unless the command ended well.
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 0, "{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// The world.
pub struct World {
    pub folder: tempfile::TempDir,
    pub script: Script,
    pub openrouter: OpenRouter,
    pub github: GitHub,
    /// The key that production uses before rekeyd comes.
    pub first: String,
    pub provisioning: String,
    pub github_token: String,
    pub database: Database,
    pub encryption_key: String,
    /// Everything that any command printed.
    printed: std::sync::Mutex<String>,
    /// Waiting times of the policy.
    pub waits: Waits,
}

/// Waiting times of the policy; short for tests.
#[derive(Debug, Clone)]
pub struct Waits {
    pub grace: &'static str,
    pub quiet: &'static str,
    pub observe: &'static str,
    pub settle: &'static str,
    pub propagation: &'static str,
    pub confirm_after: &'static str,
    /// Cron of the scheduled tests.
    pub tests: &'static str,
    pub lease: &'static str,
    pub call_timeout: &'static str,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            grace: "1s",
            quiet: "1s",
            observe: "1s",
            settle: "1s",
            propagation: "4s",
            confirm_after: "1s",
            // Nothing is due by itself while a test runs.
            tests: "0 0 0 1 1 *",
            lease: "6s",
            call_timeout: "3s",
        }
    }
}

impl World {
    /// A world in which production uses `first`, and rekeyd was never started.
    pub async fn new(db: Db) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = Script::default();
        let openrouter = OpenRouter::start_with(script.clone()).await;
        let github = GitHub::start_with(script.clone()).await;
        github.add_repo(REPOSITORY);
        let first = openrouter.new_regular_key("production");
        let provisioning = openrouter.new_provisioning_key();
        let github_token = github.new_token(Permissions::secrets_write());
        let database = Database::new(db, folder.path()).await;
        let world = Self {
            folder,
            script,
            openrouter,
            github,
            first,
            provisioning,
            github_token,
            database,
            encryption_key: rekeyd::crypto::fernet::generate_key().expose().to_owned(),
            printed: std::sync::Mutex::default(),
            waits: Waits::default(),
        };
        world.private("provisioning-key", &world.provisioning);
        world.private("github-token", &world.github_token);
        world.private("agent.env", &format!("OTHER=1\n{SECRET}={}\n", world.first));
        // A person put it there a while ago.
        world.github.set_clock_offset(-60);
        world.github.set_secret_by_hand(&Scope::repo(REPOSITORY), SECRET, &world.first);
        world.github.set_clock_offset(0);
        world.configure();
        world
    }

    /// A file that only its owner may read.
    pub fn private(&self, name: &str, content: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration for one rotation to a GitHub secret and a file.
    pub fn configure(&self) {
        self.configure_with("", r#"["github-production", "agent-env"]"#);
    }

    /// The same with more text, and other destinations of the rotation.
    pub fn configure_with(&self, more: &str, destinations: &str) {
        let Waits { grace, quiet, observe, settle, propagation, confirm_after, tests, lease, call_timeout } =
            &self.waits;
        let text = format!(
            r#"
[server]
listen = "127.0.0.1:0"
[database]
url = "env:REKEYD_DATABASE_URL"
[encryption]
keys = "env:BYOK_ENCRYPTION_KEY"
[engine]
lease = "{lease}"
call_timeout = "{call_timeout}"
[tests]
confirm_after = "{confirm_after}"
schedule = "{tests}"
[log]
format = "text"
filter = "rekeyd=debug"
[[accounts]]
name = "main"
provider = "openrouter"
provisioning_key = "file:{folder}/provisioning-key"
base_url = "{openrouter}"
max_deletes_per_hour = 100
[[rotations]]
name = "production"
account = "main"
every = "30d"
destinations = {destinations}
grace = "{grace}"
quiet = "{quiet}"
observe = "{observe}"
settle = "{settle}"
propagation = "{propagation}"
[[destinations]]
name = "github-production"
type = "github"
repository = "{REPOSITORY}"
secret = "{SECRET}"
token = "file:{folder}/github-token"
api_url = "{github}"
[[destinations]]
name = "agent-env"
type = "file"
path = "{folder}/agent.env"
format = "env"
variable = "{SECRET}"
{more}
"#,
            folder = self.folder.path().display(),
            openrouter = self.openrouter.base_url(),
            github = self.github.api_url(),
        );
        std::fs::write(self.path("rekeyd.toml"), text).unwrap();
    }

    /// An engine in this process with this world's configuration and another clock.
    pub async fn engine(&self, clock: std::sync::Arc<dyn rekeyd::clock::Clock>) -> rekeyd::engine::Engine {
        let mut text = std::fs::read_to_string(self.path("rekeyd.toml")).unwrap();
        for (variable, value) in
            [("REKEYD_DATABASE_URL", &self.database.url), ("BYOK_ENCRYPTION_KEY", &self.encryption_key)]
        {
            let file = self.private(variable, value);
            text = text.replace(&format!("env:{variable}"), &format!("file:{}", file.display()));
        }
        let path = self.private("in-process.toml", &text);
        let loaded = rekeyd::config::load(Some(&path)).unwrap();
        rekeyd::app::engine_with(&loaded.settings, Actor::cli("test"), clock).await.unwrap()
    }

    /// The real binary with this world's configuration.
    pub fn command(&self, args: &[&str]) -> Command {
        // `tests/defences.py` runs the tests on a program without one of its defences.
        let program = std::env::var_os("REKEYD_UNDER_TEST");
        let mut command = Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_rekeyd").into()));
        command
            .args(args)
            .env_clear()
            .env("REKEYD_CONFIG", self.path("rekeyd.toml"))
            .env("REKEYD_DATABASE_URL", &self.database.url)
            .env("BYOK_ENCRYPTION_KEY", &self.encryption_key)
            .env("USER", "tester")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    pub async fn rekeyd(&self, args: &[&str]) -> Out {
        self.rekeyd_with(args, "").await
    }

    /// The same with something on stdin.
    pub async fn rekeyd_with(&self, args: &[&str], stdin: &str) -> Out {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        feed(&mut child, stdin).await;
        let limit = Duration::from_mins(2);
        let done = tokio::time::timeout(limit, child.wait_with_output()).await;
        let done = done.unwrap_or_else(|_| panic!("{args:?} did not end within {limit:?}")).unwrap();
        let out = Out {
            status: done.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
        };
        self.note(&out.stdout);
        self.note(&out.stderr);
        out
    }

    /// Keeps what was printed, for [`World::assert_nothing_leaked`].
    pub fn note(&self, text: &str) {
        self.printed.lock().unwrap().push_str(text);
    }

    /// The same binary with another encryption key.
    pub async fn rekeyd_with_key(&self, args: &[&str], encryption_key: &str) -> Out {
        let done = self.command(args).env("BYOK_ENCRYPTION_KEY", encryption_key).output();
        let done = tokio::time::timeout(Duration::from_mins(2), done).await.expect("it ends").unwrap();
        Out {
            status: done.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
        }
    }

    /// Hash of the key that production used first.
    pub fn first_hash(&self) -> String {
        Secret::new(self.first.clone()).sha256_hex()
    }

    /// The encryption key that every command is given.
    pub fn ring(&self) -> Ring {
        Ring::parse(&Secret::new(self.encryption_key.clone())).unwrap()
    }

    /// A token as this world's database would hold it.
    pub fn seal(&self, purpose: &Purpose<'_>, text: &str) -> String {
        let ring = self.ring();
        ring.seal(ring.first(), purpose, &Secret::new(text)).unwrap().token
    }

    /// Reads the encryption keys from a file from now on; it has this world's key.
    pub fn keep_encryption_keys_in_a_file(&self) {
        self.encryption_keys(&[&self.encryption_key]);
        let text = std::fs::read_to_string(self.path("rekeyd.toml")).unwrap();
        let file = format!("file:{}", self.path("encryption-keys").display());
        std::fs::write(self.path("rekeyd.toml"), text.replace("env:BYOK_ENCRYPTION_KEY", &file)).unwrap();
    }

    /// Changes that file.
    pub fn encryption_keys(&self, keys: &[&str]) {
        self.private("encryption-keys", &keys.join(","));
    }

    /// The name that this world's database would give to a generation: nobody else can.
    pub async fn name_of(&self, rotation: &str, generation: i64) -> String {
        let store = Store::open(&self.database.url, 2).await.unwrap();
        let fact = async |name| store.fact(name).await.unwrap().unwrap();
        let purpose = Purpose::of(Use::Fact, "sealed:fingerprints");
        let root = self.ring().open(&fact("sealed:fingerprints").await, &purpose).unwrap();
        let names = KeyNames::new(&fact("instance").await, &root, Timestamp(0));
        names.of_generation(rotation, generation, "0123456789abcdef")
    }

    /// Starts the daemon; its log goes to `serve.log`.
    pub fn serve(&self) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("serve.log")).unwrap();
        self.command(&["serve"]).stderr(Stdio::from(log)).spawn().unwrap()
    }

    /// Adopts the key that production uses.
    pub async fn adopt(&self) {
        self.rekeyd_with(&["rotations", "adopt", "production", "--secret-stdin"], &self.first).await.ok();
    }

    /// The rotation as `rotations show --json` says.
    pub async fn rotation(&self) -> Value {
        self.rekeyd(&["rotations", "show", "production", "--json"]).await.ok().json()
    }

    /// The newest run as `runs show --json` says.
    pub async fn newest_run(&self) -> Value {
        let runs = self.rekeyd(&["runs", "list", "--json"]).await.ok().json();
        let id = runs[0]["id"].as_str().unwrap_or_else(|| panic!("no run: {runs}")).to_owned();
        self.rekeyd(&["runs", "show", &id, "--json"]).await.ok().json()
    }

    /// Keys that live at the provider.
    pub fn living(&self) -> Vec<KeyRow> {
        self.openrouter.keys().into_iter().filter(|key| !key.deleted && !key.disabled).collect()
    }

    /// What GitHub's workflows would read.
    pub fn at_github(&self) -> Option<String> {
        self.github.secret_value(&Scope::repo(REPOSITORY), SECRET)
    }

    /// What the agent's file says.
    pub fn in_file(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.path("agent.env")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{SECRET}=")).map(str::to_owned));
        line.map(|value| value.trim_matches(['"', '\'']).to_owned())
    }

    /// I1: what the destinations hold works, now.
    pub fn assert_destinations_work(&self, when: &str) {
        for (place, value) in [("github", self.at_github()), ("file", self.in_file())] {
            let value = value.unwrap_or_else(|| panic!("{when}: {place} holds nothing"));
            let hash = Secret::new(value).sha256_hex();
            let key = self.openrouter.key_by_hash(&hash);
            let key = key.unwrap_or_else(|| panic!("{when}: {place} holds an unknown key"));
            assert!(!key.deleted && !key.disabled, "{when}: {place} holds a dead key ({})", key.name);
        }
    }

    /// I11: no secret that the simulators ever issued is in the database file, in any output, or in a log.
    pub fn assert_nothing_leaked(&self) {
        let mut secrets = self.openrouter.issued_secrets();
        secrets.extend(self.github.issued_tokens());
        secrets.push(self.encryption_key.clone());
        let printed = self.printed.lock().unwrap().clone();
        let mut places = vec![("what commands printed".to_owned(), printed.into_bytes())];
        for name in ["rekeyd.db", "rekeyd.db-wal", "serve.log"] {
            places.extend(std::fs::read(self.path(name)).ok().map(|bytes| (name.to_owned(), bytes)));
        }
        for (place, bytes) in &places {
            // Secrets are ASCII, and as text they are found at once even in megabytes.
            let text = String::from_utf8_lossy(bytes);
            for secret in &secrets {
                assert!(!text.contains(secret), "{place} holds a secret in clear");
            }
        }
    }
}

async fn feed(child: &mut Child, text: &str) {
    use tokio::io::AsyncWriteExt;
    let mut stdin = child.stdin.take().unwrap();
    // The command may have ended already without reading.
    drop(stdin.write_all(text.as_bytes()).await);
}
