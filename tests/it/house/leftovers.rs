//! What nothing uses any more: settings, snapshots, dependencies; and files that pages name and that are gone.

use std::collections::BTreeSet;
use std::path::Path;

use super::pages::spans;
use super::reader::Module;
use super::texts::{self, Text};
use super::{everything, none, root};

// --- settings ----------------------------------------------------------------------------------------------------

/// Fields of public structs and variants below the settings that no module outside of them names.
fn unread(modules: &[Module]) -> Vec<String> {
    let (settings, others): (Vec<&Module>, Vec<&Module>) =
        modules.iter().partition(|module| module.is_in(&["config"]));
    let settings = settings.into_iter().filter(|module| module.is_in(&["config", "settings"]));
    // Only who imports the settings can read them: the same name elsewhere is another thing.
    let readers = others.into_iter().filter(|module| {
        module.imports().iter().any(|import| import.path.first().is_some_and(|room| room == "config"))
    });
    let readers: Vec<&Module> = readers.collect();
    let unread = settings.flat_map(|module| module.fields().into_iter().map(move |field| (module, field)));
    let unread =
        unread.filter(|(_, field)| readers.iter().all(|reader| reader.lines_saying(field).is_empty()));
    unread.map(|(module, field)| format!("{}: nothing reads `{field}`", module.file)).collect()
}

/// Fields of the file that no setting is called like, and what becomes of them.
const OTHERWISE: &[(&str, &str)] = &[
    ("app", "one of the two ways to a repository"),
    ("rotation", "the scope of a route"),
    ("allow_private_endpoints", "refused unless it is false: no endpoint comes through an API"),
];

/// Fields of the file that do not get into the settings.
fn lost(modules: &[Module]) -> Vec<String> {
    let fields = |folder: &str| {
        let within = modules.iter().filter(|module| module.is_in(&["config", folder]));
        within.flat_map(Module::fields).collect::<BTreeSet<_>>()
    };
    let (file, settings) = (fields("file"), fields("settings"));
    let otherwise = |field: &String| OTHERWISE.iter().any(|(known, _)| known == field);
    let lost = file.difference(&settings).filter(|field| !otherwise(field));
    lost.map(|field| format!("`{field}` of the file becomes no setting")).collect()
}

#[test]
fn every_setting_is_read_outside_of_the_configuration() {
    none(&unread(&everything()));
    none(&lost(&everything()));
}

#[test]
fn planted_settings_that_nobody_reads_are_seen() {
    let settings = Module::parse(
        &["config", "settings", "service"],
        "planted.rs",
        "pub struct A { pub used: u8, pub unused: Vec<u8>, kept: u8 } pub enum B { C { shown: u8 }, D(u8) } struct E { f: u8 }",
    );
    let app = Module::parse(
        &["app"],
        "app.rs",
        "use crate::config::A; fn f(a: A) { a.used; let B::C { shown } = b; }",
    );
    let net = Module::parse(&["net"], "net.rs", "fn f(a: X) { a.unused; }");
    let file = Module::parse(
        &["config", "file", "service"],
        "file.rs",
        "pub struct A { pub used: String, pub app: u8, pub gone: String }",
    );
    let all = [settings, app, net, file];
    assert_eq!(unread(&all), ["planted.rs: nothing reads `unused`"]);
    assert_eq!(lost(&all), ["`gone` of the file becomes no setting"]);
}

// --- snapshots -----------------------------------------------------------------------------------------------------

/// The source that a snapshot names, and its own name without the module's and without a number behind it.
fn origin<'s>(file: &'s str, text: &'s str) -> Option<(&'s str, &'s str)> {
    let source = text.lines().find_map(|line| line.strip_prefix("source: "))?;
    let name = Path::new(file).file_name()?.to_str()?.strip_suffix(".snap")?.rsplit("__").next()?;
    let name = name.rsplit_once('-').filter(|(_, n)| n.parse::<u32>().is_ok()).map_or(name, |(name, _)| name);
    Some((source, name))
}

/// True when this source compares something with the snapshot of that name: by the name, or in the test that is called so.
fn refers(source: &str, name: &str) -> bool {
    let test = source.split_once(&format!("fn {name}(")).map(|(_, body)| body);
    let test = test.map(|body| body.split("#[test]").next().unwrap_or(body));
    source.contains(&format!("\"{name}\"")) || test.is_some_and(|body| body.contains("assert_"))
}

fn unreferenced(file: &str, text: &str, source_of: impl Fn(&str) -> Option<String>) -> Option<String> {
    // What a failed run leaves beside a snapshot; git passes over it too.
    if file.ends_with(".snap.new") {
        return None;
    }
    let Some((source, name)) = origin(file, text) else { return Some(format!("{file}: is no snapshot")) };
    let beside = Path::new(file).parent()?.parent()? == Path::new(source).parent()?;
    let used = beside && source_of(source).is_some_and(|source| refers(&source, name));
    (!used).then(|| format!("{file}: no test compares anything with it"))
}

#[test]
fn every_snapshot_is_compared_with_something() {
    let mut files = Vec::new();
    super::files_below(&root().join("src"), &mut files);
    super::files_below(&root().join("tests"), &mut files);
    let names = files.iter().filter_map(|file| file.strip_prefix(root()).ok()?.to_str());
    let snapshots = names.filter(|name| name.contains("/snapshots/"));
    let source = |name: &str| std::fs::read_to_string(root().join(name)).ok();
    none(
        &snapshots
            .filter_map(|name| unreferenced(name, &texts::read(&root().join(name)), source))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn planted_snapshots_of_nothing_are_seen() {
    let head = "---\nsource: src/a/b.rs\n---\nx\n";
    let found = |file: &str, source: &str| unreferenced(file, head, |_| Some(source.to_owned())).is_some();
    assert!(!found(
        "src/a/snapshots/rekeyd__a__b__tests__says_so.snap",
        "#[test] fn says_so() { assert_x!(1) }"
    ));
    assert!(!found(
        "src/a/snapshots/rekeyd__a__b__tests__says_so-2.snap",
        "#[test] fn says_so() { assert_x!(1) }"
    ));
    assert!(!found("src/a/snapshots/it__b__the_mail.snap", "f(\"the_mail\")"));
    assert!(!found("src/a/snapshots/rekeyd__a__b__tests__says_so.snap.new", ""));
    assert!(found(
        "src/a/snapshots/rekeyd__a__b__tests__says_so.snap",
        "fn says_so() {} #[test] fn x() { assert_x!(1) }"
    ));
    assert!(found(
        "src/c/snapshots/rekeyd__a__b__tests__says_so.snap",
        "#[test] fn says_so() { assert_x!(1) }"
    ));
    assert!(found(
        "src/a/snapshots/rekeyd__a__b__tests__says_so.snap.old",
        "#[test] fn says_so() { assert_x!(1) }"
    ));
}

// --- dependencies ----------------------------------------------------------------------------------------------------

/// Dependencies that no line of Rust names, and why they are there all the same. None today.
const UNNAMED: &[(&str, &str)] = &[];

/// True when a source goes into the crate: `name::…` that no other path leads to, or `use name;`.
fn names_crate(source: &str, name: &str) -> bool {
    source.match_indices(name).any(|(at, _)| {
        let (before, after) = (&source[..at], &source[at + name.len()..]);
        let begins = !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':'));
        begins && (after.starts_with("::") || (after.starts_with([';', ' ']) && before.ends_with("use ")))
    })
}

fn unused(manifest: &str, sources: &[Text]) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().unwrap();
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"].iter();
    let names = tables.filter_map(|table| manifest.get(*table)?.as_table()).flat_map(toml::Table::keys);
    let used = |name: &str| {
        let crate_name = name.replace('-', "_");
        let code = |file: &Text| {
            let lines = file.text.lines().filter(|line| !line.trim_start().starts_with("//"));
            names_crate(&lines.collect::<Vec<_>>().join("\n"), &crate_name)
        };
        UNNAMED.iter().any(|(known, _)| *known == name) || sources.iter().any(code)
    };
    names.filter(|name| !used(name)).map(|name| format!("Cargo.toml: nothing uses {name}")).collect()
}

#[test]
fn every_dependency_is_used() {
    let sources: Vec<Text> = texts::all().into_iter().filter(|file| texts::is_rust(&file.name)).collect();
    none(&unused(&texts::read(&root().join("Cargo.toml")), &sources));
}

#[test]
fn planted_dependencies_of_nobody_are_seen() {
    let manifest =
        "[dependencies]\nhttp = \"1\"\nserde-json = \"1\"\n[dev-dependencies]\ninsta = \"1\"\nhex = \"1\"\n";
    let source = |text: &str| [Text { name: "x.rs".to_owned(), text: text.to_owned() }];
    assert_eq!(
        unused(manifest, &source("use http::X;\nserde_json::json!(1); insta::a!(); use hex;")).len(),
        0
    );
    let found = unused(
        manifest,
        &source("crate::http::X;\n// serde_json::x\nxhex::y(); my_insta::x!();\n// http::x"),
    );
    assert_eq!(found.len(), 4, "{found:?}");
}

// --- files and functions that pages name -------------------------------------------------------------------------------

/// What a page names and is not there: paths from the root, names of files, `functions()`.
fn gone(page: &str, files: &BTreeSet<&str>, sources: &str) -> Vec<String> {
    let is_there = |path: &str| {
        let path = path.trim_end_matches('/');
        files.contains(path)
            || files
                .iter()
                .any(|file| file.starts_with(&format!("{path}/")) || file.ends_with(&format!("/{path}")))
            || files.iter().any(|file| file.contains(&format!("/{path}/")))
    };
    let is_path = |word: &str| {
        let whole = word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.'));
        let known = [
            "src/",
            "tests/",
            "docs/",
            "config/",
            "migrations/",
            "systemd/",
            "examples/",
            "benches/",
            ".ci/",
        ];
        // `src/destination/KIND.rs`: a name to choose.
        let chosen = word
            .rsplit('/')
            .next()
            .is_some_and(|name| name.starts_with("KIND.") || name.starts_with("NAME."));
        whole && !chosen && (known.iter().any(|start| word.starts_with(start)) || texts::is_rust(word))
    };
    let function = |word: &str| {
        let name = word.strip_suffix("()")?.rsplit("::").next()?.to_owned();
        let declared = [format!("fn {name}("), format!("fn {name}<")];
        (!declared.iter().any(|text| sources.contains(text))).then(|| format!("{name}()"))
    };
    let words: Vec<&str> = spans(page).collect();
    let paths = words.iter().filter(|word| is_path(word) && !is_there(word)).map(|word| (*word).to_owned());
    paths.chain(words.iter().filter_map(|word| function(word))).collect()
}

#[test]
fn files_and_functions_that_pages_name_are_there() {
    let all = texts::all();
    let files = all.iter().map(|file| file.name.as_str()).collect();
    let sources: String =
        all.iter().filter(|file| texts::is_rust(&file.name)).map(|file| file.text.as_str()).collect();
    // The design is a plan too, and names files of other houses.
    let pages =
        all.iter().filter(|file| texts::is_page(&file.name) && !file.name.starts_with("docs/design/"));
    let found = pages.flat_map(|page| {
        gone(&page.text, &files, &sources).into_iter().map(|what| format!("{}: {what} is gone", page.name))
    });
    none(&found.collect::<Vec<_>>());
}

#[test]
fn planted_names_of_what_is_gone_are_seen() {
    let files = BTreeSet::from(["src/a/b.rs", "tests/run.sh", "docs/x.md"]);
    let found = |page: &str| gone(page, &files, "fn f() {} fn g<T>() {}");
    assert_eq!(
        found("`src/a/b.rs` `b.rs` `a/b.rs` `src/a` `tests/run.sh` `f()` `x::g()` `not a path/x`"),
        Vec::<String>::new()
    );
    assert_eq!(found("`src/a/c.rs` `c.rs` `docs/y.md` `h()`").len(), 4);
}
