//! The registry's `zerodds-transport-shm` 1.0.0-rc.7, which shares nothing with this project but a name:
//! `published-zerodds-shm`.
//!
//! One ring of shared memory per writer and reader (`PosixShmTransport`, crate documentation, "Model: SpSc per reader"),
//! so a message for three readers is written three times. Set up for messages of the size in hand: `capacity` holds
//! several of the largest (it asks for two at least), `max_datagram` one. There is no loan: a message is filled in a
//! buffer of ours and copied by `send`; `recv` returns a copy on the heap, and sleeps on a futex. A full ring is an error
//! after a short spin; then we yield and send again.
//!
//! A reader waits on one ring, so it has one writer.

use crate::leftovers::Folder;
use published_rtps::wire_types::Locator;
use published_shm::{PosixShmTransport, ShmConfig};
use published_transport::{RecvError, SendError, Transport};
use std::time::{Duration, Instant};
use zerodds_benches::system::{Failure, Party, Seat, System};

/// The published transport.
pub(crate) struct PublishedShm;

impl System for PublishedShm {
    fn name(&self) -> &str {
        "published-zerodds-shm"
    }

    fn set_up(&self) -> String {
        "zerodds-transport-shm 1.0.0-rc.7 of the registry, a ring per reader, copies, capacity for several"
            .to_owned()
    }

    fn join(&self, seat: Seat) -> Result<Box<dyn Party>, Failure> {
        let folder = Folder::of(seat.run)?;
        let config = config(&seat, &folder);
        let name = |index: u32, topic: &str| identity(seat.run, index, topic);
        let rings = seat.writes.iter().flat_map(|lane| {
            let me = name(seat.index, &lane.topic);
            let config = &config;
            lane.peers.iter().map(move |&peer| {
                let reader = name(peer, &lane.topic);
                PosixShmTransport::open_owner(me, reader, config.clone())
                    .map(|ring| (ring, Locator::shm(reader)))
                    .map_err(|why| Failure::of("opening a ring", why))
            })
        });
        let outlets = rings.collect::<Result<_, _>>()?;
        let wanted = seat.reads.as_ref().map(|lane| match lane.peers.as_slice() {
            [writer] => Ok(Wanted {
                me: name(seat.index, &lane.topic),
                writer: name(*writer, &lane.topic),
                config: config.clone(),
            }),
            _ => Err(Failure::Unsupported("a reader of several writers".to_owned())),
        });
        let wanted = wanted.transpose()?;
        Ok(Box::new(PublishedParty { outlets, wanted, inlet: None, buffer: Vec::new(), _folder: folder }))
    }
}

struct PublishedParty {
    outlets: Vec<(PosixShmTransport, Locator)>,
    wanted: Option<Wanted>,
    inlet: Option<PosixShmTransport>,
    buffer: Vec<u8>,
    _folder: Folder,
}

/// The ring that this process reads, until its writer has made it.
struct Wanted {
    me: [u8; 16],
    writer: [u8; 16],
    config: ShmConfig,
}

impl Party for PublishedParty {
    fn is_complete(&mut self) -> Result<bool, Failure> {
        if self.inlet.is_none()
            && let Some(wanted) = &self.wanted
        {
            self.inlet =
                PosixShmTransport::open_consumer(wanted.me, wanted.writer, wanted.config.clone()).ok();
        }
        let hears = self.wanted.is_none() || self.inlet.is_some();
        Ok(hears && self.outlets.iter().all(|(ring, _)| ring.peer_attached()))
    }

    fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), Failure> {
        self.buffer.resize(len, 0);
        fill(&mut self.buffer);
        for (ring, reader) in &self.outlets {
            loop {
                match ring.send(reader, &self.buffer) {
                    Ok(()) => break,
                    Err(SendError::Io { message }) if message.starts_with(FULL) => std::thread::yield_now(),
                    Err(error) => return Err(Failure::of("sending", error)),
                }
            }
        }
        Ok(())
    }

    fn receive(&mut self, until: Option<Instant>, read: &mut dyn FnMut(&[u8])) -> Result<usize, Failure> {
        let ring = self.inlet.as_ref().ok_or_else(super::no_such_lane)?;
        let mut taken = 0;
        while taken < super::BATCH_MAX {
            match ring.try_recv().map_err(|why| Failure::of("receiving", why))? {
                Some(message) => read(&message.data),
                None if taken > 0 => break,
                // It wakes for the next message or after the time-out of its configuration.
                None => match ring.recv() {
                    Ok(message) => read(&message.data),
                    Err(RecvError::Timeout) if until.is_some_and(|until| Instant::now() >= until) => break,
                    Err(RecvError::Timeout) => continue,
                    Err(error) => return Err(Failure::of("receiving", error)),
                },
            }
            taken += 1;
        }
        Ok(taken)
    }
}

fn config(seat: &Seat, folder: &Folder) -> ShmConfig {
    let frame = seat.message_max + 64;
    ShmConfig {
        capacity: (super::depth(seat.message_max) * frame).max(4 * frame).next_multiple_of(4096),
        flink_dir: folder.path().into(),
        max_datagram: frame,
        recv_timeout: Some(TICK),
    }
}

/// 16 bytes that name one end of a ring.
fn identity(run: u32, index: u32, topic: &str) -> [u8; 16] {
    let mut id = *b"zpeers__________";
    id[6..10].copy_from_slice(&run.to_be_bytes());
    id[10..14].copy_from_slice(&index.to_be_bytes());
    id[14] = topic.bytes().fold(0, u8::wrapping_add);
    id
}

/// How its error begins when there is no room, see `PosixShmTransport::send`.
const FULL: &str = "shm ring full";
/// How often a reader that waits looks whether it has waited long enough.
const TICK: Duration = Duration::from_millis(100);
