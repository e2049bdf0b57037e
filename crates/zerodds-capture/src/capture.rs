//! A capture: the file, the queue before it and the thread between them.
//!
//! All participants of a process whose settings name the same file write into that one file. A process that was forked
//! has no thread that writes: it captures nothing.

use crate::config::Config;
use crate::file::Output;
use crate::queue::{Place, Queue};
use crate::tap::{Interface, Record, Tap};
use parking_lot::Mutex;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;
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
    queue: Arc<Queue<Record>>,
}

impl Capture {
    /// Begins what `config` asks for; `None` if that is nothing.
    ///
    /// # Errors
    /// [`OpenError`], where there can be no such file.
    pub fn open(config: &Config) -> Result<Option<Self>, OpenError> {
        let Some(file) = &config.file else { return Ok(None) };
        let process = std::process::id();
        let path = resolved(file, process)?;
        let failed = |why| OpenError::File { path: path.clone(), why };
        let busy = |doing| failed(io::Error::other(format!("this process is still {doing}")));
        let open = Open::of(&path, process);
        let mut last = open.last.try_lock_for(PATIENCE).ok_or_else(|| busy("opening it"))?;
        if let Some(Last { queue, writing }) = &*last {
            if let Some(writing) = writing.upgrade() {
                // Whoever hears of it may open a capture.
                drop(last);
                writing.say_what_is_not_as_asked(config);
                return Ok(Some(Self { writing, udp: config.udp }));
            }
            queue.wait_until_over();
            if !queue.is_over() {
                return Err(busy("writing an earlier capture into it"));
            }
        }
        let opened = Writing::open(&path, process, config.bytes_max, QUEUE_BYTES);
        let (writing, writer) = opened.map_err(failed)?;
        let writing = Arc::new(writing);
        let thread = std::thread::Builder::new().name("zerodds-pcap".into());
        thread.spawn(move || writer.run()).map_err(OpenError::Thread)?;
        *last = Some(Last { queue: Arc::clone(&writing.queue), writing: Arc::downgrade(&writing) });
        Ok(Some(Self { writing, udp: config.udp }))
    }

    /// Whether what `config` asks for could begin now, and where; nothing is changed. `None` if that is nothing.
    ///
    /// # Errors
    /// [`OpenError`], where there can be no such file.
    pub fn check(config: &Config) -> Result<Option<PathBuf>, OpenError> {
        let Some(file) = &config.file else { return Ok(None) };
        let path = resolved(file, std::process::id())?;
        match Output::check(&path) {
            Ok(()) => Ok(Some(path)),
            Err(why) => Err(OpenError::File { path, why }),
        }
    }

    /// A tap for a participant's messages on `path`, at whose locators it is reached; `None` for datagrams that are not
    /// asked for.
    #[must_use]
    pub fn tap(&self, path: Path, own: Vec<Locator>, domain_id: u32) -> Option<Tap> {
        (path != Path::Udp || self.udp).then(|| Tap::new(self.clone(), path, own, domain_id))
    }

    pub(crate) fn begin(&self, len: usize) -> Option<Place<Record>> {
        if self.writing.is_ours() { self.writing.queue.begin(len) } else { None }
    }

    pub(crate) fn flush(&self, interface: &Arc<Interface>) {
        if self.writing.is_ours() {
            self.writing.queue.add(Record::Statistics(Arc::clone(interface)));
            self.writing.queue.wait_until_written();
        }
    }
}

impl Writing {
    /// Opens the file; what comes is written by whoever runs the writer.
    fn open(path: &FilePath, process: u32, bytes_max: u64, queue_bytes: usize) -> io::Result<(Self, Writer)> {
        let output = Output::open(path, bytes_max)?;
        let queue = Arc::new(Queue::new(queue_bytes));
        let served = Served(Arc::clone(&queue));
        let writer = Writer { path: path.to_owned(), output, said: false, queue: served };
        Ok((Self { path: path.to_owned(), process, bytes_max, queue }, writer))
    }

    fn say_what_is_not_as_asked(&self, config: &Config) {
        if self.queue.is_over() {
            tracing::warn!(
                file = %self.path.display(),
                "the capture into it has ended, and nothing is captured until all that had a part in it are gone"
            );
        } else if self.bytes_max != config.bytes_max {
            tracing::warn!(
                file = %self.path.display(),
                "ZERODDS_CAPTURE_MAX={} has no effect: the file is being written, with {} bytes at most",
                config.bytes_max, self.bytes_max
            );
        }
    }

    /// Whether it was not inherited by a forked child.
    fn is_ours(&self) -> bool {
        std::process::id() == self.process
    }
}

impl Drop for Writing {
    /// What is there is written, if that does not take for ever.
    fn drop(&mut self) {
        if self.is_ours() {
            self.queue.close();
            self.queue.wait_until_over();
        }
    }
}

/// What the thread has. The lock on the file is given back before anybody hears that it is written: fields are dropped in order.
struct Writer {
    path: PathBuf,
    output: Output,
    /// That something had no room was said.
    said: bool,
    queue: Served,
}

/// A queue that is over as soon as nobody writes what is in it, also where a listener of the log has panicked on the thread.
struct Served(Arc<Queue<Record>>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.end(count_as_dropped);
    }
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
    }

    fn write_all(&mut self) -> io::Result<()> {
        loop {
            self.say();
            if !self.write_next()? {
                return Ok(());
            }
        }
    }

    /// On this thread, which holds no lock: whoever hears of it may do anything (but end this capture, which waits two seconds for this
    /// thread), while whoever has a message may hold some.
    fn say(&mut self) {
        self.output.say();
        if !self.said && self.queue.0.has_refused() {
            self.said = true;
            tracing::warn!(
                file = %self.path.display(),
                "the capture is not written as fast as messages travel; the file says where some are missing"
            );
        }
    }

    /// Writes the next message as soon as there is one; false once there will be none.
    fn write_next(&mut self) -> io::Result<bool> {
        let Some(record) = self.queue.0.next() else { return Ok(false) };
        let outcome = match &record {
            Record::Message(item) => self.output.write(item),
            Record::Statistics(interface) => self.output.write_statistics(interface),
        };
        if outcome.is_err() {
            count_as_dropped(&record);
        }
        outcome.map(|()| true)
    }
}

fn count_as_dropped(record: &Record) {
    if let Record::Message(item) = record {
        item.interface.drop_one();
    }
}

/// The file that is meant, wherever the process goes and by whichever name others call it.
fn resolved(file: &FilePath, process: u32) -> Result<PathBuf, OpenError> {
    let path = with_process_id(file, process);
    let path = std::path::absolute(&path).map_err(|why| OpenError::File { path, why })?;
    in_its_folder(&path).map_err(|why| OpenError::File { path, why })
}

/// The same file in its folder by that one's own name: of folders, links are followed. What cannot be a file stays as it is.
fn in_its_folder(path: &FilePath) -> io::Result<PathBuf> {
    let is_folder = path.as_os_str().as_bytes().ends_with(b"/");
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if !is_folder => Ok(folder.canonicalize()?.join(name)),
        _ => Ok(path.to_owned()),
    }
}

/// A name need be no text.
fn with_process_id(file: &FilePath, process: u32) -> PathBuf {
    let (mut name, mut rest) = (Vec::new(), file.as_os_str().as_bytes());
    while let Some(at) = rest.windows(2).position(|two| two == b"%p") {
        name.extend(&rest[..at]);
        name.extend(process.to_string().as_bytes());
        rest = &rest[at + 2..];
    }
    name.extend(rest);
    OsString::from_vec(name).into()
}

/// A file of this process that is captured into until it is free again, which may be after its last user has gone.
struct Open {
    path: PathBuf,
    process: u32,
    /// The last capture into it. Locked while the file is opened, which may take for ever on a disk that does not answer: that is
    /// nothing to whoever opens another one.
    last: Mutex<Option<Last>>,
}

/// A capture as others find it, who do not keep it going.
struct Last {
    queue: Arc<Queue<Record>>,
    writing: Weak<Writing>,
}

impl Open {
    /// The one of this file, which is kept as long as somebody has it or writes.
    fn of(path: &FilePath, process: u32) -> Arc<Self> {
        let mut open = OPEN.lock();
        // Nobody who does not have it has locked it.
        open.retain(|one| one.process == process && (Arc::strong_count(one) > 1 || one.is_written()));
        if let Some(one) = open.iter().find(|one| one.path == path) {
            return Arc::clone(one);
        }
        let one = Arc::new(Self { path: path.to_owned(), process, last: Mutex::new(None) });
        open.push(Arc::clone(&one));
        one
    }

    fn is_written(&self) -> bool {
        let last = self.last.lock();
        last.as_ref().is_some_and(|Last { queue, writing }| writing.strong_count() > 0 || !queue.is_over())
    }
}

static OPEN: Mutex<Vec<Arc<Open>>> = Mutex::new(Vec::new());
/// How long somebody else's opening of the same file is waited for: twice as long as that waits for the capture before.
const PATIENCE: Duration = Duration::from_secs(4);
/// Messages that wait to be written may take this much memory, or half of it and one more message of any length.
const QUEUE_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Contents, message, read};
    use std::net::SocketAddr;
    use zerodds_core::testing::heard;

    #[test]
    fn the_process_id_is_put_into_a_name_that_is_no_text_too() {
        let name = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
        assert_eq!(with_process_id(&name(b"/\xff/%p-%%p"), 17), name(b"/\xff/17-%17"));
    }

    #[test]
    fn two_names_of_a_file_are_one_capture() {
        let folder = tempfile::tempdir().expect("a folder");
        let [real, link] = ["real", "link"].map(|name| folder.path().join(name));
        std::fs::create_dir(&real).expect("the folder is ours");
        std::os::unix::fs::symlink(&real, &link).expect("the folder is ours");
        let names = [real.join("a"), link.join("a"), real.join("../real/a")];
        let captures = names.map(|name| {
            Capture::open(&Config::default().file(name)).expect("one of this process").expect("asked for")
        });
        assert!(captures.iter().all(|one| Arc::ptr_eq(&one.writing, &captures[0].writing)));
        Capture::open(&Config::default().file(folder.path().join("b/"))).expect_err("no file is named so");
        assert_eq!(folder.path().read_dir().expect("a folder").count(), 2);
    }

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
        let path = folder.path().canonicalize().expect("it is there").join("a");
        let queue = Arc::new(Queue::new(0));
        let ending = Last { queue: Arc::clone(&queue), writing: Weak::new() };
        *Open::of(&path, std::process::id()).last.lock() = Some(ending);
        let config = Config::default().file(path);
        let error = Capture::open(&config).expect_err("it is not over").to_string();
        assert!(error.contains("this process is still writing an earlier capture"), "{error}");
        queue.end(|_| ());
        assert!(Capture::open(&config).expect("the file is free").is_some());
    }

    #[test]
    fn a_file_that_does_not_open_holds_up_no_other_and_whoever_wants_it_too_for_a_while() {
        let folder = tempfile::tempdir().expect("a folder");
        let [slow, other] = ["slow", "other"].map(|name| Config::default().file(folder.path().join(name)));
        let path = folder.path().canonicalize().expect("it is there").join("slow");
        let open = Open::of(&path, std::process::id());
        let opening = open.last.lock();
        assert!(Capture::open(&other).expect("nobody has it").is_some());
        let error = Capture::open(&slow).expect_err("it is being opened").to_string();
        assert!(error.contains("this process is still opening it"), "{error}");
        drop(opening);
        assert!(Capture::open(&slow).expect("it is free").is_some());
    }

    #[test]
    fn whoever_hears_that_a_limit_has_no_effect_can_open_captures() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config::default().file(folder.path().join("a"));
        let capture = Capture::open(&config).expect("a file").expect("asked for");
        let open = Open::of(&capture.writing.path, std::process::id());
        let other_limit = config.bytes_max(1 << 20).expect("in range");
        let open_again = || assert!(Capture::open(&other_limit).is_ok());
        assert_eq!(heard(move || open.last.try_lock().is_some(), open_again), 1);
    }

    /// A capture whose queue has room for `bytes`, and what writes it when it is told to.
    fn written_by_hand(config: &Config, bytes: usize) -> (Capture, Writer) {
        let path = config.file.as_ref().expect("asked for");
        let opened = Writing::open(path, std::process::id(), config.bytes_max, bytes);
        let (writing, writer) = opened.expect("a file");
        (Capture { writing: Arc::new(writing), udp: false }, writer)
    }

    fn write_next(writer: &mut Writer) {
        assert!(writer.write_next().expect("room on the disk"));
    }

    /// Messages of `len` bytes come until one finds no room; how many found some.
    fn fill(tap: &Tap, len: usize) -> u64 {
        let pending = std::iter::from_fn(|| tap.begin(len));
        pending.map(|one| one.received(vec![0; len], None, None)).count() as u64
    }

    #[test]
    fn what_the_queue_has_no_room_for_is_counted_and_the_next_packet_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a");
        let (capture, mut writer) = written_by_hand(&Config::default().file(&file), 2_000);
        let tap = capture.tap(Path::SharedMemory, Vec::new(), 0).expect("of shared memory");
        let waits = tap.begin(10_000).expect("nothing is ready");
        let count = fill(&tap, 100);
        waits.received(vec![0; 10_000], None, None);
        assert_eq!(tap.dropped(), 2);
        (0..count).for_each(|_| write_next(&mut writer));
        tap.begin(10).expect("room").received(vec![0; 10], None, None);
        capture.writing.queue.close();
        writer.run();
        let contents = read(&file);
        assert_eq!(contents.packets.iter().map(|packet| packet.dropped).sum::<u64>(), 2);
        assert_eq!(contents.statistics[&0], (count + 3, 2));
    }

    #[test]
    fn that_some_are_missing_is_said_once_and_not_by_who_has_a_message() {
        let folder = tempfile::tempdir().expect("a folder");
        let (capture, writer) = written_by_hand(&Config::default().file(folder.path().join("a")), 2_000);
        let tap = capture.tap(Path::SharedMemory, Vec::new(), 0).expect("of shared memory");
        let late = tap.begin(100).expect("nothing is ready");
        let fill_twice = || assert!(fill(&tap, 100) > fill(&tap, 100));
        assert_eq!(heard(|| true, || (fill_twice(), late.received(vec![0; 100], None, None)).0), 0);
        capture.writing.queue.close();
        assert_eq!((tap.dropped(), heard(|| true, || writer.run())), (3, 1));
    }

    #[test]
    fn a_listener_that_panics_ends_the_capture_and_another_can_begin() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config::default().file(folder.path().join("a"));
        let (capture, writer) = written_by_hand(&config, 2_000);
        let tap = capture.tap(Path::SharedMemory, Vec::new(), 0).expect("of shared memory");
        let waiting = fill(&tap, 100);
        let run = || heard(|| false, || writer.run());
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).expect_err("whoever hears of it panics");
        assert!(capture.writing.queue.is_over());
        assert_eq!(tap.dropped(), waiting + 1, "what waited is given back, and counted");
        let another = Capture::open(&config).expect("the file is free").expect("asked for");
        let tap = another.tap(Path::SharedMemory, Vec::new(), 0).expect("of shared memory");
        assert!(tap.begin(1).is_some(), "it captures");
    }

    #[test]
    fn who_joins_a_capture_that_has_ended_hears_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config::default().file(folder.path().join("a"));
        let first = Capture::open(&config).expect("a file").expect("asked for");
        let joins = || heard(|| true, || drop(Capture::open(&config).expect("the same file")));
        assert_eq!(joins(), 0);
        first.writing.queue.end(count_as_dropped);
        assert_eq!(joins(), 1);
    }

    #[test]
    fn what_is_missing_is_said_where_it_is_missing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a");
        let (capture, mut writer) = written_by_hand(&Config::default().file(&file), 2_000);
        let tap = capture.tap(Path::SharedMemory, Vec::new(), 0).expect("of shared memory");
        let first = tap.begin(10).expect("room");
        tap.begin(1_300).expect("room").received(vec![0; 1_300], None, None);
        assert!((0..3).all(|_| tap.begin(300).is_none()));
        first.received(vec![0; 10], None, None);
        (0..2).for_each(|_| write_next(&mut writer));
        tap.begin(10).expect("room").received(vec![0; 10], None, None);
        write_next(&mut writer);
        assert_eq!(read(&file).packets.iter().map(|packet| packet.dropped).collect::<Vec<_>>(), [0, 0, 3]);
    }

    #[test]
    fn a_file_that_is_turned_over_describes_what_it_has_and_says_once_what_is_missing() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, before) = (folder.path().join("a"), folder.path().join("a.1"));
        let config = Config::default().file(&file).bytes_max(1 << 20).expect("in range");
        let (capture, mut writer) = written_by_hand(&config, 2_000);
        let taps = [0, 1]
            .map(|domain| capture.tap(Path::SharedMemory, Vec::new(), domain).expect("of shared memory"));
        let count = fill(&taps[0], 100);
        assert!(taps[1].begin(100).is_none());
        (0..count).for_each(|_| write_next(&mut writer));
        let mut files = Vec::new();
        // The second interface is new when the file is full, the third time the first is known.
        for tap in [&taps[0], &taps[1], &taps[0]] {
            tap.begin(400_000).expect("nothing is ready").received(message(1, 400_000), None, None);
            write_next(&mut writer);
            files.push(read(&file));
        }
        let lens: Vec<_> = files.iter().map(|contents| contents.interfaces.len()).collect();
        assert_eq!(lens, [1, 1, 1]);
        let missing = |contents: &Contents| contents.packets.iter().map(|packet| packet.dropped).sum::<u64>();
        assert_eq!(
            files.iter().map(missing).collect::<Vec<_>>(),
            [1, 1, 0],
            "of each interface one, and each once"
        );
        assert_eq!(read(&before).statistics.keys().copied().collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn a_message_that_no_file_may_hold_leaves_the_files_as_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a");
        let config = Config::default().file(&file).bytes_max(1 << 20).expect("in range");
        let (capture, mut writer) = written_by_hand(&config, 1 << 30);
        let tap = capture.tap(Path::SharedMemory, Vec::new(), 0).expect("of shared memory");
        let peers = [Locator::from(SocketAddr::from(([127, 0, 0, 1], 1))); 10];
        let too_large: [(usize, &[Locator]); 2] = [(600_000, &peers[..1]), (60_000, &peers)];
        for (number, (len, to)) in (0..).zip(too_large) {
            for small in 0..10 {
                tap.begin(100).expect("room").sent(
                    message(10 * number + small, 100),
                    peers[..1].to_vec(),
                    None,
                );
                write_next(&mut writer);
            }
            tap.begin(len).expect("room").sent(message(99, len), to.to_vec(), None);
            write_next(&mut writer);
        }
        let numbers: Vec<_> = read(&file).samples(false).iter().map(|sample| sample.number).collect();
        assert_eq!((numbers, tap.dropped()), ((0..20).collect(), 2));
        assert!(!crate::file::predecessor(&file).exists());
    }

    #[test]
    fn what_an_interface_has_seen_is_said_when_its_user_goes_and_again_only_if_there_was_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a");
        let (capture, mut writer) = written_by_hand(&Config::default().file(&file), 2_000);
        let taps = [0, 1]
            .map(|domain| capture.tap(Path::SharedMemory, Vec::new(), domain).expect("of shared memory"));
        let say = |writer: &mut Writer, index: usize| {
            writer.queue.0.add(Record::Statistics(Arc::clone(taps[index].interface())));
            write_next(writer);
        };
        say(&mut writer, 0);
        assert!(read(&file).interfaces.is_empty(), "there is nothing to be said");
        let count = fill(&taps[0], 100);
        assert!(taps[1].begin(100).is_none());
        (0..count).for_each(|_| write_next(&mut writer));
        [0, 1].into_iter().for_each(|index| say(&mut writer, index));
        let statistics = read(&file).statistics;
        assert_eq!((statistics[&0], statistics[&1]), ((count + 1, 1), (1, 1)), "also where nothing is shown");
        let len = file.metadata().expect("it is there").len();
        say(&mut writer, 0);
        assert_eq!(file.metadata().expect("it is there").len(), len);
    }

    #[test]
    fn the_limit_holds_for_the_statistics_of_many_interfaces_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a");
        let config = Config::default().file(&file).bytes_max(1 << 20).expect("in range");
        let (capture, mut writer) = written_by_hand(&config, 1 << 20);
        let before = crate::file::predecessor(&file);
        for domain in (0..).take_while(|_| !before.exists()) {
            let tap = capture.tap(Path::SharedMemory, Vec::new(), domain).expect("of shared memory");
            tap.begin(100).expect("room").received(message(1, 100), None, None);
            write_next(&mut writer);
        }
        assert!(read(&before).statistics.len() > 100);
        assert!(before.metadata().expect("it is there").len() <= 1 << 19);
    }
}
