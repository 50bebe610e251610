//! `users add | list | passwd | disable`.

use std::io::IsTerminal;

use anyhow::bail;

use super::Context;
use super::output::{Column, column, or_dash, secret, yes_or_no};
use super::tokens::role;
use crate::domain::role::Role;
use crate::domain::secret::Secret;
use crate::engine::commands::{self, ChangeUser, UserView};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Let a person log in; prompts for their password, stdin when piped
    Add {
        /// Their e-mail address
        email: String,
        /// What they may: admin, operator, viewer or consumer
        #[arg(long, value_parser = role)]
        role: Role,
    },
    /// Everybody who may log in
    List,
    /// Give a person another password, and end their sessions; stdin when piped
    Passwd {
        /// Their e-mail address
        email: String,
    },
    /// End a person's sessions and tokens, and let them log in no more
    Disable {
        /// Their e-mail address
        email: String,
    },
}

const USERS: &[Column<UserView>] = &[
    column("email", |row| row.email.clone()),
    column("role", |row| row.role.to_owned()),
    column("password", |row| yes_or_no(row.has_password)),
    column("disabled", |row| or_dash(row.disabled_at.as_ref())),
    column("since", |row| row.created_at.clone()),
];

pub(super) async fn run(context: &Context, command: Command) -> anyhow::Result<u8> {
    let engine = context.engine().await?;
    match command {
        Command::Add { email, role } => {
            let password = new_password()?;
            let user = commands::add_user(&engine, &email, role, Some(password)).await?;
            context.out.value(&user, |user| format!("{} may log in as {}", user.email, user.role))?;
        }
        Command::List => context.out.rows(&commands::user_views(&engine).await?, USERS)?,
        Command::Passwd { email } => {
            let user = commands::find_user(&engine, &email).await?;
            let change = ChangeUser { password: Some(new_password()?), ..ChangeUser::default() };
            let user = commands::change_user(&engine, &user.id, change).await?;
            context
                .out
                .value(&user, |user| format!("{} has another password; all sessions are over", user.email))?;
        }
        Command::Disable { email } => {
            let user = commands::find_user(&engine, &email).await?;
            let change = ChangeUser { disabled: Some(true), ..ChangeUser::default() };
            let user = commands::change_user(&engine, &user.id, change).await?;
            context.out.value(&user, |user| format!("{} may do nothing any more", user.email))?;
        }
    }
    Ok(0)
}

/// Asked for twice at a terminal, where nobody sees what they type.
pub(super) fn new_password() -> anyhow::Result<Secret> {
    let password = secret("Password, 12 characters or more")?;
    if std::io::stdin().is_terminal() && secret("The same again")? != password {
        bail!("the two are not the same; nothing was changed");
    }
    Ok(password)
}
