//! Many keys at once: each line is added, known already, a placeholder, or refused, and says why.
//!
//! ```text
//! text ─► parse (domain/paste) ─► what is no key, or known, is answered
//!      ─► the others are asked for at their providers, each provider at its own pace
//!      ─► stored, some hundreds in one transaction
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};
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

/// Of a placeholder its provider belongs to it: it stands for a key of that one only.
type Identity = (String, Option<String>);

impl Candidate {
    /// Lines with the same are one key.
    fn identity(&self) -> Identity {
        let within = self.add.secret.is_placeholder().then(|| self.provider.name.clone());
        (self.fingerprint.clone(), within)
    }
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

/// What would become of each line, before any provider is asked: nothing is stored.
pub async fn preview(engine: &Engine, rows: Vec<Pasted>) -> Result<Vec<Imported>, EngineError> {
    let (mut answers, candidates) = sorted_out(engine, rows).await?;
    let mut first: HashMap<Identity, usize> = HashMap::new();
    for one in unknown(engine, &mut answers, candidates).await? {
        let line = answers[one.index].line;
        let earlier = *first.entry(one.identity()).or_insert(line);
        if earlier != line {
            answers[one.index].fate = Fate::Repeated(earlier);
        } else if one.add.secret.is_placeholder() {
            answers[one.index].fate = Fate::Placeholder(None);
        }
    }
    Ok(answers)
}

/// Stores what can be stored. `done` is told how many lines have their answer.
pub async fn import(
    engine: &Engine,
    import: Import,
    done: &mut (dyn FnMut(usize) + Send),
) -> Result<Vec<Imported>, EngineError> {
    let (mut answers, candidates) = sorted_out(engine, import.rows).await?;
    let mut waiting = unknown(engine, &mut answers, candidates).await?;
    done(answers.len() - waiting.len());
    let mut sorted = Sorted::default();
    while !waiting.is_empty() {
        let round = sorted.one_of_each(&mut answers, &mut waiting, done);
        ask(engine, &mut sorted, round, import.test, done).await?;
    }
    for (index, why) in sorted.refused.into_values() {
        answers[index].fate = Fate::Refused(why);
    }
    sorted.accepted.sort_by_key(|one| one.index);
    for batch in sorted.accepted.chunks_mut(TOGETHER) {
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
    given::is_object(&add.settings).map_err(|error| error.to_string())?;
    given::second_well_formed(add.api_secret.as_ref()).map_err(|error| error.to_string())?;
    given::may_be_shown(add.said(), &add.secrets()).map_err(|error| error.to_string())?;
    let fingerprint = engine.parts.fingerprints.of(&add.secret);
    Ok(Candidate { index, provider: provider.clone(), add, fingerprint, seen: None })
}

/// Those that the store does not have.
async fn unknown(
    engine: &Engine,
    answers: &mut [Imported],
    candidates: Vec<Candidate>,
) -> Result<Vec<Candidate>, EngineError> {
    let fingerprints: Vec<String> = candidates.iter().map(|one| one.fingerprint.clone()).collect();
    let mut known: HashMap<Identity, Fate> = HashMap::new();
    for (fingerprint, provider, number) in engine.parts.store.numbers_of(&fingerprints).await? {
        let fate = Fate::Known(provider.clone(), number);
        known.insert((fingerprint.clone(), Some(provider)), fate.clone());
        known.entry((fingerprint, None)).or_insert(fate);
    }
    let mut new = Vec::new();
    for one in candidates {
        match known.get(&one.identity()) {
            Some(fate) => answers[one.index].fate = fate.clone(),
            None => new.push(one),
        }
    }
    Ok(new)
}

/// What became of those that were asked for.
#[derive(Default)]
struct Sorted {
    accepted: Vec<Candidate>,
    /// By key and provider: the line that was asked, and why not.
    refused: HashMap<(Identity, String), (usize, String)>,
}

impl Sorted {
    /// Of those that wait the first line of each key; the next has its turn when another provider refused that of the
    /// first. Lines with a key that an accepted line has, or that their own provider refused already, are answered.
    fn one_of_each(
        &self,
        answers: &mut [Imported],
        waiting: &mut Vec<Candidate>,
        done: &mut (dyn FnMut(usize) + Send),
    ) -> Vec<Candidate> {
        let taken: HashMap<Identity, usize> =
            self.accepted.iter().map(|one| (one.identity(), one.index)).collect();
        let (mut round, mut rest, mut asked) = (Vec::new(), Vec::new(), HashSet::new());
        for one in std::mem::take(waiting) {
            let identity = one.identity();
            let line = taken.get(&identity).map(|index| answers[*index].line);
            let refused = self.refused.get(&(identity.clone(), one.provider.name.clone()));
            let fate = line.map(Fate::Repeated).or(refused.map(|(_, why)| Fate::Refused(why.clone())));
            if let Some(fate) = fate {
                answers[one.index].fate = fate;
                done(1);
            } else if asked.insert(identity) {
                round.push(one);
            } else {
                rest.push(one);
            }
        }
        *waiting = rest;
        round
    }
}

/// Asks the providers which of them they accept.
async fn ask(
    engine: &Engine,
    sorted: &mut Sorted,
    mut candidates: Vec<Candidate>,
    test: bool,
    done: &mut (dyn FnMut(usize) + Send),
) -> Result<(), EngineError> {
    let mut lines: BTreeMap<String, Errands> = BTreeMap::new();
    for (place, one) in candidates.iter().enumerate() {
        let kind = given::asked_as(engine, &one.provider);
        let two_kinds = engine.parts.tester.has_two_kinds(&kind);
        if one.add.secret.is_placeholder() || !(test || two_kinds) {
            continue;
        }
        let errand = (place, one.add.secret.clone(), one.add.settings.clone());
        if let Some(line) = lines.get_mut(&one.provider.name) {
            line.keys.push(errand);
        } else {
            let endpoint = endpoint::endpoint(engine, &one.provider, None).await?;
            let line = Errands { kind, endpoint, keys: vec![errand] };
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
                refused.insert(place, why);
                done(1);
            }
        }
    }
    for (place, one) in candidates.into_iter().enumerate() {
        match refused.remove(&place) {
            None => sorted.accepted.push(one),
            Some(why) => {
                let provider = one.provider.name.clone();
                sorted.refused.insert((one.identity(), provider), (one.index, why));
            }
        }
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
            given::record_first(engine, &one.provider, &new.id, &one.fingerprint, seen, false).await?;
        }
    }
    Ok(numbers.into_iter().map(Some).collect())
}
