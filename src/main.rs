//! `rekeyd`: a daemon for systemd, and the command line to steer it.

use std::process::ExitCode;

fn main() -> ExitCode {
    rekeyd::cli::run()
}
