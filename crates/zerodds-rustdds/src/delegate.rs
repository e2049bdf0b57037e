//! What endpoints of both kinds have in common: all that they leave to the endpoint of RustDDS inside, and the streams.
//!
//! They are types of RustDDS's modules `no_key` and `with_key`, which have the same names, and no trait says so.

/// Implements for `DataWriter<D>`, whose samples are of the given bound, what its carrier does.
macro_rules! delegate_writer {
    ($($bound:ident)?) => {
        /// The name that RustDDS gives to writers of CDR: see [`DataWriter`].
        ///
        /// ```
        /// # use zerodds_rustdds::msg::sensor_msgs::Image;
        /// struct Camera {
        ///     images: zerodds_rustdds::no_key::DataWriterCdr<Image>,
        /// }
        /// ```
        pub type DataWriterCdr<D> = DataWriter<D>;

        impl<D $(: $bound)?> DataWriter<D> {
            /// As RustDDS's `wait_for_acknowledgments`: that samples have reached their readers' caches.
            ///
            /// # Errors
            /// As there.
            pub fn wait_for_acknowledgments(&self, max_wait: std::time::Duration) -> WriteResult<bool, ()> {
                self.writer.carrier.wait_for_acknowledgments(max_wait)
            }

            /// As RustDDS's `async_wait_for_acknowledgments`.
            ///
            /// # Errors
            /// As there.
            pub async fn async_wait_for_acknowledgments(&self) -> WriteResult<bool, ()> {
                self.writer.carrier.async_wait_for_acknowledgments().await
            }

            /// Waits until the applications of all readers that are reliable, keep all and share memory with this writer have taken what
            /// was written before, or will never be given it; for `max_wait` at most, and for nobody where the writer is best effort.
            /// Whether they have. Of what was written before memory was shared with a reader nothing is known, and it counts as taken:
            /// [`ZeroDds::paths`](crate::ZeroDds::paths) tells.
            ///
            /// For whoever leaves: an acknowledgement says that a sample has reached a reader's participant, and once a writer is gone
            /// RustDDS gives its reliable readers no more of what they have acknowledged and not yet taken.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use zerodds_rustdds::no_key::DataWriter;
            /// # fn leave(writer: DataWriter<String>) {
            /// if !writer.wait_until_taken(Duration::from_secs(5)) {
            ///     eprintln!("somebody has not read all of it");
            /// }
            /// drop(writer);
            /// # }
            /// ```
            #[must_use]
            pub fn wait_until_taken(&self, max_wait: std::time::Duration) -> bool {
                self.writer.wait_until_taken(crate::waiting::after(max_wait))
            }

            /// As [`wait_until_taken`](Self::wait_until_taken), without blocking the executor.
            ///
            /// ```
            /// # use std::time::Duration;
            /// # use zerodds_rustdds::no_key::DataWriter;
            /// # async fn leave(writer: DataWriter<String>) {
            /// let is_taken = writer.async_wait_until_taken(Duration::from_secs(5)).await;
            /// # let _ = is_taken;
            /// # }
            /// ```
            pub async fn async_wait_until_taken(&self, max_wait: std::time::Duration) -> bool {
                self.writer.wait_until_taken_async(crate::waiting::after(max_wait)).await
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
            pub fn topic(&self) -> &rustdds::Topic {
                self.writer.carrier.topic()
            }

            /// The publisher that made this writer, with the options that it had then.
            #[must_use]
            pub const fn publisher(&self) -> &crate::Publisher {
                &self.publisher
            }
        }

        impl<D $(: $bound)?> rustdds::RTPSEntity for DataWriter<D> {
            fn guid(&self) -> rustdds::GUID {
                self.writer.carrier.guid()
            }
        }

        impl<D $(: $bound)?> rustdds::qos::HasQoSPolicy for DataWriter<D> {
            fn qos(&self) -> rustdds::QosPolicies {
                self.writer.carrier.qos()
            }
        }

        impl<'a, D $(: $bound)?>
            rustdds::StatusEvented<
                'a,
                rustdds::DataWriterStatus,
                rustdds::dds::statusevents::StatusReceiverStream<'a, rustdds::DataWriterStatus>,
            > for DataWriter<D>
        {
            fn as_status_evented(&mut self) -> &dyn rustdds::mio::Evented {
                self.writer.carrier.as_status_evented()
            }

            #[cfg(feature = "mio_08")]
            fn as_status_source(&mut self) -> &mut dyn mio_08::event::Source {
                self.writer.carrier.as_status_source()
            }

            fn as_status_source_mio1(&mut self) -> &mut dyn rustdds::mio1::event::Source {
                self.writer.carrier.as_status_source_mio1()
            }

            fn as_async_status_stream(
                &'a self,
            ) -> rustdds::dds::statusevents::StatusReceiverStream<'a, rustdds::DataWriterStatus> {
                self.writer.carrier.as_async_status_stream()
            }

            fn try_recv_status(&self) -> Option<rustdds::DataWriterStatus> {
                self.writer.carrier.try_recv_status()
            }
        }
    };
}

/// Implements for `DataReader<D>`, whose samples are of the given bound, what its field `inner` does, and for its streams what
/// theirs do: of samples, and of their values, which are of the given type.
macro_rules! delegate_reader {
    ($kind:ident, $value:ty, $($bound:tt)+) => {
        /// The name that RustDDS gives to readers of CDR: see [`DataReader`].
        ///
        /// ```
        /// # use zerodds_rustdds::msg::sensor_msgs::Image;
        /// struct Screen {
        ///     images: zerodds_rustdds::no_key::DataReaderCdr<Image>,
        /// }
        /// ```
        pub type DataReaderCdr<D> = DataReader<D>;

        impl<D: $($bound)+> DataReader<D> {
            pub(crate) const fn new(
                inner: rustdds::$kind::DataReader<D, SharedAdapter<D>>,
                intake: Intake,
            ) -> Self {
                Self { inner, intake }
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

        impl<'a, D: $($bound)+>
            rustdds::StatusEvented<
                'a,
                rustdds::DataReaderStatus,
                rustdds::$kind::SimpleDataReaderEventStream<'a, D, SharedAdapter<D>>,
            > for DataReader<D>
        {
            fn as_status_evented(&mut self) -> &dyn rustdds::mio::Evented {
                self.inner.as_status_evented()
            }

            #[cfg(feature = "mio_08")]
            fn as_status_source(&mut self) -> &mut dyn mio_08::event::Source {
                self.inner.as_status_source()
            }

            fn as_status_source_mio1(&mut self) -> &mut dyn rustdds::mio1::event::Source {
                self.inner.as_status_source_mio1()
            }

            fn as_async_status_stream(
                &'a self,
            ) -> rustdds::$kind::SimpleDataReaderEventStream<'a, D, SharedAdapter<D>> {
                self.inner.as_async_status_stream()
            }

            fn try_recv_status(&self) -> Option<rustdds::DataReaderStatus> {
                self.inner.try_recv_status()
            }
        }

        impl<D: $($bound)+> DataReaderStream<D> {
            /// As RustDDS's `async_event_stream`.
            #[must_use]
            pub fn async_event_stream(&self) -> rustdds::$kind::DataReaderEventStream<D, SharedAdapter<D>> {
                self.intake.follow();
                self.inner.async_event_stream()
            }
        }

        impl<D: $($bound)+> Unpin for DataReaderStream<D> {}

        impl<D: $($bound)+> futures::Stream for DataReaderStream<D> {
            type Item = ReadResult<DataSample<D>>;

            fn poll_next(
                mut self: std::pin::Pin<&mut Self>,
                context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Self::Item>> {
                let Self { inner, intake } = &mut *self;
                intake.poll(|| std::pin::Pin::new(&mut *inner).poll_next(context), DataSample::sample_info)
            }
        }

        impl<D: $($bound)+> futures::stream::FusedStream for DataReaderStream<D> {
            fn is_terminated(&self) -> bool {
                self.inner.is_terminated()
            }
        }

        impl<D: $($bound)+> BareDataReaderStream<D> {
            /// As RustDDS's `async_event_stream`.
            #[must_use]
            pub fn async_event_stream(&self) -> rustdds::$kind::DataReaderEventStream<D, SharedAdapter<D>> {
                self.0.async_event_stream()
            }
        }

        impl<D: $($bound)+> Unpin for BareDataReaderStream<D> {}

        impl<D: $($bound)+> futures::Stream for BareDataReaderStream<D> {
            type Item = ReadResult<$value>;

            fn poll_next(
                mut self: std::pin::Pin<&mut Self>,
                context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Self::Item>> {
                let sample = std::pin::Pin::new(&mut self.0).poll_next(context);
                sample.map(|next| next.map(|sample| sample.map(DataSample::into_value)))
            }
        }

        impl<D: $($bound)+> futures::stream::FusedStream for BareDataReaderStream<D> {
            fn is_terminated(&self) -> bool {
                self.0.is_terminated()
            }
        }

        impl<D: $($bound)+> rustdds::RTPSEntity for DataReader<D> {
            fn guid(&self) -> rustdds::GUID {
                self.inner.guid()
            }
        }

        impl<D: $($bound)+> rustdds::qos::HasQoSPolicy for DataReader<D> {
            fn qos(&self) -> rustdds::QosPolicies {
                self.inner.qos()
            }
        }

        source!(rustdds::mio1, [D: $($bound)+] DataReader<D>, |reader| &mut reader.inner);
        #[cfg(feature = "mio_08")]
        source!(mio_08, [D: $($bound)+] DataReader<D>, |reader| &mut reader.inner);
        evented!([D: $($bound)+] DataReader<D>, |reader| &reader.inner);
    };
}

/// Makes a type a source of this mio, as what is polled of it is.
macro_rules! source {
    ($mio:path, [$($generics:tt)*] $type:ty, |$this:ident| $polled:expr) => {
        const _: () = {
            use $mio as mio;

            impl<$($generics)*> mio::event::Source for $type {
                fn register(
                    &mut self,
                    registry: &mio::Registry,
                    token: mio::Token,
                    interests: mio::Interest,
                ) -> std::io::Result<()> {
                    let $this = self;
                    mio::event::Source::register($polled, registry, token, interests)
                }

                fn reregister(
                    &mut self,
                    registry: &mio::Registry,
                    token: mio::Token,
                    interests: mio::Interest,
                ) -> std::io::Result<()> {
                    let $this = self;
                    mio::event::Source::reregister($polled, registry, token, interests)
                }

                fn deregister(&mut self, registry: &mio::Registry) -> std::io::Result<()> {
                    let $this = self;
                    mio::event::Source::deregister($polled, registry)
                }
            }
        };
    };
}

/// The same for mio 0.6.
macro_rules! evented {
    ([$($generics:tt)*] $type:ty, |$this:ident| $polled:expr) => {
        impl<$($generics)*> rustdds::mio::Evented for $type {
            fn register(
                &self,
                poll: &rustdds::mio::Poll,
                token: rustdds::mio::Token,
                interest: rustdds::mio::Ready,
                options: rustdds::mio::PollOpt,
            ) -> std::io::Result<()> {
                let $this = self;
                rustdds::mio::Evented::register($polled, poll, token, interest, options)
            }

            fn reregister(
                &self,
                poll: &rustdds::mio::Poll,
                token: rustdds::mio::Token,
                interest: rustdds::mio::Ready,
                options: rustdds::mio::PollOpt,
            ) -> std::io::Result<()> {
                let $this = self;
                rustdds::mio::Evented::reregister($polled, poll, token, interest, options)
            }

            fn deregister(&self, poll: &rustdds::mio::Poll) -> std::io::Result<()> {
                let $this = self;
                rustdds::mio::Evented::deregister($polled, poll)
            }
        }
    };
}

pub(crate) use {delegate_reader, delegate_writer, evented, source};
