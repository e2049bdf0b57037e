//! What is said, and warned of.

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
    tracing::subscriber::with_default(Hears(Level::WARN, hear), meanwhile);
    said.load(Ordering::Relaxed)
}

/// What is said at that level on all other threads, from the first call on.
pub(crate) fn everywhere() -> &'static Mutex<Vec<String>> {
    static SAID: OnceLock<Mutex<Vec<String>>> = OnceLock::new();
    SAID.get_or_init(|| {
        hear(Level::WARN, |text| everywhere().lock().expect("nobody panics with it").push(text));
        Mutex::default()
    })
}

/// From now on has `each` hear what is said at this level and above, on all threads of this process; once in each.
pub(crate) fn hear(level: Level, each: impl Fn(String) + Send + Sync + 'static) {
    let hear = move |event: &Event<'_>| {
        let mut text = Text(String::new());
        event.record(&mut text);
        each(text.0);
    };
    tracing::subscriber::set_global_default(Hears(level, hear)).expect("there is no other");
}

/// What is said at this level and above goes there.
struct Hears<F>(Level, F);

impl<F: Fn(&Event<'_>) + Send + Sync + 'static> Subscriber for Hears<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.0
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.1(event);
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
