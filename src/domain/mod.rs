//! The pure middle: what rekeyd knows and how it decides. No clock, no network, no database, no randomness.
//!
//! Reading order: [`time`], [`secret`], [`name`], [`plain`] and [`postgres_url`] (the plain values), [`outcome`] (how a call to the outside
//! ended), [`key`] (what a provider says about a key), [`verdict`] (what a test of a key showed), [`rotation`]
//! (the protocol), [`inherit`] (what names a key by its hash), [`schedule`] (when a run is due), [`guard`] (what may never
//! happen), [`budget`] and [`limit`] (how often the outside is called, and how often we are), [`turn`] (who works on an
//! account next), [`paste`] (keys as people have them), [`hand_out`] (which key an application is given), [`actor`],
//! [`role`] and [`access`] (who acts, who may, and from where), [`listing`] (lists in pages), [`alert`] (what admins are
//! told), [`stall`] (which waits they are told of), [`topic`] (which pages something concerns), [`suggestion`] (what could
//! be tidied up).

pub mod access;
pub mod actor;
pub mod alert;
pub mod budget;
pub mod guard;
pub mod hand_out;
pub mod inherit;
pub mod key;
pub mod limit;
pub mod listing;
pub mod name;
pub mod outcome;
pub mod paste;
pub mod plain;
pub mod postgres_url;
pub mod role;
pub mod rotation;
pub mod schedule;
pub mod secret;
pub mod stall;
pub mod suggestion;
pub mod time;
pub mod topic;
pub mod turn;
pub mod verdict;
