//! `demo`: everything against built-in simulators. No account, no configuration.
//!
//! - [`stage`]: simulators of OpenRouter, GitHub, Vercel and a mail server on loopback, a temporary folder, and
//!   the real daemon, started as a process of its own: nothing in it knows that this is a demo
//! - [`application`]: an application's PostgreSQL, a real one, where this machine has the programs
//! - [`guard`]: ends all of it when the demo was killed
//! - [`agents`]: production: programs that call the provider with the key that they were given
//! - [`story`]: what happens, and what each step has to prove

mod agents;
mod application;
mod guard;
mod stage;
mod story;

use stage::Stage;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::output::{Column, column, line, table};
use crate::cli::output::say;
use crate::crypto::bearer;

/// Who may log in to the dashboard.
const ADMIN: &str = "admin@example.com";
/// Exit status of a story that somebody stopped.
const STOPPED: u8 = 130;

/// What to do.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Play the whole story, print what was proved, and end; exit status 0 only if everything was
    #[arg(long)]
    once: bool,
    /// Port of the daemon; 0 picks a free one
    #[arg(long, default_value_t = 8084)]
    port: u16,
}

pub(super) async fn run(args: Args) -> anyhow::Result<u8> {
    // Before anything is there that could be left behind: nobody listening, a signal ends a process on the spot.
    let mut ending = Ending::listen()?;
    let port = if args.once { 0 } else { port_of(args.port)? };
    let stage = Stage::open(port).await?;
    introduce(&stage);
    if !args.once {
        let stayed = tokio::select! {
            stayed = stay(&stage, port) => stayed,
            () = ending.asked_for() => Ok(()),
        };
        stage.close().await;
        return stayed.map(|()| 0);
    }
    let played = tokio::select! {
        proofs = story::play(&stage) => Some(proofs),
        () = ending.asked_for() => None,
    };
    let log = stage.close().await;
    let Some(proofs) = played else { return Ok(STOPPED) };
    tell(&proofs.inspect_err(|_| say!("the daemon's last words:\n{log}"))?, &log)
}

/// The port of the dashboard, which its address tells: for 0 one that is free.
fn port_of(asked: u16) -> std::io::Result<u16> {
    if asked != 0 {
        return Ok(asked);
    }
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Prints what was proved. Answers the exit status.
const PROOFS: &[Column<story::Proof>] = &[
    column("", |proof| if proof.proved { "proved" } else { "NOT PROVED" }.to_owned()),
    column("what", |proof| proof.what.to_owned()),
    column("how it was seen", |proof| proof.how.clone()),
    column("took", |proof| format!("{:.1} s", proof.seconds)),
];

fn tell(proofs: &[story::Proof], log: &str) -> anyhow::Result<u8> {
    line(&table(PROOFS, proofs))?;
    let failed = proofs.iter().filter(|proof| !proof.proved).count();
    if failed > 0 {
        say!("{failed} of {} were not proved; the daemon's last words:\n{log}", proofs.len());
        return Ok(1);
    }
    line(&format!("all {} proved", proofs.len()))?;
    Ok(0)
}

/// Ctrl-C, or whoever else ends us: without this a closed terminal would leave daemon, database and files behind.
struct Ending([Signal; 3]);

impl Ending {
    /// From now on none of these signals is lost.
    fn listen() -> std::io::Result<Self> {
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn asked_for(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

fn introduce(stage: &Stage) {
    say!(
        "simulators: OpenRouter {}, GitHub {}, Vercel {}, mail {}",
        stage.openrouter.base_url(),
        stage.github.api_url(),
        stage.vercel.api_url(),
        stage.mailbox.url()
    );
    match &stage.application {
        Some(application) => say!("the application's PostgreSQL: {}", application.url()),
        None => {
            say!("no PostgreSQL here: the story goes without an application's database");
        }
    }
    say!("configuration and store: {}", stage.folder().display());
    say!(
        "the real daemon is running; {} agents call the provider with the key in {}",
        agents::COUNT,
        stage.agent_file().display()
    );
}

/// Lets a newcomer play: shows mails as they arrive, for as long as it is let.
async fn stay(stage: &Stage, port: u16) -> anyhow::Result<()> {
    story::adopt(stage).await?;
    story::furnish(stage).await?;
    let password = bearer::new_session();
    let added = stage.quietly(&["users", "add", ADMIN, "--role", "admin"], Some(password.expose())).await?;
    anyhow::ensure!(added.status == 0, "the admin of the demo: {}", added.stderr);
    // Of this demo only, which ends with it.
    say!("\nthe dashboard: http://127.0.0.1:{port}  e-mail {ADMIN}  password {}", password.expose());
    let command = format!("{} --config {}", stage::program().display(), stage.config().display());
    say!("\nproduction's key is adopted. In another terminal:\n");
    for (args, what) in [
        ("rotations plan production", "every call that a rotation would make"),
        ("rotations run production --wait", "rotate"),
        ("why production", "what is proved, what still blocks the old key"),
        ("rotations run production --leaked --wait", "a leak: replaced and killed at once"),
        ("runs list", "what happened"),
    ] {
        say!("  {command} {args:<42} # {what}");
    }
    say!("\nCtrl-C ends the demo and removes everything.\n");
    let mut shown = 0;
    loop {
        stage.pause(500).await;
        for mail in stage.mailbox.mails().iter().skip(shown) {
            say!("mail to {}: {}\n{}\n", mail.to.join(", "), mail.subject(), mail.text());
            shown += 1;
        }
    }
}
