//! Endpoints of topics without a key.

use crate::adapter::SharedAdapter;
use crate::cdr::Frame;
use crate::delegate::delegate_reader;
use crate::intake::Intake;
use crate::loan::Loan;
use crate::payload::{Payload, Prepared};
use crate::writer::{Carrier, Writer};
use crate::writing::{Outlet, Post, Refused};
use ::bytes::Bytes;
use futures::Stream;
use futures::stream::FusedStream;
use rustdds::dds::statusevents::StatusReceiverStream;
use rustdds::dds::{ReadResult, WriteResult};
use rustdds::mio1::event::Source;
use rustdds::no_key::{DataSample, SimpleDataReaderEventStream};
use rustdds::qos::HasQoSPolicy;
use rustdds::{
    DataReaderStatus, DataWriterStatus, GUID, Publisher, QosPolicies, RTPSEntity, ReadCondition,
    SampleIdentity, StatusEvented, Timestamp, Topic, WriteOptions,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

type Inner = rustdds::no_key::DataWriter<Payload, Prepared>;

/// Writes samples; as RustDDS's `no_key::DataWriter`.
///
/// ```
/// use rustdds::{DomainParticipant, QosPolicyBuilder, TopicKind};
/// use serde::Serialize;
/// use zerodds_rustdds::{Config, ZeroDds};
///
/// #[derive(Serialize)]
/// struct Chunk {
///     number: u32,
///     #[serde(with = "zerodds_rustdds::bytes")]
///     data: bytes::Bytes,
/// }
///
/// # let domain = 100 + (std::process::id() % 100) as u16;
/// let qos = QosPolicyBuilder::new().build();
/// let participant = DomainParticipant::new(domain)?;
/// let topic = participant.create_topic("chunks".into(), "Chunk".into(), &qos, TopicKind::NoKey)?;
///
/// let zerodds = ZeroDds::attach(&participant, Config::default())?;
/// let writer = zerodds.create_publisher(&qos)?.create_datawriter_no_key_cdr::<Chunk>(&topic, None)?;
/// writer.write(Chunk { number: 1, data: vec![0; 1 << 20].into() }, None).map_err(|error| error.to_string())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DataWriter<D> {
    writer: Writer<Inner>,
    type_: PhantomData<fn(D)>,
}

impl Carrier for Inner {
    type Key = ();

    fn carry_blocking(&self, post: Post, _: &(), options: WriteOptions) -> Result<SampleIdentity, Refused> {
        Ok(self.write_with_options(post.payload, options)?)
    }

    async fn carry(&self, post: Post, _: &(), options: WriteOptions) -> Result<SampleIdentity, Refused> {
        Ok(self.async_write_with_options(post.payload, options).await?)
    }
}

impl<D: Serialize> DataWriter<D> {
    pub(crate) fn new(inner: Inner, outlet: Outlet) -> Self {
        Self { writer: Writer { outlet: Arc::new(outlet), carrier: inner }, type_: PhantomData }
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
        self.writer.write(&data, NO_INSTANCE, &(), &options).map_err(|refused| refused.with(data))
    }

    /// Writes a sample without ever blocking the executor's thread.
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
        let outcome = self.writer.write_async(&data, NO_INSTANCE, &(), &options).await;
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
    /// # let domain = 100 + (std::process::id() % 100) as u16;
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
        let loan = self.writer.loan(&frame, NO_INSTANCE);
        let parcel = loan.map_err(|refused| refused.with(()))?;
        Loan::new(parcel, &frame, ()).map_err(|error| Refused::from(error).with(()))
    }

    /// As [`loan`](Self::loan), without ever blocking the executor's thread.
    ///
    /// # Errors
    /// As there.
    pub async fn async_loan(&self, len: usize, sample: impl FnOnce(Bytes) -> D) -> WriteResult<Loan<D>, ()> {
        let frame = Frame::around(len, sample).map_err(|error| Refused::from(error).with(()))?;
        let loan = self.writer.loan_async(&frame, NO_INSTANCE).await;
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
        let outcome = self.writer.publish_filled(memory, NO_INSTANCE, &shell.key, &options);
        outcome.map_err(|unwritten| shell.refused(unwritten))
    }

    /// As [`publish`](Self::publish), without ever blocking the executor's thread.
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
        let outcome = self.writer.publish_filled_async(memory, NO_INSTANCE, &shell.key, &options).await;
        outcome.map_err(|unwritten| shell.refused(unwritten))
    }
}

impl<D> DataWriter<D> {
    /// As RustDDS's `wait_for_acknowledgments`: that samples have reached their readers' caches.
    ///
    /// # Errors
    /// As there.
    pub fn wait_for_acknowledgments(&self, max_wait: Duration) -> WriteResult<bool, ()> {
        self.writer.carrier.wait_for_acknowledgments(max_wait)
    }

    /// As RustDDS's `async_wait_for_acknowledgments`.
    ///
    /// # Errors
    /// As there.
    pub async fn async_wait_for_acknowledgments(&self) -> WriteResult<bool, ()> {
        self.writer.carrier.async_wait_for_acknowledgments().await
    }

    /// As RustDDS's `assert_liveliness`.
    ///
    /// # Errors
    /// As there.
    pub fn assert_liveliness(&self) -> WriteResult<(), ()> {
        self.writer.carrier.assert_liveliness()
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        self.writer.carrier.topic()
    }

    /// RustDDS's publisher of this writer.
    #[must_use]
    pub fn publisher(&self) -> &Publisher {
        self.writer.carrier.publisher()
    }
}

impl<D> RTPSEntity for DataWriter<D> {
    fn guid(&self) -> GUID {
        self.writer.carrier.guid()
    }
}

impl<D> HasQoSPolicy for DataWriter<D> {
    fn qos(&self) -> QosPolicies {
        self.writer.carrier.qos()
    }
}

impl<'a, D> StatusEvented<'a, DataWriterStatus, StatusReceiverStream<'a, DataWriterStatus>>
    for DataWriter<D>
{
    fn as_status_evented(&mut self) -> &dyn rustdds::mio::Evented {
        self.writer.carrier.as_status_evented()
    }

    fn as_status_source_mio1(&mut self) -> &mut dyn Source {
        self.writer.carrier.as_status_source_mio1()
    }

    fn as_async_status_stream(&'a self) -> StatusReceiverStream<'a, DataWriterStatus> {
        self.writer.carrier.as_async_status_stream()
    }

    fn try_recv_status(&self) -> Option<DataWriterStatus> {
        self.writer.carrier.try_recv_status()
    }
}

/// Reads samples; as RustDDS's `no_key::DataReader`.
pub struct DataReader<D: DeserializeOwned + 'static> {
    inner: rustdds::no_key::DataReader<D, SharedAdapter<D>>,
    intake: Intake,
}

impl<D: DeserializeOwned + 'static> DataReader<D> {
    pub(crate) const fn new(inner: rustdds::no_key::DataReader<D, SharedAdapter<D>>, intake: Intake) -> Self {
        Self { inner, intake }
    }

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
    pub fn into_iterator(&mut self) -> ReadResult<impl Iterator<Item = D>> {
        self.into_conditional_iterator(ReadCondition::not_read())
    }

    /// As RustDDS's `into_conditional_iterator`.
    ///
    /// # Errors
    /// As there.
    pub fn into_conditional_iterator(
        &mut self,
        condition: ReadCondition,
    ) -> ReadResult<impl Iterator<Item = D>> {
        Ok(self.take(usize::MAX, condition)?.into_iter().map(DataSample::into_value))
    }

    /// As RustDDS's `async_sample_stream`.
    pub fn async_sample_stream(self) -> DataReaderStream<D> {
        DataReaderStream { inner: self.inner.async_sample_stream(), intake: self.intake }
    }

    /// As RustDDS's `async_bare_sample_stream`.
    pub fn async_bare_sample_stream(self) -> BareDataReaderStream<D> {
        BareDataReaderStream(self.async_sample_stream())
    }

    /// Takes over from RTPS what has come, so that reading finds no descriptor without a sample.
    fn fill(&mut self) -> ReadResult<()> {
        let Self { inner, intake } = self;
        intake.ask(|| inner.take(0, ReadCondition::any()).map(drop))
    }
}

delegate_reader!(DeserializeOwned + 'static);

impl<'a, D: DeserializeOwned + 'static>
    StatusEvented<'a, DataReaderStatus, SimpleDataReaderEventStream<'a, D, SharedAdapter<D>>>
    for DataReader<D>
{
    fn as_status_evented(&mut self) -> &dyn rustdds::mio::Evented {
        self.inner.as_status_evented()
    }

    fn as_status_source_mio1(&mut self) -> &mut dyn Source {
        self.inner.as_status_source_mio1()
    }

    fn as_async_status_stream(&'a self) -> SimpleDataReaderEventStream<'a, D, SharedAdapter<D>> {
        self.inner.as_async_status_stream()
    }

    fn try_recv_status(&self) -> Option<DataReaderStatus> {
        self.inner.try_recv_status()
    }
}

/// Samples as they come; as RustDDS's `no_key::DataReaderStream`.
pub struct DataReaderStream<D: DeserializeOwned + 'static> {
    inner: rustdds::no_key::DataReaderStream<D, SharedAdapter<D>>,
    intake: Intake,
}

impl<D: DeserializeOwned + 'static> DataReaderStream<D> {
    /// As RustDDS's `async_event_stream`.
    #[must_use]
    pub fn async_event_stream(&self) -> rustdds::no_key::DataReaderEventStream<D, SharedAdapter<D>> {
        self.inner.async_event_stream()
    }
}

impl<D: DeserializeOwned + 'static> Unpin for DataReaderStream<D> {}

impl<D: DeserializeOwned + 'static> Stream for DataReaderStream<D> {
    type Item = ReadResult<DataSample<D>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { inner, intake } = &mut *self;
        intake.poll(|| Pin::new(&mut *inner).poll_next(context), DataSample::sample_info)
    }
}

impl<D: DeserializeOwned + 'static> FusedStream for DataReaderStream<D> {
    fn is_terminated(&self) -> bool {
        self.inner.is_terminated()
    }
}

/// Values as they come; as RustDDS's `no_key::BareDataReaderStream`.
pub struct BareDataReaderStream<D: DeserializeOwned + 'static>(DataReaderStream<D>);

impl<D: DeserializeOwned + 'static> Unpin for BareDataReaderStream<D> {}

impl<D: DeserializeOwned + 'static> Stream for BareDataReaderStream<D> {
    type Item = ReadResult<D>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let sample = Pin::new(&mut self.0).poll_next(context);
        sample.map(|next| next.map(|sample| sample.map(DataSample::into_value)))
    }
}

impl<D: DeserializeOwned + 'static> FusedStream for BareDataReaderStream<D> {
    fn is_terminated(&self) -> bool {
        self.0.is_terminated()
    }
}

/// The hash of the only instance that there is.
const NO_INSTANCE: u64 = 0;
