//! `tokens create | list | revoke`.

use super::Context;
use super::output::{Column, column, line, or_dash, say};
use crate::config::settings::values::parse_span;
use crate::domain::role::Role;
use crate::domain::time::Span;
use crate::engine::commands::{self, MakeToken, TokenView};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a token for a program; it is printed once
    Create {
        /// Its name, unique
        name: String,
        /// What it may
        #[arg(long, value_parser = role)]
        role: Role,
        /// How long it lasts, like 90d; for ever without
        #[arg(long, value_name = "TIME", value_parser = span)]
        expires: Option<Span>,
        /// Providers whose credentials a consumer may fetch; all without
        #[arg(long, value_name = "A,B", value_delimiter = ',')]
        providers: Option<Vec<String>>,
    },
    /// Tokens that were not revoked
    List,
    /// Take a token back, at once and everywhere
    Revoke {
        /// Its name
        name: String,
    },
}

const TOKENS: &[Column<TokenView>] = &[
    column("name", |row| row.name.clone()),
    column("role", |row| row.role.to_owned()),
    column("providers", |row| row.providers.as_ref().map_or_else(|| "-".to_owned(), |all| all.join(", "))),
    column("owner", |row| or_dash(row.owner.as_ref())),
    column("expires", |row| row.expires_at.clone().unwrap_or_else(|| "never".to_owned())),
    column("last used", |row| row.last_used_at.clone().unwrap_or_else(|| "never".to_owned())),
];

/// A role by its word.
pub(super) fn role(word: &str) -> Result<Role, String> {
    Role::parse(word).ok_or_else(|| "a role is admin, operator, viewer or consumer".to_owned())
}

fn span(text: &str) -> Result<Span, String> {
    parse_span(text).map_err(|error| error.message)
}

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    let engine = context.engine().await?;
    match command {
        Command::Create { name, role, expires, providers } => {
            let make = MakeToken { name, role, expires, providers, owner: None };
            let created = commands::create_token(&engine, make).await?;
            if context.out.json {
                context.out.value(&created, |_| String::new())?;
            } else {
                say!("this is shown once; send it as `Authorization: Bearer …`");
                line(&created.token)?;
            }
        }
        Command::List => context.out.rows(&commands::token_views(&engine, None).await?, TOKENS)?,
        Command::Revoke { name } => {
            let revoked = commands::revoke_token(&engine, &name, None).await?;
            context.out.value(&revoked, |row| format!("token {} is revoked", row.name))?;
        }
    }
    Ok(0)
}
