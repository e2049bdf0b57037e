//! Tests of when something is said: whoever hears of it may do anything at once, such as publish it over the same transport.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// What `f` says on this thread: how many events, in each of which `is_free` must hold.
///
/// # Panics
/// Where it does not.
pub fn heard(is_free: impl Fn() -> bool + Send + Sync + 'static, f: impl FnOnce()) -> u64 {
    let (count, is_free) = (Arc::new(AtomicU64::new(0)), Arc::new(is_free));
    let hearer = || Hearer { is_free: Arc::clone(&is_free), count: Arc::clone(&count) };
    // Where there is one alone, `tracing` believes what another thread without any was told of a callsite.
    let _second = tracing::Dispatch::new(hearer());
    tracing::subscriber::with_default(hearer(), f);
    count.load(Ordering::Relaxed)
}

struct Hearer<F> {
    is_free: Arc<F>,
    count: Arc<AtomicU64>,
}

impl<F: Fn() -> bool + Send + Sync + 'static> Subscriber for Hearer<F> {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        assert!((self.is_free)(), "said while nobody else can send");
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
