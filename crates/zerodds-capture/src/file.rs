//! The pcapng file: a section, an interface description for each tap, a packet block for each packet.
//!
//! ```text
//!   section │ interface 0 │ packet │ packet │ interface 1 │ packet ... │ statistics 0 │ statistics 1
//! ```
//! An interface has statistics at the end of the file, and wherever its participant ends, as whoever keeps the capture may
//! keep it until the process exits.
//!
//! All blocks of one message to one peer are written by one call, so a process that is killed leaves whole messages, or in the
//! middle of a long write one that is cut, which tools report after showing everything before it.
//!
//! Two files bound it: the one that is written is renamed at half of the limit and replaces the one before. Rejected:
//! stopping at the limit, which keeps the beginning of a long run where what matters is its end.

use crate::config::Config;
use crate::packet::{Extent, Flow, Packets};
use crate::tap::{Direction, Interface, Item};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness};
use rustix::fs::OFlags;
use rustix::process::{Resource, geteuid, getrlimit};
use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use zerodds_core::Locator;

pub(crate) struct Output {
    path: PathBuf,
    file: File,
    /// Bytes of the file.
    written: u64,
    /// What each of the two files may have.
    half: u64,
    encoder: PcapNgWriter<Vec<u8>>,
    interfaces: Vec<Known>,
}

/// An interface that the file has described.
struct Known {
    interface: Arc<Interface>,
    /// The statistics of it that the file has last.
    said: Option<[u64; 2]>,
}

impl Output {
    /// Opens `path` for a capture of `bytes_max` in all. An old file is overwritten, unless somebody writes it.
    pub(crate) fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        // Whoever writes beyond this limit is killed by a signal.
        let limit = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
        if limit < Config::BYTES_MIN {
            return Err(io::Error::other("files of this process may have less than 1 MiB (ulimit -f)"));
        }
        let half = limit.min(bytes_max / 2);
        let (path, file, encoder) = (path.to_owned(), create(path)?, section()?);
        let mut output = Self { path, file, written: 0, half, encoder, interfaces: Vec::new() };
        output.append()?;
        Ok(output)
    }

    /// Writes a message, once for each peer. One that no file may hold is counted instead.
    pub(crate) fn write(&mut self, item: &Item) -> io::Result<()> {
        let packets = Packets::of(&item.message);
        let comments: Vec<String> = item.peers.iter().map(|&peer| comment(item, peer)).collect();
        let lens = comments.iter().map(|comment| packets_len_max(&packets, comment));
        let (len, largest) = (lens.clone().sum(), lens.max().unwrap_or(0));
        if !self.has_room(&item.interface, len) {
            // The files stay as they are for what a new one could not hold either.
            let fits = SECTION_LEN_MAX + interface_len_max(&item.interface) + len <= self.half;
            if !fits || self.interfaces.is_empty() {
                item.interface.written.drop_too_large();
                return Ok(());
            }
            self.turn_over()?;
        }
        let index = self.interface(&item.interface)?;
        let mut missing = item.interface.written.missing(item.dropped);
        self.encoder.get_mut().reserve(largest as usize);
        for (&peer, comment) in item.peers.iter().zip(&comments) {
            let flow = item.interface.flow(item.direction, peer);
            self.encode(index, item, flow, comment, &packets, std::mem::take(&mut missing))?;
            self.append()?;
        }
        self.encoder.get_mut().shrink_to(ENCODER_LEN);
        item.interface.written.tell(item.dropped);
        Ok(())
    }

    /// Says how much an interface has seen so far, where the file knows it.
    pub(crate) fn write_statistics(&mut self, interface: &Arc<Interface>) -> io::Result<()> {
        let index = self.interfaces.iter().position(|known| Arc::ptr_eq(&known.interface, interface));
        let Some(index) = index.filter(|_| self.has_room(interface, STATISTICS_LEN)) else { return Ok(()) };
        self.encode_statistics(index)?;
        self.append()
    }

    /// Says how much all interfaces have seen.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        (0..self.interfaces.len()).try_for_each(|index| self.encode_statistics(index))?;
        self.append()
    }

    /// The statistics of an interface, unless the file has them; they count from the beginning of the capture.
    fn encode_statistics(&mut self, index: usize) -> io::Result<()> {
        let known = &mut self.interfaces[index];
        let dropped = known.interface.dropped();
        let numbers = [known.interface.written.messages() + dropped, dropped];
        if known.said.replace(numbers) == Some(numbers) {
            return Ok(());
        }
        let block = InterfaceStatisticsBlock {
            interface_id: index as u32,
            // The upper half comes first in either byte order, which the library overlooks.
            timestamp: nanoseconds(SystemTime::now()).rotate_left(32),
            options: vec![
                InterfaceStatisticsOption::IsbIfRecv(numbers[0]),
                InterfaceStatisticsOption::IsbIfDrop(numbers[1]),
            ],
        };
        self.encoder.write_pcapng_block(block).map(|_| ()).map_err(io::Error::other)
    }

    /// The next file; this one takes the place of the one before.
    fn turn_over(&mut self) -> io::Result<()> {
        self.finish()?;
        std::fs::rename(&self.path, predecessor(&self.path))?;
        (self.file, self.encoder) = (create(&self.path)?, section()?);
        (self.written, self.interfaces) = (0, Vec::new());
        self.append()
    }

    /// The number of an interface in this file, which describes it if it has not.
    fn interface(&mut self, interface: &Arc<Interface>) -> io::Result<usize> {
        if let Some(index) = self.interfaces.iter().position(|known| Arc::ptr_eq(&known.interface, interface))
        {
            return Ok(index);
        }
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::RAW,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName(interface.name().into()),
                InterfaceDescriptionOption::IfDescription(interface.description().into()),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        self.encoder.write_pcapng_block(block).map_err(io::Error::other)?;
        self.interfaces.push(Known { interface: Arc::clone(interface), said: None });
        Ok(self.interfaces.len() - 1)
    }

    /// The blocks of a message to one peer, before which so many are missing.
    fn encode(
        &mut self,
        index: usize,
        item: &Item,
        flow: Flow,
        comment: &str,
        packets: &Packets<'_>,
        missing: u64,
    ) -> io::Result<()> {
        let mut dropped = Some(missing).filter(|&dropped| dropped > 0);
        let mut outcome = Ok(());
        packets.each(flow, |packet, original_len, extent| {
            let comment = match (extent, item.message.len()) {
                (Extent::Whole, _) => Cow::Borrowed(comment),
                (Extent::Part { number, of }, len) => {
                    Cow::Owned(format!("{comment}; part {number} of {of} of one message of {len} bytes"))
                }
                (Extent::Cut, len) => Cow::Owned(format!("{comment}; cut: the message has {len} bytes")),
            };
            let direction = if item.direction == Direction::From { INBOUND } else { OUTBOUND };
            let mut options =
                vec![EnhancedPacketOption::Comment(comment), EnhancedPacketOption::Flags(direction)];
            options.extend(dropped.take().map(EnhancedPacketOption::DropCount));
            let block = EnhancedPacketBlock {
                interface_id: index as u32,
                timestamp: Duration::from_nanos(nanoseconds(item.at)),
                original_len,
                data: Cow::Borrowed(packet),
                options,
            };
            if let Err(error) = self.encoder.write_pcapng_block(block) {
                outcome = Err(io::Error::other(error));
            }
        });
        outcome
    }

    /// Whether this file may have so much more of this interface, and the statistics at its end.
    fn has_room(&self, interface: &Arc<Interface>, len: u64) -> bool {
        let known = self.interfaces.iter().any(|known| Arc::ptr_eq(&known.interface, interface));
        let described = if known { 0 } else { interface_len_max(interface) };
        let statistics = self.interfaces.len() as u64 * STATISTICS_LEN;
        self.written + described + len + statistics <= self.half
    }

    /// Writes what is encoded, all of it or nothing: what is left of a write that failed is taken away.
    fn append(&mut self) -> io::Result<()> {
        let bytes = self.encoder.get_mut();
        let outcome = self.file.write_all(bytes);
        if outcome.is_ok() {
            self.written += bytes.len() as u64;
        } else {
            let _ = self.file.set_len(self.written);
        }
        bytes.clear();
        outcome
    }
}

/// What is said of a message to or from a peer.
fn comment(item: &Item, peer: Option<Locator>) -> String {
    let mut comment = item.interface.comment(item.direction, peer);
    comment.extend(item.remark.iter().flat_map(|remark| ["; ", remark]));
    comment
}

/// What the blocks of a message to one peer may take.
fn packets_len_max(packets: &Packets<'_>, comment: &str) -> u64 {
    (packets.payload_len() + packets.count() * (PACKET_LEN_MAX + comment.len())) as u64
}

/// What the description of an interface may take, with its statistics.
fn interface_len_max(interface: &Interface) -> u64 {
    (interface.name().len() + interface.description().len()) as u64 + DESCRIPTION_LEN_MAX + STATISTICS_LEN
}

/// The beginning of a file.
fn section() -> io::Result<PcapNgWriter<Vec<u8>>> {
    let application = concat!("zerodds ", env!("CARGO_PKG_VERSION"));
    let section = SectionHeaderBlock {
        endianness: Endianness::Little,
        options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(application))],
        ..SectionHeaderBlock::default()
    };
    PcapNgWriter::with_section_header(Vec::new(), section).map_err(io::Error::other)
}

/// A file that only we write, and that only we, its owner, read: it has everything that was published.
fn create(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(OWNER_ONLY)
        .custom_flags(flags.bits().cast_signed());
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(io::Error::other("another process captures into it")),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // It may be an old file, with the owner and the permissions that it had.
    let (owner, user) = (file.metadata()?.uid(), geteuid().as_raw());
    if owner != user {
        let why = format!("it belongs to user {owner}, who could read it, and not to user {user}: remove it");
        return Err(io::Error::other(why));
    }
    if let Err(error) = file.set_permissions(Permissions::from_mode(OWNER_ONLY)) {
        // Some file systems have none: FAT, shares of other systems.
        tracing::warn!(
            "{}: others may read the capture, whose permissions cannot be set: {error}",
            path.display()
        );
    }
    file.set_len(0)?;
    Ok(file)
}

/// The file before this one.
pub(crate) fn predecessor(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".1");
    name.into()
}

fn nanoseconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

/// The permissions of the file.
const OWNER_ONLY: u32 = 0o600;
/// The direction in the flags of a packet block.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
/// 10^-9 s.
const NANOSECONDS: u8 = 9;
/// The statistics of one interface.
const STATISTICS_LEN: u64 = 52;
/// The beginning of a file takes less.
const SECTION_LEN_MAX: u64 = 128;
/// The description of an interface takes less, but for its texts.
const DESCRIPTION_LEN_MAX: u64 = 64;
/// The block of a packet takes less, but for its payload and what is said of every packet of the message: IP and UDP, 100
/// bytes of options and padding, and which part it is.
const PACKET_LEN_MAX: usize = 256;
/// Memory for encoded blocks that is kept.
const ENCODER_LEN: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{message, read};
    use std::net::SocketAddr;

    #[test]
    fn a_large_message_to_many_takes_the_memory_of_one_and_gives_it_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a");
        let mut output = Output::open(&file, 1 << 30).expect("a file");
        let item = Item {
            interface: Arc::new(Interface::new(zerodds_core::Path::Udp, Vec::new(), 0)),
            dropped: 0,
            at: SystemTime::now(),
            direction: Direction::To,
            peers: vec![Some(Locator::from(SocketAddr::from(([127, 0, 0, 1], 1)))); 20],
            message: message(1, 3 << 20),
            remark: None,
        };
        output.write(&item).expect("room on the disk");
        assert_eq!(read(&file).samples(false).len(), 20);
        assert!(output.encoder.get_ref().capacity() <= ENCODER_LEN);
    }
}
