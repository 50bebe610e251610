//! What people should know of each kind of alert: what still works, what rekeyd does next, what they must do.

use crate::domain::alert::Kind;

/// Three answers that hold for every alert of a kind; what happened in this one is in its detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Advice {
    pub(super) still: &'static str,
    pub(super) next: &'static str,
    pub(super) must: &'static str,
}

const fn advice(still: &'static str, next: &'static str, must: &'static str) -> Advice {
    Advice { still, next, must }
}

/// The advice for a kind.
pub(super) fn on(kind: Kind) -> Advice {
    match kind {
        Kind::KeyInvalid
        | Kind::KeyRestricted
        | Kind::KeyQuota
        | Kind::KeyExpiring
        | Kind::WrongKeyKind
        | Kind::LeakDetected
        | Kind::KeyHealed
        | Kind::StrayKey => on_key(kind),
        Kind::ProvisioningKeyInvalid
        | Kind::AccountWithoutKeys
        | Kind::AccountFrozen
        | Kind::CreditsLow
        | Kind::DuplicateProvisioningKey
        | Kind::LastKeyRefused
        | Kind::BreakerWaiting
        | Kind::ClockSkew => on_account(kind),
        _ => on_work(kind),
    }
}

fn on_key(kind: Kind) -> Advice {
    match kind {
        Kind::KeyInvalid => advice(
            "Other stored keys are not affected. This one is no longer handed out.",
            "It goes on testing the key. The key of a rotation is replaced by itself, unless on_invalid = \"alert\".",
            "If it is not replaced by itself: `rekeyd rotations run NAME --leaked`, or store a new key with `rekeyd keys add`.",
        ),
        Kind::KeyRestricted => advice(
            "The key is alive; some of what it is for is refused.",
            "It goes on testing the key and says when the restriction is gone.",
            "Look at the key's rights and limits at its provider.",
        ),
        Kind::KeyQuota => advice(
            "The key is alive, but calls that cost money are refused.",
            "It goes on testing the key. It never replaces a key because money ran out.",
            "Raise the key's limit or top up the account.",
        ),
        Kind::KeyExpiring => advice(
            "The key works until it expires.",
            "A key of a rotation is replaced on its schedule.",
            "If it belongs to no rotation, make a new key at the provider and store it.",
        ),
        Kind::WrongKeyKind => advice(
            "Nothing was published or changed.",
            "It does not use the key.",
            "Put a key of the right kind in its place: a provisioning key issues keys, a regular key makes calls.",
        ),
        Kind::LeakDetected => advice(
            "Consumers keep working: the leaked key is disabled only after every required destination holds the new one.",
            "It replaces and kills the key of a rotation. Any other key it leaves alone.",
            "What the message says, if it asks for something. Find out how the key got out, and look at its usage at the provider.",
        ),
        Kind::KeyHealed => advice(
            "Every required destination holds the new key.",
            "Nothing more: the rotation is back on its schedule.",
            "Find out who disabled or deleted the old key.",
        ),
        _ => advice(
            "No consumer ever had this key.",
            "Nothing more.",
            "Nothing. If it happens often, look at the network between rekeyd and the provider.",
        ),
    }
}

fn on_account(kind: Kind) -> Advice {
    match kind {
        Kind::ProvisioningKeyInvalid => advice(
            "Published keys keep working.",
            "No key is issued, disabled or deleted on this account until the provisioning key works again.",
            "Make a new provisioning key at the provider and put it where accounts.provisioning_key points.",
        ),
        Kind::AccountWithoutKeys => advice(
            "Nothing that uses this account works.",
            "It issues and publishes a new key for each rotation of the account.",
            "Look at `rekeyd rotations list`; if no new key comes, run `rekeyd rotations run NAME --leaked`.",
        ),
        Kind::AccountFrozen => advice(
            "Published keys keep working, and are tested.",
            "Nothing on this account: no create, publish, disable or delete.",
            "Find out whether this database was restored or cloned. Stop the other rekeyd, then `rekeyd accounts thaw NAME`.",
        ),
        Kind::CreditsLow => advice(
            "Keys work until the credit is used up.",
            "It looks again at every test.",
            "Top up the account.",
        ),
        Kind::DuplicateProvisioningKey => advice(
            "Everything.",
            "It takes both entries for one account.",
            "Remove one of the two entries from the configuration.",
        ),
        Kind::LastKeyRefused => advice(
            "The last usable key of the account is alive.",
            "It refuses again until another usable key exists.",
            "Issue another key first: `rekeyd rotations run NAME`.",
        ),
        Kind::BreakerWaiting => advice(
            "Old keys stay alive a while longer.",
            "It goes on when an hour has passed since the last deletions.",
            "If so many deletions are wanted, raise max_deletes_per_hour; otherwise find out who asks for them.",
        ),
        _ => advice(
            "Published keys keep working, and are tested.",
            "Nothing is disabled or deleted until the clocks agree again.",
            "Set this machine's clock: `timedatectl`.",
        ),
    }
}

fn on_work(kind: Kind) -> Advice {
    match kind {
        Kind::RotationParked => advice(
            "Every key of the run stays alive and is tested.",
            "Nothing, until a person decides.",
            "See `rekeyd why NAME`, mend the cause, then `rekeyd runs resume ID` (or abort, rollback, release).",
        ),
        Kind::RotationFailed => advice(
            "The key in use was not touched.",
            "It tries again.",
            "Nothing, unless it keeps failing: then `rekeyd rotations show NAME` says why.",
        ),
        Kind::RotationOverdue => advice(
            "The key in use works, but is older than the policy wants.",
            "It starts the rotation as soon as what blocks it is gone.",
            "See `rekeyd why NAME`.",
        ),
        Kind::OldKeyInUse => advice(
            "Both keys work.",
            "It waits: a key in use is never disabled.",
            "Find the consumer that still holds the old key; `rekeyd why NAME` says how much it is used.",
        ),
        Kind::DestinationFailed => advice(
            "The key that the destination holds keeps working: the old key is not retired before this is solved.",
            "It tries again, up to every 15 minutes.",
            "Mend what the message names, then `rekeyd destinations check NAME`.",
        ),
        Kind::DestinationDrift => advice(
            "What the destination holds was not touched.",
            "It holds the run, unless on_drift = \"overwrite\".",
            "Find out who changed the destination, then `rekeyd destinations publish NAME` or `rekeyd runs release ID DESTINATION`.",
        ),
        Kind::ProviderUnreachable | Kind::ProviderIncident => advice(
            "Keys keep their last verdict; none is replaced because its provider is in trouble.",
            "It goes on looking.",
            "Nothing; look at the provider's status page.",
        ),
        Kind::LeakScanFailed => advice(
            "Rotations and tests. A key that leaks there is not noticed.",
            "It looks again at every turn of the schedule of [leaks].",
            "Mend what the message names.",
        ),
        Kind::ConfigRejected => advice(
            "Everything goes on with the old settings.",
            "It reads the file again at the next reload.",
            "`rekeyd config check` names file and line.",
        ),
        _ => advice("Everything else.", "It looks again.", "See `rekeyd alerts list`."),
    }
}
