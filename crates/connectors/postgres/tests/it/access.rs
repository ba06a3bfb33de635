//! Who is let in, and whom we trust.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use haul_core::{Deliver, ErrorKind, Packet, Sent, Sink, Status};
use haul_tls::SelfSigned;

use crate::server::Postgres;
use crate::support::{facts, sink};

#[tokio::test]
async fn who_is_not_let_in_is_refused_for_good() {
    let rules = |data: &Path| {
        let rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
    };
    let Some(postgres) = Postgres::start_with(&[], rules) else { return };
    postgres.psql("create table t (n int); create role app login password 'secret'");
    let to = |who: &str, rest: &str| sink(&format!("postgres://{who}@127.0.0.1:{}/{rest}", postgres.port));
    for (who, rest, kind) in [
        ("app", "postgres?table=t", ErrorKind::Unauthorized),
        ("app:wrong", "postgres?table=t", ErrorKind::Unauthorized),
        ("nobody:wrong", "postgres?table=t", ErrorKind::Unauthorized),
        ("app:secret", "nowhere?table=t", ErrorKind::NotFound),
        ("app:secret", "postgres?table=t&create=true", ErrorKind::NotFound),
        ("app:secret", "postgres?table=other&create=true", ErrorKind::Unauthorized),
    ] {
        let why = to(who, rest).deliver(Packet::text("x")).await.unwrap_err();
        assert_eq!(facts(&why), (kind, Status::Permanent, Sent::No), "{who} {rest}: {why}");
        assert!(!format!("{why:?}").contains("wrong@"), "it shows the password: {why:?}");
    }
    postgres.psql("grant create on schema public to app");
    to("app:secret", "postgres?table=mine&create=true").deliver(Packet::text("x")).await.unwrap();
}

/// Lets a server speak TLS with this certificate.
fn speaks_tls(identity: &SelfSigned) -> impl FnOnce(&Path) {
    move |data| {
        std::fs::write(data.join("server.crt"), &identity.certificate_pem).unwrap();
        std::fs::write(data.join("server.key"), &identity.key_pem).unwrap();
        let own = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(data.join("server.key"), own).unwrap();
    }
}

#[tokio::test]
async fn tls_is_checked_where_it_is_required_and_taken_where_it_is_there() {
    let (identity, other) =
        (SelfSigned::new(["localhost"]).unwrap(), SelfSigned::new(["localhost"]).unwrap());
    let Some(postgres) = Postgres::start_with(&["ssl=on"], speaks_tls(&identity)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (right, wrong) = (folder.path().join("right.pem"), folder.path().join("wrong.pem"));
    std::fs::write(&right, &identity.certificate_pem).unwrap();
    std::fs::write(&wrong, &other.certificate_pem).unwrap();
    let to = |host: &str, options: &str| {
        let url = format!("postgres://postgres@{host}:{}/postgres?table=t&create=true", postgres.port);
        sink(&format!("{url}&application_name=tls{options}"))
    };
    let encrypted = "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) \
        where application_name = 'tls'";
    let (right, wrong) = (format!("&ca={}", right.display()), format!("&ca={}", wrong.display()));
    for options in ["", &right, &format!("&sslmode=require&pin={}", identity.fingerprint)] {
        let sink = to("localhost", options);
        sink.deliver(Packet::text("x")).await.unwrap_or_else(|why| panic!("{options}: {why}"));
        assert_eq!(postgres.psql(encrypted), "t", "{options}");
        sink.close().await.unwrap();
    }
    for (host, options) in [("localhost", &*wrong), ("127.0.0.1", &right), ("localhost", "&sslmode=require")]
    {
        let why = to(host, options).deliver(Packet::text("x")).await.unwrap_err();
        assert_eq!(facts(&why), (ErrorKind::Tls, Status::Permanent, Sent::No), "{host} {options}: {why}");
    }

    let Some(plain) = Postgres::start(&[]) else { return };
    let sink = sink(&plain.url("table=t&create=true").replace("disable", "require"));
    let why = sink.deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(facts(&why), (ErrorKind::Tls, Status::Permanent, Sent::No), "{why}");
}
