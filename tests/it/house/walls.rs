//! Who may import whom.

use std::collections::{BTreeMap, BTreeSet};

use super::reader::Module;

/// Every room imports from earlier lines only.
const RANKS: &[&[&str]] = &[
    &["domain"],
    &["clock", "config", "crypto", "net"],
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
            return None;
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
        let behind = |file: &String| self.files.get(target).is_some_and(|files| files.contains(file));
        if room == "engine" && rank("store") == Some(to_rank) && to.get(1).is_some_and(behind) {
            return Some(format!("the engine sees only {target}/mod.rs"));
        }
        None
    }
}
