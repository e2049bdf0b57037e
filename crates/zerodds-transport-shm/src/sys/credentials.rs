//! Who is at the other end of a socket, as the kernel says.
//!
//! `rustix` 1.1 reads `SO_PEERCRED` into a struct whose pid cannot be zero, but the pid of a process in
//! another PID namespace *is* zero, and its answer is then an error. Containers are that case, so the option is
//! read here, and the pid is not looked at: nothing in this crate rests on one.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The peer's effective user and group at the time it connected or listened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The credentials of the process at the other end of a connected unix socket.
pub(crate) fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<Credentials> {
    let found: libc::ucred = socket_option(socket, libc::SO_PEERCRED)?;
    Ok(Credentials { uid: found.uid, gid: found.gid })
}

/// A descriptor that becomes readable when the process at the other end exits, or `None` if it has; Linux 6.5 and later.
pub(crate) fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let fd: libc::c_int = match socket_option(socket, SO_PEERPIDFD) {
        // Of a process that was reaped, before Linux 6.16; which of the two depends on the kernel. One without the option says ENOPROTOOPT.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)) => return Ok(None),
        outcome => outcome?,
    };
    if fd < 0 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // SAFETY: the kernel has just made this descriptor for us (and close-on-exec); nobody else knows it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// `SO_PEERPIDFD` of asm-generic/socket.h; not in every libc yet.
const SO_PEERPIDFD: libc::c_int = 77;

/// Reads an option whose value is plain integers.
fn socket_option<T: Integers>(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    let fd = socket.as_raw_fd();
    // SAFETY: `value` is writable for `len` bytes, and `len` says so.
    let outcome =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, value.as_mut_ptr().cast(), &mut len) };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all bytes are initialized (to zero, then by the kernel), and every bit pattern is an `Integers`.
    Ok(unsafe { value.assume_init() })
}

/// Types made of integers only, for which every bit pattern is a value.
trait Integers: Copy {}
impl Integers for libc::ucred {}
impl Integers for libc::c_int {}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::time::Timespec;
    use std::os::fd::AsFd;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    use std::process::Command;

    const NAME: &str = "ZERODDS_TEST_CONNECTS_TO";

    #[test]
    fn a_process_that_has_exited_is_not_taken_for_a_kernel_that_cannot_tell() {
        let address = |name: &str| SocketAddr::from_abstract_name(name).expect("a name");
        if let Ok(name) = std::env::var(NAME) {
            UnixStream::connect_addr(&address(&name)).expect("the parent listens");
            return;
        }
        let name = format!("zerodds-test-credentials-{}", std::process::id());
        let listener = UnixListener::bind_addr(&address(&name)).expect("free");
        let this = std::env::current_exe().expect("a test binary");
        let mut child = Command::new(this)
            .args(["--exact", "sys::credentials::tests::a_process_that_has_exited_is_not_taken_for_a_kernel_that_cannot_tell"])
            .env(NAME, &name)
            .spawn()
            .expect("it starts");
        let (socket, _) = listener.accept().expect("it connects");
        assert!(child.wait().expect("ours").success());
        match peer_pidfd(socket.as_fd()) {
            // Linux 6.16 and later tell of the reaped, too.
            Ok(Some(process)) => {
                let mut fds = [PollFd::new(&process, PollFlags::IN)];
                assert_eq!(poll(&mut fds, Some(&Timespec::default())), Ok(1), "it has exited");
            }
            Ok(None) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
                eprintln!("SKIPPED: SO_PEERPIDFD is Linux 6.5 and later");
            }
            Err(error) => panic!("{error}"),
        }
    }
}
