//! The gateway's status as Prometheus reads it (text exposition format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use haul_event_log::{DeliveryTimes, LayerStatus, ReceiverStatus, RouteStatus};

use crate::status::{GatewayStatus, ProtocolStatus, RttStatus};

/// All of `status` that is a number.
pub(super) fn of(status: &GatewayStatus) -> String {
    let mut page = Page(String::new());
    let protocols = |value: fn(&ProtocolStatus) -> u64| {
        status.protocols.iter().map(move |(protocol, of)| (*protocol, value(of)))
    };
    for (name, kind, help, value) in [
        (
            "haul_connections",
            "gauge",
            "Connections open now",
            (|of| of.open as u64) as fn(&ProtocolStatus) -> u64,
        ),
        ("haul_connections_opened_total", "counter", "Connections opened", |of| of.opened),
        ("haul_protocol_packets_received_total", "counter", "Packets that came over them", |of| of.received),
        ("haul_protocol_received_bytes_total", "counter", "Bytes of these packets", |of| of.received_bytes),
        ("haul_protocol_packets_sent_total", "counter", "Packets sent over them", |of| of.sent),
        ("haul_protocol_sent_bytes_total", "counter", "Bytes of these packets", |of| of.sent_bytes),
    ] {
        page.family(name, kind, help, "protocol", protocols(value));
    }
    let states = status.states.iter().map(|(state, count)| (*state, *count as u64));
    page.family("haul_connections_in_state", "gauge", "Connections by state", "state", states);
    let help = "Connections whose last round trip took at most so many seconds";
    let RttStatus { bounds_us, counts } = &status.rtt;
    let trips = up_to(bounds_us, counts.iter().map(|count| *count as u64));
    page.family("haul_connections_rtt_seconds", "gauge", help, "le", trips);
    let listeners = |value: fn(&crate::ListenerStatus) -> u64| {
        status.listeners.iter().map(move |listener| (listener.url.as_str(), value(listener)))
    };
    let help = "Connections that finished their handshake";
    page.family("haul_connections_accepted_total", "counter", help, "listener", listeners(|at| at.accepted));
    let help = "Connections refused because too many were there";
    page.family("haul_connections_refused_total", "counter", help, "listener", listeners(|at| at.refused));
    let help = "Handshakes and connections that failed";
    page.family("haul_connections_failed_total", "counter", help, "listener", listeners(|at| at.failed));
    let log = &status.log;
    for (name, kind, help, value) in [
        ("haul_packets_received_total", "counter", "Packets received", status.received),
        ("haul_received_bytes_total", "counter", "Bytes of their payloads", status.received_bytes),
        ("haul_packets_stored_total", "counter", "Packets stored", status.stored),
        ("haul_packets_refused_total", "counter", "Packets refused", status.refused),
        ("haul_in_flight_bytes", "gauge", "Bytes that wait for the disk", status.in_flight as u64),
        ("haul_taps", "gauge", "Those who watch", status.taps as u64),
        ("haul_log_appends_total", "counter", "Events appended", log.appended),
        ("haul_log_syncs_total", "counter", "Syncs of the disk", log.syncs),
        ("haul_log_bytes", "gauge", "Size of the log on disk", log.bytes),
        ("haul_log_queued_bytes", "gauge", "Bytes queued for the disk", log.queued_bytes),
        ("haul_log_first", "gauge", "Number of the oldest event", log.first),
        ("haul_log_next", "gauge", "Number of the next event", log.next),
        ("haul_log_failed", "gauge", "1 if the log takes no more", log.failure.is_some().into()),
    ] {
        page.value(name, kind, help, value);
    }
    let routes = |value: fn(&haul_event_log::SinkStatus) -> u64| {
        log.sinks.iter().map(move |route| (route.name.as_str(), value(route)))
    };
    for (name, kind, help, value) in [
        (
            "haul_route_position",
            "gauge",
            "Number of the first event that it has not got",
            (|at| at.position) as fn(&haul_event_log::SinkStatus) -> u64,
        ),
        ("haul_route_behind", "gauge", "Events that it has not got", |at| at.lag),
        ("haul_route_delivering", "gauge", "1 while a delivery is in flight", |at| {
            at.delivering_since.is_some().into()
        }),
        ("haul_route_stuck", "gauge", "1 while it is stuck at a failure", |at| at.stuck.is_some().into()),
        ("haul_route_deliveries_total", "counter", "Deliveries begun", |at| at.deliveries),
        ("haul_route_delivered_total", "counter", "Events that it accepted", |at| at.delivered),
        ("haul_route_filtered_total", "counter", "Events that its filter held back", |at| at.filtered),
        ("haul_route_failures_total", "counter", "Deliveries that were tried again", |at| at.retries),
        ("haul_route_dead_letters_total", "counter", "Events that it refused for good", |at| at.dead),
        ("haul_route_lost_total", "counter", "Events that were lost to it", |at| at.lost),
    ] {
        page.family(name, kind, help, "route", routes(value));
    }
    receivers(&mut page, &status.routes);
    layers(&mut page, &status.routes);
    page.0
}

/// What each route delivers to.
fn receivers(page: &mut Page, routes: &[RouteStatus]) {
    let all: Vec<_> = routes
        .iter()
        .flat_map(|route| {
            route.receivers.iter().map(|at| (labels(["route", "receiver"], [&route.name, &at.url]), at))
        })
        .collect();
    for (name, kind, help, value) in [
        (
            "haul_receiver_deliveries_under_way",
            "gauge",
            "Deliveries that were not answered yet",
            (|at| at.under_way as u64) as fn(&ReceiverStatus) -> u64,
        ),
        ("haul_receiver_deliveries_total", "counter", "Deliveries begun", |at| at.deliveries),
        ("haul_receiver_abandoned_total", "counter", "Deliveries not waited for", |at| at.abandoned),
        ("haul_receiver_accepted_total", "counter", "Packets that it accepted", |at| at.accepted),
        ("haul_receiver_failed_total", "counter", "Packets that it failed or refused", |at| at.failed),
    ] {
        page.head(name, kind, help);
        all.iter().for_each(|(labels, at)| page.line(name, labels, value(at)));
    }
    let name = "haul_receiver_delivery_seconds";
    page.head(name, "histogram", "How long it took for the answers to deliveries");
    for (labels, ReceiverStatus { times, .. }) in &all {
        let DeliveryTimes { bounds_us, counts, sum_us, .. } = times;
        for (end, count) in up_to(bounds_us, counts.iter().copied()) {
            page.line(&format!("{name}_bucket"), &format!("{labels},le=\"{end}\""), count);
        }
        page.line(&format!("{name}_sum"), labels, *sum_us as f64 / 1e6);
        page.line(&format!("{name}_count"), labels, counts.iter().sum::<u64>());
    }
}

/// What the layers of each route know; `layer` is their place among those, the outermost 1.
fn layers(page: &mut Page, routes: &[RouteStatus]) {
    let mut families: BTreeMap<&str, Family> = BTreeMap::new();
    for route in routes {
        for (at, layer) in route.layers.iter().enumerate() {
            let labels = labels(["route", "layer"], [&route.name, &(at + 1).to_string()]);
            for (name, kind, help, value) in numbers(layer) {
                families.entry(name).or_insert((kind, help, Vec::new())).2.push((labels.clone(), value));
            }
        }
    }
    for (name, (kind, help, values)) in families {
        page.head(name, kind, help);
        values.iter().for_each(|(labels, value)| page.line(name, labels, value));
    }
}

/// Kind and help, and the values with their labels.
type Family = (&'static str, &'static str, Vec<(String, u64)>);

/// Name, kind, help and value.
type Number = (&'static str, &'static str, &'static str, u64);

fn numbers(layer: &LayerStatus) -> Vec<Number> {
    let gauge = |name, help, value| (name, "gauge", help, value);
    let counter = |name, help, value| (name, "counter", help, value);
    match layer {
        LayerStatus::Breaker { state } => {
            let is = |name| u64::from(*state == name);
            vec![
                gauge("haul_breaker_open", "1 while the breaker refuses", is("open")),
                gauge("haul_breaker_half_open", "1 while the breaker lets a few through", is("half_open")),
            ]
        }
        LayerStatus::Queue { waiting } => {
            vec![gauge("haul_queue_waiting", "Deliveries that wait in the queue", *waiting as u64)]
        }
        LayerStatus::Balance { passed_over, .. } => {
            let help = "Members of the balance that are passed over";
            vec![gauge("haul_balance_passed_over", help, passed_over.len() as u64)]
        }
        LayerStatus::Fallback { active, .. } => {
            vec![gauge("haul_fallback_active", "What is delivered to; 0 is the preferred", *active as u64)]
        }
        LayerStatus::Limit { allowed } => {
            vec![gauge("haul_limit_allowed", "Deliveries that may be under way", *allowed as u64)]
        }
        LayerStatus::Outbox { pending, bytes, delivered, retries, dead, lost, dropped, failure } => vec![
            gauge("haul_outbox_pending", "Packets that the outbox has yet to deliver", *pending),
            gauge("haul_outbox_bytes", "Size of the outbox on disk", *bytes),
            gauge("haul_outbox_stuck", "1 while the outbox is stuck at a failure", failure.is_some().into()),
            counter("haul_outbox_delivered_total", "Packets that the outbox delivered", *delivered),
            counter("haul_outbox_retries_total", "Deliveries of the outbox that were tried again", *retries),
            counter("haul_outbox_dead_letters_total", "Packets that were refused for good", *dead),
            counter("haul_outbox_lost_total", "Packets that were lost in the outbox", *lost),
            counter("haul_outbox_dropped_total", "Packets removed to make room", *dropped),
        ],
        // What another version of the layers knows has no name here.
        _ => Vec::new(),
    }
}

/// How many are in each range or in one below it.
fn up_to(bounds_us: &[u64], counts: impl IntoIterator<Item = u64>) -> impl Iterator<Item = (String, u64)> {
    let ends = bounds_us.iter().map(|bound| (*bound as f64 / 1e6).to_string());
    let ends = ends.chain(["+Inf".to_owned()]);
    let counts = counts.into_iter().scan(0, |sum, count| {
        *sum += count;
        Some(*sum)
    });
    ends.zip(counts)
}

/// `name="value",name="value"`.
fn labels<const N: usize>(names: [&str; N], values: [&str; N]) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels = names.iter().zip(values).map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
    labels.collect::<Vec<_>>().join(",")
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}.\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn family<L: AsRef<str>>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) {
        self.head(name, kind, help);
        for (of, value) in values {
            self.line(name, &labels([label], [of.as_ref()]), value);
        }
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }
}
