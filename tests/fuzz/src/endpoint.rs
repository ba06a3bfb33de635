//! Endpoints: any text is a URL or an error, and no password is shown.

use haul_core::{Endpoint, ErrorKind, Place, parse_bytes, parse_duration};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = (parse_bytes(text), parse_duration(text));
    let endpoint = match Endpoint::parse(text) {
        Ok(endpoint) => endpoint,
        Err(why) => return assert_eq!(why.kind(), ErrorKind::Config, "{why}"),
    };
    assert_eq!(endpoint.as_str(), text);
    assert!(endpoint.path_and_query().starts_with('/') || endpoint.host().is_none(), "{endpoint}");
    shown(&endpoint);
    options(&endpoint);
    if endpoint.host().is_some() {
        with_port(&endpoint);
    }
}

/// All but the password.
fn parts(endpoint: &Endpoint) -> impl PartialEq + std::fmt::Debug {
    let query: Vec<_> = endpoint.query().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let texts = [endpoint.scheme(), endpoint.path(), endpoint.user().unwrap_or("-")].map(str::to_owned);
    (texts, endpoint.host().map(str::to_owned), endpoint.path_and_query(), query)
}

fn shown(endpoint: &Endpoint) {
    let shown = Endpoint::parse(&endpoint.to_string()).expect("what is shown is a URL");
    assert_eq!(shown.password().is_some(), endpoint.password().is_some());
    assert!(shown.password().is_none_or(|shown| shown == "***"), "{endpoint} shows its password");
    assert_eq!((parts(&shown), shown.port()), (parts(endpoint), endpoint.port()));
}

fn with_port(endpoint: &Endpoint) {
    let other = endpoint.with_port(4711).expect("a port fits any host");
    assert_eq!(other.port(), Some(4711));
    assert_eq!((parts(&other), other.password()), (parts(endpoint), endpoint.password()), "{endpoint}");
}

fn options(endpoint: &Endpoint) {
    const KNOWN: &[&str] = &["framing", "ping", "idle", "max_packet", "nodelay"];
    for place in [Place::Query, Place::Fragment] {
        let Ok(options) = endpoint.options(place, KNOWN) else { continue };
        for name in KNOWN {
            let _ =
                (options.duration(name), options.bytes(name), options.flag(name), options.get::<u16>(name));
        }
    }
}
