//! `demo`: everything against built-in simulators. No account, no configuration.
//!
//! - [`stage`]: simulators of OpenRouter, GitHub, Vercel and a mail server on loopback, a temporary folder, and
//!   the real daemon, started as a process of its own: nothing in it knows that this is a demo
//! - [`application`]: an application's PostgreSQL, a real one, where this machine has the programs
//! - [`agents`]: production: programs that call the provider with the key that they were given
//! - [`story`]: what happens, and what each step has to prove

mod agents;
mod application;
mod stage;
mod story;

use stage::Stage;
use tokio::signal::unix::{SignalKind, signal};

use super::output::{line, table};

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
    let port = if args.once { 0 } else { args.port };
    let stage = Stage::open(port).await?;
    introduce(&stage);
    if !args.once {
        return stay(stage).await;
    }
    let played = tokio::select! {
        proofs = story::play(&stage) => Some(proofs),
        () = asked_to_stop() => None,
    };
    let log = stage.close().await;
    let Some(proofs) = played else { return Ok(STOPPED) };
    let proofs = proofs.inspect_err(|_| eprintln!("the daemon's last words:\n{log}"))?;
    let rows = proofs.iter().map(|proof| {
        let mark = if proof.proved { "proved" } else { "NOT PROVED" };
        vec![mark.to_owned(), proof.what.to_owned(), proof.how.clone(), format!("{:.1} s", proof.seconds)]
    });
    line(&table(&["", "what", "how it was seen", "took"], rows))?;
    let failed = proofs.iter().filter(|proof| !proof.proved).count();
    if failed > 0 {
        eprintln!("{failed} of {} were not proved; the daemon's last words:\n{log}", proofs.len());
        return Ok(1);
    }
    line(&format!("all {} proved", proofs.len()))?;
    Ok(0)
}

/// Ctrl-C, or whoever else ends us: without this a closed terminal would leave daemon, database and files behind.
async fn asked_to_stop() {
    let (Ok(mut terminated), Ok(mut hung_up)) =
        (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
        _ = hung_up.recv() => {}
    }
}

fn introduce(stage: &Stage) {
    eprintln!(
        "simulators: OpenRouter {}, GitHub {}, Vercel {}, mail {}",
        stage.openrouter.base_url(),
        stage.github.api_url(),
        stage.vercel.api_url(),
        stage.mailbox.url()
    );
    match &stage.application {
        Some(application) => eprintln!("the application's PostgreSQL: {}", application.url()),
        None => {
            eprintln!("no PostgreSQL here: the story goes without an application's database");
        }
    }
    eprintln!("configuration and store: {}", stage.folder().display());
    eprintln!(
        "the real daemon is running; {} agents call the provider with the key in {}",
        agents::COUNT,
        stage.agent_file().display()
    );
}

/// Lets a newcomer play: shows mails as they arrive, until Ctrl-C.
async fn stay(stage: Stage) -> anyhow::Result<u8> {
    story::adopt(&stage).await?;
    let command = format!("{} --config {}", stage::program().display(), stage.config().display());
    eprintln!("\nproduction's key is adopted. In another terminal:\n");
    for (args, what) in [
        ("rotations plan production", "every call that a rotation would make"),
        ("rotations run production --wait", "rotate"),
        ("why production", "what is proved, what still blocks the old key"),
        ("rotations run production --leaked --wait", "a leak: replaced and killed at once"),
        ("runs list", "what happened"),
    ] {
        eprintln!("  {command} {args:<42} # {what}");
    }
    eprintln!("\nCtrl-C ends the demo and removes everything.\n");
    let mut shown = 0;
    let mut asked = std::pin::pin!(asked_to_stop());
    loop {
        tokio::select! {
            () = &mut asked => break,
            () = stage.pause(500) => {}
        }
        for mail in stage.mailbox.mails().iter().skip(shown) {
            eprintln!("mail to {}: {}\n{}\n", mail.to.join(", "), mail.subject(), mail.text());
            shown += 1;
        }
    }
    stage.close().await;
    Ok(0)
}
