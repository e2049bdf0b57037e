//! One measurement of one system, from the parent's side.

use crate::crew::{Crew, CrewError};
use crate::dialogue::{Event, Order, Ping};
use crate::record::Figures;
use crate::sample::Touch;
use crate::usage::Usage;
use std::time::Duration;

/// How long to measure, and what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Leg {
    pub(crate) len: usize,
    pub(crate) touch: Touch,
    pub(crate) rate_hz: Option<f64>,
    pub(crate) warm_up_ms: u64,
    pub(crate) measure_ms: u64,
}

impl Leg {
    fn patience(&self) -> Duration {
        Duration::from_millis(self.warm_up_ms + self.measure_ms) + PATIENCE
    }
}

/// A ping-pong between the two of a crew.
pub(crate) fn latency(crew: &mut Crew, leg: Leg) -> Result<Figures, CrewError> {
    let Leg { len, touch, rate_hz, warm_up_ms, measure_ms } = leg;
    crew.tell(1, Order::Pong { len, touch })?;
    crew.await_listening(1)?;
    crew.tell(0, Order::Ping(Ping { len, touch, warm_up_ms, measure_ms, rate_hz }))?;
    pinged(crew, (0, 1), leg.patience())
}

/// What comes of a ping-pong between two of a crew who were told of it.
pub(crate) fn pinged(
    crew: &mut Crew,
    (ping, pong): (usize, usize),
    patience: Duration,
) -> Result<Figures, CrewError> {
    let (times, usage, seconds) = match crew.hear(ping, "pinging", patience)? {
        Event::Pinged { times, usage, seconds } => (times, usage, seconds),
        event => return Err(crew.unexpected(ping, "pinging", event)),
    };
    let usage = match crew.hear(pong, "answering", PATIENCE)? {
        Event::Ponged { usage: answering } => usage + answering,
        event => return Err(crew.unexpected(pong, "answering", event)),
    };
    let per_message = |total: u64| Some(total as f64 / times.count as f64);
    Ok(Figures {
        count: Some(times.count),
        p50_us: Some(times.p50_us),
        p90_us: Some(times.p90_us),
        p99_us: times.p99_us,
        p999_us: times.p999_us,
        max_us: Some(times.max_us),
        messages_per_s: Some(times.count as f64 / seconds),
        cpu_percent: Some(usage.cpu_s / seconds * 100.0),
        faults_per_message: per_message(usage.faults),
        switches_per_message: per_message(usage.switches),
        ..Figures::default()
    })
}

/// A stream from the publishers of a crew to its subscribers.
pub(crate) fn throughput(
    crew: &mut Crew,
    publishers: &[usize],
    subscribers: &[usize],
    leg: Leg,
) -> Result<Figures, CrewError> {
    let Leg { len, touch, warm_up_ms, measure_ms, .. } = leg;
    for &index in subscribers {
        crew.tell(index, Order::Subscribe { len, touch })?;
        crew.await_listening(index)?;
    }
    for (writer, &index) in (0..).zip(publishers) {
        crew.tell(index, Order::Publish { writer, len, touch, warm_up_ms, measure_ms })?;
    }
    let (mut sent_in_all, mut sent, mut used) = (0, 0, Usage::default());
    let mut written = Some(0);
    for &index in publishers {
        match crew.hear(index, "publishing", leg.patience())? {
            Event::Published { warm_up, sent: by_one, usage, written: by_it } => {
                sent_in_all += warm_up + by_one;
                sent += by_one;
                used = used + usage;
                written = written.zip(by_it).map(|(before, more)| before + more);
            }
            event => return Err(crew.unexpected(index, "publishing", event)),
        }
    }
    let (mut lost, mut delivered, mut first_ns, mut last_ns) = (0, 0, u64::MAX, 0);
    for &index in subscribers {
        crew.tell(index, Order::Finish { sent: sent_in_all })?;
        match crew.hear(index, "receiving", leg.patience())? {
            Event::Received { received, counted, first_ns: began, last_ns: ended, usage } => {
                lost += sent_in_all.saturating_sub(received);
                delivered += counted;
                first_ns = first_ns.min(began);
                last_ns = last_ns.max(ended);
                used = used + usage;
            }
            event => return Err(crew.unexpected(index, "receiving", event)),
        }
    }
    let seconds = last_ns.saturating_sub(first_ns) as f64 / 1e9;
    let delivered = delivered as f64;
    let gigabytes = delivered * len as f64 / 1e9;
    Ok(Figures {
        count: Some(sent),
        messages_per_s: Some(delivered / seconds),
        gb_per_s: Some(gigabytes / seconds),
        lost: Some(lost),
        cpu_s_per_gb: Some(used.cpu_s / gigabytes),
        cpu_percent: Some(used.cpu_s / seconds * 100.0),
        faults_per_message: Some(used.faults as f64 / delivered),
        switches_per_message: Some(used.switches as f64 / delivered),
        written_per_sent: written.map(|written| written as f64 / (sent * len as u64) as f64),
        ..Figures::default()
    })
}

/// Nobody sends anything for a while.
pub(crate) fn rest(crew: &mut Crew, ms: u64) -> Result<Figures, CrewError> {
    for index in 0..crew.len() {
        crew.tell(index, Order::Rest { ms })?;
    }
    let mut figures = Figures { cpu_percent: Some(0.0), ..Figures::default() };
    for index in 0..crew.len() {
        match crew.hear(index, "resting", Duration::from_millis(ms) + PATIENCE)? {
            Event::Rested { usage, seconds, holdings } => {
                // The busiest of them.
                let percent = usage.cpu_s / seconds * 100.0;
                figures.cpu_percent = figures.cpu_percent.map(|before| before.max(percent));
                if index == 0 {
                    figures.rss_kib = Some(holdings.rss_kib);
                    figures.rss_shared_kib = Some(holdings.rss_shared_kib);
                    figures.link_kib = holdings.link_kib;
                    figures.fds = Some(holdings.fds);
                    figures.threads = Some(holdings.threads);
                }
            }
            event => return Err(crew.unexpected(index, "resting", event)),
        }
    }
    Ok(figures)
}

/// Nobody sends anything, after messages small and large went through every link, and both ways between two.
pub(crate) fn links(crew: &mut Crew, goes_back: bool, leg: Leg) -> Result<Figures, CrewError> {
    let others: Vec<usize> = (1..crew.len()).collect();
    for len in [SMALL, leg.len] {
        throughput(crew, &[0], &others, Leg { len, ..leg })?;
        if goes_back {
            throughput(crew, &others, &[0], Leg { len, ..leg })?;
        }
    }
    rest(crew, leg.measure_ms)
}

/// Goes through the bytes of a link, where what is large goes by its slots.
const SMALL: usize = 64;
/// How much longer than planned a leg may take: samples of many MiB over a slow path.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
