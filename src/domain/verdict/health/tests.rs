use proptest::prelude::*;

use super::*;
use crate::domain::verdict::rule::{Denying, Judgement, Rejection, Restriction, Rule, Seen, Shortage, Sign};
use crate::domain::verdict::tell::Tell;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const CONFIRM: Span = Span::seconds(20);

fn judged(rule: Rule, status: u16) -> Judgement {
    rule.judge(&Seen::read(status, b"{}")).unwrap()
}

fn seen(outcome: Outcome) -> Observation {
    let judgement = match outcome {
        Outcome::Valid => Judgement::VALID,
        Outcome::Restricted => judged(Rule::restricted(403, Sign::Json, Restriction::Scope), 403),
        Outcome::QuotaExhausted => judged(Rule::exhausted(402, Sign::Json, Shortage::Credits), 402),
        Outcome::Invalid => {
            judged(Rule::invalid(Denying::Unauthorized, Sign::Json, Rejection::Rejected), 401)
        }
        Outcome::RateLimited => Judgement::RATE_LIMITED,
        Outcome::Unreachable => Judgement::UNREACHABLE,
        Outcome::Unexpected => Judgement::UNEXPECTED,
        Outcome::Unverified => Judgement::UNVERIFIED,
    };
    Observation::new(judgement, "test")
}

/// A key, its clock, and what was told of it.
#[derive(Default)]
struct Story {
    health: Health,
    seconds: i64,
}

impl Story {
    fn now(&self) -> Timestamp {
        NOW.plus(Span::seconds(self.seconds))
    }

    /// A look in a pass, `after` seconds later.
    fn look(&mut self, after: i64, outcome: Outcome) -> Vec<Tell> {
        self.look_at(after, &seen(outcome), Occasion::Pass)
    }

    fn look_at(&mut self, after: i64, seen: &Observation, why: Occasion) -> Vec<Tell> {
        self.seconds += after;
        let step = self.health.observe(seen, why, self.now(), CONFIRM);
        self.tell_of(&step.health)
    }

    fn wait(&mut self, seconds: i64) -> Vec<Tell> {
        self.seconds += seconds;
        self.tell_of(&self.health.clone())
    }

    fn tell_of(&mut self, health: &Health) -> Vec<Tell> {
        let (health, tells) = health.tell(self.now());
        assert_eq!(health.tell(self.now()).1, [], "nothing is told twice");
        self.health = health;
        tells
    }

    fn with(outcome: Outcome) -> Self {
        let mut story = Self::default();
        story.look(0, outcome);
        if outcome == Outcome::Invalid {
            story.look(20, outcome);
        }
        story
    }
}

use Outcome::{Invalid, QuotaExhausted, RateLimited, Restricted, Unexpected, Unreachable, Unverified, Valid};

#[test]
fn a_lone_401_reaches_nobody() {
    let mut key = Story::with(Valid);
    assert_eq!(key.look(900, Invalid), []);
    assert_eq!(key.health.verdict, Verdict::Valid);
    assert_eq!(key.look(19, Invalid), [], "too early for a second look");
    assert_eq!(key.look(1, Valid), []);
    assert_eq!(key.look(900, Invalid), [], "the doubt starts afresh");
    assert_eq!(key.health.verdict, Verdict::Valid);
}

#[test]
fn two_looks_make_a_key_invalid_and_two_close_it() {
    let mut key = Story::with(Valid);
    let step = key.health.observe(&seen(Invalid), Occasion::Pass, key.now(), CONFIRM);
    assert_eq!(step.look_again_at, Some(key.now().plus(CONFIRM)));
    key.look(0, Invalid);
    assert_eq!(key.look(20, Invalid), [Tell::Open(Concern::Invalid)]);
    assert_eq!((key.health.verdict, key.health.reason), (Verdict::Invalid, Some(Reason::Rejected)));
    assert_eq!(key.look(900, Invalid), []);
    assert_eq!(key.look(900, Valid), [], "one good look is not enough to close it");
    assert_eq!(key.health.verdict, Verdict::Valid);
    assert_eq!(key.look(900, Unreachable), []);
    assert_eq!(key.look(900, Valid), [Tell::Close(Concern::Invalid)]);
}

#[test]
fn an_invalid_between_good_looks_keeps_the_alert_open_and_quiet() {
    let mut key = Story::with(Invalid);
    assert_eq!(key.look(900, Valid), []);
    assert_eq!(key.look(900, Invalid), []);
    assert_eq!(key.look(20, Invalid), [], "still the same alert");
    assert_eq!(key.look(900, Valid), []);
    assert_eq!(key.look(20, Valid), [Tell::Close(Concern::Invalid)]);
}

#[test]
fn inconclusive_looks_move_nothing_and_put_the_second_look_off() {
    for outcome in [RateLimited, Unreachable, Unexpected, Unverified] {
        let mut key = Story::with(Valid);
        assert_eq!(key.look(60, outcome), []);
        assert_eq!(key.health.verdict, Verdict::Valid);
        key.look(60, Invalid);
        let step = key.health.observe(&seen(outcome), Occasion::Extra, key.now(), CONFIRM);
        assert_eq!(step.look_again_at, Some(key.now().plus(Span::seconds(40))));
        key.look(20, outcome);
        assert_eq!(key.look(40, Invalid), [Tell::Open(Concern::Invalid)], "the doubt has been kept");
    }
}

#[test]
fn the_second_look_is_put_off_no_further_than_a_quarter_of_an_hour() {
    let mut key = Story::with(Valid);
    key.look(60, Invalid);
    (0..100).for_each(|_| assert_eq!(key.look(900, Unreachable), []));
    assert_eq!(key.health.suspicion.unwrap().look_again_at, key.now().plus(Span::minutes(15)));
    let mut asked = seen(RateLimited);
    asked.retry_after = Some(Span::hours(1));
    key.look_at(900, &asked, Occasion::Extra);
    assert_eq!(key.health.suspicion.unwrap().look_again_at, key.now().plus(Span::hours(1)));
}

#[test]
fn unverified_replaces_untested_only() {
    assert_eq!(Story::with(Unverified).health.verdict, Verdict::Unverified);
    for outcome in [Valid, Restricted, QuotaExhausted, Invalid] {
        let mut key = Story::with(outcome);
        let before = key.health.verdict;
        key.look(900, Unverified);
        assert_eq!(key.health.verdict, before);
    }
    let mut key = Story::with(Unverified);
    key.look(900, Valid);
    assert_eq!(key.health.verdict, Verdict::Valid);
}

#[test]
fn quota_and_restricted_open_and_close_with_one_look() {
    for (outcome, concern) in [(QuotaExhausted, Concern::QuotaExhausted), (Restricted, Concern::Restricted)] {
        let mut key = Story::with(Valid);
        assert_eq!(key.look(900, outcome), [Tell::Open(concern)]);
        assert_eq!(key.look(900, outcome), []);
        assert_eq!(key.look(900, Valid), [Tell::Close(concern)]);
    }
    let mut key = Story::with(QuotaExhausted);
    let turned = [Tell::Close(Concern::QuotaExhausted), Tell::Open(Concern::Restricted)];
    assert_eq!(key.look(900, Restricted), turned);
}

#[test]
fn rate_limits_are_silent_until_three_passes_or_six_hours() {
    let mut key = Story::with(Valid);
    assert_eq!(key.look(900, RateLimited), []);
    assert_eq!(key.look_at(1, &seen(RateLimited), Occasion::Extra), [], "no pass");
    assert_eq!(key.look(900, RateLimited), []);
    assert_eq!(key.look(900, Unreachable), []);
    assert_eq!(key.look(900, RateLimited), [Tell::Open(Concern::RateLimited)]);
    assert_eq!(key.look(900, Valid), [Tell::Close(Concern::RateLimited)]);
    assert_eq!(key.look(900, RateLimited), []);
    assert_eq!(key.wait(6 * 3600), [Tell::Open(Concern::RateLimited)]);
}

#[test]
fn flapping_is_told_once_and_rest_tells_what_is_left() {
    let mut key = Story::with(Valid);
    assert_eq!(key.look(1800, QuotaExhausted), [Tell::Open(Concern::QuotaExhausted)]);
    assert_eq!(key.look(1800, Valid), [Tell::Close(Concern::QuotaExhausted)]);
    assert_eq!(key.look(1800, QuotaExhausted), [Tell::Open(Concern::QuotaExhausted)]);
    assert_eq!(key.look(1800, Valid), [Tell::Open(Concern::Flapping)]);
    assert_eq!(key.look(1800, Restricted), []);
    assert_eq!(key.look(900, Invalid), []);
    assert_eq!(key.look(20, Invalid), []);
    assert_eq!(key.look(1800, Invalid), []);
    let rest =
        [Tell::Close(Concern::Flapping), Tell::Close(Concern::QuotaExhausted), Tell::Open(Concern::Invalid)];
    assert_eq!(key.look(1800, Invalid), rest, "a key that stays dead for an hour is not flapping");
}

#[test]
fn slow_changes_are_no_flapping() {
    let mut key = Story::with(Valid);
    for _ in 0..10 {
        assert_eq!(key.look(2 * 3600 + 60, QuotaExhausted), [Tell::Open(Concern::QuotaExhausted)]);
        assert_eq!(key.look(2 * 3600 + 60, Valid), [Tell::Close(Concern::QuotaExhausted)]);
    }
}

#[test]
fn a_held_key_waits_for_a_look_after_the_hold() {
    let mut key = Story::with(Valid);
    let step = key.health.observe(&seen(Restricted), Occasion::Pass, key.now(), CONFIRM);
    key.health = step.health;
    key.health.hold(Some(key.now().plus(Span::minutes(10))));
    assert_eq!(key.wait(0), []);
    assert!(!key.health.is_due_again(key.now()));
    assert_eq!(key.health.untold_since(), Some(key.now()));
    assert_eq!(key.wait(600), [], "time alone is not a look");
    assert!(key.health.is_due_again(key.now()));
    assert_eq!(key.look(0, Restricted), [Tell::Open(Concern::Restricted)]);
}

#[test]
fn expiry_warns_fourteen_three_and_one_days_ahead() {
    let day = 24 * 3600;
    let mut key = Story::default();
    let mut dated = seen(Valid);
    dated.expires_at = Some(NOW.plus(Span::hours(24 * 20)));
    key.look_at(0, &dated, Occasion::Pass);
    assert_eq!(key.wait(5 * day), []);
    assert_eq!(key.look(day, Valid), [Tell::Open(Concern::Expiring)], "the date is remembered");
    assert_eq!(key.wait(10 * day), []);
    assert_eq!(key.wait(day), [Tell::Nearer(Concern::Expiring, 3)]);
    assert_eq!(key.wait(2 * day), [Tell::Nearer(Concern::Expiring, 1)]);
    key.look(2 * day, Invalid);
    assert_eq!(key.look(20, Invalid), [Tell::Open(Concern::Invalid)]);
    assert_eq!(key.health.reason, Some(Reason::Expired), "a known date tells expired from revoked");
}

#[test]
fn health_survives_its_store() {
    let mut key = Story::with(Invalid);
    key.look(900, RateLimited);
    let text = serde_json::to_string(&key.health).unwrap();
    assert_eq!(serde_json::from_str::<Health>(&text).unwrap(), key.health);
    assert_eq!(serde_json::from_str::<Health>("{}").unwrap(), Health::default());
}

proptest! {
    #[test]
    fn the_verdict_only_follows_conclusive_looks(
        looks in prop::collection::vec((0usize..8, -100i64..4000, any::<bool>()), 0..60)
    ) {
        let mut key = Story::default();
        for (index, after, pass) in looks {
            let outcome = Outcome::ALL[index];
            let before = key.health.clone();
            let why = if pass { Occasion::Pass } else { Occasion::Extra };
            key.look_at(after, &seen(outcome), why);
            let verdict = key.health.verdict;
            prop_assert!(key.health.changes.len() <= FLAPPING_CHANGES);
            if verdict != before.verdict {
                let first = before.verdict == Verdict::Untested && outcome == Unverified;
                prop_assert!(outcome.is_conclusive() || first);
                prop_assert_eq!(verdict.as_str(), outcome.as_str());
            }
            if verdict == Verdict::Invalid && before.verdict != Verdict::Invalid {
                let doubted = before.suspicion.unwrap();
                prop_assert!(key.now().since(doubted.since) >= CONFIRM);
            }
        }
    }
}
