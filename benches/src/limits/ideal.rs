//! The ideal ring as a system: what a transport could reach that has nothing to do but its job.

use super::ring::{self, Bed, Lane, Reader, Writer};
use super::several::{Bell, Readers};
use crate::sys::Arena;
use crate::system::{Failure, Party, Seat, System};
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

/// How samples get into the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They are filled there.
    InPlace,
    /// They are filled in a buffer of the sender and copied once; readers read in place all the same.
    Copy,
}

/// How a reader learns of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// By a futex, where it sleeps.
    Futex,
    /// By an eventfd, where it sleeps. One reader only.
    EventFd,
    /// It never sleeps.
    Spin,
}

/// One of the ideal systems.
pub struct Ideal {
    name: &'static str,
    way: Way,
    wake: Wake,
}

impl Ideal {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self { name: "ideal-loan-futex", way: Way::InPlace, wake: Wake::Futex },
        Self { name: "ideal-copy-futex", way: Way::Copy, wake: Wake::Futex },
        Self { name: "ideal-loan-eventfd", way: Way::InPlace, wake: Wake::EventFd },
        Self { name: "ideal-loan-spin", way: Way::InPlace, wake: Wake::Spin },
        Self { name: "ideal-copy-spin", way: Way::Copy, wake: Wake::Spin },
    ];
}

impl System for Ideal {
    fn name(&self) -> &str {
        self.name
    }

    fn set_up(&self) -> String {
        let way = match self.way {
            Way::InPlace => "filled and read in place",
            Way::Copy => "filled in a private buffer, copied once, read in place",
        };
        let wake = match self.wake {
            Wake::Futex => "a futex",
            Wake::EventFd => "an eventfd",
            Wake::Spin => "a reader that spins",
        };
        format!("raw shared memory and {wake}; {way}")
    }

    fn spins(&self) -> bool {
        self.wake == Wake::Spin
    }

    fn objects(&self) -> io::Result<Vec<OwnedFd>> {
        let bell = || eventfd(0, EventfdFlags::CLOEXEC);
        // What nobody touches costs nothing.
        Ok(vec![Arena::create(WRITERS_MAX * ring::LANE_LEN)?, bell()?, bell()?])
    }

    fn join(&self, seat: Seat) -> Result<Box<dyn Party>, Failure> {
        let missing = || Failure::Unsupported("a run without its shared memory".to_owned());
        let mut objects = seat.objects.into_iter();
        let arena = Arc::new(Arena::map(objects.next().ok_or_else(missing)?.as_fd())?);
        let bells = [objects.next().ok_or_else(missing)?, objects.next().ok_or_else(missing)?];
        let bed = |lane: usize| {
            Ok::<_, Failure>(match self.wake {
                Wake::Futex => Bed::Futex,
                Wake::EventFd => Bed::EventFd(bells[lane].try_clone()?),
                Wake::Spin => Bed::Spin,
            })
        };
        // Who reads "forth" has an index from 1 up; process 0 reads "back", or what all others write.
        let place = |index: u32| index.saturating_sub(1) as usize;
        let is_many = |index: u32, topic: &str| index > 0 && topic == "forth";
        let number = |topic: &str| usize::from(topic != "forth");
        let bell = || Bell(Lane::new(&arena, 0));
        let writer = match &seat.writes {
            None => None,
            Some(lane) if lane.peers.len() > ring::READERS_MAX => {
                return Err(Failure::Unsupported(format!("more than {} readers", ring::READERS_MAX)));
            }
            Some(lane) if lane.peers.len() > 1 && self.wake == Wake::EventFd => {
                return Err(Failure::Unsupported("more than one reader of an eventfd".to_owned()));
            }
            Some(lane) if is_many(seat.index, &lane.topic) => {
                let own = Lane::new(&arena, place(seat.index));
                Some(Writer::new(own, Bed::Several(bell()), vec![0]))
            }
            Some(lane) => {
                let readers = lane.peers.iter().map(|&index| place(index)).collect();
                let number = number(&lane.topic);
                Some(Writer::new(Lane::new(&arena, number), bed(number)?, readers))
            }
        };
        let reader = match &seat.reads {
            None => None,
            Some(lane) if seat.index == 0 && lane.topic == "forth" => {
                if self.wake != Wake::Futex || lane.peers.len() > WRITERS_MAX {
                    let what = format!("several writers but by a futex, and more than {WRITERS_MAX}");
                    return Err(Failure::Unsupported(what));
                }
                let lanes = lane.peers.iter().map(|&index| Lane::new(&arena, place(index)));
                let readers = lanes.map(|lane| Reader::new(lane, Bed::Futex, 0)).collect();
                Some(Inlet::Several(Readers::new(readers, bell())))
            }
            Some(lane) => {
                let number = number(&lane.topic);
                let own = Lane::new(&arena, number);
                Some(Inlet::One(Reader::new(own, bed(number)?, place(seat.index))))
            }
        };
        let buffer = if self.way == Way::Copy { vec![0; seat.message_max] } else { Vec::new() };
        Ok(Box::new(IdealParty { writer, reader, way: self.way, buffer }))
    }
}

/// What is received from.
enum Inlet {
    One(Reader),
    Several(Readers),
}

struct IdealParty {
    writer: Option<Writer>,
    reader: Option<Inlet>,
    way: Way,
    buffer: Vec<u8>,
}

impl Party for IdealParty {
    fn is_complete(&mut self) -> Result<bool, Failure> {
        Ok(true)
    }

    fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), Failure> {
        let Some(writer) = &mut self.writer else {
            return Err(Failure::Unsupported("sending from a seat that only receives".to_owned()));
        };
        match self.way {
            Way::InPlace => writer.send(len, fill),
            Way::Copy => {
                let buffer = &mut self.buffer[..len];
                fill(buffer);
                writer.send(len, &mut |bytes| bytes.copy_from_slice(buffer))
            }
        }
    }

    fn receive(&mut self, until: Option<Instant>, read: &mut dyn FnMut(&[u8])) -> Result<usize, Failure> {
        match &mut self.reader {
            Some(Inlet::One(reader)) => reader.receive(until, read),
            Some(Inlet::Several(readers)) => readers.receive(until, read),
            None => Err(Failure::Unsupported("receiving at a seat that only sends".to_owned())),
        }
    }
}

/// The most writers of one reader.
const WRITERS_MAX: usize = 16;
