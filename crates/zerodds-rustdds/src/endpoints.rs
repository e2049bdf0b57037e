//! Publishers and subscribers: RustDDS's own, whose endpoints share memory.

use crate::config::Options;
use crate::intake::{Appetite, Intake};
use crate::protocol::TopicHash;
use crate::session::Owner;
use crate::writing::Outlet;
use crate::{no_key, with_key};
use rustdds::dds::CreateResult;
use rustdds::policy::Durability;
use rustdds::qos::HasQoSPolicy;
use rustdds::{DomainParticipant, Keyed, QosPolicies, QosPolicyBuilder, RTPSEntity, Topic, TopicDescription};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;

/// Makes writers; as RustDDS's `Publisher`.
///
/// ```
/// # use rustdds::{DomainParticipant, Keyed, QosPolicyBuilder, TopicKind};
/// # use zerodds_rustdds::{Config, ZeroDds, msg::sensor_msgs::Image};
/// use zerodds_rustdds::{Options, WhenFull};
/// # #[derive(serde::Serialize)]
/// # struct Lift(u8);
/// # impl Keyed for Lift {
/// #     type K = u8;
/// #     fn key(&self) -> u8 {
/// #         self.0
/// #     }
/// # }
/// # let domain = 1 + (std::process::id() % 100) as u16;
/// # let qos = QosPolicyBuilder::new().build();
/// # let participant = DomainParticipant::new(domain)?;
/// # let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// # let topic = participant.create_topic("images".into(), Image::TYPE_NAME.into(), &qos, TopicKind::NoKey)?;
/// # let keyed = participant.create_topic("lifts".into(), "Lift".into(), &qos, TopicKind::WithKey)?;
/// let mut publisher = zerodds.create_publisher(&qos)?;
/// assert_eq!(publisher.participant(), Some(participant));
/// let images = publisher.create_datawriter_no_key_cdr::<Image>(&topic, None)?;
/// let lifts = publisher.create_datawriter_cdr::<Lift>(&keyed, None)?;
/// // One that never waits for room in shared memory, and one that RustDDS serves alone.
/// let eager = publisher.with_options(Options::default().when_full(WhenFull::Udp));
/// let eager = eager.create_datawriter_no_key_cdr::<Image>(&topic, None)?;
/// let plain = publisher.without_shm().create_datawriter_no_key_cdr::<Image>(&topic, None)?;
/// assert_ne!(publisher.without_shm().options(), publisher.options());
/// println!("{:?}", publisher.rustdds());
/// // What a writer that is made from here on does not say otherwise.
/// let reliable = QosPolicyBuilder::new().reliable(rustdds::Duration::from_secs(1)).build();
/// publisher.set_default_datawriter_qos(&reliable);
/// assert_eq!(publisher.get_default_datawriter_qos(), reliable);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Publisher {
    owner: Arc<Owner>,
    inner: rustdds::Publisher,
    options: Options,
}

/// Makes readers; as RustDDS's `Subscriber`.
///
/// ```
/// # use rustdds::{DomainParticipant, Keyed, QosPolicyBuilder, TopicKind};
/// # use zerodds_rustdds::{Config, ZeroDds, msg::sensor_msgs::Image};
/// use zerodds_rustdds::Options;
/// # #[derive(serde::Deserialize)]
/// # struct Lift(u8);
/// # impl Keyed for Lift {
/// #     type K = u8;
/// #     fn key(&self) -> u8 {
/// #         self.0
/// #     }
/// # }
/// # let domain = 1 + (std::process::id() % 100) as u16;
/// # let qos = QosPolicyBuilder::new().build();
/// # let participant = DomainParticipant::new(domain)?;
/// # let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// # let topic = participant.create_topic("images".into(), Image::TYPE_NAME.into(), &qos, TopicKind::NoKey)?;
/// # let keyed = participant.create_topic("lifts".into(), "Lift".into(), &qos, TopicKind::WithKey)?;
/// let subscriber = zerodds.create_subscriber(&qos)?;
/// let images = subscriber.create_datareader_no_key_cdr::<Image>(&topic, None)?;
/// let lifts = subscriber.create_datareader_cdr::<Lift>(&keyed, None)?;
/// // One to which writers send everything in RTPS.
/// let plain = subscriber.without_shm().create_datareader_no_key_cdr::<Image>(&topic, None)?;
/// let same = subscriber.with_options(Options::default().shm(false));
/// assert_eq!(same.options(), subscriber.without_shm().options());
/// assert_eq!(subscriber.participant(), Some(participant));
/// assert_eq!(subscriber.rustdds().participant(), subscriber.participant());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Subscriber {
    owner: Arc<Owner>,
    inner: rustdds::Subscriber,
    qos: QosPolicies,
    options: Options,
}

impl Publisher {
    pub(crate) fn new(owner: Arc<Owner>, inner: rustdds::Publisher) -> Self {
        let options = owner.options;
        Self { owner, inner, options }
    }

    /// The same publisher with other options, for the writers that are made by it from here on: keep it for a
    /// publisher of its own, or use it once for a single writer. What these do not set stays as it is here.
    #[must_use]
    pub fn with_options(&self, options: Options) -> Self {
        Self { options: options.over(self.options), ..self.clone() }
    }

    /// The same publisher for writers that do not use shared memory.
    #[must_use]
    pub fn without_shm(&self) -> Self {
        self.with_options(Options::default().shm(false))
    }

    /// What writers of this publisher are made with; what is not set has its default.
    #[must_use]
    pub const fn options(&self) -> Options {
        self.options
    }

    /// As RustDDS's `participant`.
    #[must_use]
    pub fn participant(&self) -> Option<DomainParticipant> {
        self.inner.participant()
    }

    /// As RustDDS's `get_default_datawriter_qos`: where a topic says nothing, and whoever makes a writer neither.
    #[must_use]
    pub fn get_default_datawriter_qos(&self) -> QosPolicies {
        self.inner.get_default_datawriter_qos()
    }

    /// As RustDDS's `set_default_datawriter_qos`, for the writers that are made from here on; also by clones, and by those with
    /// other options.
    pub fn set_default_datawriter_qos(&mut self, q: &QosPolicies) {
        self.inner.set_default_datawriter_qos(q);
    }

    /// RustDDS's publisher, for what is not about writers.
    #[must_use]
    pub const fn rustdds(&self) -> &rustdds::Publisher {
        &self.inner
    }

    /// As RustDDS's `create_datawriter_no_key_cdr`.
    ///
    /// # Errors
    /// As there.
    pub fn create_datawriter_no_key_cdr<D: Serialize>(
        &self,
        topic: &Topic,
        qos: Option<QosPolicies>,
    ) -> CreateResult<no_key::DataWriter<D>> {
        let inner = self.inner.create_datawriter_no_key(topic, self.adjusted(topic, qos))?;
        let outlet = self.outlet(&inner, topic);
        Ok(no_key::DataWriter::new(inner, outlet, self.clone()))
    }

    /// As RustDDS's `create_datawriter_cdr`.
    ///
    /// # Errors
    /// As there.
    pub fn create_datawriter_cdr<D>(
        &self,
        topic: &Topic,
        qos: Option<QosPolicies>,
    ) -> CreateResult<with_key::DataWriter<D>>
    where
        D: Keyed + Serialize,
        D::K: Serialize,
    {
        let inner = self.inner.create_datawriter(topic, self.adjusted(topic, qos))?;
        let outlet = self.outlet(&inner, topic);
        Ok(with_key::DataWriter::new(inner, outlet, self.clone()))
    }

    fn outlet<W: RTPSEntity + HasQoSPolicy>(&self, writer: &W, topic: &Topic) -> Outlet {
        let options = self.options.shm(self.owner.shares(self.options));
        Outlet::new(&self.owner, writer.guid(), topic.name(), options, &writer.qos())
    }

    /// The QoS of the writer inside, where it shares: a DURABILITY that is not set RustDDS takes for one that serves late readers;
    /// in DDS it is VOLATILE.
    fn adjusted(&self, topic: &Topic, qos: Option<QosPolicies>) -> Option<QosPolicies> {
        let merged = merged(&self.inner.get_default_datawriter_qos(), topic, qos.as_ref());
        if !self.owner.shares(self.options) || merged.durability().is_some() {
            return qos;
        }
        let volatile = QosPolicyBuilder::new().durability(Durability::Volatile).build();
        Some(qos.unwrap_or_else(QosPolicies::qos_none).modify_by(&volatile))
    }
}

/// As RustDDS's: the same publisher, whatever options its clones have.
impl PartialEq for Publisher {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

/// As RustDDS's.
impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Subscriber {
    pub(crate) fn new(owner: Arc<Owner>, inner: rustdds::Subscriber, qos: QosPolicies) -> Self {
        let options = owner.options;
        Self { owner, inner, qos, options }
    }

    /// The same subscriber with other options, for the readers that are made by it from here on. What these do not set stays as it is
    /// here; of a reader's options only [`Options::shm`] counts.
    #[must_use]
    pub fn with_options(&self, options: Options) -> Self {
        Self { options: options.over(self.options), ..self.clone() }
    }

    /// The same subscriber for readers that do not use shared memory.
    #[must_use]
    pub fn without_shm(&self) -> Self {
        self.with_options(Options::default().shm(false))
    }

    /// What readers of this subscriber are made with; what is not set has its default.
    #[must_use]
    pub const fn options(&self) -> Options {
        self.options
    }

    /// As RustDDS's `participant`.
    #[must_use]
    pub fn participant(&self) -> Option<DomainParticipant> {
        self.inner.participant()
    }

    /// RustDDS's subscriber, for what is not about readers.
    #[must_use]
    pub const fn rustdds(&self) -> &rustdds::Subscriber {
        &self.inner
    }

    /// As RustDDS's `create_datareader_no_key_cdr`.
    ///
    /// # Errors
    /// As there.
    pub fn create_datareader_no_key_cdr<D: DeserializeOwned + 'static>(
        &self,
        topic: &Topic,
        qos: Option<QosPolicies>,
    ) -> CreateResult<no_key::DataReader<D>> {
        let (appetite, qos) = self.appetite(topic, qos);
        let inner = self.inner.create_datareader_no_key(topic, qos)?;
        let intake = self.intake(&inner, topic, appetite);
        Ok(no_key::DataReader::new(inner, intake))
    }

    /// As RustDDS's `create_datareader_cdr`.
    ///
    /// # Errors
    /// As there.
    pub fn create_datareader_cdr<D>(
        &self,
        topic: &Topic,
        qos: Option<QosPolicies>,
    ) -> CreateResult<with_key::DataReader<D>>
    where
        D: Keyed + DeserializeOwned + 'static,
        D::K: DeserializeOwned,
    {
        let (appetite, qos) = self.appetite(topic, qos);
        let inner = self.inner.create_datareader(topic, qos)?;
        let intake = self.intake(&inner, topic, appetite);
        Ok(with_key::DataReader::new(inner, intake))
    }

    fn appetite(&self, topic: &Topic, qos: Option<QosPolicies>) -> (Appetite, Option<QosPolicies>) {
        let appetite = Appetite::of(&merged(&self.qos, topic, qos.as_ref()));
        let qos = if self.owner.shares(self.options) { appetite.adjusted(qos) } else { qos };
        (appetite, qos)
    }

    fn intake<R: RTPSEntity>(&self, reader: &R, topic: &Topic, appetite: Appetite) -> Intake {
        let shared = self.owner.shares(self.options).then(|| TopicHash::of(&topic.name()));
        Intake::new(&self.owner, &reader.guid(), shared, appetite)
    }
}

/// What RustDDS makes an endpoint with: what is said last counts.
fn merged(default: &QosPolicies, topic: &Topic, qos: Option<&QosPolicies>) -> QosPolicies {
    let merged = default.modify_by(&topic.qos());
    qos.map_or_else(|| merged.clone(), |qos| merged.modify_by(qos))
}
