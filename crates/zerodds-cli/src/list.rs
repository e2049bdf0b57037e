//! Who takes part, and by which path they would be reached.

use crate::process::{self, Process};
use comfy_table::{Table, presets};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};
use zerodds_core::{Locator, Peer, Reach, Receiver, Transport};
use zerodds_transport_shm::{Config, Listener, ShmTransport, listeners};

/// One participant, as it is shown.
#[derive(Serialize)]
struct Row {
    domain: u32,
    kind: &'static str,
    participant: String,
    pid: Option<u32>,
    uid: Option<u32>,
    program: Option<String>,
    path: &'static str,
    reason: String,
}

/// Lists all participants, or those of `domain`. Settings of this environment that cannot be used are an error.
pub(crate) fn run(out: &mut impl Write, domain: Option<u32>, json: bool) -> io::Result<()> {
    let config = Config::from_env().map_err(io::Error::other)?;
    let mut found: BTreeMap<u32, Vec<Listener>> = BTreeMap::new();
    for listener in listeners()? {
        found.entry(listener.locator.port()).or_default().push(listener);
    }
    found.retain(|&port, _| domain.is_none_or(|only| only == domain_of(port).0));
    let owners = process::by_socket();
    // All are asked before the first is waited for.
    let asked: Vec<_> =
        found.iter().map(|(&port, listeners)| (ask(port, &config, listeners), listeners)).collect();
    let until = Instant::now() + PATIENCE;
    let mut rows = Vec::new();
    for (transport, listeners) in &asked {
        let reached = answers(transport, listeners, until);
        rows.extend(
            listeners
                .iter()
                .zip(reached)
                .map(|(listener, reach)| row(listener, owners.get(&listener.inode), &reach)),
        );
    }
    if json {
        for row in &rows {
            serde_json::to_writer(&mut *out, row)?;
            writeln!(out)?;
        }
    } else if rows.is_empty() {
        let which = domain.map(|domain| format!(" in domain {domain}")).unwrap_or_default();
        writeln!(
            out,
            "nobody shares memory{which} in this network namespace; `zerodds doctor` says whether one could"
        )?;
    } else {
        writeln!(out, "{}", table(&rows))?;
    }
    Ok(())
}

/// The DDS domain of a locator's port, and what meets there.
const fn domain_of(port: u32) -> (u32, &'static str) {
    match port.checked_sub(Locator::RUSTDDS_SESSIONS) {
        Some(domain) if domain <= DOMAIN_MAX => (domain, "RustDDS session"),
        _ => (port, "participant"),
    }
}

/// A transport of this process that links with each of them.
fn ask(port: u32, config: &Config, listeners: &[Listener]) -> ShmTransport {
    let transport = ShmTransport::open(port, config);
    for listener in listeners {
        let _ = transport.reach(Peer::new(&[listener.locator]));
    }
    transport
}

/// What it comes to with each of them.
fn answers(transport: &ShmTransport, listeners: &[Listener], until: Instant) -> Vec<Reach> {
    // Where shared memory is not to be had there is no receiver, and the reason is the same for all.
    let mut receiver = transport.receiver();
    let answer = |listener: &Listener| loop {
        let reach = transport.reach(Peer::new(&[listener.locator]));
        let now = Instant::now();
        match &mut receiver {
            Some(receiver) if matches!(reach, Reach::Pending(_)) && now < until => {
                // What they send is for participants, not for us.
                drop(receiver.receive(Some(until.min(now + LOOK))));
            }
            _ => return reach,
        }
    };
    listeners.iter().map(answer).collect()
}

fn row(listener: &Listener, owner: Option<&Process>, reach: &Reach) -> Row {
    let (path, reason) = match reach {
        Reach::Ready(_) => ("shm", String::new()),
        Reach::Pending(reason) | Reach::Unreachable(reason) => ("udp", reason.to_string()),
    };
    let (domain, kind) = domain_of(listener.locator.port());
    Row {
        domain,
        kind,
        participant: listener.locator.incarnation().map(|id| id.to_string()).unwrap_or_default(),
        pid: owner.map(|owner| owner.pid),
        uid: owner.map(|owner| owner.uid),
        program: owner.map(|owner| owner.name.clone()),
        path,
        reason,
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["domain", "kind", "participant", "pid", "uid", "program", "path", "why"]);
    let shown = |number: Option<u32>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    for row in rows {
        table.add_row([
            row.domain.to_string(),
            row.kind.to_owned(),
            row.participant.clone(),
            shown(row.pid),
            shown(row.uid),
            row.program.clone().unwrap_or_else(|| "?".to_owned()),
            row.path.to_owned(),
            row.reason.clone(),
        ]);
    }
    table
}

/// DDSI-RTPS 2.5 §9.6.2.3: the ports of UDP leave room for no more domains.
const DOMAIN_MAX: u32 = 232;
/// For all together: who does not answer within this does not share memory with us.
const PATIENCE: Duration = Duration::from_secs(3);
/// Nothing wakes us when a link was refused.
const LOOK: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_rustdds_are_in_the_domain_of_their_participants() {
        assert_eq!(domain_of(7), (7, "participant"));
        assert_eq!(domain_of(Locator::RUSTDDS_SESSIONS + 7), (7, "RustDDS session"));
        assert_eq!(domain_of(3_000_000_000).1, "participant");
    }
}
