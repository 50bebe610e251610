//! The vendors' simulators as a process of their own, for `tests/systemd.sh`: the service is tested in a machine
//! that has no other network than its loopback.
//!
//! `sims FOLDER` starts OpenRouter, GitHub and a mail server on free ports and describes them in files:
//!
//! | file | content |
//! |---|---|
//! | `openrouter-url`, `github-url`, `smtp-url` | where they listen |
//! | `provisioning-key`, `github-token`, `first-key` | made at run time, worthless elsewhere |
//! | `secrets` | every secret that was ever made, rekeyd's own keys among them; one a line |
//! | `calls` | the calls that took place, by label; one a line |
//! | `living` | names of the keys that are alive; one a line |
//! | `published` | `yes` while the GitHub secret holds a living key |
//! | `mails` | the subjects of the mails that came |
//!
//! The last five are written anew twice a second. `openrouter-url` is written last: when it is there, all are.

use std::path::Path;
use std::time::Duration;

use rekeyd::domain::secret::Secret;
use rekeyd::sim::fault::Script;
use rekeyd::sim::github::{GitHub, Permissions, Scope};
use rekeyd::sim::openrouter::OpenRouter;
use rekeyd::sim::smtp::Mailbox;

const REPOSITORY: &str = "acme/app";
const SECRET: &str = "OPENROUTER_API_KEY";

struct Sims {
    openrouter: OpenRouter,
    github: GitHub,
    mailbox: Mailbox,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1) else {
        return Err(std::io::Error::other("usage: sims FOLDER"));
    };
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let script = Script::default();
    let sims = Sims {
        openrouter: OpenRouter::start_with(script.clone()).await,
        github: GitHub::start_with(script).await,
        mailbox: Mailbox::start().await,
    };
    sims.settle(folder)?;
    let mut again = tokio::time::interval(Duration::from_millis(500));
    loop {
        again.tick().await;
        sims.report(folder)?;
        write(folder, "openrouter-url", &sims.openrouter.base_url())?;
    }
}

impl Sims {
    /// What people did before rekeyd came: a repository whose secret holds a key made by hand.
    fn settle(&self, folder: &Path) -> std::io::Result<()> {
        self.github.add_repo(REPOSITORY);
        let first = self.openrouter.new_regular_key("production");
        self.github.set_secret_by_hand(&Scope::repo(REPOSITORY), SECRET, &first);
        write(folder, "first-key", &first)?;
        write(folder, "provisioning-key", &self.openrouter.new_provisioning_key())?;
        write(folder, "github-token", &self.github.new_token(Permissions::secrets_write()))?;
        write(folder, "github-url", &self.github.api_url())?;
        write(folder, "smtp-url", &self.mailbox.url())
    }

    fn report(&self, folder: &Path) -> std::io::Result<()> {
        let mut secrets = self.openrouter.issued_secrets();
        secrets.extend(self.github.issued_tokens());
        write(folder, "secrets", &secrets.join("\n"))?;
        let requests = [self.openrouter.requests(), self.github.requests()].concat();
        let calls: Vec<&str> = requests.iter().filter(|call| call.applied).map(|call| call.label).collect();
        write(folder, "calls", &calls.join("\n"))?;
        let living = self.openrouter.keys().into_iter().filter(|key| !key.deleted && !key.disabled);
        let (names, hashes): (Vec<String>, Vec<String>) = living.map(|key| (key.name, key.hash)).unzip();
        write(folder, "living", &names.join("\n"))?;
        let held = self.github.secret_value(&Scope::repo(REPOSITORY), SECRET).map(Secret::new);
        let works = held.is_some_and(|held| hashes.contains(&held.sha256_hex()));
        write(folder, "published", if works { "yes" } else { "no" })?;
        let subjects: Vec<String> =
            self.mailbox.mails().iter().map(rekeyd::sim::smtp::Mail::subject).collect();
        write(folder, "mails", &subjects.join("\n"))
    }
}

/// The whole file at once, so that a reader never sees half of it.
fn write(folder: &Path, name: &str, text: &str) -> std::io::Result<()> {
    let new = folder.join(format!(".{name}"));
    std::fs::write(&new, format!("{text}\n"))?;
    std::fs::rename(new, folder.join(name))
}
