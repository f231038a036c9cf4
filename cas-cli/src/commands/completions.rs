//! `cas completions`: for the shell.

use crate::cli::Cli;
use crate::exit::Exit;
use cas_client::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print completions for a shell
#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    /// Runs it.
    pub fn run(self) -> Result<Exit> {
        let mut out = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "cas", &mut out);
        // A reader that went away has seen enough.
        let _ = std::io::Write::write_all(&mut std::io::stdout(), &out);
        Ok(Exit::Ok)
    }
}
