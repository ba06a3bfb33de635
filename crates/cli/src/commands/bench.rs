//! `haul bench`: the rate and latency of an endpoint.

mod worker;

use std::time::{Duration, Instant};

use haul::Endpoint;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::args::{Bench, BenchMode};
use crate::exit::{Code, Failure};
use crate::output::{Output, Paint, count, size, time};
use worker::{Load, Measured};

pub(crate) async fn run(args: Bench, out: Output) -> Result<(), Failure> {
    let endpoint = Endpoint::parse(&args.url)?;
    let mut connections = Vec::new();
    for _ in 0..args.connections {
        connections.push(args.layers.connect(&args.url).await.map_err(Failure::connecting)?);
    }
    if args.mode == BenchMode::Echo && connections.iter().any(|connection| connection.info().framing == "raw")
    {
        return Err(Failure::usage(
            "bench: framing raw keeps no packets, so that echoes cannot be told apart",
        )
        .with_hint("use --mode one-way, or another framing"));
    }
    let load = Load { echo: args.mode == BenchMode::Echo, window: args.window, size: args.size };
    let (stop, stopped) = watch::channel(false);
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for connection in connections {
        workers.spawn(worker::run(connection, load, stopped.clone()));
    }
    let interrupted = wait(args.duration, out).await?;
    stop.send_replace(true);
    let sending = start.elapsed();

    let mut all = Measured::new();
    while let Some(done) = workers.join_next().await {
        all.add(done.map_err(|why| Failure::new(Code::Failed, format!("bench: a worker broke: {why}")))?);
    }
    report(&args, &all, sending, out)?;
    match all.first_error {
        Some(why) => Err(Failure::from(why.while_doing("bench")).with_code(Code::NotDelivered)),
        None if all.missing > 0 => {
            let what = count(all.missing, "packet");
            Err(Failure::new(Code::NotDelivered, format!("bench {endpoint}: {what} did not come back"))
                .with_hint("use an endpoint that echoes (haul listen URL --echo -q), or --mode one-way"))
        }
        None if interrupted => Err(Failure::interrupted()),
        None => Ok(()),
    }
}

/// Waits for the end of the load; answers whether ctrl-c came first.
async fn wait(duration: Duration, out: Output) -> Result<bool, Failure> {
    let tenths = u64::try_from(duration.as_millis() / 100).unwrap_or(u64::MAX);
    let bar = match out.progress() {
        true => ProgressBar::new(tenths),
        false => ProgressBar::hidden(),
    };
    bar.set_style(ProgressStyle::with_template("{bar:40} {elapsed}").expect("the template is valid"));
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut over = std::pin::pin!(tokio::time::sleep(duration));
    let mut stop = std::pin::pin!(crate::stopped());
    let interrupted = loop {
        tokio::select! {
            () = &mut over => break false,
            stop = &mut stop => { stop?; break true; }
            _ = ticks.tick() => bar.inc(1),
        }
    };
    bar.finish_and_clear();
    Ok(interrupted)
}

fn report(args: &Bench, all: &Measured, took: Duration, out: Output) -> Result<(), Failure> {
    let seconds = took.as_secs_f64();
    let (rate, bytes) = (all.packets as f64 / seconds, all.packets as f64 * args.size as f64 / seconds);
    if out.json {
        return out.object(&json!({
            "event": "measured",
            "mode": match args.mode { BenchMode::Echo => "echo", BenchMode::OneWay => "one-way" },
            "connections": args.connections, "window": args.window, "size": args.size,
            "seconds": seconds, "packets": all.packets, "packets_per_second": rate, "bytes_per_second": bytes,
            "latency": (!all.latency.is_empty()).then(|| all.latency.json()),
            "missing": all.missing, "errors": all.errors,
            "first_error": all.first_error.as_ref().map(ToString::to_string),
        }));
    }
    let row = |label: &str, value: &str| {
        out.line(&format!("{} {value}", out.paint(Paint::Name, &format!("{label:<8}"))))
    };
    row("rate", &format!("{rate:.0} packets/s, {}/s", size(bytes as u64)))?;
    row("packets", &format!("{} of {} B in {}", all.packets, args.size, time(took)))?;
    if !all.latency.is_empty() {
        row("latency", &all.latency.text())?;
    }
    row("errors", &all.errors.to_string())?;
    match all.missing {
        0 => Ok(()),
        missing => row("missing", &missing.to_string()),
    }
}
