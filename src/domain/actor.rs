//! Who acts, by which way and from where: the first columns of every audit row (interface.md §3).

/// By which way somebody acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The command line.
    Cli,
    /// The REST API.
    Api,
    /// A page of the dashboard.
    Dashboard,
    /// Nobody asked: the daemon by itself.
    Daemon,
}

impl Via {
    /// The word in the store and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Api => "api",
            Self::Dashboard => "dashboard",
            Self::Daemon => "daemon",
        }
    }
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `daemon`, `cli:USER (uid N)`, an e-mail address, `token NAME`.
    pub name: String,
    /// By which way.
    pub via: Via,
    /// The true address of who called; none on the command line.
    pub address: Option<String>,
    /// The request's id; none on the command line.
    pub request_id: Option<String>,
}

impl Actor {
    /// The daemon by itself.
    pub fn daemon() -> Self {
        Self { name: "daemon".to_owned(), via: Via::Daemon, address: None, request_id: None }
    }

    /// A person at a terminal, `USER (uid N)`.
    pub fn cli(person: &str) -> Self {
        Self { name: format!("cli:{person}"), via: Via::Cli, address: None, request_id: None }
    }
}
