//! Endpoints of topics without a key.

use crate::adapter::SharedAdapter;
use crate::cdr::Frame;
use crate::delegate::{delegate_reader, delegate_writer, evented, source};
use crate::endpoints::Publisher;
use crate::intake::Intake;
use crate::loan::Loan;
use crate::payload::{Payload, Prepared};
use crate::posts::Post;
use crate::writer::{Carrier, Writer};
use crate::writing::{Outlet, Refused};
use ::bytes::Bytes;
use rustdds::dds::{ReadResult, WriteResult};
use rustdds::no_key::DataSample;
use rustdds::{ReadCondition, SampleIdentity, Timestamp, WriteOptions};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::sync::Arc;

type Inner = rustdds::no_key::DataWriter<Payload, Prepared>;

/// Writes samples; as RustDDS's `no_key::DataWriter`.
///
/// ```
/// use rustdds::{DomainParticipant, QosPolicyBuilder, Timestamp, TopicKind};
/// use serde::Serialize;
/// use std::time::Duration;
/// use zerodds_rustdds::{Config, ZeroDds};
///
/// #[derive(Debug, Serialize)]
/// struct Chunk {
///     number: u32,
///     #[serde(with = "zerodds_rustdds::bytes")]
///     data: bytes::Bytes,
/// }
///
/// # let domain = 1 + (std::process::id() % 100) as u16;
/// let qos = QosPolicyBuilder::new().reliable(rustdds::Duration::from_secs(1)).build();
/// let participant = DomainParticipant::new(domain)?;
/// let topic = participant.create_topic("chunks".into(), "Chunk".into(), &qos, TopicKind::NoKey)?;
///
/// let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// let writer = zerodds.create_publisher(&qos)?.create_datawriter_no_key_cdr::<Chunk>(&topic, None)?;
/// writer.write(Chunk { number: 1, data: vec![0; 1 << 20].into() }, None)?;
/// // Filled where readers will read it.
/// let mut loan = writer.loan(1 << 20, |data| Chunk { number: 2, data })?;
/// loan.fill(0xFF);
/// let published = writer.publish(loan, Some(Timestamp::now()))?;
/// assert_eq!(i64::from(published.sequence_number), 2);
/// // Whoever is matched has both.
/// assert!(writer.wait_for_acknowledgments(Duration::from_secs(1))?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The same in async code, and the rest of it:
///
/// ```
/// # use zerodds_rustdds::{Config, ZeroDds, msg::sensor_msgs::Image};
/// use rustdds::{DomainParticipant, QosPolicyBuilder, Timestamp, TopicDescription, TopicKind, WriteOptions};
/// # let domain = 1 + (std::process::id() % 100) as u16;
/// # // A bound against hanging, nothing else.
/// # std::thread::spawn(|| {
/// #     std::thread::sleep(std::time::Duration::from_secs(60));
/// #     std::process::exit(1)
/// # });
/// # let qos = QosPolicyBuilder::new().reliable(rustdds::Duration::from_secs(1)).build();
/// # let participant = DomainParticipant::new(domain)?;
/// # let topic = participant.create_topic("images".into(), Image::TYPE_NAME.into(), &qos, TopicKind::NoKey)?;
/// # let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// # let writer = zerodds.create_publisher(&qos)?.create_datawriter_no_key_cdr::<Image>(&topic, None)?;
/// # futures::executor::block_on(async {
/// let image = |data| Image { width: 640, height: 480, step: 640, data, ..Image::default() };
/// writer.async_write(image(vec![0; 640 * 480].into()), None).await?;
/// let loan = writer.async_loan(640 * 480, image).await?;
/// writer.async_publish(loan, None).await?;
/// // The same with RustDDS's options.
/// let options = WriteOptions::from(Some(Timestamp::now()));
/// let data = vec![0; 640 * 480];
/// writer.async_write_with_options(image(data.clone().into()), options.clone()).await?;
/// writer.async_publish_with_options(writer.async_loan(640 * 480, image).await?, options.clone()).await?;
/// writer.write_with_options(image(data.into()), options.clone())?;
/// let last = writer.publish_with_options(writer.loan(640 * 480, image)?, options)?;
/// assert_eq!(i64::from(last.sequence_number), 6);
/// assert!(writer.async_wait_for_acknowledgments().await?);
///
/// // For a LIVELINESS that is said by hand.
/// writer.assert_liveliness()?;
/// assert_eq!(writer.topic().name(), "images");
/// assert_eq!(writer.publisher().participant(), Some(participant));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DataWriter<D> {
    writer: Writer<Inner>,
    publisher: Publisher,
    type_: PhantomData<fn(D)>,
}

impl Carrier for Inner {
    type Key = ();

    /// There is one only.
    fn instance((): &()) -> u64 {
        0
    }

    fn carry_blocking(&self, post: Post, _: &(), options: WriteOptions) -> Result<SampleIdentity, Refused> {
        Ok(self.write_with_options(post.payload, options)?)
    }

    async fn carry(&self, post: Post, _: &(), options: WriteOptions) -> Result<SampleIdentity, Refused> {
        Ok(self.async_write_with_options(post.payload, options).await?)
    }
}

impl<D: Serialize> DataWriter<D> {
    pub(crate) fn new(inner: Inner, outlet: Outlet, publisher: Publisher) -> Self {
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
        self.writer.write(&data, &(), &options).map_err(|refused| refused.with(data))
    }

    /// Writes a sample without ever blocking the executor's thread.
    ///
    /// A future that is dropped before it is ready may have reached some participants and not others, where these get the sample in
    /// different ways: see docs/qos.md, mixed topics.
    ///
    /// ```no_run
    /// # use rustdds::{DomainParticipant, QosPolicyBuilder, TopicKind};
    /// # use zerodds_rustdds::{Config, ZeroDds, msg::sensor_msgs::Image};
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// # let qos = QosPolicyBuilder::new().build();
    /// # let participant = DomainParticipant::new(0)?;
    /// # let zerodds = ZeroDds::attach(&participant, Config::default())?;
    /// # let topic = participant.create_topic("images".into(), Image::TYPE_NAME.into(), &qos, TopicKind::NoKey)?;
    /// # let writer = zerodds.create_publisher(&qos)?.create_datawriter_no_key_cdr::<Image>(&topic, None)?;
    /// writer.async_write(Image::default(), None).await.map_err(|error| error.to_string())?;
    /// # Ok(())
    /// # }
    /// ```
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
        let outcome = self.writer.write_async(&data, &(), &options).await;
        outcome.map_err(|refused| refused.with(data))
    }

    /// Lends memory for `len` bytes of a sample's data, to be filled in place: no copy is made of it on its way to
    /// any reader on this host. `sample` builds the sample around `data`, which stands for it.
    ///
    /// `data` has neither the content nor the length that the field will have; compute what depends on the length
    /// from `len`. It must go into a field with `#[serde(with = "zerodds_rustdds::bytes")]`.
    ///
    /// # Errors
    /// `WouldBlock` where there is no room until max_blocking_time has passed; `Serialization` where the sample does
    /// not hold `data`.
    ///
    /// ```
    /// # use rustdds::{DomainParticipant, QosPolicyBuilder, TopicKind};
    /// use zerodds_rustdds::msg::sensor_msgs::Image;
    /// # use zerodds_rustdds::{Config, ZeroDds};
    /// # let domain = 1 + (std::process::id() % 100) as u16;
    /// # let qos = QosPolicyBuilder::new().build();
    /// # let participant = DomainParticipant::new(domain)?;
    /// # let topic = participant.create_topic("images".into(), Image::TYPE_NAME.into(), &qos, TopicKind::NoKey)?;
    /// # let zerodds = ZeroDds::attach(&participant, Config::default())?;
    /// # let writer = zerodds.create_publisher(&qos)?.create_datawriter_no_key_cdr::<Image>(&topic, None)?;
    /// let (width, height) = (640, 480);
    /// let frame = |data| Image { width, height, step: 3 * width, encoding: "rgb8".into(), data, ..Image::default() };
    /// let mut loan = writer.loan((3 * width * height) as usize, frame).map_err(|error| error.to_string())?;
    /// loan.fill(0x80);
    /// writer.publish(loan, None).map_err(|error| error.to_string())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn loan(&self, len: usize, sample: impl FnOnce(Bytes) -> D) -> WriteResult<Loan<D>, ()> {
        let frame = Frame::around(len, sample).map_err(|error| Refused::from(error).with(()))?;
        let loan = self.writer.loan(&frame, &());
        let parcel = loan.map_err(|refused| refused.with(()))?;
        Loan::new(parcel, &frame, ()).map_err(|error| Refused::from(error).with(()))
    }

    /// As [`loan`](Self::loan), without ever blocking the executor's thread.
    ///
    /// ```no_run
    /// # use rustdds::{DomainParticipant, QosPolicyBuilder, TopicKind};
    /// # use zerodds_rustdds::{Config, ZeroDds, msg::sensor_msgs::Image};
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// # let qos = QosPolicyBuilder::new().build();
    /// # let participant = DomainParticipant::new(0)?;
    /// # let zerodds = ZeroDds::attach(&participant, Config::default())?;
    /// # let topic = participant.create_topic("images".into(), Image::TYPE_NAME.into(), &qos, TopicKind::NoKey)?;
    /// # let writer = zerodds.create_publisher(&qos)?.create_datawriter_no_key_cdr::<Image>(&topic, None)?;
    /// let frame = |data| Image { width: 640, height: 480, step: 640, data, ..Image::default() };
    /// let mut loan = writer.async_loan(640 * 480, frame).await.map_err(|error| error.to_string())?;
    /// loan.fill(0x80);
    /// writer.async_publish(loan, None).await.map_err(|error| error.to_string())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As there.
    pub async fn async_loan(&self, len: usize, sample: impl FnOnce(Bytes) -> D) -> WriteResult<Loan<D>, ()> {
        let frame = Frame::around(len, sample).map_err(|error| Refused::from(error).with(()))?;
        let loan = self.writer.loan_async(&frame, &()).await;
        let parcel = loan.map_err(|refused| refused.with(()))?;
        Loan::new(parcel, &frame, ()).map_err(|error| Refused::from(error).with(()))
    }

    /// Publishes a sample that was filled in place.
    ///
    /// # Errors
    /// As [`write`](Self::write). `WouldBlock` gives the loan back, to be published again: with its data, though not always
    /// in the ring any more.
    pub fn publish(
        &self,
        loan: Loan<D>,
        source_timestamp: Option<Timestamp>,
    ) -> WriteResult<SampleIdentity, Loan<D>> {
        self.publish_with_options(loan, WriteOptions::from(source_timestamp))
    }

    /// As [`publish`](Self::publish), with options.
    ///
    /// # Errors
    /// As there.
    pub fn publish_with_options(
        &self,
        loan: Loan<D>,
        options: WriteOptions,
    ) -> WriteResult<SampleIdentity, Loan<D>> {
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
        loan: Loan<D>,
        source_timestamp: Option<Timestamp>,
    ) -> WriteResult<SampleIdentity, Loan<D>> {
        self.async_publish_with_options(loan, WriteOptions::from(source_timestamp)).await
    }

    /// As [`async_publish`](Self::async_publish), with options.
    ///
    /// # Errors
    /// As there.
    pub async fn async_publish_with_options(
        &self,
        loan: Loan<D>,
        options: WriteOptions,
    ) -> WriteResult<SampleIdentity, Loan<D>> {
        let (memory, shell) = loan.into_parts();
        let outcome = self.writer.publish_filled_async(memory, &shell.key, &options).await;
        outcome.map_err(|unwritten| shell.refused(unwritten))
    }
}

delegate_writer!();

/// Reads samples; as RustDDS's `no_key::DataReader`.
///
/// ```
/// use futures::StreamExt;
/// use futures::executor::block_on;
/// use rustdds::{DomainParticipant, QosPolicyBuilder, ReadCondition, StatusEvented, TopicKind, policy};
/// use std::time::Duration;
/// use zerodds_rustdds::msg::sensor_msgs::Image;
/// use zerodds_rustdds::{Config, ZeroDds};
///
/// # let domain = 1 + (std::process::id() % 100) as u16;
/// # // A bound against hanging, nothing else.
/// # std::thread::spawn(|| {
/// #     std::thread::sleep(std::time::Duration::from_secs(60));
/// #     std::process::exit(1)
/// # });
/// let history = policy::History::KeepLast { depth: 4 };
/// let qos = QosPolicyBuilder::new().reliable(rustdds::Duration::from_secs(1)).history(history).build();
/// let participant = DomainParticipant::new(domain)?;
/// let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// let topic = participant.create_topic("images-read".into(), Image::TYPE_NAME.into(), &qos, TopicKind::NoKey)?;
/// let subscriber = zerodds.create_subscriber(&qos)?;
/// let mut reader = subscriber.create_datareader_no_key_cdr::<Image>(&topic, None)?;
/// let second = subscriber.create_datareader_no_key_cdr::<Image>(&topic, None)?;
/// let writer = zerodds.create_publisher(&qos)?.create_datawriter_no_key_cdr::<Image>(&topic, None)?;
/// // The first that the writer says of itself: it has found both readers.
/// block_on(writer.as_async_status_stream().take(2).count());
/// let image = |height| Image { height, data: vec![0; 100_000].into(), ..Image::default() };
/// for height in 1..=4 {
///     writer.write(image(height), None)?;
/// }
/// assert!(writer.wait_for_acknowledgments(Duration::from_secs(5))?);
///
/// // What is read stays.
/// let first = reader.read_next_sample()?.ok_or("no sample")?;
/// println!("{} bytes from {:?}", first.value().data.len(), first.sample_info().writer_guid());
/// assert_eq!(reader.read(16, ReadCondition::not_read())?.len(), 3);
/// assert_eq!(reader.conditional_iterator(ReadCondition::any())?.map(|image| image.height).sum::<u32>(), 10);
/// assert_eq!(reader.iterator()?.count(), 0, "all were read");
///
/// // What is taken is gone.
/// assert_eq!(reader.take(1, ReadCondition::any())?[0].value().height, 1);
/// assert!(reader.take_next_sample()?.is_none(), "all were read");
/// assert_eq!(reader.into_conditional_iterator(ReadCondition::any())?.count(), 3);
/// writer.write(image(5), None)?;
/// assert!(writer.wait_for_acknowledgments(Duration::from_secs(5))?);
/// assert_eq!(reader.into_iterator()?.map(|image| image.height).collect::<Vec<_>>(), [5]);
///
/// // And as they come: samples, or their values alone.
/// writer.write(image(6), None)?;
/// let mut images = reader.async_bare_sample_stream();
/// assert_eq!(block_on(images.next()).ok_or("no end")??.height, 6);
/// let mut samples = second.async_sample_stream();
/// println!("from {:?}", block_on(samples.next()).ok_or("no end")??.sample_info().writer_guid());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DataReader<D: DeserializeOwned + 'static> {
    inner: rustdds::no_key::DataReader<D, SharedAdapter<D>>,
    intake: Intake,
}

impl<D: DeserializeOwned + 'static> DataReader<D> {
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
    pub fn iterator(&mut self) -> ReadResult<impl Iterator<Item = &D>> {
        self.conditional_iterator(ReadCondition::not_read())
    }

    /// As RustDDS's `conditional_iterator`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn conditional_iterator(&mut self, condition: ReadCondition) -> ReadResult<impl Iterator<Item = &D>> {
        Ok(self.read(usize::MAX, condition)?.into_iter().map(DataSample::into_value))
    }

    /// As RustDDS's `into_iterator`.
    ///
    /// # Errors
    /// As there.
    pub fn into_iterator(&mut self) -> ReadResult<impl Iterator<Item = D> + use<D>> {
        self.into_conditional_iterator(ReadCondition::not_read())
    }

    /// As RustDDS's `into_conditional_iterator`.
    ///
    /// # Errors
    /// As there.
    pub fn into_conditional_iterator(
        &mut self,
        condition: ReadCondition,
    ) -> ReadResult<impl Iterator<Item = D> + use<D>> {
        Ok(self.take(usize::MAX, condition)?.into_iter().map(DataSample::into_value))
    }
}

/// Samples as they come; as RustDDS's `DataReaderStream`. It is endless.
///
/// ```
/// # use rustdds::{DomainParticipant, QosPolicyBuilder, TopicKind};
/// # use zerodds_rustdds::{Config, ZeroDds, msg::sensor_msgs::Image};
/// use futures::StreamExt;
/// use futures::executor::block_on;
/// use rustdds::StatusEvented;
/// # let domain = 1 + (std::process::id() % 100) as u16;
/// # // A bound against hanging, nothing else.
/// # std::thread::spawn(|| {
/// #     std::thread::sleep(std::time::Duration::from_secs(60));
/// #     std::process::exit(1)
/// # });
/// # let qos = QosPolicyBuilder::new().reliable(rustdds::Duration::from_secs(1)).build();
/// # let participant = DomainParticipant::new(domain)?;
/// # let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// # let topic = participant.create_topic("images-streamed".into(), Image::TYPE_NAME.into(), &qos, TopicKind::NoKey)?;
/// let reader = zerodds.create_subscriber(&qos)?.create_datareader_no_key_cdr::<Image>(&topic, None)?;
/// let writer = zerodds.create_publisher(&qos)?.create_datawriter_no_key_cdr::<Image>(&topic, None)?;
/// let mut images = reader.async_sample_stream();
/// // What becomes of the reader comes in a stream of its own: here that it has found the writer.
/// let mut events = images.async_event_stream();
/// println!("{:?}", block_on(events.next()));
/// // The writer has found the reader too, so that the reader gets what is written from now on.
/// block_on(writer.as_async_status_stream().next());
/// writer.write(Image { height: 480, data: vec![0; 640 * 480].into(), ..Image::default() }, None)?;
/// let image = block_on(images.next()).ok_or("no end")??;
/// println!("{} bytes from {:?}", image.value().data.len(), image.sample_info().writer_guid());
/// assert_eq!(image.value().height, 480);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DataReaderStream<D: DeserializeOwned + 'static> {
    inner: rustdds::no_key::DataReaderStream<D, SharedAdapter<D>>,
    intake: Intake,
}

/// Values as they come; as RustDDS's `BareDataReaderStream`. It is endless.
///
/// ```
/// # use rustdds::{DomainParticipant, QosPolicyBuilder, TopicKind};
/// # use zerodds_rustdds::{Config, ZeroDds, msg::sensor_msgs::Image};
/// use futures::StreamExt;
/// use futures::executor::block_on;
/// use rustdds::StatusEvented;
/// # let domain = 1 + (std::process::id() % 100) as u16;
/// # // A bound against hanging, nothing else.
/// # std::thread::spawn(|| {
/// #     std::thread::sleep(std::time::Duration::from_secs(60));
/// #     std::process::exit(1)
/// # });
/// # let qos = QosPolicyBuilder::new().reliable(rustdds::Duration::from_secs(1)).build();
/// # let participant = DomainParticipant::new(domain)?;
/// # let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// # let topic = participant.create_topic("images-bare".into(), Image::TYPE_NAME.into(), &qos, TopicKind::NoKey)?;
/// let reader = zerodds.create_subscriber(&qos)?.create_datareader_no_key_cdr::<Image>(&topic, None)?;
/// let writer = zerodds.create_publisher(&qos)?.create_datawriter_no_key_cdr::<Image>(&topic, None)?;
/// let mut images = reader.async_bare_sample_stream();
/// println!("{:?}", block_on(images.async_event_stream().next()));
/// // The writer has found the reader too, so that the reader gets what is written from now on.
/// block_on(writer.as_async_status_stream().next());
/// writer.write(Image { height: 480, data: vec![0; 640 * 480].into(), ..Image::default() }, None)?;
/// assert_eq!(block_on(images.next()).ok_or("no end")??.height, 480);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BareDataReaderStream<D: DeserializeOwned + 'static>(DataReaderStream<D>);

delegate_reader!(no_key, D, DeserializeOwned + 'static);
