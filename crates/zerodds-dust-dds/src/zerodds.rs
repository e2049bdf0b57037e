//! The set-up: from settings to a Dust participant factory.

use crate::datagrams::{Datagrams, NoUdp};
use crate::monitor::{Monitor, Registry};
use crate::participant::{self, Shared};
use crate::receive::give_to;
use crate::steady::Steady;
use crate::writer::Writer;
use dust_dds::configuration::{DustDdsConfiguration, DustDdsConfigurationBuilder};
use dust_dds::dds_async::domain_participant_factory::DomainParticipantFactoryAsync;
use dust_dds::domain::domain_participant_factory::DomainParticipantFactory;
use dust_dds::infrastructure::error::DdsError;
use dust_dds::runtime::DdsRuntime;
use dust_dds::std_runtime::{StdClock, StdRuntime};
use dust_dds::transport::interface::{
    RtpsTransportParticipant, TransportDataReceiver, TransportParticipantFactory,
};
use dust_dds::transport::types::Locator as DustLocator;
use parking_lot::Mutex;
use std::any::TypeId;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;
use thiserror::Error;
use zerodds_capture::{Capture, Captured};
use zerodds_core::{Locator, Path, Transport};
use zerodds_transport_shm::ShmTransport;
use zerodds_transport_udp::{UdpTransport, ports};

/// The transport of Dust DDS participants: shared memory where that can be, UDP everywhere else.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let factory = zerodds_dust_dds::ZeroDds::from_env()?.factory()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ZeroDds {
    shm: zerodds_transport_shm::Config,
    udp: zerodds_transport_udp::Config,
    capture: Option<Capture>,
    registry: Arc<Registry>,
    /// Whose turn it is to wait for room in the inbox of the factory's participants.
    turn: Arc<Mutex<()>>,
    #[cfg(feature = "testing")]
    faults: Option<zerodds_core::testing::Faults>,
}

/// A setting in the environment that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A variable of the two transports or of the capture.
    #[error(transparent)]
    Value(#[from] zerodds_core::ConfigError),
    /// The file that `ZERODDS_CAPTURE` names.
    #[error(transparent)]
    CaptureFile(#[from] zerodds_capture::OpenError),
}

/// Why there is no factory.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FactoryError {
    /// Dust DDS refused its configuration.
    #[error("Dust DDS refused the configuration: {0}")]
    Dust(DdsError),
}

impl ZeroDds {
    /// A transport with these settings.
    ///
    /// ```no_run
    /// use zerodds_dust_dds::{ZeroDds, capture, transport_shm, transport_udp};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let shm = transport_shm::Config::from_env()?.max_datagram(64 << 20)?;
    /// let udp = transport_udp::Config::from_env()?.ipv6(transport_udp::Ipv6::Off);
    /// let file = capture::Config::default().file("/tmp/messages.pcapng");
    /// let factory = ZeroDds::new(shm, udp).capture(&file)?.factory()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(shm: zerodds_transport_shm::Config, udp: zerodds_transport_udp::Config) -> Self {
        Self {
            shm,
            udp,
            capture: None,
            registry: Arc::default(),
            turn: Arc::default(),
            #[cfg(feature = "testing")]
            faults: None,
        }
    }

    /// A transport with the default settings, overlaid with the environment: `ZERODDS_SHM=off`,
    /// `ZERODDS_SHM_MAX_DATAGRAM=64MiB` and the other variables of the two transports, and `ZERODDS_CAPTURE`.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable, its value and what is accepted.
    pub fn from_env() -> Result<Self, ConfigError> {
        let shm = zerodds_transport_shm::Config::from_env()?;
        let udp = zerodds_transport_udp::Config::from_env()?;
        Ok(Self::new(shm, udp).capture(&zerodds_capture::Config::from_env()?)?)
    }

    /// Captures what the factory's participants send and receive, into a file that is opened now.
    ///
    /// # Errors
    /// [`OpenError`](zerodds_capture::OpenError), where there can be no such file.
    pub fn capture(mut self, config: &zerodds_capture::Config) -> Result<Self, zerodds_capture::OpenError> {
        self.capture = Capture::open(config)?;
        Ok(self)
    }

    /// Tells what the participants of the factory are doing; to be taken before the factory is made.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        Monitor(Arc::clone(&self.registry))
    }

    /// Loses this many of a thousand datagrams in each direction, the same ones for the same seed;
    /// [`Monitor::udp_faults`] says how many they were.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_udp_faults(mut self, loss_per_mille: u32, seed: u64) -> Self {
        let mut faults = zerodds_core::testing::Faults::default();
        (faults.lose_per_mille, faults.seed) = (loss_per_mille, seed);
        self.faults = Some(faults);
        self
    }

    /// A factory for Dust's blocking API, for the life of the process: Dust wants it `'static`, so it is
    /// leaked. Make one and keep it; every call leaks another, with its threads.
    ///
    /// # Errors
    /// [`FactoryError`], where Dust does not take its configuration.
    pub fn factory(self) -> Result<&'static DomainParticipantFactory<Self>, FactoryError> {
        let factory = Box::leak(Box::new(self.factory_async(StdRuntime::new())?));
        Ok(Box::leak(Box::new(DomainParticipantFactory::new(factory))))
    }

    /// A factory for Dust's asynchronous API, on `runtime` (Dust's own is `StdRuntime::new()`, and gets a clock that does not go
    /// back when the wall clock does; one with another clock keeps that).
    ///
    /// # Errors
    /// [`FactoryError`], where Dust does not take its configuration.
    pub fn factory_async(
        self,
        runtime: impl DdsRuntime,
    ) -> Result<DomainParticipantFactoryAsync<Self>, FactoryError> {
        let builder = DustDdsConfigurationBuilder::new().enable_type_information(false);
        Ok(self.factory_with(runtime, builder.build().map_err(FactoryError::Dust)?))
    }

    /// As [`factory_async`](Self::factory_async), with a configuration of Dust's own. That should have
    /// `enable_type_information(false)`: type information is taken out of what arrives, and types match by their names, with it or
    /// without.
    pub fn factory_with<R: DdsRuntime>(
        self,
        runtime: R,
        configuration: DustDdsConfiguration,
    ) -> DomainParticipantFactoryAsync<Self> {
        let [app_id, host_id] = unique_ids();
        if TypeId::of::<R::ClockHandle>() == TypeId::of::<StdClock>() {
            let steady = Steady::new(runtime);
            return DomainParticipantFactoryAsync::new(steady, app_id, host_id, self, configuration);
        }
        DomainParticipantFactoryAsync::new(runtime, app_id, host_id, self, configuration)
    }

    /// A transport, captured where that is asked for.
    fn captured<T: Transport>(&self, transport: T, path: Path, domain_id: u32) -> Captured<T> {
        let tap =
            self.capture.as_ref().and_then(|capture| capture.tap(path, transport.locators(), domain_id));
        Captured::new(transport, tap)
    }

    /// Starts a participant on these transports, whatever faults they have.
    fn start<U: Datagrams>(
        &self,
        shm: ShmTransport,
        udp: U,
        domain_id: u32,
        dust: TransportDataReceiver,
    ) -> RtpsTransportParticipant {
        let multicast = match udp.metatraffic_multicast_locators() {
            // Dust announces itself to these or not at all.
            none if none.is_empty() => vec![well_known_group(domain_id)],
            groups => groups,
        };
        let turn = Arc::clone(&self.turn);
        let receive = move |message, stopped: &_| give_to(&dust, &turn, message, stopped);
        let shm = self.captured(shm, Path::SharedMemory, domain_id);
        let udp = self.captured(udp, Path::Udp, domain_id);
        let running = participant::start(shm, udp, &self.registry, receive);
        #[expect(clippy::expect_used, reason = "Dust has no way to be told that there is no participant")]
        let running = running.expect("a thread and a socket pair for the participant");
        let shared: &Arc<Shared<_, _>> = running.shared();
        let fragment_size = shared.fragmenter.chunk_len();
        let (user, metatraffic) = shared.locators();
        RtpsTransportParticipant {
            message_writer: Box::new(Writer::new(running)),
            default_unicast_locator_list: user.iter().map(for_dust).collect(),
            metatraffic_unicast_locator_list: metatraffic.iter().map(for_dust).collect(),
            metatraffic_multicast_locator_list: multicast.iter().map(for_dust).collect(),
            // Every sample goes to each peer by its own best path.
            default_multicast_locator_list: Vec::new(),
            fragment_size,
        }
    }
}

impl TransportParticipantFactory for ZeroDds {
    /// Opens both transports. Where one is not to be had, the participant lives on the other, and says so.
    fn create_participant(
        &self,
        domain_id: i32,
        data_receiver: TransportDataReceiver,
    ) -> RtpsTransportParticipant {
        let domain_id = domain_id.cast_unsigned();
        let shm = ShmTransport::open(domain_id, &self.shm);
        let host_tag = shm.locators().first().and_then(Locator::host_tag);
        let config = host_tag.into_iter().fold(self.udp.clone(), zerodds_transport_udp::Config::host_tag);
        let udp = match UdpTransport::open(domain_id, &config) {
            Ok(udp) => udp,
            Err(error) => {
                tracing::error!(
                    domain_id, %error,
                    "no UDP: this participant reaches peers on this host through shared memory, nobody else"
                );
                return self.start(shm, NoUdp, domain_id, data_receiver);
            }
        };
        #[cfg(feature = "testing")]
        if let Some(faults) = self.faults {
            let udp = zerodds_core::testing::Faulty::new(udp, faults);
            self.registry.afflicted.lock().push(udp.afflicted());
            return self.start(shm, udp, domain_id, data_receiver);
        }
        self.start(shm, udp, domain_id, data_receiver)
    }
}

fn for_dust(locator: &Locator) -> DustLocator {
    DustLocator::new(locator.raw_kind(), locator.port(), *locator.address())
}

/// 239.255.0.1 at the domain's port (DDSI-RTPS 2.5 §9.6.2.4.2).
fn well_known_group(domain_id: u32) -> Locator {
    let port = ports::metatraffic_multicast(domain_id).unwrap_or(7400);
    Locator::from(SocketAddr::from((Ipv4Addr::new(239, 255, 0, 1), port)))
}

/// What tells the GUIDs of this factory's participants from all others: Dust itself only counts them.
///
/// Random for the process, different for each call, and different in a child that was forked off with the
/// same random state.
fn unique_ids() -> [[u8; 4]; 2] {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let hash = RandomState::new().hash_one((std::process::id(), now));
    let [a, b, c, d, e, f, g, h] = hash.to_ne_bytes();
    [[a, b, c, d], [e, f, g, h]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn factories_have_distinct_ids() {
        let ids: HashSet<_> = (0..1000).map(|_| unique_ids()).collect();
        assert_eq!(ids.len(), 1000);
    }
}
