//! Progress on stderr: a bar for each measurement at a terminal, one plain line each elsewhere.
//!
//! stdout stays free for results. A bar stays when its measurement is done, with what was measured, so that the
//! main job reads like a protocol; where stderr is no terminal the same lines are printed without bars.

use crate::output::remark;
use crate::publisher::{End, Plan};
use crate::quantity::{bytes_text, count_text};
use crate::run::Moment;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The progress of one measurement.
pub(crate) struct Progress {
    bar: ProgressBar,
    title: String,
    end: End,
    started: Option<Instant>,
    /// Whether anything is shown at all.
    is_quiet: bool,
}

impl Progress {
    /// Begins to show a measurement; nothing but notices if `is_quiet`.
    pub(crate) fn start(title: &str, plan: &Plan, is_quiet: bool) -> Self {
        let target = if is_quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(STEPS), target);
        bar.set_style(style("{prefix} {bar:24.cyan/black.dim} {msg}"));
        bar.set_prefix(title.to_owned());
        bar.set_message("finding each other");
        Self { bar, title: title.to_owned(), end: plan.end, started: None, is_quiet }
    }

    /// Shows what happened.
    pub(crate) fn watch(&mut self, moment: Moment<'_>) {
        match moment {
            Moment::Started => {
                self.started = Some(Instant::now());
                self.bar.set_message("");
            }
            Moment::Progress { samples, bytes } => {
                self.bar.set_position((self.share(samples) * STEPS as f64) as u64);
                self.bar.set_message(format!("{} samples, {}", count_text(samples), bytes_text(bytes)));
            }
            Moment::Notice(text) => {
                if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned()) {
                    self.bar.suspend(|| remark!("  note: {text}"));
                }
            }
        }
    }

    /// Leaves the bar standing with `result` beside it.
    pub(crate) fn finish(self, result: &str) {
        if self.is_quiet {
            return;
        }
        self.bar.set_position(STEPS);
        self.bar.finish_with_message(result.to_owned());
        if !std::io::stderr().is_terminal() {
            remark!("{} {result}", self.title);
        }
    }

    /// Takes the bar away.
    pub(crate) fn abandon(self) {
        self.bar.finish_and_clear();
    }

    fn share(&self, samples: u64) -> f64 {
        match (self.end, self.started) {
            (End::Samples(all), _) => samples as f64 / all.max(1) as f64,
            (End::After(time), Some(started)) => started.elapsed().as_secs_f64() / time.as_secs_f64(),
            _ => 0.0,
        }
        .min(1.0)
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━━━")
}

/// Notices shown; children of one measurement after the other may have the same to say.
static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
const STEPS: u64 = 1000;
