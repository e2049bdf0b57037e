//! What is warned of.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// How many times something is said at the level `warn` and above on this thread while that is done.
pub(crate) fn count(meanwhile: impl FnOnce()) -> u64 {
    let said = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&said);
    let hear = move |_: &Event<'_>| _ = counted.fetch_add(1, Ordering::Relaxed);
    tracing::subscriber::with_default(Warnings(hear), meanwhile);
    said.load(Ordering::Relaxed)
}

/// What is said at that level on all other threads, from the first call on.
pub(crate) fn everywhere() -> &'static Mutex<Vec<String>> {
    static SAID: OnceLock<Mutex<Vec<String>>> = OnceLock::new();
    SAID.get_or_init(|| {
        let hear = |event: &Event<'_>| {
            let mut text = Text(String::new());
            event.record(&mut text);
            everywhere().lock().expect("nobody panics with it").push(text.0);
        };
        tracing::subscriber::set_global_default(Warnings(hear)).expect("there is no other");
        Mutex::default()
    })
}

struct Warnings<F>(F);

impl<F: Fn(&Event<'_>) + Send + Sync + 'static> Subscriber for Warnings<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.0(event);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The fields of an event, one after another.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
        self.0 += &format!("{value:?} ");
    }
}
