//! A capture: the file, the queue before it and the thread between them.
//!
//! All participants of a process whose settings name the same file write into that one file. A process that was forked
//! has no thread that writes: it captures nothing.

use crate::config::Config;
use crate::file::Output;
use crate::queue::{Place, Queue};
use crate::tap::{Item, Tap};
use parking_lot::Mutex;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use thiserror::Error;
use zerodds_core::{Locator, Path};

/// A file that is being written. Clones are the same one; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct Capture {
    writing: Arc<Writing>,
    /// Whether datagrams are asked for here; others who write into the same file may have asked otherwise.
    udp: bool,
}

/// Why nothing can be captured.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file cannot be written.
    #[error(
        "ZERODDS_CAPTURE={path:?} cannot be written: {why}; name a file in a directory that this user may write to, with \
         %p in its name for the process id where several processes have the setting"
    )]
    File {
        /// The file, with the process id in it.
        path: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// There is no thread to be had.
    #[error("the thread that writes a capture cannot be started: {0}")]
    Thread(io::Error),
}

#[derive(Debug)]
struct Writing {
    path: PathBuf,
    process: u32,
    bytes_max: u64,
    queue: Arc<Queue<Item>>,
    /// That something had no room was said.
    said: AtomicBool,
}

impl Capture {
    /// Begins what `config` asks for; `None` if that is nothing.
    ///
    /// # Errors
    /// [`OpenError`], where there can be no such file.
    pub fn open(config: &Config) -> Result<Option<Self>, OpenError> {
        let Some(file) = &config.file else { return Ok(None) };
        let process = std::process::id();
        let path = with_process_id(file, process);
        let mut open = OPEN.lock();
        open.retain(|one| one.process == process && (one.writing.strong_count() > 0 || !one.queue.is_over()));
        let failed = |why| OpenError::File { path: path.clone(), why };
        if let Some(one) = open.iter().find(|one| one.path == path) {
            if let Some(writing) = one.writing.upgrade() {
                if writing.bytes_max != config.bytes_max {
                    tracing::warn!(
                        file = %path.display(),
                        "ZERODDS_CAPTURE_MAX={} has no effect: the file is being written, with {} bytes at most",
                        config.bytes_max, writing.bytes_max
                    );
                }
                return Ok(Some(Self { writing, udp: config.udp }));
            }
            one.queue.wait_until_over();
            if !one.queue.is_over() {
                return Err(failed(io::Error::other(
                    "this process is still writing an earlier capture into it",
                )));
            }
        }
        let output = Output::open(&path, config.bytes_max).map_err(failed)?;
        let queue = Arc::new(Queue::new(QUEUE_BYTES));
        let writer = Writer { queue: Arc::clone(&queue), path: path.clone(), output };
        let thread = std::thread::Builder::new().name("zerodds-pcap".into());
        thread.spawn(move || writer.run()).map_err(OpenError::Thread)?;
        let writing = Arc::new(Writing {
            path: path.clone(),
            process,
            bytes_max: config.bytes_max,
            queue: Arc::clone(&queue),
            said: AtomicBool::new(false),
        });
        open.push(Open { path, process, queue, writing: Arc::downgrade(&writing) });
        Ok(Some(Self { writing, udp: config.udp }))
    }

    /// A tap for a participant's messages on `path`, at whose locators it is reached; `None` for datagrams that are not
    /// asked for.
    #[must_use]
    pub fn tap(&self, path: Path, own: Vec<Locator>, domain_id: u32) -> Option<Tap> {
        (path != Path::Udp || self.udp).then(|| Tap::new(self.clone(), path, own, domain_id))
    }

    pub(crate) fn begin(&self, len: usize) -> Option<Place<Item>> {
        if std::process::id() != self.writing.process {
            return None;
        }
        let place = self.writing.queue.begin(len);
        // ORDER: Relaxed; who is first does not matter.
        if place.is_none()
            && !self.writing.queue.is_over()
            && !self.writing.said.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                file = %self.writing.path.display(),
                "the capture is not written as fast as messages travel; the file says where some are missing"
            );
        }
        place
    }

    pub(crate) fn flush(&self) {
        if std::process::id() == self.writing.process {
            self.writing.queue.wait_until_written();
        }
    }
}

impl Drop for Writing {
    /// What is there is written, if that does not take for ever.
    fn drop(&mut self) {
        if std::process::id() == self.process {
            self.queue.close();
            self.queue.wait_until_over();
        }
    }
}

/// What the thread has.
struct Writer {
    queue: Arc<Queue<Item>>,
    path: PathBuf,
    output: Output,
}

impl Writer {
    fn run(mut self) {
        let outcome = self.write_all().and_then(|()| self.output.finish());
        if let Err(error) = outcome {
            tracing::warn!(
                file = %self.path.display(), %error,
                "the capture ends here; messages go on. ZERODDS_CAPTURE_MAX bounds what it takes"
            );
        }
        // The lock on the file is given back before anybody hears that it is written.
        drop(self.output);
        self.queue.end();
    }

    fn write_all(&mut self) -> io::Result<()> {
        while let Some(item) = self.queue.next() {
            self.output.write(&item)?;
        }
        Ok(())
    }
}

fn with_process_id(file: &std::path::Path, process: u32) -> PathBuf {
    match file.to_str() {
        Some(text) => text.replace("%p", &process.to_string()).into(),
        None => file.to_owned(),
    }
}

/// A capture of this process until its file is free again, which may be after its last user has gone.
struct Open {
    path: PathBuf,
    process: u32,
    queue: Arc<Queue<Item>>,
    writing: Weak<Writing>,
}

static OPEN: Mutex<Vec<Open>> = Mutex::new(Vec::new());
/// Messages that wait to be written may take this much memory; one that is larger may wait alone.
const QUEUE_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_begins_while_one_into_the_same_file_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config::default().file(folder.path().join("a"));
        let capture = Capture::open(&config).expect("a file").expect("asked for");
        let tap = capture.tap(Path::SharedMemory, Vec::new(), 0).expect("of shared memory");
        let len = 16 << 20;
        tap.begin(len).expect("room").received(vec![0; len], None, None);
        let queue = Arc::clone(&capture.writing.queue);
        let ending = std::thread::spawn(move || drop((tap, capture)));
        while queue.begin(0).is_some() {
            std::thread::yield_now();
        }
        assert!(Capture::open(&config).expect("the file is free, or soon").is_some());
        ending.join().expect("no panic");
    }

    #[test]
    fn a_capture_whose_end_does_not_come_is_not_taken_for_one_of_another_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let (process, queue) = (std::process::id(), Arc::new(Queue::new(0)));
        let ending = Open { path: path.clone(), process, queue: Arc::clone(&queue), writing: Weak::new() };
        OPEN.lock().push(ending);
        let config = Config::default().file(path);
        let error = Capture::open(&config).expect_err("it is not over").to_string();
        assert!(error.contains("this process is still writing an earlier capture"), "{error}");
        queue.end();
        assert!(Capture::open(&config).expect("the file is free").is_some());
    }
}
