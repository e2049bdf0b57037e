//! A crowd: many processes that ping each other with samples of many sizes, at a pace that leaves half of the processors
//! free, and what that does to a small topic among them, and to pairs of other systems beside them.
//!
//! ```text
//!   process 0 ──64 B──▶ process 1 ──1 KiB──▶ process 2 ──64 KiB──▶ ... ──▶ process 0     each answers
//!   beside them, at the same time and pace: ping ──64 B──▶ pong of a raw futex
//! ```
//! Sixteen processes have two seats each, and a seat has a writer and a reader: 64 endpoints. Nobody is pinned.

use crate::crew::{Crew, CrewError, Shape};
use crate::dialogue::{Order, Ping};
use crate::placement::Placement;
use crate::record::Figures;
use crate::run::{PATIENCE, pinged};
use crate::sample::Touch;
use crate::system::System;
use crate::usage;
use std::time::{Duration, Instant};

/// A crowd, and the pairs beside it.
pub(crate) struct Crowd {
    crew: Crew,
    beside: Vec<Crew>,
}

impl Crowd {
    /// Starts the processes and waits until all of them see each other.
    pub(crate) fn assemble(of: &dyn System, beside: &[&dyn System], len: usize) -> Result<Self, CrewError> {
        let pair = |system: &&dyn System| Crew::assemble(*system, Shape::PingPong, Placement::Free, len);
        let beside = beside.iter().map(pair).collect::<Result<_, _>>()?;
        let crew =
            Crew::assemble(of, Shape::Crowd(PROCESSES), Placement::Free, len.max(SIZES[SIZES.len() - 1]))?;
        Ok(Self { crew, beside })
    }

    /// Measures topics of `len` bytes for so long: that of each pair beside the crowd, then that of the crowd.
    pub(crate) fn measure(&mut self, len: usize, touch: Touch, ms: u64) -> Result<Vec<Figures>, CrewError> {
        let mut pace_hz = PACE_HZ;
        for _ in 0..SLOWER_MAX {
            let figures = self.ping(len, touch, TRIAL_MS, pace_hz)?;
            let load = figures.last().and_then(|crowd| crowd.machine_percent);
            if load.is_some_and(|percent| percent <= TRIAL_PERCENT_MAX) {
                return self.ping(len, touch, ms, pace_hz);
            }
            eprintln!("the crowd takes {:.0} % of the processors at {pace_hz} Hz", load.unwrap_or_default());
            pace_hz /= 2.0;
        }
        let text =
            format!("the crowd takes more than half of the processors even at {pace_hz} pings a second");
        Err(CrewError::Failed { index: 0, text })
    }

    fn ping(
        &mut self,
        len: usize,
        touch: Touch,
        measure_ms: u64,
        pace_hz: f64,
    ) -> Result<Vec<Figures>, CrewError> {
        let patience = Duration::from_millis(WARM_UP_MS + measure_ms) + PATIENCE;
        let order = |len, rate_hz| {
            Order::Ping(Ping { len, touch, warm_up_ms: WARM_UP_MS, measure_ms, rate_hz: Some(rate_hz) })
        };
        let pairs = self.crew.len() / 2;
        let size = |pair: usize| if pair == 0 { len } else { SIZES[pair % SIZES.len()] };
        for pair in 0..pairs {
            self.crew.tell(2 * pair + 1, Order::Pong { len: size(pair), touch })?;
            self.crew.await_listening(2 * pair + 1)?;
        }
        for crew in &mut self.beside {
            crew.tell(1, Order::Pong { len, touch })?;
            crew.await_listening(1)?;
        }
        let (before, start) = (self.cpu_s()?, Instant::now());
        for pair in 0..pairs {
            // Large ones come as seldom as images do.
            let rate_hz = if size(pair) >= LARGE { pace_hz / 10.0 } else { pace_hz };
            self.crew.tell(2 * pair, order(size(pair), rate_hz))?;
        }
        for crew in &mut self.beside {
            crew.tell(0, order(len, pace_hz))?;
        }
        let mut figures = Vec::new();
        for crew in &mut self.beside {
            figures.push(pinged(crew, (0, 1), patience)?);
        }
        let mut of_crowd = Vec::new();
        for pair in 0..pairs {
            of_crowd.push(pinged(&mut self.crew, (2 * pair, 2 * pair + 1), patience)?);
        }
        let used = (self.cpu_s()? - before) / start.elapsed().as_secs_f64();
        let processors = std::thread::available_parallelism()?.get() as f64;
        figures.extend(of_crowd.into_iter().take(1));
        for figures in &mut figures {
            figures.cpu_percent = Some(used * 100.0);
            figures.machine_percent = Some(used * 100.0 / processors);
            figures.pace_hz = Some(pace_hz);
        }
        Ok(figures)
    }

    /// Processor time of all processes so far.
    fn cpu_s(&self) -> Result<f64, CrewError> {
        let crews = std::iter::once(&self.crew).chain(&self.beside);
        Ok(crews.flat_map(Crew::processes).map(usage::cpu_s_of).sum::<Result<f64, _>>()?)
    }
}

/// Sixteen, with 64 endpoints.
pub(crate) const PROCESSES: u32 = 16;
/// What the pairs of the crowd send, over and over; the largest last.
const SIZES: [usize; 8] = [64, 1 << 10, 16 << 10, 256, 64 << 10, 4 << 10, 256 << 10, 1 << 20];
const LARGE: usize = 256 << 10;
/// Pings a second of a topic, to begin with.
const PACE_HZ: f64 = 100.0;
/// How often that is halved at most.
const SLOWER_MAX: usize = 7;
/// A trial has to stay so far below half.
const TRIAL_PERCENT_MAX: f64 = 45.0;
const TRIAL_MS: u64 = 2000;
const WARM_UP_MS: u64 = 100;
