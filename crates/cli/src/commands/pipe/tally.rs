//! What a pipe has carried, what it has not, and how it ends.

use std::error::Error as _;
use std::io;
use std::time::{Duration, Instant};

use haul::{Error, Status};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::exit::{Code, Failure};
use crate::output::{Output, count, size, time};

pub(super) struct Tally {
    out: Output,
    bar: ProgressBar,
    start: Instant,
    packets: u64,
    bytes: u64,
    /// Packets that the sink did not take, and why the first was not.
    refused: u64,
    refusal: Option<Error>,
    /// The sink will not take more.
    sink_failed: bool,
    source_failed: Option<Error>,
    not_flushed: Option<Error>,
    gaps: u64,
    /// Packets whose sender could not be told.
    not_told: u64,
    interrupted: bool,
}

impl Tally {
    pub(super) fn new(out: Output) -> Self {
        let bar = match out.progress() {
            true => ProgressBar::new_spinner(),
            false => ProgressBar::hidden(),
        };
        bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("the template is valid"));
        bar.enable_steady_tick(Duration::from_millis(100));
        Self {
            out,
            bar,
            start: Instant::now(),
            packets: 0,
            bytes: 0,
            refused: 0,
            refusal: None,
            sink_failed: false,
            source_failed: None,
            not_flushed: None,
            gaps: 0,
            not_told: 0,
            interrupted: false,
        }
    }

    /// Whether there is a point in reading on: a refused packet is one, a sink that failed is all.
    pub(super) fn goes_on(&self) -> bool {
        self.bar.set_message(self.so_far());
        !self.sink_failed && !self.interrupted
    }

    pub(super) fn delivered(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    pub(super) fn not_delivered(&mut self, why: Error) {
        self.refused += 1;
        self.sink_failed |= why.status() != Status::Permanent;
        self.refusal.get_or_insert(why);
    }

    pub(super) fn not_flushed(&mut self, why: Error) {
        self.not_flushed.get_or_insert(why);
    }

    pub(super) fn source_failed(&mut self, why: Error) {
        self.source_failed.get_or_insert(why);
    }

    pub(super) fn has_failed_to_read(&self) -> bool {
        self.source_failed.is_some()
    }

    pub(super) fn gap(&mut self, why: Error) {
        self.gaps += 1;
        self.bar.suspend(|| self.out.warn(&why.to_string()));
    }

    pub(super) fn not_told(&mut self, why: Error) {
        self.not_told += 1;
        if self.not_told == 1 {
            let warning = format!("the sender could not be told what became of a packet: {why}");
            self.bar.suspend(|| self.out.warn(&warning));
        }
    }

    pub(super) fn interrupted(&mut self) {
        self.interrupted = true;
    }

    fn so_far(&self) -> String {
        let elapsed = self.start.elapsed();
        let rate = self.packets as f64 / elapsed.as_secs_f64().max(1e-6);
        format!("{}, {} in {} ({rate:.0}/s)", count(self.packets, "packet"), size(self.bytes), time(elapsed))
    }

    /// Says what was carried, and answers what the program ends with.
    pub(super) fn finish(self, stdout_is_data: bool) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        let nobody_reads = [&self.refusal, &self.not_flushed].into_iter().flatten().any(is_broken_pipe);
        if stdout_is_data && nobody_reads {
            return Err(Failure::new(Code::BrokenPipe, ""));
        }
        self.summary(stdout_is_data)?;
        if let Some(why) = &self.refusal {
            return Err(self.undelivered(&format!("{} not delivered", count(self.refused, "packet")), why));
        }
        if let Some(why) = &self.not_flushed {
            return Err(self.undelivered("the end of what was accepted may not have been delivered", why));
        }
        match self.source_failed {
            Some(why) => Err(Failure::from(why.while_doing("read"))),
            None if self.gaps > 0 => {
                let message = format!("read: {} where packets are missing", count(self.gaps, "place"));
                Err(Failure::new(Code::NotDelivered, message))
            }
            None if self.interrupted => Err(Failure::interrupted()),
            None => Ok(()),
        }
    }

    fn summary(&self, stdout_is_data: bool) -> Result<(), Failure> {
        if !self.out.json {
            self.out.remark(&self.so_far());
            return Ok(());
        }
        let summary = json!({
            "event": "done",
            "packets": self.packets,
            "bytes": self.bytes,
            "not_delivered": self.refused,
            "gaps": self.gaps,
            "interrupted": self.interrupted,
            "seconds": self.start.elapsed().as_secs_f64(),
        });
        match stdout_is_data {
            true => eprintln!("{summary}"),
            false => self.out.object(&summary)?,
        }
        Ok(())
    }

    fn undelivered(&self, what: &str, why: &Error) -> Failure {
        let mut failure = Failure::from(why.clone()).with_code(Code::NotDelivered);
        let done = count(self.packets, "packet");
        failure.message = format!("pipe: {what} ({done} delivered): {}", failure.message);
        failure
    }
}

fn is_broken_pipe(error: &Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
