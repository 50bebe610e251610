//! Who wrote to an address, for people: a rotation its key, or an account its provisioning key.

use crate::domain::alert::NewAlert;
use crate::store::copy_of;

/// The account whose provisioning key this is, where no rotation wrote.
pub(super) fn account_of(writer: &str) -> Option<&str> {
    writer.strip_prefix(&copy_of(""))
}

/// What is written there, for people.
pub(super) fn whose(writer: &str) -> String {
    match account_of(writer) {
        Some(account) => format!("the provisioning key of account {account}"),
        None => format!("the key of rotation {writer}"),
    }
}

/// An alert about what somebody wrote.
pub(super) fn about(alert: NewAlert, writer: &str) -> NewAlert {
    match account_of(writer) {
        Some(account) => NewAlert { account: Some(account.to_owned()), ..alert },
        None => alert.rotation(writer),
    }
}
