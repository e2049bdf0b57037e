//! What a user reads: lines on stdout, and remarks on stderr.
//!
//! Whoever reads stdout may go away first, as `largedata pub | head` does. That ends the program without another word, with the code
//! that a shell gives to what SIGPIPE ended; children end with their parent. Remarks that nobody can read are left out.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::process::exit;

/// A line on stdout; arguments as for `println!`.
macro_rules! say {
    ($($text:tt)*) => { $crate::output::to_stdout(format_args!($($text)*)) };
}

/// A line on stderr; arguments as for `println!`.
macro_rules! remark {
    ($($text:tt)*) => { $crate::output::to_stderr(format_args!($($text)*)) };
}

pub(crate) use {remark, say};

pub(crate) fn to_stdout(text: Arguments<'_>) {
    match writeln!(io::stdout().lock(), "{text}") {
        Ok(()) => (),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => exit(ENDED_BY_SIGPIPE),
        Err(error) => {
            remark!("largedata: its output cannot be written: {error}");
            exit(2)
        }
    }
}

pub(crate) fn to_stderr(text: Arguments<'_>) {
    // There is nobody to be told.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

const ENDED_BY_SIGPIPE: i32 = 141;
