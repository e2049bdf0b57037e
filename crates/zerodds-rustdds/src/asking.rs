//! Who asks: how a static adapter knows for which reader it decodes, and the reader that nothing came of it.
//!
//! ```text
//!   DataReader::take ──▶ Asking::enter(session, reader) ──▶ RustDDS ──▶ Adapter::decode_bytes
//!        ▲                        (this thread)                               │ descriptor
//!        └── skip, count ◀── nothing came of it ◀── error ◀── session.decode ─┘
//!            (where the sample is there and no value of the type: give the error)
//! ```
//! RustDDS's adapters are functions without a `self`; a thread-local says who calls. It is set for the time of one
//! call into RustDDS and put back afterwards, also by a panic. A reader may be used yet when its thread's locals are gone, by the
//! destructor of another one: then nobody asks.

use crate::protocol::{Descriptor, Entity, SampleKey};
use crate::session::Session;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// A call into RustDDS in the name of one reader.
pub(crate) struct Asking {
    outer: Option<Caller>,
}

struct Caller {
    session: Arc<Session>,
    reader: Entity,
    /// Nothing came of a descriptor; the last such one.
    missed: Cell<Option<Missed>>,
    seen: Cell<Seen>,
}

/// What was decoded for a reader: samples that lie ready for its application then, and those of RTPS that came to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) readable: usize,
    pub(crate) unreadable: usize,
}

/// A sample that a reader will never be given.
#[derive(Clone, Copy)]
pub(crate) struct Missed {
    pub(crate) key: SampleKey,
    /// It is there, and cannot be decoded: that is for the application to hear.
    pub(crate) is_here: bool,
}

/// What a descriptor came to.
pub(crate) enum Answer {
    Sample(Bytes),
    Missing,
    /// Nobody asks: a descriptor reached a reader that is none of ours.
    Nobody,
}

impl Asking {
    pub(crate) fn enter(session: &Arc<Session>, reader: Entity) -> Self {
        let caller =
            Caller { session: Arc::clone(session), reader, missed: Cell::default(), seen: Cell::default() };
        Self { outer: put(Some(caller)) }
    }

    /// The descriptor of which nothing came since the last call of this: RustDDS stops at the first.
    pub(crate) fn missed(&self) -> Option<Missed> {
        ask(|caller| caller.missed.take()).flatten()
    }

    /// What was decoded since the last call of this.
    pub(crate) fn seen(&self) -> Seen {
        ask(|caller| caller.seen.take()).unwrap_or_default()
    }

    /// A sample has become a value, or could not: which one it was RustDDS does not say.
    pub(crate) fn note(is_readable: bool) {
        ask(|Caller { seen, .. }| {
            let Seen { readable, unreadable } = seen.get();
            let (good, bad) = (usize::from(is_readable), usize::from(!is_readable));
            seen.set(Seen { readable: readable + good, unreadable: unreadable + bad });
        });
    }

    /// The sample of a descriptor, for whoever asks on this thread.
    pub(crate) fn answer(descriptor: Descriptor) -> Answer {
        let answer = ask(|caller| match caller.session.decode(caller.reader, descriptor) {
            Some(sample) => Answer::Sample(sample),
            None => {
                caller.missed.set(Some(Missed { key: descriptor.key, is_here: false }));
                Answer::Missing
            }
        });
        answer.unwrap_or(Answer::Nobody)
    }

    /// The sample that was the answer is no value of its type.
    pub(crate) fn reject(key: SampleKey) {
        ask(|caller| caller.missed.set(Some(Missed { key, is_here: true })));
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        put(self.outer.take());
    }
}

/// `None`: nobody asks on this thread.
fn ask<T>(what: impl FnOnce(&Caller) -> T) -> Option<T> {
    CALLER.try_with(|caller| caller.borrow().as_ref().map(what)).ok().flatten()
}

/// From here on `caller` asks; who did until then.
fn put(caller: Option<Caller>) -> Option<Caller> {
    CALLER.try_with(|asking| asking.replace(caller)).ok().flatten()
}

thread_local! {
    static CALLER: RefCell<Option<Caller>> = const { RefCell::new(None) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::domains;
    use crate::session::ZeroDds;
    use rustdds::DomainParticipant;
    use std::sync::mpsc::{Sender, channel};

    /// What a thread does at last, when the locals that it has had since are gone.
    struct AtLast(Arc<Session>, Sender<(bool, Seen)>);

    impl Drop for AtLast {
        fn drop(&mut self) {
            let asking = Asking::enter(&self.0, [0, 0, 1, 4]);
            Asking::note(true);
            let descriptor =
                Descriptor { key: SampleKey { owner: self.0.incarnation, id: 1 }, len: 1, floor: 1 };
            let is_nobody = matches!(Asking::answer(descriptor), Answer::Nobody);
            Asking::reject(descriptor.key);
            let _ = self.1.send((is_nobody && asking.missed().is_none(), asking.seen()));
        }
    }

    thread_local! {
        static LAST: RefCell<Option<AtLast>> = const { RefCell::new(None) };
    }

    #[test]
    fn nobody_asks_on_a_thread_whose_locals_are_gone() {
        let participant = DomainParticipant::new(domains::domain()).expect("a participant");
        let zerodds = ZeroDds::attach(&participant, Config::default()).expect("a session");
        let session = Arc::clone(&zerodds.0.session);
        let (told, heard) = channel();
        std::thread::spawn(move || {
            LAST.set(Some(AtLast(Arc::clone(&session), told)));
            drop(Asking::enter(&session, [0, 0, 1, 4]));
        });
        assert_eq!(heard.recv(), Ok((true, Seen::default())));
    }
}
