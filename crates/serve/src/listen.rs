//! What stands in a listen URL: the listener's options, and the gateway's own.

use haul_core::{Endpoint, Error, ErrorKind, Info, Result};
use percent_encoding::percent_decode_str;

use crate::web::WebUrl;

/// The options of a listen URL that the gateway reads itself.
const OWN: [&str; 2] = ["receipts", "session"];

/// Its option that lets everybody in who reaches it, where the gateway has tokens.
const TOKENS: &str = "tokens";

/// A URL to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenUrl {
    /// As it was given.
    pub(crate) given: String,
    /// Without the gateway's own options.
    pub(crate) endpoint: Endpoint,
    /// What is served there, if it is the gateway's own HTTP.
    pub(crate) web: Option<WebUrl>,
    /// No token is asked for here.
    pub(crate) open: bool,
    terms: Terms,
}

/// How a connection is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Each packet is answered with a JSON text.
    pub(crate) json_receipts: bool,
    /// The session of packets that name none.
    pub(crate) session: Option<String>,
}

impl ListenUrl {
    /// Parses `url`; `defaults` are options for the listener that hold unless the URL sets them.
    pub(crate) fn parse(url: &str, defaults: &[(&str, String)]) -> Result<Self> {
        let failed = |why: Error| why.while_doing(format!("listen on {url}"));
        let (base, fragment) = url.split_once('#').map_or((url, None), |(base, part)| (base, Some(part)));
        let (base, query) = base.split_once('?').map_or((base, None), |(base, part)| (base, Some(part)));
        let mut terms = Terms::default();
        let mut open = false;
        let mut text = base.to_owned();
        let mut set = Vec::new();
        for (mark, part) in [('?', query), ('#', fragment)] {
            let mut mark = Some(mark);
            for pair in part.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                if OWN.contains(&name) {
                    terms.set(name, &decode(value)).map_err(failed)?;
                } else if name == TOKENS {
                    open = no_tokens(&decode(value)).map_err(failed)?;
                } else {
                    set.push(name);
                    text.push(mark.take().unwrap_or('&'));
                    text.push_str(pair);
                }
            }
        }
        let mut endpoint = Endpoint::parse(&text)?;
        for (name, value) in defaults.iter().filter(|(name, _)| !set.contains(name)) {
            endpoint = endpoint.with_option(name, value);
        }
        let web = match endpoint.scheme() {
            "http" | "https" => Some(WebUrl::new(&endpoint).map_err(failed)?),
            _ => None,
        };
        Ok(Self { given: url.to_owned(), endpoint, web, open, terms })
    }

    /// The same URL with another port.
    pub(crate) fn with_port(mut self, port: u16) -> Result<Self> {
        self.endpoint = self.endpoint.with_port(port)?;
        if let Some(web) = &mut self.web {
            *web = WebUrl::new(&self.endpoint)?;
        }
        Ok(self)
    }

    /// How the connection with this `info` is served: as the URL says, over which the query of the path it asked for
    /// goes. Errors: `Config` for a value that means nothing.
    pub(crate) fn terms(&self, info: &Info) -> Result<Terms> {
        let mut terms = self.terms.clone();
        let query = info.facts.get("query").unwrap_or_default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // What else stands there is for others: tokens, a client's own notes.
            if OWN.contains(&name) {
                terms.set(name, &decode(&value.replace('+', " ")))?;
            }
        }
        Ok(terms)
    }
}

fn no_tokens(value: &str) -> Result<bool> {
    let why = || Error::new(ErrorKind::Config, format!("{TOKENS}={value}: it can be none"));
    (value == "none").then_some(true).ok_or_else(why)
}

impl Terms {
    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = |why: &str| Error::new(ErrorKind::Config, format!("{name}={value}: {why}"));
        match (name, value) {
            ("receipts", "json") => self.json_receipts = true,
            ("receipts", "none") => self.json_receipts = false,
            ("receipts", _) => return Err(wrong("receipts are json or none")),
            (_, "") => return Err(wrong("a session needs a name")),
            _ => self.session = Some(value.to_owned()),
        }
        Ok(())
    }
}

fn decode(value: &str) -> String {
    percent_decode_str(value).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_own_options_are_taken_out_and_the_others_left() {
        let url = "tcp://h:1?framing=lines&receipts=json&nodelay=false#session=a%20b&idle=5s";
        let parsed = ListenUrl::parse(url, &[("idle", "9s".into()), ("max_packet", "7".into())]).unwrap();
        assert_eq!(parsed.endpoint.as_str(), "tcp://h:1?framing=lines&nodelay=false#idle=5s");
        let known = ["framing", "nodelay", "idle", "max_packet"];
        let options = parsed.endpoint.options(haul_core::Place::Query, &known).unwrap();
        assert_eq!((options.text("idle"), options.text("max_packet")), (Some("5s"), Some("7")));
        assert!(parsed.terms.json_receipts);
        assert_eq!(parsed.terms.session.as_deref(), Some("a b"));
    }

    #[test]
    fn the_query_of_a_request_goes_over_the_url_and_foreign_names_pass() {
        let url = ListenUrl::parse("ws://h:1?session=all", &[]).unwrap();
        let mut info = Info::new("ws", "ws");
        assert_eq!(url.terms(&info).unwrap().session.as_deref(), Some("all"));
        info.facts.set("query", "token=7&session=x+y&receipts=json");
        let terms = url.terms(&info).unwrap();
        assert_eq!((terms.session.as_deref(), terms.json_receipts), (Some("x y"), true));
        info.facts.set("query", "receipts=xml");
        assert!(url.terms(&info).unwrap_err().to_string().contains("receipts=xml"));
    }
}
