//! Clusters over TLS.

use haul_core::{Deliver, Error, ErrorKind, Packet, Sent, Source as _, Status};
use haul_kafka::{KafkaSink, KafkaSource};

use crate::broker::Broker;
use crate::support::{fresh, next, sink, soon, source};

/// A URL of a topic, and options after it.
struct Way {
    url: String,
    options: String,
}

impl Way {
    fn sink(&self) -> KafkaSink {
        sink(&self.url, &format!("{}&timeout=60s", self.options))
    }

    fn source(&self) -> KafkaSource {
        source(&self.url, &format!("{}&group=g", self.options))
    }

    async fn delivers(&self, text: &str) {
        soon("a receipt", self.sink().deliver(Packet::text(text))).await.unwrap();
    }

    /// What sink and source say alike.
    async fn refused(&self) -> Error {
        let why = soon("a refusal", self.sink().deliver(Packet::text("x"))).await.unwrap_err();
        assert_eq!((why.status(), why.sent()), (Status::Permanent, Sent::No), "{why}");
        let read = soon("a refusal", self.source().next()).await.unwrap_err();
        assert_eq!((read.kind(), read.status()), (why.kind(), Status::Permanent), "{read}");
        why
    }
}

/// To `topic` as `who`, with options after the time that a busy machine may take.
fn way(who: &str, port: u16, topic: &str, options: &str) -> Way {
    Way {
        url: format!("kafkas://{who}127.0.0.1:{port}/{topic}"),
        options: format!("connect_timeout=60s&{options}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_packets_are_delivered_and_read_by_password_and_by_proof_of_it() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(&fresh("secure"), 1).await;
    let by = |sasl: &str, who: &str| {
        way(who, broker.secure, &topic, &format!("ca={}&sasl={sasl}", broker.file("ca.pem")))
    };
    let all = ["plain", "scram-sha-256", "scram-sha-512"];
    for sasl in all {
        by(sasl, "haul:secret@").delivers(sasl).await;
        assert_eq!(by(sasl, "haul:wrong@").refused().await.kind(), ErrorKind::Unauthorized, "{sasl}");
    }
    let mut source = by("scram-sha-512", "haul:secret@").source();
    // Held until all are there: what is dropped comes again.
    let given = [next(&mut source).await, next(&mut source).await, next(&mut source).await];
    assert_eq!(given.each_ref().map(|delivery| delivery.packet().as_text().unwrap()), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_authority_is_not_trusted_is_given_nothing() {
    let Some(broker) = Broker::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.pem");
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&other, made.cert.pem()).unwrap();
    for options in [format!("ca={}", other.display()), String::new()] {
        let why = way("haul:secret@", broker.secure, "never", &options).refused().await;
        assert_eq!(why.kind(), ErrorKind::Tls, "{why}");
        assert!(why.to_string().contains("certificate verify failed"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_shows_the_certificate_that_the_cluster_asks_for() {
    let Some(broker) = Broker::shared() else { return };
    let topic = broker.topic(&fresh("mutual"), 1).await;
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| broker.file(name));
    let known = way("", broker.mutual, &topic, &format!("ca={ca}&cert={cert}&cert_key={key}"));
    known.delivers("x").await;
    assert_eq!(next(&mut known.source()).await.packet().as_text(), Some("x"));
    let why = way("", broker.mutual, &topic, &format!("ca={ca}")).refused().await;
    assert_eq!(why.kind(), ErrorKind::Tls, "{why}");
    assert!(why.to_string().contains("alert bad certificate"), "{why}");
}
