//! The only unsafe code of the benches: a memfd that two processes of the benchmark map for writing.
//!
//! The ideal baselines have to be raw memory: a safe wrapper that copies, or reads word by word, would be slower than
//! what is compared with them. The rules on which every block rests:
//! 1. An [`Arena`] is mapped for as long as it lives and its length never changes: the memfd is sealed against that.
//! 2. Words are only accessed as atomics, bytes only by [`Arena::write`] and [`Arena::read`]; the two never overlap
//!    (`limits::ring` has the layout).
//! 3. Both processes are this program and keep the ring's protocol: bytes are written by one process before it
//!    publishes them, read by others until they release them, and written again after that only.

mod arena;

pub(crate) use arena::Arena;
