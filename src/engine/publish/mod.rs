//! One key to one address, and proving that it arrived.
//!
//! ```text
//! address           the row of a key at an address: how it begins, what was seen there, how it failed
//! drift             what somebody else changed there · writer   who wrote there, for people
//! deliver           publish, check, roll out, for a run
//! repair            the current key once more, outside of runs · provisioning_copy   the provisioning key for scripts
//! rolls             what of an account names keys by their hash: read, and written under one lock each
//! inherit           the new key is named wherever the old one is (R23)
//! ```

pub(crate) mod address;
pub(crate) mod deliver;
pub(crate) mod drift;
pub(crate) mod inherit;
pub(crate) mod provisioning_copy;
pub(crate) mod repair;
pub(crate) mod rolls;
mod writer;
