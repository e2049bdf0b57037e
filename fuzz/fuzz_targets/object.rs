//! Memory files that a peer offers as ring, doorbell or link: of any size, with any seals and any beginning.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use zerodds_transport_shm::fuzzing;

#[derive(Arbitrary, Debug)]
struct Offer {
    content: Header,
    len: u32,
    seals: u8,
    honest: bool,
    claimed: u32,
    owner: u8,
    read_only: bool,
}

#[derive(Arbitrary, Debug)]
enum Header {
    Any([u8; 32]),
    /// A good one, with one octet changed, or two.
    Near(u8, u8, u8, u8),
}

fuzz_target!(|offer: Offer| {
    let claimed = offer.claimed as usize % (1 << 22);
    let len = if offer.honest { claimed as u64 } else { u64::from(offer.len) };
    let owner = u64::from(offer.owner);
    let good = fuzzing::header(claimed as u64, owner);
    let content = match offer.content {
        Header::Any(content) => content,
        Header::Near(at, xor, also, with) => {
            let mut content = good;
            content[usize::from(at) % 32] ^= xor;
            content[usize::from(also) % 32] ^= with;
            content
        }
    };
    // Mappings of nothing are refused by the kernel, and so by us.
    let mapped = fuzzing::object(&content, len, offer.seals.into(), claimed, owner, offer.read_only);
    assert!(!mapped || (content == good && len == claimed as u64), "only what it claims to be");
});
