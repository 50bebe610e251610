//! rekeyd keeps every LLM API key a team depends on tested, fresh and delivered.
//!
//! # The guided tour
//!
//! In this order, the whole house is read in an afternoon:
//!
//! 1. [`domain::rotation`]: a rotation is data and two total functions. [`domain::rotation::next()`] looks at a run
//!    and at facts and says what to do; [`domain::rotation::apply()`] says what an event made of the run. No I/O, no
//!    clock, no randomness.
//! 2. [`domain::guard`]: the one function that every disable and every delete of a key must pass.
//! 3. [`engine`]: the dull shell around them. Lease, load, `next`, commit the intent, one call outside, commit the
//!    outcome. The only room where flows exist; daemon, replica and command line all use it.
//! 4. [`store`]: what is written down, under which fence; one text of SQL for SQLite and PostgreSQL.
//! 5. [`provider`] and [`destination`]: what vendors understand, behind small traits. One file a vendor.
//! 6. [`domain::verdict`]: what one answer of a provider says about a key, and when it is believed.
//! 7. [`app`]: where settings become adapters and adapters become an engine. Whoever wonders how it all hangs
//!    together finds it here.
//!
//! `docs/architecture.md` walks a test, a rotation and a leak through these rooms, function by function. The rules (R1, R2,
//! …), invariants and faults that comments cite are in `docs/design`; recipes for changes in `CONTRIBUTING.md`.
//!
//! # Who may import whom
//!
//! A test reads the sources and holds them to this; rooms of one line never import each other.
//!
//! | rank | rooms | what |
//! |---|---|---|
//! | 0 | [`domain`] | pure: words, rules, decisions |
//! | 1 | [`crypto`], [`net`], [`config`], [`clock`], [`meter`] | sealing, the one HTTP client, settings, time, what is counted |
//! | 2 | [`store`], [`provider`], [`destination`], [`notify`] | the edges: a database, vendors, places, mail |
//! | 3 | [`engine`] | the flows |
//! | 4 | [`daemon`], [`http`] | passes, signals, systemd; what other programs reach |
//! | 5 | [`app`] | the composition root |
//! | 6 | [`cli`] | words in, tables and exit statuses out |
//! | – | [`sim`] | the vendors' protocols on loopback, for tests and the demo; imports nothing of ours |
//!
//! # Two flows, each one way
//!
//! ```text
//! tick → keys that are due → open the secret → probe → observe (pure) → commit: verdict, history, audit,
//!        alert and notice in one transaction
//! tick → a run that is awake → next (pure) → commit the intent → one call outside → apply (pure) → commit the
//!        outcome in one transaction → again
//! ```
//!
//! A tick takes no arguments: it looks at the store. So a restart, a lost signal, a second replica and an ordinary
//! minute are the same code.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod daemon;
pub mod destination;
pub mod domain;
pub mod engine;
pub mod http;
pub mod meter;
pub mod net;
pub mod notify;
pub mod provider;
pub mod sim;
pub mod store;
