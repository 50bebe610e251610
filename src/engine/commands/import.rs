//! Many keys at once: each line is added, known already, a placeholder, or refused, and says why.
//!
//! ```text
//! text ─► parse (domain/paste) ─► what is no key, or known, is answered
//!      ─► the others are asked for at their providers, each provider at its own pace
//!      ─► stored, some hundreds in one transaction
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::mpsc;

use crate::crypto::Ring;
use crate::domain::paste::{Offered, Pasted, Refused, Vocabulary, parse};
use crate::domain::secret::Secret;
use crate::domain::time::Span;
use crate::domain::verdict::{Observation, Outcome, Reason};
use crate::engine::commands::add_key::{AddKey, new_row};
use crate::engine::commands::given;
use crate::engine::testing::endpoint;
use crate::engine::testing::endpoint::Endpoint;
use crate::engine::{Engine, EngineError};
use crate::net::Deadline;
use crate::store::{About, NewProvider, ProviderRow};

/// So many keys are stored in one transaction: others write in between.
const TOGETHER: usize = 500;
/// What a key without a word about it is: production.
const PRIORITY: i64 = 100;

/// What is imported, and how.
#[derive(Debug)]
pub struct Import {
    /// What was pasted.
    pub rows: Vec<Pasted>,
    /// Ask the providers first.
    pub test: bool,
    /// Answer the same, and store nothing.
    pub dry_run: bool,
}

/// What became of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is stored; under this number, unless it was only tried.
    Added(Option<i64>),
    /// It is stored already, as this one of its provider.
    Known(String, Option<i64>),
    /// An earlier line has it.
    Repeated(usize),
    /// It only stands where a key belongs: stored inactive, under this number.
    Placeholder(Option<i64>),
    /// It is not stored, and why.
    Refused(String),
}

/// A line, and what became of it.
#[derive(Debug, Clone)]
pub struct Imported {
    /// Its number.
    pub line: usize,
    /// Whose key it is, where that is known.
    pub provider: Option<String>,
    /// What may be shown of it.
    pub shown: String,
    /// What became of it.
    pub fate: Fate,
}

/// A key that may be stored.
struct Candidate {
    /// Its place in the answer.
    index: usize,
    provider: ProviderRow,
    add: AddKey,
    fingerprint: String,
    seen: Option<Observation>,
}

/// Reads what somebody pasted; `of`: whose all of it is, when they said so.
pub async fn read_pasted(engine: &Engine, text: &str, of: Option<&str>) -> Result<Vec<Pasted>, EngineError> {
    if let Some(of) = of {
        given::provider_of(engine, of).await?;
    }
    let by_form = |key: &str| engine.parts.tester.kinds_of_form(key);
    let vocabulary = Vocabulary { names: given::provider_names(engine).await?, by_form: &by_form };
    Ok(parse(text, of, &vocabulary))
}

/// The beginning of every Fernet token.
const FERNET: &str = "gAAAAA";

/// Keys that another program had encrypted, in clear.
pub fn decrypted(rows: Vec<Pasted>, keys: Option<&Ring>) -> Vec<Pasted> {
    let clear = |mut offered: Offered| {
        if !offered.secret.expose().starts_with(FERNET) {
            return Ok(offered);
        }
        let why = match keys.map(|keys| keys.open_foreign(offered.secret.expose())) {
            Some(Some(secret)) => {
                offered.secret = secret;
                return Ok(offered);
            }
            Some(None) => "it is encrypted, and the key of --fernet-key does not open it",
            None => "it is encrypted: --fernet-key says where its key is",
        };
        Err(Refused { shown: offered.secret.mask(), why: why.to_owned() })
    };
    rows.into_iter().map(|row| Pasted { key: row.key.and_then(clear), ..row }).collect()
}

/// Stores what can be stored. `done` is told how many lines have their answer.
pub async fn import(
    engine: &Engine,
    import: Import,
    done: &mut (dyn FnMut(usize) + Send),
) -> Result<Vec<Imported>, EngineError> {
    let (mut answers, candidates) = sorted_out(engine, import.rows).await?;
    let mut candidates = only_new(engine, &mut answers, candidates).await?;
    done(answers.len() - candidates.len());
    ask(engine, &mut answers, &mut candidates, import.test, done).await?;
    for batch in candidates.chunks_mut(TOGETHER) {
        let numbers = if import.dry_run { vec![None; batch.len()] } else { store(engine, batch).await? };
        for (candidate, number) in batch.iter().zip(numbers) {
            let placeholder = candidate.add.secret.is_placeholder();
            answers[candidate.index].fate =
                if placeholder { Fate::Placeholder(number) } else { Fate::Added(number) };
        }
        done(batch.len());
    }
    Ok(answers)
}

/// What each line is before anybody is asked: refused, or a candidate, whose answer says so for now.
async fn sorted_out(
    engine: &Engine,
    rows: Vec<Pasted>,
) -> Result<(Vec<Imported>, Vec<Candidate>), EngineError> {
    let providers = providers(engine).await?;
    let (mut answers, mut candidates) = (Vec::new(), Vec::new());
    for Pasted { line, key } in rows {
        let index = answers.len();
        let (provider, shown, fate) = match key {
            Err(refused) => (None, refused.shown, Fate::Refused(refused.why)),
            Ok(offered) => {
                let (name, mask) = (offered.provider.clone(), offered.secret.mask());
                let fate = match candidate(engine, &providers, index, offered) {
                    Ok(candidate) => {
                        candidates.push(candidate);
                        Fate::Added(None)
                    }
                    Err(why) => Fate::Refused(why),
                };
                (Some(name), mask, fate)
            }
        };
        answers.push(Imported { line, provider, shown, fate });
    }
    Ok((answers, candidates))
}

async fn providers(engine: &Engine) -> Result<BTreeMap<String, ProviderRow>, EngineError> {
    let catalog = engine.parts.tester.kinds().into_iter().map(ProviderRow::of_catalog);
    let stored = engine.parts.store.providers().await?;
    Ok(catalog.chain(stored).map(|row| (row.name.clone(), row)).collect())
}

fn candidate(
    engine: &Engine,
    providers: &BTreeMap<String, ProviderRow>,
    index: usize,
    offered: Offered,
) -> Result<Candidate, String> {
    if let Some(why) = offered.secret.malformation() {
        return Err(format!("this is not a key: {why}"));
    }
    let Some(provider) = providers.get(&offered.provider) else {
        let name = &offered.provider;
        return Err(format!(
            "there is no provider {name}: `rekeyd providers add {name} --kind KIND` adds it"
        ));
    };
    let about = About { owner: offered.owner, note: offered.note, expires_at: offered.expires_at };
    given::may_be_shown(offered.name.as_deref(), Some(&about)).map_err(|error| error.to_string())?;
    let priority = offered.priority.unwrap_or(PRIORITY);
    given::in_range(priority).map_err(|error| error.to_string())?;
    if engine.accounts().any(|account| account.provisioning_key == offered.secret) {
        return Err(given::wrong_kind().to_string());
    }
    let add = AddKey {
        provider: provider.name.clone(),
        name: offered.name,
        priority,
        is_active: offered.is_active && !offered.secret.is_placeholder(),
        secret: offered.secret,
        api_secret: offered.api_secret,
        settings: offered.settings,
        test: false,
        force: false,
        about,
    };
    let fingerprint = engine.parts.fingerprints.of(&add.secret);
    Ok(Candidate { index, provider: provider.clone(), add, fingerprint, seen: None })
}

/// Those that neither the store nor an earlier line has. A placeholder stands for a key of its provider only.
async fn only_new(
    engine: &Engine,
    answers: &mut [Imported],
    candidates: Vec<Candidate>,
) -> Result<Vec<Candidate>, EngineError> {
    let fingerprints: Vec<String> = candidates.iter().map(|one| one.fingerprint.clone()).collect();
    let mut known: HashMap<(String, Option<String>), Fate> = HashMap::new();
    for (fingerprint, provider, number) in engine.parts.store.numbers_of(&fingerprints).await? {
        let fate = Fate::Known(provider.clone(), number);
        known.insert((fingerprint.clone(), Some(provider)), fate.clone());
        known.entry((fingerprint, None)).or_insert(fate);
    }
    let mut new = Vec::new();
    for one in candidates {
        let within = one.add.secret.is_placeholder().then(|| one.provider.name.clone());
        let key = (one.fingerprint.clone(), within);
        if let Some(fate) = known.get(&key) {
            answers[one.index].fate = fate.clone();
        } else {
            known.insert(key, Fate::Repeated(answers[one.index].line));
            new.push(one);
        }
    }
    Ok(new)
}

/// Asks the providers. Whom one refuses is answered, and is no candidate any more.
async fn ask(
    engine: &Engine,
    answers: &mut [Imported],
    candidates: &mut Vec<Candidate>,
    test: bool,
    done: &mut (dyn FnMut(usize) + Send),
) -> Result<(), EngineError> {
    let mut lines: BTreeMap<String, Errands> = BTreeMap::new();
    for (place, one) in candidates.iter().enumerate() {
        let two_kinds = engine.parts.tester.has_two_kinds(&one.provider.kind);
        if one.add.secret.is_placeholder() || !(test || two_kinds) {
            continue;
        }
        let errand = (place, one.add.secret.clone(), one.add.settings.clone());
        if let Some(line) = lines.get_mut(&one.provider.name) {
            line.keys.push(errand);
        } else {
            let endpoint = endpoint::endpoint(engine, &one.provider, None).await?;
            let line = Errands { kind: one.provider.kind.clone(), endpoint, keys: vec![errand] };
            lines.insert(one.provider.name.clone(), line);
        }
    }
    let mut refused = HashMap::new();
    let mut seen = asked(engine, lines);
    while let Some((place, observed)) = seen.recv().await {
        let verdict = observed.and_then(|seen| accepted(seen, test));
        match verdict {
            Ok(seen) => candidates[place].seen = Some(seen),
            Err(why) => {
                refused.insert(candidates[place].index, why);
                done(1);
            }
        }
    }
    candidates.retain(|one| !refused.contains_key(&one.index));
    for (index, why) in refused {
        answers[index].fate = Fate::Refused(why);
    }
    Ok(())
}

fn accepted(seen: Observation, test: bool) -> Result<Observation, String> {
    match (seen.outcome(), seen.reason()) {
        (Outcome::Restricted, Some(Reason::WrongKind)) => Err(given::wrong_kind().to_string()),
        (Outcome::Invalid, _) if test => Err(format!("its provider does not accept it: {}", seen.detail)),
        _ => Ok(seen),
    }
}

/// The keys of one provider, to be asked one after the other.
struct Errands {
    kind: String,
    endpoint: Endpoint,
    keys: Vec<(usize, Secret, Value)>,
}

type Seen = mpsc::UnboundedReceiver<(usize, Result<Observation, String>)>;

/// Every provider at its own pace, all of them at once.
fn asked(engine: &Engine, lines: BTreeMap<String, Errands>) -> Seen {
    let (tell, seen) = mpsc::unbounded_channel();
    for line in lines.into_values() {
        let (tester, clock) = (Arc::clone(&engine.parts.tester), Arc::clone(&engine.parts.clock));
        let (policy, tell) = (engine.parts.tests.clone(), tell.clone());
        tokio::spawn(async move {
            for (nth, (place, secret, settings)) in line.keys.into_iter().enumerate() {
                if nth > 0 {
                    clock.sleep(policy.host_spacing.max(Span::ZERO)).await;
                }
                let observed = match line.endpoint.base() {
                    Err(why) => Err(why.to_owned()),
                    Ok(base) => {
                        let deadline = Deadline::after(policy.timeout.to_std());
                        Ok(tester.test(&line.kind, base, &secret, &settings, deadline).await)
                    }
                };
                if tell.send((place, observed)).is_err() {
                    return;
                }
            }
        });
    }
    seen
}

/// Stores some of them in one transaction, then what their tests showed. Answers their numbers.
async fn store(engine: &Engine, batch: &mut [Candidate]) -> Result<Vec<Option<i64>>, EngineError> {
    let sealing = engine.sealing_key().await?;
    let mut rows = Vec::new();
    for one in batch.iter() {
        let new = new_row(engine, &one.add, &one.provider, one.fingerprint.clone());
        let new = engine.with_secrets(&sealing, new, Some(&one.add.secret), one.add.api_secret.as_ref())?;
        let entry = engine.entry("key.added", format!("provider {}", one.provider.name), new.mask.clone());
        rows.push((NewProvider::known(&one.provider), new, entry));
    }
    let numbers = engine.parts.store.add_keys(&rows).await?;
    for (one, (_, new, _)) in batch.iter_mut().zip(&rows) {
        if let Some(seen) = one.seen.take() {
            given::record_first(engine, &new.id, &one.fingerprint, seen, false).await?;
        }
    }
    Ok(numbers.into_iter().map(Some).collect())
}
