mod chaos;
mod net;
mod sending;

use std::time::Duration;

use haul_core::wire::Framing;
use haul_core::{
    CloseReason, Connection, Deliver, Dial, Error, ErrorKind, Level, Packet, PacketId, Sent, State, Status,
};
use tokio::time::{Instant, sleep, timeout};

use crate::*;
use net::{Net, Plan, endpoint, gap, layer, refused, soon, text};

async fn dial(net: &Net, options: ReconnectOptions) -> Connection {
    soon("the dial", net.reconnect(layer(options)).dial(endpoint())).await.unwrap()
}

fn states(connection: &Connection) -> tokio::task::JoinHandle<Vec<String>> {
    let mut watch = connection.watch();
    let mut seen = vec![watch.get().name().to_owned()];
    tokio::spawn(async move {
        while let Some(state) = watch.changed().await {
            seen.push(match state {
                State::Reconnecting { attempt } => format!("reconnecting {attempt}"),
                state => state.name().to_owned(),
            });
        }
        seen
    })
}

#[tokio::test(start_paused = true)]
async fn a_lazy_connection_goes_through_every_state() {
    let mut net = Net::new([refused(), Plan::Connect, refused(), Plan::Connect]);
    let mut connection = net.reconnect(layer(ReconnectOptions::default())).connect_lazy(endpoint());
    let states = states(&connection);
    connection.send(Packet::text("early")).await.unwrap();
    let mut first = net.accept().await;
    assert_eq!(text(&mut first.connection).await.unwrap().unwrap(), "early");
    first.fuse.blow();
    assert_eq!(gap(&mut connection).await, 1);
    let mut second = net.accept().await;
    connection.send(Packet::text("late")).await.unwrap();
    assert_eq!(text(&mut second.connection).await.unwrap().unwrap(), "late");
    let closing = tokio::spawn(async move { connection.close(CloseReason::NORMAL).await });
    assert_eq!(text(&mut second.connection).await.unwrap(), None);
    soon("the close", closing).await.unwrap().unwrap();
    let want = [
        "disconnected",
        "connecting",
        "connected",
        "reconnecting 1",
        "reconnecting 2",
        "connected",
        "disconnected",
    ];
    assert_eq!(soon("the last state", states).await.unwrap(), want);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_while_no_link_stands_arrives_in_order_and_flush_waits_for_it() {
    let mut net = Net::new([Plan::Connect, refused(), refused()]);
    let mut connection = dial(&net, ReconnectOptions::default()).await;
    net.accept().await.fuse.blow();
    let mut watch = connection.watch();
    while !matches!(soon("the cut", watch.changed()).await, Some(State::Reconnecting { .. })) {}
    for n in 0..100 {
        connection.send(Packet::text(n.to_string())).await.unwrap();
    }
    let mut server = net.accept().await;
    let reading = tokio::spawn(async move {
        for n in 0..100 {
            assert_eq!(text(&mut server.connection).await.unwrap().unwrap(), n.to_string());
        }
        server
    });
    soon("the flush", connection.flush()).await.unwrap();
    let server = soon("the packets", reading).await.unwrap();
    assert_eq!(gap(&mut connection).await, 0);
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn a_gap_counts_what_may_be_lost_once_and_receiving_goes_on() {
    let mut net = Net::new([]);
    let mut connection = dial(&net, ReconnectOptions::default()).await;
    let mut first = net.accept().await;
    for word in ["a", "b", "c"] {
        connection.send(Packet::text(word)).await.unwrap();
    }
    connection.flush().await.unwrap();
    first.connection.send(Packet::text("from there")).await.unwrap();
    assert_eq!(text(&mut connection).await.unwrap().unwrap(), "from there");
    assert_eq!(text(&mut first.connection).await.unwrap().unwrap(), "a");
    first.fuse.blow();
    assert_eq!(gap(&mut connection).await, 3);
    let second = net.accept().await;
    second.connection.send(Packet::text("again")).await.unwrap();
    assert_eq!(text(&mut connection).await.unwrap().unwrap(), "again");
    second.fuse.blow();
    assert_eq!(gap(&mut connection).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_clean_close_by_the_peer_is_the_end_unless_told_otherwise() {
    for after_clean_close in [false, true] {
        let mut net = Net::new([]);
        let options = ReconnectOptions { after_clean_close, ..ReconnectOptions::default() };
        let mut connection = dial(&net, options).await;
        let server = net.accept().await;
        drop(tokio::spawn(async move { server.connection.close(CloseReason::GOING_AWAY).await }));
        match after_clean_close {
            true => assert_eq!(gap(&mut connection).await, 0),
            false => {
                assert_eq!(text(&mut connection).await.unwrap(), None);
                let last = soon("the end", connection.watch().over()).await;
                assert!(matches!(last, State::Disconnected { .. }), "{last:?}");
            }
        }
        assert_eq!(net.dials.lock().unwrap().len(), 1 + usize::from(after_clean_close));
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_with_an_error_code_and_an_end_without_a_close_are_cuts() {
    let mut net = Net::new([]);
    let mut connection = dial(&net, ReconnectOptions::default()).await;
    let server = net.accept().await;
    drop(tokio::spawn(async move { server.connection.close(CloseReason::INTERNAL).await }));
    gap(&mut connection).await;
    let mut net = Net::new([]);
    net.framing = Framing::Lines;
    let mut connection = dial(&net, ReconnectOptions::default()).await;
    drop(net.accept().await);
    gap(&mut connection).await;
}

#[tokio::test(start_paused = true)]
async fn closing_while_reconnecting_ends_at_once_if_nothing_is_unsent() {
    let mut net = Net::new([Plan::Connect]);
    (0..1000).for_each(|_| net.plan(refused()));
    let mut connection = dial(&net, ReconnectOptions::default()).await;
    net.accept().await.fuse.blow();
    timeout(Duration::from_secs(300), connection.recv()).await.expect_err("nothing comes");
    assert_eq!(connection.state().name(), "reconnecting");
    let start = Instant::now();
    soon("the close", connection.close(CloseReason::NORMAL)).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(connection.state().name(), "disconnected");
    let dials = net.dials.lock().unwrap().len();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(net.dials.lock().unwrap().len(), dials, "it dials on after its close");
}

#[tokio::test(start_paused = true)]
async fn closing_while_reconnecting_tells_what_was_not_sent() {
    let mut net = Net::new([Plan::Connect]);
    (0..1000).for_each(|_| net.plan(refused()));
    let connection = dial(&net, ReconnectOptions::default()).await;
    net.accept().await.fuse.blow();
    sleep(Duration::from_secs(1)).await;
    connection.send(Packet::text("x")).await.unwrap();
    let start = Instant::now();
    let error = soon("the close", connection.close(CloseReason::NORMAL)).await.unwrap_err();
    assert!(error.to_string().contains("not_flushed=1"), "{error}");
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_connects_and_at_once_cuts_is_dialed_ever_more_slowly() {
    let net = Net::new((0..1000).map(|_| Plan::CutAfter(1)));
    let options = ReconnectOptions { cap: Duration::from_secs(5), ..ReconnectOptions::default() };
    let connection = net.reconnect(layer(options)).connect_lazy(endpoint());
    sleep(Duration::from_secs(1)).await;
    let flood = tokio::spawn(async move {
        loop {
            connection.send(Packet::text("x").identified()).await.unwrap();
            sleep(Duration::from_millis(10)).await;
        }
    });
    sleep(Duration::from_secs(60)).await;
    let dials = net.dials.lock().unwrap().clone();
    assert!((12..=17).contains(&dials.len()), "{} dials: {dials:?}", dials.len());
    flood.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stable_connection_starts_with_short_waits_again() {
    let mut net = Net::new((0..6).map(|_| refused()));
    let mut connection = net.reconnect(layer(ReconnectOptions::default())).connect_lazy(endpoint());
    let server = net.accept().await;
    sleep(Duration::from_secs(11)).await;
    let cut = Instant::now();
    server.fuse.blow();
    gap(&mut connection).await;
    assert!(cut.elapsed() <= Duration::from_millis(201), "{:?}", cut.elapsed());
}

#[tokio::test(start_paused = true)]
async fn after_the_last_attempt_the_connection_has_failed() {
    let mut net = Net::new([Plan::Connect, refused(), refused(), refused()]);
    let options = ReconnectOptions { attempts: Some(3), ..ReconnectOptions::default() };
    let mut connection = dial(&net, options).await;
    connection.send(Packet::text("x")).await.unwrap();
    connection.flush().await.unwrap();
    net.accept().await.fuse.blow();
    let error = soon("the failure", connection.recv()).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Connect, Status::Exhausted));
    assert!(error.to_string().contains("ours_maybe_lost=1"), "{error}");
    assert_eq!(connection.state().name(), "failed");
    assert_eq!(net.dials.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn after_the_deadline_the_connection_has_failed() {
    let net = Net::new((0..1000).map(|_| refused()));
    let options = ReconnectOptions { deadline: Some(Duration::from_secs(60)), ..ReconnectOptions::default() };
    let mut connection = net.reconnect(layer(options)).connect_lazy(endpoint());
    let start = Instant::now();
    soon("the failure", connection.recv()).await.unwrap_err();
    assert!((20..=60).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_of_a_dial_fails_the_connection_at_once() {
    let refuse = Plan::Refuse(Error::new(ErrorKind::Unauthorized, "token expired"));
    let mut net = Net::new([Plan::Connect, refuse]);
    let mut connection = dial(&net, ReconnectOptions::default()).await;
    net.accept().await.fuse.blow();
    let error = soon("the failure", connection.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    let error = connection.send(Packet::text("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
}

#[tokio::test(start_paused = true)]
async fn subscriptions_go_before_anything_else_on_a_new_link() {
    let mut net = Net::new([]);
    let layer = layer(ReconnectOptions::default())
        .on_reconnect(|link| Box::pin(async move { link.send(Packet::text("subscribe")).await }));
    let connection = net.reconnect(layer).dial(endpoint()).await.unwrap();
    let mut first = net.accept().await;
    connection.send(Packet::text("1")).await.unwrap();
    assert_eq!(text(&mut first.connection).await.unwrap().unwrap(), "1");
    first.fuse.blow();
    sleep(Duration::from_millis(1)).await;
    connection.send(Packet::text("2")).await.unwrap();
    let mut second = net.accept().await;
    assert_eq!(text(&mut second.connection).await.unwrap().unwrap(), "subscribe");
    assert_eq!(text(&mut second.connection).await.unwrap().unwrap(), "2");
}

#[tokio::test(start_paused = true)]
async fn a_delivery_without_its_receipt_is_sent_again_by_an_application_that_never_receives() {
    let mut net = Net::new([]);
    let connection = dial(&net, ReconnectOptions::default()).await;
    let id = PacketId::random();
    let delivery = tokio::spawn(async move {
        let receipt = connection.deliver(Packet::text("x").with_id(id)).await;
        (connection, receipt)
    });
    // The server reads them and is cut before it answers, twice.
    for _ in 0..2 {
        let mut server = net.accept().await;
        let delivered = soon("the packet", server.connection.next()).await.unwrap().unwrap();
        assert_eq!(delivered.packet().id(), Some(id));
        server.fuse.blow();
    }
    let mut server = net.accept().await;
    let delivered = soon("the packet", server.connection.next()).await.unwrap().unwrap();
    delivered.ack(haul_core::Receipt::new(Level::Stored, Some(id))).await.unwrap();
    let (_connection, receipt) = soon("the receipt", delivery).await.unwrap();
    assert_eq!(receipt.unwrap().level, Level::Stored);
}

#[tokio::test(start_paused = true)]
async fn an_answered_delivery_is_not_sent_again() {
    let mut net = Net::new([]);
    let mut connection = dial(&net, ReconnectOptions::default()).await;
    let mut first = net.accept().await;
    let reading = tokio::spawn(async move {
        text(&mut first.connection).await.unwrap();
        first
    });
    connection.deliver(Packet::text("once")).await.unwrap();
    soon("the packet", reading).await.unwrap().fuse.blow();
    assert_eq!(gap(&mut connection).await, 0);
    connection.send(Packet::text("next")).await.unwrap();
    let mut second = net.accept().await;
    assert_eq!(text(&mut second.connection).await.unwrap().unwrap(), "next");
}

#[tokio::test(start_paused = true)]
async fn deliveries_beyond_what_is_kept_are_answered_and_not_forgotten() {
    let mut net = Net::new([]);
    let options = ReconnectOptions { max_unanswered_bytes: 2000, ..ReconnectOptions::default() };
    let connection = Arc::new(dial(&net, options).await);
    let mut server = net.accept().await;
    let deliver = |fill: u8| {
        let connection = connection.clone();
        tokio::spawn(async move { connection.deliver(Packet::binary(vec![fill; 900])).await })
    };
    let oldest = deliver(1);
    let mut held = Vec::new();
    held.push(soon("the first", server.connection.next()).await.unwrap().unwrap());
    for fill in 2..=3 {
        drop(deliver(fill));
        held.push(soon("the next", server.connection.next()).await.unwrap().unwrap());
    }
    let why = soon("the answer", oldest).await.unwrap().unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Overloaded, Sent::Maybe));
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_pinged_and_then_cut_and_dialed_again() {
    let mut net = Net::new([]);
    net.limits.ping_interval = Some(Duration::from_secs(10));
    net.limits.idle_deadline = Some(Duration::from_secs(30));
    let mut connection = dial(&net, ReconnectOptions::default()).await;
    // A peer of haul answers pings: nothing happens.
    let _alive = net.accept().await;
    timeout(Duration::from_secs(300), connection.recv()).await.expect_err("nothing comes");
    assert_eq!(net.dials.lock().unwrap().len(), 1);
    // One of lines does not.
    let mut net = Net::new([]);
    net.framing = Framing::Lines;
    net.limits.idle_deadline = Some(Duration::from_secs(30));
    let mut connection = dial(&net, ReconnectOptions::default()).await;
    let _silent = net.accept().await;
    let start = Instant::now();
    gap(&mut connection).await;
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn after_finish_the_peer_is_still_received_from_over_a_cut() {
    let mut net = Net::new([]);
    let mut connection = dial(&net, ReconnectOptions::default()).await;
    let mut first = net.accept().await;
    soon("the finish", connection.finish()).await.unwrap();
    assert_eq!(text(&mut first.connection).await.unwrap(), None);
    first.fuse.blow();
    gap(&mut connection).await;
    let mut second = net.accept().await;
    assert_eq!(text(&mut second.connection).await.unwrap(), None);
    second.connection.send(Packet::text("news")).await.unwrap();
    assert_eq!(text(&mut connection).await.unwrap().unwrap(), "news");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_can_do_less_than_promised_fails_the_connection() {
    let mut net = Net::new([]);
    net.framing = Framing::Lines;
    let mut info = Info::new("pipe", "haul.v1");
    info.receipts = true;
    let reconnect = net.reconnect(layer(ReconnectOptions::default()));
    let mut connection = reconnect.connect_lazy_as(endpoint(), info);
    let error = soon("the failure", connection.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("receipts"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_application_that_does_not_receive_sends_over_cuts_and_later_learns_of_all_in_one_gap() {
    let mut net = Net::new([]);
    let mut connection = dial(&net, ReconnectOptions::default()).await;
    let first = net.accept().await;
    // More than is read ahead: nobody looks at the first link any more.
    let flood = tokio::spawn(async move {
        let connection = first.connection;
        while connection.send(Packet::binary(vec![0; 1000])).await.is_ok() {}
    });
    sleep(Duration::from_secs(1)).await;
    let (mut fuse, mut servers) = (first.fuse, Vec::new());
    for word in ["a", "b", "c"] {
        connection.send(Packet::text(word)).await.unwrap();
        soon("the flush", connection.flush()).await.unwrap();
        if word != "a" {
            let mut server = net.accept().await;
            assert_eq!(text(&mut server.connection).await.unwrap().unwrap(), word);
            fuse = server.fuse.clone();
            servers.push(server);
        }
        if word != "c" {
            fuse.blow();
        }
    }
    soon("the end of the flood", flood).await.unwrap();
    let gap = loop {
        match soon("the gap", connection.recv()).await {
            Ok(packet) => assert_eq!(packet.unwrap().len(), 1000),
            Err(gap) => break gap,
        }
    };
    assert_eq!((gap.kind(), net::counted(&gap)), (ErrorKind::Gap, 2));
    timeout(Duration::from_secs(60), connection.recv()).await.expect_err("one gap is all");
}

#[test]
fn options_come_from_toml_and_wrong_ones_are_refused() {
    let options: ReconnectOptions =
        toml::from_str("attempts = 10\nbase = \"5ms\"\ndeadline = \"10m\"").unwrap();
    assert_eq!((options.attempts, options.deadline), (Some(10), Some(Duration::from_secs(600))));
    assert_eq!(toml::from_str::<ReconnectOptions>(&toml::to_string(&options).unwrap()).unwrap(), options);
    assert!(toml::from_str::<ReconnectOptions>("attempt = 10").is_err());
    let wrong = ReconnectOptions { attempts: Some(0), ..ReconnectOptions::default() };
    assert_eq!(ReconnectLayer::new(wrong).unwrap_err().kind(), ErrorKind::Config);
}
