//! The walls of the house, checked by reading the sources.
//!
//! - `catalog_page`: docs/providers.md, made of the rows of the catalog
//! - `commands`: commands that are written down, and the synopsis
//! - `defences`: the list of `tests/defences.toml`, and its table in docs/safety.md
//! - `law`: what sources cite, and what docs/design marks as not built
//! - `leftovers`: settings, snapshots and dependencies that nothing uses; files that pages name and that are gone
//! - `pages`, `texts`: what those read
//! - `reader`: the modules of the library as the compiler sees them without `#[cfg(test)]`, and what they import
//! - `walls`: who may import whom
//!
//! The checks are themselves checked: each one on planted text that breaks its rule.

mod catalog_page;
mod commands;
mod defences;
mod law;
mod leftovers;
mod pages;
mod reader;
mod texts;
mod walls;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use reader::{Module, library, main_file};
use walls::Walls;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn everything() -> Vec<Module> {
    let mut modules = library(&root().join("src"));
    modules.push(main_file(&root().join("src")));
    modules
}

fn none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

// --- who imports whom ------------------------------------------------------------------------------------------

#[test]
fn rooms_import_only_what_lies_below_them() {
    let modules = everything();
    let walls = Walls::of(&modules);
    none(&modules.iter().flat_map(|module| walls.breaches(module)).collect::<Vec<_>>());
}

#[test]
fn files_of_the_engine_form_no_circle() {
    none(&walls::circles(&everything()));
}

#[test]
fn planted_circles_are_seen() {
    let planted = |path: &[&str], source: &str| Module::parse(path, &path.join("/"), source);
    let one = planted(&["engine", "run", "step"], "use super::perform;");
    let two = planted(&["engine", "run", "perform"], "fn f() { crate::engine::run::issue::g(); }");
    let three = planted(&["engine", "run", "issue"], "use super::step::Report;");
    let aside = planted(&["engine", "run", "verify"], "use super::step::Report;");
    assert_eq!(walls::circles(&[one, two, aside]).len(), 0);
    let one = planted(&["engine", "run", "step"], "use super::perform;");
    let two = planted(&["engine", "run", "perform"], "fn f() { crate::engine::run::issue::g(); }");
    assert_eq!(walls::circles(&[one, two, three]).len(), 3);
}

#[test]
fn every_room_has_a_place_in_the_table() {
    let modules = library(&root().join("src"));
    let homeless =
        modules.iter().filter(|module| module.path.len() == 1 && !walls::is_known(&module.path[0]));
    none(&homeless.map(|module| format!("{}: has no place in the table", module.file)).collect::<Vec<_>>());
}

/// What a wall says about one planted import.
fn breaches_of(path: &[&str], source: &str) -> Vec<String> {
    let rooms = [
        Module::parse(&["provider"], "src/provider/mod.rs", "pub mod openrouter; pub trait Issuer {}"),
        Module::parse(&["destination"], "src/destination/mod.rs", "pub mod github;"),
    ];
    let planted = Module::parse(path, "planted.rs", source);
    Walls::of(&rooms).breaches(&planted)
}

#[test]
fn planted_breaches_are_seen() {
    let cases: &[(&[&str], &str, &str)] = &[
        (&["domain", "key"], "use crate::clock::Clock;", "domain may not import clock"),
        (&["store", "keys"], "use crate::engine::Engine;", "store may not import engine"),
        (&["store", "keys"], "use crate::provider::Issuer;", "store may not import provider"),
        (&["crypto"], "use crate::config::Settings;", "crypto may not import config"),
        (&["net"], "use crate::crypto::Ring;", "net may not import crypto"),
        (&["net"], "use super::crypto::Ring;", "net may not import crypto"),
        (&["http"], "use crate::daemon;", "http may not import daemon"),
        (&["app"], "use crate::cli::run;", "app may not import cli"),
        (&["destination", "file"], "use crate::config::settings::File;", "takes plain arguments"),
        (&["engine", "kill"], "use crate::config::Settings;", "takes plain arguments"),
        (&["engine", "kill"], "use crate::provider::openrouter::OpenRouter;", "sees only provider/mod.rs"),
        (&["engine", "kill"], "use crate::{net::Http, destination::{self, github}};", "destination/mod.rs"),
        (&["engine"], "fn f() { let x = crate::cli::output::line(1); }", "engine may not import cli"),
        (&["engine"], "fn f() { println!(\"{}\", crate::cli::x()); }", "engine may not import cli"),
        (&["engine"], "mod inner { use super::super::cli::x; }", "engine may not import cli"),
        (&["store", "pool"], "use super::super::cli;", "store may not import cli"),
        (&["daemon"], "use crate::sim::World;", "only cli/demo may import sim"),
        (&["cli", "keys"], "use crate::sim::World;", "only cli/demo may import sim"),
        (&["sim", "wire"], "use crate::domain::time::Span;", "sim imports nothing of ours"),
        (&["cli"], "use crate::attic::Trunk;", "attic is no room"),
        (&["cli", "runs"], "use crate::engine::step;", "calls engine/commands"),
        (&["http"], "use crate::engine::passes::check_keys;", "calls engine/commands"),
        (&["engine", "session"], "use super::run::step;", "session may not import run: it is a later step"),
        (
            &["engine", "retire", "kill"],
            "use crate::engine::commands::adopt;",
            "retire may not import commands",
        ),
        (&["engine", "parts"], "use super::session::Session;", "parts may not import session"),
        (&["engine", "run", "step"], "use crate::engine::Session;", "import it from the folder"),
    ];
    for (path, source, expected) in cases {
        let found = breaches_of(path, source);
        assert_eq!(found.len(), 1, "{source}: {found:?}");
        assert!(found[0].contains(expected), "{source}: {found:?}");
    }
}

#[test]
fn what_is_allowed_is_not_taken_for_a_breach() {
    let cases: &[(&[&str], &str)] = &[
        (&["config", "origin"], "use crate::{crypto::SecretRef, domain::name::Name};"),
        (&["engine"], "use crate::provider::{self, Issuer}; use crate::destination::Destination;"),
        (&["engine", "kill"], "use super::super::store::Store;"),
        (
            &["engine", "retire", "kill"],
            "use crate::engine::{Engine, lease}; use super::super::session::Session;",
        ),
        (
            &["cli", "runs"],
            "use crate::engine::{Engine, EngineError, commands}; use crate::engine::commands::step;",
        ),
        (&["app"], "use crate::provider::openrouter::OpenRouter; use crate::config::Settings;"),
        (&["cli", "demo"], "use crate::sim::World;"),
        (&["cli", "demo", "story"], "use crate::sim::{github, openrouter};"),
        (&["main"], "fn main() { rekeyd::cli::run(); }"),
        (
            &["store"],
            "/// See [`crate::engine::Engine`].\n// use crate::engine;\nconst X: &str = \"crate::engine::x\";",
        ),
        (
            &["store"],
            "#[cfg(test)] mod tests { use crate::sim::World; } #[cfg(test)] use crate::engine::Engine;",
        ),
        (&["store"], "#[cfg(test)] #[expect(x)] fn f() -> u8 { crate::cli::run() } pub(crate) fn g() {}"),
        (&["store"], "impl X { #[cfg(test)] fn f() { crate::cli::run() } fn g() {} }"),
    ];
    for (path, source) in cases {
        assert_eq!(breaches_of(path, source), Vec::<String>::new(), "{source}");
    }
}

#[test]
fn every_source_file_belongs_to_a_module() {
    let reached: BTreeSet<String> = reader::reached(&root().join("src"));
    let mut files = Vec::new();
    files_below(&root().join("src"), &mut files);
    let orphans = files.iter().filter(|file| {
        file.extension().is_some_and(|extension| extension == "rs")
            && !reached.contains(&file.display().to_string())
            && file.file_name().is_some_and(|name| name != "main.rs")
    });
    none(&orphans.map(|file| format!("{}: no module declares it", file.display())).collect::<Vec<_>>());
}

fn files_below(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, into) } else { into.push(path) }
    }
}

// --- words that belong to certain rooms ------------------------------------------------------------------------

/// Words, and the only modules that may say them.
struct Tool {
    words: &'static [&'static str],
    rooms: &'static [&'static [&'static str]],
    reason: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        words: &["anyhow"],
        rooms: &[&["cli"], &["app"], &["main"]],
        reason: "errors are typed; anyhow is for the edge",
    },
    Tool {
        words: &["println!", "eprintln!", "print!", "eprint!"],
        rooms: &[&["main"]],
        reason: "what people see goes through cli/output, which shows names as they are and cuts keys out",
    },
    Tool {
        words: &["sqlx"],
        rooms: &[&["store"], &["destination", "postgres"], &["cli", "demo", "application"]],
        reason: "SQL is in the store, and where an application's database is",
    },
    Tool {
        words: &["octocrab"],
        rooms: &[&["destination", "github"]],
        reason: "GitHub's client stays in its corner",
    },
    Tool {
        words: &["lettre"],
        rooms: &[&["notify"], &["config"]],
        reason: "mail is sent by notify; config checks addresses as it would",
    },
    Tool {
        words: &["aws_lc_rs", "fernet"],
        rooms: &[&["crypto"], &["app"], &["cli"]],
        reason: "key material is handled in crypto",
    },
];

/// What the pure middle may not name: with any of these it could not be replayed.
const IMPURE: &[&str] =
    &["tokio", "sqlx", "reqwest", "rand", "async", "await", "SystemTime", "Instant", "File", "fs", "env"];

fn misplaced(module: &Module) -> Vec<String> {
    let strange = TOOLS.iter().filter(|tool| !tool.rooms.iter().any(|room| module.is_in(room)));
    let said = |tool: &Tool, word: &str| -> Vec<String> {
        let lines = module.lines_saying(word).into_iter();
        lines
            .map(|line| format!("{}:{line}: `{word}` does not belong here: {}", module.file, tool.reason))
            .collect()
    };
    strange.flat_map(|tool| tool.words.iter().flat_map(|word| said(tool, word)).collect::<Vec<_>>()).collect()
}

fn impure(module: &Module) -> Vec<String> {
    let said = |word: &&str| {
        let lines = module.lines_saying(word);
        lines
            .into_iter()
            .map(|line| format!("{}:{line}: `{word}` in the domain", module.file))
            .collect::<Vec<_>>()
    };
    if module.is_in(&["domain"]) { IMPURE.iter().flat_map(said).collect() } else { Vec::new() }
}

/// What the command line leaves to engine/commands: reading the store, and the shapes of JSON.
const BELOW: &[(&str, &[&[&str]])] = &[
    ("store", &[&["cli", "database"]]),
    ("json!", &[&["cli", "config"]]),
    ("Serialize", &[&["cli", "output"]]),
];

/// The demo and `init` have no engine: they are what stands around it.
fn not_through_commands(module: &Module) -> Vec<String> {
    if !module.is_in(&["cli"]) || module.is_in(&["cli", "demo"]) || module.is_in(&["cli", "init"]) {
        return Vec::new();
    }
    let said = |(word, rooms): &(&str, &[&[&str]])| {
        let lines =
            if rooms.iter().any(|room| module.is_in(room)) { Vec::new() } else { module.lines_saying(word) };
        let said = |line| format!("{}:{line}: `{word}`: ask engine/commands for a view", module.file);
        lines.into_iter().map(said).collect::<Vec<_>>()
    };
    BELOW.iter().flat_map(said).collect()
}

#[test]
fn the_command_line_shows_views_of_the_service_layer() {
    none(&everything().iter().flat_map(not_through_commands).collect::<Vec<_>>());
}

#[test]
fn tools_stay_in_their_rooms() {
    none(&everything().iter().flat_map(misplaced).collect::<Vec<_>>());
}

#[test]
fn the_domain_is_pure() {
    none(&everything().iter().flat_map(impure).collect::<Vec<_>>());
}

#[test]
fn planted_words_are_seen() {
    let planted = |path: &[&str], source: &str| misplaced(&Module::parse(path, "planted.rs", source)).len();
    assert_eq!(planted(&["store"], "fn f() -> anyhow::Result<()> { Ok(()) }"), 1);
    assert_eq!(planted(&["store"], "fn f() {\n if x { eprintln!(\"x\"); } }"), 1);
    assert_eq!(planted(&["engine"], "use sqlx::Row;"), 1);
    assert_eq!(planted(&["destination", "postgres"], "use sqlx::Row;"), 0);
    assert_eq!(planted(&["cli", "keys"], "fn f() -> anyhow::Result<()> { Ok(()) }"), 0);
    assert_eq!(planted(&["cli", "keys"], "fn f() { println!(\"x\"); }"), 1);
    assert_eq!(planted(&["store"], "// anyhow\n#[cfg(test)] mod tests { fn f() { println!(\"x\"); } }"), 0);
    let planted =
        |path: &[&str], source: &str| not_through_commands(&Module::parse(path, "planted.rs", source)).len();
    assert_eq!(planted(&["cli", "keys"], "fn f(e: &Engine) { e.store().keys(); }"), 1);
    assert_eq!(planted(&["cli", "keys"], "use crate::store::KeyRow;\n#[derive(Serialize)] struct Row;"), 2);
    assert_eq!(planted(&["cli", "runs"], "fn f() { json!({}) }"), 1);
    assert_eq!(planted(&["cli", "demo", "story"], "fn f() { json!({}) }"), 0);
    assert_eq!(planted(&["http"], "fn f() { json!({}) }"), 0);
    let planted = |path: &[&str], source: &str| impure(&Module::parse(path, "planted.rs", source)).len();
    assert_eq!(planted(&["domain", "time"], "pub async fn now() -> u8 { 1 }"), 1);
    assert_eq!(planted(&["clock"], "pub async fn now() -> u8 { 1 }"), 0);
}

// --- lists that must agree -------------------------------------------------------------------------------------

/// The names of the migrations in a folder, in order.
fn migrations(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "sql"))
        .collect();
    names.sort();
    names
}

/// The migrations whose number does not follow that of the one before.
fn gaps(names: &[String]) -> Vec<String> {
    let number = |name: &str| name.split('_').next().and_then(|number| number.parse::<usize>().ok());
    let out_of_turn = names.iter().enumerate().filter(|(place, name)| number(name) != Some(place + 1));
    out_of_turn.map(|(place, name)| format!("{name}: number {} is missing", place + 1)).collect()
}

#[test]
fn migrations_are_numbered_without_a_gap() {
    for folder in ["store", "destination"] {
        let names = migrations(&root().join("migrations").join(folder));
        assert!(!names.is_empty());
        none(&gaps(&names));
    }
}

#[test]
fn planted_gaps_between_migrations_are_seen() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(gaps(&names(&["0001_first.sql", "0002_x.sql"])).len(), 0);
    assert_eq!(gaps(&names(&["0001_a.sql", "0003_b.sql"])).len(), 1);
    assert_eq!(gaps(&names(&["0001_a.sql", "0001_b.sql"])).len(), 1);
    assert_eq!(gaps(&names(&["first.sql"])).len(), 1);
}

/// Tables of alert kinds in a page, each by the kinds that its rows begin with.
fn tables_of_kinds<'t>(page: &'t str, kinds: &BTreeSet<&str>) -> Vec<BTreeSet<&'t str>> {
    let mut tables: Vec<BTreeSet<&str>> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        let cell = line.strip_prefix('|').and_then(|rest| rest.split('|').next());
        let word = cell.map(|cell| cell.trim().trim_matches('`'));
        match (cell, word.filter(|word| kinds.contains(word))) {
            (None, _) => inside = false,
            (Some(_), Some(word)) if inside => tables.last_mut().into_iter().for_each(|table| {
                table.insert(word);
            }),
            (Some(_), Some(word)) => {
                tables.push(BTreeSet::from([word]));
                inside = true;
            }
            (Some(_), None) => {}
        }
    }
    tables
}

#[test]
fn tables_of_alerts_in_the_documentation_are_complete() {
    let kinds: BTreeSet<&str> = rekeyd::domain::alert::Kind::ALL.iter().map(|kind| kind.word()).collect();
    let mut pages = vec![root().join("README.md")];
    if root().join("docs").is_dir() {
        files_below(&root().join("docs"), &mut pages);
    }
    let texts: BTreeMap<PathBuf, String> = pages
        .into_iter()
        .filter_map(|page| Some((page.clone(), std::fs::read_to_string(page).ok()?)))
        .collect();
    for (page, text) in &texts {
        for table in tables_of_kinds(text, &kinds) {
            let missing: Vec<_> = kinds.difference(&table).collect();
            assert!(missing.is_empty(), "{}: a table of alerts lacks {missing:?}", page.display());
        }
    }
}

#[test]
fn planted_gaps_in_a_table_of_alerts_are_seen() {
    let kinds = BTreeSet::from(["key_invalid", "stray_key"]);
    let page = "| kind | what |\n|---|---|\n| `key_invalid` | x |\n\ntext about `stray_key`\n";
    assert_eq!(tables_of_kinds(page, &kinds), [BTreeSet::from(["key_invalid"])]);
    assert!(tables_of_kinds("| `rotation` | x |\n", &kinds).is_empty());
}

// --- what docs/safety.md says ----------------------------------------------------------------------------------

/// Names of functions in these sources.
fn functions(sources: &str) -> BTreeSet<&str> {
    let after = sources.split("fn ").skip(1);
    let named = after.filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next());
    let made = sources.split("on_sqlite!(").skip(1).filter_map(|rest| rest.split(',').next());
    named.chain(made).collect()
}

/// What the page says in code, as far as it could be the name of a test.
fn named_tests(page: &str) -> BTreeSet<&str> {
    let code = page.split('`').skip(1).step_by(2);
    code.filter(|word| word.contains('_') && word.chars().all(|c| c.is_alphanumeric() || c == '_')).collect()
}

/// What is wrong with the page, given the tests.
fn lies(page: &str, functions: &BTreeSet<&str>) -> Vec<String> {
    let named = named_tests(page);
    let missing = named.difference(functions).map(|name| format!("there is no test {name}"));
    let faults = functions.iter().filter(|name| name.starts_with("fault_"));
    let silent = faults.filter(|name| !named.contains(**name)).map(|name| format!("the page lacks {name}"));
    let numbered = (1..=34).filter(|number| {
        let prefix = format!("fault_{number:02}_");
        !functions.iter().any(|name| name.starts_with(&prefix))
    });
    let without = numbered.map(|number| format!("fault {number} has no test"));
    missing.chain(silent).chain(without).collect()
}

#[test]
fn the_page_on_safety_names_every_fault_and_no_test_that_is_not_there() {
    let mut files = Vec::new();
    files_below(&root().join("tests/it/faults"), &mut files);
    let sources: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let page = std::fs::read_to_string(root().join("docs/safety.md")).unwrap();
    none(&lies(&page, &functions(&sources)));
}

/// Each claim of the page stands beside its test.
#[test]
fn the_page_on_security_names_no_test_that_is_not_there() {
    let mut files = Vec::new();
    files_below(&root().join("tests/it"), &mut files);
    files_below(&root().join("src"), &mut files);
    let sources: String = files.iter().filter_map(|file| std::fs::read_to_string(file).ok()).collect();
    let page = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let functions = functions(&sources);
    let missing = |name: &&str| !functions.contains(name) && !["insecure_tls", "show_output"].contains(name);
    none(&named_tests(&page).into_iter().filter(missing).map(str::to_owned).collect::<Vec<_>>());
    let claims: Vec<&str> =
        page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| claim")).collect();
    let bare: Vec<String> =
        claims.iter().filter(|line| named_tests(line).is_empty()).map(|line| (*line).to_owned()).collect();
    none(&bare);
    assert!(claims.len() > 20, "{claims:?}");
}

#[test]
fn planted_lies_are_seen() {
    let of_all = |line: fn(u8) -> String| (1..=33).map(line).collect::<Vec<_>>().join("\n");
    let mut sources = of_all(|number| format!("async fn fault_{number:02}_x() {{}}"));
    let mut page = of_all(|number| format!("`fault_{number:02}_x`"));
    assert_eq!(lies(&page, &functions(&sources)), ["fault 34 has no test"]);
    sources.push_str("\non_sqlite!(kill_all, Story); async fn fault_34_x() {}");
    assert_eq!(lies(&page, &functions(&sources)), ["the page lacks fault_34_x"]);
    page.push_str("\n`fault_34_x` `kill_all` `fault_35_y` `failed`");
    assert_eq!(lies(&page, &functions(&sources)), ["there is no test fault_35_y"]);
}

/// The page ends with the table that `tests/defences.toml` makes. `REKEYD_WRITE_DOCS=1` writes it there.
#[test]
fn the_page_on_safety_shows_every_defence_that_was_removed() {
    let all = defences::read(&defences::text_of(&root(), "tests/defences.toml"));
    none(&defences::faulty(&all, &defences::own_tests(), |file| defences::text_of(&root(), file)));
    let page = defences::text_of(&root(), "docs/safety.md");
    let (before, _) = page.split_once("| defence | fault |").unwrap();
    let whole = before.to_owned() + &defences::table(&all);
    if std::env::var_os("REKEYD_WRITE_DOCS").is_some() {
        std::fs::write(root().join("docs/safety.md"), &whole).unwrap();
    }
    let same = page == whole;
    assert!(same, "docs/safety.md shows another table: REKEYD_WRITE_DOCS=1 with this test writes it");
}

/// `REKEYD_WRITE_DOCS=1` writes it.
#[test]
fn the_page_on_providers_shows_the_catalog() {
    let path = root().join("docs/providers.md");
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    if std::env::var_os("REKEYD_WRITE_DOCS").is_some() {
        std::fs::write(&path, catalog_page::page()).unwrap();
    }
    let same = page == catalog_page::page();
    assert!(same, "docs/providers.md is stale: REKEYD_WRITE_DOCS=1 with this test writes it");
}

#[test]
fn planted_faults_of_a_list_of_defences_are_seen() {
    let entry = |faults: &str, file: &str, new: &str, test: &str| {
        format!(
            "[[defence]]\nfaults = {faults}\nwhat = \"w\"\nfile = \"{file}\"\nold = \"a\"\nnew = \"{new}\"\ntest = \"{test}\"\n"
        )
    };
    let numbers = format!("{:?}", (1..=33).collect::<Vec<u8>>());
    let text = [
        entry(&numbers, "once", "b", "here"),
        entry("[]", "twice", "b", "gone"),
        entry("[]", "once", "a", "here"),
    ];
    let all = defences::read(&text.concat());
    let tests = BTreeSet::from(["here".to_owned()]);
    let found =
        defences::faulty(
            &all,
            &tests,
            |file| if file == "once" { "xax".to_owned() } else { "aa".to_owned() },
        );
    let expected = ["no test gone", "twice has 2 times", "once has 1 times", "fault 34 has no defence"];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    assert!(found.iter().zip(expected).all(|(text, part)| text.contains(part)), "{found:?}");
    assert!(defences::table(&all).contains("| w |  | `gone` |"));
}

/// A file that the program makes. `REKEYD_WRITE_DOCS=1` writes it.
fn is_as_made(path: &str, made: &str) {
    if std::env::var_os("REKEYD_WRITE_DOCS").is_some() {
        std::fs::write(root().join(path), made).unwrap();
    }
    let written = std::fs::read_to_string(root().join(path)).unwrap_or_default();
    assert!(written == made, "{path} is stale: REKEYD_WRITE_DOCS=1 with this test writes it");
}

#[test]
fn the_description_of_the_api_is_what_the_code_makes() {
    let document = rekeyd::http::openapi(rekeyd::http::routes().declared());
    is_as_made("docs/openapi.json", &(serde_json::to_string_pretty(&document).unwrap() + "\n"));
}

#[test]
fn the_page_on_metrics_shows_the_list_of_the_code() {
    let rows = rekeyd::meter::ALL.iter().map(|metric| {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        format!("| `{}` | {} | {labels} | {} |\n", metric.name, metric.kind.word(), metric.help)
    });
    let head = "# Metrics\n\n`GET /metrics`, without a login unless `[metrics]` names a token, as Prometheus reads it; \
                OpenMetrics when the client asks for it. Nothing in it is secret.\nTimes are in seconds since 1970. What is said *of this process* begins at 0 when it starts; all else is counted from the\n\
                database at the scrape, and is the same for every replica.\n\n| metric | kind | labels | what |\n|---|---|---|---|\n";
    is_as_made("docs/metrics.md", &(head.to_owned() + &rows.collect::<String>()));
}
