//! What works in this environment, and what does not.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::time::{Duration, Instant};
use zerodds_capture::Capture;
use zerodds_core::{Delivery, Incoming, Message, Peer, Reach, Reason, Receiver, Sent, Transport};
use zerodds_transport_shm::{ShmReceiver, ShmTransport};
use zerodds_transport_udp::UdpTransport;

/// How one thing is.
enum Finding {
    Well(String),
    /// It works, less well than it could; and what changes that.
    Limited(String),
    /// It does not work; and what changes that.
    Broken(String),
}

/// Tries everything out in `domain`, and prints a line for each; true if nothing is broken.
pub(crate) fn run(out: &mut impl Write, domain: u32) -> io::Result<bool> {
    let mut is_well = true;
    let mut say = |what: &str, finding: Finding| {
        let (mark, text) = match finding {
            Finding::Well(text) => ("ok", text),
            Finding::Limited(text) => ("limited", text),
            Finding::Broken(text) => {
                is_well = false;
                ("BROKEN", text)
            }
        };
        match writeln!(out, "{mark:<8} {what:<14} {text}") {
            // Whoever reads us has had enough; the exit code still says how things are.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    };
    say("settings", settings())?;
    // A setting that cannot be used was said; everything but a capture is tried without any.
    let shm = zerodds_transport_shm::Config::from_env().unwrap_or_default();
    say("shared memory", shared_memory(domain, &shm))?;
    say("descriptors", descriptors())?;
    if let Ok(config) = zerodds_capture::Config::from_env() {
        say("capture", capture(&config))?;
    }
    let udp = zerodds_transport_udp::Config::from_env().unwrap_or_default();
    match UdpTransport::open(domain, &udp) {
        Ok(udp) => {
            say("udp", udp_ports(&udp, domain))?;
            say("udp buffers", udp_buffers(&udp))?;
            say("multicast", multicast(&udp))?;
        }
        Err(error) => {
            say("udp", Finding::Broken(format!("{error}; there is no way to other hosts and other vendors")))?
        }
    }
    Ok(is_well)
}

/// The variables of this project that are set.
fn settings() -> Finding {
    let errors = [
        zerodds_transport_shm::Config::from_env().err(),
        zerodds_transport_udp::Config::from_env().err(),
        zerodds_capture::Config::from_env().err(),
    ];
    let errors: Vec<String> = errors.into_iter().flatten().map(|error| error.to_string()).collect();
    if !errors.is_empty() {
        return Finding::Broken(errors.join("; "));
    }
    let text = |(name, value): (OsString, OsString)| {
        (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
    };
    let ours: Vec<(String, String)> =
        env::vars_os().map(text).filter(|(name, _)| is_meant_for_us(name)).collect();
    // What is no setting may be somebody else's, and its value nobody's business.
    let (settings, others): (Vec<_>, Vec<_>) =
        ours.iter().partition(|(name, _)| SETTINGS.contains(&name.as_str()));
    let set: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let set = set.join(" ");
    if let Some((name, _)) = others.first() {
        let set = if set.is_empty() { "the defaults" } else { set.as_str() };
        return Finding::Limited(format!(
            "{set}; {name} is no setting and changes nothing; there are {}",
            SETTINGS.join(", ")
        ));
    }
    let names = ours.iter().map(|(name, _)| name.as_str());
    let of_rustdds: Vec<&str> = names.filter(|name| OF_RUSTDDS.contains(name)).collect();
    Finding::Well(match &of_rustdds[..] {
        _ if set.is_empty() => "no ZERODDS_ variable is set: the defaults".to_owned(),
        [] => set,
        names => {
            format!("{set} (of sessions of RustDDS alone, and not looked at here: {})", names.join(", "))
        }
    })
}

/// Whether this is the name of a variable of ours, or nearly: `ZERODD_SHM`, `zerodds_shm`.
fn is_meant_for_us(name: &str) -> bool {
    name.to_ascii_uppercase().replace('_', "").starts_with("ZERODD")
}

/// Sends a message of the smallest and of the largest size from one transport to another.
fn shared_memory(domain: u32, config: &zerodds_transport_shm::Config) -> Finding {
    let [from, to] = [(); 2].map(|()| ShmTransport::open(domain, config));
    match from.availability().and(to.availability()) {
        Ok(()) => {}
        Err(Reason::SwitchedOff) => {
            return Finding::Limited(format!("{}; everything goes by UDP", Reason::SwitchedOff));
        }
        Err(reason) => return Finding::Broken(format!("{reason}; everything goes by UDP")),
    }
    let Some(mut receiver) = to.receiver() else { return Finding::Broken("there is no receiver".to_owned()) };
    let locators = to.locators();
    let until = Instant::now() + PATIENCE;
    while let Reach::Pending(reason) = from.reach(Peer::new(&locators)) {
        if Instant::now() >= until {
            return Finding::Broken(format!("no link within {PATIENCE:?}: {reason}"));
        }
        std::thread::sleep(LOOK);
    }
    let largest = from.max_message_len();
    for len in [0, largest] {
        let mut message = match from.loan(len) {
            Ok(message) => message,
            Err(error) => return Finding::Broken(format!("a message of {len} bytes has no room: {error}")),
        };
        message.fill(1);
        match from.send(message, &[Peer::new(&locators)], Delivery::Reliable { deadline: until }) {
            Ok(Sent { by_shm: 1, .. }) => {}
            Ok(sent) => {
                let why = list(sent.unserved.iter().map(|peer| &peer.why).collect(), "nobody was asked");
                return Finding::Broken(format!("a message of {len} bytes was refused: {why}"));
            }
            Err(error) => return Finding::Broken(format!("a message of {len} bytes was not sent: {error}")),
        }
        match length_from(&from, &mut receiver, until) {
            Some(received) if received == len => {}
            other => return Finding::Broken(format!("of a message of {len} bytes came {other:?}")),
        }
    }
    Finding::Well(format!("messages of 0 to {} arrive whole", size(largest)))
}

/// The length of the next message from `from`: participants of the domain announce themselves to whoever they find.
fn length_from(from: &ShmTransport, receiver: &mut ShmReceiver, until: Instant) -> Option<usize> {
    let own = from.locators().first().copied();
    loop {
        match receiver.receive(Some(until))? {
            Incoming::Message(message) if message.source() == own => return Some(message.len()),
            _ => {}
        }
    }
}

/// Whether a program that is started now could begin its capture.
fn capture(config: &zerodds_capture::Config) -> Finding {
    match Capture::check(config) {
        Ok(None) => Finding::Well("nothing is captured: ZERODDS_CAPTURE names no file".to_owned()),
        Ok(Some(file)) => Finding::Well(format!("{} can be written", file.display())),
        Err(error) => {
            Finding::Broken(format!("{error}; a participant that is to be captured does not start"))
        }
    }
}

/// How many peers fit into this process.
fn descriptors() -> Finding {
    let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current else {
        return Finding::Well("without limit".to_owned());
    };
    let peers = limit / DESCRIPTORS_PER_PEER;
    let text = format!("{limit} of them: room for about {peers} peers of one participant");
    if peers < PEERS_FEW {
        Finding::Limited(format!("{text}; `ulimit -n` raises it"))
    } else {
        Finding::Well(text)
    }
}

fn udp_ports(udp: &UdpTransport, domain: u32) -> Finding {
    let addresses = list(udp.metatraffic_unicast_locators(), "");
    if addresses.is_empty() {
        if let Some(error) = udp.listing_error() {
            return Finding::Broken(format!(
                "the interfaces of this host cannot be listed: {error}; where a sandbox denies that, it has to allow AF_NETLINK"
            ));
        }
        return Finding::Broken(
            "no interface has an address that may be used; `ip address` shows them, ZERODDS_UDP_INTERFACES names them"
                .to_owned(),
        );
    }
    match udp.participant_id() {
        Some(id) => Finding::Well(format!("participant {id} of domain {domain} at {addresses}")),
        None => Finding::Limited(format!(
            "all ports of domain {domain} are taken; at {addresses}, where only those who hear our announcements find us"
        )),
    }
}

fn udp_buffers(udp: &UdpTransport) -> Finding {
    let buffers = udp.buffers();
    let text = format!("{} to receive, {} to send", size(buffers.receive), size(buffers.send));
    if buffers.receive < buffers.asked || buffers.send < buffers.asked {
        let asked = buffers.asked;
        return Finding::Limited(format!(
            "{text} of {}: bursts of large samples are lost and repaired; `sysctl net.core.rmem_max={asked} net.core.wmem_max={asked}` grants it",
            size(asked)
        ));
    }
    Finding::Well(text)
}

fn multicast(udp: &UdpTransport) -> Finding {
    if udp.multicast_works() {
        Finding::Well(format!("joined {}", list(udp.metatraffic_multicast_locators(), "no group")))
    } else {
        Finding::Limited(
            "does not work on any interface here: participants of this host find each other by shared memory (Dust DDS; \
             RustDDS finds those of this host by loopback), those of others not"
                .to_owned(),
        )
    }
}

fn list(all: Vec<impl Display>, none: &str) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    if all.is_empty() { none.to_owned() } else { all.join(", ") }
}

fn size(bytes: usize) -> String {
    match bytes {
        mib if mib >= 1 << 20 => format!("{:.1} MiB", mib as f64 / f64::from(1 << 20)),
        kib if kib >= 1 << 10 => format!("{:.1} KiB", kib as f64 / f64::from(1 << 10)),
        bytes => format!("{bytes} B"),
    }
}

/// All variables that anything of this project reads when it opens.
const SETTINGS: [&str; 13] = [
    "ZERODDS_SHM",
    "ZERODDS_SHM_MAX_DATAGRAM",
    "ZERODDS_SHM_ACCESS",
    "ZERODDS_SHM_WAIT",
    OF_RUSTDDS[0],
    OF_RUSTDDS[1],
    "ZERODDS_UDP_INTERFACES",
    "ZERODDS_UDP_IPV6",
    "ZERODDS_UDP_BUFFER",
    "ZERODDS_UDP_MAX_DATAGRAM",
    "ZERODDS_CAPTURE",
    "ZERODDS_CAPTURE_MAX",
    "ZERODDS_CAPTURE_UDP",
];
/// Those of them that this command does not read.
const OF_RUSTDDS: [&str; 2] = ["ZERODDS_SHM_THRESHOLD", "ZERODDS_SHM_WHEN_FULL"];
/// A socket, its process, and what it is woken by if it waits in poll.
const DESCRIPTORS_PER_PEER: u64 = 3;
/// Fewer than this are soon too few.
const PEERS_FEW: u64 = 64;
/// Far more than any of this takes.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(1);
