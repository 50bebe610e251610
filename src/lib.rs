//! rekeyd keeps every LLM API key a team depends on tested, fresh and delivered.

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
pub mod net;
pub mod provider;
pub mod sim;
pub mod store;
