//! What can go wrong with a loan or a send, one enum per operation.

use crate::Reason;
use std::io;
use thiserror::Error;

/// Why there is no loan.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoanError {
    /// The message would be larger than the transport carries.
    #[error("a message of {len} bytes exceeds this transport's limit of {max} bytes")]
    TooLarge {
        /// The length asked for, in bytes.
        len: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// No room: peers still hold or have not yet read what fills the memory.
    #[error("no room for {len} bytes: peers still hold what fills the transport's memory")]
    Full {
        /// The length asked for, in bytes.
        len: usize,
    },
    /// The memory cannot be reserved without endangering the process.
    #[error("cannot reserve {needed} more bytes of memory: {limit}")]
    NoMemory {
        /// Bytes that had to be reserved.
        needed: u64,
        /// Which limit stands in the way, with its value.
        limit: String,
    },
    /// This transport has no memory to lend; the reason says why and what to do.
    #[error("{0}")]
    Unavailable(Reason),
    /// The transport was closed.
    #[error("the transport was closed")]
    Closed,
}

/// Why a send reached nobody.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendError {
    /// No buffer for the message, for a reason that is none of those below.
    #[error(transparent)]
    Loan(LoanError),
    /// The message is larger than this path carries.
    #[error("a message of {len} bytes exceeds the {max} bytes that this path carries at once")]
    TooLarge {
        /// The message's length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The system refused.
    #[error("sending failed: {0}")]
    Io(#[from] io::Error),
    /// The transport was closed.
    #[error("the transport was closed")]
    Closed,
}

impl From<LoanError> for SendError {
    /// What a send can say itself is said so, whichever step of it found it out.
    fn from(error: LoanError) -> Self {
        match error {
            LoanError::TooLarge { len, max } => Self::TooLarge { len, max },
            LoanError::Closed => Self::Closed,
            other => Self::Loan(other),
        }
    }
}

/// Why one peer was not served by a send that others may have received.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The transport does not reach it.
    #[error("{0}")]
    Unreachable(Reason),
    /// It had no room until the deadline.
    #[error("the peer had no room before the deadline")]
    Full,
    /// The message is larger than its path carries.
    #[error("a message of {len} bytes exceeds the {max} bytes that this path carries")]
    TooLarge {
        /// The message's length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The system refused.
    #[error("sending failed: {0}")]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_says_one_thing_in_one_way_though_it_was_the_loan_that_failed() {
        assert!(matches!(LoanError::Closed.into(), SendError::Closed));
        let too_large = LoanError::TooLarge { len: 2, max: 1 };
        assert!(matches!(too_large.into(), SendError::TooLarge { len: 2, max: 1 }));
        assert!(matches!(LoanError::Full { len: 2 }.into(), SendError::Loan(LoanError::Full { len: 2 })));
    }
}
