//! TLS to a real PostgreSQL server with a certificate of a test authority: to the application's database, and to
//! our own store. The server lets nobody in without TLS, so whatever gets through went through it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::User;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rekeyd::destination::postgres::{Postgres, PostgresSpec};
use rekeyd::destination::{Destination, Ledger, Standing};
use rekeyd::domain::outcome::{Failure, FailureKind};
use rekeyd::domain::secret::Secret;

use sqlx::{Connection, Executor, PgConnection};

use super::{delivery, key, soon, told};
use crate::support::{Db, World};

/// A server of this test alone, for the host `localhost` and no other.
struct Server {
    port: u16,
    ca_file: PathBuf,
    process: std::process::Child,
    folder: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        certify(&path);
        for name in ["", "server.pem", "server.key"] {
            belong_to_server(&path.join(name));
        }
        let data = path.join("data").display().to_string();
        let made = as_server("initdb", &path).args(["-D", &data]).args(INITDB).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        std::fs::write(path.join("data/postgresql.conf"), configuration(&path)).unwrap();
        std::fs::write(path.join("data/pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n").unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = as_server("postgres", &path);
        let process = command.args(["-D", &data, "-p", &port.to_string()]).spawn().unwrap();
        let server = Self { port, ca_file: path.join("ca.pem"), process, folder };
        server.is_up().await;
        server
    }

    async fn is_up(&self) {
        for _ in 0..600 {
            if self
                .destination("", Some(&self.ca_file))
                .entries(soon())
                .await
                .is_err_and(|e| e.kind == FailureKind::NotFound)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{}", std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
    }

    fn url(&self, host: &str, query: &str) -> String {
        format!("postgres://postgres@{host}:{}/postgres{query}", self.port)
    }

    async fn sql(&self, statement: &'static str) {
        let query = format!("?sslrootcert={}&sslmode=verify-full", self.ca_file.display());
        let mut connection = PgConnection::connect(&self.url("localhost", &query)).await.unwrap();
        connection.execute(statement).await.unwrap();
    }

    /// The application's database, by `localhost` with a full check.
    fn destination(&self, query: &str, ca_file: Option<&Path>) -> Postgres {
        let url = self.url("localhost", &format!("?sslmode=verify-full{query}"));
        destination(&url, ca_file).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

const INITDB: [&str; 7] = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"];

fn configuration(path: &Path) -> String {
    let path = path.display();
    format!(
        "listen_addresses = '127.0.0.1'\nunix_socket_directories = '{path}'\nfsync = off\nshared_buffers = 16MB\n\
         ssl = on\nssl_cert_file = '{path}/server.pem'\nssl_key_file = '{path}/server.key'\n"
    )
}

/// PostgreSQL refuses to run as root.
fn server_user() -> Option<User> {
    let root = nix::unistd::geteuid().is_root();
    let user = |name| User::from_name(name).unwrap();
    root.then(|| user("postgres").or_else(|| user("nobody")).expect("a user for the server"))
}

fn belong_to_server(path: &Path) {
    if let Some(user) = server_user() {
        std::os::unix::fs::chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    }
}

/// One of the server's own programs, in `folder`.
fn as_server(program: &str, folder: &Path) -> Command {
    use std::os::unix::process::CommandExt;
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = Command::new(programs().join(program));
    command
        .current_dir(folder)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    if let Some(user) = server_user() {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

/// Where they are: in `PATH`, or where Debian keeps each version's own.
fn programs() -> PathBuf {
    let of_path = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect::<Vec<_>>();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let of_debian = versions.map(|version| version.unwrap().path().join("bin"));
    let found = of_path
        .into_iter()
        .chain(of_debian)
        .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file());
    found.expect("PostgreSQL's programs are missing: run the tests with tests/run.sh")
}

/// An authority (`ca.pem`), another one that nobody asked for (`other.pem`), and the server's certificate.
fn certify(folder: &Path) {
    let authority = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.distinguished_name.push(DnType::CommonName, name);
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (authority.self_signed(&key).unwrap().pem(), Issuer::new(authority, key))
    };
    let ((pem, issuer), (other, _)) = (authority("test"), authority("another"));
    let key = KeyPair::generate().unwrap();
    let leaf =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let write = |name: &str, content: String| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(folder.join(name), content).unwrap();
        std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("ca.pem", format!("# the test's own\n{pem}"));
    write("other.pem", other);
    write("server.pem", leaf.pem());
    write("server.key", key.serialize_pem());
}

fn destination(url: &str, ca_file: Option<&Path>) -> Result<Postgres, Failure> {
    Postgres::new(PostgresSpec {
        name: "app-database".to_owned(),
        url: Secret::new(url),
        provider_name: "openrouter".to_owned(),
        key_number: 1,
        mirror: false,
        ca_file: ca_file.map(Path::to_owned),
    })
}

/// Publish, look and preflight all refuse, say so, and show no key.
async fn distrusted(destination: &Postgres) -> String {
    let secret = key("unsent");
    let delivery = delivery(&secret, 1);
    let mut said = String::new();
    for answer in [
        destination.publish(&delivery, soon()).await.map(drop),
        destination.look(&delivery, &serde_json::Value::Null, soon()).await.map(drop),
        destination.preflight(soon()).await.map(drop),
    ] {
        let failure = answer.unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotSent, "{failure:?}");
        assert!(
            failure.hint.as_deref().is_some_and(|hint| hint.contains("[network] ca_file")),
            "{failure:?}"
        );
        said = told(&failure, &secret);
        assert!(said.contains("did not prove itself"), "{said}");
    }
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_travel_only_to_a_server_that_proves_itself() {
    let server = Server::start().await;
    let ca = server.ca_file.as_path();
    let trusted = server.destination("", Some(ca));
    trusted.migrate(soon()).await.unwrap();
    let secret = key("protected");
    let evidence = trusted.publish(&delivery(&secret, 1), soon()).await.unwrap();
    let look = trusted.look(&delivery(&secret, 1), &evidence, soon()).await.unwrap();
    assert_eq!(look.standing, Standing::Confirmed);
    let seen = trusted.preflight(soon()).await.unwrap();
    assert!(seen[0].text.contains("with TLS, certificate checked"), "{seen:?}");
    let by_url = server.destination(&format!("&sslrootcert={}", ca.display()), None);
    by_url.publish(&delivery(&secret, 1), soon()).await.unwrap();

    let other = server.folder.path().join("other.pem");
    for ca_file in [None, Some(other.as_path())] {
        let said = distrusted(&server.destination("", ca_file)).await;
        assert!(said.contains("UnknownIssuer"), "{ca_file:?}: {said}");
    }
    let elsewhere = destination(&server.url("127.0.0.1", "?sslmode=verify-full"), Some(ca)).unwrap();
    let said = distrusted(&elsewhere).await;
    assert!(said.contains("not valid for name"), "{said}");
    assert_eq!(by_url.entries(soon()).await.unwrap()[0].seq, Some(2), "two writes, and no third");

    let plain = destination(&server.url("localhost", "?sslmode=disable"), Some(ca)).unwrap();
    let failure = plain.preflight(soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unauthorized, "the server insists on TLS: {failure:?}");
    assert!(failure.message.contains("no encryption"), "{failure:?}");
}

/// The host `127.1` is this machine, but not to rekeyd: it stands for a server at the end of a network.
#[tokio::test]
async fn a_far_server_without_tls_is_refused_whatever_the_url_says() {
    let app = super::App::migrated().await;
    let far = app.url.replace("127.0.0.1", "127.1");
    assert_ne!(far, app.url);
    for mode in ["", "?sslmode=prefer", "?sslmode=require", "?sslmode=verify-full"] {
        distrusted(&destination(&format!("{far}{mode}"), None).unwrap()).await;
    }
    for mode in ["disable", "allow"] {
        let failure = destination(&format!("{far}?sslmode={mode}"), None).err().unwrap();
        assert!(failure.message.contains("keys would travel in clear"), "{failure:?}");
    }
    assert_eq!(app.everything().await, None);
    destination(&app.url, None).unwrap().publish(&delivery(&key("near"), 1), soon()).await.unwrap();
}

const ALL: &str = r#"["agent-env", "app-database"]"#;

/// The real binary: its destination and its own store, with the authority of the configuration.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_of_the_configuration_is_for_every_connection() {
    let server = Server::start().await;
    let mut world = World::new(Db::Sqlite).await;
    let url = server.url("localhost", "?sslmode=verify-full");
    world.private("app-url", &url);
    let destination = |ca_file: &Path| {
        format!(
            "[[destinations]]\nname = \"app-database\"\ntype = \"postgres\"\nurl = \"file:{}\"\n[network]\nca_file = {ca_file:?}\n",
            world.path("app-url").display(),
        )
    };
    let (right, wrong) = (destination(&server.ca_file), destination(&server.folder.path().join("other.pem")));
    world.configure_with(&wrong, ALL);
    let out = world.rekeyd(&["destinations", "check", "app-database"]).await;
    assert_eq!(out.status, 1, "{out:?}");
    assert!(out.stdout.contains("did not prove itself"), "{out:?}");
    world.configure_with(&right, ALL);
    world.rekeyd(&["destinations", "check", "app-database", "--migrate"]).await.ok();

    // And the store, in a database of its own.
    server.sql("CREATE DATABASE rekeyd").await;
    let of_store = |host: &str| server.url(host, "?sslmode=verify-full").replace("/postgres?", "/rekeyd?");
    world.database.url = of_store("localhost");
    world.adopt().await;
    let did = world.rekeyd(&["destinations", "publish", "app-database"]).await.ok();
    assert!(did.stdout.contains("proved that it holds the key"), "{did:?}");
    world.configure_with(&wrong, ALL);
    let out = world.rekeyd(&["keys", "list"]).await;
    assert_eq!(out.status, 1, "{out:?}");
    assert!(out.stderr.contains("did not prove itself") && out.stderr.contains("UnknownIssuer"), "{out:?}");
    world.configure_with(&right, ALL);
    world.database.url = of_store("127.0.0.1");
    let out = world.rekeyd(&["keys", "list"]).await;
    assert!(out.status == 1 && out.stderr.contains("not valid for name"), "{out:?}");
    world.database.url =
        std::env::var("REKEYD_TEST_POSTGRES").unwrap().replace("127.0.0.1", "127.1") + "/postgres";
    let out = world.rekeyd(&["keys", "list"]).await;
    assert!(out.status == 1 && out.stderr.contains("must offer TLS"), "{out:?}");
    world.assert_nothing_leaked();
}
