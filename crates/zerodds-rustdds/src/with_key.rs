//! Endpoints of topics with a key.

use crate::adapter::SharedAdapter;
use crate::cdr::Frame;
use crate::delegate::{delegate_reader, delegate_writer, evented, source};
use crate::endpoints::Publisher;
use crate::intake::Intake;
use crate::loan::Loan;
use crate::payload::{KeyedPayload, PreparedWithKey};
use crate::posts::Post;
use crate::window::Numbers;
use crate::writer::{Carrier, Writer};
use crate::writing::{Outlet, Refused};
use ::bytes::Bytes;
use rustdds::dds::{ReadResult, WriteResult};
use rustdds::with_key::{DataSample, Sample};
use rustdds::{Key, Keyed, ReadCondition, SampleIdentity, SelectByKey, Timestamp, WriteOptions};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::sync::Arc;
use zerodds_core::fnv1a;

type Inner<K> = rustdds::with_key::DataWriter<KeyedPayload<K>, PreparedWithKey>;

/// What a keyed topic's readers need of its type. Every type that meets that is one.
///
/// ```
/// use rustdds::ReadCondition;
/// use rustdds::dds::ReadResult;
/// use zerodds_rustdds::with_key::{DataReader, Instance};
///
/// /// The keys of what has come, whatever the type.
/// fn keys<D: Instance>(reader: &mut DataReader<D>) -> ReadResult<Vec<D::K>> {
///     let samples = reader.read(usize::MAX, ReadCondition::any())?;
///     Ok(samples.iter().map(|sample| sample.key()).collect())
/// }
/// # use rustdds::{DomainParticipant, Keyed, QosPolicyBuilder, TopicKind};
/// # use zerodds_rustdds::{Config, ZeroDds};
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
/// # let topic = participant.create_topic("lifts".into(), "Lift".into(), &qos, TopicKind::WithKey)?;
/// # let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// let mut reader = zerodds.create_subscriber(&qos)?.create_datareader_cdr::<Lift>(&topic, None)?;
/// assert!(keys(&mut reader)?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Instance: Keyed<K: DeserializeOwned> + DeserializeOwned + 'static {}

impl<D: Keyed<K: DeserializeOwned> + DeserializeOwned + 'static> Instance for D {}

/// Writes samples of instances; as RustDDS's `with_key::DataWriter`.
///
/// ```
/// use rustdds::{DomainParticipant, Keyed, QosPolicyBuilder, Timestamp, TopicKind};
/// use serde::Serialize;
/// use std::time::Duration;
/// use zerodds_rustdds::{Config, ZeroDds};
///
/// #[derive(Debug, Serialize)]
/// struct Map {
///     floor: i32,
///     #[serde(with = "zerodds_rustdds::bytes")]
///     cells: bytes::Bytes,
/// }
///
/// impl Keyed for Map {
///     type K = i32;
///     fn key(&self) -> i32 {
///         self.floor
///     }
/// }
///
/// # let domain = 1 + (std::process::id() % 100) as u16;
/// let qos = QosPolicyBuilder::new().reliable(rustdds::Duration::from_secs(1)).build();
/// let participant = DomainParticipant::new(domain)?;
/// let topic = participant.create_topic("maps".into(), "Map".into(), &qos, TopicKind::WithKey)?;
///
/// let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// let writer = zerodds.create_publisher(&qos)?.create_datawriter_cdr::<Map>(&topic, None)?;
/// writer.write(Map { floor: 1, cells: vec![0; 1 << 20].into() }, None)?;
/// // Filled where readers will read it.
/// let mut loan = writer.loan(1 << 20, |cells| Map { floor: 2, cells })?;
/// loan.fill(0xFF);
/// let published = writer.publish(loan, Some(Timestamp::now()))?;
/// assert_eq!(i64::from(published.sequence_number), 2);
/// // There is no first floor any more.
/// writer.dispose(&1, None)?;
/// // Whoever is matched knows all that.
/// assert!(writer.wait_for_acknowledgments(Duration::from_secs(1))?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The same in async code, and the rest of it:
///
/// ```
/// # use serde::Serialize;
/// # use zerodds_rustdds::{Config, ZeroDds};
/// use rustdds::{DomainParticipant, Keyed, QosPolicyBuilder, Timestamp, TopicDescription, TopicKind, WriteOptions};
/// # #[derive(Debug, Serialize)]
/// # struct Map {
/// #     floor: i32,
/// #     #[serde(with = "zerodds_rustdds::bytes")]
/// #     cells: bytes::Bytes,
/// # }
/// #
/// # impl Keyed for Map {
/// #     type K = i32;
/// #     fn key(&self) -> i32 {
/// #         self.floor
/// #     }
/// # }
/// # let domain = 1 + (std::process::id() % 100) as u16;
/// # // A bound against hanging, nothing else.
/// # std::thread::spawn(|| {
/// #     std::thread::sleep(std::time::Duration::from_secs(60));
/// #     std::process::exit(1)
/// # });
/// # let qos = QosPolicyBuilder::new().reliable(rustdds::Duration::from_secs(1)).build();
/// # let participant = DomainParticipant::new(domain)?;
/// # let topic = participant.create_topic("maps-async".into(), "Map".into(), &qos, TopicKind::WithKey)?;
/// # let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// # let writer = zerodds.create_publisher(&qos)?.create_datawriter_cdr::<Map>(&topic, None)?;
/// # futures::executor::block_on(async {
/// let map = |cells| Map { floor: 1, cells };
/// writer.async_write(map(vec![0; 1 << 20].into()), None).await?;
/// let loan = writer.async_loan(1 << 20, map).await?;
/// writer.async_publish(loan, None).await?;
/// // The same with RustDDS's options.
/// let options = WriteOptions::from(Some(Timestamp::now()));
/// let cells = vec![0; 1 << 20];
/// writer.async_write_with_options(map(cells.clone().into()), options.clone()).await?;
/// writer.async_publish_with_options(writer.async_loan(1 << 20, map).await?, options.clone()).await?;
/// writer.write_with_options(map(cells.into()), options.clone())?;
/// let last = writer.publish_with_options(writer.loan(1 << 20, map)?, options)?;
/// assert_eq!(i64::from(last.sequence_number), 6);
/// assert!(writer.async_wait_for_acknowledgments().await?);
///
/// // For a LIVELINESS that is said by hand: of the participant, or of whatever kind.
/// writer.refresh_manual_liveliness();
/// writer.assert_liveliness()?;
/// assert_eq!(writer.topic().name(), "maps-async");
/// assert_eq!(writer.publisher().participant(), Some(participant));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DataWriter<D: Keyed> {
    writer: Writer<Inner<D::K>>,
    publisher: Publisher,
    type_: PhantomData<fn(D)>,
}

impl<K: Key> Carrier for Inner<K> {
    type Key = K;

    fn instance(key: &K) -> u64 {
        fnv1a(key.hash_key(false).to_vec())
    }

    fn carry_blocking(&self, post: Post, key: &K, options: WriteOptions) -> Result<SampleIdentity, Refused> {
        let value = KeyedPayload { payload: post.payload, key: key.clone() };
        Ok(self.write_with_options(value, options)?)
    }

    async fn carry(&self, post: Post, key: &K, options: WriteOptions) -> Result<SampleIdentity, Refused> {
        let value = KeyedPayload { payload: post.payload, key: key.clone() };
        Ok(self.async_write_with_options(value, options).await?)
    }
}

impl<D: Keyed + Serialize> DataWriter<D> {
    pub(crate) fn new(inner: Inner<D::K>, outlet: Outlet, publisher: Publisher) -> Self {
        let writer = Writer { outlet: Arc::new(outlet), carrier: inner };
        Self { writer, publisher, type_: PhantomData }
    }

    /// Writes a sample. A reliable writer waits up to max_blocking_time for readers.
    ///
    /// # Errors
    /// As RustDDS's `write`.
    pub fn write(&self, data: D, source_timestamp: Option<Timestamp>) -> WriteResult<(), D> {
        self.write_with_options(data, WriteOptions::from(source_timestamp)).map(drop)
    }

    /// Writes a sample with options.
    ///
    /// # Errors
    /// As RustDDS's `write_with_options`.
    pub fn write_with_options(&self, data: D, options: WriteOptions) -> WriteResult<SampleIdentity, D> {
        let key = data.key();
        self.writer.write(&data, &key, &options).map_err(|refused| refused.with(data))
    }

    /// Writes a sample without ever blocking the executor's thread.
    ///
    /// A future that is dropped before it is ready may have reached some participants and not others, where these get the sample in
    /// different ways: see docs/qos.md, mixed topics.
    ///
    /// # Errors
    /// As RustDDS's `async_write`.
    pub async fn async_write(&self, data: D, source_timestamp: Option<Timestamp>) -> WriteResult<(), D> {
        self.async_write_with_options(data, WriteOptions::from(source_timestamp)).await.map(drop)
    }

    /// As [`async_write`](Self::async_write), with options.
    ///
    /// # Errors
    /// As RustDDS's `async_write_with_options`.
    pub async fn async_write_with_options(
        &self,
        data: D,
        options: WriteOptions,
    ) -> WriteResult<SampleIdentity, D> {
        let key = data.key();
        let outcome = self.writer.write_async(&data, &key, &options).await;
        outcome.map_err(|refused| refused.with(data))
    }

    /// Lends memory for `len` bytes of a sample's data, to be filled in place: see
    /// [`no_key::DataWriter::loan`](crate::no_key::DataWriter::loan). The key is that of the sample that `sample`
    /// builds.
    ///
    /// # Errors
    /// As there.
    pub fn loan(&self, len: usize, sample: impl FnOnce(Bytes) -> D) -> WriteResult<Loan<D, D::K>, ()> {
        let (frame, key) = Self::frame(len, sample).map_err(|refused| refused.with(()))?;
        let parcel = self.writer.loan(&frame, &key).map_err(|refused| refused.with(()))?;
        Loan::new(parcel, &frame, key).map_err(|error| Refused::from(error).with(()))
    }

    /// As [`loan`](Self::loan), without ever blocking the executor's thread.
    ///
    /// # Errors
    /// As there.
    pub async fn async_loan(
        &self,
        len: usize,
        sample: impl FnOnce(Bytes) -> D,
    ) -> WriteResult<Loan<D, D::K>, ()> {
        let (frame, key) = Self::frame(len, sample).map_err(|refused| refused.with(()))?;
        let loan = self.writer.loan_async(&frame, &key).await;
        Loan::new(loan.map_err(|refused| refused.with(()))?, &frame, key)
            .map_err(|error| Refused::from(error).with(()))
    }

    /// Publishes a sample that was filled in place.
    ///
    /// # Errors
    /// As [`write`](Self::write). `WouldBlock` gives the loan back, to be published again: with its data, though not always
    /// in the ring any more.
    pub fn publish(
        &self,
        loan: Loan<D, D::K>,
        source_timestamp: Option<Timestamp>,
    ) -> WriteResult<SampleIdentity, Loan<D, D::K>> {
        self.publish_with_options(loan, WriteOptions::from(source_timestamp))
    }

    /// As [`publish`](Self::publish), with options.
    ///
    /// # Errors
    /// As there.
    pub fn publish_with_options(
        &self,
        loan: Loan<D, D::K>,
        options: WriteOptions,
    ) -> WriteResult<SampleIdentity, Loan<D, D::K>> {
        let (memory, shell) = loan.into_parts();
        let outcome = self.writer.publish_filled(memory, &shell.key, &options);
        outcome.map_err(|unwritten| shell.refused(unwritten))
    }

    /// As [`publish`](Self::publish), without ever blocking the executor's thread.
    ///
    /// A future that is dropped before it is ready may have reached some participants and not others, where these get the sample in
    /// different ways: see docs/qos.md, mixed topics.
    ///
    /// # Errors
    /// As there.
    pub async fn async_publish(
        &self,
        loan: Loan<D, D::K>,
        source_timestamp: Option<Timestamp>,
    ) -> WriteResult<SampleIdentity, Loan<D, D::K>> {
        self.async_publish_with_options(loan, WriteOptions::from(source_timestamp)).await
    }

    /// As [`async_publish`](Self::async_publish), with options.
    ///
    /// # Errors
    /// As there.
    pub async fn async_publish_with_options(
        &self,
        loan: Loan<D, D::K>,
        options: WriteOptions,
    ) -> WriteResult<SampleIdentity, Loan<D, D::K>> {
        let (memory, shell) = loan.into_parts();
        let outcome = self.writer.publish_filled_async(memory, &shell.key, &options).await;
        outcome.map_err(|unwritten| shell.refused(unwritten))
    }

    /// Disposes of an instance; as RustDDS's `dispose`. It always travels in RTPS, and waits for readers without room as a
    /// sample does. RustDDS then waits for its own limit by a clock of its own, and has no `dispose` that does not: up to
    /// max_blocking_time once more, also where [`WhenFull::Fail`](crate::WhenFull::Fail) is set.
    ///
    /// # Errors
    /// As there.
    pub fn dispose(&self, key: &D::K, source_timestamp: Option<Timestamp>) -> WriteResult<(), ()> {
        let outlet = &self.writer.outlet;
        let place = outlet.wait_for_place(outlet.deadline()).map_err(|refused| refused.with(()))?;
        let begun = outlet.begin_plain(place, None);
        let next = begun.next();
        self.writer.carrier.dispose(key, source_timestamp)?;
        begun.written(Numbers::one(next));
        Ok(())
    }

    fn frame(len: usize, sample: impl FnOnce(Bytes) -> D) -> Result<(Frame, D::K), Refused> {
        let mut key = None;
        let frame = Frame::around(len, |data| {
            let sample = sample(data);
            key = Some(sample.key());
            sample
        })?;
        key.map(|key| (frame, key)).ok_or_else(|| Refused::Internal("the sample was not built".into()))
    }
}

impl<D: Keyed> DataWriter<D> {
    /// As RustDDS's `refresh_manual_liveliness`; [`assert_liveliness`](Self::assert_liveliness) does that and more.
    pub fn refresh_manual_liveliness(&self) {
        self.writer.carrier.refresh_manual_liveliness();
    }
}

delegate_writer!(Keyed);

/// Reads samples of instances; as RustDDS's `with_key::DataReader`.
///
/// ```
/// use futures::StreamExt;
/// use futures::executor::block_on;
/// use rustdds::with_key::Sample;
/// use rustdds::{DomainParticipant, Keyed, QosPolicyBuilder, ReadCondition, SelectByKey, StatusEvented, TopicKind};
/// use serde::{Deserialize, Serialize};
/// use std::time::Duration;
/// use zerodds_rustdds::{Config, ZeroDds};
///
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Map {
///     floor: i32,
///     #[serde(with = "zerodds_rustdds::bytes")]
///     cells: bytes::Bytes,
/// }
///
/// impl Keyed for Map {
///     type K = i32;
///     fn key(&self) -> i32 {
///         self.floor
///     }
/// }
///
/// # let domain = 1 + (std::process::id() % 100) as u16;
/// # // A bound against hanging, nothing else.
/// # std::thread::spawn(|| {
/// #     std::thread::sleep(std::time::Duration::from_secs(60));
/// #     std::process::exit(1)
/// # });
/// let qos = QosPolicyBuilder::new().reliable(rustdds::Duration::from_secs(1)).build();
/// let participant = DomainParticipant::new(domain)?;
/// let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// let topic = participant.create_topic("maps-read".into(), "Map".into(), &qos, TopicKind::WithKey)?;
/// let subscriber = zerodds.create_subscriber(&qos)?;
/// let mut reader = subscriber.create_datareader_cdr::<Map>(&topic, None)?;
/// let second = subscriber.create_datareader_cdr::<Map>(&topic, None)?;
/// let writer = zerodds.create_publisher(&qos)?.create_datawriter_cdr::<Map>(&topic, None)?;
/// // The first that the writer says of itself: it has found both readers.
/// block_on(writer.as_async_status_stream().take(2).count());
/// for floor in 1..=4 {
///     writer.write(Map { floor, cells: vec![0; 100_000].into() }, None)?;
/// }
/// writer.dispose(&4, None)?;
/// assert!(writer.wait_for_acknowledgments(Duration::from_secs(5))?);
///
/// // What is read stays.
/// let first = reader.read_next_sample()?.ok_or("no sample")?;
/// println!("floor {} from {:?}", first.key(), first.sample_info().writer_guid());
/// for sample in reader.read(16, ReadCondition::not_read())? {
///     match sample.value() {
///         Sample::Value(map) => println!("floor {}: {} cells", map.floor, map.cells.len()),
///         Sample::Dispose(floor) => println!("floor {floor} is gone"),
///     }
/// }
/// assert_eq!(reader.iterator()?.count(), 0, "all were read");
/// let ends = reader.conditional_iterator(ReadCondition::any())?.filter(|sample| matches!(sample, Sample::Dispose(_)));
/// assert_eq!(ends.count(), 1);
///
/// // One instance: of this key, or of the next one that there is.
/// assert_eq!(reader.read_instance(16, ReadCondition::any(), Some(2), SelectByKey::This)?.len(), 1);
/// // What is taken is gone.
/// assert_eq!(reader.take_instance(16, ReadCondition::any(), Some(2), SelectByKey::Next)?[0].key(), 3);
/// assert_eq!(reader.take(1, ReadCondition::any())?[0].key(), 1);
/// assert!(reader.take_next_sample()?.is_none(), "all were read");
/// assert_eq!(reader.into_conditional_iterator(ReadCondition::any())?.count(), 2);
/// writer.write(Map { floor: 5, cells: vec![0; 100_000].into() }, None)?;
/// assert!(writer.wait_for_acknowledgments(Duration::from_secs(5))?);
/// let floors = reader.into_iterator()?.filter_map(Sample::value).map(|map| map.floor);
/// assert_eq!(floors.collect::<Vec<_>>(), [5]);
///
/// // And as they come: samples, or what they say alone.
/// writer.dispose(&5, None)?;
/// let mut changes = reader.async_bare_sample_stream();
/// assert!(matches!(block_on(changes.next()), Some(Ok(Sample::Dispose(5)))));
/// let mut samples = second.async_sample_stream();
/// println!("of floor {}", block_on(samples.next()).ok_or("no end")??.key());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DataReader<D: Instance> {
    inner: rustdds::with_key::DataReader<D, SharedAdapter<D>>,
    intake: Intake,
}

impl<D: Instance> DataReader<D> {
    /// As RustDDS's `read`.
    ///
    /// # Errors
    /// As there. In the rare case that a sample is superseded while it is read, it is an error to read again after.
    pub fn read(&mut self, max_samples: usize, condition: ReadCondition) -> ReadResult<Vec<DataSample<&D>>> {
        self.fill()?;
        let Self { inner, intake } = self;
        intake.ask_once(|| inner.read(max_samples, condition))
    }

    /// As RustDDS's `take`.
    ///
    /// # Errors
    /// As there.
    pub fn take(&mut self, max_samples: usize, condition: ReadCondition) -> ReadResult<Vec<DataSample<D>>> {
        let Self { inner, intake } = self;
        let taken = intake.ask(|| inner.take(max_samples, condition))?;
        intake.took(taken.iter().map(DataSample::sample_info));
        Ok(taken)
    }

    /// As RustDDS's `read_next_sample`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_next_sample(&mut self) -> ReadResult<Option<DataSample<&D>>> {
        Ok(self.read(1, ReadCondition::not_read())?.pop())
    }

    /// As RustDDS's `take_next_sample`.
    ///
    /// # Errors
    /// As there.
    pub fn take_next_sample(&mut self) -> ReadResult<Option<DataSample<D>>> {
        Ok(self.take(1, ReadCondition::not_read())?.pop())
    }

    /// As RustDDS's `iterator`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn iterator(&mut self) -> ReadResult<impl Iterator<Item = Sample<&D, D::K>>> {
        self.conditional_iterator(ReadCondition::not_read())
    }

    /// As RustDDS's `conditional_iterator`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn conditional_iterator(
        &mut self,
        condition: ReadCondition,
    ) -> ReadResult<impl Iterator<Item = Sample<&D, D::K>>> {
        Ok(self.read(usize::MAX, condition)?.into_iter().map(DataSample::into_value))
    }

    /// As RustDDS's `into_iterator`.
    ///
    /// # Errors
    /// As there.
    pub fn into_iterator(&mut self) -> ReadResult<impl Iterator<Item = Sample<D, D::K>> + use<D>> {
        self.into_conditional_iterator(ReadCondition::not_read())
    }

    /// As RustDDS's `into_conditional_iterator`.
    ///
    /// # Errors
    /// As there.
    pub fn into_conditional_iterator(
        &mut self,
        condition: ReadCondition,
    ) -> ReadResult<impl Iterator<Item = Sample<D, D::K>> + use<D>> {
        Ok(self.take(usize::MAX, condition)?.into_iter().map(DataSample::into_value))
    }

    /// As RustDDS's `read_instance`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_instance(
        &mut self,
        max_samples: usize,
        condition: ReadCondition,
        instance: Option<D::K>,
        this_or_next: SelectByKey,
    ) -> ReadResult<Vec<DataSample<&D>>> {
        self.fill()?;
        let Self { inner, intake } = self;
        intake.ask_once(|| inner.read_instance(max_samples, condition, instance, this_or_next))
    }

    /// As RustDDS's `take_instance`.
    ///
    /// # Errors
    /// As there.
    pub fn take_instance(
        &mut self,
        max_samples: usize,
        condition: ReadCondition,
        instance: Option<D::K>,
        this_or_next: SelectByKey,
    ) -> ReadResult<Vec<DataSample<D>>> {
        let Self { inner, intake } = self;
        let taken =
            intake.ask(|| inner.take_instance(max_samples, condition, instance.clone(), this_or_next))?;
        intake.took(taken.iter().map(DataSample::sample_info));
        Ok(taken)
    }
}

/// Samples and the ends of instances as they come; as RustDDS's `DataReaderStream`. It is endless.
///
/// ```
/// # use rustdds::{DomainParticipant, Keyed, QosPolicyBuilder, TopicKind};
/// # use serde::{Deserialize, Serialize};
/// # use zerodds_rustdds::{Config, ZeroDds};
/// use futures::StreamExt;
/// use futures::executor::block_on;
/// use rustdds::StatusEvented;
/// # #[derive(Debug, Serialize, Deserialize)]
/// # struct Map {
/// #     floor: i32,
/// #     #[serde(with = "zerodds_rustdds::bytes")]
/// #     cells: bytes::Bytes,
/// # }
/// #
/// # impl Keyed for Map {
/// #     type K = i32;
/// #     fn key(&self) -> i32 {
/// #         self.floor
/// #     }
/// # }
/// # let domain = 1 + (std::process::id() % 100) as u16;
/// # // A bound against hanging, nothing else.
/// # std::thread::spawn(|| {
/// #     std::thread::sleep(std::time::Duration::from_secs(60));
/// #     std::process::exit(1)
/// # });
/// # let qos = QosPolicyBuilder::new().reliable(rustdds::Duration::from_secs(1)).build();
/// # let participant = DomainParticipant::new(domain)?;
/// # let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// # let topic = participant.create_topic("maps-streamed".into(), "Map".into(), &qos, TopicKind::WithKey)?;
/// let reader = zerodds.create_subscriber(&qos)?.create_datareader_cdr::<Map>(&topic, None)?;
/// let writer = zerodds.create_publisher(&qos)?.create_datawriter_cdr::<Map>(&topic, None)?;
/// let mut maps = reader.async_sample_stream();
/// // What becomes of the reader comes in a stream of its own: here that it has found the writer.
/// let mut events = maps.async_event_stream();
/// println!("{:?}", block_on(events.next()));
/// // The writer has found the reader too, so that the reader gets what is written from now on.
/// block_on(writer.as_async_status_stream().next());
/// writer.write(Map { floor: 1, cells: vec![0; 1 << 20].into() }, None)?;
/// let map = block_on(maps.next()).ok_or("no end")??;
/// println!("floor {} from {:?}", map.key(), map.sample_info().writer_guid());
/// assert_eq!(map.into_value().value().ok_or("no value")?.cells.len(), 1 << 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DataReaderStream<D: Instance> {
    inner: rustdds::with_key::DataReaderStream<D, SharedAdapter<D>>,
    intake: Intake,
}

/// Values, and keys of instances that end, as they come; as RustDDS's `BareDataReaderStream`. It is endless.
///
/// ```
/// # use rustdds::{DomainParticipant, Keyed, QosPolicyBuilder, TopicKind};
/// # use serde::{Deserialize, Serialize};
/// # use zerodds_rustdds::{Config, ZeroDds};
/// use futures::StreamExt;
/// use futures::executor::block_on;
/// use rustdds::StatusEvented;
/// use rustdds::with_key::Sample;
/// # #[derive(Debug, Serialize, Deserialize)]
/// # struct Map {
/// #     floor: i32,
/// #     #[serde(with = "zerodds_rustdds::bytes")]
/// #     cells: bytes::Bytes,
/// # }
/// #
/// # impl Keyed for Map {
/// #     type K = i32;
/// #     fn key(&self) -> i32 {
/// #         self.floor
/// #     }
/// # }
/// # let domain = 1 + (std::process::id() % 100) as u16;
/// # // A bound against hanging, nothing else.
/// # std::thread::spawn(|| {
/// #     std::thread::sleep(std::time::Duration::from_secs(60));
/// #     std::process::exit(1)
/// # });
/// # let qos = QosPolicyBuilder::new().reliable(rustdds::Duration::from_secs(1)).build();
/// # let participant = DomainParticipant::new(domain)?;
/// # let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// # let topic = participant.create_topic("maps-bare".into(), "Map".into(), &qos, TopicKind::WithKey)?;
/// let reader = zerodds.create_subscriber(&qos)?.create_datareader_cdr::<Map>(&topic, None)?;
/// let writer = zerodds.create_publisher(&qos)?.create_datawriter_cdr::<Map>(&topic, None)?;
/// let mut maps = reader.async_bare_sample_stream();
/// println!("{:?}", block_on(maps.async_event_stream().next()));
/// // The writer has found the reader too, so that the reader gets what is written from now on.
/// block_on(writer.as_async_status_stream().next());
/// writer.write(Map { floor: 1, cells: vec![0; 1 << 20].into() }, None)?;
/// let map = block_on(maps.next()).ok_or("no end")??;
/// assert!(matches!(map, Sample::Value(Map { floor: 1, .. })), "{map:?}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BareDataReaderStream<D: Instance>(DataReaderStream<D>);

delegate_reader!(with_key, Sample<D, D::K>, Instance);
