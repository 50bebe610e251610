//! The one integration binary: the real library, the real binary, real databases, simulated vendors.
//!
//! - `support`: a world to test in: simulators, a database, a configuration, the binary
//! - `everyday`: what users do every day, by the commands of the README
//! - `safety`: what must never happen: the guard, the two kinds of key, freeze, leaks of key material
//! - `notices`: people are told, once, whatever becomes of the mail server or of us
//! - `kill`: SIGKILL at every external call of a rotation, before and after its effect
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod everyday;
mod kill;
mod notices;
mod safety;
mod support;
