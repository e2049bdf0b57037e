//! A measurement of several systems in turns, so that what changes on the machine changes for all of them.
//!
//! ```text
//!   open all crews · for each size:  for each run:  for each system:  probe · measure · probe
//! ```

use crate::calls;
use crate::crew::{Crew, CrewError, Shape};
use crate::crowd::Crowd;
use crate::median::Case;
use crate::placement::Placement;
use crate::probe::Probe;
use crate::record::{Figures, Kind, Record};
use crate::run::{self, Leg};
use crate::sample::{LEN_MIN, Touch};
use crate::system::System;
use std::error::Error;
use std::time::{Duration, Instant, SystemTime};

/// One kind of measurement in one placement.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Its part of the suite, and when that began: what is compared has the same.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) shape: Shape,
    pub(crate) placement: Placement,
    pub(crate) sizes: Vec<usize>,
    pub(crate) runs: u32,
    pub(crate) touch: Touch,
    pub(crate) rate_hz: Option<f64>,
    pub(crate) warm_up_ms: u64,
    pub(crate) ms: u64,
}

/// What tells sessions of the same name apart, in seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Session {
    /// Measures these systems in turns; every run is handed to `keep`.
    pub(crate) fn measure(
        &self,
        chosen: &[&dyn System],
        keep: &mut dyn FnMut(Record) -> Result<(), Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let fits = |system: &&&dyn System| self.placement != Placement::Same || !system.spins();
        let chosen: Vec<&dyn System> = chosen.iter().filter(fits).copied().collect();
        if self.kind == Kind::Crowd {
            return self.measure_crowd(&chosen, keep);
        }
        // Stacks choose their depths by the longest message; a stream shows what that does to the shortest.
        let groups: Vec<&[usize]> = match self.kind {
            Kind::Throughput | Kind::Calls => self.sizes.chunks(1).collect(),
            Kind::Latency | Kind::Rest | Kind::Crowd | Kind::Links => vec![&self.sizes],
        };
        for sizes in groups {
            self.measure_sizes(&chosen, sizes, keep)?;
        }
        Ok(())
    }

    fn measure_sizes(
        &self,
        chosen: &[&dyn System],
        sizes: &[usize],
        keep: &mut dyn FnMut(Record) -> Result<(), Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let longest = sizes.iter().copied().max().unwrap_or(LEN_MIN);
        let assemble = |system: &dyn System| Crew::assemble(system, self.shape, self.placement, longest);
        let mut crews: Vec<Option<Result<Crew, CrewError>>> =
            chosen.iter().map(|&system| (!system.is_busy_when_idle()).then(|| assemble(system))).collect();
        for &len in sizes {
            // Who failed at a size before it gave any figure is not asked again, nor who took far longer than planned: each
            // attempt may take half a minute.
            let mut enough = vec![false; chosen.len()];
            for run in 0..self.runs {
                for ((&system, crew), enough) in chosen.iter().zip(&mut crews).zip(&mut enough) {
                    if *enough {
                        continue;
                    }
                    let is_cold = run == 0 || crew.is_none();
                    let mut own = None;
                    let crew = match crew {
                        Some(crew) => crew,
                        None => own.insert(assemble(system)),
                    };
                    let start = Instant::now();
                    let record = self.once(system, crew, len, run, is_cold)?;
                    let planned = Duration::from_millis(COLD_WARM_UPS * self.warm_up_ms + self.ms);
                    let is_slow = start.elapsed() > planned + SLOW;
                    *enough = run == 0 && (record.failure.is_some() || is_slow);
                    if let Some(failure) = &record.failure {
                        eprintln!("{} at {len} bytes: {failure}", system.name());
                        // Who failed once is not in a known state any more.
                        *crew = assemble(system);
                    }
                    keep(record)?;
                }
            }
        }
        Ok(())
    }

    /// What this measures of a system at a size, as runs of it are filed.
    pub(crate) fn case(&self, system: &str, len: usize) -> Case {
        let (writers, readers) = self.shape.ends();
        Case {
            kind: self.kind,
            placement: self.placement,
            distance: None,
            writers,
            readers,
            rate_chz: self.rate_hz.map(|rate| (rate * 100.0) as u64),
            is_touched: self.touch == Touch::Full,
            session: self.name.clone(),
            len,
            system: system.to_owned(),
        }
    }

    /// The last is the crowd; the others are measured in its midst, at the same time.
    fn measure_crowd(
        &self,
        chosen: &[&dyn System],
        keep: &mut dyn FnMut(Record) -> Result<(), Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let Some((of, beside)) = chosen.split_last() else { return Ok(()) };
        for &len in &self.sizes {
            for run in 0..self.runs {
                let measured = Crowd::assemble(*of, beside, len)
                    .and_then(|mut crowd| crowd.measure(len, self.touch, self.ms))
                    .map_err(|error| error.to_string());
                for (at, system) in chosen.iter().enumerate() {
                    let figures = measured.clone().map(|figures| figures[at].clone());
                    if let Err(failure) = &figures {
                        eprintln!("{} in a crowd: {failure}", system.name());
                    }
                    keep(self.record(*system, len, run, figures))?;
                }
            }
        }
        Ok(())
    }

    fn once(
        &self,
        system: &dyn System,
        crew: &mut Result<Crew, CrewError>,
        len: usize,
        run: u32,
        is_cold: bool,
    ) -> Result<Record, Box<dyn Error>> {
        let look = || (self.placement == Placement::Apart).then(Probe::take).transpose();
        let before = look()?;
        let figures = match crew {
            Ok(crew) => self.leg(crew, len, is_cold).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let after = look()?;
        let mut record = self.record(system, len, run, figures);
        record.probed(before, after);
        Ok(record)
    }

    fn record(&self, system: &dyn System, len: usize, run: u32, figures: Result<Figures, String>) -> Record {
        let (writers, readers) = self.shape.ends();
        let (figures, failure) = match figures {
            Ok(figures) => (figures, None),
            Err(failure) => (Figures::default(), Some(failure)),
        };
        Record {
            session: self.name.clone(),
            kind: self.kind,
            system: system.name().to_owned(),
            len,
            touch: self.touch,
            placement: self.placement,
            writers,
            readers,
            rate_hz: self.rate_hz,
            run,
            probe_before_ns: None,
            probe_after_ns: None,
            distance: None,
            spins: system.spins() || system.is_busy_when_idle(),
            figures,
            failure,
        }
    }

    fn leg(&self, crew: &mut Crew, len: usize, is_cold: bool) -> Result<Figures, CrewError> {
        let &Self { touch, rate_hz, warm_up_ms, ms, .. } = self;
        let warm_up_ms = if is_cold { COLD_WARM_UPS * warm_up_ms } else { warm_up_ms };
        let leg = Leg { len, touch, rate_hz, warm_up_ms, measure_ms: ms };
        let others: Vec<usize> = (1..crew.len()).collect();
        match (self.kind, self.shape) {
            (Kind::Latency | Kind::Crowd, _) => run::latency(crew, leg),
            (Kind::Rest, _) => run::rest(crew, ms),
            (Kind::Calls, _) => calls::count(crew, leg),
            (Kind::Links, shape) => run::links(crew, shape == Shape::PingPong, leg),
            (Kind::Throughput, Shape::ManyToOne(_)) => run::throughput(crew, &others, &[0], leg),
            (Kind::Throughput, _) => run::throughput(crew, &[0], &others, leg),
        }
    }
}

/// So much longer warms up who has not sent anything of this size before, or was only just started.
const COLD_WARM_UPS: u64 = 5;
/// Who takes so much longer than planned is measured once.
const SLOW: Duration = Duration::from_secs(3);
