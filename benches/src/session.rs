//! A measurement of several systems in turns, so that what changes on the machine changes for all of them.
//!
//! ```text
//!   open all crews · for each size:  for each run:  for each system:  probe · measure · probe
//! ```

use crate::crew::{Crew, CrewError, Shape};
use crate::placement::Placement;
use crate::probe::Probe;
use crate::record::{Figures, Kind, Record};
use crate::run::{self, Leg};
use crate::sample::{LEN_MIN, Touch};
use crate::system::System;
use std::error::Error;

/// One kind of measurement in one placement.
#[derive(Clone, Debug)]
pub(crate) struct Session {
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

impl Session {
    /// Measures these systems in turns; every run is handed to `keep`.
    pub(crate) fn measure(
        &self,
        chosen: &[&dyn System],
        keep: &mut dyn FnMut(Record) -> Result<(), Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let fits = |system: &&&dyn System| self.placement != Placement::Same || !system.spins();
        let chosen: Vec<&dyn System> = chosen.iter().filter(fits).copied().collect();
        // Stacks choose their depths by the longest message; a stream shows what that does to the shortest.
        let groups: Vec<&[usize]> = match self.kind {
            Kind::Throughput => self.sizes.chunks(1).collect(),
            Kind::Latency | Kind::Rest => vec![&self.sizes],
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
            for run in 0..self.runs {
                for (&system, crew) in chosen.iter().zip(&mut crews) {
                    let mut own = None;
                    let crew = match crew {
                        Some(crew) => crew,
                        None => own.insert(assemble(system)),
                    };
                    let record = self.once(system, crew, len, run)?;
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

    fn once(
        &self,
        system: &dyn System,
        crew: &mut Result<Crew, CrewError>,
        len: usize,
        run: u32,
    ) -> Result<Record, Box<dyn Error>> {
        let look = || (self.placement == Placement::Apart).then(Probe::take).transpose();
        let before = look()?;
        let figures = match crew {
            Ok(crew) => self.leg(crew, len).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let after = look()?;
        let (writers, readers) = match self.shape {
            Shape::PingPong => (1, 1),
            Shape::FanOut(readers) => (1, readers),
            Shape::ManyToOne(writers) => (writers, 1),
        };
        let (figures, failure) = match figures {
            Ok(figures) => (figures, None),
            Err(failure) => (Figures::default(), Some(failure)),
        };
        let mut record = Record {
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
            spins: system.spins(),
            figures,
            failure,
        };
        record.probed(before, after);
        Ok(record)
    }

    fn leg(&self, crew: &mut Crew, len: usize) -> Result<Figures, CrewError> {
        let &Self { touch, rate_hz, warm_up_ms, ms, .. } = self;
        let leg = Leg { len, touch, rate_hz, warm_up_ms, measure_ms: ms };
        let others: Vec<usize> = (1..crew.len()).collect();
        match (self.kind, self.shape) {
            (Kind::Latency, _) => run::latency(crew, leg),
            (Kind::Rest, _) => run::rest(crew, ms),
            (Kind::Throughput, Shape::ManyToOne(_)) => run::throughput(crew, &others, &[0], leg),
            (Kind::Throughput, _) => run::throughput(crew, &[0], &others, leg),
        }
    }
}
