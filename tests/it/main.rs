//! The one integration binary: the real library, the real binary, real databases, simulated vendors.
//!
//! - `support`: a world to test in: simulators, a database, a configuration, the binary
//! - `check`: tests of stored keys: verdicts, alerts, the mass guard, healing, the provisioning key for scripts
//! - `everyday`: what users do every day, by the commands of the README
//! - `safety`: what must never happen: the guard, the two kinds of key, freeze, leaks of key material
//! - `kill`: SIGKILL at every external call of a rotation, before and after its effect
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod check;
mod everyday;
mod kill;
mod safety;
mod support;
