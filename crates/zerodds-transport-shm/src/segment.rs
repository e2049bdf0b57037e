//! Shared objects: made, sealed, checked, mapped.
//!
//! Every object is an anonymous memfd: no name, no file to go stale, no umask, no `/dev/shm` quota; the kernel
//! frees it with its last holder. It is sealed before anyone else can see it, and whoever receives one checks
//! type, seals and exact size before mapping, since a peer that could truncate it could kill us by SIGBUS.

use crate::asked::{asked, in_vain};
use crate::crash;
use crate::layout::{LAYOUT_HASH, MAGIC, PAGE, VERSION, header, ring};
use crate::limits;
use crate::region::Region;
use crate::sync::Ordering;
use crate::sys::Mapping;
use rustix::fs::{FallocateFlags, FileType, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::process::Resource;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use thiserror::Error;

/// A sealed object of our own.
pub(crate) struct Object {
    pub(crate) fd: OwnedFd,
    pub(crate) mapping: Mapping,
}

/// Why an object that a peer sent is not mapped.
#[derive(Debug, Error)]
pub(crate) enum MapError {
    #[error("it is not a regular memory file")]
    NotAFile,
    #[error("its size is {found} bytes instead of {expected}")]
    Size { found: u64, expected: u64 },
    #[error("it lacks the seals {0:?}")]
    Seals(SealFlags),
    #[error("its header is not one of this protocol and layout")]
    Header,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What others may do with an object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Peers map it for reading and writing: links and doorbells.
    ReadWrite,
    /// Peers can only map it for reading: payload rings.
    ReadOnly,
}

impl Sharing {
    fn seals(self) -> SealFlags {
        let fixed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        match self {
            Self::ReadWrite => fixed,
            Self::ReadOnly => fixed | SealFlags::FUTURE_WRITE,
        }
    }
}

/// Makes an object of `len` bytes, all zero, with its header; it takes memory only where it is touched.
pub(crate) fn create(name: &str, len: usize, owner: u64, sharing: Sharing) -> io::Result<Object> {
    within_file_size_limit(len as u64)?;
    let fd = asked("memfd_create", memory_file(name))?;
    crash::step("object made");
    asked("ftruncate of a memfd", rustix::fs::ftruncate(&fd, len as u64))?;
    // Mapped before it is sealed: afterwards not even we could map a ring for writing.
    let mapping = asked("mmap of a memfd", Mapping::read_write(fd.as_fd(), len))?;
    // Whoever cannot find out makes it present for nothing at most.
    if limits::is_strict().unwrap_or(true) {
        make_present(&mapping, Some(&fd), sharing)?;
    }
    // ORDER: Relaxed; handed over through a socket, which orders.
    mapping.u64(header::MAGIC).store(MAGIC, Ordering::Relaxed);
    mapping.u32(header::VERSION).store(VERSION, Ordering::Relaxed);
    mapping.u32(header::LAYOUT).store(LAYOUT_HASH, Ordering::Relaxed);
    mapping.u64(header::LEN).store(len as u64, Ordering::Relaxed);
    mapping.u64(header::OWNER).store(owner, Ordering::Relaxed);
    if sharing == Sharing::ReadOnly {
        // What another user gets to read he cannot open anew to write: whoever can write to a file can keep its lock (holes.rs).
        asked("fchmod of a memfd", rustix::fs::fchmod(&fd, Mode::RUSR))?;
    }
    crash::step("seal");
    asked("seals of a memfd", rustix::fs::fcntl_add_seals(&fd, sharing.seals()))?;
    crash::step("sealed");
    if sharing == Sharing::ReadOnly {
        refuses_writers(&fd)?;
    }
    Ok(Object { fd, mapping })
}

/// Where `vm.memfd_noexec` is 2, Linux 6.3 and 6.4 refuse what could be executed, and log who asks for it; before that no kernel knows of it.
fn memory_file(name: &str) -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        outcome => outcome,
    }
}

/// Whether its seals keep a ring from being mapped for writing: gVisor remembers F_SEAL_FUTURE_WRITE and does not heed it. What fails for
/// another reason shows nothing.
fn refuses_writers(ring: &OwnedFd) -> io::Result<()> {
    match Mapping::read_write(ring.as_fd(), PAGE) {
        Ok(_) => Err(io::Error::other("this system does not enforce F_SEAL_FUTURE_WRITE")),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(in_vain("mmap of a sealed memfd", error)),
    }
}

/// A ring as peers get it: by a description of its own, with which nothing can be done but read. One for all of them, for each
/// description that a peer could seek by is one more that waits for the lock of the file before us (holes.rs).
pub(crate) fn for_peers(ring: &OwnedFd) -> io::Result<OwnedFd> {
    // Not /proc/self, which is the first thread's: another one may have descriptors of its own.
    let path = format!("/proc/thread-self/fd/{}", ring.as_raw_fd());
    asked(&path, rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
}

/// Maps an object that a peer made, if it is what the protocol says.
pub(crate) fn map(fd: &OwnedFd, len: usize, owner: u64, sharing: Sharing) -> Result<Mapping, MapError> {
    // Only memfds (and their like) have seals at all. Asked first, since this cannot block: where the file is that of
    // somebody's own file system, even asking its type waits for that somebody.
    let seals = rustix::fs::fcntl_get_seals(fd).map_err(|_| MapError::NotAFile)?;
    let stat = rustix::fs::fstat(fd).map_err(io::Error::from)?;
    // Huge pages come from a pool of their own, and where that is empty touching them can be SIGBUS.
    let huge = rustix::fs::fstatfs(fd).map_err(io::Error::from)?.f_type as u64 == HUGETLBFS_MAGIC;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || huge {
        return Err(MapError::NotAFile);
    }
    if !seals.contains(sharing.seals()) {
        return Err(MapError::Seals(sharing.seals() - seals));
    }
    // After the seals: from now on the size cannot change.
    let size = rustix::fs::fstat(fd).map_err(io::Error::from)?.st_size as u64;
    if size != len as u64 {
        return Err(MapError::Size { found: size, expected: len as u64 });
    }
    if len < HEADER_LEN {
        return Err(MapError::Header);
    }
    let mapping = match sharing {
        Sharing::ReadWrite => Mapping::read_write(fd.as_fd(), len),
        Sharing::ReadOnly => Mapping::read_only(fd.as_fd(), len),
    }?;
    crash::step("peer's object mapped");
    if limits::is_strict().unwrap_or(true) {
        // Not by its file, whose lock its maker can keep; who keeps to the protocol has made it present itself.
        make_present(&mapping, None, sharing)?;
    }
    let mut found = [0; HEADER_LEN];
    mapping.copy_out(0, &mut found);
    if found != header_bytes(len as u64, owner) {
        return Err(MapError::Header);
    }
    Ok(mapping)
}

/// Where the system promises no more than it has, a page that is not to be had is a SIGBUS when it is touched first. Asked for now, it is
/// an error: all of what both sides write, and the header of a ring, which asks for the rest itself.
fn make_present(mapping: &Mapping, own: Option<&OwnedFd>, sharing: Sharing) -> io::Result<()> {
    let len = if sharing == Sharing::ReadWrite { mapping.len() } else { ring::HEADER_LEN };
    populate(mapping, own, 0, len)
}

/// Makes these bytes of a mapping present, which is of all of `own` if the file is ours, or says that the system does not have them.
pub(crate) fn populate(mapping: &Mapping, own: Option<&OwnedFd>, at: usize, len: usize) -> io::Result<()> {
    match mapping.populate(at, len) {
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Err(io::ErrorKind::OutOfMemory.into()),
        // Kernels before 5.14 cannot be asked by the mapping. What a peer made it has asked for itself.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            own.map_or(Ok(()), |own| allocate(own, at as u64, len as u64))
        }
        outcome => outcome,
    }
}

/// Has the file allocate these bytes. In steps: a signal undoes the one that is under way.
fn allocate(fd: &OwnedFd, at: u64, len: u64) -> io::Result<()> {
    for from in (at..at + len).step_by(ALLOCATED_AT_ONCE as usize) {
        let len = ALLOCATED_AT_ONCE.min(at + len - from);
        let step = || rustix::fs::fallocate(fd, FallocateFlags::KEEP_SIZE, from, len);
        rustix::io::retry_on_intr(step).map_err(|error| match error {
            Errno::NOSPC | Errno::NOMEM => io::ErrorKind::OutOfMemory.into(),
            other => in_vain("fallocate of a memfd", other),
        })?;
    }
    Ok(())
}

/// Some microseconds.
const ALLOCATED_AT_ONCE: u64 = 64 << 10;

/// `HUGETLBFS_MAGIC` of linux/magic.h.
const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;

/// What every object begins with.
const HEADER_LEN: usize = 0x20;

pub(crate) fn header_bytes(len: u64, owner: u64) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[header::MAGIC..][..8].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[header::VERSION..][..4].copy_from_slice(&VERSION.to_le_bytes());
    bytes[header::LAYOUT..][..4].copy_from_slice(&LAYOUT_HASH.to_le_bytes());
    bytes[header::LEN..][..8].copy_from_slice(&len.to_le_bytes());
    bytes[header::OWNER..][..8].copy_from_slice(&owner.to_le_bytes());
    bytes
}

/// Past RLIMIT_FSIZE the kernel sends SIGXFSZ instead of returning an error, so it is asked first.
fn within_file_size_limit(len: u64) -> io::Result<()> {
    match rustix::process::getrlimit(Resource::Fsize).current {
        Some(limit) if limit < len => Err(io::Error::other(format!(
            "the file size limit (ulimit -f) of {limit} bytes is below the {len} bytes of a shared object; \
             raise it or lower ZERODDS_SHM_MAX_DATAGRAM"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::page_size;
    use crate::testing::{is_alone, is_alone_by, this_program};
    use std::process::Command;

    const LEN: usize = 8192;

    fn object(sharing: Sharing) -> Object {
        create("test", LEN, 7, sharing).expect("memfd")
    }

    #[test]
    fn what_was_made_can_be_mapped() {
        for sharing in [Sharing::ReadWrite, Sharing::ReadOnly] {
            let made = object(sharing);
            made.mapping.copy_in(4096, b"payload");
            let mapped = map(&made.fd, LEN, 7, sharing).expect("map");
            let mut found = [0; 7];
            mapped.copy_out(4096, &mut found);
            assert_eq!(&found, b"payload");
        }
    }

    #[test]
    fn nobody_can_map_a_ring_for_writing_write_it_or_resize_it() {
        let is_fixed = |fd: &OwnedFd| {
            assert!(Mapping::read_write(fd.as_fd(), LEN).is_err());
            assert!(rustix::io::pwrite(fd, b"x", 0).is_err());
            assert!(rustix::fs::ftruncate(fd, 0).is_err());
            assert!(rustix::fs::fcntl_add_seals(fd, SealFlags::WRITE).is_err());
        };
        // By its seals alone; the other one is not even made without them.
        is_fixed(&sealed(LEN, Sharing::ReadOnly));
        is_fixed(&object(Sharing::ReadOnly).fd);
    }

    #[test]
    fn what_peers_get_of_a_ring_can_be_read_and_opened_for_writing_by_no_other_user() {
        let made = object(Sharing::ReadOnly);
        let given = for_peers(&made.fd).expect("proc");
        assert!(map(&given, LEN, 7, Sharing::ReadOnly).is_ok());
        assert_eq!(rustix::io::pwrite(&given, b"x", 0), Err(Errno::BADF), "not even tried");
        let grow = rustix::fs::fallocate(&given, FallocateFlags::KEEP_SIZE, 0, LEN as u64);
        assert_eq!(grow, Err(Errno::BADF));
        rustix::fs::seek(&given, rustix::fs::SeekFrom::Start(7)).expect("a file");
        assert_eq!(rustix::fs::tell(&made.fd), Ok(0), "each has a position, and a lock for it");
        let mode = rustix::fs::fstat(&made.fd).expect("a file").st_mode;
        assert_eq!(Mode::from_raw_mode(mode), Mode::RUSR);
    }

    #[test]
    fn a_system_that_lets_a_ring_be_written_has_none() {
        assert!(refuses_writers(&object(Sharing::ReadOnly).fd).is_ok());
        let error = refuses_writers(&object(Sharing::ReadWrite).fd).expect_err("it lacks the seal");
        assert_eq!(error.to_string(), "this system does not enforce F_SEAL_FUTURE_WRITE");
        let counter = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).expect("eventfd");
        let error = refuses_writers(&counter).expect_err("what nobody can map shows nothing");
        assert!(error.to_string().contains("mmap of a sealed memfd"), "{error}");
    }

    #[test]
    fn an_object_cannot_be_made_executable_where_the_kernel_knows_of_that() {
        const SEAL_EXEC: SealFlags = SealFlags::from_bits_retain(0x20);
        if rustix::fs::memfd_create("test", MemfdFlags::NOEXEC_SEAL).is_err() {
            return println!("SKIPPED: MFD_NOEXEC_SEAL is Linux 6.3 and later");
        }
        for sharing in [Sharing::ReadWrite, Sharing::ReadOnly] {
            let made = object(sharing);
            assert!(rustix::fs::fcntl_get_seals(&made.fd).expect("a memfd").contains(SEAL_EXEC));
        }
    }

    #[test]
    fn all_pages_that_are_written_are_there_before_they_are_touched_or_it_is_an_error() {
        for (sharing, present) in [(Sharing::ReadWrite, 4 * LEN), (Sharing::ReadOnly, ring::HEADER_LEN)] {
            let made = create("test", 4 * LEN, 7, sharing).expect("memfd");
            make_present(&made.mapping, Some(&made.fd), sharing).expect("memory");
            let found = rustix::fs::fstat(&made.fd).expect("a file").st_blocks * 512;
            assert_eq!(found as usize, present.next_multiple_of(page_size()));
            // As where there is no memory for a page, touching one that is not in the file is a SIGBUS.
            let empty = rustix::fs::memfd_create("empty", MemfdFlags::CLOEXEC).expect("memfd");
            let mapping = Mapping::read_write(empty.as_fd(), LEN).expect("an address");
            let error = make_present(&mapping, Some(&empty), sharing).expect_err("no page");
            assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        }
    }

    #[test]
    fn kernels_that_cannot_be_asked_by_the_mapping_have_the_pages_there_all_the_same() {
        const TEST: &str =
            "segment::tests::kernels_that_cannot_be_asked_by_the_mapping_have_the_pages_there_all_the_same";
        const SANDBOX: &str = include_str!("../tests/failures/shims/sandbox.py");
        let mut old = Command::new("python3");
        old.args(["-c", SANDBOX, "populate"]).arg(this_program());
        if !is_alone_by(old, TEST) {
            return;
        }
        let made = create("test", 16 << 20, 7, Sharing::ReadOnly).expect("memfd");
        let error = made.mapping.populate(0, made.mapping.len()).expect_err("as before 5.14");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let blocks = || rustix::fs::fstat(&made.fd).expect("a file").st_blocks as usize * 512;
        populate(&made.mapping, Some(&made.fd), 1 << 20, 200_000).expect("memory");
        assert_eq!(blocks(), 200_000usize.next_multiple_of(page_size()) + page_size(), "and the header's");
        // What a peer made is left as it is, also where we write to it.
        let before = blocks();
        make_present(&made.mapping, None, Sharing::ReadWrite).expect("nothing to do");
        assert_eq!(blocks(), before);
        let read = Mapping::read_only(made.fd.as_fd(), LEN).expect("an address");
        let error = read.populate(0, LEN).expect_err("as before 5.14");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        populate(&read, None, 0, LEN).expect("nothing to do");
        make_present(&made.mapping, Some(&made.fd), Sharing::ReadWrite).expect("memory");
        assert_eq!(blocks(), 16 << 20);
    }

    #[test]
    fn an_object_without_the_seals_is_refused() {
        let fd = rustix::fs::memfd_create("bare", MemfdFlags::ALLOW_SEALING).expect("memfd");
        rustix::fs::ftruncate(&fd, LEN as u64).expect("truncate");
        assert!(matches!(map(&fd, LEN, 7, Sharing::ReadWrite), Err(MapError::Seals(_))));
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK).expect("seal");
        assert!(matches!(map(&fd, LEN, 7, Sharing::ReadWrite), Err(MapError::Seals(_))));
    }

    #[test]
    fn f06_every_other_value_of_every_byte_of_a_header_is_refused_and_so_is_every_other_length() {
        for sharing in [Sharing::ReadWrite, Sharing::ReadOnly] {
            let made = object(sharing);
            for at in 0..HEADER_LEN {
                let right = header_bytes(LEN as u64, 7)[at];
                for wrong in (0..=u8::MAX).filter(|&value| value != right) {
                    made.mapping.copy_in(at, &[wrong]);
                    let refused = map(&made.fd, LEN, 7, sharing);
                    assert!(matches!(refused, Err(MapError::Header)), "{wrong:#x} at {at:#x}");
                }
                made.mapping.copy_in(at, &[right]);
            }
            assert!(map(&made.fd, LEN, 7, sharing).is_ok(), "and the right one is not");
        }
        // Cut off anywhere, or too long: never mapped, so never a SIGBUS.
        for len in (0..=2 * LEN).filter(|&len| len != LEN) {
            let refused = map(&sealed(len, Sharing::ReadWrite), LEN, 7, Sharing::ReadWrite);
            assert!(matches!(refused, Err(MapError::Size { found, .. }) if found == len as u64), "{len}");
        }
    }

    #[test]
    fn what_is_shorter_than_a_header_has_none_even_if_it_is_as_long_as_was_said() {
        for len in 0..HEADER_LEN {
            let refused = map(&sealed(len, Sharing::ReadWrite), len, 7, Sharing::ReadWrite);
            assert!(matches!(refused, Err(MapError::Header)), "{len}");
        }
    }

    /// A file of so many bytes, all of them zero, that cannot become more or fewer.
    fn sealed(len: usize, sharing: Sharing) -> OwnedFd {
        let fd = rustix::fs::memfd_create("sealed", MemfdFlags::ALLOW_SEALING).expect("memfd");
        rustix::fs::ftruncate(&fd, len as u64).expect("truncate");
        rustix::fs::fcntl_add_seals(&fd, sharing.seals()).expect("seal");
        fd
    }

    #[test]
    fn a_ring_that_could_still_be_written_is_refused() {
        let made = object(Sharing::ReadWrite);
        assert!(matches!(map(&made.fd, LEN, 7, Sharing::ReadOnly), Err(MapError::Seals(_))));
    }

    #[test]
    fn objects_are_made_and_mapped_where_no_descriptor_is_left_to_ask_what_is_promised() {
        const TEST: &str =
            "segment::tests::objects_are_made_and_mapped_where_no_descriptor_is_left_to_ask_what_is_promised";
        if !is_alone(TEST) {
            return;
        }
        let free = std::fs::File::open("/dev/null").expect("a descriptor").as_raw_fd() as u64;
        let before = rustix::process::getrlimit(Resource::Nofile);
        let one = rustix::process::Rlimit { current: Some(free + 1), ..before };
        rustix::process::setrlimit(Resource::Nofile, one).expect("less");
        let made = object(Sharing::ReadWrite);
        assert!(limits::is_strict().is_err(), "it was the last one");
        map(&made.fd, LEN, 7, Sharing::ReadWrite).expect("what it should be");
    }

    #[test]
    fn another_size_another_owner_and_other_kinds_of_descriptor_are_refused() {
        let made = object(Sharing::ReadWrite);
        assert!(matches!(map(&made.fd, LEN * 2, 7, Sharing::ReadWrite), Err(MapError::Size { .. })));
        assert!(matches!(map(&made.fd, LEN, 8, Sharing::ReadWrite), Err(MapError::Header)));
        let (pipe, _) = rustix::pipe::pipe().expect("pipe");
        assert!(matches!(map(&pipe, LEN, 7, Sharing::ReadWrite), Err(MapError::NotAFile)));
        let null = OwnedFd::from(std::fs::File::open("/dev/null").expect("null"));
        assert!(matches!(map(&null, LEN, 7, Sharing::ReadWrite), Err(MapError::NotAFile)));
        let file = OwnedFd::from(std::fs::File::open("/proc/self/exe").expect("exe"));
        assert!(map(&file, LEN, 7, Sharing::ReadWrite).is_err());
    }
}
