//! All tables together: reading them in one go, and what no table can say of itself alone (unique names and
//! addresses, who publishes where).

use std::collections::HashMap;

use super::at::{At, Read, Reading};
use super::{
    Account, Auth, Database, Destination, Email, Encryption, Engine, Heartbeat, Leaks, Log, Metrics, Network,
    Preference, Retention, Rotation, Server, Settings, Tests, Webhook,
};
use crate::config::document::Document;
use crate::config::file::{ConfigFile, Holds, NameText};
use crate::config::problem::Problem;

/// The names that other tables may refer to, as they are written, whether or not their tables are valid.
pub(super) struct Known<'f> {
    pub accounts: Vec<&'f str>,
    pub rotations: Vec<&'f str>,
    pub destinations: Vec<&'f str>,
    holds: HashMap<&'f str, Holds>,
}

impl<'f> Known<'f> {
    fn of(file: &'f ConfigFile) -> Self {
        Self {
            accounts: file.accounts.iter().map(|account| account.name.as_str()).collect(),
            rotations: file.rotations.iter().map(|rotation| rotation.name.as_str()).collect(),
            destinations: file.destinations.iter().map(|destination| destination.name.as_str()).collect(),
            holds: file.destinations.iter().map(|one| (one.name.as_str(), one.holds)).collect(),
        }
    }

    /// Whether the destination takes such keys; `None` when there is no such destination.
    pub fn holds(&self, destination: &str) -> Option<Holds> {
        self.holds.get(destination).copied()
    }
}

impl Settings {
    /// Reads the mirror; all problems, or settings.
    pub(in crate::config) fn read(document: &Document, file: &ConfigFile) -> Result<Self, Vec<Problem>> {
        let reading = Reading::new(document);
        let at = reading.root();
        let settings = tables(file, &at);
        unique_names(file, &at);
        one_publisher_each(file, &at);
        if let Ok(settings) = &settings {
            unique_addresses(&settings.destinations, &at.field("destinations"));
        }
        let (problems, origins) = reading.finish();
        match settings {
            Ok(settings) if problems.is_empty() => Ok(Self { origins, ..settings }),
            _ => Err(problems),
        }
    }
}

fn tables(file: &ConfigFile, at: &At<'_>) -> Read<Settings> {
    let known = Known::of(file);
    let server = Server::read(&file.server, &at.field("server"));
    let auth = Auth::read(&file.auth, &at.field("auth"));
    let metrics = optional(file.metrics.as_ref(), |one| Metrics::read(one, &at.field("metrics")));
    let database = Database::read(&file.database, &at.field("database"));
    let encryption = Encryption::read(&file.encryption, &at.field("encryption"));
    let engine = Engine::read(&file.engine, &at.field("engine"));
    let retention = Retention::read(&file.retention, &at.field("retention"));
    let tests = Tests::read(&file.tests, &at.field("tests"));
    let email = optional(file.email.as_ref(), |email| Email::read(email, &known, &at.field("email")));
    let webhook = optional(file.webhook.as_ref(), |hook| Webhook::read(hook, &at.field("webhook")));
    let heartbeat = optional(file.heartbeat.as_ref(), |beat| Heartbeat::read(beat, &at.field("heartbeat")));
    let accounts = at.field("accounts").each(&file.accounts, |one, at| Account::read(one, &known, at));
    let rotations = at.field("rotations").each(&file.rotations, |one, at| Rotation::read(one, &known, at));
    let destinations = at.field("destinations").each(&file.destinations, Destination::read);
    let leaks = optional(file.leaks.as_ref(), |leaks| Leaks::read(leaks, &at.field("leaks")));
    let preferences = at.field("preferences").each(&file.preferences, Preference::read);
    let network = Network::read(&file.network, &at.field("network"));
    let log = Log::read(&file.log, &at.field("log"));
    Ok(Settings {
        server: server?,
        auth: auth?,
        metrics: metrics?,
        database: database?,
        encryption: encryption?,
        engine: engine?,
        retention: retention?,
        tests: tests?,
        email: email?,
        webhook: webhook?,
        heartbeat: heartbeat?,
        accounts: accounts?,
        rotations: rotations?,
        destinations: destinations?,
        leaks: leaks?,
        preferences: preferences?,
        network: network?,
        log: log?,
        origins: super::Origins::default(),
    })
}

/// An absent table is fine; a wrong one is not.
fn optional<F, T>(file: Option<&F>, read: impl FnOnce(&F) -> Read<T>) -> Read<Option<T>> {
    file.map(read).transpose()
}

fn unique_names(file: &ConfigFile, at: &At<'_>) {
    unique("account", file.accounts.iter().map(|one| &one.name), &at.field("accounts"));
    unique("rotation", file.rotations.iter().map(|one| &one.name), &at.field("rotations"));
    unique("destination", file.destinations.iter().map(|one| &one.name), &at.field("destinations"));
    unique("preference", file.preferences.iter().map(|one| &one.name), &at.field("preferences"));
}

fn unique<'f>(what: &str, names: impl Iterator<Item = &'f NameText>, at: &At<'_>) {
    let mut first = HashMap::new();
    for (index, name) in names.enumerate() {
        let here = at.item(index).field("name");
        if let Some(other) = first.get(name.as_str()) {
            let other = at.item(*other).field("name").whereabouts();
            here.problem(
                format!("there is another {what} {:?}", name.as_str()),
                format!("the first is at {other}"),
            );
        } else {
            first.insert(name.as_str(), index);
        }
    }
}

/// A destination holds one key: no two rotations, accounts or entries of one list may publish to it.
fn one_publisher_each(file: &ConfigFile, at: &At<'_>) {
    let rotations = at.field("rotations");
    let accounts = at.field("accounts");
    let mut first: HashMap<&str, String> = HashMap::new();
    let mut claim = |list: &'_ At<'_>, names: &'_ [NameText], who: String| {
        for (index, name) in names.iter().enumerate() {
            let Some(destination) = file.destinations.iter().find(|one| one.name == *name) else { continue };
            let other = first.entry(destination.name.0.as_str()).or_default();
            if other.is_empty() {
                other.clone_from(&who);
            } else {
                list.item(index).problem(
                    format!("{other} publishes to {:?} already", name.as_str()),
                    "a destination holds one key: define another destination, or name it once",
                );
            }
        }
    };
    for (index, one) in file.rotations.iter().enumerate() {
        let list = rotations.item(index).field("destinations");
        claim(&list, &one.destinations, format!("rotation {:?}", one.name.as_str()));
    }
    for (index, one) in file.accounts.iter().enumerate() {
        let list = accounts.item(index).field("provisioning_destinations");
        claim(&list, &one.provisioning_destinations, format!("account {:?}", one.name.as_str()));
    }
}

fn unique_addresses(destinations: &[Destination], at: &At<'_>) {
    for (index, destination) in destinations.iter().enumerate() {
        let earlier = &destinations[..index];
        let Some(other) = earlier.iter().position(|other| destination.kind.overlaps(&other.kind)) else {
            continue;
        };
        at.item(index).problem(
            format!("it is the same place as destination {:?}", earlier[other].name.as_str()),
            format!("remove one of the two; the first is at {}", at.item(other).whereabouts()),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::{ACCOUNT, assert_table, problems};

    const GITHUB: &str = "[[destinations]]\nname = \"gh\"\ntype = \"github\"\nrepository = \"acme/app\"\nsecret = \"KEY\"\ntoken = \"env:T\"\n";
    const VERCEL: &str = "[[destinations]]\nname = \"vc\"\ntype = \"vercel\"\nproject = \"app\"\nvariable = \"KEY\"\ntoken = \"env:T\"\n";
    const POSTGRES: &str = "[[destinations]]\nname = \"pg\"\ntype = \"postgres\"\nurl = \"env:U\"\n";
    const FILE: &str =
        "[[destinations]]\nname = \"file\"\ntype = \"file\"\npath = \"/run/key\"\nvariable = \"KEY\"\n";
    const COMMAND: &str = "[[destinations]]\nname = \"run\"\ntype = \"command\"\ncommand = [\"push\"]\n";

    /// The destination under another name, with these lines.
    fn other(destination: &str, lines: &str) -> String {
        destination.replacen("name = \"", "name = \"other-", 1) + lines
    }

    fn rotation(name: &str) -> String {
        format!(
            "[[rotations]]\nname = \"{name}\"\naccount = \"main\"\nevery = \"30d\"\ndestinations = [\"gh\"]\n"
        )
    }

    #[test]
    fn names_are_unique() {
        assert_table!(&[
            &format!("{ACCOUNT}\n{}", ACCOUNT.replace("KEY", "KEY2")),
            &format!(
                "{ACCOUNT}{}{}",
                rotation("a").replace("\"gh\"", ""),
                rotation("a").replace("\"gh\"", "")
            ),
            &format!("{GITHUB}{}", GITHUB.replace("KEY", "KEY2")),
        ]);
    }

    #[test]
    fn a_destination_has_one_publisher() {
        let provisioning = format!("{GITHUB}holds = \"provisioning\"\n");
        let account = ACCOUNT.to_owned() + "provisioning_destinations = [\"gh\"]\n";
        assert_table!(&[
            &format!("{ACCOUNT}{GITHUB}{}{}", rotation("a"), rotation("b")),
            &format!("{ACCOUNT}{GITHUB}{}", rotation("a").replace("[\"gh\"]", "[\"gh\", \"gh\"]")),
            &format!("{provisioning}{account}{}", account.replace("main", "second")),
        ]);
    }

    #[test]
    fn no_two_destinations_are_one_place() {
        assert_table!(&[
            &format!("{GITHUB}{}", other(GITHUB, "")),
            &format!(
                "{GITHUB}{}",
                other(
                    &GITHUB.replace("acme/app", "Acme/App").replace("KEY", "key"),
                    "api_url = \"https://api.github.com/\""
                )
            ),
            &format!("{VERCEL}{}", other(VERCEL, "targets = [\"preview\"]")),
            &format!("{POSTGRES}{}", other(POSTGRES, "key_number = 1")),
            &format!("{FILE}{}", other(&FILE.replace("/run/key", "/run/./key"), "")),
            &format!("{FILE}{}", other(&FILE.replace("variable = \"KEY\"", "format = \"raw\""), "")),
            &format!("{FILE}{}", other(&FILE.replace("\"KEY\"", "\"OTHER\""), "format = \"json\"")),
            &format!("{COMMAND}{}", other(COMMAND, "timeout = \"1s\"")),
        ]);
        for different in [
            format!("{GITHUB}{}", other(GITHUB, "environment = \"production\"")),
            format!("{GITHUB}{}", other(GITHUB, "store = \"dependabot\"")),
            format!("{GITHUB}{}", other(GITHUB, "api_url = \"https://ghe.example.com/api/v3\"")),
            format!("{VERCEL}targets = [\"production\"]\n{}", other(VERCEL, "targets = [\"preview\"]")),
            format!("{VERCEL}{}", other(VERCEL, "team = \"team_1\"")),
            format!("{POSTGRES}{}", other(POSTGRES, "key_number = 2")),
            format!("{FILE}{}", other(&FILE.replace("\"KEY\"", "\"OTHER\""), "")),
            format!("{FILE}{}", other(&FILE.replace("/run/key", "/run/key2"), "")),
            format!("{COMMAND}{}", other(&COMMAND.replace("\"push\"", "\"push\", \"there\""), "")),
        ] {
            assert_eq!(problems(&different), "none", "{different}");
        }
    }

    #[test]
    fn problems_of_all_tables_come_out_together_in_the_order_of_lines() {
        assert_table!(&[
            "[[rotations]]\nname = \"a\"\naccount = \"mian\"\n\n[server]\nlisten = \"x\"\ncolour = 1\n\n[[accounts]]\nname = \"Main\"\nprovisioning_key = \"x\"\n\n[engine]\nlease = \"1s\"\n\n[email]\nsmtp = \"x\"\nfrom = \"x\"\nto = [\"x\"]\n\n[log]\nfilter = \"a=b=c\"\n",
        ]);
    }
}
