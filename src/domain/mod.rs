//! The pure middle: what rekeyd knows and how it decides. No clock, no network, no database, no randomness.
//!
//! Reading order: [`time`] and [`secret`] (the plain values), [`outcome`] (how a call to the outside ended),
//! [`key`] (what a provider says about a key), [`verdict`] (what a test of a key shows, and who is told).

pub mod key;
pub mod outcome;
pub mod secret;
pub mod time;
pub mod verdict;
