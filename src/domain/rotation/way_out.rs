//! Whether a person may end a run, and which way: one answer, before they are asked and when they ask.

use super::Run;

/// How a run ends because a person says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayOut {
    /// It stops as if nothing had been: nobody has the new key.
    Stop,
    /// The previous key goes back to every destination.
    Back,
}

impl Run {
    /// Where it leads when a person asks for the end; `may_be_held`: an address may hold the new key, whoever wrote it
    /// there. Asking to go back also stops a run whose new key nobody has; asking to stop never goes back.
    ///
    /// # Errors
    /// Why it cannot be, in words.
    pub fn way_out(&self, asked_back: bool, may_be_held: bool) -> Result<WayOut, String> {
        if self.is_before_retiring() && !may_be_held {
            return Ok(WayOut::Stop);
        }
        match (self.can_roll_back(), asked_back) {
            (Ok(()), true) => Ok(WayOut::Back),
            (Ok(()), false) => {
                Err("a destination may already hold the new key: use rollback instead of abort".to_owned())
            }
            (Err(why), true) => Err(why.to_owned()),
            (Err(why), false) => Err(format!("a destination may already hold the new key, and {why}")),
        }
    }
}
