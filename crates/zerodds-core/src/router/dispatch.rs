//! One send of a router on its way: what each path did for its share of the peers, added up.

use super::share::Share;
use super::{Router, name};
use crate::{Delivery, Path, Peer, Reach, Refusal, SendError, Sent, Transport, Unserved};

pub(super) struct Dispatch<'a, S, U> {
    router: &'a Router<S, U>,
    to: &'a [Peer<'a>],
    delivery: Delivery,
    sent: Sent,
    /// The first failure of a path as a whole.
    error: Option<SendError>,
}

impl<'a, S: Transport, U: Transport> Dispatch<'a, S, U> {
    pub(super) fn new(router: &'a Router<S, U>, to: &'a [Peer<'a>], delivery: Delivery) -> Self {
        Self { router, to, delivery, sent: Sent::default(), error: None }
    }

    /// Enters what shared memory did. Whom it refused for any reason but want of room is served over UDP,
    /// from `spare`, where the message's bytes are still to be had and a datagram carries them.
    pub(super) fn by_shm(&mut self, share: &Share, result: Result<Sent, SendError>, spare: Option<&[u8]>) {
        let spare = spare.filter(|message| self.router.is_datagram(message.len()));
        let (sent, error) = share.outcome(result);
        self.count(Path::SharedMemory, share, &sent.unserved);
        self.sent.by_shm += sent.by_shm;
        self.error = self.error.take().or(error);
        let (hopeless, retried): (Vec<_>, Vec<_>) = sent
            .unserved
            .into_iter()
            .partition(|unserved| spare.is_none() || matches!(unserved.why, Refusal::Full));
        self.sent.unserved.extend(hopeless);
        if let (Some(message), false) = (spare, retried.is_empty()) {
            self.by_udp(&Share::Some(retried.iter().map(|unserved| unserved.index).collect()), message);
        }
    }

    /// Sends to these peers by UDP.
    pub(super) fn by_udp(&mut self, share: &Share, message: &[u8]) {
        if share.is_empty() {
            return;
        }
        let result = self.router.udp.send_bytes(message, &share.peers(self.to), self.delivery);
        let (mut sent, error) = share.outcome(result);
        self.count(Path::Udp, share, &sent.unserved);
        sent.unserved.iter_mut().for_each(|unserved| self.explain(unserved));
        self.sent.by_udp += sent.by_udp;
        self.sent.unserved.append(&mut sent.unserved);
        self.error = self.error.take().or(error);
    }

    /// A path's failure is an error only where nobody was served by either.
    pub(super) fn finish(self) -> Result<Sent, SendError> {
        match self.error {
            Some(error) if self.sent.by_shm == 0 && self.sent.by_udp == 0 => Err(error),
            _ => Ok(self.sent),
        }
    }

    fn count(&self, path: Path, share: &Share, unserved: &[Unserved]) {
        let mut ledger = self.router.ledger.lock();
        for index in share.indices().filter(|&index| unserved.iter().all(|one| one.index != index)) {
            if let Some(peer) = name(self.to[index]) {
                ledger.count(peer, path);
            }
        }
    }

    /// That UDP has no address of a peer which announced shared memory is the lesser half of the answer.
    fn explain(&self, unserved: &mut Unserved) {
        let peer = self.to[unserved.index];
        if let (Refusal::Unreachable(reason), Some(_)) = (&mut unserved.why, peer.shm_locator())
            && let Reach::Pending(why) | Reach::Unreachable(why) = self.router.shm.reach(peer)
        {
            *reason = why;
        }
    }
}
