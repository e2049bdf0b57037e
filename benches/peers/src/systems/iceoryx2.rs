//! iceoryx2 0.10: shared memory without a daemon, `iceoryx2-event` and `iceoryx2-polling`.
//!
//! Set up as its documentation advises for speed: `publish_subscribe::<[u8]>` with slices loaned uninitialized and filled
//! in place (crate documentation, "Publish-Subscribe"; the project's own benchmark `benchmarks/publish-subscribe`),
//! memory for the largest message reserved at creation (`initial_max_slice_len`). So that nothing is lost, safe
//! overflow is off and the publisher retries until delivered (`BackpressureStrategy::RetryUntilDelivered`).
//!
//! Its publish-subscribe has no way to wait. `event` pairs it with an event service, as its example
//! `event_based_communication` does: the publisher notifies after each sample, the subscriber blocks in
//! `Listener::timed_wait`, without the `WaitSet` that a single source does not need. `polling` asks in a loop, as its
//! own benchmark does, and takes a whole processor.
//!
//! Whoever is killed leaves files; they carry this run's number in their names and lie in a folder of the run.

use crate::leftovers::Folder;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::{event, publish_subscribe};
use std::time::{Duration, Instant};
use zerodds_benches::system::{Failure, Lane, Party, Seat, System};

/// How a subscriber waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Blocked in the kernel until a notification comes.
    Event,
    /// By asking again and again.
    Polling,
}

/// iceoryx2, waiting in one of its ways.
pub(crate) struct Iceoryx2(pub(crate) Waits);

impl System for Iceoryx2 {
    fn name(&self) -> &str {
        match self.0 {
            Waits::Event => "iceoryx2-event",
            Waits::Polling => "iceoryx2-polling",
        }
    }

    fn set_up(&self) -> String {
        let waits = match self.0 {
            Waits::Event => "an event per sample, Listener::timed_wait",
            Waits::Polling => "receive() in a loop",
        };
        format!("iceoryx2 0.10, [u8] loaned uninitialized, no overflow, {waits}")
    }

    fn is_busy_when_idle(&self) -> bool {
        self.0 == Waits::Polling
    }

    fn spins(&self) -> bool {
        self.0 == Waits::Polling
    }

    fn join(&self, seat: Seat) -> Result<Box<dyn Party>, Failure> {
        set_log_level(LogLevel::Error);
        let folder = Folder::of(seat.run).map_err(Failure::System)?;
        let node = node(seat.run, &folder)?;
        let outlet = seat.writes.as_ref().map(|lane| Outlet::open(&node, lane, &seat, self.0)).transpose()?;
        let inlet = seat.reads.as_ref().map(|lane| Inlet::open(&node, lane, &seat, self.0)).transpose()?;
        Ok(Box::new(Iceoryx2Party { outlet, inlet, _node: node, _folder: folder }))
    }
}

type Service = ipc::Service;
type Topic = publish_subscribe::PortFactory<Service, [u8], ()>;

/// Ports before the node, the node before the folder.
struct Iceoryx2Party {
    outlet: Option<Outlet>,
    inlet: Option<Inlet>,
    _node: Node<Service>,
    _folder: Folder,
}

struct Outlet {
    publisher: Publisher<Service, [u8], ()>,
    bell: Option<(Notifier<Service>, event::PortFactory<Service>)>,
    topic: Topic,
    readers: usize,
}

struct Inlet {
    subscriber: Subscriber<Service, [u8], ()>,
    bell: Option<Listener<Service>>,
    topic: Topic,
    writers: usize,
}

impl Party for Iceoryx2Party {
    fn is_complete(&mut self) -> Result<bool, Failure> {
        let is_heard = self.outlet.as_ref().is_none_or(|outlet| {
            let listens = outlet
                .bell
                .as_ref()
                .is_none_or(|(_, bells)| bells.dynamic_config().number_of_listeners() == outlet.readers);
            listens && outlet.topic.dynamic_config().number_of_subscribers() == outlet.readers
        });
        let hears = self
            .inlet
            .as_ref()
            .is_none_or(|inlet| inlet.topic.dynamic_config().number_of_publishers() == inlet.writers);
        Ok(is_heard && hears)
    }

    fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), Failure> {
        let outlet = self.outlet.as_ref().ok_or_else(super::no_such_lane)?;
        let loan = outlet.publisher.loan_slice_uninit(len).map_err(|why| Failure::of("loaning", why))?;
        let mut sample = crate::sys::as_it_is(loan);
        fill(sample.payload_mut());
        sample.send().map_err(|why| Failure::of("sending", why))?;
        if let Some((notifier, _)) = &outlet.bell {
            notifier.notify().map_err(|why| Failure::of("notifying", why))?;
        }
        Ok(())
    }

    fn receive(&mut self, until: Option<Instant>, read: &mut dyn FnMut(&[u8])) -> Result<usize, Failure> {
        let inlet = self.inlet.as_ref().ok_or_else(super::no_such_lane)?;
        let mut taken = 0;
        loop {
            while let Some(sample) =
                inlet.subscriber.receive().map_err(|why| Failure::of("receiving", why))?
            {
                read(&sample);
                taken += 1;
                if taken == super::BATCH_MAX {
                    return Ok(taken);
                }
            }
            let left = until.map_or(FOREVER, |until| until.saturating_duration_since(Instant::now()));
            if taken > 0 || left.is_zero() {
                return Ok(taken);
            }
            match &inlet.bell {
                Some(listener) => {
                    listener.timed_wait(|_| (), left).map_err(|why| Failure::of("waiting", why))?;
                }
                None => std::hint::spin_loop(),
            }
        }
    }
}

impl Outlet {
    fn open(node: &Node<Service>, lane: &Lane, seat: &Seat, waits: Waits) -> Result<Self, Failure> {
        let topic = topic(node, lane, seat.message_max)?;
        let publisher = topic
            .publisher_builder()
            .initial_max_slice_len(seat.message_max)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()
            .map_err(|why| Failure::of("creating a publisher", why))?;
        let bell = match waits {
            Waits::Polling => None,
            Waits::Event => {
                let bells = bells(node, lane)?;
                let notifier = bells
                    .notifier_builder()
                    .create()
                    .map_err(|why| Failure::of("creating a notifier", why))?;
                Some((notifier, bells))
            }
        };
        Ok(Self { publisher, bell, topic, readers: lane.peers.len() })
    }
}

impl Inlet {
    fn open(node: &Node<Service>, lane: &Lane, seat: &Seat, waits: Waits) -> Result<Self, Failure> {
        let topic = topic(node, lane, seat.message_max)?;
        let subscriber =
            topic.subscriber_builder().create().map_err(|why| Failure::of("creating a subscriber", why))?;
        let bell = match waits {
            Waits::Polling => None,
            Waits::Event => {
                let bells = bells(node, lane)?;
                Some(
                    bells
                        .listener_builder()
                        .create()
                        .map_err(|why| Failure::of("creating a listener", why))?,
                )
            }
        };
        Ok(Self { subscriber, bell, topic, writers: lane.peers.len() })
    }
}

fn node(run: u32, folder: &Folder) -> Result<Node<Service>, Failure> {
    let mut config = Config::default();
    let root = Path::new(folder.path().as_bytes())
        .map_err(|why| Failure::of("naming the folder", format!("{why:?}")))?;
    config.global.set_root_path(&root);
    config.global.prefix = FileName::new(format!("{}{run:08x}_", crate::leftovers::PREFIX).as_bytes())
        .map_err(|why| Failure::of("naming the files", format!("{why:?}")))?;
    NodeBuilder::new().config(&config).create::<Service>().map_err(|why| Failure::of("creating a node", why))
}

fn topic(node: &Node<Service>, lane: &Lane, message_max: usize) -> Result<Topic, Failure> {
    let name: ServiceName =
        lane.topic.as_str().try_into().map_err(|why| Failure::of("naming a service", why))?;
    node.service_builder(&name)
        .publish_subscribe::<[u8]>()
        .payload_alignment(Alignment::new(64).ok_or_else(super::no_such_lane)?)
        .enable_safe_overflow(false)
        .subscriber_max_buffer_size(super::depth(message_max))
        .max_publishers(PARTIES_MAX)
        .max_subscribers(PARTIES_MAX)
        .max_nodes(PARTIES_MAX)
        .open_or_create()
        .map_err(|why| Failure::of("opening a service", why))
}

fn bells(node: &Node<Service>, lane: &Lane) -> Result<event::PortFactory<Service>, Failure> {
    let name: ServiceName = format!("{} bell", lane.topic)
        .as_str()
        .try_into()
        .map_err(|why| Failure::of("naming a service", why))?;
    node.service_builder(&name)
        .event()
        .max_notifiers(PARTIES_MAX)
        .max_listeners(PARTIES_MAX)
        .max_nodes(PARTIES_MAX)
        .open_or_create()
        .map_err(|why| Failure::of("opening an event service", why))
}

/// Processes in a run.
const PARTIES_MAX: usize = 24;
const FOREVER: Duration = Duration::from_secs(3600);
