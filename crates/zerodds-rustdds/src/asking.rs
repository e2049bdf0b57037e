//! Who asks: how a static adapter knows for which reader it decodes, and the reader that nothing came of it.
//!
//! ```text
//!   DataReader::take ──▶ Asking::enter(session, reader) ──▶ RustDDS ──▶ Adapter::decode_bytes
//!        ▲                        (this thread)                               │ descriptor
//!        └── skip, count ◀── nothing came of it ◀── error ◀── session.decode ─┘
//!            (where the sample is there and no value of the type: give the error)
//! ```
//! RustDDS's adapters are functions without a `self`; a thread-local says who calls. It is set for the time of one
//! call into RustDDS and put back afterwards, also by a panic.

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
        Self { outer: CALLER.replace(Some(caller)) }
    }

    /// The descriptor of which nothing came since the last call of this: RustDDS stops at the first.
    pub(crate) fn missed(&self) -> Option<Missed> {
        CALLER.with_borrow(|caller| caller.as_ref().and_then(|caller| caller.missed.take()))
    }

    /// What was decoded since the last call of this.
    pub(crate) fn seen(&self) -> Seen {
        CALLER.with_borrow(|caller| caller.as_ref().map(|caller| caller.seen.take()).unwrap_or_default())
    }

    /// A sample has become a value, or could not: which one it was RustDDS does not say.
    pub(crate) fn note(is_readable: bool) {
        CALLER.with_borrow(|caller| {
            let Some(Caller { seen, .. }) = caller else { return };
            let Seen { readable, unreadable } = seen.get();
            let (good, bad) = (usize::from(is_readable), usize::from(!is_readable));
            seen.set(Seen { readable: readable + good, unreadable: unreadable + bad });
        });
    }

    /// The sample of a descriptor, for whoever asks on this thread.
    pub(crate) fn answer(descriptor: Descriptor) -> Answer {
        CALLER.with_borrow(|caller| {
            let Some(caller) = caller else { return Answer::Nobody };
            match caller.session.decode(caller.reader, descriptor) {
                Some(sample) => Answer::Sample(sample),
                None => {
                    caller.missed.set(Some(Missed { key: descriptor.key, is_here: false }));
                    Answer::Missing
                }
            }
        })
    }

    /// The sample that was the answer is no value of its type.
    pub(crate) fn reject(key: SampleKey) {
        CALLER.with_borrow(|caller| {
            caller.iter().for_each(|caller| caller.missed.set(Some(Missed { key, is_here: true })));
        });
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        CALLER.set(self.outer.take());
    }
}

thread_local! {
    static CALLER: RefCell<Option<Caller>> = const { RefCell::new(None) };
}
