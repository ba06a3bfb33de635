//! The gateway's status as Prometheus reads it (text exposition format 0.0.4).

use std::fmt::Write;

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
    page.family("haul_connections_rtt_seconds", "gauge", help, "le", round_trips(&status.rtt));
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
    page.0
}

/// How many are in each range or in one below it.
fn round_trips(rtt: &RttStatus) -> impl Iterator<Item = (String, u64)> {
    let ends = rtt.bounds_us.iter().map(|bound| (*bound as f64 / 1e6).to_string());
    let ends = ends.chain(["+Inf".to_owned()]);
    let counts = rtt.counts.iter().scan(0, |sum, count| {
        *sum += *count as u64;
        Some(*sum)
    });
    ends.zip(counts)
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
            let of = of.as_ref().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = writeln!(self.0, "{name}{{{label}=\"{of}\"}} {value}");
        }
    }
}
