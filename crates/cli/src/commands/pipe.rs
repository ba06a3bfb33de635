//! `haul pipe`: from a source to a sink, acknowledged upstream only after downstream accepted.

mod tally;

use haul::retry::{RetryLayer, RetryOptions};
use haul::{
    Ack, AnySource, Batch, CloseReason, DeliverAll, Delivery, Error, ErrorKind, Packet, Receipt, Result,
    Shared, Sink, Source, Status,
};
use tokio::sync::watch;
use tower_layer::Layer;

use crate::args::{Pipe, PipeFraming};
use crate::ends::End;
use crate::exit::Failure;
use crate::output::Output;
use tally::Tally;

/// At most this many packets, and about this many bytes, are delivered at once.
const BATCH_PACKETS: usize = 1024;
const BATCH_BYTES: usize = 1 << 20;

pub(crate) async fn run(args: Pipe, out: Output) -> Result<(), Failure> {
    let (from, to) = (End::parse(&args.from), End::parse(&args.to));
    refuse_same_file(&from, &to)?;
    let between_bytes = !from.is_url() && !to.is_url();
    let framing = args.framing.unwrap_or(match between_bytes {
        true => PipeFraming::Raw,
        false => PipeFraming::Lines,
    });
    let opening = |why: Error| match why.kind() {
        ErrorKind::NotFound | ErrorKind::Io => Failure::from(why),
        _ => Failure::connecting(why),
    };
    args.layers.refuse_unless(from.is_dialed() || to.is_dialed(), "pipe")?;
    if from.is_dialed() && to.is_dialed() {
        args.layers.refuse_other_urls("pipe")?;
    }
    let (source, upstream) = from.source(framing, args.max_packet, &args.layers).await.map_err(opening)?;
    let sink = to.sink(framing, &args.layers).await.map_err(opening)?;
    sink.ready().await.map_err(opening)?;

    let retry = RetryLayer::new(RetryOptions { attempts: args.attempts, ..RetryOptions::default() })?;
    let mut flow =
        Flow { source, sink: Shared::new(retry.layer(sink.clone())), stops: stops(), tally: Tally::new(out) };
    flow.run().await;
    let mut tally = flow.tally;
    if let Err(why) = sink.close().await {
        tally.not_flushed(why);
    }
    // The last answers go before the end; where reading failed, that is said already.
    if let Some(upstream) = upstream
        && let Err(why) = upstream.close(CloseReason::NORMAL).await
        && !tally.has_failed_to_read()
    {
        tally.not_told(why);
    }
    tally.finish(to == End::Stdio)
}

fn refuse_same_file(from: &End, to: &End) -> Result<(), Failure> {
    if let (End::File(from), End::File(to)) = (from, to)
        && let (Ok(one), Ok(other)) = (from.canonicalize(), to.canonicalize())
        && one == other
        && one.is_file()
    {
        let message = format!("pipe {} to itself: writing would empty what is read", one.display());
        return Err(Failure::usage(message).with_hint("write another file, then rename it"));
    }
    Ok(())
}

/// How often a stop was asked for: once to drain, twice to give up.
fn stops() -> watch::Receiver<u32> {
    let (asked, stops) = watch::channel(0);
    tokio::spawn(async move {
        while !asked.is_closed() && crate::stopped().await.is_ok() {
            asked.send_modify(|times| *times += 1);
        }
    });
    stops
}

/// Resolves when a stop was asked for so often; never if nobody can ask.
async fn asked(stops: &mut watch::Receiver<u32>, times: u32) {
    if stops.wait_for(|asked| *asked >= times).await.is_err() {
        std::future::pending().await
    }
}

struct Flow {
    source: AnySource,
    sink: Shared<Batch>,
    stops: watch::Receiver<u32>,
    tally: Tally,
}

impl Flow {
    /// Until the source ends or fails, the sink fails, or a stop is asked for.
    async fn run(&mut self) {
        while self.tally.goes_on() {
            let next = tokio::select! {
                biased;
                () = asked(&mut self.stops, 1) => {
                    self.tally.interrupted();
                    return;
                }
                next = self.source.next() => next,
            };
            let mut batch = Vec::new();
            let mut more = self.take(next, &mut batch);
            while more && batch.len() < BATCH_PACKETS && weight(&batch) < BATCH_BYTES {
                let next = tokio::select! {
                    biased;
                    next = self.source.next() => next,
                    () = std::future::ready(()) => break,
                };
                more = self.take(next, &mut batch);
            }
            self.deliver(batch).await;
            if !more {
                return;
            }
        }
    }

    /// Puts what the source gave into `batch`; answers whether there may be more.
    fn take(&mut self, next: Result<Option<Delivery>>, batch: &mut Vec<Delivery>) -> bool {
        match next {
            Ok(Some(delivery)) => batch.push(delivery),
            Ok(None) => return false,
            Err(why) if why.kind() == ErrorKind::Gap => self.tally.gap(why),
            Err(why) => {
                self.tally.source_failed(why);
                return false;
            }
        }
        true
    }

    async fn deliver(&mut self, batch: Vec<Delivery>) {
        if batch.is_empty() {
            return;
        }
        let (packets, acks): (Vec<Packet>, Vec<Ack>) = batch.into_iter().map(Delivery::split).unzip();
        let bytes: Vec<usize> = packets.iter().map(Packet::len).collect();
        let outcomes = tokio::select! {
            outcomes = self.sink.deliver_all(packets) => outcomes,
            () = asked(&mut self.stops, 2) => {
                self.tally.interrupted();
                Err(Error::new(ErrorKind::Closed, "stopped while delivering").with_status(Status::Exhausted))
            }
        };
        let outcomes = match outcomes {
            Ok(outcomes) => outcomes,
            Err(why) => vec![Err(why); bytes.len()],
        };
        for ((outcome, ack), bytes) in outcomes.into_iter().zip(acks).zip(bytes) {
            self.settle(outcome, ack, bytes).await;
        }
    }

    async fn settle(&mut self, outcome: Result<Receipt>, ack: Ack, bytes: usize) {
        let told = match outcome {
            Ok(receipt) => {
                self.tally.delivered(bytes);
                ack.ack(receipt).await
            }
            Err(why) => {
                self.tally.not_delivered(why.clone());
                ack.nack(why).await
            }
        };
        if let Err(why) = told {
            self.tally.not_told(why);
        }
    }
}

fn weight(batch: &[Delivery]) -> usize {
    batch.iter().map(|delivery| delivery.packet().len()).sum()
}
