//! `haul serve`: the gateway.

use std::path::PathBuf;
use std::time::Duration;

use haul::config::{Config, Route as ConfigRoute};
use haul::serve::{Ended, Gateway, ListenerStatus, Panel, Reloaded, Route, ServeOptions};
use haul::{Endpoint, parse_duration};
use serde_json::json;
use tokio::sync::mpsc;

use super::data::{ConfigArgs, events_dir};
use crate::exit::Failure;
use crate::output::{Output, Paint, count, quoted, time};

/// How long a gateway whose disk failed tells its clients so.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// Run the gateway: take packets in, store each before it is answered, and pass them on
///
/// Without configuration and flags it listens on http://127.0.0.1:7700 (a dashboard, WebSocket, WebTransport, event
/// streams, POST /events, /status, /metrics, /health) and tcp://127.0.0.1:7701?framing=lines, and keeps its log in
/// ./haul-data. Flags go over the configuration. Ctrl-c or SIGTERM stores and answers what was read, closes all and ends; a
/// second one ends at once. SIGHUP reads the configuration again and replaces what changed.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Listen on this URL, instead of what the configuration says; ?receipts=json answers strangers
    #[arg(short, long, value_name = "URL")]
    listen: Vec<String>,
    /// Keep the log in this folder [default: HAUL_EVENTS_DIR, or what haul.toml says, or haul-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Pass packets on to this URL, instead of the configured routes; NAME keeps its position in the log
    #[arg(short, long, value_name = "[NAME=]URL")]
    sink: Vec<String>,
    /// Pass packets on to --sink without their metadata, as receivers need that can carry none
    #[arg(long, requires = "sink")]
    bare: bool,
    /// How long ctrl-c lets connections and sinks finish
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    drain: Option<Duration>,
}

/// What is to be served, from the configuration, the flags and the environment.
pub(crate) struct Plan {
    pub(crate) options: ServeOptions,
    pub(crate) drain: Duration,
    pub(crate) routes: Vec<Listed>,
}

/// A route, as it is shown.
pub(crate) struct Listed {
    pub(crate) name: String,
    /// Its sink without a password.
    pub(crate) sink: String,
    /// What stands around it.
    pub(crate) around: Vec<String>,
}

impl Args {
    pub(crate) fn of(config: ConfigArgs) -> Self {
        Self { config, listen: Vec::new(), data: None, sink: Vec::new(), bare: false, drain: None }
    }

    pub(crate) fn plan(&self) -> Result<Plan, Failure> {
        let Config { serve, routes, events, .. } = self.config.load()?;
        let data = self.data.clone().or_else(events_dir).unwrap_or(serve.data);
        let mut options = ServeOptions::new(data);
        options.log = events;
        options.max_connections = serve.max_connections;
        options.max_packet = serve.max_packet;
        options.window = serve.window;
        options.in_flight = serve.in_flight;
        options.guard.origins = serve.origins;
        options.guard.tokens = serve.tokens;
        options.session.retention = serve.session.retention;
        options.session.replay_bytes = serve.session.replay_bytes;
        options.session.replay_packets = serve.session.replay_packets;
        options.session.max_detached = serve.session.max_detached;
        options.session.max_memory = serve.session.max_memory;
        options.listen = match self.listen.is_empty() {
            true => serve.listen,
            false => self.listen.clone(),
        };
        let routes = match self.sink.is_empty() {
            true => routes,
            false => self.sinks()?,
        };
        let mut listed = Vec::with_capacity(routes.len());
        for route in routes {
            listed.push(Listed {
                name: route.name.clone(),
                sink: Endpoint::parse(&route.sink)?.to_string(),
                around: route.around(),
            });
            options = options.route(planned(route));
        }
        Ok(Plan { options, drain: self.drain.unwrap_or(serve.drain), routes: listed })
    }

    fn sinks(&self) -> Result<Vec<ConfigRoute>, Failure> {
        let plain = |name: &str| !name.is_empty() && !name.contains([':', '/', '?', '#']);
        let routes = self.sink.iter().map(|text| {
            let (name, sink) = match text.split_once('=') {
                Some((name, url)) if plain(name) => (name.to_owned(), url.to_owned()),
                // As it is displayed: a name stands on disk and in the status, where no password belongs.
                _ => (Endpoint::parse(text)?.to_string(), text.clone()),
            };
            Ok(ConfigRoute { metadata: !self.bare, ..ConfigRoute::new(name, sink) })
        });
        routes.collect()
    }
}

fn planned(route: ConfigRoute) -> Route {
    let (name, options) = (route.name.clone(), route.sink_options());
    let made_of = route.made_of();
    let open = move |panel: Panel| {
        let route = route.clone();
        async move { route.open(&haul::registry(), &panel).await }
    };
    Route::new(name, made_of, open).options(options)
}

pub(crate) async fn run(args: Args, out: Output) -> Result<(), Failure> {
    let plan = args.plan()?;
    let mut signals = Signals::listen()?;
    let data = plan.options.data.clone();
    std::fs::create_dir_all(&data).map_err(|why| {
        let why = haul::Error::from(why).while_doing(format!("make the data folder {}", data.display()));
        Failure::from(why).with_hint("choose a folder that can be written, with --data DIR")
    })?;
    let gateway = Gateway::start(plan.options, haul::registry()).await?;
    for listener in gateway.status().listeners {
        listening(&listener, out)?;
    }
    out.remark(&format!("event log in {}", data.display()));
    for Listed { name, sink, .. } in &plan.routes {
        out.remark(&match name == sink {
            true => format!("passing on to {sink}"),
            false => format!("passing on to {name}: {sink}"),
        });
    }
    for absent in gateway.status().log.absent {
        let (name, events) = (&absent.name, count(absent.events, "event"));
        out.warn(&format!(
            "{name} is no route any more, and all that comes is kept for it ({events} so far); \
             haul log forget {} lets it go",
            quoted(name)
        ));
    }
    if let Err(why) = gateway.control() {
        out.warn(&format!("haul tap cannot reach this gateway: {why}"));
    }
    let mut drain = plan.drain;
    let failure = loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Stop => break None,
                Signal::Reload => match reload(&args, &gateway, out).await {
                    Ok(changed) => drain = changed,
                    Err(why) => out.warn(&format!("not reloaded: {}", why.message)),
                },
            },
            why = gateway.failed() => break Some(why),
        }
    };
    if let Some(why) = failure {
        // Its clients hear of the refusals; the log itself says the same again.
        let _ = gateway.shutdown(AFTER_FAILURE).await;
        return Err(Failure::from(why.while_doing("the event log failed")).with_hint(
            "make room or mend the disk, and start the gateway again: what was answered as stored is there",
        ));
    }
    out.remark(&stopping(&gateway, drain));
    tokio::select! {
        ended = gateway.shutdown(drain) => report(&ended?, out),
        Signal::Stop = signals.only_stop() => Err(Failure::interrupted()),
    }
}

/// What it still has to do, and how long it takes at most.
fn stopping(gateway: &Gateway, drain: Duration) -> String {
    let status = gateway.status();
    let open: usize = status.listeners.iter().map(|listener| listener.open).sum();
    let behind: u64 = status.log.sinks.iter().map(|sink| sink.lag).sum();
    let mut todo = Vec::new();
    if open > 0 {
        todo.push(format!("{} to close", count(open as u64, "connection")));
    }
    if behind > 0 {
        todo.push(format!("{} to pass on", count(behind, "event")));
    }
    match todo.is_empty() {
        true => "stopping".to_owned(),
        false => {
            format!("stopping, {} within {}; once more to stop at once", todo.join(" and "), time(drain))
        }
    }
}

/// Where it listens; of its own address also what is served there, and the certificates that clients have to be told of.
fn listening(at: &ListenerStatus, out: Output) -> Result<(), Failure> {
    if out.json {
        let mut event = json!({ "event": "listening", "endpoint": at.url });
        if !at.protocols.is_empty() {
            event["protocols"] = json!(at.protocols);
            event["certificateHashes"] = json!(at.certificate_hashes);
        }
        return out.object(&event);
    }
    out.line(&format!("listening on {}", out.paint(Paint::Name, &at.url)))?;
    if !at.protocols.is_empty() {
        out.remark(&format!("there: {} and, as its page /, the dashboard", at.protocols.join(", ")));
    }
    if let Some(hash) = at.certificate_hashes.first() {
        out.remark(&format!(
            "its certificate for WebTransport is made for the moment: wt:// clients add #pin={hash}"
        ));
    }
    Ok(())
}

async fn reload(args: &Args, gateway: &Gateway, out: Output) -> Result<Duration, Failure> {
    let plan = args.plan()?;
    let Reloaded { closed, routed, unrouted, needs_restart, .. } = gateway.reload(plan.options).await?;
    for (what, names) in
        [("closed", &closed), ("passing on to", &routed), ("not passing on any more to", &unrouted)]
    {
        for name in names {
            out.remark(&format!("{what} {name}"));
        }
    }
    for name in &unrouted {
        out.remark(&format!(
            "what {name} has yet to get is kept; haul log forget {} lets it go",
            quoted(name)
        ));
    }
    for name in needs_restart {
        out.warn(&format!("{name} changed, which holds after a restart"));
    }
    for listener in gateway.status().listeners {
        listening(&listener, out)?;
    }
    Ok(plan.drain)
}

/// What is left is said; it is on disk and is no failure.
fn report(ended: &Ended, out: Output) -> Result<(), Failure> {
    if ended.cut > 0 {
        out.warn(&format!("{} did not end in time and were cut", count(ended.cut as u64, "connection")));
    }
    for (sink, closed) in &ended.sinks {
        if sink.lag > 0 {
            let (events, name) = (count(sink.lag, "event"), &sink.name);
            let why = sink.stuck.as_ref().map(|why| format!(" ({})", why.message));
            let why = why.unwrap_or_default();
            out.warn(&format!("{name} has yet to get {events}{why}; it gets them after the next start"));
        }
        if let Err(why) = closed {
            out.warn(&why.to_string());
        }
    }
    if out.json {
        let sinks: Vec<_> = ended.sinks.iter().map(|(sink, _)| sink).collect();
        out.object(&json!({ "event": "stopped", "cut": ended.cut, "sinks": sinks }))?;
    }
    Ok(())
}

enum Signal {
    Stop,
    Reload,
}

/// Ctrl-c, SIGTERM and SIGHUP, in the order in which they come.
struct Signals(mpsc::Receiver<Signal>);

impl Signals {
    #[cfg(unix)]
    fn listen() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let (send, signals) = mpsc::channel(8);
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            loop {
                let signal = tokio::select! {
                    _ = interrupt.recv() => Signal::Stop,
                    _ = terminate.recv() => Signal::Stop,
                    _ = hangup.recv() => Signal::Reload,
                };
                if send.send(signal).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self(signals))
    }

    #[cfg(not(unix))]
    fn listen() -> Result<Self, Failure> {
        let (send, signals) = mpsc::channel(8);
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() && send.send(Signal::Stop).await.is_ok() {}
        });
        Ok(Self(signals))
    }

    async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }

    /// The next one to stop.
    async fn only_stop(&mut self) -> Signal {
        loop {
            if let stop @ Signal::Stop = self.next().await {
                return stop;
            }
        }
    }
}
