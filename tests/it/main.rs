//! The one integration binary: the real library, the real binary, real databases, simulated vendors.
//!
//! - `support`: a world to test in: simulators, a database, a configuration, the binary
//! - `api`: the REST API, route by route, and a rotation by it
//! - `application`: the application's PostgreSQL: who can read, who writes, what is carried over
//! - `check`: tests of stored keys: verdicts, alerts, the mass guard, healing, the provisioning key for scripts
//! - `dashboard`: the pages of a real daemon, as a browser without a script reads them
//! - `daemon`: it runs by itself: ticks, stop, reload
//! - `everyday`: what users do every day, by the commands of the README
//! - `init`: the first minutes: a configuration, the manual, completions
//! - `keys`: what people do with the keys that they keep: change, find, paste, hand out
//! - `people`: who may use the API: passwords, sessions, tokens, roles, limits
//! - `places`: destinations between rotations, and many of them in one
//! - `safety`: what must never happen: the guard, the two kinds of key, freeze, leaks of key material
//! - `secrets`: nothing secret is said anywhere, and names of others do nothing where they are shown
//! - `leaks`: a key that GitHub finds is replaced and killed, or people are told
//! - `notices`: people are told, once, whatever becomes of the mail server or of us
//! - `mail_tls`: mail over TLS, with a real handshake
//! - `model`: every interleaving of a small world, by a model checker, around the real decisions
//! - `faults`: the 34 faults of rotation.md, each by its number, with the invariants after each
//! - `store`: one conformance suite for the store, each case on both databases
//! - `house`: who may import whom, what belongs in which room, lists that must agree, pages that must be true
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![expect(clippy::disallowed_methods, reason = "other processes are waited for in real time")]

mod api;
mod application;
mod check;
mod daemon;
mod dashboard;
mod doctor;
mod everyday;
mod faults;
mod house;
mod init;
mod keys;
mod leaks;
mod mail_tls;
mod model;
mod notices;
mod people;
mod places;
mod safety;
mod secrets;
mod store;
mod support;
