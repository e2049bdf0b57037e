//! The pcapng file: a section, an interface description for each tap, a packet block for each packet.
//!
//! ```text
//!   section │ interface 0 │ packet │ packet │ interface 1 │ packet ... │ statistics 0 │ statistics 1
//! ```
//! All blocks of one message are written by one call, so a process that is killed leaves whole messages, or in the
//! middle of a long write one that is cut, which tools report after showing everything before it.
//!
//! Two files bound it: the one that is written is renamed at half of the limit and replaces the one before. Rejected:
//! stopping at the limit, which keeps the beginning of a long run where what matters is its end.

use crate::config::Config;
use crate::packet::{Extent, packets};
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
    packets: u64,
}

impl Output {
    /// Opens `path` for a capture of `bytes_max` in all. An old file is overwritten, unless somebody writes it.
    pub(crate) fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        // Whoever writes beyond this limit is killed by a signal.
        let limit = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
        if limit < Config::BYTES_MIN {
            return Err(io::Error::other("files of this process may have less than 1 MiB (ulimit -f)"));
        }
        let half = (limit - STATISTICS_LEN).min(bytes_max / 2);
        let (path, file, encoder) = (path.to_owned(), create(path)?, section()?);
        let mut output = Self { path, file, written: 0, half, encoder, interfaces: Vec::new() };
        output.append()?;
        Ok(output)
    }

    /// Writes a message, once for each peer. One that no file may hold is counted instead.
    pub(crate) fn write(&mut self, item: &Item) -> io::Result<()> {
        let known = self.interfaces.len();
        let missing = item.interface.written.missing(item.dropped);
        let mut index = self.interface(&item.interface)?;
        let mut described = self.encoder.get_ref().len();
        self.encode(index, item, missing)?;
        if self.overflows() && self.interfaces.iter().any(|known| known.packets > 0) {
            // What is not written was not described either.
            self.encoder.get_mut().clear();
            self.interfaces.truncate(known);
            self.turn_over()?;
            index = self.interface(&item.interface)?;
            described = self.encoder.get_ref().len();
            self.encode(index, item, missing)?;
        }
        if self.overflows() {
            self.encoder.get_mut().truncate(described);
            item.interface.written.drop_too_large();
        } else {
            self.interfaces[index].packets += 1;
            item.interface.written.tell(item.dropped);
        }
        self.append()
    }

    /// Says how much was not shown.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let now = nanoseconds(SystemTime::now());
        for (index, known) in (0..).zip(&self.interfaces) {
            let dropped = known.interface.dropped();
            let block = InterfaceStatisticsBlock {
                interface_id: index,
                // The upper half comes first in either byte order, which the library overlooks.
                timestamp: now.rotate_left(32),
                options: vec![
                    InterfaceStatisticsOption::IsbIfRecv(known.packets + dropped),
                    InterfaceStatisticsOption::IsbIfDrop(dropped),
                ],
            };
            self.encoder.write_pcapng_block(block).map_err(io::Error::other)?;
        }
        self.append()
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
        self.interfaces.push(Known { interface: Arc::clone(interface), packets: 0 });
        Ok(self.interfaces.len() - 1)
    }

    /// The blocks of a message, before which so many are missing.
    fn encode(&mut self, index: usize, item: &Item, missing: u64) -> io::Result<()> {
        let mut dropped = Some(missing).filter(|&dropped| dropped > 0);
        let mut outcome = Ok(());
        for &peer in &item.peers {
            let mut comment = item.interface.comment(item.direction, peer);
            comment.extend(item.remark.iter().flat_map(|remark| ["; ", remark]));
            let flow = item.interface.flow(item.direction, peer);
            packets(&item.message, flow, |packet, original_len, extent| {
                let comment = match (extent, item.message.len()) {
                    (Extent::Whole, _) => Cow::Borrowed(&comment[..]),
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
        }
        outcome
    }

    /// Whether what is encoded does not fit into this file.
    fn overflows(&self) -> bool {
        self.written + self.encoder.get_ref().len() as u64 > self.half
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
/// Room for the statistics at the end of a file.
const STATISTICS_LEN: u64 = 64 << 10;
