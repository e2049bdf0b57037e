//! The command line: what can be asked for, checked before anything starts.

use crate::domain::{DOMAIN_MAX, own_domain};
use crate::input::{Input, InputError};
use crate::placement::Placement;
use crate::publisher::{End, Plan};
use crate::quantity::{Points, Rate, Seconds, Size};
use crate::run::Run;
use crate::samples::{LARGE, Source};
use crate::stack::{InPlace, PathChoice, Reliability, StackKind, StackOptions};
use crate::stamp::Touch;
use crate::{lidar, messages::Kind};
use clap::{Args, Parser, Subcommand};
use std::collections::BTreeSet;
use std::time::Duration;
use thiserror::Error;

/// Real point clouds and images from process to process: shared memory against UDP.
///
/// Without a command it runs the main job: point clouds, then images, through shared memory and over UDP, latency
/// at 20 Hz and throughput at full rate, and prints a table. Exit code 0 means that nothing was lost or corrupt.
#[derive(Debug, Parser)]
#[command(name = "largedata", version, max_term_width = 110)]
// The main job's domain is not a command's: before one it would be read and go nowhere.
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    /// What to do instead of the main job.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// DDS domain of the main job; without it a random one, so that nothing else on this host interferes.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=i64::from(DOMAIN_MAX)))]
    pub(crate) domain: Option<u32>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One measurement: a publisher and subscribers, each a process of its own, started and stopped by this one.
    Run(RunArgs),
    /// The publishing half alone, until Ctrl-C; for two terminals or two hosts.
    Pub(PubArgs),
    /// The subscribing half alone, until Ctrl-C; prints what it receives every second.
    Sub(SubArgs),
    /// This project against Dust DDS or RustDDS as they come, interleaved, medians.
    Compare(CompareArgs),
}

/// How the samples travel.
#[derive(Clone, Debug, Args)]
pub(crate) struct StackArgs {
    /// What carries the samples: Dust DDS or RustDDS with its zerodds plug-in, or the transport itself without a
    /// DDS; stock-dust and stock-rustdds are those two as they come.
    #[arg(long, value_name = "dust|rustdds|transport", default_value = "dust")]
    stack: StackKind,
    /// Shared memory where it can be had, or UDP only.
    #[arg(long, value_enum, default_value_t = PathChoice::Auto)]
    path: PathChoice,
    /// Whether the publisher waits for slow subscribers or leaves them behind.
    #[arg(long, value_enum, default_value_t = Reliability::Reliable)]
    reliability: Reliability,
    /// Samples that a reliable publisher keeps until they are acknowledged (KEEP_LAST; of RustDDS RESOURCE_LIMITS too,
    /// which where only some subscribers share memory takes one for each of them) [default: what suits the stack
    /// and the size].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    history: Option<u32>,
    /// How long a reliable write waits for a subscriber before it fails, in seconds.
    #[arg(long, value_name = "S", default_value = "30")]
    max_blocking: Seconds,
    /// Fragment size of `--stack stock-dust`; above about 1/256 of a sample its reader does not panic.
    #[arg(long, value_name = "BYTES", default_value = "65000", hide = true)]
    fragment_size: Size,
}

/// What is published.
#[derive(Clone, Debug, Args)]
pub(crate) struct SampleArgs {
    /// Point clouds, images or plain bytes [default: bytes with --size, cloud otherwise].
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Payload of a sample of bytes (64KiB, 16MiB); with --kind cloud as many points as fit in.
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["points", "input"])]
    size: Option<Size>,
    /// Points of a generated cloud: a number, or a range over which the samples vary [default: 10000..300000].
    #[arg(long, value_name = "A..B", conflicts_with = "input")]
    points: Option<Points>,
    /// Recorded data instead of generated, cycled: float32 scans with their fields per point (FILE:4, FILE:5,
    /// FILE:6), .pcd (ascii or binary), PNG, JPEG. With --kind bytes any file, as it is.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    input: Vec<Input>,
    /// Samples per second, or max.
    #[arg(long, value_name = "HZ", default_value = "max")]
    rate: Rate,
    /// Write and verify every byte of the payload, or only the first and last 64.
    #[arg(long, value_enum, default_value_t = Touch::Full)]
    touch: Touch,
}

/// How long.
#[derive(Clone, Debug, Args)]
pub(crate) struct EndArgs {
    /// Stop after so many seconds.
    #[arg(long, value_name = "S")]
    seconds: Option<Seconds>,
    /// Stop after so many samples.
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    samples: Option<u64>,
}

/// For who publishes.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct LoanArg {
    /// Fill samples in place, in shared memory (--stack rustdds); otherwise they are copied there.
    #[arg(long)]
    loan: bool,
}

/// For who subscribes.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ViewArg {
    /// Read samples in place, in shared memory (--stack rustdds); otherwise they are copied out.
    #[arg(long)]
    view: bool,
}

/// `largedata run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    stack: StackArgs,
    #[command(flatten)]
    sample: SampleArgs,
    #[command(flatten)]
    end: EndArgs,
    #[command(flatten)]
    loan: LoanArg,
    #[command(flatten)]
    view: ViewArg,
    /// Subscribers, each a process of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    subscribers: u32,
    /// Put both sides on one processor, on two, or leave it to the scheduler.
    #[arg(long, value_enum, default_value_t = Placement::No)]
    pin: Placement,
    /// DDS domain; without it a random one.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=i64::from(DOMAIN_MAX)))]
    domain: Option<u32>,
    /// Print one JSON object on stdout and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `largedata pub`.
#[derive(Debug, Args)]
pub(crate) struct PubArgs {
    #[command(flatten)]
    stack: StackArgs,
    #[command(flatten)]
    sample: SampleArgs,
    #[command(flatten)]
    end: EndArgs,
    #[command(flatten)]
    loan: LoanArg,
    /// DDS domain, the same on both sides.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=i64::from(DOMAIN_MAX)))]
    domain: u32,
    #[arg(long, hide = true)]
    pub(crate) managed: bool,
}

/// `largedata sub`.
#[derive(Debug, Args)]
pub(crate) struct SubArgs {
    #[command(flatten)]
    stack: StackArgs,
    /// Subscribe to this kind only [default: all of them].
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// The largest payload to expect: of smaller samples more may wait to be taken. RustDDS's own readers lose what
    /// does not fit, from 64 samples of 4MiB to 4096 of 64KiB.
    #[arg(long, value_name = "BYTES", default_value_t = Size(LARGE))]
    size: Size,
    #[command(flatten)]
    end: EndArgs,
    #[command(flatten)]
    view: ViewArg,
    /// DDS domain, the same on both sides.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=i64::from(DOMAIN_MAX)))]
    domain: u32,
    #[arg(long, hide = true)]
    pub(crate) managed: bool,
}

/// `largedata compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Payloads of the samples, one or several [default: 4MiB; rustdds: 64, 64KiB, 1MiB, 4MiB].
    #[arg(long, value_name = "BYTES", num_args = 1.., value_delimiter = ',')]
    size: Vec<Size>,
    /// Put both sides on one processor, on two, or leave it to the scheduler.
    #[arg(long, value_enum, default_value_t = Placement::Same)]
    pub(crate) pin: Placement,
    /// Runs of each, interleaved; the medians are compared.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) runs: u32,
    /// Seconds of each measurement.
    #[arg(long, value_name = "S", default_value = "2")]
    pub(crate) seconds: Seconds,
    #[command(flatten)]
    stack: StackArgs,
    /// Print one JSON object on stdout and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A combination of options that makes no sense.
#[derive(Debug, Error)]
pub(crate) enum UsageError {
    /// Images have one size.
    #[error(
        "--size does not go with --kind image: generated images are 1920x1080 rgb8 (6.22 MB); --kind bytes takes any size"
    )]
    ImageSize,
    /// Only clouds have points.
    #[error("--points does not go with --kind {0}: only clouds have points")]
    Points(Kind),
    /// Only one stack can.
    #[error("--loan and --view are for --stack rustdds, and samples of {0} {1}", stack.name(), match stack {
        StackKind::Transport => "are filled and read in place without them",
        _ => "are always copied",
    })]
    InPlace {
        /// Which cannot.
        stack: StackKind,
    },
    /// There is no shared memory to do it in.
    #[error("--loan and --view are for samples in shared memory, {}", match path {
        PathChoice::Udp => "which --path udp leaves unused",
        PathChoice::Auto => "which this build has not (feature same-host-shm)",
    })]
    NothingShared {
        /// The path without it.
        path: PathChoice,
    },
    /// No file is of the kind asked for.
    #[error("--kind {0} was asked for, but no file of --input holds one")]
    NoneOfKind(Kind),
    /// A file cannot be published.
    #[error(transparent)]
    Input(#[from] InputError),
}

impl StackArgs {
    /// The options of a stack in this domain, for these kinds of samples with payloads of so many bytes.
    ///
    /// # Errors
    /// [`UsageError`] where the stack or the path cannot do in place what shall be.
    fn options(
        &self,
        domain: u32,
        kinds: BTreeSet<Kind>,
        payload_max: usize,
        in_place: InPlace,
    ) -> Result<StackOptions, UsageError> {
        if in_place != InPlace::default() && self.stack != StackKind::Rustdds {
            return Err(UsageError::InPlace { stack: self.stack });
        }
        if in_place != InPlace::default() && !self.path.shares_memory() {
            return Err(UsageError::NothingShared { path: self.path });
        }
        Ok(StackOptions {
            stack: self.stack,
            path: self.path,
            domain,
            reliability: self.reliability,
            history: self.history.unwrap_or(self.stack.history_for(self.path, payload_max)),
            max_blocking: self.max_blocking.0,
            fragment: self.fragment_size,
            payload_max,
            in_place,
            kinds,
        })
    }
}

impl SampleArgs {
    /// What to publish.
    ///
    /// # Errors
    /// [`UsageError`] where options contradict each other.
    fn source(&self) -> Result<Source, UsageError> {
        let kind = self.kind.unwrap_or(if self.size.is_some() { Kind::Bytes } else { Kind::Cloud });
        if let (Some(_), Kind::Image | Kind::Bytes) = (&self.points, kind) {
            return Err(UsageError::Points(kind));
        }
        if !self.input.is_empty() {
            let files = self.input.clone();
            return Ok(if self.kind == Some(Kind::Bytes) {
                Source::RawFiles(files)
            } else {
                Source::Files(files)
            });
        }
        match (kind, self.size) {
            (Kind::Cloud, None) => Ok(Source::Lidar(self.points.clone().unwrap_or(Points(POINTS_DEFAULT)))),
            (Kind::Cloud, Some(Size(len))) => {
                let points = len / lidar::POINT_STEP;
                Ok(Source::Lidar(Points(points..=points)))
            }
            (Kind::Image, None) => Ok(Source::Camera),
            (Kind::Image, Some(_)) => Err(UsageError::ImageSize),
            (Kind::Bytes, size) => Ok(Source::Random(size.unwrap_or(SIZE_DEFAULT))),
        }
    }

    /// The source and the kinds of samples it gives.
    ///
    /// # Errors
    /// [`UsageError`] where options contradict each other or a file cannot be published.
    fn source_and_kinds(&self) -> Result<(Source, BTreeSet<Kind>), UsageError> {
        let source = self.source()?;
        let kinds = source.kinds()?;
        match self.kind {
            Some(kind) if !kinds.contains(&kind) => Err(UsageError::NoneOfKind(kind)),
            _ => Ok((source, kinds)),
        }
    }

    /// How often, until `end`.
    fn plan(&self, end: End) -> Plan {
        Plan { rate: self.rate, end }
    }
}

impl EndArgs {
    /// When to stop; `otherwise` where neither option was given.
    pub(crate) fn or(&self, otherwise: End) -> End {
        match (self.seconds, self.samples) {
            (Some(seconds), _) => End::After(seconds.0),
            (None, Some(samples)) => End::Samples(samples),
            (None, None) => otherwise,
        }
    }
}

impl RunArgs {
    /// The run that is asked for.
    ///
    /// # Errors
    /// [`UsageError`] where options contradict each other or a file cannot be published.
    pub(crate) fn run(&self) -> Result<Run, UsageError> {
        let (source, kinds) = self.sample.source_and_kinds()?;
        let in_place = InPlace { loan: self.loan.loan, view: self.view.view };
        let domain = self.domain.unwrap_or_else(own_domain);
        Ok(Run {
            options: self.stack.options(domain, kinds, source.payload_max(), in_place)?,
            source,
            touch: self.sample.touch,
            plan: self.sample.plan(self.end.or(End::After(SECONDS_DEFAULT))),
            subscribers: self.subscribers as usize,
            placement: self.pin,
        })
    }
}

impl PubArgs {
    /// Stack, source and plan of this publisher.
    ///
    /// # Errors
    /// [`UsageError`] where options contradict each other or a file cannot be published.
    pub(crate) fn resolve(&self) -> Result<(StackOptions, Source, Touch, Plan), UsageError> {
        let (source, kinds) = self.sample.source_and_kinds()?;
        let plan = self.sample.plan(self.end.or(End::Open));
        let in_place = InPlace { loan: self.loan.loan, view: false };
        let options = self.stack.options(self.domain, kinds, source.payload_max(), in_place)?;
        Ok((options, source, self.sample.touch, plan))
    }
}

impl SubArgs {
    /// The stack of this subscriber.
    ///
    /// # Errors
    /// [`UsageError`] where options contradict each other.
    pub(crate) fn options(&self) -> Result<StackOptions, UsageError> {
        let kinds = self.kind.map_or_else(|| Kind::ALL.into(), |kind| BTreeSet::from([kind]));
        let in_place = InPlace { loan: false, view: self.view.view };
        // Whatever publishers come, of whatever size, share it.
        let history = self.stack.history.or(Some(SUBSCRIBER_HISTORY));
        let stack = StackArgs { history, ..self.stack.clone() };
        stack.options(self.domain, kinds, self.size.0, in_place)
    }

    /// When it stops.
    pub(crate) fn end(&self) -> End {
        self.end.or(End::Open)
    }
}

impl CompareArgs {
    /// What is compared with itself as it comes.
    pub(crate) const fn stack(&self) -> StackKind {
        self.stack.stack
    }

    /// The path that samples of this project may take.
    pub(crate) const fn path(&self) -> PathChoice {
        self.stack.path
    }

    /// The sizes to compare at.
    pub(crate) fn sizes(&self) -> Vec<Size> {
        match (self.size.as_slice(), self.stack()) {
            ([], StackKind::Rustdds) => vec![Size(64), Size(64 << 10), Size(1 << 20), Size(4 << 20)],
            ([], _) => vec![Size(4 << 20)],
            (sizes, _) => sizes.to_vec(),
        }
    }

    /// The options of one of the stacks.
    ///
    /// # Errors
    /// [`UsageError`] where the stack cannot do in place what shall be.
    pub(crate) fn options(
        &self,
        stack: StackKind,
        Size(size): Size,
        in_place: InPlace,
        domain: u32,
    ) -> Result<StackOptions, UsageError> {
        let args = StackArgs { stack, ..self.stack.clone() };
        args.options(domain, BTreeSet::from([Kind::Bytes]), size, in_place)
    }
}

const POINTS_DEFAULT: std::ops::RangeInclusive<usize> = 10_000..=300_000;
const SIZE_DEFAULT: Size = Size(1 << 20);
/// Samples that may wait to be taken by a subscriber that does not know its publishers.
const SUBSCRIBER_HISTORY: u32 = 16;
const SECONDS_DEFAULT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn run_args(line: &str) -> Result<RunArgs, clap::Error> {
        let cli = Cli::try_parse_from(format!("largedata run {line}").split_ascii_whitespace())?;
        let Some(Command::Run(args)) = cli.command else { panic!("not a run") };
        Ok(args)
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_of_a_run_is_understood() {
        let line = "--stack transport --path udp --kind bytes --size 64KiB --subscribers 3 --rate 20 --samples 7 \
                    --reliability best-effort --touch none --pin two --json --domain 9";
        let args = run_args(line).unwrap();
        let run = args.run().unwrap();
        assert!(args.json);
        assert_eq!(
            (run.options.stack, run.options.path, run.options.domain),
            (StackKind::Transport, PathChoice::Udp, 9)
        );
        assert_eq!((run.subscribers, run.placement, run.touch), (3, Placement::Two, Touch::None));
        assert!(matches!(run.plan, Plan { rate: Rate::Hertz(20.0), end: End::Samples(7) }));
        assert!(matches!(run.source, Source::Random(Size(65_536))));
    }

    #[test]
    fn samples_under_way_follow_stack_and_size_unless_they_are_given() {
        let history = |line| run_args(line).unwrap().run().unwrap().options.history;
        assert_eq!(history("--stack dust --size 64"), 2);
        assert_eq!((history("--stack rustdds --size 1MiB"), history("--stack rustdds --size 4MiB")), (4, 2));
        assert_eq!(history("--stack stock-rustdds --size 4MiB"), 1);
        assert_eq!(history("--stack rustdds --path udp --size 4MiB"), 1);
        assert_eq!(history("--stack stock-rustdds --size 4MiB --history 3"), 3);
    }

    #[test]
    fn a_subscriber_that_may_lose_what_rustdds_has_no_room_for_says_so_and_has_more_room_for_small_samples() {
        let remark = |line: &str| {
            let cli = Cli::try_parse_from(format!("largedata sub {line}").split_ascii_whitespace()).unwrap();
            let Some(Command::Sub(args)) = cli.command else { panic!("not a subscriber") };
            args.options().unwrap().loss_remark()
        };
        for line in ["--stack stock-rustdds", "--stack rustdds --path udp"] {
            let text = remark(line).unwrap();
            assert!(text.contains("cache of 64 samples") && text.contains("--size"), "{text}");
            let text = remark(&format!("{line} --size 64")).unwrap();
            assert!(text.contains("cache of 4096 samples"), "{text}");
        }
        assert_eq!(remark("--stack dust"), None);
    }

    #[test]
    fn only_one_stack_fills_and_reads_in_place_on_request() {
        let options = run_args("--stack rustdds --loan --view").unwrap().run().unwrap().options;
        assert_eq!(options.in_place, InPlace { loan: true, view: true });
        assert!(run_args("--stack stock-rustdds --loan").unwrap().run().is_err());
        assert!(run_args("--stack rustdds --path udp --view").unwrap().run().is_err());
        assert!(run_args("--view").unwrap().run().is_err());
    }

    #[test]
    fn without_options_a_run_is_five_seconds_of_clouds_at_full_rate() {
        let run = run_args("").unwrap().run().unwrap();
        assert!(matches!(run.source, Source::Lidar(Points(range)) if range == POINTS_DEFAULT));
        assert!(matches!(run.plan, Plan { rate: Rate::Max, end: End::After(SECONDS_DEFAULT) }));
        assert!(run.options.domain <= DOMAIN_MAX);
    }

    #[test]
    fn a_size_alone_means_bytes_and_with_clouds_as_many_points_as_fit() {
        assert!(matches!(run_args("--size 10").unwrap().run().unwrap().source, Source::Random(Size(10))));
        let clouds = run_args("--size 4MiB --kind cloud").unwrap().run().unwrap();
        assert!(matches!(clouds.source, Source::Lidar(Points(range)) if range == (209_715..=209_715)));
    }

    #[test]
    fn values_that_no_option_takes_are_named() {
        for (line, value) in [
            ("--size abc", "abc"),
            ("--points 9..3", "9..3"),
            ("--rate -1", "-1"),
            ("--domain 233", "233"),
            ("--subscribers 0", "0"),
            ("--input scan.bin:9", "scan.bin:9"),
            ("--stack cyclone", "cyclone"),
            ("--seconds 0", "0"),
        ] {
            let error = run_args(line).unwrap_err().to_string();
            assert!(error.contains(&format!("'{value}'")), "{line}: {error}");
        }
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        for line in ["--kind image --size 5", "--kind bytes --points 1..2", "--kind image --points 1"] {
            assert!(run_args(line).unwrap().run().is_err(), "{line}");
        }
        for line in ["--size 5 --points 4", "--seconds 1 --samples 1", "--size 5 --input x.png"] {
            assert!(run_args(line).is_err(), "{line}");
        }
    }
}
