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
        let caller = Caller { session: Arc::clone(session), reader, missed: Cell::default() };
        Self { outer: CALLER.replace(Some(caller)) }
    }

    /// The descriptor of which nothing came since the last call of this: RustDDS stops at the first.
    pub(crate) fn missed(&self) -> Option<Missed> {
        CALLER.with_borrow(|caller| caller.as_ref().and_then(|caller| caller.missed.take()))
    }

    /// The sample of a descriptor, for whoever asks on this thread.
    pub(crate) fn answer(descriptor: Descriptor) -> Answer {
        CALLER.with_borrow(|caller| {
            let Some(caller) = caller else { return Answer::Nobody };
            match caller.session.decode(caller.reader, descriptor) {
                Ok(sample) => Answer::Sample(sample),
                Err(_) => {
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
