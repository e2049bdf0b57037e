//! Under construction: composes shared memory and UDP.
use crate::*;
use bytes::Bytes;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;
/// The clock a router stamps its reports with: `Instant::now`, or a test's own.
pub type Clock = fn() -> Instant;
/// Under construction.
pub struct Router<S, U>(PhantomData<(S, U)>);
/// Under construction.
pub enum RouterLoan<S, U> { /// shm
    Shm(S), /// udp
    Udp(U) }
/// Under construction.
pub enum RouterMessage<S, U> { /// shm
    Shm(S), /// udp
    Udp(U) }
/// Under construction.
pub struct RouterReceiver<S, U>(PhantomData<(S, U)>);
