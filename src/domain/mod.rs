//! The pure middle: what rekeyd knows and how it decides. No clock, no network, no database, no randomness.
//!
//! Reading order: [`time`] and [`secret`] (the plain values), [`outcome`] (how a call to the outside ended),
//! [`key`] (what a provider says about a key), [`rotation`] (the protocol), [`guard`] (what may never happen).

pub mod alert;
pub mod guard;
pub mod key;
pub mod name;
pub mod outcome;
pub mod rotation;
pub mod secret;
pub mod time;
