//! `haul probe`: which protocols answer, how fast, and why the others do not.

use std::time::{Duration, Instant};

use haul::{CloseReason, Connection, Endpoint, Error, ErrorKind, Info};
use serde_json::{Value, json};

use crate::args::Probe;
use crate::exit::Failure;
use crate::latency::Latency;
use crate::output::{Output, Paint, time};

pub(crate) async fn run(args: Probe, out: Output) -> Result<(), Failure> {
    let urls = candidates(&args.url)?;
    let mut reasons = Vec::new();
    let mut answered = 0;
    for url in &urls {
        let found = probe(url, &args).await;
        match out.json {
            true => out.object(&found.json())?,
            false => found.lines(out).iter().try_for_each(|line| out.line(line))?,
        }
        match found.outcome {
            Ok(_) => answered += 1,
            Err(why) => reasons.push(why),
        }
    }
    let Some(why) = reasons.into_iter().next().filter(|_| answered == 0) else {
        return Ok(());
    };
    let mut failure = Failure::connecting(why);
    failure.message = match urls.len() {
        1 => format!("probe {}: it does not answer: {}", urls[0], failure.message),
        _ => format!("probe {}: no protocol answers; each line above says why", args.url),
    };
    Err(failure)
}

/// The endpoints to try: the one that is named, or `host:port` in every protocol that has hosts.
fn candidates(text: &str) -> Result<Vec<Endpoint>, Failure> {
    let dial = haul::registry().schemes().dial;
    let named =
        text.contains("://") || text.split_once(':').is_some_and(|(scheme, _)| dial.contains(&scheme));
    if named {
        return Ok(vec![Endpoint::parse(text)?]);
    }
    if text.is_empty() || text.contains(['/', '?', '#']) {
        let message = format!("probe {text:?}: it is neither a URL nor host:port");
        return Err(Failure::usage(message)
            .with_hint("write wss://host/path#options, or host:port to try everything"));
    }
    let mut urls = Vec::new();
    for scheme in dial.iter().filter(|scheme| !["mem", "unix"].contains(scheme)) {
        urls.push(Endpoint::parse(&format!("{scheme}://{text}"))?);
        if *scheme == "tcp" {
            // A port that is open, whatever is behind it.
            urls.push(Endpoint::parse(&format!("tcp://{text}?framing=raw"))?);
        }
    }
    Ok(urls)
}

/// What one endpoint was found to be.
struct Found<'a> {
    endpoint: &'a Endpoint,
    took: Duration,
    outcome: Result<Answer, Error>,
}

struct Answer {
    info: Info,
    rtt: Latency,
    /// Why there are fewer round trips than were asked for.
    no_rtt: Option<Error>,
}

async fn probe<'a>(endpoint: &'a Endpoint, args: &Probe) -> Found<'a> {
    let start = Instant::now();
    let registry = haul::registry();
    let dialed = tokio::time::timeout(args.timeout, registry.connect(endpoint.clone())).await;
    let took = start.elapsed();
    let late = || {
        Error::new(ErrorKind::Timeout, format!("dial {endpoint}: no answer within {}", time(args.timeout)))
    };
    let outcome = match dialed.unwrap_or_else(|_| Err(late())) {
        Ok(connection) => Ok(measure(connection, args).await),
        Err(why) => Err(why),
    };
    Found { endpoint, took, outcome }
}

async fn measure(mut connection: Connection, args: &Probe) -> Answer {
    let info = connection.info().clone();
    let mut rtt = Latency::new();
    let mut no_rtt = None;
    if info.pings {
        for _ in 0..args.pings {
            match round_trip(&mut connection, args.timeout).await {
                Ok(took) => rtt.record(took),
                Err(why) => {
                    no_rtt = Some(why);
                    break;
                }
            }
        }
    }
    // What a probe leaves behind is the server's affair; it has seen a clean end or none.
    let _ = tokio::time::timeout(args.timeout, connection.close(CloseReason::NORMAL)).await;
    Answer { info, rtt, no_rtt }
}

/// A ping, while what the server says unasked is read and dropped.
async fn round_trip(connection: &mut Connection, limit: Duration) -> Result<Duration, Error> {
    let late = || Error::new(ErrorKind::Timeout, format!("ping: no answer within {}", time(limit)));
    tokio::time::timeout(limit, connection.ping()).await.unwrap_or_else(|_| Err(late()))
}

impl Found<'_> {
    fn json(&self) -> Value {
        let mut object =
            json!({ "event": "probed", "url": self.endpoint.to_string(), "answers": self.outcome.is_ok() });
        match &self.outcome {
            Ok(answer) => {
                let info = &answer.info;
                object["connect_us"] = u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX).into();
                object["protocol"] = info.protocol.into();
                object["framing"] = info.framing.into();
                object["peer"] = info.peer.clone().into();
                object["receipts"] = info.receipts.into();
                object["metadata"] = info.metadata.into();
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

    fn lines(&self, out: Output) -> Vec<String> {
        let name = out.paint(Paint::Name, &self.endpoint.to_string());
        let answer = match &self.outcome {
            Ok(answer) => answer,
            Err(why) => {
                return vec![
                    format!("{} {name}", out.paint(Paint::Bad, "no ")),
                    format!("    why         {why}"),
                ];
            }
        };
        let mut lines = vec![format!("{} {name}", out.paint(Paint::Good, "yes"))];
        let mut row = |label: &str, value: &str| lines.push(format!("    {label:<11} {value}"));
        let info = &answer.info;
        row("connect", &time(self.took));
        match (&answer.no_rtt, answer.rtt.is_empty()) {
            (_, false) => row("round trip", &answer.rtt.text()),
            (Some(why), true) => row("round trip", &why.to_string()),
            (None, true) if !info.pings => row("round trip", "not measured: this protocol has no pings"),
            (None, true) => {}
        }
        row("peer", &info.peer);
        row("framing", if info.framing.is_empty() { info.protocol } else { info.framing });
        row("receipts", if info.receipts { "yes" } else { "no: delivery is known only as sent" });
        for (name, fact) in info.facts.iter() {
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
fn tls_rows(facts: &serde_json::Map<String, Value>, row: &mut impl FnMut(&str, &str)) {
    let text = |fact: Option<&Value>| fact.and_then(Value::as_str).unwrap_or("unknown").to_owned();
    row("tls", &format!("{}, {}", text(facts.get("protocol_version")), text(facts.get("cipher"))));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_port_is_tried_in_every_protocol_and_a_url_in_its_own() {
        let texts = |text: &str| -> Vec<String> {
            let urls = candidates(text).unwrap();
            urls.iter().map(ToString::to_string).collect()
        };
        assert_eq!(texts("ws://host/x"), ["ws://host/x"]);
        let all = texts("host:9");
        for url in ["ws://host:9", "wss://host:9", "tcp://host:9", "tcp://host:9?framing=raw"] {
            assert!(all.iter().any(|known| known == url), "{url} in {all:?}");
        }
        assert!(candidates("").is_err() && candidates("host:9/path").is_err());
    }
}
