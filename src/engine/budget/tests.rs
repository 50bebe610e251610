use super::*;
use crate::clock::SystemClock;
use crate::engine::publish::address;

const ADDRESS: &str = "file:/srv/app/.env#KEY";

fn meter(subject: Subject, most: usize) -> Arc<Meter> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    Arc::new(Meter::new(subject, most, &clock))
}

/// Calls until the meter refuses one.
fn exhaust(meter: &Meter) {
    while meter.ask().is_ok() {}
}

#[test]
fn a_look_that_shows_a_key_in_its_place_is_progress_once() {
    let meter = meter(Subject::Destination("app".to_owned()), OF_A_PLACE);
    let places = BTreeMap::from([(ADDRESS.to_owned(), Arc::clone(&meter))]);
    let budgets = Budgets { places, ..Budgets::default() };
    let mut row = address::blank(ADDRESS, "k1", "app", "production");
    row.fact.level = Level::Confirmed;
    let seen = [Change::Seen(Box::new(row))];
    exhaust(&meter);
    budgets.note("main", &seen);
    assert!(meter.ask().is_ok(), "it was not known before");
    exhaust(&meter);
    budgets.note("main", &seen);
    assert!(meter.ask().is_err(), "the same again is none");
}

#[tokio::test]
async fn many_leaks_keep_neither_healing_nor_others_from_the_account() {
    let meter = meter(Subject::Account("main".to_owned()), OF_AN_ACCOUNT);
    working_for(Class::Leak, async {
        exhaust(&meter);
        while meter.ask_who().is_ok() {}
    })
    .await;
    for class in [Class::Healing, Class::Person, Class::Runs] {
        let asked = working_for(class, async { meter.ask_who().and_then(|()| meter.ask()) }).await;
        assert!(asked.is_ok(), "{class:?}");
    }
    let midst = working_for(Class::Leak, working_for(Class::Runs, async { meter.ask() })).await;
    assert!(midst.is_err(), "what a leak begins is its own");
}
