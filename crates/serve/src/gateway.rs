//! The gateway: starts, changes and ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use haul_core::{AnySink, Error, ErrorKind, Info, Packet, Registry, Result, Sink};
use haul_event_log::{Event, EventLog, Panel, SESSION_ID, SinkStatus, Stored};
use haul_session::Acceptor;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::accept::{Accepting, Stopping};
use crate::control;
use crate::guard::Guard;
use crate::listen::{ListenUrl, Terms};
use crate::live::{Live, LiveStatus};
use crate::options::{Route, ServeOptions};
use crate::receipt::rfc3339;
use crate::socket::Socket;
use crate::status::GatewayStatus;
use crate::tap::Taps;

/// What every connection needs.
pub(crate) struct Shared {
    pub(crate) log: EventLog,
    pub(crate) taps: Arc<Taps>,
    pub(crate) live: Arc<Live>,
    /// Sessions go on over whichever listener their client comes back.
    pub(crate) acceptor: Acceptor,
    pub(crate) counters: Counters,
    /// Packets of one connection that may be in flight.
    pub(crate) window: usize,
    in_flight: Arc<Semaphore>,
    most_in_flight: usize,
    /// Bodies of requests that are being read.
    uploads: Arc<Semaphore>,
    guard: std::sync::Mutex<Arc<Guard>>,
    failure: watch::Sender<Option<Error>>,
    since: SystemTime,
    /// For status: what listens now, and the routes that are attached.
    pub(crate) listening: std::sync::Mutex<Vec<Arc<Socket>>>,
    panels: std::sync::Mutex<BTreeMap<String, Panel>>,
}

#[derive(Default)]
pub(crate) struct Counters {
    received: AtomicU64,
    received_bytes: AtomicU64,
    stored: AtomicU64,
    refused: AtomicU64,
}

impl Shared {
    /// Waits for room for `bytes` more in flight. `None` never comes while a gateway lives.
    pub(crate) async fn admit(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.min(self.most_in_flight)).unwrap_or(u32::MAX);
        self.in_flight.clone().acquire_many_owned(bytes).await.ok()
    }

    /// Waits for room to read a request's body of `bytes`. One that comes slowly keeps only others of its like waiting.
    pub(crate) async fn upload(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.min(self.most_in_flight as u64)).unwrap_or(u32::MAX);
        self.uploads.clone().acquire_many_owned(bytes).await.ok()
    }

    pub(crate) fn guard(&self) -> Arc<Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The packet as an event, and a copy for those who watch.
    pub(crate) fn event(&self, packet: Packet, terms: &Terms, info: &Info) -> (Option<Packet>, Event) {
        self.counters.received.fetch_add(1, Relaxed);
        self.counters.received_bytes.fetch_add(packet.len() as u64, Relaxed);
        let packet = packet.identified();
        let copy = self.taps.watched().then(|| packet.clone());
        let named = packet.metadata().get(SESSION_ID).is_some_and(|id| !id.is_empty());
        let event = Event::new(packet).from_connection(info);
        match &terms.session {
            Some(session) if !named => (copy, event.in_session(session)),
            _ => (copy, event),
        }
    }

    pub(crate) fn count(&self, outcome: &Result<Stored>) {
        match outcome {
            Ok(_) => self.counters.stored.fetch_add(1, Relaxed),
            Err(_) => self.counters.refused.fetch_add(1, Relaxed),
        };
        if let (Err(_), Some(why)) = (outcome, self.log.failure()) {
            self.failure.send_if_modified(|failure| {
                let first = failure.is_none();
                failure.get_or_insert(why);
                first
            });
        }
    }

    pub(crate) fn status(&self) -> GatewayStatus {
        let LiveStatus { protocols, states, rtt } = self.live.status();
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        GatewayStatus {
            pid: std::process::id(),
            since: rfc3339(self.since),
            received: self.counters.received.load(Relaxed),
            received_bytes: self.counters.received_bytes.load(Relaxed),
            stored: self.counters.stored.load(Relaxed),
            refused: self.counters.refused.load(Relaxed),
            in_flight: self.most_in_flight - self.in_flight.available_permits(),
            taps: self.taps.count(),
            protocols,
            states,
            rtt,
            listeners: listening.iter().map(|socket| socket.status()).collect(),
            log: self.log.status(),
            routes: self.panels().values().map(Panel::status).collect(),
        }
    }

    /// Opens the route's sink, and what shows it.
    async fn open(&self, route: &Route) -> Result<(AnySink, Panel)> {
        let panel = Panel::new(&route.name, self.taps.clone());
        Ok((open(route, panel.clone()).await?, panel))
    }

    async fn attach(&self, route: &Route, (sink, panel): (AnySink, Panel)) -> Result<()> {
        self.log.attach(&route.name, sink, route.options.clone()).await?;
        self.panels().insert(route.name.clone(), panel);
        Ok(())
    }

    async fn detach(&self, route: &str, deadline: Duration) {
        if let Err(why) = self.log.detach(route, deadline).await {
            tracing::warn!(sink = route, "detach: {why}");
        }
        self.panels().remove(route);
    }

    /// The routes that are attached.
    pub(crate) fn routes(&self) -> Vec<String> {
        self.panels().keys().cloned().collect()
    }

    fn panels(&self) -> MutexGuard<'_, BTreeMap<String, Panel>> {
        self.panels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running gateway. Dropping it cuts connections and stops forwarding; what was stored stays stored.
pub struct Gateway {
    registry: Registry,
    shared: Arc<Shared>,
    state: Mutex<State>,
    control: std::result::Result<Accepting, Error>,
}

struct State {
    options: ServeOptions,
    accepting: BTreeMap<String, Accepting>,
    /// Listeners that were replaced, with connections that still end.
    retired: Vec<Stopping>,
}

/// What a reload changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// URLs that are listened on now.
    pub listening: Vec<String>,
    /// URLs that are not listened on any more; their connections are told to go (1001).
    pub closed: Vec<String>,
    /// Routes that were added or replaced.
    pub routed: Vec<String>,
    /// Routes that are no more. The log keeps what they have not got until they come back or are forgotten.
    pub unrouted: Vec<String>,
    /// What changed in the options and holds only after a restart.
    pub needs_restart: Vec<&'static str>,
}

/// How a shutdown went.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ended {
    /// Connections that were cut at the deadline.
    pub cut: usize,
    /// Each sink: where it stands, and how closing it went. What it has not got it gets after the next start.
    pub sinks: Vec<(SinkStatus, Result<()>)>,
}

impl Gateway {
    /// Opens the event log, attaches the routes and listens. `registry` opens the listeners, and the socket for taps
    /// where it has `unix`.
    ///
    /// Errors: `Config` for options that make no sense; `Overloaded` with its process id if another gateway has the
    /// data folder; what opening log, sinks and listeners answer.
    pub async fn start(options: ServeOptions, registry: Registry) -> Result<Self> {
        let urls = checked(&options)?;
        let acceptor = Acceptor::new(options.acceptor_options())?;
        let log = EventLog::open(&options.data, options.log_options())
            .await
            .map_err(|why| why.while_doing(format!("start the gateway on {}", options.data.display())))?;
        let most_in_flight = options.in_flight.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let shared = Arc::new(Shared {
            log,
            taps: Arc::default(),
            live: Live::new(acceptor.clone()),
            acceptor,
            counters: Counters::default(),
            window: options.window.max(1),
            in_flight: Arc::new(Semaphore::new(most_in_flight)),
            most_in_flight,
            uploads: Arc::new(Semaphore::new(most_in_flight)),
            guard: std::sync::Mutex::new(Arc::new(options.guard.clone())),
            failure: watch::Sender::new(None),
            since: SystemTime::now(),
            listening: std::sync::Mutex::default(),
            panels: std::sync::Mutex::default(),
        });
        for route in &options.routes {
            shared.attach(route, shared.open(route).await?).await?;
        }
        let control = control::listen(&options.data, &registry, &shared).await;
        if let Err(why) = &control {
            tracing::warn!("no taps and no status: {why}");
        }
        let mut accepting = BTreeMap::new();
        for url in urls {
            let given = url.given.clone();
            accepting.insert(given, Accepting::start(url, &registry, &shared).await?);
        }
        Ok(Self {
            registry,
            shared,
            control,
            state: Mutex::new(State { options, accepting, retired: Vec::new() }),
        })
    }

    /// Looks for what would be wrong with `options` without doing any of it: URLs and their options are read, by
    /// listening on a free port of the same address for a moment; sinks are opened, which connects nowhere.
    ///
    /// Errors: the first thing found, as [`start`](Self::start) would answer it.
    pub async fn check(options: &ServeOptions, registry: &Registry) -> Result<()> {
        let acceptor = Acceptor::new(options.acceptor_options())?;
        for mut url in checked(options)? {
            let known = url.web.is_some() || registry.schemes().listen.contains(&url.endpoint.scheme());
            match url.endpoint.port() {
                Some(_) => url = url.with_port(0)?,
                // Its place is a path, or the scheme's own port: it is tried when it is served.
                None if known => continue,
                None => {}
            }
            let opened = Socket::open(&url, registry, &acceptor, Weak::new()).await;
            opened.map_err(|why| why.while_doing(format!("check {}", url.given)))?;
        }
        for route in &options.routes {
            open(route, Panel::default()).await?.close().await?;
        }
        Ok(())
    }

    /// Where it listens, with the ports that were given.
    pub fn local_endpoints(&self) -> Vec<haul_core::Endpoint> {
        let listening = self.shared.listening.lock().unwrap_or_else(PoisonError::into_inner);
        listening.iter().map(|socket| socket.local_endpoint().clone()).collect()
    }

    /// Where taps connect: the path of the socket. Errors: why there is none.
    pub fn control(&self) -> Result<PathBuf> {
        match &self.control {
            Ok(accepting) => Ok(PathBuf::from(accepting.socket().local_endpoint().path())),
            Err(why) => Err(why.clone()),
        }
    }

    /// What it is doing.
    pub fn status(&self) -> GatewayStatus {
        self.shared.status()
    }

    /// Waits until the event log's disk fails: nothing is stored from then on, and everything refused. Cancel-safe.
    pub async fn failed(&self) -> Error {
        let mut failure = self.shared.failure.subscribe();
        let failed = failure.wait_for(Option::is_some).await;
        let why = failed.ok().and_then(|failure| failure.clone());
        why.unwrap_or_else(|| Error::new(ErrorKind::Internal, "the gateway is gone"))
    }

    /// Changes over to `options`: listeners and routes that are the same go on untouched, the others are replaced.
    /// Nothing stored is lost: a replaced route goes on where the old one was.
    ///
    /// Errors: `Config` if `options` make no sense or name another data folder, and then nothing changed; what opening
    /// a route or listener answers, and then those before it are changed and it is as it was. Cancelled, a part is
    /// changed.
    pub async fn reload(&self, options: ServeOptions) -> Result<Reloaded> {
        let urls = checked(&options)?;
        let mut state = self.state.lock().await;
        if options.data != state.options.data {
            let message = format!(
                "reload: the data folder cannot change from {} to {} while it runs; restart it",
                state.options.data.display(),
                options.data.display()
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        let mut reloaded = Reloaded::default();
        let old = &state.options;
        for (name, changed) in [
            ("log", old.log != options.log),
            ("window", old.window != options.window),
            ("in_flight", old.in_flight != options.in_flight),
            ("session", old.session != options.session),
        ] {
            if changed {
                reloaded.needs_restart.push(name);
            }
        }
        self.change_routes(&mut state, &options, &mut reloaded).await?;
        self.change_listeners(&mut state, urls, &mut reloaded).await?;
        *self.shared.guard.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(options.guard.clone());
        let old = &state.options;
        let (window, in_flight) = (old.window, old.in_flight);
        let (log, session) = (old.log.clone(), old.session.clone());
        state.options = ServeOptions { log, window, in_flight, session, ..options };
        Ok(reloaded)
    }

    async fn change_routes(
        &self,
        state: &mut State,
        options: &ServeOptions,
        reloaded: &mut Reloaded,
    ) -> Result<()> {
        // A sink that is stuck keeps a reload no longer than this; its successor goes on where it was.
        const LET_GO: Duration = Duration::from_secs(2);
        for route in &options.routes {
            let old = state.options.routes.iter().position(|old| old.name == route.name);
            if old.is_some_and(|at| state.options.routes[at].same_as(route)) {
                continue;
            }
            let opened = self.shared.open(route).await?;
            if let Some(at) = old {
                self.shared.detach(&route.name, LET_GO).await;
                state.options.routes.remove(at);
            }
            self.shared.attach(route, opened).await?;
            state.options.routes.push(route.clone());
            reloaded.routed.push(route.name.clone());
        }
        let kept = |name: &str| options.routes.iter().any(|route| route.name == name);
        let gone: Vec<_> = state.options.routes.extract_if(.., |old| !kept(&old.name)).collect();
        for route in gone {
            self.shared.detach(&route.name, LET_GO).await;
            reloaded.unrouted.push(route.name);
        }
        Ok(())
    }

    async fn change_listeners(
        &self,
        state: &mut State,
        urls: Vec<ListenUrl>,
        reloaded: &mut Reloaded,
    ) -> Result<()> {
        let same = |accepting: &Accepting, url: &ListenUrl| *accepting.url() == *url;
        let gone = state.accepting.extract_if(.., |_, old| !urls.iter().any(|url| same(old, url)));
        // Addresses may move from one to another: what goes, goes first.
        let gone: Vec<_> = gone.collect();
        state.retired.retain(|stopping| !stopping.is_over());
        let mut closed = Vec::new();
        for (given, old) in gone {
            closed.push(old.url().clone());
            reloaded.closed.push(given);
            old.forget(&self.shared);
            state.retired.push(old.stop());
        }
        for url in urls {
            let given = url.given.clone();
            if state.accepting.contains_key(&given) {
                continue;
            }
            match Accepting::start_soon(url, &self.registry, &self.shared).await {
                Ok(accepting) => {
                    state.accepting.insert(given.clone(), accepting);
                    reloaded.listening.push(given);
                }
                Err(why) => {
                    self.restore(state, closed).await;
                    return Err(why.while_doing("reload"));
                }
            }
        }
        Ok(())
    }

    /// Listens again where it did, as far as nobody else does by now.
    async fn restore(&self, state: &mut State, closed: Vec<ListenUrl>) {
        for url in closed {
            let given = url.given.clone();
            match Accepting::start_soon(url, &self.registry, &self.shared).await {
                Ok(accepting) => drop(state.accepting.insert(given, accepting)),
                Err(why) => tracing::error!("reload failed, and {given} is not listened on any more: {why}"),
            }
        }
    }

    /// Stops accepting, stores and answers what was read, closes the connections (1001), lets the sinks get what is
    /// there, and closes the log; all within `deadline`, of which sinks have the last tenth at least.
    ///
    /// Errors: `Io` if the log's disk failed, now or before. Cancelled, it is half closed: drop it.
    pub async fn shutdown(self, deadline: Duration) -> Result<Ended> {
        let until = Instant::now() + deadline;
        let connections_until = until - deadline / 10;
        let state = self.state.into_inner();
        let mut ending = state.retired;
        ending.extend(state.accepting.into_values().map(Accepting::stop));
        let mut cut = 0;
        for stopping in ending {
            cut += stopping.end(connections_until).await;
        }
        if let Ok(control) = self.control {
            drop(control.stop());
        }
        let sinks = self.shared.log.close(until.saturating_duration_since(Instant::now())).await?;
        Ok(Ended { cut, sinks })
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("status", &self.status()).finish()
    }
}

/// The URLs, after a look at all that can be wrong before anything is done. Errors: `Config`.
fn checked(options: &ServeOptions) -> Result<Vec<ListenUrl>> {
    let wrong = |what: String| Err(Error::new(ErrorKind::Config, what));
    let mut names: Vec<_> = options.routes.iter().map(|route| route.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return wrong(format!("there are two routes named {}", twice[0]));
    }
    options.guard.checked()?;
    let mut urls: Vec<ListenUrl> = Vec::new();
    for url in &options.listen {
        if urls.iter().any(|known| known.given == *url) {
            return wrong(format!("{url} is listened on twice"));
        }
        let url = ListenUrl::parse(url, &options.listener_defaults())?;
        if !(options.guard.tokens.is_empty() || url.web.is_some() || url.open) {
            return wrong(format!(
                "listen on {}: nobody can show a token there; listen on http://, or add tokens=none to let everybody in",
                url.endpoint
            ));
        }
        urls.push(url);
    }
    Ok(urls)
}

async fn open(route: &Route, panel: Panel) -> Result<AnySink> {
    (route.open)(panel).await.map_err(|why| why.while_doing(format!("open route {}", route.name)))
}
