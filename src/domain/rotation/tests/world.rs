//! Whole runs in a toy world: a provider, two destinations, lost answers, crashes, and persons who meddle. The
//! guard is the real one; what a crash loses is what a session has looked at.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::facts::{Request, proved_now};
use super::*;
use crate::domain::guard::{Case, Holder, Kill, Proof, permit};
use crate::domain::key::{KeySpec, RemoteKey};

/// How one call ends: done, refused, done with the answer lost, lost on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Luck {
    Done,
    Refused,
    AnswerLost,
    NeverSent,
}

struct World {
    run: Run,
    /// By hash: enabled?
    keys: BTreeMap<String, bool>,
    usage: i64,
    /// What destinations really hold.
    held: BTreeMap<String, String>,
    /// Rows with the order of their writes.
    rows: Vec<(u32, Holding)>,
    facts: Facts,
    seq: u32,
    disabled_at: BTreeMap<String, Timestamp>,
    killed_by_person: Vec<String>,
    superseded: bool,
}

impl World {
    fn new(trigger: Trigger) -> Self {
        let mut run = run(State::Planned);
        run.trigger = trigger;
        if trigger == Trigger::Leak {
            run.retirees = vec![Retiree::new(key(1), true, Span::ZERO)];
        }
        let address = |name: &str| format!("at:{name}");
        Self {
            run,
            // Another key of the account, so that the last-key rule alone decides nothing.
            keys: [("h1".to_owned(), true), ("other".to_owned(), true)].into(),
            usage: 7,
            held: [(address("must"), "k1".to_owned()), (address("may"), "k1".to_owned())].into(),
            rows: vec![
                (1, holding("must", &key(1), Level::Confirmed)),
                (1, holding("may", &key(1), Level::Confirmed)),
            ],
            facts: Facts { strays: Some(0), ..blank() },
            seq: 1,
            disabled_at: BTreeMap::new(),
            killed_by_person: Vec::new(),
            superseded: false,
        }
    }

    fn pass(&mut self, span: Span) {
        let now = self.facts.now;
        self.facts.now = Stamp { ours: now.ours.plus(span), theirs: now.theirs.map(|at| at.plus(span)) };
        self.facts.clock = self.facts.clock.plus(span);
    }

    fn record(&mut self, event: &Event) {
        let after = apply(&self.run, event);
        self.run = after.unwrap_or_else(|illegal| panic!("{illegal}: {:?}", self.run));
    }

    /// One decision and what comes of it.
    fn step(&mut self, luck: Luck) {
        self.look_at_rows();
        match next(&self.run, &self.facts) {
            Directive::Apply(event) => {
                self.facts.request = None;
                if let Event::Released { destination, .. } = &event {
                    let old = self.run.predecessor.as_ref().map(|key| key.id.clone());
                    let gone = format!("at:{destination}");
                    self.rows.retain(|(_, row)| row.address != gone || Some(&row.key) != old.as_ref());
                }
                self.record(&event);
            }
            Directive::Preflight => self.record(&Event::PreflightPassed),
            Directive::Create => self.create(luck),
            Directive::Reconcile => {
                self.facts.strays = Some(0);
                self.record(&Event::Listed { at: self.facts.now, until: Until::OVER });
            }
            Directive::CheckProvisioning => {
                self.record(&Event::ProvisioningWorks { until: Until::OVER });
            }
            Directive::Test(key) => self.test(&key),
            Directive::Publish { address, key } => self.publish(&address, &key, luck),
            Directive::Check { address, key } => self.look(&address, &key),
            Directive::Read(key) => self.read(&key.hash),
            Directive::Inherit => self.record(&Event::Inherited),
            Directive::Compare => self.facts.lacking = Some((Vec::new(), self.facts.now)),
            Directive::Enable(key) => {
                if luck != Luck::NeverSent && luck != Luck::Refused {
                    self.keys.insert(key.hash.clone(), true);
                    self.record(&Event::Enabled { hash: key.hash.clone(), at: self.facts.now });
                }
                self.read(&key.hash);
            }
            Directive::Disable { key, urgent } => self.kill(&key, Kill::Disable, urgent, luck),
            Directive::Delete { key, urgent } => self.kill(&key, Kill::Delete, urgent, luck),
            Directive::Supersede { .. } => self.superseded = true,
            Directive::Wait { span, .. } => self.pass(span),
            Directive::Finished => {}
        }
        self.pass(Span(300));
        self.assert_served();
    }

    fn look_at_rows(&mut self) {
        self.rows.sort_by_key(|(seq, _)| std::cmp::Reverse(*seq));
        self.facts.holdings = proved_now(self.rows.iter().map(|(_, row)| row.clone()));
    }

    fn create(&mut self, luck: Luck) {
        let name = format!("n{}", self.run.creates);
        self.record(&Event::CreateIntended { name, spec: KeySpec::default() });
        match luck {
            Luck::Done => {
                self.keys.insert("h2".into(), true);
                self.record(&Event::Created { key: key(2), at: self.facts.now });
            }
            Luck::Refused => self.record(&Event::CreateRefused {
                reason: "429".into(),
                doubtful: false,
                permanent: false,
                until: Until::OVER,
            }),
            // The next process finds the intent.
            Luck::AnswerLost | Luck::NeverSent => {}
        }
    }

    fn test(&mut self, key: &KeyRef) {
        let works = self.keys.get(&key.hash) == Some(&true);
        let known = if key.generation == 2 { &mut self.facts.candidate } else { &mut self.facts.predecessor };
        let now = self.facts.now;
        known.refused_since = if works { None } else { known.refused_since.or(Some(now)) };
        known.tested = Some((if works { TestResult::Valid } else { TestResult::Unauthorized }, now));
    }

    fn row(&mut self, address: &str, key: &KeyRef) -> &mut (u32, Holding) {
        let found = self.rows.iter().position(|(_, row)| row.address == address && row.key == key.id);
        let at = found.unwrap_or_else(|| {
            let name = address.trim_start_matches("at:");
            self.rows.push((0, holding(name, key, Level::Pending)));
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    fn publish(&mut self, address: &str, key: &KeyRef, luck: Luck) {
        self.seq += 1;
        let seq = self.seq;
        let row = self.row(address, key);
        let before = row.1.level.min(Level::Intended);
        (row.0, row.1.level, row.1.checked) = (seq, Level::Intended, None);
        self.record(&Event::PublishIntended);
        if matches!(luck, Luck::Done | Luck::AnswerLost) {
            self.held.insert(address.to_owned(), key.id.clone());
        }
        let soon = Until::after(self.facts.clock, Span::seconds(5));
        let row = self.row(address, key);
        match luck {
            Luck::Done => row.1.level = Level::Accepted,
            Luck::Refused => (row.1.level, row.1.until) = (before, soon),
            Luck::AnswerLost | Luck::NeverSent => row.1.until = soon,
        }
    }

    fn look(&mut self, address: &str, key: &KeyRef) {
        let holds = self.held.get(address) == Some(&key.id);
        let now = self.facts.now;
        let row = self.row(address, key);
        if holds {
            (row.1.level, row.1.checked) = (Level::Confirmed, Some(now));
        } else {
            row.1.drift = Some("somebody".into());
        }
    }

    fn read(&mut self, hash: &str) {
        let remote = match self.keys.get(hash) {
            None => Remote::Gone,
            Some(false) => Remote::Disabled,
            Some(true) => Remote::Enabled(figures(self.usage)),
        };
        self.facts.remote.retain(|known| known.hash != hash);
        self.facts.remote.push(RemoteFacts { hash: hash.to_owned(), remote, at: self.facts.now });
    }

    /// As the engine does it: proofs, listing, guard, intent, call, read.
    fn kill(&mut self, key: &KeyRef, kill: Kill, urgent: bool, luck: Luck) {
        let phase = self.run.retirees.iter().find(|r| r.key == *key).map(|r| r.phase.clone()).unwrap();
        let (hash, at) = (key.hash.clone(), self.facts.now);
        match (kill, self.keys.get(&hash)) {
            (_, None) => return self.record(&Event::FoundGone { hash }),
            (Kill::Disable, Some(false)) if phase == Phase::Disabling => {
                return self.record(&Event::Disabled { hash, at });
            }
            (Kill::Disable, Some(false)) => return self.record(&Event::FoundDisabled { hash, at }),
            (Kill::Delete, Some(true)) if phase != Phase::Deleting => {
                return self.record(&Event::FoundEnabled { hash, at });
            }
            _ => {}
        }
        if !self.permitted(key, kill, urgent) {
            let call = match kill {
                Kill::Disable => Directive::Disable { key: key.clone(), urgent },
                Kill::Delete => Directive::Delete { key: key.clone(), urgent },
            };
            let until = Until::after(self.facts.clock, Span::seconds(5));
            return self.record(&Event::Postponed {
                call: call.call(),
                reason: "guard".into(),
                until,
                by_policy: false,
            });
        }
        self.assert_may_die(key, kill, urgent);
        let intent = match kill {
            Kill::Disable => Event::DisableIntended { hash: hash.clone() },
            Kill::Delete => Event::DeleteIntended { hash: hash.clone() },
        };
        self.record(&intent);
        if matches!(luck, Luck::Done | Luck::AnswerLost) {
            match kill {
                Kill::Disable => drop(self.keys.insert(hash.clone(), false)),
                Kill::Delete => drop(self.keys.remove(&hash)),
            }
            self.disabled_at.entry(hash.clone()).or_insert(at.ours);
        }
        match (luck, kill) {
            (Luck::Done, Kill::Disable) => self.record(&Event::Disabled { hash, at }),
            (Luck::Done, Kill::Delete) => self.record(&Event::Deleted { hash }),
            _ => {}
        }
    }

    fn permitted(&mut self, doomed: &KeyRef, kill: Kill, urgent: bool) -> bool {
        let other = if doomed.generation == 1 { key(2) } else { key(1) };
        self.test(&other);
        let may_hold: Vec<String> = self
            .rows
            .iter()
            .filter(|(_, row)| row.key == doomed.id && row.level > Level::Pending)
            .map(|(_, row)| row.address.clone())
            .collect();
        let known = if other.generation == 2 { &self.facts.candidate } else { &self.facts.predecessor };
        let valid = known.tested.as_ref().filter(|(r, _)| *r == TestResult::Valid).map(|(_, at)| *at);
        let released = |address: &String| !self.run.policy.targets.iter().any(|t| t.address == *address);
        let holder = |address: &String| Holder {
            destination: address.clone(),
            required: self.run.policy.targets.iter().any(|t| t.required && t.address == *address),
            released: released(address),
            landing: Until::OVER,
            now_holds: (self.held.get(address) == Some(&other.id)).then(|| Proof {
                hash: other.hash.clone(),
                checked: self.facts.now,
                valid,
            }),
        };
        let holders: Vec<Holder> = may_hold.iter().map(holder).collect();
        let keys: Vec<RemoteKey> = self.keys.iter().map(|(hash, enabled)| listed(hash, *enabled)).collect();
        permit(&Case {
            account: "a",
            target: &doomed.hash,
            kill,
            urgent,
            leaked: self.run.retirees.iter().any(|r| r.key == *doomed && r.leaked.is_some()),
            now: self.facts.now,
            clock: self.facts.clock,
            listed: self.facts.now,
            keys: &keys,
            provisioning_hash: "p",
            open_kills: &[],
            in_doubt: &[],
            holders: &holders,
            ours: true,
            frozen: false,
            recent_kills: 0,
            max_kills: 10,
        })
        .is_ok()
    }

    /// I7, I8.
    fn assert_may_die(&self, doomed: &KeyRef, kill: Kill, urgent: bool) {
        for target in self.run.policy.targets.iter().filter(|target| target.required) {
            assert_ne!(self.held.get(&target.address), Some(&doomed.id), "I7: {kill:?} of {doomed:?}");
        }
        let retiree = self.run.retirees.iter().find(|r| r.key == *doomed).unwrap();
        let by_person = self.killed_by_person.contains(&doomed.hash);
        if kill == Kill::Delete && !urgent && !by_person && !matches!(self.run.state, State::Aborting { .. })
        {
            let since = self.disabled_at.get(&doomed.hash).copied();
            let observed = since.is_some_and(|at| self.facts.now.ours.since(at) >= retiree.observe);
            assert!(observed, "I8: {doomed:?} since {since:?}");
        }
    }

    /// I1: what a required destination holds is enabled, unless a person killed it.
    fn assert_served(&self) {
        for target in self.run.policy.targets.iter().filter(|target| target.required) {
            let held = self.held.get(&target.address).unwrap().replace('k', "h");
            let lives = self.keys.get(&held) == Some(&true) || self.killed_by_person.contains(&held);
            assert!(lives, "I1: {} holds {held}, which is dead: {:?}", target.name, self.run.state);
        }
    }

    fn person(&mut self, deed: u8) {
        let ask = |request| Some(("q".to_owned(), request));
        let hash = if deed.is_multiple_of(2) { "h1" } else { "h2" };
        match deed {
            0 | 1 => {
                self.keys.remove(hash);
                self.killed_by_person.push(hash.to_owned());
            }
            2 | 3 if self.keys.contains_key(hash) => {
                self.keys.insert(hash.to_owned(), false);
                self.disabled_at.insert(hash.to_owned(), self.facts.now.ours);
                self.killed_by_person.push(hash.to_owned());
            }
            4 | 5 if self.keys.contains_key(hash) => {
                self.keys.insert(hash.to_owned(), true);
                self.disabled_at.remove(hash);
            }
            6 => self.facts.request = ask(Request::Abort),
            7 => self.facts.request = ask(Request::Rollback),
            8 => self.facts.request = ask(Request::Resume),
            9 => self.facts.request = ask(Request::Release { destination: "may".into() }),
            10 => self.usage += 1,
            // A crash: what was looked at is forgotten, what is stored stays.
            _ => (self.facts.remote, self.facts.strays) = (Vec::new(), None),
        }
    }

    fn is_over(&self) -> bool {
        self.superseded || self.run.state.is_terminal() || matches!(self.run.state, State::Parked { .. })
    }
}

fn listed(hash: &str, enabled: bool) -> RemoteKey {
    RemoteKey { disabled: !enabled, ..RemoteKey::sample(hash) }
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![5 => Just(Luck::Done), 1 => Just(Luck::Refused), 1 => Just(Luck::AnswerLost), 1 => Just(Luck::NeverSent)]
}

fn story() -> impl Strategy<Value = (Trigger, Vec<(Luck, Option<u8>)>)> {
    let trigger = prop_oneof![3 => Just(Trigger::Schedule), 1 => Just(Trigger::Leak)];
    let step = (luck(), proptest::option::weighted(0.04, 0_u8..14));
    (trigger, proptest::collection::vec(step, 10..300))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_story_keeps_destinations_served_and_comes_to_an_end((trigger, story) in story()) {
        let mut world = World::new(trigger);
        for (luck, deed) in story {
            if let Some(deed) = deed {
                world.person(deed);
            }
            world.step(luck);
        }
        // Persons leave it alone and calls work again: it ends, or asks for a person (I10).
        for _ in 0..3000 {
            if world.is_over() {
                break;
            }
            world.step(Luck::Done);
        }
        let drifted = world.rows.iter().any(|(_, row)| row.drift.is_some());
        prop_assert!(world.is_over() || drifted, "still {:?}", world.run);
    }
}
