//! Conditions that admins are told about. Kinds and severities: interface.md §5.
//!
//! The life of an alert, one row a cause: opened ─► (acknowledged) ─► resolved. While it is open it may get
//! worse, and it is repeated until somebody acknowledges it. People hear of it by a [`Notice`] for each [`Event`].
//!
//! Info alerts report what happened, not what is wrong: they are told once, never repeated and never resolved
//! by mail.

use super::time::Timestamp;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// For the record.
    Info,
    /// Look at it in working hours.
    Warning,
    /// Production is at risk.
    Critical,
}

impl Severity {
    /// The word in the database and in JSON; upper-cased in e-mail subjects.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The severity of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Info, Self::Warning, Self::Critical].into_iter().find(|severity| severity.word() == word)
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $word:literal, $severity:ident;)*) => {
        /// What is wrong. One list is the truth: word and severity stand beside each kind.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The word in the database, in JSON and in metrics.
            pub fn word(self) -> &'static str { match self { $(Self::$kind => $word,)* } }

            /// How bad it is unless the circumstances say more.
            pub fn severity(self) -> Severity { match self { $(Self::$kind => Severity::$severity,)* } }

            /// The kind of that word.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.word() == word)
            }

            /// The words in the subject of a mail: `key invalid`.
            pub fn title(self) -> String { self.word().replace('_', " ") }
        }
    };
}

kinds! {
    /// A key is refused by its provider.
    KeyInvalid = "key_invalid", Warning;
    /// A provisioning key is refused.
    ProvisioningKeyInvalid = "provisioning_key_invalid", Critical;
    /// No usable regular key is left on an account.
    AccountWithoutKeys = "account_without_keys", Critical;
    /// R9: the provider shows keys of this instance that the journal does not know.
    AccountFrozen = "account_frozen", Critical;
    /// A key is known to strangers.
    LeakDetected = "leak_detected", Critical;
    /// A scanner cannot be asked for leaked keys.
    LeakScanFailed = "leak_scan_failed", Warning;
    /// A run needs a person.
    RotationParked = "rotation_parked", Critical;
    /// A live key may not do what it is for.
    KeyRestricted = "key_restricted", Warning;
    /// A live key has no money or limit left.
    KeyQuota = "key_quota", Warning;
    /// A key ends within 14 days.
    KeyExpiring = "key_expiring", Warning;
    /// The account runs out of credit.
    CreditsLow = "credits_low", Warning;
    /// A provider does not answer.
    ProviderUnreachable = "provider_unreachable", Warning;
    /// Many keys of one provider turned bad at once.
    ProviderIncident = "provider_incident", Warning;
    /// A regular key stands where a provisioning key should, or the other way round.
    WrongKeyKind = "wrong_key_kind", Warning;
    /// Two provisioning keys of one account.
    DuplicateProvisioningKey = "duplicate_provisioning_key", Warning;
    /// The guard refused to let the last key go.
    LastKeyRefused = "last_key_refused", Warning;
    /// A run could not start, or ended without a new key.
    RotationFailed = "rotation_failed", Warning;
    /// A rotation is late.
    RotationOverdue = "rotation_overdue", Warning;
    /// The old key is still used after `max_overlap`.
    OldKeyInUse = "old_key_in_use", Warning;
    /// A destination does not take or prove the key.
    DestinationFailed = "destination_failed", Warning;
    /// Somebody else changed a destination.
    DestinationDrift = "destination_drift", Warning;
    /// Our clock and the provider's differ.
    ClockSkew = "clock_skew", Warning;
    /// `max_deletes_per_hour` holds destructive acts back.
    BreakerWaiting = "breaker_waiting", Warning;
    /// A reload was refused.
    ConfigRejected = "config_rejected", Warning;
    /// A key of an unknown create surfaced and was removed.
    StrayKey = "stray_key", Info;
    /// A dead key was replaced without a person.
    KeyHealed = "key_healed", Info;
}

/// An alert to open.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NewAlert {
    /// What is wrong.
    pub kind: Kind,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub subject: String,
    /// The account's name, for routes.
    pub account: Option<String>,
    /// The rotation's name, for routes.
    pub rotation: Option<String>,
    /// In whole sentences: what happened, what still works, what the reader must do.
    pub detail: String,
}

impl NewAlert {
    /// An alert of the kind's own severity.
    pub fn new(kind: Kind, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            kind,
            severity: kind.severity(),
            subject: subject.into(),
            account: None,
            rotation: None,
            detail: detail.into(),
        }
    }

    /// The same about a rotation.
    #[must_use]
    pub fn rotation(mut self, rotation: impl Into<String>) -> Self {
        self.rotation = Some(rotation.into());
        self
    }
}

/// What became of an alert, as far as people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// It began.
    Opened,
    /// It got worse while it was open.
    Escalated,
    /// It is still open, and nobody has acknowledged it.
    Reminded,
    /// It is over.
    Resolved,
}

impl Event {
    const ALL: [Self; 4] = [Self::Opened, Self::Escalated, Self::Reminded, Self::Resolved];

    /// The word in the database and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Escalated => "escalated",
            Self::Reminded => "reminded",
            Self::Resolved => "resolved",
        }
    }

    /// The event of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.word() == word)
    }
}

/// One event of an alert, as it was when it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Unique, sorts by time.
    pub id: String,
    /// Id of the alert.
    pub alert: String,
    /// What became of it.
    pub event: Event,
    /// What is wrong.
    pub kind: Kind,
    /// How bad it was by then.
    pub severity: Severity,
    /// What it is about: `rotation production`.
    pub subject: String,
    /// The account's name, for routes.
    pub account: Option<String>,
    /// The rotation's name, for routes.
    pub rotation: Option<String>,
    /// In whole sentences.
    pub detail: String,
    /// When the alert opened.
    pub opened_at: Timestamp,
    /// When the event happened.
    pub at: Timestamp,
}

impl Notice {
    /// What it is about, in the subject of a mail: the bare name, and the rotation's where there is one.
    pub fn about(&self) -> &str {
        match (self.subject.split_once(' '), &self.rotation) {
            (Some(("key", _)), Some(rotation)) => rotation,
            (Some(("rotation" | "account" | "destination" | "key", name)), _) => name,
            _ => &self.subject,
        }
    }
}
