//! What a probe found, for people and for programs.

use std::time::Duration;

use haul::{Endpoint, Error, Info};
use serde_json::{Map, Value, json};

use crate::latency::Latency;
use crate::output::{Output, Paint, said, time};

/// What one endpoint was found to be.
pub(super) struct Found<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) took: Duration,
    pub(super) outcome: Result<Answer, Error>,
}

pub(super) struct Answer {
    pub(super) info: Info,
    pub(super) rtt: Latency,
    /// Why there are fewer round trips than were asked for.
    pub(super) no_rtt: Option<Error>,
}

impl Answer {
    /// Plain HTTP is no connection of packets.
    fn carries_packets(&self) -> bool {
        self.info.protocol != "http"
    }
}

/// A line about an endpoint.
pub(super) fn row(label: &str, value: &str) -> String {
    format!("    {label:<11} {}", said(value))
}

pub(super) fn micros(of: Duration) -> u64 {
    u64::try_from(of.as_micros()).unwrap_or(u64::MAX)
}

impl Found<'_> {
    pub(super) fn json(&self) -> Value {
        let mut object =
            json!({ "event": "probed", "url": self.endpoint.to_string(), "answers": self.outcome.is_ok() });
        match &self.outcome {
            Ok(answer) => {
                let info = &answer.info;
                object["connect_us"] = micros(self.took).into();
                object["protocol"] = info.protocol.into();
                object["peer"] = info.peer.clone().into();
                if answer.carries_packets() {
                    object["framing"] = info.framing.into();
                    object["receipts"] = info.receipts.into();
                    object["metadata"] = info.metadata.into();
                }
                object["facts"] = info.facts.iter().map(|(name, fact)| (name, structured(fact))).collect();
                if !answer.rtt.is_empty() {
                    object["rtt"] = answer.rtt.json();
                }
                if let Some(why) = &answer.no_rtt {
                    object["no_rtt"] = why.to_string().into();
                }
            }
            Err(why) => {
                object["kind"] = why.kind().as_str().into();
                object["why"] = why.to_string().into();
            }
        }
        object
    }

    pub(super) fn lines(&self, out: Output) -> Vec<String> {
        let name = out.paint(Paint::Name, &self.endpoint.to_string());
        let answer = match &self.outcome {
            Ok(answer) => answer,
            Err(why) => {
                return vec![
                    format!("{} {name}", out.paint(Paint::Bad, "no ")),
                    row("why", &why.to_string()),
                ];
            }
        };
        let mut lines = vec![format!("{} {name}", out.paint(Paint::Good, "yes"))];
        let mut row = |label: &str, value: &str| lines.push(row(label, value));
        let info = &answer.info;
        row("connect", &time(self.took));
        match (&answer.no_rtt, answer.rtt.is_empty()) {
            (_, false) => row("round trip", &answer.rtt.text()),
            (Some(why), true) => row("round trip", &why.to_string()),
            (None, true) if !info.pings => row("round trip", "not measured: this protocol has no pings"),
            (None, true) => {}
        }
        row("peer", &info.peer);
        if answer.carries_packets() {
            row("framing", if info.framing.is_empty() { info.protocol } else { info.framing });
            row("receipts", if info.receipts { "yes" } else { "no: delivery is known only as sent" });
        }
        for (name, fact) in info.facts.iter().filter(|(_, fact)| !fact.is_empty()) {
            match structured(fact) {
                Value::Object(facts) if name == "tls" => tls_rows(&facts, &mut row),
                _ => row(name, fact),
            }
        }
        lines
    }
}

/// A fact that is an object in JSON as that object, any other as its text.
fn structured(fact: &str) -> Value {
    let parsed = serde_json::from_str(fact).ok().filter(Value::is_object);
    parsed.unwrap_or_else(|| Value::from(fact))
}

/// What the handshake agreed on, and each certificate of the server, its own first.
fn tls_rows(facts: &Map<String, Value>, row: &mut impl FnMut(&str, &str)) {
    let text = |fact: Option<&Value>| fact.and_then(Value::as_str).unwrap_or("unknown").to_owned();
    // QUIC does not tell the cipher.
    let cipher = facts.get("cipher").and_then(Value::as_str).map(|cipher| format!(", {cipher}"));
    row("tls", &format!("{}{}", text(facts.get("protocol_version")), cipher.unwrap_or_default()));
    let certificates = facts.get("peer_certificates").and_then(Value::as_array);
    for certificate in certificates.into_iter().flatten() {
        let names = certificate["names"].as_array().into_iter().flatten();
        let names: Vec<_> = names.filter_map(Value::as_str).collect();
        let of = |fact: &str| text(certificate.get(fact));
        row("certificate", &format!("{}, issued by {}", of("subject"), of("issuer")));
        row("", &format!("for {}", names.join(", ")));
        row("", &format!("valid from {} to {}", of("not_before"), of("not_after")));
        row("", &format!("sha256 {}", of("sha256")));
    }
}
