//! The command line of the chores.

use clap::{Parser, Subcommand};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use xtask::{
    bench, cargo, emulate, failures, files, fuzz, instructions, mutants, papers, readme, sanitize,
    source::Source, style, suite, unsafe_report,
};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Repository chores")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Checks style and papers; exit code 1 if something was found.
    Check,
    /// Lists every unsafe block with its SAFETY comment; exit code 1 if one has none.
    UnsafeReport,
    /// Prints the command that the README marks with this name: main or test.
    ReadmeCommand { name: String },
    /// Runs the catalogue of docs/failures.md; exit code 1 unless every row passes.
    Failures {
        /// These rows only: 7,12
        #[arg(long, value_delimiter = ',')]
        only: Vec<u32>,
        /// How often tests repeat what they repeat.
        #[arg(long, default_value = "small", value_parser = ["small", "full"])]
        scale: String,
        /// What a run of `cargo test --workspace --all-features` printed: what passed there is not run again.
        #[arg(long, conflicts_with = "scale")]
        log: Option<PathBuf>,
    },
    /// Measures everything beside the machine's limits and writes docs/benchmarks/; wants the machine for itself.
    Bench {
        /// Fewer sizes and shorter runs: some minutes.
        #[arg(long)]
        quick: bool,
        /// With the systems of benches/peers, from the registry.
        #[arg(long)]
        peers: bool,
        /// These parts only: transport,fan,dds,net,crowd,peers,rest,calls
        #[arg(long, value_delimiter = ',')]
        parts: Vec<String>,
        /// Adds to what was measured before.
        #[arg(long)]
        keep: bool,
        /// Only `largedata compare` on this machine, a stack as it comes beside the same with this project: draws latency against
        /// size into target/.
        #[arg(long, value_parser = ["dust", "rustdds"], conflicts_with_all = ["quick", "peers", "parts", "keep"])]
        compare: Option<String>,
    },
    /// Counts the instructions of the hot paths; exit code 1 if one has become a tenth longer. Needs valgrind.
    Instructions {
        /// Writes down what was counted.
        #[arg(long)]
        accept: bool,
    },
    /// Runs the fuzz targets, two at a time; exit code 1 if one finds something. Needs a nightly compiler, unless it is light.
    Fuzz {
        /// How long each runs.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Built without optimization and AddressSanitizer, in a fraction of the time.
        #[arg(long)]
        light: bool,
        /// These only; all by default.
        targets: Vec<String>,
    },
    /// Runs tests of the core and of shared memory on an aarch64 processor that QEMU plays; says what it takes, and installs nothing.
    Emulate,
    /// Runs tests under ThreadSanitizer and AddressSanitizer. Needs a nightly compiler.
    Sanitize {
        /// This one only.
        #[arg(value_parser = ["thread", "address"])]
        sanitizer: Option<String>,
    },
    /// Takes guards and orderings out of a copy of the repository, one by one; exit code 1 unless a test notices each.
    MutantsByHand {
        /// Only those in whose name or file this stands.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Kills and stops processes at every store and step, and looks after the survivors: `crash --help` has more.
    #[command(disable_help_flag = true)]
    Crash {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Processes of all kinds come, go, die and freeze for as long as asked: `soak --help` has more.
    #[command(disable_help_flag = true)]
    Soak {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

fn main() -> ExitCode {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if let Err(error) = suite::end_with_tests() {
        eprintln!("xtask: {error}; an interruption leaves running tests behind");
    }
    let done = match Cli::parse().chore {
        Chore::Check => check(&root),
        Chore::UnsafeReport => report(&root),
        Chore::ReadmeCommand { name } => print_command(&root, &name),
        Chore::Bench { compare: Some(stack), .. } => bench::compare(&root, &stack),
        Chore::Bench { quick, peers, parts, keep, compare: None } => {
            let plan = bench::Plan { is_quick: quick, with_peers: peers, parts: &parts, keeps: keep };
            bench::run(&root, &plan)
        }
        Chore::Instructions { accept } => instructions::run(&root, accept),
        Chore::Crash { options } => crash(&options),
        Chore::Soak { options } => soak(&root, &options),
        Chore::Fuzz { seconds, light, targets } => {
            let build = if light { fuzz::Build::Light } else { fuzz::Build::Sanitized };
            fuzz::run(&root, seconds, &targets, build)
        }
        Chore::Emulate => emulate::run(&root),
        Chore::Sanitize { sanitizer } => sanitize::run(&root, sanitizer.as_deref()),
        Chore::MutantsByHand { only } => mutants::run(&root, &only),
        Chore::Failures { only, scale, log } => failures::run(&root, &only, &scale, log.as_deref()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the crash matrix: optimized, with the checks that debug builds have.
fn crash(options: &[String]) -> Result<bool, Box<dyn Error>> {
    let run = ["run", "--quiet", "--profile", "trials", "--package", "zerodds-trials", "--", "crash"];
    Ok(cargo::command().args(run).args(options).status()?.success())
}

/// Runs the soak, with the participants that `largedata` plays.
fn soak(root: &Path, options: &[String]) -> Result<bool, Box<dyn Error>> {
    let packages = ["--package", "zerodds-trials", "--package", "largedata"];
    if !cargo::command()
        .args(["build", "--quiet", "--release"])
        .args(packages)
        .current_dir(root)
        .status()?
        .success()
    {
        return Ok(false);
    }
    let own = std::env::current_exe()?;
    let built = own.parent().and_then(Path::parent).ok_or("this program is not where Cargo puts it")?;
    let mut trials = Command::new(built.join("release/trials"));
    trials.arg("soak").arg("--largedata").arg(built.join("release/largedata")).args(options);
    Ok(trials.status()?.success())
}

fn check(root: &Path) -> Result<bool, Box<dyn Error>> {
    let sources: Vec<Source> = sources(root)?;
    let mut findings: Vec<_> = sources.iter().flat_map(style::check).collect();
    findings.extend(papers::check(root, &sources)?);
    findings.iter().for_each(|finding| println!("{finding}"));
    println!("{} Rust files checked, {} findings", sources.len(), findings.len());
    Ok(findings.is_empty())
}

fn report(root: &Path) -> Result<bool, Box<dyn Error>> {
    let blocks: Vec<_> = sources(root)?.iter().flat_map(unsafe_report::blocks).collect();
    blocks.iter().for_each(|block| println!("{block}\n"));
    let bare = blocks.iter().filter(|block| block.argument.is_empty()).count();
    println!("{} unsafe blocks, {bare} without an argument", blocks.len());
    Ok(bare == 0)
}

fn print_command(root: &Path, name: &str) -> Result<bool, Box<dyn Error>> {
    println!("{}", readme::command(&std::fs::read_to_string(root.join("README.md"))?, name)?);
    Ok(true)
}

fn sources(root: &Path) -> std::io::Result<Vec<Source>> {
    Ok(files(root, "rs")?.into_iter().map(|(path, text)| Source::new(path, text)).collect())
}
