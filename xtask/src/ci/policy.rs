//! What the checks tolerate: every exception of the house, in one place, each with its reason.

/// Crates of one storey that may depend on each other all the same: from, to.
pub(super) const SIDEWAYS: &[(&str, &str)] = &[
    // wss:// is TLS below WebSocket.
    ("haul-ws", "haul-tls"),
    // https:// is TLS below HTTP.
    ("haul-http", "haul-tls"),
    // http:// listens as tcp:// does.
    ("haul-http", "haul-tcp"),
    // ws:// sets up its sockets as tcp:// does.
    ("haul-ws", "haul-tcp"),
    // Event streams are HTTP, and name its options for TLS.
    ("haul-sse", "haul-http"),
    ("haul-sse", "haul-tls"),
    // The client of PostgreSQL leaves TLS to others.
    ("haul-postgres", "haul-tls"),
    // amqps:// is TLS below AMQP.
    ("haul-amqp", "haul-tls"),
    // QUIC is encrypted always.
    ("haul-quic", "haul-tls"),
    // So is WebTransport, whose streams and datagrams are QUIC's.
    ("haul-wt", "haul-tls"),
    ("haul-wt", "haul-quic"),
    // mqtts:// is TLS below MQTT.
    ("haul-mqtt", "haul-tls"),
    // nats:// over TLS, with haul's options for it.
    ("haul-nats", "haul-tls"),
    // Both are services of AWS, with one way to an account.
    ("haul-sqs", "haul-aws"),
    ("haul-cloudwatch", "haul-aws"),
];

/// Files that a crate does without: crate, file below `src`.
pub(super) const MISSING_ROOMS: &[(&str, &[&str])] = &[
    // It is what protocols share, and dials nothing by itself.
    ("haul-tls", &["dialer.rs", "listener.rs", "link.rs"]),
    // It is what the connectors to AWS share, and delivers nothing by itself.
    ("haul-aws", &["config.rs", "sink.rs"]),
    // HTTP has requests, no connections of packets: its rooms are client/, server/, sink.rs and config.rs.
    ("haul-http", &["dialer.rs", "listener.rs", "link.rs"]),
    // What they do is decided by a closure, or by the test that holds them: there is nothing to configure.
    ("haul-callback", &["config.rs"]),
    ("haul-mock", &["config.rs"]),
];

/// Crates that run other suites than their role's: crate, roles of its section in `capabilities.toml`.
pub(super) const OTHER_SUITES: &[(&str, &[&str])] = &[
    // It is what protocols share, and dials nothing by itself.
    ("haul-tls", &[]),
    // So it is with AWS's connectors.
    ("haul-aws", &[]),
    // It has requests, no connections of packets; packets it delivers.
    ("haul-http", &["sink"]),
    // It is of requests; the suites are of packets.
    ("haul-auth", &[]),
    // It answers when a packet is on disk, whatever the sink behind it does: it is a sink of its own.
    ("haul-outbox", &["sink"]),
    // They go around dialers and listeners; what they answer is a connection.
    ("haul-adaptive", &["connection", "dialer"]),
    ("haul-heartbeat", &["connection", "dialer"]),
    ("haul-reconnect", &["connection", "dialer"]),
    ("haul-session", &["connection", "listener", "dialer"]),
];

/// The sections of a README, in this order; others may stand between them.
pub(super) const SECTIONS: &[&str] =
    &["Use through `haul`", "Use alone", "Guarantees", "Dependencies and why", "Licence"];

/// Crates that are programs: nobody uses them through another crate, or as a library.
pub(super) const PROGRAMS: &[&str] = &["haul-cli"];

/// Features of the umbrella that are not crates.
pub(super) const UMBRELLA_EXTRAS: &[&str] = &["config", "kafka-tls"];

/// Lines of a source file: more than the first is told, more than the second fails.
pub(super) const LINES: (usize, usize) = (250, 500);

/// How long each fuzz target runs. It begins with a corpus that reaches most of what there is: this finds what a change
/// broke near it, and leaves the run's hour to others. `cargo xtask fuzz` gives each a minute, `soak` ten.
pub(super) const FUZZ_SECONDS: u64 = 20;

/// By which they choose: the same change finds the same. `soak` takes another each time.
pub(super) const FUZZ_SEED: u32 = 1;

/// What no file may hold: folders that only one machine has. Written in parts, so that this file does not.
pub(super) const WORDS: &[&str] = &[
    concat!("/wo", "rk/main"),
    concat!("/wo", "rk/shared"),
    concat!("/wo", "rk/."),
    concat!("/ro", "ot/"),
    concat!("/fa", "rm/"),
    concat!("/ho", "me/"),
];
