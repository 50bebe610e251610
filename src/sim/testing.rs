//! The client of the simulators' own tests.

use std::time::Duration;

/// One that keeps no connection to itself and gives up after a minute.
#[expect(clippy::disallowed_methods, reason = "the simulators are tested without our own client")]
pub(crate) fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(1));
    builder.build().expect("a plain client")
}
