//! What a measurement leaves behind: one JSON object per line, and the same as CSV.

use crate::placement::Placement;
use crate::probe::{Distance, Probe};
use crate::sample::Touch;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};

/// One measurement. Fields that do not belong to its kind are absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The session that it is of, whose systems were measured in turns: only what is of one session is compared.
    pub session: String,
    /// What was measured.
    pub kind: Kind,
    /// The name of the system.
    pub system: String,
    /// Bytes of a message.
    pub len: usize,
    /// How much of it was written and read.
    pub touch: Touch,
    /// Where the processes ran.
    pub placement: Placement,
    /// Writers.
    pub writers: u32,
    /// Readers.
    pub readers: u32,
    /// Messages a second; absent: as many as went.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rate_hz: Option<f64>,
    /// The how-many-eth of its kind.
    pub run: u32,
    /// One way between spinning threads before it, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub probe_before_ns: Option<f64>,
    /// And after it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub probe_after_ns: Option<f64>,
    /// What the probes say; absent on one processor.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub distance: Option<Distance>,
    /// Whether the system uses processor time while it waits: always, or before it sleeps.
    #[serde(default)]
    pub spins: bool,
    /// What came out.
    #[serde(flatten)]
    pub figures: Figures,
    /// Why nothing came out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<String>,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A ping-pong.
    Latency,
    /// A stream at full rate.
    Throughput,
    /// Nothing, for a while.
    Rest,
    /// A paced ping-pong in the midst of many.
    Crowd,
    /// System calls, counted.
    Calls,
    /// Nothing, after messages small and large.
    Links,
}

/// The figures of a record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Round trips, or messages sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// One way, median, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<f64>,
    /// One way, 90 of 100 are faster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p90_us: Option<f64>,
    /// One way, 99 of 100 are faster; of 100 samples or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<f64>,
    /// One way, 999 of 1,000 are faster; of 1,000 samples or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p999_us: Option<f64>,
    /// The slowest one way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_us: Option<f64>,
    /// Messages a second, delivered to all readers together; of a ping-pong, its turns a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_s: Option<f64>,
    /// The same in 10^9 bytes of payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gb_per_s: Option<f64>,
    /// Messages that were sent and never came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// Processor seconds of all processes together for 10^9 delivered bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_s_per_gb: Option<f64>,
    /// Processor time of all processes together, in percent of one processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// The same, in percent of all processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_percent: Option<f64>,
    /// Messages a second of a small topic of a crowd: what keeps that within half.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pace_hz: Option<f64>,
    /// Page faults of all processes for a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faults_per_message: Option<f64>,
    /// Switches of all processes to another thread for a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switches_per_message: Option<f64>,
    /// System calls of both processes for a message of a ping-pong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_in_turn: Option<f64>,
    /// The same of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_in_stream: Option<f64>,
    /// Bytes that the system wrote to memory for a byte that was sent, if it counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_per_sent: Option<f64>,
    /// Shared memory of process 0 that is resident, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_shared_kib: Option<u64>,
    /// Memory of the largest of this project's links that process 0 has, in KiB; of root only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_kib: Option<u64>,
    /// Resident memory of process 0, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_kib: Option<u64>,
    /// Open descriptors of process 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fds: Option<u64>,
    /// Threads of process 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u64>,
}

impl Record {
    /// Writes it as a line of JSON.
    ///
    /// # Errors
    /// What the writer says.
    pub fn append(&self, to: &mut impl Write) -> io::Result<()> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        to.write_all(line.as_bytes())
    }

    /// Notes how far apart the processors were.
    pub(crate) fn probed(&mut self, before: Option<Probe>, after: Option<Probe>) {
        self.probe_before_ns = before.map(|probe| probe.one_way_ns);
        self.probe_after_ns = after.map(|probe| probe.one_way_ns);
        self.distance = before.zip(after).map(|(before, after)| Distance::between(before, after));
    }
}

/// Writes records as CSV, a column for every field that one of them has.
///
/// # Errors
/// What the writer says.
pub fn write_csv(records: &[Record], to: &mut impl Write) -> io::Result<()> {
    let rows: Vec<serde_json::Map<String, serde_json::Value>> = records
        .iter()
        .map(|record| match serde_json::to_value(record) {
            Ok(serde_json::Value::Object(fields)) => Ok(fields),
            Ok(_) => Err(io::Error::other("a record is no object")),
            Err(error) => Err(error.into()),
        })
        .collect::<io::Result<_>>()?;
    let mut columns: Vec<&str> = Vec::new();
    for row in &rows {
        let new: Vec<&str> = row.keys().map(String::as_str).filter(|name| !columns.contains(name)).collect();
        columns.extend(new);
    }
    writeln!(to, "{}", columns.join(","))?;
    for row in &rows {
        let cells: Vec<String> =
            columns.iter().map(|&name| row.get(name).map_or(String::new(), cell)).collect();
        writeln!(to, "{}", cells.join(","))?;
    }
    Ok(())
}

fn cell(value: &serde_json::Value) -> String {
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_a_column_for_every_field_and_quotes_what_needs_it() {
        let record = Record {
            session: "some".to_owned(),
            kind: Kind::Latency,
            system: "a".to_owned(),
            len: 64,
            touch: Touch::Full,
            placement: Placement::Same,
            writers: 1,
            readers: 1,
            rate_hz: None,
            run: 0,
            probe_before_ns: None,
            probe_after_ns: None,
            distance: None,
            spins: false,
            figures: Figures { p50_us: Some(1.5), ..Figures::default() },
            failure: None,
        };
        let failed = Record { failure: Some("no, \"never\"".to_owned()), ..record.clone() };
        let mut csv = Vec::new();
        write_csv(&[record.clone(), failed], &mut csv).expect("memory");
        let csv = String::from_utf8(csv).expect("text");
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].contains("p50_us") && lines[0].ends_with("failure"), "{csv}");
        assert!(lines[1].contains("1.5") && lines[2].ends_with("\"no, \"\"never\"\"\""), "{csv}");
        let json = serde_json::to_string(&record).expect("JSON");
        assert_eq!(serde_json::from_str::<Record>(&json).expect("a record"), record);
    }
}
