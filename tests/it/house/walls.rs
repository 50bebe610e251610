//! Who may import whom.

use std::collections::{BTreeMap, BTreeSet};

use super::reader::Module;

/// Every room imports from earlier lines only.
const RANKS: &[&[&str]] = &[
    &["domain"],
    &["clock", "config", "crypto", "meter", "net"],
    &["destination", "notify", "provider", "store"],
    &["engine"],
    &["daemon", "http"],
    &["app"],
    &["cli"],
    &["main"],
];

/// Rooms of one rank that may import each other all the same, and why.
const DOORS: &[(&str, &str, &str)] =
    &[("config", "crypto", "the configuration holds references to secrets, and SecretRef knows their forms")];

/// The vendors' protocols on loopback: outside the ranks. It imports nothing of ours, and only the demo (and tests)
/// may import it.
const SIM: &str = "sim";

/// The steps of the engine. Every file imports from its own folder and from earlier lines only; what stands in the
/// root (an engine, what it is made from, what can go wrong) is below all of them.
const STEPS: &[&str] =
    &["lease", "worker", "testing", "session", "publish", "retire", "run", "passes", "commands"];

/// What `engine/mod.rs` shows of the files beside it: everything else is imported from its folder.
const ROOT: &[&str] = &[
    "Account",
    "Engine",
    "EngineError",
    "LeakWatch",
    "MailConfig",
    "Parts",
    "ConfiguredDestination",
    "Notifier",
    "NoticeScope",
    "Rotation",
    "RingSealer",
    "Route",
    "TestPolicy",
    "budget",
    "error",
    "parts",
    "recipients",
    "sealing",
];

fn rank(room: &str) -> Option<usize> {
    RANKS.iter().position(|rooms| rooms.contains(&room))
}

/// True when the room has a place in the table.
pub(super) fn is_known(room: &str) -> bool {
    room == SIM || rank(room).is_some()
}

/// The table, and the modules that the rooms declare.
pub(super) struct Walls {
    files: BTreeMap<String, BTreeSet<String>>,
}

impl Walls {
    pub(super) fn of(modules: &[Module]) -> Self {
        let rooms = modules.iter().filter(|module| module.path.len() == 1);
        let files = rooms.map(|room| (room.path[0].clone(), room.children.iter().cloned().collect()));
        Self { files: files.collect() }
    }

    /// Every import of the module that goes through a wall.
    pub(super) fn breaches(&self, module: &Module) -> Vec<String> {
        if module.path.is_empty() {
            return Vec::new();
        }
        let imports = module.imports().into_iter();
        imports
            .filter_map(|import| {
                let objection = self.objection(module, &import.path)?;
                Some(format!("{}:{}: {}: {objection}", module.file, import.line, import.path.join("::")))
            })
            .collect()
    }

    fn objection(&self, module: &Module, to: &[String]) -> Option<String> {
        let room = module.path[0].as_str();
        let target = to.first()?.as_str();
        if room == target {
            return if room == "engine" { objection_on_the_stairs(module, to) } else { None };
        }
        if room == SIM {
            return Some("sim imports nothing of ours".to_owned());
        }
        if target == SIM {
            let demo = module.is_in(&["cli", "demo"]);
            return (!demo).then(|| "only cli/demo may import sim".to_owned());
        }
        let Some(to_rank) = rank(target) else { return Some(format!("{target} is no room")) };
        let from_rank = rank(room)?;
        let door = DOORS.iter().any(|(from, into, _)| (*from, *into) == (room, target));
        if to_rank > from_rank || (to_rank == from_rank && !door) {
            return Some(format!("{room} may not import {target}"));
        }
        if target == "config" && from_rank <= rank("engine")? {
            return Some(format!("{room} takes plain arguments, not settings"));
        }
        let service = ["commands", "Engine", "EngineError"];
        if ["cli", "http"].contains(&room)
            && target == "engine"
            && !to.get(1).is_some_and(|to| service.contains(&to.as_str()))
        {
            return Some(format!("{room} calls engine/commands and nothing else of the engine"));
        }
        let behind = |file: &String| self.files.get(target).is_some_and(|files| files.contains(file));
        if room == "engine" && rank("store") == Some(to_rank) && to.get(1).is_some_and(behind) {
            return Some(format!("the engine sees only {target}/mod.rs"));
        }
        None
    }
}

/// What is wrong with an import from one file of the engine to another.
fn objection_on_the_stairs(module: &Module, to: &[String]) -> Option<String> {
    let step = |name: &str| STEPS.iter().position(|step| *step == name);
    let (from, into) = (module.path.get(1)?.as_str(), to.get(1)?.as_str());
    let Some(to_step) = step(into) else {
        let root = ROOT.contains(&into);
        return (!root).then(|| format!("{into}: import it from the folder where it stands"));
    };
    match step(from) {
        Some(from_step) if to_step <= from_step => None,
        _ => Some(format!("{from} may not import {into}: it is a later step")),
    }
}

/// Files of the engine that import each other, directly or round a corner: each circle by its modules.
pub(super) fn circles(modules: &[Module]) -> Vec<String> {
    let engine: Vec<&Module> =
        modules.iter().filter(|module| module.path.len() > 1 && module.is_in(&["engine"])).collect();
    let names: BTreeSet<&[String]> = engine.iter().map(|module| module.path.as_slice()).collect();
    let mut below: BTreeMap<&[String], BTreeSet<Vec<String>>> = BTreeMap::new();
    for module in &engine {
        let imported = module.imports().into_iter().filter_map(|import| {
            let found = (2..=import.path.len()).rev().map(|end| import.path[..end].to_vec());
            found.into_iter().find(|path| names.contains(path.as_slice()))
        });
        let others = imported.filter(|path| *path != module.path).collect();
        below.insert(&module.path, others);
    }
    let reaches = |from: &[String], to: &[String]| {
        let (mut seen, mut todo) = (BTreeSet::new(), vec![from.to_vec()]);
        while let Some(path) = todo.pop() {
            for next in below.get(path.as_slice()).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    todo.push(next.clone());
                }
            }
        }
        seen.contains(to)
    };
    let turning = engine.iter().filter(|module| reaches(&module.path, &module.path));
    turning.map(|module| format!("{}: comes back to itself by imports", module.file)).collect()
}
