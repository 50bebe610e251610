//! What every page has round its contents: who looks, where they may go, what was just done.

use super::assets;
use super::fields::TOKEN;
use super::parts::{self, Html, escaped};
use crate::domain::role::{Permission, Role};
use crate::domain::secret::without_masks;
use crate::domain::time::Timestamp;

/// Pages of the first level: address, name, who may.
const PLACES: &[(&str, &str, Permission)] = &[
    ("/", "Now", Permission::Look),
    ("/alerts", "Alerts", Permission::Look),
    ("/providers", "Providers", Permission::Look),
    ("/keys", "Keys", Permission::Keys),
    ("/rotations", "Rotations", Permission::Look),
    ("/runs", "Runs", Permission::Look),
    ("/destinations", "Destinations", Permission::Look),
    ("/accounts", "Accounts", Permission::Look),
    ("/system", "System", Permission::System),
    ("/audit", "Audit", Permission::Audit),
    ("/people", "People", Permission::People),
];

/// What was just done, by the word in the address of the page that shows it. Only these are shown: nobody puts words of
/// their own on a page by a link.
const DONE: &[(&str, &str)] = &[
    ("acknowledged", "Acknowledged. There will be no more reminders."),
    ("started", "The run has begun. This page follows it."),
    ("asked", "Noted. The daemon acts on it with its next step; this page shows what came of it."),
    ("paused", "Paused. No run starts, and no key is disabled or deleted."),
    ("resumed", "The pause is over."),
    ("published", "The current key was written once more."),
    ("thawed", "The account is frozen no more."),
    ("changed", "Done."),
    ("deleted", "Deleted."),
    ("tested", "Tested. Each row says what came of it."),
    ("testing", "The tests go on. This page shows each verdict as it comes."),
    ("going-on", "It goes on, key after key. This page shows what is left."),
    ("logged-out", "You are logged out."),
];

/// What a page has round its contents.
pub(super) struct Frame {
    /// Path of the public URL without a slash at its end: every address begins with it.
    pub(super) base: String,
    pub(super) title: String,
    /// Address of this page below the base.
    pub(super) here: String,
    /// E-mail address and role; none before the login.
    pub(super) who: Option<(String, Role)>,
    csrf: String,
    done: Option<&'static str>,
    now: Timestamp,
    /// Of the program, and of what its pages load.
    pub(super) version: &'static str,
    pub(super) assets: &'static str,
}

/// A page that one may go to.
pub(super) struct Place {
    pub(super) path: &'static str,
    pub(super) name: &'static str,
    pub(super) is_here: bool,
}

impl Frame {
    /// For somebody who is known.
    pub(super) fn known(
        base: String,
        here: String,
        who: (String, Role),
        csrf: String,
        now: Timestamp,
    ) -> Self {
        Self { who: Some(who), csrf, ..Self::unknown(base, here, now) }
    }

    /// For somebody whom nobody knows.
    pub(super) fn unknown(base: String, here: String, now: Timestamp) -> Self {
        Self {
            base,
            title: String::new(),
            here,
            who: None,
            csrf: String::new(),
            done: None,
            now,
            version: env!("CARGO_PKG_VERSION"),
            assets: &assets::VERSION,
        }
    }

    /// With a title.
    pub(super) fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// With what was done, by its word.
    pub(super) fn having_done(mut self, word: Option<&str>) -> Self {
        self.done =
            word.and_then(|word| DONE.iter().find(|(known, _)| *known == word)).map(|(_, said)| *said);
        self
    }

    pub(super) fn done(&self) -> Option<&'static str> {
        self.done
    }

    /// Where they may go.
    pub(super) fn places(&self) -> Vec<Place> {
        let allowed = PLACES.iter().filter(|(_, _, permission)| self.may(*permission));
        let place = |&(path, name, _): &(&'static str, &'static str, Permission)| {
            let below = path != "/" && self.here.starts_with(&format!("{path}/"));
            Place { path, name, is_here: self.here == path || below }
        };
        allowed.map(place).collect()
    }

    fn may(&self, permission: Permission) -> bool {
        self.who.as_ref().is_some_and(|(_, role)| role.may(permission))
    }

    /// Run, plan, pause, acknowledge, check, publish.
    pub(super) fn may_operate(&self) -> bool {
        self.may(Permission::Operate)
    }

    /// Change keys at an account.
    pub(super) fn may_change_accounts(&self) -> bool {
        self.may(Permission::Accounts)
    }

    /// See rows of keys, and masks.
    pub(super) fn may_see_keys(&self) -> bool {
        self.may(Permission::Keys)
    }

    /// The beginning of a form that changes something.
    pub(super) fn post(&self, path: impl AsRef<str>) -> Html {
        Html::of(format!(
            "<form method=\"post\" action=\"{}{}\"><input type=\"hidden\" name=\"{TOKEN}\" value=\"{}\">",
            escaped(&self.base),
            escaped(path.as_ref()),
            escaped(&self.csrf)
        ))
    }

    /// A sentence from an alert or a vendor, as far as this reader may see it.
    pub(super) fn said(&self, text: impl AsRef<str>) -> Html {
        let text = text.as_ref();
        if self.may_see_keys() { parts::prose(text) } else { parts::prose(&without_masks(text)) }
    }

    /// How long ago, or in how long. It is marked: that it grew is no news to the script.
    pub(super) fn age(&self, at: &str) -> Html {
        Html::of(format!("<span data-age>{}</span>", parts::age(at, self.now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(role: Role) -> Frame {
        let who = ("ada@example.com".to_owned(), role);
        Frame::known("/ops".to_owned(), "/runs/1".to_owned(), who, "false".to_owned(), Timestamp(0))
    }

    #[test]
    fn nobody_is_sent_where_they_may_not_go() {
        for role in Role::ALL {
            let frame = frame(role);
            let looks = frame.places().iter().any(|place| place.path == "/runs");
            assert_eq!(looks, role.may(Permission::Look));
        }
        assert!(Frame::unknown(String::new(), "/login".to_owned(), Timestamp(0)).places().is_empty());
    }

    #[test]
    fn a_page_below_another_is_there() {
        let here: Vec<&str> = frame(Role::Admin)
            .places()
            .iter()
            .filter(|place| place.is_here)
            .map(|place| place.path)
            .collect();
        assert_eq!(here, ["/runs"]);
    }

    #[test]
    fn masks_are_for_who_may_see_keys() {
        let text = "Key sk-or-v...1234 is refused: `rekeyd why production`.";
        assert!(frame(Role::Admin).said(text).to_string().contains("sk-or-v...1234"));
        for role in [Role::Operator, Role::Viewer] {
            assert_eq!(
                frame(role).said(text).to_string(),
                "Key (hidden) is refused: <code>rekeyd why production</code>."
            );
        }
    }

    #[test]
    fn nobody_puts_words_on_a_page_by_a_link() {
        let done = |word| frame(Role::Viewer).having_done(Some(word)).done();
        assert!(done("acknowledged").is_some() && done("Call this number").is_none());
    }
}
