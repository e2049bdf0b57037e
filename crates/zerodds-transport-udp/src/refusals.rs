//! What the system refuses to send, said once for each of its reasons: a firewall that drops, a route that is not there.
//!
//! Once for each transport, not for each peer: what refuses one mostly refuses many. The counter `refused` has them all.

use parking_lot::Mutex;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// The reasons that were said.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BTreeSet<i32>>);

impl Refusals {
    /// Something for this address was refused.
    pub(crate) fn note(&self, errno: Errno, address: SocketAddr) {
        let is_first = self.0.lock().insert(errno.raw_os_error());
        // Whoever hears of it may publish what it hears.
        if is_first {
            tracing::warn!(
                %address, error = %errno,
                "the system refuses to send by UDP: what is for this address is lost until a firewall or the routes of this host let \
                 it pass (ZERODDS_UDP_INTERFACES on its side chooses what it announces); further ones are only counted, in refused"
            );
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use crate::{Config, UdpTransport, namespace};
    use std::net::SocketAddr;
    use zerodds_core::testing::heard;
    use zerodds_core::{Delivery, Locator, Peer, Transport as _};

    #[test]
    fn what_the_system_refuses_to_send_is_said_once_for_each_reason_while_others_can_send() {
        let test = "refusals::tests::what_the_system_refuses_to_send_is_said_once_for_each_reason_while_others_can_send";
        let routes = "ip route add prohibit 10.77.0.8/31 && ip route add unreachable 10.77.0.7";
        if !namespace::inside(test, &format!("ip link set lo up && {routes}")) {
            return;
        }
        let transport = UdpTransport::open(0, &Config::default()).unwrap();
        let send = |host| {
            let to = [Locator::from(SocketAddr::from(([10, 77, 0, host], 7411)))];
            drop(transport.send_bytes(b"RTPS", &[Peer::new(&to)], Delivery::BestEffort));
        };
        let others = transport.clone();
        let is_free = move || others.0.refusals.0.try_lock().is_some();
        assert_eq!(heard(is_free, || [8, 8, 9, 7].into_iter().for_each(send)), 2);
        assert_eq!(transport.counters().refused, 4);
    }
}
