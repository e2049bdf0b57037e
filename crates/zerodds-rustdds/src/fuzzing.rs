//! Doors for the fuzz targets (`fuzz/` of the repository) to what is private here; only under `--cfg fuzzing`.
#![allow(clippy::missing_panics_doc, reason = "a panic is what a fuzz target reports")]

use crate::Options;
use crate::account::Keep;
use crate::arrivals::Ledger;
use crate::lifespan::Lifespan;
use crate::protocol::{Descriptor, HEADER_LEN, Note, Received, SampleKey, TopicHash, parse};
use bytes::Bytes;
use std::ffi::OsString;
use zerodds_core::ConfigError;
use zerodds_core::Incarnation;

/// A message of another session: whatever is understood is written as it came.
pub fn message(bytes: &[u8]) {
    match parse(bytes) {
        Some(Received::Sample(header)) => {
            let mut written = [0; HEADER_LEN];
            header.write(&mut written);
            assert_eq!(parse(&written), Some(Received::Sample(header)), "a sample is read as written");
        }
        Some(Received::Note(note)) => {
            let written = note.to_bytes();
            assert!(bytes.starts_with(&written) || written.len() <= bytes.len(), "nothing was made up");
            assert_eq!(parse(&written), Some(Received::Note(note)), "a note is read as written");
        }
        None => {}
    }
}

/// The payload of an RTPS DATA in place of a sample.
pub fn descriptor(bytes: &[u8]) {
    if let Some(found) = Descriptor::parse(bytes) {
        assert_eq!(found.to_bytes(), bytes[..Descriptor::LEN], "a descriptor is read as written");
    }
}

/// The samples that other sessions have sent to a participant with three readers of one topic, and what is owed of
/// them.
pub struct Samples {
    ledger: Ledger,
}

impl Samples {
    /// A participant to which nothing was sent.
    #[must_use]
    pub fn new() -> Self {
        let mut ledger = Ledger::default();
        let topic = TopicHash::of("t");
        for (index, keep) in
            [Keep::Last { depth: 1, total: 8 }, Keep::Last { depth: 4, total: 16 }, Keep::All(16)]
                .into_iter()
                .enumerate()
        {
            ledger.add_reader(entity(index as u8), topic, keep, Lifespan::ENDLESS);
        }
        Self { ledger }
    }

    /// A session sends this.
    pub fn message(&mut self, from: u8, bytes: Vec<u8>) {
        let owner = Incarnation::from_bytes([from % 3; 8]);
        match parse(&bytes) {
            Some(Received::Sample(mut header)) => {
                header.topic = TopicHash::of("t");
                self.ledger.arrive(owner, header, Bytes::from(bytes).slice(HEADER_LEN..));
            }
            Some(Received::Note(Note::Forget { id })) => self.ledger.forget(SampleKey { owner, id }),
            _ => {}
        }
        let (samples, _) = self.ledger.held();
        assert!(
            samples <= 8 + 16 + 16 + 3 * SOURCES,
            "no session makes us keep more than readers want: {samples}"
        );
    }

    /// RTPS delivers this to a reader.
    pub fn decode(&mut self, reader: u8, payload: &[u8]) {
        if let Some(descriptor) = Descriptor::parse(payload) {
            let _ = self.ledger.decode(entity(reader), descriptor);
        }
    }

    /// A reader comes to the end of what RTPS held.
    pub fn caught_up(&mut self, reader: u8) {
        self.ledger.caught_up(entity(reader), u64::MAX);
    }

    /// Every reader ends; nothing is kept for nobody.
    pub fn end(mut self) {
        (0..3).for_each(|index| self.ledger.remove_reader(entity(index)));
        assert_eq!(self.ledger.held(), (0, 0), "nothing is kept for nobody");
    }
}

impl Default for Samples {
    fn default() -> Self {
        Self::new()
    }
}

fn entity(index: u8) -> [u8; 4] {
    [0, 0, index % 3, 4]
}

/// Sessions that send.
const SOURCES: usize = 3;

/// The options of an environment.
///
/// # Errors
/// As [`Config::from_env`](crate::Config::from_env).
pub fn options(var: impl Fn(&'static str) -> Option<OsString>) -> Result<Options, ConfigError> {
    Options::default().overlaid_with(var)
}
