//! Server-sent events: what changes, told as it happens.
//!
//! - `hub`: one look at the store a second for all who listen, and none without them
//! - `stream`: one listener: its events, a comment now and then, and its end

mod hub;
mod stream;

pub(super) use hub::Hub;
pub(super) use stream::{LAST_EVENT_ID, Listening, Message, no_more, opened};
