//! What readers of both kinds leave to the reader of RustDDS inside: who they are, their QoS, and when to look.

/// Implements for `DataReader<D>`, whose values are of the given bound, what its field `inner` does.
macro_rules! delegate_reader {
    ($($bound:tt)+) => {
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

        impl<D: $($bound)+> rustdds::mio1::event::Source for DataReader<D> {
            fn register(
                &mut self,
                registry: &rustdds::mio1::Registry,
                token: rustdds::mio1::Token,
                interests: rustdds::mio1::Interest,
            ) -> std::io::Result<()> {
                rustdds::mio1::event::Source::register(&mut self.inner, registry, token, interests)
            }

            fn reregister(
                &mut self,
                registry: &rustdds::mio1::Registry,
                token: rustdds::mio1::Token,
                interests: rustdds::mio1::Interest,
            ) -> std::io::Result<()> {
                rustdds::mio1::event::Source::reregister(&mut self.inner, registry, token, interests)
            }

            fn deregister(&mut self, registry: &rustdds::mio1::Registry) -> std::io::Result<()> {
                rustdds::mio1::event::Source::deregister(&mut self.inner, registry)
            }
        }

        impl<D: $($bound)+> rustdds::mio::Evented for DataReader<D> {
            fn register(
                &self,
                poll: &rustdds::mio::Poll,
                token: rustdds::mio::Token,
                interest: rustdds::mio::Ready,
                options: rustdds::mio::PollOpt,
            ) -> std::io::Result<()> {
                rustdds::mio::Evented::register(&self.inner, poll, token, interest, options)
            }

            fn reregister(
                &self,
                poll: &rustdds::mio::Poll,
                token: rustdds::mio::Token,
                interest: rustdds::mio::Ready,
                options: rustdds::mio::PollOpt,
            ) -> std::io::Result<()> {
                rustdds::mio::Evented::reregister(&self.inner, poll, token, interest, options)
            }

            fn deregister(&self, poll: &rustdds::mio::Poll) -> std::io::Result<()> {
                rustdds::mio::Evented::deregister(&self.inner, poll)
            }
        }
    };
}

pub(crate) use delegate_reader;
