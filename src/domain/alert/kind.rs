//! What can be wrong, and what people should know of it.

use super::{Severity, Subject};

/// Three answers that hold for every alert of a kind; what happened in this one is in its detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// What still works.
    pub still: &'static str,
    /// What rekeyd does next.
    pub next: &'static str,
    /// What the reader must do. `{rotation}`, `{account}` and `{destination}` stand for the names of this alert.
    pub must: &'static str,
}

impl Advice {
    /// What the reader must do, with the names of this alert in its commands; where it has none, `NAME` stands.
    pub fn must_about(self, subject: &Subject, rotation: Option<&str>) -> String {
        let names = [
            ("{rotation}", rotation.or_else(|| subject.rotation())),
            ("{account}", subject.account()),
            ("{destination}", subject.destination()),
        ];
        names
            .into_iter()
            .fold(self.must.to_owned(), |text, (place, name)| text.replace(place, name.unwrap_or("NAME")))
    }
}

macro_rules! kinds {
    ($(
        $(#[$doc:meta])*
        $kind:ident = $word:literal, $severity:ident { still: $still:literal, next: $next:literal, must: $must:literal, }
    )*) => {
        /// What is wrong. One list is the truth: word, severity and advice stand beside each kind, and a kind
        /// without them does not compile.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The word in the database, in JSON and in metrics.
            pub fn word(self) -> &'static str { match self { $(Self::$kind => $word,)* } }

            /// How bad it is unless the circumstances say more.
            pub fn severity(self) -> Severity { match self { $(Self::$kind => Severity::$severity,)* } }

            /// What people should know of every alert of this kind.
            pub fn advice(self) -> Advice {
                match self { $(Self::$kind => Advice { still: $still, next: $next, must: $must },)* }
            }

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
    KeyInvalid = "key_invalid", Warning {
        still: "Other stored keys are not affected. This one is no longer handed out.",
        next: "It goes on testing the key. The key of a rotation is replaced by itself, unless on_invalid = \"alert\".",
        must: "If it is not replaced by itself: `rekeyd rotations run {rotation} --leaked`, or store a new key with `rekeyd keys add`.",
    }
    /// A provisioning key is refused.
    ProvisioningKeyInvalid = "provisioning_key_invalid", Critical {
        still: "Published keys keep working.",
        next: "No key is issued, disabled or deleted on this account until the provisioning key works again.",
        must: "Make a new provisioning key at the provider and put it where accounts.provisioning_key points.",
    }
    /// No usable regular key is left on an account.
    AccountWithoutKeys = "account_without_keys", Critical {
        still: "Nothing that uses this account works.",
        next: "It issues and publishes a new key for each rotation of the account.",
        must: "Look at `rekeyd rotations list`; if no new key comes, run `rekeyd rotations run {rotation} --leaked`.",
    }
    /// A row of the store cannot be read, or its key not opened.
    KeyUnreadable = "key_unreadable", Warning {
        still: "What the key is used for goes on working: only rekeyd cannot read what it stored. Everything else goes on.",
        next: "It neither tests nor publishes what it cannot read, and calls no key of that account a stray or foreign.",
        must: "If it was sealed with another encryption key, add that one to encryption.keys. If the row is damaged, restore it from a backup; a key of a rotation can be replaced: `rekeyd rotations run {rotation} --leaked`.",
    }
    /// A process does not have the encryption key that seals now (R24).
    EncryptionKeysStale = "encryption_keys_stale", Critical {
        still: "Published keys keep working, and this process tests and retires keys that it can open.",
        next: "The process issues no key until its list has the newest encryption key.",
        must: "Put the newest key first where [encryption] keys points on that machine, then `systemctl reload rekeyd` there.",
    }
    /// A pass of the daemon fails again and again.
    PassFailing = "pass_failing", Critical {
        still: "Published keys keep working, and the other passes go on.",
        next: "It tries the pass again and again.",
        must: "Look at what the message names, and at the daemon's log. `/readyz` is not ready until the pass works.",
    }
    /// R9: the provider shows keys of this instance that the journal does not know.
    AccountFrozen = "account_frozen", Critical {
        still: "Published keys keep working, and are tested.",
        next: "Nothing on this account: no create, publish, disable or delete.",
        must: "Find out whether this database was restored or cloned. Stop the other rekeyd, then `rekeyd accounts thaw {account}`.",
    }
    /// Keys at the provider carry names like ours that this database did not give them.
    NameImitated = "name_imitated", Warning {
        still: "Everything. These keys are never tested, disabled or deleted, and nothing waits for them.",
        next: "Nothing: it says so once, until they are gone.",
        must: "Find out who named them so: `rekeyd accounts keys {account}` shows them. A copy of this database under a program of an older version names keys like this too: stop it.",
    }
    /// A key is known to strangers.
    LeakDetected = "leak_detected", Critical {
        still: "Consumers keep working: the leaked key is disabled only after every required destination holds the new one.",
        next: "It replaces and kills the key of a rotation. Any other key it leaves alone.",
        must: "What the message says, if it asks for something. Find out how the key got out, and look at its usage at the provider.",
    }
    /// A scanner cannot be asked for leaked keys.
    LeakScanFailed = "leak_scan_failed", Warning {
        still: "Rotations and tests. A key that leaks there is not noticed.",
        next: "It looks again at every turn of the schedule of [leaks].",
        must: "Mend what the message names.",
    }
    /// A run needs a person.
    RotationParked = "rotation_parked", Critical {
        still: "Every key of the run stays alive and is tested.",
        next: "Nothing, until a person decides.",
        must: "See `rekeyd why {rotation}`, mend the cause, then `rekeyd runs resume ID` (or abort, rollback, release).",
    }
    /// A run, or a key that no run looks after, waits for somebody for too long (R17).
    RunStalled = "run_stalled", Warning {
        still: "Every key that waits stays as it is, and is tested.",
        next: "It looks again and again, and goes on by itself once what it waits for has changed.",
        must: "What the message says of each wait; `rekeyd why {rotation}` has all that is proved and waited for.",
    }
    /// A live key may not do what it is for.
    KeyRestricted = "key_restricted", Warning {
        still: "The key is alive; some of what it is for is refused.",
        next: "It goes on testing the key and says when the restriction is gone.",
        must: "Look at the key's rights and limits at its provider.",
    }
    /// A live key has no money or limit left.
    KeyQuota = "key_quota", Warning {
        still: "The key is alive, but calls that cost money are refused.",
        next: "It goes on testing the key. It never replaces a key because money ran out.",
        must: "Raise the key's limit or top up the account.",
    }
    /// A key ends within 14 days.
    KeyExpiring = "key_expiring", Warning {
        still: "The key works until it expires.",
        next: "A key of a rotation is replaced on its schedule.",
        must: "If it belongs to no rotation, make a new key at the provider and store it.",
    }
    /// The account runs out of credit.
    CreditsLow = "credits_low", Warning {
        still: "Keys work until the credit is used up.",
        next: "It looks again at every test.",
        must: "Top up the account.",
    }
    /// A provider does not answer.
    ProviderUnreachable = "provider_unreachable", Warning {
        still: "Keys keep their last verdict; none is replaced because its provider is in trouble.",
        next: "It goes on looking.",
        must: "Nothing; look at the provider's status page.",
    }
    /// Tests of keys of several providers get no answer at once.
    NoEgress = "no_egress", Warning {
        still: "Keys keep their last verdict, and published keys keep working where they are used.",
        next: "It goes on looking, and says nothing of the providers meanwhile.",
        must: "Look at this machine's network, name service, proxy and certificates: `curl -I https://api.openai.com`.",
    }
    /// Many keys of one provider turned bad at once.
    ProviderIncident = "provider_incident", Warning {
        still: "Keys keep their last verdict; none is replaced because its provider is in trouble.",
        next: "It goes on looking.",
        must: "Nothing; look at the provider's status page.",
    }
    /// A regular key stands where a provisioning key should, or the other way round.
    WrongKeyKind = "wrong_key_kind", Warning {
        still: "Nothing was published or changed.",
        next: "It does not use the key.",
        must: "Put a key of the right kind in its place: a provisioning key issues keys, a regular key makes calls.",
    }
    /// Two provisioning keys of one account.
    DuplicateProvisioningKey = "duplicate_provisioning_key", Warning {
        still: "Everything.",
        next: "It takes both entries for one account.",
        must: "Remove one of the two entries from the configuration.",
    }
    /// The guard refused to let the last key go.
    LastKeyRefused = "last_key_refused", Warning {
        still: "The last usable key of the account is alive.",
        next: "It refuses again until another usable key exists.",
        must: "Issue another key first: `rekeyd rotations run {rotation}`.",
    }
    /// A run could not start, or ended without a new key.
    RotationFailed = "rotation_failed", Warning {
        still: "The key in use was not touched.",
        next: "It tries again.",
        must: "Nothing, unless it keeps failing: then `rekeyd rotations show {rotation}` says why.",
    }
    /// A new key lacks what names the old one by its hash (R23).
    InheritanceFailed = "inheritance_failed", Critical {
        still: "The new key makes calls. It may not be held by the old key's guardrail, or not use the credentials that the old one may.",
        next: "A key that was published without it is tried again until it is done. An old key that differs from the new one is not disabled.",
        must: "Look at the guardrails and the BYOK credentials that the message names at the provider, and put the new key there, or take the old one off. `rekeyd why {rotation}` says what is waited for.",
    }
    /// A rotation is late.
    RotationOverdue = "rotation_overdue", Warning {
        still: "The key in use works, but is older than the policy wants.",
        next: "It starts the rotation as soon as what blocks it is gone.",
        must: "See `rekeyd why {rotation}`.",
    }
    /// The old key is still used after `max_overlap`.
    OldKeyInUse = "old_key_in_use", Warning {
        still: "Both keys work.",
        next: "It waits: a key in use is never disabled.",
        must: "Find the consumer that still holds the old key; `rekeyd why {rotation}` says how much it is used.",
    }
    /// A destination does not take or prove the key.
    DestinationFailed = "destination_failed", Warning {
        still: "The key that the destination holds keeps working: the old key is not retired before this is solved.",
        next: "It tries again, up to every 15 minutes.",
        must: "Mend what the message names, then `rekeyd destinations check {destination}`.",
    }
    /// Somebody else changed a destination.
    DestinationDrift = "destination_drift", Warning {
        still: "What the destination holds was not touched.",
        next: "It holds the run, unless on_drift = \"overwrite\".",
        must: "Find out who changed the destination, then `rekeyd destinations publish {destination}` or `rekeyd runs release ID DESTINATION`.",
    }
    /// R16: a destination or an account is called again and again, and nothing comes of it.
    CallBudget = "call_budget", Warning {
        still: "Every key stays as it is, and is tested. Everything else goes on; leaks and healing have budgets of their own.",
        next: "It calls there ever more rarely until something comes of it.",
        must: "Find out what undoes each time what rekeyd does there, or what keeps it from working: `rekeyd why {rotation}` says what waits.",
    }
    /// Keys of a provider are looked at less often than the schedule says.
    TestsBehind = "tests_behind", Warning {
        still: "Every key is tested, those that wait longest first; second looks and current keys of rotations are not late.",
        next: "It goes on at the pace that host_spacing allows.",
        must: "If keys must be looked at more often, lower host_spacing or raise per_provider_concurrency in [tests]; else lengthen its schedule.",
    }
    /// Our clock and the provider's differ.
    ClockSkew = "clock_skew", Warning {
        still: "Published keys keep working, and are tested.",
        next: "Nothing is disabled or deleted until the clocks agree again.",
        must: "Set this machine's clock: `timedatectl`.",
    }
    /// `max_deletes_per_hour` holds destructive acts back.
    BreakerWaiting = "breaker_waiting", Warning {
        still: "Old keys stay alive a while longer.",
        next: "It goes on when an hour has passed since the last deletions.",
        must: "If so many deletions are wanted, raise max_deletes_per_hour; otherwise find out who asks for them.",
    }
    /// A reload was refused.
    ConfigRejected = "config_rejected", Warning {
        still: "Everything goes on with the old settings.",
        next: "It reads the file again at the next reload.",
        must: "`rekeyd config check` names file and line.",
    }
    /// A key of an unknown create surfaced and was removed.
    StrayKey = "stray_key", Info {
        still: "No consumer ever had this key.",
        next: "Nothing more.",
        must: "Nothing. If it happens often, look at the network between rekeyd and the provider.",
    }
    /// A dead key was replaced without a person.
    KeyHealed = "key_healed", Info {
        still: "Every required destination holds the new key.",
        next: "Nothing more: the rotation is back on its schedule.",
        must: "Find out who disabled or deleted the old key.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_advice_is_in_whole_sentences() {
        for kind in Kind::ALL {
            let advice = kind.advice();
            for text in [advice.still, advice.next, advice.must] {
                assert!(text.starts_with(|c: char| c.is_ascii_uppercase() || c == '`'), "{kind:?}: {text}");
                assert!(text.ends_with('.') && !text.contains('\n'), "{kind:?}: {text}");
                assert_eq!(text.matches('`').count() % 2, 0, "{kind:?}: {text}");
            }
        }
    }

    #[test]
    fn only_what_must_be_done_has_names_and_only_known_ones() {
        for kind in Kind::ALL {
            let advice = kind.advice();
            let known = ["{rotation}", "{account}", "{destination}"];
            let must = known.iter().fold(advice.must.to_owned(), |text, name| text.replace(name, ""));
            for text in [advice.still, advice.next, &must] {
                assert!(!text.contains(['{', '}']) && !text.contains("NAME"), "{kind:?}: {text}");
            }
        }
    }
}
