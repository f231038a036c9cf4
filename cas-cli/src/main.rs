//! `cas`: the person's side. Parses, opens, calls `cas-client`, tells; decides nothing about data.

mod cli;
mod commands;
mod entry;
mod escape;
mod exit;
mod keep;
mod log;
mod measure;
mod printer;
mod progress;
mod prompt;
mod reading;
mod table;
mod time;
mod workplace;

use clap::Parser;
use cli::Cli;
use exit::Exit;
use log::Log;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn main() -> ExitCode {
    let cli = Cli::parse();
    Log::new(cli.global.verbose, cli.global.quiet, cli.command.server_log()).start();
    watch_signals();
    let printer = printer::Printer::new(&cli.global);
    let done = cli.command.run(cli.global);
    ExitCode::from(match done {
        Ok(Exit::Ok) if workplace::LOST_END.load(Ordering::Relaxed) => Exit::Damaged as u8,
        Ok(exit) => exit as u8,
        Err(e) => {
            printer.error(&e);
            Exit::of(&e) as u8
        }
    })
}

/// The first signal asks to stop cleanly; a second one ends the process at once, which loses nothing either.
fn watch_signals() {
    let first = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let code = i32::from(Exit::Interrupted as u8);
        let watched = signal_hook::flag::register_conditional_shutdown(signal, code, first.clone())
            .and_then(|_| signal_hook::flag::register(signal, first.clone()));
        watched.expect("these signals can be handled");
    }
    std::thread::spawn(move || {
        while !first.load(Ordering::Relaxed) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        workplace::STOP.store(true, Ordering::Relaxed);
    });
}
