//! The command line: which systems, which sizes, where.

use crate::child;
use crate::crew::Shape;
use crate::crowd;
use crate::limits::memory::{self, Bandwidth};
use crate::placement::{Placement, pin};
use crate::probe::Probe;
use crate::record::{Kind, write_csv};
use crate::report;
use crate::sample::{LEN_MIN, Touch};
use crate::session::{self, Session};
use crate::suite;
use crate::system::System;
use crate::table;
use clap::{Args, Parser, Subcommand};
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use zerodds_core::parse_size;

#[derive(Parser)]
#[command(
    name = "measure",
    about = "Latency, throughput and cost between processes, beside the machine's limits"
)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Lists the systems and how they are set up.
    List,
    /// How fast one processor copies, fills and checks memory.
    Memory,
    /// How far apart the two processors are now.
    Probe,
    /// Ping-pong between two processes: half of the way there and back, in microseconds.
    Latency {
        #[command(flatten)]
        what: Selection,
        /// Messages a second; without it as fast as the answers come.
        #[arg(long)]
        rate_hz: Option<f64>,
    },
    /// A stream at full rate.
    Throughput {
        #[command(flatten)]
        what: Selection,
        /// Numbers of subscribers (with one publisher).
        #[arg(long, value_delimiter = ',', default_value = "1")]
        readers: Vec<u32>,
        /// Numbers of publishers (with one subscriber); instead of --readers.
        #[arg(long, value_delimiter = ',', conflicts_with = "readers")]
        writers: Vec<u32>,
    },
    /// A small topic among 64 endpoints of the last of the systems in 16 processes, and pairs of the others beside them.
    Crowd {
        #[command(flatten)]
        what: Selection,
    },
    /// What processes use that are joined and do nothing.
    Rest {
        #[command(flatten)]
        what: Selection,
    },
    /// System calls for a message, there and back and in a stream, counted by perf; needs root.
    Calls {
        #[command(flatten)]
        what: Selection,
    },
    /// Memory of links after messages of 64 bytes and of this size: one way to two readers, and both ways between two
    /// processes; needs root.
    Links {
        #[command(flatten)]
        what: Selection,
    },
    /// Everything that the report shows; appends to results.jsonl in a folder and notes the machine beside it.
    Suite {
        /// Fewer sizes and shorter runs: about ten minutes.
        #[arg(long)]
        quick: bool,
        /// The parts to measure; all without it.
        #[arg(long, value_delimiter = ',')]
        parts: Vec<suite::Part>,
        /// The folder.
        #[arg(long)]
        into: PathBuf,
    },
    /// Draws plots and writes tables from what `suite` left in a folder.
    Report {
        /// The folder.
        #[arg(long)]
        from: PathBuf,
    },
    /// Draws what `largedata compare --json` printed: latency against size.
    Compared {
        /// The file with what it printed.
        #[arg(long)]
        from: PathBuf,
        /// The plot, an SVG file.
        #[arg(long)]
        into: PathBuf,
    },
    /// One process of a run; for this program itself.
    #[command(hide = true)]
    Child,
}

#[derive(Args, Clone)]
struct Selection {
    /// Names of systems, as `list` shows them; a trailing * stands for anything.
    #[arg(long, value_delimiter = ',', required = true)]
    systems: Vec<String>,
    /// Sizes of a message: 64, 1KiB, 8MiB.
    #[arg(long, value_delimiter = ',', default_value = "64", value_parser = size)]
    sizes: Vec<usize>,
    /// All processes on one processor, the first on one and the others on another, where the scheduler puts them, or each
    /// on a host of its own (network namespaces; needs root).
    #[arg(long, value_delimiter = ',', default_value = "same,apart")]
    placement: Vec<Placement>,
    /// Runs, of which the median is shown.
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// Milliseconds of one run.
    #[arg(long, default_value_t = 200)]
    ms: u64,
    /// Milliseconds before it that do not count.
    #[arg(long, default_value_t = 50)]
    warm_up_ms: u64,
    /// How much of the payload is written and read.
    #[arg(long, default_value = "full")]
    touch: Touch,
    /// The systems of which others are multiples in the table, a column for each; by default the first.
    #[arg(long, value_delimiter = ',')]
    against: Vec<String>,
    /// Appends every run to this file, a JSON object a line.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Writes every run to this file.
    #[arg(long)]
    csv: Option<PathBuf>,
}

/// Runs the program with these systems.
#[must_use]
pub fn main(systems: Vec<Box<dyn System>>) -> ExitCode {
    let done = match Cli::parse().what {
        What::Child => return child::run(&systems),
        What::List => {
            systems.iter().for_each(|system| println!("{:24} {}", system.name(), system.set_up()));
            Ok(())
        }
        What::Memory => memory(),
        What::Probe => probe(),
        What::Latency { what, rate_hz } => {
            measure(&systems, &what, &[(Kind::Latency, Shape::PingPong)], rate_hz)
        }
        What::Throughput { what, readers, writers } => {
            let shapes: Vec<_> = if writers.is_empty() {
                readers.into_iter().map(|readers| (Kind::Throughput, Shape::FanOut(readers))).collect()
            } else {
                writers.into_iter().map(|writers| (Kind::Throughput, Shape::ManyToOne(writers))).collect()
            };
            measure(&systems, &what, &shapes, None)
        }
        What::Suite { quick, parts, into } => suite::run(&systems, quick, &parts, &into),
        What::Report { from } => report::write(&from),
        What::Compared { from, into } => std::fs::read_to_string(&from)
            .map_err(|error| format!("{}: {error}", from.display()).into())
            .and_then(|json| report::compared::draw(&json, &into)),
        What::Crowd { what } => {
            let what = Selection { placement: vec![Placement::Free], ..what };
            measure(&systems, &what, &[(Kind::Crowd, Shape::Crowd(crowd::PROCESSES))], None)
        }
        What::Rest { what } => measure(&systems, &what, &[(Kind::Rest, Shape::PingPong)], None),
        What::Calls { what } => measure(&systems, &what, &[(Kind::Calls, Shape::PingPong)], None),
        What::Links { what } => {
            let shapes = [Shape::FanOut(2), Shape::PingPong].map(|shape| (Kind::Links, shape));
            measure(&systems, &what, &shapes, None)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("measure: {error}");
            ExitCode::FAILURE
        }
    }
}

fn memory() -> Result<(), Box<dyn Error>> {
    pin(0)?;
    println!("{:>10} {:>10} {:>10} {:>10}   GB/s", "bytes", "copy", "fill", "check");
    for len in memory::SIZES {
        let Bandwidth { len, copy, fill, check } = Bandwidth::measure(len);
        println!("{len:>10} {copy:>10.1} {fill:>10.1} {check:>10.1}");
    }
    Ok(())
}

fn probe() -> Result<(), Box<dyn Error>> {
    for _ in 0..10 {
        println!("{:.1} ns", Probe::take()?.one_way_ns);
    }
    Ok(())
}

fn measure(
    systems: &[Box<dyn System>],
    what: &Selection,
    shapes: &[(Kind, Shape)],
    rate_hz: Option<f64>,
) -> Result<(), Box<dyn Error>> {
    let chosen = choose(systems, &what.systems)?;
    let against = match &what.against[..] {
        [] => vec![chosen[0].name()],
        named => named.iter().map(String::as_str).collect(),
    };
    if let Some(other) = against.iter().find(|name| chosen.iter().all(|system| system.name() != **name)) {
        return Err(format!("--against {other}: it is not measured; add it to --systems").into());
    }
    let mut json = match &what.json {
        None => None,
        Some(path) => Some(File::options().append(true).create(true).open(path)?),
    };
    let mut records = Vec::new();
    for &placement in &what.placement {
        for &(kind, shape) in shapes {
            let sizes = what.sizes.clone();
            let Selection { runs, touch, warm_up_ms, ms, .. } = *what;
            let name = format!("measure {}", session::now());
            let session =
                Session { name, kind, shape, placement, sizes, runs, touch, rate_hz, warm_up_ms, ms };
            session.measure(&chosen, &mut |record| {
                if let Some(json) = &mut json {
                    record.append(json)?;
                }
                records.push(record);
                Ok(())
            })?;
        }
    }
    if let Some(path) = &what.csv {
        let mut file = BufWriter::new(File::create(path)?);
        write_csv(&records, &mut file)?;
        file.flush()?;
    }
    print!("{}", table::text(&records, &against));
    Ok(())
}

fn choose<'a>(
    systems: &'a [Box<dyn System>],
    names: &[String],
) -> Result<Vec<&'a dyn System>, Box<dyn Error>> {
    let mut chosen: Vec<&dyn System> = Vec::new();
    for name in names {
        let fits = |known: &str| match name.strip_suffix('*') {
            Some(start) => known.starts_with(start),
            None => known == name,
        };
        let found: Vec<&dyn System> =
            systems.iter().map(AsRef::as_ref).filter(|system| fits(system.name())).collect();
        if found.is_empty() {
            return Err(
                format!("--systems {name}: there is no such system; `measure list` shows them").into()
            );
        }
        chosen.extend(found);
    }
    Ok(chosen)
}

fn size(text: &str) -> Result<usize, String> {
    let accepted = || format!("use {LEN_MIN} bytes to 1GiB, such as 64, 1KiB or 8MiB");
    let len = parse_size(text).and_then(|len| len.try_into().ok());
    len.filter(|len| (LEN_MIN..=1 << 30).contains(len)).ok_or_else(accepted)
}
