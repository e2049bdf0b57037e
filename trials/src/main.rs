//! The command line of the trials.

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use zerodds_trials::{crash, scale, soak, stacks};

#[derive(Parser)]
#[command(
    name = "trials",
    about = "Trials of endurance: see cargo xtask crash and cargo xtask soak",
    max_term_width = 110
)]
struct Cli {
    #[command(subcommand)]
    trial: Trial,
}

#[derive(Subcommand)]
enum Trial {
    /// Kills and stops processes at every step, and looks after the survivors.
    Crash(crash::Options),
    /// Processes of all kinds come, go, die, freeze, and change what they send.
    Soak(soak::Options),
    /// Links many transports of many processes with one, and says what each link costs it. As root.
    Scale {
        /// Processes.
        #[arg(long, default_value_t = 200)]
        processes: u64,
        /// Transports in each.
        #[arg(long, default_value_t = 10)]
        transports: u64,
        /// Transports of the one process that all are linked with.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
        hubs: u64,
    },
    /// Matches the endpoints of many participants of a DDS, each in a process of its own, until every sample goes by shared
    /// memory, and says what that costs. As root.
    Stacks {
        /// Which DDS.
        #[arg(long)]
        stack: stacks::Stack,
        /// Participants.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(2..))]
        participants: u64,
        /// Endpoints of each, half of them writers.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(2..))]
        endpoints: u64,
    },
    /// One of the processes of a trial; started by it.
    #[command(hide = true)]
    Role { words: Vec<String> },
}

fn main() -> ExitCode {
    let done = match Cli::parse().trial {
        Trial::Crash(options) => {
            program().and_then(|program| crash::run(&program, &options)).map(|report| println!("{report}"))
        }
        Trial::Soak(options) => program().and_then(|program| soak::run(&program, &options)),
        Trial::Scale { processes, transports, hubs } => program()
            .and_then(|program| scale::measure(&program, processes, transports, hubs))
            .map(|cost| println!("{cost:?}")),
        Trial::Stacks { stack, participants, endpoints } => program()
            .and_then(|program| stacks::measure(&program, stack, participants, endpoints))
            .map(|cost| println!("{stack}: {cost:?}")),
        Trial::Role { words } => play(&words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

/// What a process of a trial does. A panic of any of its threads ends it, which whoever started it sees.
fn play(words: &[String]) -> Result<(), String> {
    std::panic::set_hook(Box::new(|why| {
        eprintln!("{why}");
        std::process::abort()
    }));
    match words.first().map(String::as_str) {
        Some("member") => soak::play(words),
        Some("stack") => stacks::play(words),
        Some("hub" | "crowd") => scale::play(words),
        _ => crash::play(words),
    }
}

fn program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("this program cannot find itself: {error}"))
}
