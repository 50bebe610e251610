//! Which files are read: `--config PATH`, else `$REKEYD_CONFIG`, else `/etc/rekeyd/rekeyd.toml`; and then
//! `rekeyd.d/*.toml` beside it, in the order of their names. How they are merged: `document`.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::document::Document;
use super::file::ConfigFile;
use super::problem::{ConfigError, Problem};
use super::settings::Settings;
use super::shape;
use super::show::Effective;

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
    let (settings, file) = check(&document).map_err(|problems| in_order(problems, &paths))?;
    Ok(Loaded { settings, effective: Effective(file), files: paths })
}

/// From the tree to settings: its shape first; the rest where the mirror can take it.
fn check(document: &Document) -> Result<(Settings, ConfigFile), Vec<Problem>> {
    let findings = shape::check(document);
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
    std::fs::read_to_string(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => ConfigError::Missing(path.to_owned()),
        _ => ConfigError::Unreadable { path: path.to_owned(), source },
    })
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
