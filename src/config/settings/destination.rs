//! `[[destinations]]`

use std::path::{Component, Path, PathBuf};

use super::at::{At, Read};
use super::github::Github;
use super::origin::Purpose;
use super::values::{BadValue, BaseUrl};
use crate::config::file::{self, Holds, Kind};
use crate::crypto::SecretRef;
use crate::domain::key::KeyKind;
use crate::domain::name::Name;
use crate::domain::rotation::OnDrift;
use crate::domain::time::Span;

pub use crate::config::file::{FileFormat, VercelTarget};

/// `[[destinations]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Its name, unique among destinations.
    pub name: Name,
    /// Which kind of key it takes; only GitHub takes provisioning keys.
    pub holds: KeyKind,
    /// Whether the old key waits for it.
    pub required: bool,
    /// What to do when somebody else changed it.
    pub on_drift: OnDrift,
    /// Where it is.
    pub kind: DestinationKind,
}

/// Where a key is published to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestinationKind {
    /// A GitHub secret.
    Github(Github),
    /// A Vercel environment variable.
    Vercel(Vercel),
    /// A row of the application's database.
    Postgres(Postgres),
    /// A file.
    File(File),
    /// A program that takes the key on its standard input.
    Command(Command),
}

/// A Vercel environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vercel {
    /// Name or id of the project.
    pub project: String,
    /// Id or slug of the team; `None` for a personal account.
    pub team: Option<String>,
    /// Name of the variable.
    pub variable: String,
    /// Where it applies; at least one, each once, production first.
    pub targets: Vec<VercelTarget>,
    /// Variables that rekeyd creates are sensitive.
    pub sensitive: bool,
    /// The token.
    pub token: SecretRef,
    /// Base of the API.
    pub api_url: BaseUrl,
    /// Rebuild the production deployment and wait for it; only with the production target.
    pub redeploy: bool,
    /// Promote what was rebuilt when it is staged; only with `redeploy`.
    pub promote: bool,
}

/// A row of the application's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// Its connection URL.
    pub url: SecretRef,
    /// `providers.provider_name`.
    pub provider_name: String,
    /// `provider_api_keys.key_number`, at least 1.
    pub key_number: u32,
    /// Publish every active stored key of `provider_name` too, generations of rotations excepted.
    pub mirror: bool,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Absolute, without `.` or `..`.
    pub path: PathBuf,
    /// What is written.
    pub format: FileFormat,
    /// Name of the variable or field; given exactly when `format` is not raw.
    pub variable: Option<String>,
    /// Permission bits, none for others; `None` for those of the file, 0600 for a new one.
    pub mode: Option<u32>,
    /// Owner, by name or number; `None` for that of the file, or whoever runs rekeyd.
    pub owner: Option<String>,
    /// Group, by name or number; `None` for that of the file, or of whoever runs rekeyd.
    pub group: Option<String>,
    /// Others may write the folder or the file.
    pub unsafe_folder: bool,
}

/// A program that takes the key on its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments. The program is an absolute path, or a name that `PATH` finds.
    pub command: Vec<String>,
    /// It is killed after this long.
    pub timeout: Span,
    /// Whether its output may be shown, redacted.
    pub show_output: bool,
}

impl Destination {
    pub(super) fn read(file: &file::Destination, at: &At<'_>) -> Read<Self> {
        let name = at.field("name").name(&file.name);
        let holds = read_holds(file, &at.field("holds"));
        let kind = match &file.kind {
            Kind::Github(github) => Github::read(github, at).map(DestinationKind::Github),
            Kind::Vercel(vercel) => Vercel::read(vercel, at).map(DestinationKind::Vercel),
            Kind::Postgres(postgres) => Postgres::read(postgres, at).map(DestinationKind::Postgres),
            Kind::File(file) => File::read(file, at).map(DestinationKind::File),
            Kind::Command(command) => Command::read(command, at).map(DestinationKind::Command),
        };
        Ok(Self { name: name?, holds: holds?, required: file.required, on_drift: file.on_drift, kind: kind? })
    }
}

/// Rule of the house: only GitHub takes provisioning keys.
fn read_holds(file: &file::Destination, at: &At<'_>) -> Read<KeyKind> {
    let kind = match (file.holds, &file.kind) {
        (Holds::Regular, _) => return Ok(KeyKind::Regular),
        (Holds::Provisioning, Kind::Github(_)) => return Ok(KeyKind::Provisioning),
        (_, Kind::Vercel(_)) => "vercel",
        (_, Kind::Postgres(_)) => "postgres",
        (_, Kind::File(_)) => "file",
        (_, Kind::Command(_)) => "command",
    };
    Err(at.problem(
        format!("a destination of type {kind:?} never takes a provisioning key"),
        "only github may hold one, for scripts: it cannot call a model, and an application that got it would go dark",
    ))
}

impl Vercel {
    fn read(file: &file::Vercel, at: &At<'_>) -> Read<Self> {
        let project = at.field("project").word(&file.project);
        let team = at.field("team").optional_word(file.team.as_ref());
        let variable = at.field("variable").value(variable_name(&file.variable));
        let mut targets = file.targets.clone();
        targets.sort();
        targets.dedup();
        let token = at.field("token").reference(&file.token, Purpose::Token);
        let api_url = at.field("api_url").api_url(&file.api_url);
        let redeploy = file.redeploy.expect("complete() fills it in");
        if redeploy && !targets.contains(&VercelTarget::Production) {
            return Err(at.field("redeploy").problem(
                "only the production deployment is rebuilt, and targets does not have production",
                "leave redeploy out, or add \"production\" to targets",
            ));
        }
        if file.promote && !redeploy {
            return Err(at.field("promote").problem(
                "only a deployment that was rebuilt is promoted, and redeploy is off",
                "leave promote out, or set redeploy = true",
            ));
        }
        Ok(Self {
            project: project?,
            team: team?,
            variable: variable?,
            targets,
            sensitive: file.sensitive,
            token: token?,
            api_url: api_url?,
            redeploy,
            promote: file.promote,
        })
    }
}

impl Postgres {
    fn read(file: &file::Postgres, at: &At<'_>) -> Read<Self> {
        let url = at.field("url").reference(&file.url, Purpose::PostgresUrl);
        let field = at.field("provider_name");
        let provider_name = field.word(&file.provider_name)?;
        if file.mirror && Name::parse(&provider_name).is_err() {
            return Err(field.problem(
                format!("{provider_name:?} cannot be a provider of ours, so there is nothing to mirror"),
                "with mirror = true write the provider that its keys are stored under, as `rekeyd keys list` shows it",
            ));
        }
        Ok(Self { url: url?, provider_name, key_number: file.key_number, mirror: file.mirror })
    }
}

impl File {
    fn read(file: &file::File, at: &At<'_>) -> Read<Self> {
        let path = at.field("path").value(file_path(&file.path));
        let variable = file_variable(file, &at.field("variable"));
        let mode = file.mode.as_ref().map(|mode| at.field("mode").value(file_mode(mode))).transpose();
        let owner = file.owner.as_ref().map(|owner| at.field("owner").value(user_name(owner))).transpose();
        let group = file.group.as_ref().map(|group| at.field("group").value(user_name(group))).transpose();
        Ok(Self {
            path: path?,
            format: file.format,
            variable: variable?,
            mode: mode?,
            owner: owner?,
            group: group?,
            unsafe_folder: file.unsafe_folder,
        })
    }
}

fn file_path(text: &str) -> Result<PathBuf, BadValue> {
    let bad = |message: &str| {
        BadValue::new(format!("{text:?} {message}"), "write it like \"/run/agents/openrouter.env\"")
    };
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err(bad("is not an absolute path"));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(bad("leads upwards"));
    }
    if text.ends_with('/') || text.contains(char::is_control) {
        return Err(bad("is not the path of a file"));
    }
    Ok(path.components().collect())
}

fn file_variable(file: &file::File, at: &At<'_>) -> Read<Option<String>> {
    match (file.format, &file.variable) {
        (FileFormat::Raw, None) => Ok(None),
        (FileFormat::Raw, Some(_)) => {
            Err(at.problem("a raw file holds the key alone", "leave variable out, or write format = \"env\""))
        }
        (FileFormat::Env | FileFormat::Json, None) => {
            Err(at.problem("what is the key called in the file?", "write variable = \"OPENROUTER_API_KEY\""))
        }
        (FileFormat::Env, Some(name)) => at.value(variable_name(name)).map(Some),
        (FileFormat::Json, Some(name)) => at.word(name).map(Some),
    }
}

fn file_mode(text: &str) -> Result<u32, BadValue> {
    let hint = "write three octal digits, the last of them 0, such as \"0640\" or \"0600\"";
    let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777);
    let mode = mode.ok_or_else(|| BadValue::new(format!("{text:?} is not a file mode"), hint))?;
    if mode & 0o007 != 0 {
        return Err(BadValue::new(format!("{text:?} lets every user of the machine at the key"), hint));
    }
    Ok(mode)
}

fn user_name(text: &str) -> Result<String, BadValue> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '@');
    if text.is_empty() || text.starts_with('-') || !text.chars().all(plain) {
        return Err(BadValue::new(format!("{text:?} is not a user or group"), "write a name or a number"));
    }
    Ok(text.to_owned())
}

/// The name of an environment variable.
fn variable_name(text: &str) -> Result<String, BadValue> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(word) {
        let hint = "letters, digits and _, not starting with a digit, such as \"OPENROUTER_API_KEY\"";
        return Err(BadValue::new(format!("{text:?} is not the name of a variable"), hint));
    }
    Ok(text.to_owned())
}

impl Command {
    fn read(file: &file::Command, at: &At<'_>) -> Read<Self> {
        let timeout = at.field("timeout").positive_span(&file.timeout);
        let program = &file.command[0];
        if program.is_empty() || (program.contains('/') && !program.starts_with('/')) {
            let hint = "write an absolute path, such as \"/usr/local/bin/push-key\", or the name of a program in PATH";
            return Err(at.field("command").item(0).problem(format!("{program:?} is not a program"), hint));
        }
        if file.command.iter().any(|word| word.contains('\0')) {
            return Err(at.field("command").problem("there is a NUL character in it", "take it out"));
        }
        Ok(Self { command: file.command.clone(), timeout: timeout?, show_output: file.show_output })
    }
}

impl DestinationKind {
    /// Whether both are one place, wholly or in part, so that each would overwrite the other's key.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        if let (Self::File(file), Self::File(other)) = (self, other) {
            let apart = file.format == other.format && file.variable != other.variable;
            return file.path == other.path && !apart;
        }
        let others = other.addresses();
        self.addresses().iter().any(|address| others.contains(address))
    }

    /// Where it really is, one address for each thing that is written.
    fn addresses(&self) -> Vec<String> {
        match self {
            Self::Github(Github { scope, store, secret, api_url, .. }) => {
                vec![format!("{api_url}/{}/{}/{secret}", scope.address(), store.as_str())]
            }
            Self::Vercel(Vercel { project, team, variable, targets, api_url, .. }) => {
                let team = team.as_deref().unwrap_or("-");
                let address = |target: &VercelTarget| {
                    format!("{api_url}/{team}/{project}/{variable}/{}", target.as_str())
                };
                targets.iter().map(address).collect()
            }
            Self::Postgres(Postgres { url, provider_name, key_number, .. }) => {
                vec![format!("postgres {url} {provider_name} {key_number}")]
            }
            Self::File(File { path, .. }) => vec![format!("file {}", path.display())],
            Self::Command(Command { command, .. }) => vec![format!("command {command:?}")],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{assert_table, settings};

    /// A destination of a type, with these lines.
    fn destination(kind: &str, lines: &str) -> String {
        format!("[[destinations]]\nname = \"a\"\ntype = {kind:?}\n{lines}")
    }

    fn read(kind: &str, lines: &str) -> Destination {
        settings(&destination(kind, lines)).destinations.remove(0)
    }

    const VERCEL: &str = "project = \"app\"\nvariable = \"KEY\"\ntoken = \"env:T\"\n";

    #[test]
    fn has_the_defaults_of_the_interface() {
        let Destination { holds, required, on_drift, kind, .. } = read("vercel", VERCEL);
        assert_eq!((holds, required, on_drift), (KeyKind::Regular, true, OnDrift::Hold));
        let DestinationKind::Vercel(Vercel { team, targets, sensitive, api_url, redeploy, .. }) = kind else {
            panic!()
        };
        assert_eq!((team, sensitive, redeploy), (None, true, true));
        assert_eq!(targets, [VercelTarget::Production, VercelTarget::Preview, VercelTarget::Development]);
        assert_eq!(api_url.as_str(), "https://api.vercel.com");
        let url = SecretRef::Env("U".to_owned());
        let provider_name = "openrouter".to_owned();
        let postgres =
            DestinationKind::Postgres(Postgres { url, provider_name, key_number: 1, mirror: false });
        assert_eq!(read("postgres", "url = \"env:U\"").kind, postgres);
        let DestinationKind::File(File { format, mode, owner, group, .. }) =
            read("file", "path = \"/a\"\nvariable = \"KEY\"").kind
        else {
            panic!()
        };
        assert_eq!((format, mode, owner, group), (FileFormat::Env, None, None, None));
        let command = DestinationKind::Command(Command {
            command: vec!["push".to_owned()],
            timeout: Span::seconds(60),
            show_output: false,
        });
        assert_eq!(read("command", "command = [\"push\"]").kind, command);
    }

    #[test]
    fn only_production_is_redeployed() {
        let lines = format!("{VERCEL}targets = [\"preview\", \"preview\"]");
        let DestinationKind::Vercel(Vercel { targets, redeploy, .. }) = read("vercel", &lines).kind else {
            panic!()
        };
        assert_eq!((targets, redeploy), (vec![VercelTarget::Preview], false));
    }

    #[test]
    fn paths_are_plain() {
        let DestinationKind::File(File { path, .. }) =
            read("file", "path = \"/run//a/./b\"\nformat = \"raw\"").kind
        else {
            panic!()
        };
        assert_eq!(path, Path::new("/run/a/b"));
        assert_eq!(path.as_os_str(), "/run/a/b");
    }

    #[test]
    fn only_github_takes_provisioning_keys() {
        let files = [
            destination("vercel", &format!("{VERCEL}holds = \"provisioning\"")),
            destination("postgres", "url = \"env:U\"\nholds = \"provisioning\""),
            destination("file", "path = \"/a\"\nformat = \"raw\"\nholds = \"provisioning\""),
            destination("command", "command = [\"a\"]\nholds = \"provisioning\""),
        ];
        assert_table!(&files.each_ref().map(String::as_str));
    }

    #[test]
    fn refuses_bad_vercel_and_postgres_destinations() {
        let files = [
            destination(
                "vercel",
                "project = \"\"\nteam = \"\"\nvariable = \"1A\"\ntoken = \"hunter2\"\napi_url = \"http://vercel.example.com\"\n",
            ),
            destination("vercel", &format!("{VERCEL}targets = []")),
            destination("vercel", &format!("{VERCEL}targets = [\"prod\"]")),
            destination("vercel", &format!("{VERCEL}targets = [\"preview\"]\nredeploy = true")),
            destination("vercel", &format!("{VERCEL}redeploy = false\npromote = true")),
            destination("postgres", "url = \"postgres://user:hunter2@db/app\""),
            destination("postgres", "url = \"env:U\"\nprovider_name = \" \"\nkey_number = 0"),
            destination("postgres", "url = \"env:U\"\nprovider_name = \" \""),
            destination("postgres", "url = \"env:U\"\nprovider_name = \"Open Router\"\nmirror = true"),
        ];
        assert_table!(&files.each_ref().map(String::as_str));
    }

    #[test]
    fn refuses_bad_file_and_command_destinations() {
        let files = [
            destination("file", "path = \"run/a\""),
            destination("file", "path = \"/run/../a\"\nformat = \"raw\"\nvariable = \"A\""),
            destination("file", "path = \"/run/a/\"\nformat = \"json\""),
            destination(
                "file",
                "path = \"/a\"\nvariable = \"MY KEY\"\nmode = \"0644\"\nowner = \"a b\"\ngroup = \"\"",
            ),
            destination("file", "path = \"/a\"\nvariable = \"A\"\nmode = \"4640\""),
            destination("file", "path = \"/a\"\nvariable = \"A\"\nmode = \"rw-\""),
            destination("file", "path = \"/a\"\nvariable = \"A\"\nmode = \"64\""),
            destination("file", "path = \"/a\"\nvariable = \"A\"\nmode = 0o640"),
            destination("command", "command = []"),
            destination("command", "command = [\"\"]"),
            destination("command", "command = [\"bin/push\"]\ntimeout = \"0s\""),
        ];
        assert_table!(&files.each_ref().map(String::as_str));
    }
}
