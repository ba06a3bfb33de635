//! Servers that are away, stuck or full.

mod histories;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use haul_core::{Deliver, DeliverAll, ErrorKind, Level, Packet, Receipt, Sent, Sink, Source, Status};
use haul_faults::{Cut, TcpFaults, TcpRelay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{Postgres, signal};
use crate::support::{facts, queue, sink, soon};

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_have_got_nothing() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let sink = sink(&format!("postgres://u@127.0.0.1:{port}/db?table=t"));
    let why = sink.ready().await.unwrap_err();
    assert_eq!(facts(&why), (ErrorKind::Connect, Status::Transient, Sent::No), "{why}");
    assert!(why.to_string().contains(&format!("(server=127.0.0.1:{port})")), "{why}");
    let why = sink.deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(facts(&why), (ErrorKind::Connect, Status::Transient, Sent::No), "{why}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sink = Arc::new(sink(&format!("postgres://u@127.0.0.1:{port}/db?table=t&connect_timeout=2s")));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let sink = sink.clone();
        calls.spawn(async move { sink.deliver(Packet::text("x")).await });
    }
    // Together, not one after the other.
    for outcome in soon("the timeouts", calls.join_all()).await {
        let why = outcome.unwrap_err();
        assert_eq!(facts(&why), (ErrorKind::Timeout, Status::Transient, Sent::No), "{why}");
    }
}

/// Makes a table `t` that refuses packets with metadata `code` by that SQLSTATE, and lets `sleep` sleep for so long.
async fn refusing(postgres: &Postgres) {
    sink(&postgres.url("table=t&create=true")).ready().await.unwrap();
    postgres.psql(
        "create function refuse() returns trigger language plpgsql as $$ begin
            perform pg_sleep((new.metadata->>'sleep')::float8);
            if new.metadata ? 'code' then
                raise exception 'as it was told' using errcode = new.metadata->>'code';
            end if;
            return new;
        end $$;
        create trigger refuse before insert on t for each row execute function refuse()",
    );
}

#[tokio::test]
async fn what_the_server_says_decides_whether_to_try_again() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    refusing(&postgres).await;
    let sink = sink(&postgres.url("table=t"));
    for (code, kind, status) in [
        ("40001", ErrorKind::Overloaded, Status::Transient),
        ("40P01", ErrorKind::Overloaded, Status::Transient),
        ("53100", ErrorKind::Overloaded, Status::Transient),
        ("53200", ErrorKind::Overloaded, Status::Transient),
        ("25006", ErrorKind::Overloaded, Status::Transient),
        ("55P03", ErrorKind::Overloaded, Status::Transient),
        ("58030", ErrorKind::Overloaded, Status::Transient),
        ("XX000", ErrorKind::Overloaded, Status::Transient),
        ("57014", ErrorKind::Timeout, Status::Transient),
        ("0A000", ErrorKind::Rejected, Status::Transient),
        ("23514", ErrorKind::Rejected, Status::Permanent),
        ("P0001", ErrorKind::Rejected, Status::Permanent),
        ("22003", ErrorKind::Codec, Status::Permanent),
        ("54000", ErrorKind::TooLarge, Status::Permanent),
        ("42501", ErrorKind::Unauthorized, Status::Permanent),
        ("42P01", ErrorKind::NotFound, Status::Permanent),
        ("42804", ErrorKind::Config, Status::Permanent),
    ] {
        let why = sink.deliver(Packet::text("x").with("code", code)).await.unwrap_err();
        assert_eq!(facts(&why), (kind, status, Sent::No), "{code}: {why}");
        assert!(why.to_string().contains("as it was told") && why.to_string().contains(code), "{why}");
        sink.deliver(Packet::text("y")).await.unwrap();
    }
    // What ends the connection may have come after the commit.
    for code in ["57P01", "40003"] {
        let why = sink.deliver(Packet::text("x").with("code", code)).await.unwrap_err();
        assert_eq!(facts(&why), (ErrorKind::Closed, Status::Transient, Sent::Maybe), "{why}");
    }
}

#[tokio::test]
async fn behind_a_failure_that_may_pass_nothing_is_tried() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    refusing(&postgres).await;
    let text = Packet::text;
    let batch = vec![text("1"), text("2").with("code", "40001"), text("3"), text("4")];
    let outcomes = sink(&postgres.url("table=t&rows=1")).deliver_all(batch).await.unwrap();
    let [first, refused, third, fourth] = <[_; 4]>::try_from(outcomes).unwrap();
    first.unwrap();
    assert!(refused.unwrap_err().to_string().contains("as it was told"));
    for behind in [third, fourth] {
        let why = behind.unwrap_err();
        assert_eq!(facts(&why), (ErrorKind::Overloaded, Status::Transient, Sent::No), "{why}");
        assert!(why.to_string().contains("not tried"), "{why}");
    }
    assert_eq!(postgres.psql("select encode(payload, 'escape') from t"), "1");

    // Nor behind one within what is left of a statement with a packet that was at fault.
    let batch = vec![text("5").with("code", "23514"), text("6").with("code", "40001"), text("7"), text("8")];
    let outcomes = sink(&postgres.url("table=t")).deliver_all(batch).await.unwrap();
    let told: Vec<_> = outcomes.into_iter().map(|outcome| outcome.unwrap_err()).collect();
    assert_eq!(facts(&told[0]), (ErrorKind::Rejected, Status::Permanent, Sent::No), "{}", told[0]);
    for (why, behind) in told[1..].iter().zip([false, true, true]) {
        assert_eq!(facts(why), (ErrorKind::Overloaded, Status::Transient, Sent::No), "{why}");
        assert_eq!(why.to_string().contains("not tried"), behind, "{why}");
    }
    assert_eq!(postgres.psql("select count(*) from t"), "1");
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_undone_by_the_server() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    refusing(&postgres).await;
    let sink = sink(&postgres.url("table=t&timeout=300ms"));
    let slow = sink.deliver(Packet::text("slow").with("sleep", "3600"));
    let why = soon("the timeout", slow).await.unwrap_err();
    assert_eq!((why.kind(), why.status()), (ErrorKind::Timeout, Status::Transient), "{why}");
    soon("a delivery", async { while sink.deliver(Packet::text("x")).await.is_err() {} }).await;
    let at_work = "select count(*) from pg_stat_activity where state = 'active' and query like 'insert%'";
    soon("the server to give up", async {
        while postgres.psql(at_work) != "0" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(postgres.psql("select count(*) from t where metadata ? 'sleep'"), "0");
}

#[tokio::test]
async fn a_standby_and_a_server_without_a_place_may_be_tried_again() {
    let few = ["max_connections=1", "superuser_reserved_connections=0", "max_wal_senders=0"];
    let Some(postgres) = Postgres::start(&few) else { return };
    let url = postgres.url("table=t&create=true");
    let (first, second) = (sink(&url), sink(&url));
    soon("a place", async { while first.ready().await.is_err() {} }).await;
    let why = second.deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(facts(&why), (ErrorKind::Overloaded, Status::Transient, Sent::No), "{why}");
    first.close().await.unwrap();
    soon("a place", async { while second.ready().await.is_err() {} }).await;
    second.close().await.unwrap();

    let read_only = sink(&format!("{url}&options=-c%20default_transaction_read_only%3Don"));
    let why = soon("an answer", async {
        loop {
            match read_only.deliver(Packet::text("x")).await.unwrap_err() {
                // The place is not free yet.
                why if why.to_string().contains("53300") => {}
                why => break why,
            }
        }
    });
    let why = why.await;
    assert_eq!(facts(&why), (ErrorKind::Overloaded, Status::Transient, Sent::No), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_is_given_up_on_and_used_again_when_it_moves() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let sink = sink(&postgres.url("table=t&create=true&timeout=300ms"));
    soon("a delivery", async { while sink.deliver(Packet::text("1")).await.is_err() {} }).await;
    let packet = Packet::text("2").identified();
    let processes = postgres.processes();
    signal("-STOP", &processes);
    let why = soon("the timeout", sink.deliver(packet.clone())).await.unwrap_err();
    assert_eq!(facts(&why), (ErrorKind::Timeout, Status::Transient, Sent::Maybe), "{why}");
    signal("-CONT", &processes);
    soon("a delivery", async { while sink.deliver(packet.clone()).await.is_err() {} }).await;
    let count = format!("select count(*) from t where id = '{}'", packet.id().unwrap());
    assert_eq!(postgres.psql(&count), "1");
}

/// A way to the server that, once told, ends where the server answers: what was asked is done, and nobody learns of it.
async fn without_answers(postgres: &Postgres) -> (u16, Arc<AtomicBool>) {
    let (listener, to) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), postgres.port);
    let (port, deaf) = (listener.local_addr().unwrap().port(), Arc::new(AtomicBool::new(false)));
    tokio::spawn({
        let deaf = deaf.clone();
        async move {
            loop {
                let (near, deaf) = (listener.accept().await.unwrap().0, deaf.clone());
                tokio::spawn(async move {
                    let far = TcpStream::connect(("127.0.0.1", to)).await?;
                    let ((mut from, mut back), (mut answers, mut on)) = (near.into_split(), far.into_split());
                    let asks = tokio::spawn(async move { tokio::io::copy(&mut from, &mut on).await });
                    let mut some = vec![0; 4096];
                    loop {
                        let many = answers.read(&mut some).await?;
                        if many == 0 || deaf.load(Ordering::Acquire) {
                            asks.abort();
                            return std::io::Result::Ok(());
                        }
                        back.write_all(&some[..many]).await?;
                    }
                });
            }
        }
    });
    (port, deaf)
}

#[tokio::test]
async fn a_connection_that_ends_between_commit_and_answer_leaves_a_maybe_and_no_duplicate() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let (port, deaf) = without_answers(&postgres).await;
    let url = postgres.url("table=t&create=true").replace(&postgres.port.to_string(), &port.to_string());
    let sink = sink(&url);
    sink.ready().await.unwrap();
    deaf.store(true, Ordering::Release);
    let packet = Packet::text("x").identified();
    let why = soon("the end", sink.deliver(packet.clone())).await.unwrap_err();
    assert_eq!(facts(&why), (ErrorKind::Closed, Status::Transient, Sent::Maybe), "{why}");
    assert_eq!(postgres.psql("select count(*) from t"), "1");
    deaf.store(false, Ordering::Release);
    let receipt = soon("the receipt", sink.deliver(packet)).await.unwrap();
    assert_eq!(receipt.reference.as_deref(), Some(&*postgres.psql("select seq from t")));
}

#[tokio::test]
async fn an_idle_connection_that_was_lost_is_made_anew_before_anything_is_sent() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let target = format!("127.0.0.1:{}", postgres.port).parse().unwrap();
    let relay = TcpRelay::new(target, 1, TcpFaults::default()).await.unwrap();
    let url = postgres.url("table=t&create=true");
    let sink = sink(&url.replace(&postgres.port.to_string(), &relay.address().port().to_string()));
    sink.deliver(Packet::text("1")).await.unwrap();
    relay.cut(Cut::Reset);
    soon("the cut", relay.until(|stats| stats.open == 0)).await;
    // The reset is there; the connection's task learns of it when this one gives way.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    sink.deliver(Packet::text("2")).await.unwrap();
    assert_eq!(postgres.psql("select encode(payload, 'escape') from t order by seq"), "1\n2");
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_restart_the_sink_is_told_and_finds_back() {
    let Some(mut postgres) = Postgres::start(&[]) else { return };
    let sink = sink(&postgres.url("table=t&create=true"));
    sink.deliver(Packet::text("1")).await.unwrap();
    tokio::task::block_in_place(|| postgres.stop());
    let why = soon("a refusal", async {
        loop {
            let why = sink.deliver(Packet::text("nobody")).await.unwrap_err();
            // The first may still be asked on the old connection.
            if why.sent() == Sent::No {
                break why;
            }
        }
    });
    let why = why.await;
    assert_eq!(facts(&why), (ErrorKind::Connect, Status::Transient, Sent::No), "{why}");
    tokio::task::block_in_place(|| postgres.start_again());
    sink.deliver(Packet::text("2")).await.unwrap();
    assert_eq!(postgres.psql("select encode(payload, 'escape') from t order by seq"), "1\n2");
}

#[tokio::test]
async fn a_table_that_is_dropped_is_told_and_made_again() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let sink = sink(&postgres.url("table=t&create=true"));
    sink.deliver(Packet::text("1")).await.unwrap();
    postgres.psql("drop table t");
    let why = sink.deliver(Packet::text("2")).await.unwrap_err();
    assert_eq!(facts(&why), (ErrorKind::NotFound, Status::Permanent, Sent::No), "{why}");
    sink.deliver(Packet::text("3")).await.unwrap();
    assert_eq!(postgres.psql("select encode(payload, 'escape') from t"), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_that_fails_is_told_and_the_packet_given_again() {
    let Some(mut postgres) = Postgres::start(&[]) else { return };
    let url = postgres.url("table=t&create=true&connect_timeout=500ms");
    sink(&url).deliver(Packet::text("x")).await.unwrap();
    let mut source = queue(&url);
    let held = soon("a packet", source.next()).await.unwrap().unwrap();
    tokio::task::block_in_place(|| postgres.stop());
    let receipt = || Receipt::new(Level::Stored, None);
    let why = soon("the failure", held.ack(receipt())).await.unwrap_err();
    assert_eq!(why.kind(), ErrorKind::Closed, "{why}");
    tokio::task::block_in_place(|| postgres.start_again());
    let again = soon("the packet again", source.next()).await.unwrap().unwrap();
    soon("the acknowledgement", again.ack(receipt())).await.unwrap();
    assert_eq!(postgres.psql("select count(*) from t"), "0");
    tokio::time::timeout(Duration::from_millis(200), source.next()).await.unwrap_err();
}
