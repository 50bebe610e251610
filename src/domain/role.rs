//! Who may do what: one table, for every surface (interface.md §3).

/// What a person or a program was made by an admin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything.
    Admin,
    /// Looks, runs rotations, acknowledges, checks and publishes.
    Operator,
    /// Looks at rotations, runs, destinations, accounts and alerts.
    Viewer,
    /// A program that fetches credentials, and nothing else.
    Consumer,
}

/// One thing that may be allowed. Closed: what is not named here, nobody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// See rotations, runs, destinations, accounts and alerts, and how many keys of a provider are in which state.
    Look,
    /// Run, plan, pause, resume and roll back rotations; resume, abort and release runs; check and publish
    /// destinations; acknowledge alerts.
    Operate,
    /// See, add, test, change and delete stored keys and providers, with masks and history.
    Keys,
    /// Create, change and delete keys at an account; end its freeze.
    Accounts,
    /// Be handed a usable secret.
    Credentials,
    /// Read the audit trail.
    Audit,
    /// See versions, replicas and backlogs.
    System,
    /// Make, change and disable users, and end tokens and sessions of others.
    People,
    /// Change one's own password, and see and end one's own sessions and tokens.
    Own,
}

/// The table: a role and all that it may.
const TABLE: [(Role, &[Permission]); 4] = {
    use Permission::{Accounts, Audit, Credentials, Keys, Look, Operate, Own, People, System};
    [
        (Role::Admin, &[Look, Operate, Keys, Accounts, Credentials, Audit, System, People, Own]),
        (Role::Operator, &[Look, Operate, Own]),
        (Role::Viewer, &[Look, Own]),
        (Role::Consumer, &[Credentials, Own]),
    ]
};

impl Role {
    /// Every role, from most to least.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Operator, Self::Viewer, Self::Consumer];

    /// The word in the store, in JSON and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Consumer => "consumer",
        }
    }

    /// Reads [`Role::word`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }

    /// All that this role may.
    pub fn permissions(self) -> &'static [Permission] {
        TABLE.iter().find(|(role, _)| *role == self).map_or(&[], |(_, permissions)| permissions)
    }

    /// Whether this role may.
    pub fn may(self, permission: Permission) -> bool {
        self.permissions().contains(&permission)
    }

    /// Whether this role may all that the other may: nobody hands out more than they have.
    pub fn covers(self, other: Self) -> bool {
        other.permissions().iter().all(|permission| self.may(*permission))
    }
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 9] = [
        Self::Look,
        Self::Operate,
        Self::Keys,
        Self::Accounts,
        Self::Credentials,
        Self::Audit,
        Self::System,
        Self::People,
        Self::Own,
    ];

    /// What a sentence says that somebody may not do.
    pub fn deed(self) -> &'static str {
        match self {
            Self::Look => "look at rotations, runs, destinations, accounts and alerts",
            Self::Operate => "run rotations, acknowledge alerts, check and publish",
            Self::Keys => "see or change stored keys and providers",
            Self::Accounts => "change keys at an account",
            Self::Credentials => "fetch credentials",
            Self::Audit => "read the audit trail",
            Self::System => "see the system's state",
            Self::People => "manage users",
            Self::Own => "manage one's own sessions and tokens",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_the_page_says() {
        let all =
            |role: Role| Permission::ALL.into_iter().filter(move |it| role.may(*it)).collect::<Vec<_>>();
        assert_eq!(all(Role::Admin), Permission::ALL);
        assert_eq!(all(Role::Operator), [Permission::Look, Permission::Operate, Permission::Own]);
        assert_eq!(all(Role::Viewer), [Permission::Look, Permission::Own]);
        assert_eq!(all(Role::Consumer), [Permission::Credentials, Permission::Own]);
    }

    #[test]
    fn words_are_read_back_and_nothing_else_is() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.word()), Some(role));
        }
        assert_eq!(["", "Admin", "root"].map(Role::parse), [None; 3]);
    }

    #[test]
    fn nobody_covers_more_than_they_may() {
        let covered =
            |role: Role| Role::ALL.into_iter().filter(move |it| role.covers(*it)).collect::<Vec<_>>();
        assert_eq!(covered(Role::Admin), Role::ALL);
        assert_eq!(covered(Role::Operator), [Role::Operator, Role::Viewer]);
        assert_eq!(covered(Role::Viewer), [Role::Viewer]);
        assert_eq!(covered(Role::Consumer), [Role::Consumer]);
    }
}
