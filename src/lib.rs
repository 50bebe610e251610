//! rekeyd keeps every LLM API key a team depends on tested, fresh and delivered.

pub mod destination;
pub mod domain;
pub mod net;
pub mod provider;
pub mod sim;
