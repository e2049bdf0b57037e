//! What the system was asked for in vain, by name: a bare "Permission denied" helps nobody out of a sandbox.

use std::io;

/// What `what` came to; an error says that it was this.
pub(crate) fn asked<T>(what: &str, outcome: Result<T, impl Into<io::Error>>) -> io::Result<T> {
    outcome.map_err(|error| in_vain(what, error))
}

/// Which call failed, and what to do where it was denied.
pub(crate) fn in_vain(what: &str, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => "; the sandbox of this process has to allow it",
        _ => "",
    };
    io::Error::new(error.kind(), format!("{what}: {error}{remedy}"))
}

/// Whether there was no descriptor for it: there may be one later.
pub(crate) fn lacked_a_descriptor(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_call_its_kind_and_where_it_was_denied_the_remedy() {
        let denied = in_vain("memfd_create", io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(
            denied.to_string(),
            "memfd_create: Operation not permitted (os error 1); the sandbox of this process has to allow it"
        );
        let failed = in_vain("eventfd", io::Error::from_raw_os_error(libc::EMFILE));
        assert_eq!(failed.to_string(), "eventfd: Too many open files (os error 24)");
    }

    #[test]
    fn only_what_lacked_a_descriptor_may_be_had_with_one() {
        let lacked = |error| lacked_a_descriptor(&io::Error::from_raw_os_error(error));
        assert!([libc::EMFILE, libc::ENFILE, libc::ENOMEM].into_iter().all(lacked));
        assert!(![libc::ENOTCONN, libc::EIO, libc::EACCES, libc::EISDIR].into_iter().any(lacked));
    }
}
