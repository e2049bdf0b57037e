//! What RustDDS does where the plug-in relies on it, tried on RustDDS as it comes from the registry.
//!
//! RustDDS has no hook for a transport. The plug-in lets it carry a *descriptor* of a sample that lies in shared
//! memory, and so depends on behaviour that its documentation does not promise: what one topic cache per
//! participant means, when a sample is decoded, what precedes a match event, what ends a wait for a dead reader.
//! Nothing of the plug-in is used here: a toy slot and a toy adapter stand for it, so that a test that fails after
//! an update of RustDDS says which assumption of the design is gone. They assert what *is*, wanted or not.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod assumptions {
    /// Histories, eviction, decoding: the topic cache of a participant.
    mod cache;
    /// Readers that die, and how RustDDS is told.
    mod death;
    /// The SPDP announcement that a dead participant did not send.
    mod dispose;
    #[path = "../parties/domains.rs"]
    mod domains;
    /// Matches, their events, and what is on its way before them.
    mod matching;
    /// Participants and endpoints for the tests, and waiting for them.
    mod party;
    #[path = "../parties/spdp.rs"]
    mod spdp;
    /// The shared slot and the adapter that stand for the plug-in.
    mod toy;
    /// Limits and costs at the writer.
    mod writing;
}
