//! Keeps every LLM API key a team depends on tested, fresh and delivered.

pub mod crypto;
pub mod domain;
