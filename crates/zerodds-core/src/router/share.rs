//! Which of a send's peers go by which path, and what became of each.

use crate::{LoanError, Peer, Reason, Refusal, SendError, Sent, Unserved};
use std::borrow::Cow;

/// The peers of one send that share a path, by their index in its `to`. Almost every send has all of its peers
/// on one path, which costs no allocation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Share {
    All(usize),
    Some(Vec<usize>),
}

impl Share {
    pub(super) const NONE: Self = Self::Some(Vec::new());

    /// Parts `0..len` into those for which `first` holds and the others; each index is asked for once.
    pub(super) fn partition(len: usize, mut first: impl FnMut(usize) -> bool) -> (Self, Self) {
        let Some(leading) = (len > 0).then(|| first(0)) else { return (Self::NONE, Self::NONE) };
        let Some(turn) = (1..len).find(|&index| first(index) != leading) else {
            return if leading { (Self::All(len), Self::NONE) } else { (Self::NONE, Self::All(len)) };
        };
        let (mut ahead, mut others) = ((0..turn).collect::<Vec<_>>(), vec![turn]);
        for index in turn + 1..len {
            if first(index) == leading { ahead.push(index) } else { others.push(index) }
        }
        if leading {
            (Self::Some(ahead), Self::Some(others))
        } else {
            (Self::Some(others), Self::Some(ahead))
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::All(len) => *len,
            Self::Some(indices) => indices.len(),
        }
    }

    /// Indices into the send's `to`, in order.
    pub(super) fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).map(|position| self.index(position))
    }

    /// The peers themselves, without a copy where they are all.
    pub(super) fn peers<'p, 'l>(&self, to: &'p [Peer<'l>]) -> Cow<'p, [Peer<'l>]> {
        match self {
            Self::All(_) => Cow::Borrowed(to),
            Self::Some(indices) => indices.iter().map(|&index| to[index]).collect(),
        }
    }

    /// A path's outcome for this share, in terms of the whole send: its indices, and a failure of the path as
    /// one refusal per peer.
    pub(super) fn outcome(&self, result: Result<Sent, SendError>) -> (Sent, Option<SendError>) {
        match result {
            Ok(mut sent) => {
                sent.unserved.iter_mut().for_each(|unserved| unserved.index = self.index(unserved.index));
                (sent, None)
            }
            Err(error) => {
                let unserved = self.indices().map(|index| Unserved { index, why: refusal(&error) }).collect();
                (Sent { unserved, ..Sent::default() }, Some(error))
            }
        }
    }

    fn index(&self, position: usize) -> usize {
        match self {
            Self::All(_) => position,
            Self::Some(indices) => indices[position],
        }
    }
}

/// What a failed send means to each of its peers.
fn refusal(error: &SendError) -> Refusal {
    match error {
        SendError::TooLarge { len, max } => Refusal::TooLarge { len: *len, max: *max },
        SendError::Loan(LoanError::Full { .. }) => Refusal::Full,
        SendError::Loan(LoanError::Unavailable(reason)) => Refusal::Unreachable(reason.clone()),
        SendError::Loan(error) => Refusal::Unreachable(Reason::Unavailable(error.to_string())),
        SendError::Io(error) => Refusal::Io(std::io::Error::new(error.kind(), error.to_string())),
        SendError::Closed => Refusal::Unreachable(Reason::Closed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_index_lands_in_exactly_one_share_and_is_asked_for_once(by_shm in prop::collection::vec(any::<bool>(), 0..9)) {
            let mut asked = vec![0; by_shm.len()];
            let (shm, udp) = Share::partition(by_shm.len(), |index| { asked[index] += 1; by_shm[index] });
            prop_assert!(asked.iter().all(|&times| times == 1));
            for (share, path) in [(&shm, true), (&udp, false)] {
                let expected: Vec<_> = (0..by_shm.len()).filter(|&index| by_shm[index] == path).collect();
                prop_assert_eq!(share.indices().collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn peers_on_one_path_cost_no_list() {
        assert_eq!(Share::partition(3, |_| true), (Share::All(3), Share::NONE));
        assert_eq!(Share::partition(3, |_| false), (Share::NONE, Share::All(3)));
    }
}
