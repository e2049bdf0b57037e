//! zenoh 1.10 with shared memory: `zenoh-shm`.
//!
//! Set up as its documentation advises for speed: messages from 3072 bytes, the threshold of its `DEFAULT_CONFIG.json5`
//! (`transport/shared_memory/transport_optimization`), are allocated from a `ShmProvider` and filled there, with
//! `BlockOn<Defragment<GarbageCollect>>` as in its examples `z_pub_shm` and `z_ping_shm`; smaller ones travel in the
//! stream, where they are faster. Shared memory is initialized with the session (`shared_memory/mode: "init"`, "no
//! latency impact when the first SHM buffer is processed"). Publishers are express, so that nothing is batched while
//! latency is measured, with congestion control `Block`, so that nothing is dropped (`z_pub_shm_thr`). Subscribers
//! have the default handler, a FIFO channel, and block in `recv_deadline` (`z_ping`).
//!
//! Two peers, connected over TCP on the loopback interface at addresses that follow from the run, without scouting.
//! `lowlatency` is not used: it does not fragment (`transport/unicast/lowlatency`), and with `qos` off besides it gained
//! nothing here.
//!
//! Its segments in /dev/shm have random names, and some stay when a process ends: each party removes those it has mapped.
//! zenoh's own clean-up would take all orphans of the machine, whoever made them.

use std::time::{Duration, Instant};
use zenoh::handlers::FifoChannelHandler;
use zenoh::liveliness::LivelinessToken;
use zenoh::pubsub::{Publisher, Subscriber};
use zenoh::qos::CongestionControl;
use zenoh::sample::Sample;
use zenoh::shm::{
    BlockOn, Defragment, GarbageCollect, PosixShmProviderBackend, ShmProvider, ShmProviderBuilder,
};
use zenoh::{Config, Session, Wait};
use zerodds_benches::system::{Failure, Lane, Party, Seat, System};

/// zenoh, with shared memory for what is worth it.
pub(crate) struct Zenoh;

impl System for Zenoh {
    fn name(&self) -> &str {
        "zenoh-shm"
    }

    fn set_up(&self) -> String {
        format!(
            "zenoh 1.10, peers over TCP, ShmProvider from {SHM_MIN} bytes, express, congestion control Block"
        )
    }

    fn join(&self, seat: Seat) -> Result<Box<dyn Party>, Failure> {
        let session =
            zenoh::open(config(&seat)?).wait().map_err(|why| Failure::of("opening a session", why))?;
        let inlet = seat.reads.as_ref().map(|lane| Inlet::open(&session, lane, &seat)).transpose()?;
        let outlet = seat.writes.as_ref().map(|lane| Outlet::open(&session, lane, &seat)).transpose()?;
        Ok(Box::new(ZenohParty { inlet, outlet, session }))
    }
}

impl Drop for ZenohParty {
    fn drop(&mut self) {
        crate::leftovers::remove_mapped(|name| name.ends_with(".zenoh"));
    }
}

/// Endpoints before the session, so that they go first.
struct ZenohParty {
    inlet: Option<Inlet>,
    outlet: Option<Outlet>,
    session: Session,
}

struct Inlet {
    subscriber: Subscriber<FifoChannelHandler<Sample>>,
    _token: LivelinessToken,
}

struct Outlet {
    publisher: Publisher<'static>,
    provider: ShmProvider<PosixShmProviderBackend>,
    /// Where the readers' tokens are.
    readers: String,
    readers_wanted: usize,
}

impl Party for ZenohParty {
    fn is_complete(&mut self) -> Result<bool, Failure> {
        let Some(outlet) = &self.outlet else { return Ok(true) };
        let tokens = self.session.liveliness().get(&outlet.readers).timeout(ANSWER).wait();
        let tokens = tokens.map_err(|why| Failure::of("asking for readers", why))?;
        Ok(tokens.into_iter().count() >= outlet.readers_wanted)
    }

    fn send(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), Failure> {
        let outlet = self.outlet.as_ref().ok_or_else(super::no_such_lane)?;
        let put = if len >= SHM_MIN {
            let loan = outlet.provider.alloc(len).with_policy::<BlockOn<Defragment<GarbageCollect>>>().wait();
            let mut loan = loan.map_err(|why| Failure::of("allocating", format!("{why:?}")))?;
            fill(&mut loan);
            outlet.publisher.put(loan)
        } else {
            let mut message = vec![0; len];
            fill(&mut message);
            outlet.publisher.put(message)
        };
        put.wait().map_err(|why| Failure::of("publishing", why))
    }

    fn receive(&mut self, until: Option<Instant>, read: &mut dyn FnMut(&[u8])) -> Result<usize, Failure> {
        let inlet = self.inlet.as_ref().ok_or_else(super::no_such_lane)?;
        let first = match until {
            Some(until) => inlet.subscriber.recv_deadline(until),
            None => inlet.subscriber.recv().map(Some),
        };
        let Some(first) = first.map_err(|why| Failure::of("receiving", why))? else { return Ok(0) };
        read(&first.payload().to_bytes());
        drop(first);
        let mut taken = 1;
        while taken < super::BATCH_MAX {
            let Some(sample) = inlet.subscriber.try_recv().map_err(|why| Failure::of("receiving", why))?
            else {
                break;
            };
            read(&sample.payload().to_bytes());
            taken += 1;
        }
        Ok(taken)
    }
}

impl Inlet {
    fn open(session: &Session, lane: &Lane, seat: &Seat) -> Result<Self, Failure> {
        let key = format!("{KEY}/{}", lane.topic);
        let subscriber = session.declare_subscriber(key.clone()).wait();
        let subscriber = subscriber.map_err(|why| Failure::of("declaring a subscriber", why))?;
        // After the subscriber on the same session, so whoever sees the token knows of the subscriber.
        let token = session.liveliness().declare_token(format!("{key}/{}", seat.index)).wait();
        Ok(Self { subscriber, _token: token.map_err(|why| Failure::of("declaring a token", why))? })
    }
}

impl Outlet {
    fn open(session: &Session, lane: &Lane, seat: &Seat) -> Result<Self, Failure> {
        let key = format!("{KEY}/{}", lane.topic);
        let publisher = session
            .declare_publisher(key.clone())
            .congestion_control(CongestionControl::Block)
            .express(true)
            .wait()
            .map_err(|why| Failure::of("declaring a publisher", why))?;
        let pool = ((super::depth(seat.message_max) + 4) * seat.message_max).max(POOL_MIN);
        let provider = ShmProviderBuilder::default_backend(pool).wait();
        Ok(Self {
            publisher,
            provider: provider.map_err(|why| Failure::of("creating a provider", why))?,
            readers: format!("{key}/*"),
            readers_wanted: lane.peers.len(),
        })
    }
}

/// Everybody listens and connects to those before; who comes later connects by itself.
fn config(seat: &Seat) -> Result<Config, Failure> {
    let [_, a, b, c] = seat.run.to_be_bytes();
    let endpoint = |index: u32| format!("\"tcp/127.{}.{b}.{c}:{}\"", a | 0x40, PORT + index);
    let before: Vec<_> = (0..seat.index).map(endpoint).collect();
    let mut config = Config::default();
    for (key, value) in [
        ("mode", "\"peer\"".to_owned()),
        ("listen/endpoints", format!("[{}]", endpoint(seat.index))),
        ("connect/endpoints", format!("[{}]", before.join(","))),
        ("scouting/multicast/enabled", "false".to_owned()),
        ("scouting/gossip/enabled", "false".to_owned()),
        ("transport/shared_memory/mode", "\"init\"".to_owned()),
    ] {
        config.insert_json5(key, &value).map_err(|why| Failure::of("configuring", why))?;
    }
    Ok(config)
}

const KEY: &str = "zpeers";
const PORT: u32 = 17447;
/// Shorter messages are faster in the stream.
const SHM_MIN: usize = 3072;
const POOL_MIN: usize = 64 << 20;
const ANSWER: Duration = Duration::from_millis(500);
