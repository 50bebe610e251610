//! A rotation in three answers: is the key everywhere, when does it end, may I go to bed.

use serde::Serialize;

use super::RotationView;

/// The three answers, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Glance {
    /// Whether every required destination holds the current key.
    pub is_everywhere: bool,
    /// The same, and which not.
    pub everywhere: String,
    /// What comes last, and when, RFC 3339; `None` while nothing has a moment.
    pub ends: Option<(String, String)>,
    /// Whether nobody is waited for.
    pub may_rest: bool,
    /// The same, and who is waited for.
    pub rest: String,
}

/// The three answers for a rotation.
pub fn glance(view: &RotationView) -> Glance {
    let (is_everywhere, everywhere) = everywhere(view);
    let needs = needs(view);
    Glance {
        is_everywhere,
        everywhere,
        ends: ends(view),
        may_rest: needs.is_none(),
        rest: needs.unwrap_or_else(|| "Yes. Nobody is waited for.".to_owned()),
    }
}

fn everywhere(view: &RotationView) -> (bool, String) {
    let Some(current) = view.current.as_ref().and_then(|current| current.generation) else {
        return (false, "No: there is no current key yet.".to_owned());
    };
    let required: Vec<_> = view.destinations.iter().filter(|target| target.required).collect();
    let lacks = required.iter().filter(|target| {
        let proved = matches!(target.level, "confirmed" | "effective");
        !(proved && target.generation == Some(current) && target.drift.is_none())
    });
    let names: Vec<&str> = lacks.map(|target| target.name.as_str()).collect();
    if names.is_empty() {
        let places = match required.len() {
            0 => "no destination is required".to_owned(),
            1 => "the one required destination holds it".to_owned(),
            n => format!("all {n} required destinations hold it"),
        };
        return (true, format!("Yes: {places}, generation {current}."));
    }
    (false, format!("No: not proved at {}.", names.join(", ")))
}

/// The last moment that is known. A look is no end, unless it is all that is known.
fn ends(view: &RotationView) -> Option<(String, String)> {
    let named = view.waits.next.iter().filter(|moment| moment.what != "next look");
    let last = named.max_by(|a, b| a.at.cmp(&b.at)).or(view.waits.next.last())?;
    Some((last.what.clone(), last.at.clone()))
}

/// Why somebody is waited for.
fn needs(view: &RotationView) -> Option<String> {
    match view.state {
        "parked" => return Some("No: the run is parked, and goes on when a person decides.".to_owned()),
        "frozen" => return Some("No: the account is frozen, and nothing is changed on it.".to_owned()),
        _ => {}
    }
    let person = view.waits.waits.iter().find(|wait| wait.on.as_deref() == Some("person"));
    if let Some(wait) = person {
        return Some(format!("No: {}.", wait.text));
    }
    let current = view.current.as_ref()?;
    (current.verdict == "invalid").then(|| "No: the provider refuses the current key.".to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::commands::view::rotation::{GenerationView, TargetView};
    use crate::engine::commands::view::{MomentView, WaitView, WaitsView};

    /// An idle rotation whose two required destinations hold generation 2.
    pub(in super::super) fn rotation(name: &str) -> RotationView {
        let target = |name: &str, required| TargetView {
            name: name.to_owned(),
            required,
            level: "confirmed",
            generation: Some(2),
            error: None,
            drift: None,
            checked_at: None,
        };
        RotationView {
            name: name.to_owned(),
            account: "main".to_owned(),
            state: "idle",
            healing_paused: false,
            current: Some(GenerationView {
                generation: Some(2),
                key_id: "k".to_owned(),
                hash: None,
                label: "sk-or-v...1234".to_owned(),
                issued_at: "2026-12-01T03:00:00Z".to_owned(),
                verdict: "valid".to_owned(),
                tested_at: None,
            }),
            previous: None,
            next_due_at: None,
            last_run: None,
            destinations: vec![target("github", true), target("vercel", true), target("file", false)],
            waits: WaitsView::default(),
        }
    }

    #[test]
    fn all_is_well() {
        let glance = glance(&rotation("production"));
        assert!(glance.is_everywhere && glance.may_rest && glance.ends.is_none(), "{glance:?}");
        assert_eq!(glance.everywhere, "Yes: all 2 required destinations hold it, generation 2.");
    }

    #[test]
    fn what_is_not_proved_of_the_current_key_is_not_everywhere() {
        for spoil in [
            |target: &mut TargetView| target.level = "accepted",
            |target: &mut TargetView| target.generation = Some(1),
            |target: &mut TargetView| target.drift = Some("somebody else changed it".to_owned()),
        ] {
            let mut view = rotation("production");
            spoil(&mut view.destinations[1]);
            assert_eq!(glance(&view).everywhere, "No: not proved at vercel.");
            let mut view = rotation("production");
            spoil(&mut view.destinations[2]);
            assert!(glance(&view).is_everywhere, "an optional one does not count");
        }
    }

    #[test]
    fn nobody_goes_to_bed_while_they_are_waited_for() {
        for spoil in [
            |view: &mut RotationView| view.state = "parked",
            |view: &mut RotationView| view.state = "frozen",
            |view: &mut RotationView| {
                view.waits.waits.push(WaitView {
                    text: "a person must say so".to_owned(),
                    on: Some("person".to_owned()),
                    since: String::new(),
                    until: None,
                });
            },
            |view: &mut RotationView| view.current.as_mut().unwrap().verdict = "invalid".to_owned(),
        ] {
            let mut view = rotation("production");
            spoil(&mut view);
            let glance = glance(&view);
            assert!(!glance.may_rest && glance.rest.starts_with("No: "), "{glance:?}");
        }
    }

    #[test]
    fn it_ends_with_the_last_moment_that_is_no_look() {
        let mut view = rotation("production");
        let moment = |what: &str, at: &str| MomentView { what: what.to_owned(), at: at.to_owned() };
        view.waits.next = vec![moment("next look", "2026-12-01T03:00:10Z")];
        assert_eq!(glance(&view).ends.unwrap().0, "next look");
        view.waits.next.push(moment("generation 1 is deleted", "2026-12-03T03:00:00Z"));
        view.waits.next.insert(0, moment("grace ends", "2026-12-02T03:00:00Z"));
        assert_eq!(glance(&view).ends.unwrap().0, "generation 1 is deleted");
    }
}
