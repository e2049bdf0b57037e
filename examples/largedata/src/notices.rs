//! What the zerodds crates say through `tracing`, shown to the person at the terminal.
//!
//! Only their own messages: which path a peer is on and why, which limit was met and which setting raises it. They say a
//! thing once and say it again where it is so again, such as a return to shared memory; so all is shown. Dust DDS wraps every call in a span; those are refused where they are declared, so they
//! cost one comparison. A subscriber of the `tracing-subscriber` crate would do more than is wanted here.

use std::fmt;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

/// How much a message deserves attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// A peer is served through shared memory, as it should be.
    Routine,
    /// Anything else.
    Notable,
}

/// From now on `show` is called with each message of the zerodds crates. Only the first call has an effect.
pub(crate) fn install(show: impl Fn(Weight, &str) + Send + Sync + 'static) {
    // A second installation is refused by `tracing`, which is what the first line promises.
    let _ = tracing::subscriber::set_global_default(Notices { show });
}

struct Notices<F> {
    show: F,
}

impl<F: Fn(Weight, &str) + Send + Sync + 'static> Subscriber for Notices<F> {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::INFO && metadata.target().starts_with("zerodds")
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::INFO)
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let (weight, line) = text.finish();
        (self.show)(weight, &line);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// A message and its fields, as one line: `path of peer: peer udp:..., path udp, reason ...`.
#[derive(Default)]
struct Text {
    message: String,
    fields: Vec<String>,
    is_routine: bool,
}

impl Text {
    fn finish(self) -> (Weight, String) {
        let weight = if self.is_routine { Weight::Routine } else { Weight::Notable };
        let separator = if self.fields.is_empty() { "" } else { ": " };
        (weight, [self.message.as_str(), separator, &self.fields.join(", ")].concat())
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        match field.name() {
            "message" => self.message = value,
            name => {
                self.is_routine |= name == "path" && value == "shm";
                self.fields.push(format!("{name} {value}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn every_message_of_ours_is_shown_a_return_to_shared_memory_too_and_those_of_others_never() {
        let shown = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&shown);
        let show = move |weight, line: &str| sink.lock().unwrap().push((weight, line.to_owned()));
        tracing::subscriber::with_default(Notices { show: Box::new(show) }, || {
            for path in ["shm", "udp", "shm"] {
                tracing::info!(target: "zerodds_core::router", peer = 7, path = %path, "path of peer");
                tracing::info!(target: "dust_dds::dcps", "New change added");
                tracing::debug!(target: "zerodds_core::router", "detail");
            }
            tracing::warn!(target: "zerodds_core::router", "message sent by UDP");
        });
        let expected = [
            (Weight::Routine, "path of peer: peer 7, path shm".to_owned()),
            (Weight::Notable, "path of peer: peer 7, path udp".to_owned()),
            (Weight::Routine, "path of peer: peer 7, path shm".to_owned()),
            (Weight::Notable, "message sent by UDP".to_owned()),
        ];
        assert_eq!(*shown.lock().unwrap(), expected);
    }
}
