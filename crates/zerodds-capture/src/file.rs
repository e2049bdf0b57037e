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
    file: Claimed,
    /// Bytes of the file.
    written: u64,
    /// What each of the two files may have.
    half: u64,
    encoder: PcapNgWriter<Vec<u8>>,
    interfaces: Vec<Known>,
    /// What the log is to be told of the files.
    remarks: Vec<String>,
}

/// An interface that the file has described.
struct Known {
    interface: Arc<Interface>,
    /// The statistics of it that the file has last.
    said: Option<[u64; 2]>,
}

impl Output {
    /// Opens `path` for a capture of `bytes_max` in all. An old file is overwritten, unless somebody writes it, and the one
    /// before it is removed.
    pub(crate) fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let half = len_max()?.min(bytes_max / 2);
        let file = Claimed::at(path)?;
        let before = predecessor(path);
        let remarks = match std::fs::remove_file(&before) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(in_the_way(&before, &error)),
            _ => file.begin(path)?,
        };
        let (path, encoder) = (path.to_owned(), section()?);
        let mut output = Self { path, file, written: 0, half, encoder, interfaces: Vec::new(), remarks };
        output.append()?;
        Ok(output)
    }

    /// Whether [`open`](Self::open) would succeed, as far as can be told without changing anything.
    pub(crate) fn check(path: &Path) -> io::Result<()> {
        len_max()?;
        let file = Claimed::at(path)?;
        if file.is_new {
            std::fs::remove_file(path)?;
        }
        let before = predecessor(path);
        if std::fs::symlink_metadata(&before).is_ok_and(|found| found.is_dir()) {
            return Err(in_the_way(&before, &io::ErrorKind::IsADirectory.into()));
        }
        // That it is no folder the system says last, and only of what it would let us remove.
        match std::fs::remove_dir(&before) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::NotFound) => {
                Err(in_the_way(&before, &error))
            }
            _ => Ok(()),
        }
    }

    /// Tells the log what is to be said of the files. Not when they are opened: whoever hears of it may do anything, whoever opens
    /// them may not.
    pub(crate) fn say(&mut self) {
        self.remarks.drain(..).for_each(|remark| tracing::warn!("{remark}"));
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

    /// Says how much an interface has seen so far. One of which this file has nothing is described if something is missing.
    pub(crate) fn write_statistics(&mut self, interface: &Arc<Interface>) -> io::Result<()> {
        let is_due = self.knows(interface) || interface.dropped() > 0;
        if !is_due || !self.has_room(interface, STATISTICS_LEN) {
            return Ok(());
        }
        let index = self.interface(interface)?;
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
        (self.file, self.encoder) = (Claimed::at(&self.path)?, section()?);
        if !self.file.is_new {
            // What is said of a file of ours was said of the first.
            self.remarks.extend(self.file.begin(&self.path)?);
        }
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

    /// Whether this file describes it.
    fn knows(&self, interface: &Arc<Interface>) -> bool {
        self.interfaces.iter().any(|known| Arc::ptr_eq(&known.interface, interface))
    }

    /// Whether this file may have so much more of this interface, and the statistics at its end.
    fn has_room(&self, interface: &Arc<Interface>, len: u64) -> bool {
        let described = if self.knows(interface) { 0 } else { interface_len_max(interface) };
        let statistics = self.interfaces.len() as u64 * STATISTICS_LEN;
        self.written + described + len + statistics <= self.half
    }

    /// Writes what is encoded, all of it or nothing: what is left of a write that failed is taken away.
    fn append(&mut self) -> io::Result<()> {
        let bytes = self.encoder.get_mut();
        let outcome = self.file.file.write_all(bytes);
        if outcome.is_ok() {
            self.written += bytes.len() as u64;
        } else {
            let _ = self.file.file.set_len(self.written);
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

/// A file that nobody else writes until this is dropped.
struct Claimed {
    file: File,
    /// Whether it was not there before.
    is_new: bool,
}

impl Claimed {
    /// The file at `path`, with what it has; it is made where there is none.
    fn at(path: &Path) -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            let claimed = Self::lock(open(path)?)?;
            // Whoever wrote it until now may have renamed it since it was opened here, and begun another.
            if claimed.is_at(path)? {
                claimed.check_owner()?;
                return Ok(claimed);
            }
        }
        Err(io::Error::other("another process captures into it, and goes from file to file"))
    }

    fn lock((file, is_new): (File, bool)) -> io::Result<Self> {
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        match file.try_lock() {
            Ok(()) => Ok(Self { file, is_new }),
            Err(TryLockError::WouldBlock) => Err(io::Error::other(
                "another process captures into it, or did, and a child that it has forked has it open still",
            )),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn is_at(&self, path: &Path) -> io::Result<bool> {
        let own = self.file.metadata()?;
        match std::fs::symlink_metadata(path) {
            Ok(found) => Ok((found.dev(), found.ino()) == (own.dev(), own.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// An old file may belong to somebody else.
    fn check_owner(&self) -> io::Result<()> {
        match self.other_owner()? {
            Some(owner) if !self.is_new => Err(io::Error::other(format!(
                "it belongs to user {owner}, who could read it, and not to user {}: remove it",
                geteuid().as_raw()
            ))),
            _ => Ok(()),
        }
    }

    /// Whom it belongs to if not to us. One of ours does where a file system has other users than we have: FAT, shares of
    /// other systems.
    fn other_owner(&self) -> io::Result<Option<u32>> {
        Ok(Some(self.file.metadata()?.uid()).filter(|&owner| owner != geteuid().as_raw()))
    }

    /// From now on it has what we write, which only we, its owner, read: everything that was published. Where that is not so,
    /// that is to be said.
    fn begin(&self, path: &Path) -> io::Result<Vec<String>> {
        let (name, mut remarks) = (path.display(), Vec::new());
        if let Some(owner) = self.other_owner()? {
            remarks.push(format!("{name}: user {owner} may read the capture, who owns all files there"));
        }
        if let Err(error) = self.file.set_permissions(Permissions::from_mode(OWNER_ONLY)) {
            // Some file systems have none: FAT, shares of other systems.
            remarks.push(format!(
                "{name}: others may read the capture, whose permissions cannot be set: {error}"
            ));
        }
        self.file.set_len(0)?;
        Ok(remarks)
    }
}

impl Drop for Claimed {
    /// A child that was forked has the file open still, and would keep the lock.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// The file at `path`, and whether it was made now. No link is followed, and nobody waited for.
fn open(path: &Path) -> io::Result<(File, bool)> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.write(true).mode(OWNER_ONLY).custom_flags(flags.bits().cast_signed());
    match options.create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            options.create_new(false).create(true).truncate(false).open(path).map(|file| (file, false))
        }
        made => made.map(|file| (file, true)),
    }
}

/// What a file of this process may have: whoever writes more is killed by a signal.
fn len_max() -> io::Result<u64> {
    let limit = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
    if limit < Config::BYTES_MIN {
        return Err(io::Error::other("files of this process may have less than 1 MiB (ulimit -f)"));
    }
    Ok(limit)
}

fn in_the_way(before: &Path, error: &io::Error) -> io::Error {
    let name = before.display();
    io::Error::new(
        error.kind(),
        format!("{name}, which the file before it becomes, cannot be removed: {error}"),
    )
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

/// So often a file may be renamed between two calls.
const ATTEMPTS: u32 = 100;
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
    use std::process::{Command, Stdio};

    #[test]
    fn a_child_that_inherited_the_file_does_not_keep_it_from_the_next_capture() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a");
        let output = Output::open(&file, 1 << 20).expect("a file");
        let inherited = Stdio::from(output.file.file.try_clone().expect("a descriptor"));
        let mut child = Command::new("sleep").arg("600").stdin(inherited).spawn().expect("sleep");
        drop(output);
        let next = Output::open(&file, 1 << 20).map(|_| ());
        child.kill().expect("it is a child of ours");
        child.wait().expect("it is a child of ours");
        next.expect("the file is free");
    }

    #[test]
    fn a_file_that_was_renamed_since_it_was_opened_is_not_the_one_that_was_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a");
        let opened = open(&file).expect("a file");
        std::fs::rename(&file, predecessor(&file)).expect("the folder is ours");
        let renamed = Claimed::lock(opened).expect("nobody has it");
        assert!(!renamed.is_at(&file).expect("a look"), "there is none");
        let next = Claimed::at(&file).expect("a file");
        assert!(!renamed.is_at(&file).expect("a look") && next.is_at(&file).expect("a look"));
    }

    #[test]
    fn a_file_of_ours_may_belong_to_whom_its_file_system_gives_it_and_an_old_one_may_not() {
        if !geteuid().is_root() {
            return println!("SKIPPED: it takes root to give a file to another user");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let mut claimed = Claimed::at(&path).expect("a file");
        std::os::unix::fs::chown(&path, Some(65_534), None).expect("by root");
        claimed.check_owner().expect("it was made now");
        claimed.is_new = false;
        claimed.check_owner().expect_err("whoever it belongs to may read it");
    }

    #[test]
    fn the_file_before_an_old_one_is_removed_or_named_where_it_cannot_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a");
        let before = predecessor(&file);
        std::fs::write(&before, "old").expect("the folder is ours");
        drop(Output::open(&file, 1 << 20).expect("a file"));
        assert!(!before.exists());
        std::fs::create_dir(&before).expect("the folder is ours");
        std::fs::write(&file, "old").expect("the folder is ours");
        for outcome in [Output::check(&file), Output::open(&file, 1 << 20).map(|_| ())] {
            let error = outcome.expect_err("a folder is in the way").to_string();
            assert!(error.contains(&*before.to_string_lossy()), "{error}");
        }
        assert_eq!(std::fs::read(&file).expect("it is there"), b"old");
    }

    #[test]
    fn to_check_whether_a_file_can_be_written_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a");
        Output::check(&file).expect("it can");
        assert!(!file.exists());
        std::fs::write(&file, "old").expect("the folder is ours");
        Output::check(&file).expect("it can");
        assert_eq!(std::fs::read(&file).expect("it is there"), b"old");
        let _output = Output::open(&file, 1 << 20).expect("a file");
        let error = Output::check(&file).expect_err("it is being written").to_string();
        assert!(error.contains("captures into it"), "{error}");
    }

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
