//! `haul probe`: which protocols answer, how fast, and why the others do not.

mod found;

use std::time::{Duration, Instant};

use haul::adaptive::{AdaptiveOptions, FACT};
use haul::http::{Client, ClientConfig, HttpConfig, Peer};
use haul::{Body, Call, CloseReason, Connection, Dial, Endpoint, Error, ErrorKind, Info, Request};
use serde_json::json;

use crate::args::Probe;
use crate::exit::Failure;
use crate::latency::Latency;
use crate::output::{Output, Paint, time};
use found::{Answer, Found};

pub(crate) async fn run(args: Probe, out: Output) -> Result<(), Failure> {
    let target = Target::parse(&args.url)?;
    if let Some(place) = &target.race {
        race(place, &args, out).await?;
    }
    let mut reasons = Vec::new();
    let mut answered = 0;
    for url in &target.urls {
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
    failure.message = match &target.urls[..] {
        [url] => format!("probe {url}: it does not answer: {}", failure.message),
        _ => format!("probe {}: no protocol answers; each line above says why", args.url),
    };
    Err(failure)
}

/// What is to be probed.
struct Target {
    /// Where the realtime protocols race first.
    race: Option<Endpoint>,
    /// Each by itself.
    urls: Vec<Endpoint>,
}

impl Target {
    /// One protocol's URL; a web server's, for every realtime protocol there; or `host:port`, for everything.
    fn parse(text: &str) -> Result<Self, Failure> {
        let dial = haul::registry().schemes().dial;
        let named =
            text.contains("://") || text.split_once(':').is_some_and(|(scheme, _)| dial.contains(&scheme));
        if named {
            let endpoint = Endpoint::parse(text)?;
            return match endpoint.scheme() {
                "https" => Self::web(&endpoint, "wss", &["wt", "wss", "sses", "quic", "https"]),
                // Where TCP is plain, WebTransport is encrypted still.
                "http" => Self::web(&endpoint, "ws", &["wt", "ws", "sse", "http"]),
                _ => Ok(Self { race: None, urls: vec![endpoint] }),
            };
        }
        if text.is_empty() || text.contains(['/', '?', '#']) {
            let message = format!("probe {text:?}: it is neither a URL nor host:port");
            return Err(Failure::usage(message)
                .with_hint("write wss://host/path#options, or host:port to try everything"));
        }
        let mut urls = Vec::new();
        let dialed = dial.into_iter().filter(|scheme| !["mem", "unix"].contains(scheme));
        for scheme in dialed.chain(["http", "https"]) {
            urls.push(Endpoint::parse(&format!("{scheme}://{text}"))?);
            if scheme == "tcp" {
                // A port that is open, whatever is behind it.
                urls.push(Endpoint::parse(&format!("tcp://{text}?framing=raw"))?);
            }
        }
        Ok(Self { race: None, urls })
    }

    /// The same place by other schemes; what races goes by `race`.
    fn web(place: &Endpoint, race: &str, schemes: &[&str]) -> Result<Self, Failure> {
        place.require_host()?;
        let text = place.as_str();
        let rest = text.find(':').map_or("", |at| &text[at..]);
        let by = |scheme: &str| -> haul::Result<Endpoint> {
            if scheme != "quic" {
                return Endpoint::parse(&format!("{scheme}{rest}"));
            }
            // It has no path, no query of the server's, and no usual port.
            let options = text.find('#').map_or("", |at| &text[at..]);
            let host = rest.trim_start_matches("://").split(['/', '?', '#']).next().unwrap_or_default();
            Endpoint::parse(&format!("quic://{host}{options}"))?.with_port(place.port().unwrap_or(443))
        };
        let urls = schemes.iter().map(|scheme| by(scheme)).collect::<haul::Result<Vec<_>>>()?;
        Ok(Self { race: Some(by(race)?), urls })
    }
}

/// Lets the realtime protocols race as `--adaptive` does, and says who won.
async fn race(place: &Endpoint, args: &Probe, out: Output) -> Result<(), Failure> {
    let options = AdaptiveOptions { attempt_timeout: args.timeout, ..AdaptiveOptions::default() };
    let start = Instant::now();
    let raced = haul::realtime(options)?.dial(place.clone()).await;
    let took = start.elapsed();
    let winner = raced.as_ref().ok().and_then(|connection| connection.info().facts.get(FACT));
    if out.json {
        let micros = winner.map(|_| found::micros(took));
        out.object(
            &json!({ "event": "raced", "url": place.to_string(), "winner": winner, "connect_us": micros }),
        )?;
    } else {
        let name = out.paint(Paint::Name, &place.to_string());
        match winner {
            Some(winner) => {
                out.line(&format!("{} {name}", out.paint(Paint::Good, "won")))?;
                out.line(&found::row("winner", winner))?;
                out.line(&found::row("connect", &time(took)))?;
            }
            None => {
                out.line(&format!("{} {name}", out.paint(Paint::Bad, "no ")))?;
                out.line(&found::row("why", "no realtime protocol connects there, as each below says"))?;
            }
        }
    }
    if let Ok(connection) = raced {
        leave(connection, args).await;
    }
    Ok(())
}

async fn probe<'a>(endpoint: &'a Endpoint, args: &Probe) -> Found<'a> {
    let start = Instant::now();
    let late = || {
        Error::new(ErrorKind::Timeout, format!("dial {endpoint}: no answer within {}", time(args.timeout)))
    };
    let connected = tokio::time::timeout(args.timeout, async {
        match endpoint.scheme() {
            "http" | "https" => get(endpoint).await.map(Reached::Answered),
            _ => haul::registry().connect(endpoint.clone()).await.map(Reached::Connected),
        }
    });
    let connected = connected.await.unwrap_or_else(|_| Err(late()));
    let took = start.elapsed();
    let outcome = match connected {
        Ok(Reached::Connected(connection)) => Ok(measure(connection, args).await),
        Ok(Reached::Answered(info)) => Ok(Answer { info, rtt: Latency::new(), no_rtt: None }),
        Err(why) => Err(why),
    };
    Found { endpoint, took, outcome }
}

enum Reached {
    Connected(Connection),
    Answered(Info),
}

/// Asks a web server, and tells what it is.
async fn get(endpoint: &Endpoint) -> Result<Info, Error> {
    let HttpConfig { url, client, .. } = HttpConfig::from_endpoint(endpoint)?;
    // With its port, user and password.
    let origin = url.split_inclusive(['/', '?']).take(3).collect::<String>();
    let base_url = Some(origin.trim_end_matches(['/', '?']).to_owned());
    let client = Client::new(ClientConfig { base_url, ..client })?;
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = endpoint.path_and_query().parse().map_err(|why| {
        Error::new(ErrorKind::Config, format!("endpoint {endpoint}: HTTP has no such path: {why}"))
    })?;
    let answer = client.request(request).await;
    // The body is of no interest: dropped, it is cut.
    let (head, _) = answer.map_err(|why| why.while_doing(format!("dial {endpoint}")))?.into_parts();
    let mut info = Info::new("http", "");
    info.facts.set("status", head.status.to_string());
    info.facts.set("version", format!("{:?}", head.version));
    if let Some(server) = head.headers.get("server").and_then(|server| server.to_str().ok()) {
        info.facts.set("server", server.to_owned());
    }
    if let Some(peer) = head.extensions.get::<Peer>() {
        info.peer = peer.address.to_string();
        if let Some(tls) = &peer.tls {
            info.facts.set("tls", serde_json::to_string(&**tls).unwrap_or_default());
        }
    }
    Ok(info)
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
    leave(connection, args).await;
    Answer { info, rtt, no_rtt }
}

/// What a probe leaves behind is the server's affair; it has seen a clean end or none.
async fn leave(connection: Connection, args: &Probe) {
    let _ = tokio::time::timeout(args.timeout, connection.close(CloseReason::NORMAL)).await;
}

/// A ping, while what the server says unasked is read and dropped.
async fn round_trip(connection: &mut Connection, limit: Duration) -> Result<Duration, Error> {
    let late = || Error::new(ErrorKind::Timeout, format!("ping: no answer within {}", time(limit)));
    tokio::time::timeout(limit, connection.ping()).await.unwrap_or_else(|_| Err(late()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(text: &str) -> Vec<String> {
        Target::parse(text).unwrap().urls.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_host_and_port_is_tried_in_every_protocol_and_a_url_in_its_own() {
        assert_eq!(urls("ws://host/x"), ["ws://host/x"]);
        let all = urls("host:9");
        for url in
            ["ws://host:9", "wss://host:9", "tcp://host:9", "tcp://host:9?framing=raw", "https://host:9"]
        {
            assert!(all.iter().any(|known| known == url), "{url} in {all:?}");
        }
        assert!(Target::parse("").is_err() && Target::parse("host:9/path").is_err());
    }

    #[test]
    fn a_web_servers_url_is_tried_in_every_realtime_protocol_at_that_place() {
        assert_eq!(
            urls("https://host/live?x=1#pin=ab"),
            [
                "wt://host/live?x=1#pin=ab",
                "wss://host/live?x=1#pin=ab",
                "sses://host/live?x=1#pin=ab",
                "quic://host:443#pin=ab",
                "https://host/live?x=1#pin=ab",
            ]
        );
        let plain = ["wt://[::1]:80/", "ws://[::1]:80/", "sse://[::1]:80/", "http://[::1]:80/"];
        assert_eq!(urls("http://[::1]:80/"), plain);
        assert_eq!(urls("https://[::1]:8443")[3], "quic://[::1]:8443");
        let raced = |text| Target::parse(text).unwrap().race.unwrap().to_string();
        assert_eq!([raced("https://host"), raced("http://host:8/x")], ["wss://host", "ws://host:8/x"]);
    }
}
