//! The only unsafe code here: one call that iceoryx2 has no safe counterpart of, for filling a slice in place.
//!
//! Its safe ways write the payload twice (`loan_slice` fills it with a default first, `write_from_slice` copies), which
//! would not be what its documentation advises for speed.

use iceoryx2::prelude::ipc;
use iceoryx2::sample_mut::SampleMut;
use iceoryx2::sample_mut_uninit::SampleMutUninit;
use std::mem::MaybeUninit;

/// A loan whose bytes are whatever they are, to be written before it is sent.
pub(crate) fn as_it_is(
    loan: SampleMutUninit<ipc::Service, [MaybeUninit<u8>], ()>,
) -> SampleMut<ipc::Service, [u8], ()> {
    // SAFETY: the bytes are initialized because they lie in shared memory that the kernel handed out filled with zeros and
    // that was only ever written since; every value of a byte is a valid u8.
    unsafe { loan.assume_init() }
}
