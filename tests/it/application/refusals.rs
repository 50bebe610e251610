//! What is missing, said with the statement that gives it; and servers that are away.

use rekeyd::destination::{Destination, Ledger};
use rekeyd::domain::outcome::{Failure, FailureKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{App, delivery, destination, key, publish, soon, told};

/// Every right that a publish needs; `ROLE` is who gets it.
const RIGHTS: [&str; 8] = [
    "GRANT SELECT ON TABLE public.providers TO ROLE",
    "GRANT INSERT ON TABLE public.providers TO ROLE",
    "GRANT SELECT ON TABLE public.provider_api_keys TO ROLE",
    "GRANT INSERT ON TABLE public.provider_api_keys TO ROLE",
    "GRANT UPDATE ON TABLE public.provider_api_keys TO ROLE",
    "GRANT USAGE ON SEQUENCE public.provider_api_keys_id_seq TO ROLE",
    "CREATE POLICY rekeyd ON public.providers FOR ALL TO ROLE USING (true) WITH CHECK (true)",
    "CREATE POLICY rekeyd ON public.provider_api_keys FOR ALL TO ROLE USING (true) WITH CHECK (true)",
];

#[tokio::test]
async fn each_missing_right_is_named_with_the_statement_that_gives_it() {
    for missing in RIGHTS {
        let app = App::migrated().await;
        let mut given: Vec<&str> = RIGHTS.iter().copied().filter(|right| *right != missing).collect();
        given.push("GRANT USAGE ON SEQUENCE public.providers_id_seq TO ROLE");
        let (role, url) = app.login(&given.join(";")).await;
        let statement = missing.replace("ROLE", &role);
        let failure = destination(&url).preflight(soon()).await.expect_err(missing);
        assert_eq!(failure.kind, FailureKind::Forbidden, "{failure:?}");
        assert_eq!(failure.hint, Some(format!("as the owner of the tables: {statement};")));
        let secret = key("limited");
        if let Err(failure) = destination(&url).publish(&delivery(&secret, 1), soon()).await {
            assert!(told(&failure, &secret).contains(&statement), "{failure:?}");
            assert_eq!(app.everything().await, None, "{missing}");
        }
        app.sql(&statement).await;
        destination(&url).preflight(soon()).await.unwrap();
        let evidence = destination(&url).publish(&delivery(&secret, 2), soon()).await.unwrap();
        let look = destination(&url).look(&delivery(&secret, 2), &evidence, soon()).await.unwrap();
        assert_eq!(look.standing, rekeyd::destination::Standing::Confirmed, "{missing}");
    }
}

#[tokio::test]
async fn all_missing_rights_are_named_at_once() {
    let app = App::migrated().await;
    app.sql("REVOKE USAGE ON SCHEMA public FROM PUBLIC").await;
    let (role, url) = app.login("").await;
    let failure = destination(&url).preflight(soon()).await.unwrap_err();
    let hint = failure.hint.unwrap();
    assert!(hint.contains(&format!("GRANT USAGE ON SCHEMA public TO {role};")), "{hint}");
    app.sql(hint.strip_prefix("as the owner of the tables: ").unwrap()).await;
    destination(&url).preflight(soon()).await.unwrap();
    destination(&url).publish(&delivery(&key("granted"), 1), soon()).await.unwrap();
}

#[tokio::test]
async fn only_the_owner_can_migrate_and_others_are_told_how() {
    let app = App::migrated().await;
    let (role, url) = app.login("").await;
    let failure = destination(&url).migrate(soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Forbidden, "{failure:?}");
    let hint = failure.hint.unwrap();
    assert!(hint.contains(&format!("OWNER TO {role}")), "{hint}");
    let empty = App::new().await;
    let (role, url) = empty.login("").await;
    let failure = destination(&url).migrate(soon()).await.unwrap_err();
    assert_eq!(failure.hint, Some(format!("GRANT USAGE, CREATE ON SCHEMA public TO {role}")), "{failure}");
    empty.sql(&failure.hint.unwrap()).await;
    destination(&url).migrate(soon()).await.unwrap();
    destination(&url).publish(&delivery(&key("owner"), 1), soon()).await.unwrap();
}

/// What preflight, publish and look all say.
async fn refused(url: &str, kind: FailureKind) -> Failure {
    let (destination, secret) = (destination(url), key("away"));
    let delivery = delivery(&secret, 1);
    let answers = [
        destination.preflight(soon()).await.map(drop),
        destination.publish(&delivery, soon()).await.map(drop),
        destination.look(&delivery, &serde_json::Value::Null, soon()).await.map(drop),
    ];
    for answer in &answers {
        let failure = answer.as_ref().expect_err(url);
        assert_eq!(failure.kind, kind, "{failure:?}");
        assert!(failure.hint.is_some(), "{failure:?}");
        assert!(!told(failure, &secret).contains("hunter2"), "{failure:?}");
    }
    answers[1].clone().unwrap_err()
}

#[tokio::test]
async fn a_database_without_the_tables_names_the_command() {
    let app = App::new().await;
    let failure = refused(&app.url, FailureKind::NotFound).await;
    assert_eq!(failure.hint.as_deref(), Some("rekeyd destinations check app-database --migrate"));
    let app = App::migrated().await;
    app.sql("ALTER TABLE provider_api_keys DROP COLUMN publish_seq").await;
    let failure = app.destination().preflight(soon()).await.unwrap_err();
    assert!(failure.message.contains("provider_api_keys.publish_seq"), "{failure}");
}

#[tokio::test]
async fn servers_that_are_away_are_told_apart() {
    let app = App::migrated().await;
    let closed = {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        format!("postgres://u:hunter2@127.0.0.1:{port}/x")
    };
    assert!(refused(&closed, FailureKind::NotSent).await.message.contains("cannot be reached"));
    let none = app.url.rsplit_once('/').unwrap().0.to_owned() + "/no_such_database";
    assert!(refused(&none, FailureKind::Refused).await.message.contains("no such database"));
    let (role, url) = app.login("").await;
    app.sql(&format!("ALTER ROLE {role} NOLOGIN")).await;
    let failure = refused(&url, FailureKind::Unauthorized).await;
    assert!(failure.hint.unwrap().contains(&format!("ALTER ROLE {role} LOGIN")));
    let plain = format!("{}?sslmode=verify-full", app.url);
    let failure = refused(&plain, FailureKind::NotSent).await;
    assert!(failure.message.contains("did not prove itself"), "TLS was asked for and refused: {failure}");
}

#[tokio::test]
async fn a_read_only_database_takes_nothing_and_says_so() {
    let app = App::migrated().await;
    let name = app.url.rsplit_once('/').unwrap().1.to_owned();
    app.sql(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    let secret = key("frozen");
    for failure in [
        app.destination().preflight(soon()).await.unwrap_err(),
        app.destination().publish(&delivery(&secret, 1), soon()).await.unwrap_err(),
    ] {
        assert_eq!(failure.kind, FailureKind::NotSent, "a full disk is mended without us: {failure:?}");
        assert!(told(&failure, &secret).contains("read-only"), "{failure:?}");
    }
    app.sql(&format!("SET TRANSACTION READ WRITE; ALTER DATABASE {name} RESET ALL")).await;
    publish(&app, &secret, 1).await;
}

#[tokio::test]
async fn a_server_that_logs_what_is_written_is_warned_of() {
    let app = App::migrated().await;
    let name = app.url.rsplit_once('/').unwrap().1.to_owned();
    let warned = async || app.destination().survey(soon()).await.unwrap().warnings;
    assert_eq!(warned().await, Vec::<String>::new());
    app.sql(&format!("ALTER DATABASE {name} SET log_statement = 'mod'")).await;
    assert!(warned().await[0].starts_with("log_statement writes keys into the server's log"));
    let calls = app.destination().survey(soon()).await.unwrap().calls;
    assert!(calls[0].effect.ends_with("there is no row openrouter/1 yet"), "{calls:?}");
}

/// What the server may say to a statement, made to say so by a trigger; `AT` is when.
const SAYS: &str = "
    CREATE FUNCTION says() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION USING ERRCODE = ''SAID'', MESSAGE = ''no '' || NEW.api_key; END';
    CREATE CONSTRAINT TRIGGER says AFTER INSERT OR UPDATE ON provider_api_keys AT FOR EACH ROW EXECUTE FUNCTION says()";
const AT_ONCE: &str = "NOT DEFERRABLE";
const AT_COMMIT: &str = "DEFERRABLE INITIALLY DEFERRED";

#[tokio::test]
async fn every_answer_of_the_server_proves_what_it_proves() {
    use FailureKind::{Forbidden, NotFound, NotSent, Refused, Unclear};
    let rows = [
        ("25006", AT_ONCE, NotSent, "read-only", "name the primary's address"),
        ("55P03", AT_ONCE, NotSent, "holds a lock", "pg_stat_activity"),
        ("57014", AT_ONCE, NotSent, "before the deadline", ""),
        ("25P03", AT_ONCE, NotSent, "before the deadline", ""),
        ("40001", AT_ONCE, NotSent, "gave way", ""),
        ("40P01", AT_COMMIT, NotSent, "gave way", ""),
        ("53300", AT_ONCE, NotSent, "no free connection", "raise max_connections"),
        ("53100", AT_ONCE, NotSent, "disk is full", "free some space"),
        ("53100", AT_COMMIT, NotSent, "disk is full", "free some space"),
        ("08006", AT_ONCE, NotSent, "went away", ""),
        ("57P01", AT_ONCE, NotSent, "went away", ""),
        ("57P01", AT_COMMIT, Unclear, "went away", ""),
        ("42501", AT_ONCE, Forbidden, "no not-a-", "restrictive policy or a trigger"),
        ("42P01", AT_ONCE, NotFound, "tables are not there", "check app-database --migrate"),
        ("42703", AT_ONCE, NotFound, "tables are not there", "check app-database --migrate"),
        ("23502", AT_ONCE, Refused, "must be given a value", "DROP NOT NULL"),
        ("23505", AT_ONCE, Refused, "the database refused", ""),
        ("P0001", AT_COMMIT, Refused, "the database refused", ""),
    ];
    for (code, at, kind, said, hint) in rows {
        let app = App::migrated().await;
        app.sql(&SAYS.replace("SAID", code).replace("AT FOR", &format!("{at} FOR"))).await;
        let secret = key("refused");
        let failure = app.destination().publish(&delivery(&secret, 1), soon()).await.unwrap_err();
        let row = told(&failure, &secret);
        assert_eq!(failure.kind, kind, "{code}: {row}");
        assert!(failure.message.contains(said), "{code}: {row}");
        assert_eq!(failure.hint.is_some(), !hint.is_empty(), "{code}: {row}");
        assert!(failure.hint.unwrap_or_default().contains(hint), "{code}: {row}");
        assert_eq!(app.everything().await, None, "{code}");
    }
}

#[tokio::test]
async fn a_restrictive_policy_is_not_taken_for_a_missing_right() {
    let app = App::migrated().await;
    let (role, url) = app.login(&RIGHTS.join(";")).await;
    app.sql(&format!(
        "GRANT USAGE ON SEQUENCE public.providers_id_seq TO {role};
         CREATE POLICY strict ON provider_api_keys AS RESTRICTIVE FOR INSERT TO {role} WITH CHECK (false)"
    ))
    .await;
    let secret = key("policed");
    let failure = destination(&url).publish(&delivery(&secret, 1), soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Forbidden, "{failure:?}");
    assert!(told(&failure, &secret).contains("violates row-level security policy"), "{failure:?}");
    assert!(failure.hint.unwrap().contains("look for a restrictive policy"));
}

/// A server that asks for the password, and then says this; one connection after another.
async fn gatekeeper(answer: &'static [u8]) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            // SSLRequest: no. Startup: a password, please. Password: the answer.
            for reply in [b"N".as_slice(), b"R\0\0\0\x08\0\0\0\x03", answer] {
                if stream.read(&mut buffer).await.unwrap_or(0) == 0 {
                    break;
                }
                stream.write_all(reply).await.ok();
            }
        }
    });
    format!("postgres://app:hunter2@127.0.0.1:{port}/x")
}

#[tokio::test]
async fn a_wrong_password_is_not_repeated() {
    let answer =
        b"E\0\0\0\x4eSFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user \"app\": hunter2\0\0";
    let mut whole = answer.to_vec();
    whole[4] = u8::try_from(answer.len() - 1).unwrap();
    let url = gatekeeper(Box::leak(whole.into_boxed_slice())).await;
    let failure = refused(&url, FailureKind::Unauthorized).await;
    assert!(failure.message.contains("password of role app"), "{failure}");
}

const CERTIFICATE: &str = "
import datetime, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 'localhost')])
now = datetime.datetime.now(datetime.timezone.utc)
day = datetime.timedelta(days=1)
cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    .serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)
    .add_extension(x509.SubjectAlternativeName([x509.DNSName('localhost')]), False).sign(key, hashes.SHA256()))
print(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption()).decode() + cert.public_bytes(serialization.Encoding.PEM).decode())
";

/// A PostgreSQL server for `localhost` that nobody vouches for. It lets nobody in; answers its port.
fn self_signed(pem: &str) -> u16 {
    use rustls::pki_types::pem::PemObject;
    let certificate = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = std::sync::Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(std::sync::Arc::clone(&config)).unwrap();
            refuse_inside_tls(stream.unwrap(), connection).ok();
        }
    });
    port
}

fn refuse_inside_tls(
    mut socket: std::net::TcpStream,
    connection: rustls::ServerConnection,
) -> std::io::Result<()> {
    use std::io::{Read, Write};
    let mut request = [0; 8];
    socket.read_exact(&mut request)?;
    socket.write_all(b"S")?;
    let mut stream = rustls::StreamOwned::new(connection, socket);
    let mut startup = [0; 1024];
    if stream.read(&mut startup)? > 0 {
        stream.write_all(b"E\0\0\0\x20SFATAL\0C28P01\0Mnot welcome\0\0")?;
    }
    stream.flush()
}

#[tokio::test]
async fn a_server_must_prove_itself_with_a_certificate() {
    let made = tokio::process::Command::new("python3").args(["-c", CERTIFICATE]).output().await.unwrap();
    let pem = String::from_utf8(made.stdout).unwrap();
    let port = self_signed(&pem);
    let url = format!("postgres://app:hunter2@localhost:{port}/x?sslmode=verify-full");
    let failure = refused(&url, FailureKind::NotSent).await;
    assert!(failure.message.contains("did not prove itself"), "{failure:?}");
    assert!(failure.hint.unwrap().contains("ca_file"));
    let authority = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(authority.path(), &pem[pem.find("-----BEGIN CERT").unwrap()..]).unwrap();
    let spec = |url: String| rekeyd::destination::postgres::PostgresSpec {
        name: "app-database".to_owned(),
        url: rekeyd::domain::secret::Secret::new(url),
        provider_name: "openrouter".to_owned(),
        key_number: 1,
        mirror: false,
        ca_file: Some(authority.path().to_owned()),
    };
    let trusted = rekeyd::destination::postgres::Postgres::new(spec(url.clone())).unwrap();
    let failure = trusted.preflight(soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unauthorized, "with its authority it is spoken with: {failure:?}");
    let other = rekeyd::destination::postgres::Postgres::new(spec(url.replace("localhost", "127.0.0.1")));
    let failure = other.unwrap().preflight(soon()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotSent, "another name than the certificate's: {failure:?}");
}

#[tokio::test]
async fn a_silent_server_ends_at_the_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://app@127.0.0.1:{}/x", listener.local_addr().unwrap().port());
    let deadline = rekeyd::net::Deadline::after(std::time::Duration::from_millis(300));
    let failure = destination(&url).publish(&delivery(&key("silent"), 1), deadline).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotSent, "{failure:?}");
    drop(listener);
}
