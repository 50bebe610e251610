//! The pure middle: what rekeyd knows and how it decides. No clock, no network, no database, no randomness.
//!
//! Reading order: [`time`], [`secret`] and [`name`] (the plain values), [`outcome`] (how a call to the outside
//! ended), [`key`] (what a provider says about a key), [`verdict`] (what a test of a key showed), [`rotation`]
//! (the protocol), [`schedule`] (when a run is due), [`guard`] (what may never happen), [`alert`] (what admins are told),
//! [`stall`] (which waits they are told of), [`turn`] (who works on an account next).

pub mod alert;
pub mod guard;
pub mod key;
pub mod name;
pub mod outcome;
pub mod rotation;
pub mod schedule;
pub mod secret;
pub mod stall;
pub mod time;
pub mod turn;
pub mod verdict;
