//! Which files are read: `--config PATH`, else `$REKEYD_CONFIG`, else `/etc/rekeyd/rekeyd.toml`; and then
//! `rekeyd.d/*.toml` beside it, in the order of their names. How they are merged: `document`.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::check;
use super::document::Document;
use super::file::ConfigFile;
use super::problem::{ConfigError, Problem};
use super::settings::Settings;
use super::show::Effective;
use crate::crypto::trusted::{CONFIG_BYTES, Caller, Distrust};

/// The configuration where nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/rekeyd/rekeyd.toml";
/// The environment variable that names another.
pub const PATH_VARIABLE: &str = "REKEYD_CONFIG";
/// The folder of drop-ins, beside the file.
const DROP_INS: &str = "rekeyd.d";

/// A configuration that was read and is valid.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The same as it would be written, for `config show`.
    pub effective: Effective,
    /// The files it came from, in the order in which they were merged.
    pub files: Vec<PathBuf>,
}

/// Reads, merges and checks the configuration. `path` is `--config`.
pub fn load(path: Option<&Path>) -> Result<Loaded, ConfigError> {
    load_file(&choose(path, std::env::var_os(PATH_VARIABLE)))
}

/// Where the configuration is, whether or not it exists; `rekeyd init` writes it there.
pub fn path(path: Option<&Path>) -> PathBuf {
    choose(path, std::env::var_os(PATH_VARIABLE))
}

fn choose(path: Option<&Path>, variable: Option<OsString>) -> PathBuf {
    let named = variable.filter(|value| !value.is_empty()).map(PathBuf::from);
    path.map(Path::to_owned).or(named).unwrap_or_else(|| PathBuf::from(DEFAULT_PATH))
}

fn load_file(path: &Path) -> Result<Loaded, ConfigError> {
    let mut files = vec![path.to_owned()];
    files.extend(drop_ins(path)?);
    let texts = files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    parse(files.iter().zip(&texts).map(|(file, text)| (file.as_path(), text.as_str())))
}

/// Checks texts as if they were files, in the order in which they are merged. For `rekeyd init` and tests.
pub fn parse<'f>(files: impl IntoIterator<Item = (&'f Path, &'f str)>) -> Result<Loaded, ConfigError> {
    let mut document = Document::new();
    let mut problems = Vec::new();
    let mut paths = Vec::new();
    for (path, text) in files {
        paths.push(path.to_owned());
        problems.extend(document.add(path, text).err().unwrap_or_default());
    }
    if !problems.is_empty() {
        return Err(ConfigError::Invalid(problems));
    }
    let (settings, file) = settle(&document).map_err(|problems| in_order(problems, &paths))?;
    Ok(Loaded { settings, effective: Effective(file), files: paths })
}

/// From the tree to settings: its shape first; the rest where the mirror can take it.
fn settle(document: &Document) -> Result<(Settings, ConfigFile), Vec<Problem>> {
    let findings = check::check(document);
    let mut problems = findings.problems;
    if !findings.fits {
        return Err(problems);
    }
    let mut file: ConfigFile = serde_json::from_value(document.root().to_json())
        .map_err(|_| vec![document.problem(&[], "the file has a shape that cannot be read", None)])?;
    file.complete();
    match Settings::read(document, &file) {
        Ok(settings) if problems.is_empty() => Ok((settings, file)),
        Ok(_) => Err(problems),
        Err(others) => {
            problems.extend(others);
            Err(problems)
        }
    }
}

fn in_order(mut problems: Vec<Problem>, files: &[PathBuf]) -> ConfigError {
    let file = |problem: &Problem| files.iter().position(|file| *file == problem.file);
    problems.sort_by_key(|problem| (file(problem), problem.line));
    ConfigError::Invalid(problems)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let file = Caller::of_this_process().read(path, CONFIG_BYTES).map_err(|why| match why {
        Distrust::Io(source) if source.kind() == ErrorKind::NotFound => ConfigError::Missing(path.to_owned()),
        Distrust::Io(source) => unreadable(source),
        why => ConfigError::Distrusted { path: path.to_owned(), why },
    })?;
    let text = std::str::from_utf8(&file.bytes).map_err(|error| unreadable(std::io::Error::other(error)))?;
    Ok(text.to_owned())
}

fn drop_ins(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let folder = path.parent().unwrap_or(Path::new("")).join(DROP_INS);
    let unreadable = |source| ConfigError::Unreadable { path: folder.clone(), source };
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(unreadable(error)),
    };
    // Who may put a file there writes the configuration.
    Caller::of_this_process()
        .walk(&folder)
        .map_err(|why| ConfigError::Distrusted { path: folder.clone(), why })?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(unreadable));
    let mut files = paths.collect::<Result<Vec<_>, _>>()?;
    files.retain(|file| is_drop_in(file));
    files.sort();
    Ok(files)
}

/// `*.toml`, as a shell would: no hidden files, which editors leave behind.
fn is_drop_in(file: &Path) -> bool {
    let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    file.extension().is_some_and(|extension| extension == "toml") && !hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files in it.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn load_in(folder: &tempfile::TempDir) -> Result<Loaded, ConfigError> {
        load(Some(&folder.path().join("rekeyd.toml")))
    }

    /// The problems, with the folder called `/etc`.
    fn problems(folder: &tempfile::TempDir) -> String {
        load_in(folder).unwrap_err().to_string().replace(&*folder.path().to_string_lossy(), "/etc")
    }

    #[test]
    fn the_option_wins_over_the_environment_and_that_over_the_default() {
        let named = || Some(OsString::from("/env.toml"));
        assert_eq!(choose(Some(Path::new("/option.toml")), named()), Path::new("/option.toml"));
        assert_eq!(choose(None, named()), Path::new("/env.toml"));
        assert_eq!(choose(None, Some(OsString::new())), Path::new("/etc/rekeyd/rekeyd.toml"));
        assert_eq!(choose(None, None), Path::new("/etc/rekeyd/rekeyd.toml"));
    }

    #[test]
    fn drop_ins_are_merged_in_the_order_of_their_names() {
        let account = |name: &str| format!("[[accounts]]\nname = \"{name}\"\nprovisioning_key = \"env:A\"\n");
        let listen = |port: u16| format!("[server]\nlisten = \"127.0.0.1:{port}\"\n");
        let folder = folder(&[
            ("rekeyd.toml", &format!("{}[database]\nmax_connections = 2\n{}", listen(1), account("one"))),
            ("rekeyd.d/20-b.toml", &format!("{}{}", listen(20), account("three"))),
            ("rekeyd.d/10-a.toml", &format!("{}{}", listen(10), account("two"))),
            ("rekeyd.d/.#10-a.toml", "not TOML"),
            ("rekeyd.d/10-a.toml~", "not TOML"),
            ("rekeyd.d/README", "not TOML"),
        ]);
        let loaded = load_in(&folder).unwrap();
        assert_eq!(loaded.settings.server.listen.to_string(), "127.0.0.1:20");
        assert_eq!(loaded.settings.database.max_connections, 2);
        let names: Vec<&str> = loaded.settings.accounts.iter().map(|account| account.name.as_str()).collect();
        assert_eq!(names, ["one", "two", "three"]);
        let files: Vec<_> =
            loaded.files.iter().map(|file| file.strip_prefix(folder.path()).unwrap()).collect();
        assert_eq!(files, ["rekeyd.toml", "rekeyd.d/10-a.toml", "rekeyd.d/20-b.toml"].map(Path::new));
    }

    #[test]
    fn the_order_of_drop_ins_is_not_that_of_the_folder() {
        let names: Vec<String> =
            (0..60).map(|number| format!("rekeyd.d/{:02}.toml", number * 37 % 60)).collect();
        let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        files.push(("rekeyd.toml", ""));
        let loaded = load_in(&folder(&files)).unwrap();
        assert_eq!(loaded.files.len(), 61);
        assert!(loaded.files[1..].is_sorted());
    }

    #[test]
    fn problems_name_the_file_they_are_in() {
        let account = "[[accounts]]\nname = \"main\"\nprovisioning_key = \"env:A\"\n";
        let folder = folder(&[
            ("rekeyd.toml", &format!("[server]\nlisten = \"x\"\n{account}")),
            ("rekeyd.d/a.toml", "\n[engine]\nlease = \"1s\"\n"),
            ("rekeyd.d/b.toml", &format!("[server]\nlisten = \"y\"\n\n{account}nam = 1\n")),
        ]);
        assert_eq!(
            problems(&folder),
            "/etc/rekeyd.d/a.toml:3: engine.lease: a lease of 1s is too short for a call of 10s\n  \
               hint: make lease longer than call_timeout and a margin of 2s: more than 12s\n\
             /etc/rekeyd.d/b.toml:2: server.listen: \"y\" is not an address and a port\n  \
               hint: write \"127.0.0.1:8084\", \"[::1]:8084\" or \"unix:/run/rekeyd/rekeyd.sock\"\n\
             /etc/rekeyd.d/b.toml:5: accounts.main.name: there is another account \"main\"\n  \
               hint: the first is at /etc/rekeyd.toml:4\n\
             /etc/rekeyd.d/b.toml:7: accounts.main.nam: unknown field\n  \
               hint: did you mean \"name\"?"
        );
    }

    #[test]
    fn syntax_errors_of_all_files_come_out_together() {
        let folder = folder(&[("rekeyd.toml", "a = \n"), ("rekeyd.d/a.toml", "\n[x\n")]);
        assert_eq!(
            problems(&folder),
            "/etc/rekeyd.toml:1: not TOML: string values must be quoted, expected literal string\n\
             /etc/rekeyd.d/a.toml:2: not TOML: unclosed table, expected `]`"
        );
    }

    #[test]
    fn fuzz_configurations() {
        let template = crate::config::template::TEMPLATE.replace("\n#", "\n");
        let seeds =
            [template.as_bytes(), b"[server]\nlisten = \"127.0.0.1:1\"\n[[accounts]]\nname = \"a\"\n"];
        crate::net::testing::fuzz(&seeds, |text| {
            let text = String::from_utf8_lossy(text);
            if let Err(error) = parse([(Path::new("r.toml"), &*text)]) {
                assert!(!error.to_string().is_empty());
            }
        });
    }

    #[test]
    fn a_missing_file_says_what_to_do() {
        let folder = folder(&[]);
        let error = load_in(&folder).unwrap_err();
        let path = folder.path().join("rekeyd.toml");
        assert_eq!(error.to_string(), format!("there is no configuration at {}", path.display()));
        let hint = error.hint().unwrap();
        assert!(hint.contains("rekeyd init") && hint.contains("--config"), "{hint}");
    }

    #[test]
    fn what_others_may_change_is_not_read() {
        use std::os::unix::fs::PermissionsExt;
        for open in ["rekeyd.toml", "rekeyd.d/a.toml", "rekeyd.d", "."] {
            let folder = folder(&[("rekeyd.toml", ""), ("rekeyd.d/a.toml", "")]);
            assert!(load_in(&folder).is_ok());
            let mode = std::fs::Permissions::from_mode(0o777);
            std::fs::set_permissions(folder.path().join(open), mode).unwrap();
            let error = load_in(&folder).unwrap_err();
            assert!(matches!(&error, ConfigError::Distrusted { .. }), "{open}: {error}");
            assert!(error.hint().unwrap().starts_with("chmod go-w /"));
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_missing() {
        let folder = folder(&[("rekeyd.toml/x", "")]);
        assert!(matches!(load_in(&folder), Err(ConfigError::Distrusted { .. })));
        let binary = folder.path().join("binary.toml");
        std::fs::write(&binary, [0xff, 0xfe]).unwrap();
        assert!(matches!(load(Some(&binary)), Err(ConfigError::Unreadable { .. })));
    }
}
