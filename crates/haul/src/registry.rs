//! What is compiled in, by scheme.

use haul_core::Registry;

/// Registers a crate where its feature is on, and says which feature adds its schemes where it is off.
macro_rules! register {
    ($registry:ident: $($feature:literal $crate_name:ident [$($scheme:literal),+];)+) => {$(
        #[cfg(feature = $feature)]
        $crate_name::register(&mut $registry);
        #[cfg(not(feature = $feature))]
        $registry.missing(&[$($scheme),+], $feature);
    )+};
}

/// All that is compiled in. For a scheme that is not, its errors name the feature that adds it.
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    register! { registry:
        "http" haul_http ["http", "https"];
        "mem" haul_mem ["mem"];
        "quic" haul_quic ["quic"];
        "sse" haul_sse ["sse", "sses"];
        "tcp" haul_tcp ["tcp", "unix"];
        "ws" haul_ws ["ws", "wss"];
        "wt" haul_wt ["wt"];
        "amqp" haul_amqp ["amqp", "amqps"];
        "file" haul_file ["file"];
        "kafka" haul_kafka ["kafka"];
        "log" haul_log ["log"];
        "mongodb" haul_mongodb ["mongodb"];
        "mqtt" haul_mqtt ["mqtt", "mqtts"];
        "nats" haul_nats ["nats", "nats+tls"];
        "null" haul_null ["null"];
        "postgres" haul_postgres ["postgres", "postgresql"];
        "redis" haul_redis ["redis", "rediss"];
        "cloudwatch" haul_cloudwatch ["cloudwatch"];
        "gcp-logging" haul_gcp_logging ["gcp-logging"];
        "sqs" haul_sqs ["sqs"];
    }
    #[cfg(not(feature = "kafka-tls"))]
    registry.missing(&["kafkas"], "kafka-tls");
    registry
}

#[cfg(test)]
mod tests {
    use haul_core::{Endpoint, ErrorKind};

    /// Each scheme, its feature, whether that is on, and what can be done with it.
    const PROMISED: &[(&str, &str, bool, &[&str])] = &[
        ("http", "http", cfg!(feature = "http"), &["deliver"]),
        ("https", "http", cfg!(feature = "http"), &["deliver"]),
        ("mem", "mem", cfg!(feature = "mem"), &["dial", "listen"]),
        ("quic", "quic", cfg!(feature = "quic"), &["dial", "listen"]),
        ("sse", "sse", cfg!(feature = "sse"), &["dial", "listen"]),
        ("sses", "sse", cfg!(feature = "sse"), &["dial", "listen"]),
        ("tcp", "tcp", cfg!(feature = "tcp"), &["dial", "listen"]),
        ("unix", "tcp", cfg!(feature = "tcp"), &["dial", "listen"]),
        ("ws", "ws", cfg!(feature = "ws"), &["dial", "listen"]),
        ("wss", "ws", cfg!(feature = "ws"), &["dial", "listen"]),
        ("wt", "wt", cfg!(feature = "wt"), &["dial", "listen"]),
        ("amqp", "amqp", cfg!(feature = "amqp"), &["deliver", "read"]),
        ("amqps", "amqp", cfg!(feature = "amqp"), &["deliver", "read"]),
        ("file", "file", cfg!(feature = "file"), &["deliver", "read"]),
        ("kafka", "kafka", cfg!(feature = "kafka"), &["deliver", "read"]),
        ("kafkas", "kafka-tls", cfg!(feature = "kafka-tls"), &["deliver", "read"]),
        ("log", "log", cfg!(feature = "log"), &["deliver"]),
        ("mongodb", "mongodb", cfg!(feature = "mongodb"), &["deliver"]),
        ("mqtt", "mqtt", cfg!(feature = "mqtt"), &["deliver", "read"]),
        ("mqtts", "mqtt", cfg!(feature = "mqtt"), &["deliver", "read"]),
        ("nats", "nats", cfg!(feature = "nats"), &["deliver", "read"]),
        ("nats+tls", "nats", cfg!(feature = "nats"), &["deliver", "read"]),
        ("null", "null", cfg!(feature = "null"), &["deliver"]),
        ("postgres", "postgres", cfg!(feature = "postgres"), &["deliver", "read"]),
        ("postgresql", "postgres", cfg!(feature = "postgres"), &["deliver", "read"]),
        ("redis", "redis", cfg!(feature = "redis"), &["deliver", "read"]),
        ("rediss", "redis", cfg!(feature = "redis"), &["deliver", "read"]),
        ("cloudwatch", "cloudwatch", cfg!(feature = "cloudwatch"), &["deliver"]),
        ("gcp-logging", "gcp-logging", cfg!(feature = "gcp-logging"), &["deliver"]),
        ("sqs", "sqs", cfg!(feature = "sqs"), &["deliver", "read"]),
    ];

    #[test]
    fn each_feature_brings_its_schemes_and_no_other() {
        let schemes = super::registry().schemes();
        for (role, there) in [
            ("dial", schemes.dial),
            ("listen", schemes.listen),
            ("deliver", schemes.deliver),
            ("read", schemes.read),
        ] {
            let promised = PROMISED.iter().filter(|(_, _, on, roles)| *on && roles.contains(&role));
            let mut promised: Vec<_> = promised.map(|(scheme, ..)| *scheme).collect();
            promised.sort_unstable();
            assert_eq!(there, promised, "{role}");
        }
    }

    #[tokio::test]
    async fn a_scheme_whose_feature_is_off_names_the_feature() {
        let registry = super::registry();
        for (scheme, feature, ..) in PROMISED.iter().filter(|(_, _, on, _)| !on) {
            let endpoint = Endpoint::parse(&format!("{scheme}://host")).unwrap();
            let error = registry.connect(endpoint).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(&format!("feature {feature} adds {scheme}")), "{error}");
        }
    }
}
