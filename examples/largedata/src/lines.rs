//! What a parent and its children tell each other: one JSON object per line. The benchmarks' harness includes this file.

use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};

/// Writes one message as a line.
///
/// # Errors
/// Where the other side is gone.
pub(crate) fn tell<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    let mut line = serde_json::to_string(message)?;
    line.push('\n');
    to.write_all(line.as_bytes())?;
    to.flush()
}

/// Reads one message; `None` when the other side is gone.
///
/// # Errors
/// Where the line is no such message.
pub(crate) fn hear<T: for<'de> Deserialize<'de>>(from: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}
