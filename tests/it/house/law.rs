//! The law of the house is in the house: what sources cite is there, and what docs/design marks as not built is not.

use std::collections::BTreeSet;
use std::path::Path;

use rekeyd::config::ConfigError;
use rekeyd::domain::alert::Kind;

use super::pages::{Page, cited, cited_faults, cited_pages, defined, faults, spans};
use super::texts::{self, Text};
use super::{none, root};

fn design(page: &str) -> Page {
    Page::read(&texts::read(&root().join("docs/design").join(page)))
}

// --- citations -----------------------------------------------------------------------------------------------------

/// What there is to cite.
struct Law {
    pages: BTreeSet<String>,
    rules: BTreeSet<String>,
    invariants: BTreeSet<String>,
    faults: BTreeSet<u32>,
}

impl Law {
    fn of_the_house() -> Self {
        let rotation = design("rotation.md").built;
        let name = |file: &Text| Path::new(&file.name).file_name()?.to_str().map(str::to_owned);
        Self {
            pages: texts::all().iter().filter_map(name).filter(|name| texts::is_page(name)).collect(),
            rules: defined(&rotation, 'R'),
            invariants: defined(&design("product.md").built, 'I'),
            faults: faults(&rotation),
        }
    }

    /// A sentence may begin with the name of a page.
    fn has_page(&self, name: &str) -> bool {
        self.pages.iter().any(|page| page.eq_ignore_ascii_case(name))
    }

    /// What a text cites and nobody can look up.
    fn lacks(&self, text: &str) -> Vec<String> {
        let pages = cited_pages(text).into_iter().filter(|page| !self.has_page(page)).collect::<Vec<_>>();
        let rules = cited(text, 'R').difference(&self.rules).cloned().collect::<Vec<_>>();
        let invariants = cited(text, 'I').difference(&self.invariants).cloned().collect::<Vec<_>>();
        let faults = cited_faults(text);
        let faults = faults.difference(&self.faults).map(|number| format!("fault {number}"));
        pages.into_iter().chain(rules).chain(invariants).chain(faults).collect()
    }
}

/// A source may only cite what is built: docs/design alone speaks of what is not. The tests of the house plant citations
/// of nothing.
#[test]
fn what_sources_cite_stands_in_the_pages_of_the_design() {
    let law = Law::of_the_house();
    let citing = texts::all()
        .into_iter()
        .filter(|file| !["docs/design/", "tests/it/house"].iter().any(|start| file.name.starts_with(start)));
    let lacking = citing.flat_map(|file| {
        law.lacks(&file.text)
            .into_iter()
            .map(move |what| format!("{}: {what}", file.name))
            .collect::<Vec<_>>()
    });
    none(
        &lacking
            .map(|line| format!("{line} is not in docs/design, or marked as not built"))
            .collect::<Vec<_>>(),
    );
}

/// Links between the pages, and what they say of each other's numbers, built or not.
#[test]
fn the_pages_of_the_design_cite_what_is_there() {
    let whole = |page: &str| texts::read(&root().join("docs/design").join(page));
    let law = Law {
        pages: Law::of_the_house().pages,
        rules: defined(&whole("rotation.md"), 'R'),
        invariants: defined(&whole("product.md"), 'I'),
        faults: faults(&whole("rotation.md")),
    };
    let pages = texts::all().into_iter().filter(|file| file.name.starts_with("docs/design/"));
    // The plan of the house names pages of other houses.
    let pages = pages.filter(|file| !file.name.ends_with("architecture.md"));
    none(&pages.flat_map(|file| law.lacks(&file.text)).collect::<Vec<_>>());
}

#[test]
fn planted_citations_of_nothing_are_seen() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let law = Law {
        pages: names(&["rotation.md"]),
        rules: names(&["R1", "R2"]),
        invariants: names(&["I1", "I10"]),
        faults: BTreeSet::from([1, 2, 15]),
    };
    let fine = "rotation.md R1, fault 15 (R2), I1\u{2013}I10, fault_01_of_a_test, faults 1 and 2; IR3, R2D2, 34 faults";
    assert_eq!(law.lacks(fine), Vec::<String>::new());
    let pages = ["rotations", "md"].join(".");
    assert_eq!(law.lacks(&format!("see {pages}.")), [pages]);
    assert_eq!(law.lacks(&format!("({}{})", 'R', 3)), ["R3"]);
    assert_eq!(law.lacks(&format!("{}{} and I1", 'I', 2)), ["I2"]);
    let listed = format!("{} 1, 2 and 3", "faults");
    assert_eq!(law.lacks(&listed), ["fault 3"]);
    assert_eq!(law.lacks(&format!("{}_16_x, {}s = [1, 17]", "fault", "fault")), ["fault 16", "fault 17"]);
}

#[test]
fn planted_marks_are_read() {
    let page = Page::read(
        "a *(not built yet: b\nc)* d\n| e *(not built yet)* |\n## F *(not built yet)*\ng\n### H\n## I\nj",
    );
    assert_eq!(
        page.built.lines().map(str::trim).collect::<Vec<_>>(),
        ["a", "d", "", "", "", "", "## I", "j"]
    );
    assert!(page.unbuilt.contains("b\nc\n| e"));
    let code = "```toml\na = 1 # x; not built yet: y\nb = 2   # not built yet: z\n[c] # not built yet\nd = 3\n[e]\nf = 4\n```";
    let page = Page::read(code);
    assert_eq!(page.built, "```toml\na = 1 # x; \n\n\n\n[e]\nf = 4\n```\n");
    assert!(page.unbuilt.contains("b = 2") && page.unbuilt.contains("d = 3"));
    let blocks = "```toml\na\n```\nb\n```\nc\n```\nd";
    assert_eq!(Page::code(blocks, "toml"), [(1, "a".to_owned())]);
    assert_eq!(Page::code(blocks, ""), [(5, "c".to_owned())], "the end of a block begins none");
    let rules = "- **R1** x\n- **R2 Name.** *(not built yet)* y\n## Faults to survive\n1. z";
    assert_eq!(defined(&Page::read(rules).built, 'R').len(), 1);
    assert_eq!(faults(rules), BTreeSet::from([1]));
}

// --- marks that are true -------------------------------------------------------------------------------------------

/// What is wrong with the marks at the kinds of alerts.
fn kinds_told_wrong(page: &Page, kinds: &BTreeSet<&str>) -> Vec<String> {
    let said = |text: &str| {
        let line = text.lines().find(|line| line.contains('`') && line.contains('_')).unwrap_or_default();
        spans(line).filter(|word| word.contains('_')).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let (built, unbuilt) = (said(&page.built), said(&page.unbuilt));
    let missing = kinds.iter().filter(|kind| !built.contains(**kind));
    let missing = missing.map(|kind| format!("{kind} is not said to be built"));
    let ahead = built.iter().filter(|kind| !kinds.contains(kind.as_str()));
    let ahead = ahead.map(|kind| format!("{kind} is not built, and not marked so"));
    let stale = unbuilt.iter().filter(|kind| kinds.contains(kind.as_str()));
    let stale = stale.map(|kind| format!("{kind} is built: take its mark away"));
    missing.chain(ahead).chain(stale).collect()
}

#[test]
fn kinds_of_alerts_are_marked_as_long_as_they_are_not_built() {
    let whole = texts::read(&root().join("docs/design/interface.md"));
    let paragraph = whole.lines().find(|line| line.starts_with("Alert kinds.")).unwrap();
    let kinds = Kind::ALL.iter().map(|kind| kind.word()).collect();
    none(&kinds_told_wrong(&Page::read(paragraph), &kinds));
}

#[test]
fn planted_marks_at_kinds_of_alerts_are_seen() {
    let page = Page::read("`a_a`, `b_b` *(not built yet: `c_c`)*");
    assert_eq!(kinds_told_wrong(&page, &BTreeSet::from(["a_a", "b_b"])).len(), 0);
    assert_eq!(kinds_told_wrong(&page, &BTreeSet::from(["a_a", "b_b", "c_c"])).len(), 2);
    assert_eq!(kinds_told_wrong(&page, &BTreeSet::from(["a_a"])).len(), 1);
}

/// The lines of a configuration that the program refuses.
fn refused(text: &str) -> BTreeSet<usize> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rekeyd.toml");
    std::fs::write(&file, text).unwrap();
    match rekeyd::config::load(Some(&file)) {
        Ok(_) => BTreeSet::new(),
        Err(ConfigError::Invalid(problems)) => problems.iter().filter_map(|problem| problem.line).collect(),
        Err(error) => panic!("{error}"),
    }
}

/// What is wrong with the marks at the fields of a configuration in a block of code.
fn fields_told_wrong(text: &str) -> Vec<String> {
    let lines = |text: &str| {
        let mut whole = vec![String::new(); text.lines().count()];
        for (number, line) in Page::code(text, "toml") {
            whole[number] = line;
        }
        whole
    };
    let page = Page::read(text);
    let built = lines(&page.built);
    let mut found: Vec<String> = refused(&built.join("\n"))
        .iter()
        .map(|line| format!("line {line} is refused, and not marked"))
        .collect();
    // In the whole, each line that is marked must be refused: by itself, or with the table that it stands in.
    let whole = lines(text);
    let refused = refused(&whole.join("\n"));
    let mut table = 0;
    for (number, line) in whole.iter().enumerate() {
        table = if line.starts_with('[') { number } else { table };
        let says = line.starts_with(|c: char| c.is_ascii_alphabetic() || c == '[');
        let marked = says && built[number].is_empty();
        if marked && ![number, table].iter().any(|line| refused.contains(&(line + 1))) {
            found.push(format!("line {} is accepted: take its mark away", number + 1));
        }
    }
    found
}

#[test]
fn fields_of_the_configuration_are_marked_as_long_as_they_are_not_built() {
    none(&fields_told_wrong(&texts::read(&root().join("docs/design/interface.md"))));
}

#[test]
fn planted_marks_at_fields_of_the_configuration_are_seen() {
    let block = |lines: &str| fields_told_wrong(&format!("```toml\n[server]\n{lines}\n```"));
    assert_eq!(
        block("listen = \"127.0.0.1:1\"\nsocket = 1 # not built yet\n[nothing] # not built yet\na = 1").len(),
        0
    );
    assert_eq!(block("listen = \"127.0.0.1:1\" # not built yet").len(), 1);
    assert_eq!(block("socket = 1").len(), 1);
    assert_eq!(block("[engine] # not built yet\nlease = \"30s\"").len(), 2);
}
