//! Captures of transports in memory: what is in the file, and what becomes of it when something goes wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path as FilePath;
use std::process::{Command, Stdio};
use zerodds_capture::testing::{Contents, message, read, tshark};
use zerodds_capture::{Capture, Captured, Config};
use zerodds_core::testing::{Hub, Memory};
use zerodds_core::{Delivery, Incoming, Message, Path, Peer, Receiver, Transport};

/// Set in a child: the file that it captures into.
const CHILD: &str = "ZERODDS_CAPTURE_TEST_CHILD";

fn open(file: &FilePath) -> Capture {
    Capture::open(&Config::default().file(file)).unwrap().unwrap()
}

fn captured(hub: &Hub, path: Path, capture: &Capture) -> Captured<Memory> {
    let transport = hub.open(path, 1 << 24, 4096);
    let tap = capture.tap(path, transport.locators(), 7);
    Captured::new(transport, tap)
}

/// Two transports that reach each other.
fn linked(hub: &Hub, capture: &Capture) -> (Captured<Memory>, Captured<Memory>) {
    let (a, b) = (captured(hub, Path::SharedMemory, capture), captured(hub, Path::SharedMemory, capture));
    hub.link_up(a.inner(), b.inner());
    (a, b)
}

fn send(from: &impl Transport, bytes: &[u8], to: &impl Transport) {
    let sent = from.send_bytes(bytes, &[Peer::new(&to.locators())], Delivery::BestEffort).unwrap();
    assert!(sent.unserved.is_empty());
}

/// The payload that each message of [`message`] has.
fn payloads(contents: &Contents, received: bool) -> Vec<Vec<u8>> {
    contents.samples(received).into_iter().map(|sample| sample.payload).collect()
}

#[test]
fn what_is_sent_and_what_is_received_is_in_one_file_byte_for_byte_and_says_with_whom() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.pcapng");
    let (hub, capture) = (Hub::new(), open(&file));
    let a = captured(&hub, Path::SharedMemory, &capture);
    let b = captured(&hub, Path::SharedMemory, &open(&file));
    hub.link_up(a.inner(), b.inner());
    let mut receiver = b.receiver().unwrap();
    let messages: Vec<_> = (0..)
        .zip([4, 5, 1_000, 65_463, 65_464, 65_515, 65_516, 3_000_001])
        .map(|(n, len)| message(n, len))
        .collect();
    let mut delivered = Vec::new();
    for bytes in &messages {
        send(&a, bytes, &b);
        while let Some(incoming) = receiver.try_receive() {
            if let Incoming::Message(message) = incoming {
                assert_eq!(message.path(), Path::SharedMemory);
                delivered.push(message[44..].to_vec());
            }
        }
    }
    a.flush();
    let contents = read(&file);
    assert!(payloads(&contents, false) == delivered && payloads(&contents, true) == delivered);
    assert_eq!(contents.interfaces.len(), 2, "one for each participant");
    assert!(contents.interfaces[0].starts_with("shm domain 7 "));
    for packet in &contents.packets {
        let (word, peer) = if packet.is_inbound { ("from", &a) } else { ("to", &b) };
        assert!(
            packet.comment.starts_with(&format!("shm {word} {}", peer.locators()[0])),
            "{}",
            packet.comment
        );
    }
    assert!(contents.packets.is_sorted_by_key(|packet| packet.at), "in order of time");
    assert!(
        contents
            .packets
            .iter()
            .any(|packet| packet.comment.ends_with("part 51 of 51 of one message of 3000045 bytes"))
    );
    let Some(lines) = tshark(&file, "rtps", &["rtps.domain_id", "rtps.sm.wrEntityId", "rtps.sm.seqNumber"])
    else {
        return println!("SKIPPED in part: tshark is not installed");
    };
    assert_eq!(lines.len(), contents.packets.len(), "all of it is RTPS to Wireshark");
    assert!(lines.iter().all(|line| line.starts_with("7\t0x00000103\t")), "{lines:?}");
}

#[test]
fn who_was_not_served_is_not_shown_and_datagrams_are_only_where_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.pcapng");
    let hub = Hub::new();
    let capture = open(&file);
    assert!(capture.tap(Path::Udp, Vec::new(), 0).is_none(), "off by default");
    let (a, b) = linked(&hub, &capture);
    let gone = hub.open(Path::SharedMemory, 1024, 4).locators();
    let (gone, here) = (Peer::new(&gone), b.locators());
    let sent = a.send_bytes(&message(1, 10), &[gone, Peer::new(&here)], Delivery::BestEffort).unwrap();
    a.flush();
    assert_eq!((read(&file).packets.len(), sent.unserved.len()), (1, 1));
    drop((a, b, capture));
    let capture = Capture::open(&Config::default().file(&file).udp(true)).unwrap().unwrap();
    let (a, b) = (captured(&hub, Path::Udp, &capture), captured(&hub, Path::Udp, &capture));
    send(&a, &message(1, 10), &b);
    a.flush();
    assert!(read(&file).packets[0].comment.starts_with("udp to "));
}

#[test]
fn participants_that_share_a_file_have_each_the_paths_that_they_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.pcapng");
    let without = open(&file);
    let with = Capture::open(&Config::default().file(&file).udp(true)).unwrap().unwrap();
    let is_tapped = |capture: &Capture| capture.tap(Path::Udp, Vec::new(), 0).is_some();
    assert_eq!([&without, &with, &with.clone()].map(is_tapped), [false, true, true]);
}

#[test]
fn a_file_that_cannot_be_written_is_named_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken");
    let same = folder.path().join("same");
    std::os::unix::fs::symlink(&taken, folder.path().join("link")).unwrap();
    let mut other = child(&same);
    other.started();
    for file in [
        "/dev/null".as_ref(),
        folder.path(),
        &folder.path().join("no/file"),
        &folder.path().join("link"),
        &same,
    ] {
        let error = Capture::open(&Config::default().file(file)).unwrap_err().to_string();
        let names_it = error.contains("ZERODDS_CAPTURE=") && error.contains(&*file.to_string_lossy());
        assert!(names_it && error.contains("%p"), "{error}");
    }
    assert!(!taken.exists(), "no link is followed");
    other.kill();
    open(&same);
    let own = folder.path().join("%p.pcapng");
    let capture = open(&own);
    assert!(folder.path().join(format!("{}.pcapng", std::process::id())).exists());
    drop(capture);
}

#[test]
fn an_old_file_is_readable_by_its_owner_only_from_then_on_and_that_of_another_user_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let old = |name| {
        let file = folder.path().join(name);
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        file
    };
    let own = old("own");
    let _capture = open(&own);
    assert_eq!(std::fs::metadata(&own).unwrap().permissions().mode() & 0o7777, 0o600);
    if !rustix::process::geteuid().is_root() {
        return println!("SKIPPED in part: it takes root to give a file to another user");
    }
    let foreign = old("foreign");
    chown(&foreign, Some(65_534), None).unwrap();
    let error = Capture::open(&Config::default().file(&foreign)).unwrap_err().to_string();
    let names_it = error.contains(&*foreign.to_string_lossy()) && error.contains("user 65534");
    assert!(names_it && error.contains("remove it"), "{error}");
    assert_eq!(std::fs::read(&foreign).unwrap(), b"old");
}

#[test]
fn the_limit_holds_for_two_files_and_the_newer_one_has_what_came_last() {
    let folder = tempfile::tempdir().unwrap();
    let (file, before) = (folder.path().join("a"), folder.path().join("a.1"));
    let config = Config::default().file(&file).bytes_max(1 << 20).unwrap();
    let capture = Capture::open(&config).unwrap().unwrap();
    let hub = Hub::new();
    let (a, b) = linked(&hub, &capture);
    for round in 0..50 {
        send(&a, &message(round, 50_000), &b);
        if round == 25 {
            send(&a, &message(99, 600_000), &b);
        }
        // So that the queue has room for all of them.
        a.flush();
    }
    let (contents, older) = (read(&file), read(&before));
    let lens = [&file, &before].map(|path| path.metadata().unwrap().len());
    assert!(lens.iter().all(|&len| len <= 1 << 19), "{lens:?}");
    let numbers: Vec<_> =
        older.samples(false).iter().chain(&contents.samples(false)).map(|one| one.number).collect();
    assert_eq!(numbers, (50 - numbers.len() as i64..50).collect::<Vec<_>>());
    assert_eq!(a.counters().uncaptured_messages, 1, "what no file may hold is counted");
    let seen = contents.samples(false)[0].number as u64;
    assert_eq!(older.statistics[&0], (seen + 1, 1), "and said, from the beginning of the capture");
}

#[test]
fn a_killed_process_leaves_a_file_that_opens() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a");
    let mut child = child(&file);
    child.started();
    child.kill();
    cut_to_whole_blocks(&file);
    let contents = read(&file);
    assert!(contents.samples(false).len() >= 100);
    if let Some(lines) = tshark(&file, "rtps", &["rtps.sm.seqNumber"]) {
        assert_eq!(lines.len(), contents.packets.len());
    }
}

/// Whoever is killed in the middle of a write leaves a part of it: cuts that off.
fn cut_to_whole_blocks(file: &FilePath) {
    let bytes = std::fs::read(file).unwrap();
    let mut whole = 0;
    while let Some(len) = bytes.get(whole + 4..whole + 8) {
        let len = u32::from_le_bytes(len.try_into().unwrap()) as usize;
        assert!(len >= 12, "a block has a type and its length twice");
        if bytes.len() - whole < len {
            break;
        }
        whole += len;
    }
    std::fs::File::options().write(true).open(file).unwrap().set_len(whole as u64).unwrap();
}

#[test]
fn a_full_disk_ends_the_capture_with_one_line_and_not_the_traffic() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=256k none \"$1\" && exec \"$2\" child_process --exact --nocapture";
    command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap());
    let output =
        command.env(CHILD, folder.path().join("a")).env("ZERODDS_CAPTURE_TEST_LIMIT", "").output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if said.contains("unshare failed") || said.contains("permission denied") {
        return println!("SKIPPED: a mount namespace needs root");
    }
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches("the capture ends here").count(), 1, "{said}");
    assert!(said.contains("delivered 1000, and the file opens"), "{said}");
}

/// Not a test: a process that captures, when it is one.
#[test]
fn child_process() {
    let Some(file) = std::env::var_os(CHILD) else { return };
    tell_warnings();
    let file = FilePath::new(&file);
    let (hub, capture) = (Hub::new(), open(file));
    let (a, b) = linked(&hub, &capture);
    let mut receiver = b.receiver().unwrap();
    let mut delivered = 0;
    for number in 0..1_000_u32 {
        send(&a, &message(number as u8, 1_000), &b);
        let incoming = std::iter::from_fn(|| receiver.try_receive());
        delivered += incoming.filter(|one| matches!(one, Incoming::Message(_))).count();
        if number == 100 {
            a.flush();
            println!("started");
        }
    }
    if std::env::var_os("ZERODDS_CAPTURE_TEST_LIMIT").is_none() {
        let _ = std::io::stdin().read_line(&mut String::new());
    }
    a.flush();
    let sent = read(file).packets.iter().filter(|packet| !packet.is_inbound).count() as u64;
    let uncaptured = a.counters().uncaptured_messages;
    assert!(sent > 0 && uncaptured > 0 && sent + uncaptured == 1_000, "{sent} and {uncaptured}");
    println!("delivered {delivered}, and the file opens");
}

#[test]
fn a_capture_with_a_relative_name_stays_where_it_began_and_is_the_same_by_another_name() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["relative_child_process", "--exact", "--nocapture"]).env(CHILD, &elsewhere);
    let output = command.current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(["a", "a.1"].iter().all(|name| folder.path().join(name).exists()));
    assert_eq!(elsewhere.read_dir().unwrap().count(), 0);
}

/// Not a test: a process that captures and goes elsewhere, when it is one.
#[test]
fn relative_child_process() {
    let Some(elsewhere) = std::env::var_os(CHILD) else { return };
    let open = |name| {
        let config = Config::default().file(name).bytes_max(1 << 20).unwrap();
        Capture::open(&config).unwrap().unwrap()
    };
    let captures = ["a", "./a"].map(open);
    std::env::set_current_dir(elsewhere).unwrap();
    let (a, b) = linked(&Hub::new(), &captures[0]);
    for number in 0..30 {
        send(&a, &message(number, 50_000), &b);
        a.flush();
    }
    assert_eq!(a.counters().uncaptured_messages, 0);
}

/// What is said goes to the standard output.
fn tell_warnings() {
    struct Tell;
    impl log::Log for Tell {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            println!("{}", record.args());
        }
        fn flush(&self) {}
    }
    log::set_max_level(log::LevelFilter::Warn);
    let _ = log::set_logger(&Tell);
}

/// A child, killed and reaped when dropped.
struct Child(std::process::Child);

fn child(file: &FilePath) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child_process", "--exact", "--nocapture"]).env(CHILD, file);
    Child(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
}

impl Child {
    /// Waits until the first hundred messages are in its file.
    fn started(&mut self) {
        let output = BufReader::new(self.0.stdout.as_mut().unwrap());
        assert!(output.lines().map_while(Result::ok).any(|line| line.contains("started")));
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
