//! The store: one suite, each case on SQLite and on PostgreSQL.
//!
//! - `shelf`: a fresh database, and small constructors of rows
//! - `schema`: migrations, and what the file looks like
//! - `indexes`: what the database itself refuses (rotation.md, "Constraints that the database itself holds")
//! - `leases`: who may write, for how long
//! - `fences`: a write without the right changes nothing (I6), guarded commits (I2)
//! - `crowd`: many at once: nothing twice, nothing lost
//! - `keys`, `rows`: what is written comes back as it was
//! - `looks`: which keys are due, and whose they are
//! - `plans`: how the rows of each statement are found
//! - `retention`: what is over leaves, and the history is rolled up
//! - `sealing`: changing the encryption key
//! - `trouble`: locked, read-only, gone
//! - `upgrade`: a database of an older version

mod crowd;
mod fences;
mod indexes;
mod keys;
mod leases;
mod looks;
mod plans;
mod retention;
mod rows;
mod schema;
mod sealing;
mod shelf;
mod trouble;
mod upgrade;
