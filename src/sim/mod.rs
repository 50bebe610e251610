//! Working simulators of the vendors' protocols on loopback, for the tests and for `rekeyd demo`.
//!
//! The room imports nothing of ours: it knows the vendors (wire-facts.md), not rekeyd. A simulator keeps a
//! small *world* in memory (keys, secrets, deployments, mails), answers the vendor's calls over real HTTP,
//! as strictly as the vendor does, and lets a test look at the world and change it the way a person would.
//!
//! # Reading order
//!
//! | file | what is in it |
//! |---|---|
//! | [`fault`] | the script of mishaps: which request is hit, before or after its effect, by what |
//! | [`hold`] | a request that is stopped until the test lets it go: where tests kill the client |
//! | [`world`] | the server all HTTP simulators share: connections, the journal of requests, the fate of a call |
//! | `wire` | HTTP/1.1 on a bare socket, because a fault must be able to cut or reset it |
//! | `clock` | real time plus an offset: the only file that reads a clock |
//! | [`openrouter`] | keys, provisioning keys, credits, one chat call |
//! | [`github`] | Actions, environment, organisation, Dependabot and Codespaces secrets, dispatches, leak alerts |
//! | [`vercel`] | environment variables and the deployments they are baked into |
//! | [`vendors`] | of every other vendor the request by which its keys are tested |
//! | [`smtp`] | a mailbox that can be down, refuse, hang, or lose its last answer |
//!
//! # What they have in common
//!
//! - `start().await` listens on `127.0.0.1`, port 0. Handles are cheap to clone; the server stops when the
//!   last one is dropped, or at `stop()`. They live on the runtime that started them: a test that blocks its
//!   thread on a child process needs a runtime with more than one.
//! - A call's effect is one atomic step under one lock: whatever happens to the connection, it took place
//!   wholly or not at all, and the journal says which.
//! - Every request has a *label* (`create_key`, `put_secret`, …; the table is in each vendor's header). The
//!   labels are stable: fault rules and tests name them.
//! - Secrets are made at run time and marked as false; none is written in the sources, none is logged.

mod clock;
pub mod fault;
pub mod github;
pub mod hold;
pub mod openrouter;
pub mod smtp;
#[cfg(test)]
mod testing;
pub mod vendors;
pub mod vercel;
mod wire;
pub mod world;
