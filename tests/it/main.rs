//! The one integration binary: the real library, the real binary, real databases, simulated vendors.
//!
//! - `support`: a world to test in: simulators, a database, a configuration, the binary
//! - `everyday`: what users do every day, by the commands of the README
//! - `init`: the first minutes: a configuration, the manual, completions
//! - `safety`: what must never happen: the guard, the two kinds of key, freeze, leaks of key material
//! - `daemon`: it runs by itself, stops in every state, reloads, shares the work
//! - `kill`: SIGKILL at every external call of a rotation, before and after its effect
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod daemon;
mod everyday;
mod init;
mod kill;
mod safety;
mod support;
