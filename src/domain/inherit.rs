//! What of an account names keys by their hash, and how a successor comes to be named there, too (rotation.md, R23).
//!
//! A look at the account gives [`Rolls`]; [`wanted`] says which of them the successor must be on, [`join`] and [`leave`]
//! what to write there. Nothing here can clear a list or empty it: what is written is an [`AllowList`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a successor takes over from its predecessor, `inherit` of its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Inherit {
    /// Limit, period and the like (R10).
    pub limits: bool,
    /// The guardrail that it is assigned to.
    pub guardrails: bool,
    /// Its places in the allow-lists of own vendor keys.
    pub byok: bool,
}

impl Default for Inherit {
    fn default() -> Self {
        Self { limits: true, guardrails: true, byok: true }
    }
}

impl Inherit {
    /// True when anything is inherited that names keys by their hash.
    pub fn names_keys(self) -> bool {
        self.guardrails || self.byok
    }

    fn takes(self, roll: &Roll) -> bool {
        match roll {
            Roll::Guardrail(_) => self.guardrails,
            Roll::Byok(_) => self.byok,
        }
    }
}

/// One thing of the account that names keys, by its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "id")]
pub enum Roll {
    /// A guardrail; a key is assigned to one at most.
    Guardrail(String),
    /// The allow-list of a credential of the customer's own at a vendor.
    Byok(String),
}

impl fmt::Display for Roll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guardrail(id) => write!(f, "guardrail {id}"),
            Self::Byok(id) => write!(f, "BYOK credential {id}"),
        }
    }
}

/// In words: `guardrail a, BYOK credential b`.
pub fn said<'r>(rolls: impl IntoIterator<Item = &'r Roll>) -> String {
    rolls.into_iter().map(Roll::to_string).collect::<Vec<_>>().join(", ")
}

/// What one look at the account showed. `None` where it answered that it has no such thing: then nothing is known of
/// what it had before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rolls {
    /// Keys with their guardrails.
    pub guardrails: Option<BTreeMap<String, String>>,
    /// Credentials that only some keys may use, with those keys. One that all may use is not among them.
    pub byok: Option<BTreeMap<String, Vec<String>>>,
}

impl Rolls {
    /// What names this key.
    pub fn of(&self, hash: &str) -> BTreeSet<Roll> {
        let guardrail = self.guardrails.iter().filter_map(|all| all.get(hash)).cloned().map(Roll::Guardrail);
        let lists = self.byok.iter().flatten().filter(|(_, keys)| keys.iter().any(|key| key == hash));
        guardrail.chain(lists.map(|(id, _)| Roll::Byok(id.clone()))).collect()
    }

    /// True when the look says something of rolls of this kind.
    fn tells_of(&self, roll: &Roll) -> bool {
        match roll {
            Roll::Guardrail(_) => self.guardrails.is_some(),
            Roll::Byok(_) => self.byok.is_some(),
        }
    }
}

/// What is remembered of a key, for the day when it is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Which key.
    pub hash: String,
    /// What named it when the account last listed it.
    pub rolls: BTreeSet<Roll>,
}

impl Kept {
    /// What a look at a key that the account lists leaves to remember. What the look does not tell stays.
    #[must_use]
    pub fn seen(hash: &str, rolls: &Rolls, before: Option<&Self>) -> Self {
        let known = before.filter(|before| before.hash == hash).map(|before| before.rolls.clone());
        let untold = known.unwrap_or_default().into_iter().filter(|roll| !rolls.tells_of(roll));
        Self { hash: hash.to_owned(), rolls: rolls.of(hash).into_iter().chain(untold).collect() }
    }
}

/// What the successor of `old` must be named by. While the account lists the old key, what is shown counts; what is not
/// told, or what a key had that is gone, is taken from memory.
pub fn wanted(inherit: Inherit, rolls: &Rolls, old: &str, is_listed: bool, kept: &[Kept]) -> BTreeSet<Roll> {
    let remembered = kept.iter().filter(|kept| kept.hash == old).flat_map(|kept| kept.rolls.clone());
    let counts = |roll: &Roll| !is_listed || !rolls.tells_of(roll);
    let all = rolls.of(old).into_iter().chain(remembered.filter(counts));
    all.filter(|roll| inherit.takes(roll)).collect()
}

/// What names the old key and not the new one.
pub fn difference(inherit: Inherit, rolls: &Rolls, old: &str, new: &str) -> Vec<Roll> {
    let has = rolls.of(new);
    rolls.of(old).into_iter().filter(|roll| inherit.takes(roll) && !has.contains(roll)).collect()
}

/// The keys that may use a credential: never none, and there is no word for "all of them".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowList(Vec<String>);

impl AllowList {
    fn new(keys: Vec<String>) -> Option<Self> {
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// The hashes, at least one.
    pub fn keys(&self) -> &[String] {
        &self.0
    }
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// Assigns a key that has no guardrail.
    Assign {
        /// Id of the guardrail.
        guardrail: String,
        /// The key.
        hash: String,
    },
    /// Replaces an allow-list.
    Allow {
        /// Id of the credential.
        credential: String,
        /// The whole list.
        list: AllowList,
    },
}

/// What to write so that `roll` names `new`: `None` when it does, or when there is nothing left that could. `gone` are
/// hashes of keys that no longer exist, which the provider would refuse in a list.
///
/// # Errors
/// Why it cannot name the key.
pub fn join(roll: &Roll, rolls: &Rolls, new: &str, gone: &BTreeSet<String>) -> Result<Option<Put>, String> {
    match roll {
        Roll::Guardrail(id) => match rolls.guardrails.as_ref().and_then(|all| all.get(new)) {
            None => Ok(Some(Put::Assign { guardrail: id.clone(), hash: new.to_owned() })),
            Some(has) if has == id => Ok(None),
            // Assigning would take it away from the other one.
            Some(other) => Err(format!("the new key has guardrail {other} instead of {id}")),
        },
        Roll::Byok(id) => {
            let Some(all) = &rolls.byok else { return Err(format!("{roll} is not shown")) };
            let Some(keys) = all.get(id).filter(|keys| !keys.iter().any(|key| key == new)) else {
                return Ok(None);
            };
            let stay = keys.iter().filter(|key| !gone.contains(*key)).cloned();
            Ok(allow(id, stay.chain([new.to_owned()]).collect()))
        }
    }
}

/// What to write so that `roll` no longer names a key that is about to be deleted; `None` when it does not, or when
/// nobody else would be left. A guardrail's assignment ends with its key.
pub fn leave(roll: &Roll, rolls: &Rolls, old: &str, gone: &BTreeSet<String>) -> Option<Put> {
    let Roll::Byok(id) = roll else { return None };
    let keys = rolls.byok.as_ref()?.get(id).filter(|keys| keys.iter().any(|key| key == old))?;
    allow(id, keys.iter().filter(|key| *key != old && !gone.contains(*key)).cloned().collect())
}

fn allow(credential: &str, keys: Vec<String>) -> Option<Put> {
    AllowList::new(keys).map(|list| Put::Allow { credential: credential.to_owned(), list })
}

#[cfg(test)]
mod tests;
