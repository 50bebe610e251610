//! Pure rules and plain values: no input or output, no clock, no randomness.

pub mod name;
pub mod secret;
pub mod time;
