//! A connection to the mail server, up to the login; and what may be wrong with it, in words.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls_platform_verifier::Verifier;
use tokio::net::{TcpStream, lookup_host};

use super::{Protection, SmtpError, SmtpSpec, starttls};

/// Time for one TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How to come to the server.
pub(super) struct Way {
    host: String,
    port: u16,
    hello: String,
    protection: Cover,
    login: Option<Credentials>,
}

enum Cover {
    Starttls(Arc<ClientConfig>),
    Implicit(TlsParameters),
    Plain,
}

/// Why there is no connection that mails can go over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("the connection failed: {0}")]
    Io(io::Error),
    #[error("no connection within {} s: is host and port right, and does a firewall let us out?", CONNECT_TIMEOUT.as_secs())]
    Silent,
    #[error("what answers there is no mail server: is the port right?")]
    NotSmtp,
    #[error("it does not want to talk to us: {0}")]
    Greeting(String),
    #[error("it refuses our name in EHLO ({0}): give this machine a host name that it accepts (hostnamectl)")]
    Hello(String),
    #[error(
        "it offers no STARTTLS on this port, and mails do not travel unprotected: write smtps:// with the port of its TLS, \
         usually 465"
    )]
    NoStarttls,
    #[error("it refuses STARTTLS: {0}")]
    Starttls(String),
    #[error(
        "it sent more than its answer to STARTTLS: somebody in between may be putting words into its mouth, so nothing is sent"
    )]
    Injected,
    #[error("its name is none that a certificate could be for")]
    Name,
    #[error("{}", tls_words(.0))]
    Tls(io::Error),
    #[error(
        "it offers no login that rekeyd knows (PLAIN, LOGIN): leave user and password away if it needs none, or use a port \
         that offers one, usually 587 or 465"
    )]
    NoLogin,
    /// Before any mail was spoken of.
    #[error(transparent)]
    Entry(Error),
    /// About the mail.
    #[error(transparent)]
    Smtp(Error),
}

/// What the handshake failed on, with the next move.
fn tls_words(error: &io::Error) -> String {
    let text = error.to_string();
    let hint = if text.contains("InvalidContentType") || text.contains("InvalidMessage") {
        "this port speaks no TLS from the first byte: write smtp:// to use STARTTLS, usually with port 587"
    } else if text.contains("UnknownIssuer") {
        "its certificate is of an authority that this machine does not know: name its file in [network] ca_file"
    } else if text.contains("not valid for name") {
        "its certificate is for another name: write the host as it stands in the certificate"
    } else if text.contains("expired") || text.contains("not valid yet") {
        "its certificate is of another time: renew it, or set this machine's clock"
    } else {
        return format!("the TLS handshake failed: {text}");
    };
    format!("the TLS handshake failed: {text}; {hint}")
}

impl Way {
    pub(super) fn new(spec: &SmtpSpec, hello: String) -> Result<Self, SmtpError> {
        let login = spec.login.as_ref();
        Ok(Self {
            host: spec.host.clone(),
            port: spec.port,
            hello,
            protection: Cover::new(spec)?,
            login: login.map(|(user, password)| Credentials::new(user.clone(), password.expose().to_owned())),
        })
    }

    /// Connects, protects the connection as asked, and logs in.
    pub(super) async fn connect(&self) -> Result<AsyncSmtpConnection, Trouble> {
        let hello = ClientId::Domain(self.hello.clone());
        let address = (self.host.as_str(), self.port);
        let mut connection = match &self.protection {
            Cover::Starttls(config) => {
                let stream = self.reach().await?;
                let stream =
                    starttls::open(stream, &self.host, &hello.to_string(), Arc::clone(config)).await?;
                AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello)
                    .await
                    .map_err(Trouble::Smtp)?
            }
            protection => {
                let tls = protection.implicit();
                let connected =
                    AsyncSmtpConnection::connect_tokio1(address, Some(CONNECT_TIMEOUT), &hello, tls, None);
                connected.await.map_err(of_library)?
            }
        };
        if let Some(login) = &self.login {
            if connection.server_info().get_auth_mechanism(DEFAULT_MECHANISMS).is_none() {
                return Err(Trouble::NoLogin);
            }
            connection.auth(DEFAULT_MECHANISMS, login).await.map_err(Trouble::Entry)?;
        }
        Ok(connection)
    }

    /// What silence may mean, before anything was said.
    pub(super) fn silence(&self) -> &'static str {
        match self.protection {
            Cover::Starttls(_) => "; a port that speaks TLS from the first byte, such as 465, needs smtps://",
            _ => "",
        }
    }

    /// The first of the host's addresses that answers.
    async fn reach(&self) -> Result<TcpStream, Trouble> {
        let mut trouble = Trouble::Silent;
        for address in lookup_host((self.host.as_str(), self.port)).await.map_err(Trouble::Io)? {
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => trouble = Trouble::Io(error),
                Err(_) => {}
            }
        }
        Err(trouble)
    }
}

/// An error of the mail library; those of a handshake in our words.
fn of_library(error: Error) -> Trouble {
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        if let Some(tls) = inner.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && tls.is::<rustls::Error>()
        {
            return Trouble::Tls(io::Error::other(tls.to_string()));
        }
        source = inner.source();
    }
    Trouble::Entry(error)
}

impl Cover {
    fn new(spec: &SmtpSpec) -> Result<Self, SmtpError> {
        let pem = spec.ca_file.as_deref().map(read).transpose()?;
        Ok(match spec.protection {
            Protection::Plain => {
                super::stays_here(&spec.host)?;
                Self::Plain
            }
            Protection::Starttls => Self::Starttls(Arc::new(client_config(pem.as_deref())?)),
            Protection::Implicit => {
                let mut parameters = TlsParameters::builder(spec.host.clone());
                if let Some(pem) = &pem {
                    let authority = Certificate::from_pem(pem).map_err(SmtpError::tls)?;
                    parameters = parameters.add_root_certificate(authority);
                }
                Self::Implicit(parameters.build_rustls().map_err(SmtpError::tls)?)
            }
        })
    }

    fn implicit(&self) -> Option<TlsParameters> {
        match self {
            Self::Implicit(parameters) => Some(parameters.clone()),
            _ => None,
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SmtpError> {
    std::fs::read(path).map_err(|source| SmtpError::CaFile { path: path.to_owned(), source })
}

/// The platform's authorities, and those of the PEM text.
fn client_config(pem: Option<&[u8]>) -> Result<ClientConfig, SmtpError> {
    let builder = ClientConfig::builder();
    let extra: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem.unwrap_or_default())
        .collect::<Result<_, _>>()
        .map_err(SmtpError::tls)?;
    let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(builder.crypto_provider()));
    let verifier = verifier.map_err(SmtpError::tls)?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}
