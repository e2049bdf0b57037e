//! The `zerodds` command: for whoever asks "why does this not go by shared memory?".
//!
//! ```text
//!   zerodds list     everybody on this host who takes part, and by which path we would reach them
//!   zerodds doctor   what works in this environment, what does not, and which setting changes it
//! ```
//! Both look at what is there now, with the variables that are set now, as this user: run them where the program in
//! question runs. Neither has a service behind it, since the transport has none.
#![forbid(unsafe_code)]

mod doctor;
mod list;
mod process;

use clap::{Parser, Subcommand};
use std::io::{self, Write};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "zerodds",
    about = "Same-host data for Rust DDS: who takes part, and what stands in the way",
    version
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists who takes part in shared memory on this host, and by which path each would be reached from here.
    ///
    /// Finds everybody in this network namespace, of every domain and user, and links with each for a moment. Processes of
    /// other users have a number and a name only for root.
    List {
        /// This domain only.
        #[arg(long)]
        domain: Option<u32>,
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// Tries out what a participant would use here, and says what is wrong and what changes it. Exit code 1 if something is.
    Doctor {
        /// The domain in which to try.
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=232))]
        domain: u32,
    },
}

fn main() -> ExitCode {
    let out = &mut io::stdout().lock();
    let done = match Cli::parse().command {
        Command::List { domain, json } => list::run(out, domain, json).map(|()| true),
        Command::Doctor { domain } => doctor::run(out, domain),
    };
    match done {
        Ok(is_well) => ExitCode::from(u8::from(!is_well)),
        // Whoever reads us has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "zerodds: {error}");
            ExitCode::FAILURE
        }
    }
}
