//! What pages are about, and which of them something that happened concerns.

use super::role::Permission;

/// What a page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Runs, open and ended.
    Runs,
    /// Rotations, and the keys that they have in use.
    Rotations,
    /// What destinations hold.
    Destinations,
    /// Alerts.
    Alerts,
    /// Accounts.
    Accounts,
    /// Stored keys and their providers.
    Keys,
    /// Users, sessions and tokens.
    People,
    /// The audit trail.
    Audit,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 8] = [
        Self::Runs,
        Self::Rotations,
        Self::Destinations,
        Self::Alerts,
        Self::Accounts,
        Self::Keys,
        Self::People,
        Self::Audit,
    ];

    /// The word in `?topics=`, and the name of the event.
    pub fn word(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Rotations => "rotations",
            Self::Destinations => "destinations",
            Self::Alerts => "alerts",
            Self::Accounts => "accounts",
            Self::Keys => "keys",
            Self::People => "people",
            Self::Audit => "audit",
        }
    }

    /// Reads [`Topic::word`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.word() == word)
    }

    /// Who may hear of it: whoever may see it.
    pub fn permission(self) -> Permission {
        match self {
            Self::Runs | Self::Rotations | Self::Destinations | Self::Alerts | Self::Accounts => {
                Permission::Look
            }
            Self::Keys => Permission::Keys,
            Self::People => Permission::People,
            Self::Audit => Permission::Audit,
        }
    }

    /// What an action of the audit trail concerns; all of it concerns the trail itself.
    pub fn of_action(action: &str) -> &'static [Self] {
        match action.split('.').next().unwrap_or_default() {
            "run" | "rotation" => &[Self::Runs, Self::Rotations, Self::Audit],
            "destination" => &[Self::Destinations, Self::Rotations, Self::Audit],
            "key" => &[Self::Keys, Self::Rotations, Self::Accounts, Self::Audit],
            "provider" => &[Self::Keys, Self::Audit],
            "alert" | "leak" | "pass" | "budget" => &[Self::Alerts, Self::Audit],
            "account" => &[Self::Accounts, Self::Rotations, Self::Audit],
            "user" | "token" | "session" => &[Self::People, Self::Audit],
            _ => &[Self::Audit],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back_and_nothing_else_is() {
        for topic in Topic::ALL {
            assert_eq!(Topic::parse(topic.word()), Some(topic));
        }
        assert_eq!(Topic::parse("nothing"), None);
    }

    #[test]
    fn whatever_happens_is_the_trail_s_too() {
        for action in ["run.grace", "key.verdict", "alert.acknowledged", "encryption.epoch", "user.added", ""]
        {
            assert!(Topic::of_action(action).contains(&Topic::Audit), "{action}");
        }
        assert!(Topic::of_action("run.done").contains(&Topic::Rotations));
    }
}
