//! The words of `keys`.

use super::bulk::How;
use super::flags::Flags;
use crate::domain::time::Span;
use crate::engine::commands::{KeyQuery, KeySort};

#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Command {
    /// List stored keys, masked
    List(Asked),
    /// What could be tidied up: unused, double and ownerless keys, limits far above their use
    Suggest,
    /// Store a key; prompts for it, or reads it from a pipe
    Add {
        /// Name of the provider; without it everything is asked
        provider: Option<String>,
        #[command(flatten)]
        flags: Flags,
    },
    /// Store many keys, one a line: `sk-…`, `openai sk-…`, `OPENAI_API_KEY=…`
    AddBulk {
        /// Whose all of them are; without it each line says so, or the form of its key
        provider: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// Store the keys of a .env, JSON or CSV file, or of the tables of an application's database
    Import {
        /// The file, - for stdin, or where the URL of a PostgreSQL database is: `env:NAME`, `file:/path`, `credential:NAME`
        #[arg(value_name = "FILE")]
        from: String,
        /// Where the key is with which another program encrypted them: `env:NAME`, `file:/path`, `credential:NAME`
        #[arg(long, value_name = "REF")]
        fernet_key: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// Print a usable key for a script; who got it is recorded
    Get {
        /// Name of the provider
        provider: String,
        /// This key
        #[arg(long, value_name = "N", group = "which")]
        number: Option<i64>,
        /// Any that works, whatever its priority; else the best
        #[arg(long, group = "which")]
        random: bool,
        /// The best of those with this name
        #[arg(long, group = "which")]
        name: Option<String>,
        /// Where else, in this order, when it has none
        #[arg(long, value_name = "A,B", value_delimiter = ',', conflicts_with = "preference")]
        fallback: Vec<String>,
        /// The same by the name of an order of the configuration
        #[arg(long, value_name = "NAME")]
        preference: Option<String>,
    },
    /// Change a key: what the flags say or, without any, the key itself
    Update {
        /// Name of the provider
        provider: String,
        /// Number of the key
        number: i64,
        #[command(flatten)]
        flags: Flags,
    },
    /// Test and hand out a key again
    Activate {
        /// Name of the provider
        provider: String,
        /// Number of the key
        number: i64,
    },
    /// Neither test nor hand out a key any more
    Deactivate {
        /// Name of the provider
        provider: String,
        /// Number of the key
        number: i64,
    },
    /// Say how important a key is
    SetPriority {
        /// Name of the provider
        provider: String,
        /// Number of the key
        number: i64,
        /// 100 production, 50-90 backup, below 50 testing
        priority: i64,
    },
    /// Test stored keys now, with the cheapest honest request of their provider
    Test {
        /// Name of the provider; without it every active key
        #[arg(conflicts_with = "all")]
        provider: Option<String>,
        /// Number of the key
        number: Option<i64>,
        /// Every active key of every provider
        #[arg(long)]
        all: bool,
    },
    /// Show one key, masked
    Show {
        /// Name of the provider
        provider: String,
        /// Number of the key
        number: i64,
    },
    /// Remove a key from the store; the provider still honours it, unless --at-provider
    Delete {
        /// Name of the provider
        provider: String,
        /// Number of the key
        number: i64,
        /// Disable and delete it at the provider too, through the guard
        #[arg(long)]
        at_provider: bool,
    },
}

/// Which keys a list shows.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Asked {
    /// Only of this provider
    #[arg(long)]
    provider: Option<String>,
    /// Only with this status: untested, unverified, valid, restricted, `quota_exhausted`, invalid, placeholder
    #[arg(long)]
    status: Option<String>,
    /// Only with these words in what their last test said
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only of this person
    #[arg(long, value_name = "EMAIL")]
    owner: Option<String>,
    /// Only with these letters in name, note, owner or the end of the key
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Only what was stored so long ago and handed out to nobody since
    #[arg(long, value_name = "SPAN", value_parser = span)]
    unused: Option<Span>,
    /// Only what was stored longer ago
    #[arg(long, value_name = "SPAN", value_parser = span)]
    older: Option<Span>,
    /// Only what expires sooner
    #[arg(long, value_name = "SPAN", value_parser = span)]
    expiring: Option<Span>,
    /// Only what is to be tested now
    #[arg(long)]
    due: bool,
    /// provider, name, priority, status, owner, created, updated, expires or latency
    #[arg(long, value_name = "FIELD", value_parser = sort, default_value = "provider")]
    sort: KeySort,
    /// At most so many; else 1000
    #[arg(long, value_name = "N")]
    limit: Option<i64>,
}

fn span(text: &str) -> Result<Span, String> {
    humantime::parse_duration(text).map(Span::from).map_err(|_| "a time like 30d or 12h".to_owned())
}

fn sort(text: &str) -> Result<KeySort, String> {
    KeySort::parse(text).ok_or_else(|| KeySort::words().collect::<Vec<_>>().join(", "))
}

impl From<Asked> for KeyQuery {
    fn from(asked: Asked) -> Self {
        let Asked { provider, status, reason, owner, search, unused, older, expiring, due, sort, limit } =
            asked;
        Self {
            provider,
            status,
            active: None,
            reason,
            owner,
            search,
            unused,
            older,
            expiring,
            due,
            sort,
            limit,
            offset: 0,
        }
    }
}
