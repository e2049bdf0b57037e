//! Aeron IPC by its C client and media driver (rusteron 0.2): `aeron-ipc`.
//!
//! Set up as its documentation advises for speed: exclusive publications (one writer each), messages up to the maximum
//! payload claimed and filled in place (`try_claim_owned`, example `zero_copy_claim`), larger ones offered, which copies
//! them in fragments and puts them together again in the subscriber (`AeronFragmentClosureAssembler`). The channel asks
//! for the largest MTU, 65,504 bytes, instead of 1,408, and for terms of eight times the largest message, the least that
//! admits it (a message may be an eighth of a term, and 16 MiB). Terms are not sparse and the clients touch them ahead
//! ("the setting to use for latency-sensitive streams", example `embedded_ping_pong`).
//!
//! Aeron does not wait, it idles by a strategy: here `BackoffIdleStrategy` with Aeron's defaults, the general-purpose
//! one, which spins 10 times, yields 20 times and then sleeps 1 µs to 1 ms. So it is neither event-driven nor polling.
//!
//! The media driver, which grants publishers their room, runs in the first process on a thread of its own, with the
//! same backoff. Its directory in /dev/shm carries the run's number and is removed with it.

use crate::leftovers::PREFIX;
use rusteron_client::{
    Aeron, AeronCError, AeronContext, AeronExclusivePublication, AeronFragmentClosureAssembler, AeronHeader,
    AeronOfferError, AeronSubscription, BackoffIdleStrategy, Handlers, IdleStrategy, IntoCString,
};
use rusteron_media_driver::bindings::aeron_threading_mode_t;
use rusteron_media_driver::testing::EmbeddedDriver;
use std::time::{Duration, Instant};
use zerodds_benches::system::{Failure, Lane, Party, Seat, System};

/// Aeron over IPC.
pub(crate) struct AeronIpc;

impl System for AeronIpc {
    fn name(&self) -> &str {
        "aeron-ipc"
    }

    fn set_up(&self) -> String {
        "Aeron C client and driver (rusteron 0.2.16), exclusive publication, MTU 65,504, backoff idle strategy; the driver is a \
         thread of the publisher, on its processor"
            .to_owned()
    }

    fn is_busy_when_idle(&self) -> bool {
        true
    }

    fn join(&self, seat: Seat) -> Result<Box<dyn Party>, Failure> {
        let dir = format!("/dev/shm/{PREFIX}{:08x}_aeron", seat.run);
        let driver = (seat.index == 0).then(|| launch(&dir)).transpose()?;
        let aeron = connect(&dir)?;
        let channel = channel(seat.message_max);
        let outlet = seat.writes.as_ref().map(|lane| outlet(&aeron, &channel, lane)).transpose()?;
        let inlet = seat.reads.as_ref().map(|lane| inlet(&aeron, &channel, lane)).transpose()?;
        let buffer = vec![0; seat.message_max];
        let backoff = BackoffIdleStrategy::new();
        Ok(Box::new(AeronParty { outlet, inlet, buffer, backoff, _aeron: aeron, _driver: driver }))
    }
}

/// Endpoints before the client, the client before the driver.
struct AeronParty {
    outlet: Option<AeronExclusivePublication>,
    inlet: Option<Inlet>,
    buffer: Vec<u8>,
    backoff: BackoffIdleStrategy,
    _aeron: Aeron,
    _driver: Option<EmbeddedDriver>,
}

struct Inlet {
    subscription: AeronSubscription,
    assembler: AeronFragmentClosureAssembler,
    writers: usize,
}

/// Who is shown what is received, during one poll.
struct Showing<'a> {
    read: &'a mut dyn FnMut(&[u8]),
    shown: usize,
}

impl Party for AeronParty {
    /// A reader has an image of each writer; together that makes everyone complete.
    fn is_complete(&mut self) -> Result<bool, Failure> {
        let is_heard = self.outlet.as_ref().is_none_or(AeronExclusivePublication::is_connected);
        let hears = match &self.inlet {
            None => true,
            Some(inlet) => {
                let images = inlet.subscription.image_count();
                images.map_err(|why| Failure::of("counting images", why))? as usize >= inlet.writers
            }
        };
        Ok(is_heard && hears)
    }

    fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), Failure> {
        let publication = self.outlet.as_ref().ok_or_else(super::no_such_lane)?;
        self.backoff.reset();
        if len <= PAYLOAD_MAX {
            let mut claim = patiently(&mut self.backoff, || publication.try_claim_owned(len))?;
            fill(claim.data());
            claim.commit().map_err(|why| Failure::of("committing", why))?;
        } else {
            let message = &mut self.buffer[..len];
            fill(message);
            patiently(&mut self.backoff, || publication.offer(message))?;
        }
        Ok(())
    }

    fn receive(&mut self, until: Option<Instant>, read: &mut dyn FnMut(&[u8])) -> Result<usize, Failure> {
        let inlet = self.inlet.as_mut().ok_or_else(super::no_such_lane)?;
        let mut showing = Showing { read, shown: 0 };
        self.backoff.reset();
        loop {
            let fragments = inlet
                .assembler
                .poll(&inlet.subscription, &mut showing, Showing::show, FRAGMENTS_MAX)
                .map_err(|why| Failure::of("polling", why))?;
            if showing.shown > 0 || until.is_some_and(|until| fragments == 0 && Instant::now() >= until) {
                return Ok(showing.shown);
            }
            self.backoff.idle(fragments);
        }
    }
}

impl Showing<'_> {
    fn show(&mut self, message: &[u8], _: AeronHeader) {
        (self.read)(message);
        self.shown += 1;
    }
}

/// Again as long as there is no room.
fn patiently<T>(
    backoff: &mut BackoffIdleStrategy,
    mut send: impl FnMut() -> Result<T, AeronOfferError>,
) -> Result<T, Failure> {
    loop {
        match send() {
            Ok(sent) => return Ok(sent),
            Err(error) if error.is_retryable() => backoff.idle(0),
            Err(error) => return Err(Failure::of("sending", error)),
        }
    }
}

fn launch(dir: &str) -> Result<EmbeddedDriver, Failure> {
    let driver = EmbeddedDriver::launch_with(|context| {
        context.set_dir(&dir.into_c_string())?;
        context.set_term_buffer_sparse_file(false)?;
        context.set_threading_mode(aeron_threading_mode_t::AERON_THREADING_MODE_SHARED)?;
        Ok(())
    });
    driver.map_err(|why| Failure::of("launching the media driver", why))
}

/// Waits for the driver to be there.
fn connect(dir: &str) -> Result<Aeron, Failure> {
    let connected = || {
        let context = AeronContext::new()?;
        context.set_dir(&dir.into_c_string())?;
        context.set_pre_touch_mapped_memory(true)?;
        let aeron = Aeron::new(&context)?;
        aeron.start()?;
        Ok(aeron)
    };
    connected().map_err(|why: AeronCError| Failure::of("connecting to the media driver", why))
}

fn channel(message_max: usize) -> String {
    let term = (8 * message_max).next_power_of_two().clamp(TERM_MIN, TERM_MAX);
    format!("aeron:ipc?mtu={MTU}|term-length={term}")
}

fn stream(lane: &Lane) -> i32 {
    if lane.topic == "forth" { 1001 } else { 1002 }
}

fn outlet(aeron: &Aeron, channel: &str, lane: &Lane) -> Result<AeronExclusivePublication, Failure> {
    aeron
        .add_exclusive_publication(&channel.into_c_string(), stream(lane), PATIENCE)
        .map_err(|why| Failure::of("adding a publication", why))
}

fn inlet(aeron: &Aeron, channel: &str, lane: &Lane) -> Result<Inlet, Failure> {
    let subscription = aeron
        .add_subscription(&channel.into_c_string(), stream(lane), Handlers::NONE, Handlers::NONE, PATIENCE)
        .map_err(|why| Failure::of("adding a subscription", why))?;
    let assembler =
        AeronFragmentClosureAssembler::new().map_err(|why| Failure::of("making an assembler", why))?;
    Ok(Inlet { subscription, assembler, writers: lane.peers.len() })
}

/// The largest that Aeron admits, a multiple of 32 below 64 KiB.
const MTU: usize = 65_504;
/// What fits one frame: the MTU without its header of 32 bytes.
const PAYLOAD_MAX: usize = MTU - 32;
const TERM_MIN: usize = 16 << 20;
/// A message may be an eighth of a term, and 16 MiB at most.
const TERM_MAX: usize = 128 << 20;
/// Fragments that one poll hands over at most.
const FRAGMENTS_MAX: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);
