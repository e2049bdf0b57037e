//! The children of `largedata run`: `largedata pub --managed` and `largedata sub --managed`.
//!
//! A child never outlives its parent: the kernel kills it when the parent dies (`PR_SET_PDEATHSIG`), and the end
//! of its stdin ends it where that does not exist. Everything else it holds is freed with it.

use crate::dialogue::{Assignment, Event, Order};
use crate::input::InputError;
use crate::lines::{hear, tell};
use crate::notices::{self, Weight};
use crate::output::remark;
use crate::placement::{PinError, Role};
use crate::publisher::Publisher;
use crate::samples::Samples;
use crate::stack::{OpenError, PublishError, open_publication, open_subscription};
use crate::subscriber::{Received, Subscriber};
use std::io;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Why a child gave up.
#[derive(Debug, Error)]
enum ChildError {
    #[error(transparent)]
    Pin(#[from] PinError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("the parent process is gone")]
    Orphaned,
}

/// Does what the parent says, until it says exit.
pub(crate) fn run(started_ns: u64) -> ExitCode {
    let assignment = match hear::<Assignment>(&mut io::stdin().lock()) {
        Ok(Some(assignment)) => assignment,
        Ok(None) => return ExitCode::from(ABANDONED),
        Err(error) => {
            remark!("largedata: --managed is for the children of `largedata run`: {error}");
            return ExitCode::from(ABANDONED);
        }
    };
    let done = follow(&assignment, started_ns);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            emit(&Event::Failed { text: error.to_string() });
            ExitCode::FAILURE
        }
    }
}

fn follow(assignment: &Assignment, started_ns: u64) -> Result<(), ChildError> {
    die_with(assignment.parent)?;
    assignment.placement.apply(assignment.role)?;
    // Who went without shared memory by choice need not be told why it is not used.
    let is_news = assignment.options.path.shares_memory();
    notices::install(move |weight, text| {
        if is_news && weight == Weight::Notable {
            emit(&Event::Notice { text: text.to_owned() });
        }
    });
    let orders = orders();
    match assignment.role {
        Role::Publisher => publish(assignment, &orders),
        Role::Subscriber => subscribe(assignment, &orders, started_ns),
    }
}

fn publish(assignment: &Assignment, orders: &Receiver<Order>) -> Result<(), ChildError> {
    let mut publication = open_publication(&assignment.options)?;
    emit(&Event::Opened);
    let mut samples = Samples::prepare(&assignment.source, assignment.touch)?;
    emit(&Event::Prepared);
    while publication.matched() < assignment.matches {
        thread::sleep(MATCH_POLL);
    }
    emit(&Event::Matched { samples: samples.describe() });
    // A closed channel cannot be seen here: the thread that closes it ends the process.
    let _ = orders.recv();
    let mut publisher = Publisher::new(publication.as_mut(), &mut samples);
    let published = publisher.run(assignment.plan, &AtomicBool::new(false), |_, published, error| {
        emit(&Event::Progress { samples: published.samples, bytes: published.bytes });
        error.map_or(Ok(()), Err)
    })?;
    emit(&Event::Published(published));
    let _ = orders.recv();
    publication.close();
    Ok(())
}

fn subscribe(assignment: &Assignment, orders: &Receiver<Order>, started_ns: u64) -> Result<(), ChildError> {
    let mut subscription = open_subscription(&assignment.options)?;
    let mut subscriber = Subscriber::new(subscription.as_mut(), started_ns);
    // A stack without threads of its own finds publishers only while it is asked for samples.
    while subscriber.subscription().matched() < assignment.matches {
        subscriber.take(Instant::now() + MATCH_POLL);
    }
    emit(&Event::Matched { samples: String::new() });
    emit(&Event::Received(receive_all(&mut subscriber, orders)));
    // Others may need longer. Whoever does not want the goodbye ends us before it is said.
    let _ = orders.recv();
    subscription.close();
    Ok(())
}

/// Receives all, and for a moment what may come again after that, which is not what receiving takes.
fn receive_all(subscriber: &mut Subscriber<'_>, orders: &Receiver<Order>) -> Received {
    receive_until_complete(subscriber, orders);
    let Received { last_ns, cpu_percent, .. } = subscriber.received();
    let deadline = Instant::now() + AFTERMATH;
    while Instant::now() < deadline && subscriber.take(deadline).is_some() {}
    Received { last_ns, cpu_percent, ..subscriber.received() }
}

/// Receives until the publisher is done and everything has arrived, or nothing more comes.
fn receive_until_complete(subscriber: &mut Subscriber<'_>, orders: &Receiver<Order>) {
    let mut sent = None;
    let mut last_arrival = Instant::now();
    let mut next_report = last_arrival + REPORT_PERIOD;
    while sent.is_none_or(|sent| subscriber.tally.received + subscriber.tally.corrupt < sent) {
        let now = Instant::now();
        if subscriber.take(now + POLL).is_some() {
            last_arrival = now;
        } else if sent.is_some() && last_arrival.elapsed() > PATIENCE {
            return;
        }
        if now >= next_report {
            emit(&Event::Progress { samples: subscriber.tally.received, bytes: subscriber.tally.bytes });
            next_report = now + REPORT_PERIOD;
        }
        match orders.try_recv() {
            Ok(Order::Finish { sent: total }) => {
                sent = Some(total);
                last_arrival = now;
            }
            Ok(_) | Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {}
        }
    }
}

/// Asks the kernel to end this process with its parent, and looks whether it is too late for that.
fn die_with(parent: u32) -> Result<(), ChildError> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|_| ChildError::Orphaned)?;
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get() as u32);
    if now == Some(parent) { Ok(()) } else { Err(ChildError::Orphaned) }
}

/// The parent's orders, heard by a thread of their own so that a blocked write does not keep an abandoned
/// process alive.
fn orders() -> Receiver<Order> {
    let (sender, orders) = mpsc::channel();
    thread::spawn(move || {
        while let Ok(Some(order)) = hear(&mut io::stdin().lock()) {
            let _ = sender.send(order);
        }
        std::process::exit(ABANDONED.into());
    });
    orders
}

fn emit(event: &Event) {
    if tell(&mut io::stdout().lock(), event).is_err() {
        std::process::exit(ABANDONED.into());
    }
}

/// The exit code of a child whose parent is gone.
const ABANDONED: u8 = 3;
/// How often a child looks whether everyone is there.
const MATCH_POLL: Duration = Duration::from_millis(5);
/// How long a subscriber waits for a sample before it looks for orders.
const POLL: Duration = Duration::from_millis(20);
const REPORT_PERIOD: Duration = Duration::from_millis(100);
/// How long a subscriber waits, after the publisher is done, for a sample that does not come.
const PATIENCE: Duration = Duration::from_secs(5);
/// For how long a subscriber that has everything waits for what comes again.
const AFTERMATH: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::Kind;
    use crate::stack::{Arrival, ByPath, Subscription};
    use crate::stamp::{Stamp, Touch};
    use bytes::Bytes;

    /// Gives samples of these numbers, and then nothing.
    struct Numbers(std::vec::IntoIter<u64>);

    impl Subscription for Numbers {
        fn next(&mut self, _deadline: Instant) -> Option<Arrival> {
            let sequence = self.0.next()?;
            let (touch, payload_sum) = (Touch::Full, Touch::Full.sum(b""));
            let stamp = Stamp { publisher: 1, sequence, published_ns: 0, touch, payload_sum };
            Some(Arrival {
                received_ns: self.0.len() as u64,
                published_ns: None,
                kind: Kind::Bytes,
                stamp: Stamp::from_text(&stamp.to_text("x")),
                payload: Bytes::new(),
            })
        }

        fn matched(&mut self) -> usize {
            1
        }

        fn by_path(&self) -> ByPath {
            ByPath::default()
        }

        fn close(&mut self) {}
    }

    #[test]
    fn the_last_sample_that_comes_twice_is_seen_and_takes_no_time_of_receiving() {
        let (order, orders) = mpsc::channel();
        order.send(Order::Finish { sent: 2 }).unwrap();
        let mut numbers = Numbers(vec![0, 1, 1].into_iter());
        let received = receive_all(&mut Subscriber::new(&mut numbers, 0), &orders);
        assert_eq!((received.samples, received.corrupt), (2, 1));
        assert_eq!(received.last_ns, 1, "when the second sample came");
    }
}
