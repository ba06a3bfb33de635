mod links;

use std::time::Duration;

use std::task::{Context, Poll};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::time::timeout;

use crate::link::ReadHalf;
use crate::wire::{Frame, Framing, StreamEncoder};
use crate::*;

fn spawn(task: Task) {
    tokio::spawn(task);
}

fn over(stream: DuplexStream, framing: Framing, limits: Limits) -> Connection {
    let (read, write) = split(stream);
    Connection::new(Link::over_stream(Info::new("pipe", ""), limits, framing, read, write), spawn)
}

fn pair(size: usize) -> (Connection, Connection) {
    let (a, b) = duplex(size);
    (over(a, Framing::Haul, Limits::default()), over(b, Framing::Haul, Limits::default()))
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), work).await.unwrap_or_else(|_| panic!("waited 10 s for {what}"))
}

#[tokio::test]
async fn what_is_sent_arrives_in_order() {
    let (a, mut b) = pair(1000);
    let sending = tokio::spawn(async move {
        for number in 0..2000u32 {
            a.send(Packet::binary(number.to_be_bytes().to_vec()).with("n", number.to_string()))
                .await
                .unwrap();
        }
        a.close(CloseReason::NORMAL).await
    });
    for number in 0..2000u32 {
        let packet = soon("a packet", b.recv()).await.unwrap().unwrap();
        assert_eq!(packet.payload()[..], number.to_be_bytes());
        assert_eq!(packet.metadata().get("n"), Some(&*number.to_string()));
    }
    assert_eq!(soon("the end", b.recv()).await.unwrap(), None);
    soon("the close", sending).await.unwrap().unwrap();
    assert!(b.state().is_over() || soon("the state", b.watch().over()).await.is_over());
}

#[tokio::test]
async fn a_plain_receive_acknowledges_and_a_delivery_answers_what_the_receiver_says() {
    let (a, mut b) = pair(1000);
    let answers = tokio::spawn(async move {
        let first = a.call(Packet::text("one")).await;
        let second = a.call(Packet::text("two")).await;
        let third = a.call(Packet::text("three")).await;
        (first, second, third)
    });
    soon("one", b.recv()).await.unwrap().unwrap();
    let two = soon("two", b.next()).await.unwrap().unwrap();
    let id = two.packet().id();
    two.ack(Receipt::new(Level::Stored, id).with_reference("7")).await.unwrap();
    drop(soon("three", b.next()).await.unwrap().unwrap());
    let (first, second, third) = soon("the answers", answers).await.unwrap();
    assert_eq!(first.unwrap().level, Level::Acknowledged);
    assert_eq!(second.unwrap().reference.as_deref(), Some("7"));
    assert_eq!(third.unwrap_err().kind(), ErrorKind::Rejected);
}

#[tokio::test]
async fn a_reader_that_stalls_does_not_grow_the_sender() {
    let (a, _b) = pair(1000);
    let filled = timeout(Duration::from_millis(200), async {
        loop {
            a.send(Packet::binary(vec![0; 1000])).await.unwrap();
        }
    });
    assert!(filled.await.is_err(), "send never waited");
    let bound = Limits::default();
    let most = (2 * bound.send_buffer + bound.read_ahead + 40_000) as u64;
    assert!(a.stats().bytes_queued < most, "{} bytes queued", a.stats().bytes_queued);
}

#[tokio::test]
async fn a_link_cut_short_is_an_error_and_not_an_end() {
    let (a, mut raw) = duplex(1000);
    let mut a = over(a, Framing::Haul, Limits::default());
    raw.write_all(b"\0\0\0\x05\x01h").await.unwrap();
    drop(raw);
    let error = soon("the error", a.recv()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(soon("the state", a.watch().over()).await.name(), "failed");
}

#[tokio::test]
async fn a_failure_after_send_is_told_with_the_number_of_packets_lost() {
    let (a, raw) = duplex(10);
    let mut a = over(a, Framing::Haul, Limits::default());
    for _ in 0..3 {
        a.send(Packet::text("0123456789")).await.unwrap();
    }
    drop(raw);
    for error in [
        soon("flush", a.flush()).await.unwrap_err(),
        soon("send", a.send(Packet::text("x"))).await.unwrap_err(),
        soon("recv", a.recv()).await.unwrap_err(),
        soon("close", a.close(CloseReason::NORMAL)).await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("not_flushed=3"), "{error}");
    }
}

#[tokio::test]
async fn dropping_a_connection_drains_it() {
    let (a, mut raw) = duplex(16);
    let a = over(a, Framing::Lines, Limits::default());
    let watch = a.watch();
    for _ in 0..100 {
        a.send(Packet::text("0123456789")).await.unwrap();
    }
    drop(a);
    let mut all = Vec::new();
    soon("the end", raw.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all.len(), 1100);
    drop(raw);
    let mut watch = watch;
    assert_eq!(soon("the state", watch.over()).await.name(), "disconnected");
}

#[tokio::test]
async fn half_close_ends_one_direction_only() {
    let (a, mut b) = pair(1000);
    let mut a = a;
    a.send(Packet::text("last")).await.unwrap();
    soon("finish", a.finish()).await.unwrap();
    assert!(a.send(Packet::text("more")).await.is_err());
    assert_eq!(soon("last", b.recv()).await.unwrap().unwrap().as_text(), Some("last"));
    assert_eq!(soon("the end", b.recv()).await.unwrap(), None);
    b.send(Packet::text("answer")).await.unwrap();
    assert_eq!(soon("answer", a.recv()).await.unwrap().unwrap().as_text(), Some("answer"));
    b.close(CloseReason::NORMAL).await.unwrap();
    assert_eq!(soon("the end", a.recv()).await.unwrap(), None);
}

#[tokio::test]
async fn pings_are_answered_while_nobody_receives() {
    let (a, b) = pair(1000);
    soon("pong", a.ping()).await.unwrap();
    assert!(a.stats().rtt.is_some());
    drop(b);
}

#[tokio::test]
async fn a_link_taken_back_keeps_what_was_read_ahead() {
    let (a, b) = pair(1000);
    a.send(Packet::text("early")).await.unwrap();
    soon("flush", a.flush()).await.unwrap();
    soon("pong", a.ping()).await.unwrap();
    let mut b = Connection::new(b.into_link().await.unwrap(), spawn);
    assert_eq!(soon("early", b.recv()).await.unwrap().unwrap().as_text(), Some("early"));
    b.send(Packet::text("late")).await.unwrap();
    let mut a = a;
    assert_eq!(soon("late", a.recv()).await.unwrap().unwrap().as_text(), Some("late"));
}

#[tokio::test]
async fn what_was_taken_with_the_last_packet_stays_with_the_link_or_is_counted() {
    let (a, mut b) = pair(1000);
    let packets = ["one", "two", "three"].map(|text| Packet::binary(text.as_bytes()));
    a.send_all(packets.clone()).await.unwrap();
    assert_eq!(soon("one", b.recv()).await.unwrap().unwrap(), packets[0]);
    let mut b = Connection::new(b.into_link().await.unwrap(), spawn);
    for packet in &packets[1..] {
        assert_eq!(soon("the rest", b.recv()).await.unwrap().unwrap(), *packet);
    }
    a.send_all(packets.clone()).await.unwrap();
    assert_eq!(soon("one again", b.recv()).await.unwrap().unwrap(), packets[0]);
    let (sender, receiver) = b.split();
    drop(receiver);
    soon("the others to be dropped", async {
        while sender.stats().packets_discarded < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(sender.stats().packets_received, 6 - 1, "one was received before the link was taken");
}

#[tokio::test]
async fn many_are_received_at_once_in_order_and_acknowledged() {
    let (a, mut b) = pair(100_000);
    let mut got = Vec::new();
    a.send_all((0..100u8).map(|number| Packet::binary(vec![number]))).await.unwrap();
    let receipt = a.call(Packet::text("last"));
    let receiving = async {
        while got.len() < 101 {
            let before = got.len();
            let count = b.recv_many(&mut got, 30).await.unwrap();
            assert_eq!(got.len(), before + count);
            assert!((1..=30).contains(&count), "{count}");
        }
    };
    let (receipt, ()) = tokio::join!(soon("the receipt", receipt), soon("the packets", receiving));
    assert_eq!(receipt.unwrap().level, Level::Acknowledged);
    assert!((0..100u8).eq(got[..100].iter().map(|packet| packet.payload()[0])));
    assert_eq!(b.stats().packets_received, 101);
    drop(a);
    assert_eq!(soon("the end", b.recv_many(&mut got, 30)).await.unwrap(), 0);
}

/// A link that gives what is in its list.
struct Listed(std::vec::IntoIter<Result<Option<Frame>>>);

impl ReadHalf for Listed {
    fn poll_read(&mut self, _cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        self.0.next().map_or(Poll::Ready(Ok(None)), Poll::Ready)
    }
}

#[tokio::test]
async fn a_ping_is_answered_however_much_a_sender_has_queued() {
    let (a, mut raw) = duplex(100);
    let mut a = over(a, Framing::Haul, Limits::default());
    // The first is being written, the second fills the buffer to many times its bound.
    let large = Packet::binary(vec![0; 2 << 20]);
    a.send(large.clone()).await.unwrap();
    a.send(large.clone()).await.unwrap();
    let peer = async {
        raw.write_all(b"\0\0\0\x04\x20\x01hi\0\0\0\x04\x00end").await.unwrap();
        let mut sent = vec![0; 2 * (4 + 1 + large.len()) + 8];
        raw.read_exact(&mut sent).await.unwrap();
        assert!(sent.ends_with(b"\0\0\0\x04\x20\x02hi"), "no pong: {:?}", &sent[sent.len() - 8..]);
        raw
    };
    let (received, _raw) = tokio::join!(soon("a packet", a.recv()), soon("a pong", peer));
    assert_eq!(received.unwrap().unwrap().payload()[..], *b"end");
}

#[tokio::test]
async fn a_gap_among_many_stays_in_its_place() {
    let packet = |text: &str| Ok(Some(Frame::packet(Packet::text(text))));
    let gap = || Err(Error::new(ErrorKind::Gap, "two are missing"));
    let listed = Listed(vec![packet("1"), packet("2"), gap(), packet("5"), gap()].into_iter());
    let link = Link::new(Info::new("list", ""), listed, StreamWrite::new(tokio::io::sink()));
    let mut connection = Connection::new(link.with_encoder(StreamEncoder::new(Framing::Haul)), spawn);
    let mut got = Vec::new();
    assert_eq!(connection.recv_many(&mut got, 9).await.unwrap(), 2);
    assert_eq!(connection.recv_many(&mut got, 9).await.unwrap_err().kind(), ErrorKind::Gap);
    assert_eq!(connection.recv_many(&mut got, 9).await.unwrap(), 1);
    assert_eq!(connection.recv_many(&mut got, 9).await.unwrap_err().kind(), ErrorKind::Gap);
    assert_eq!(connection.recv_many(&mut got, 9).await.unwrap(), 0);
    let texts: Vec<_> = got.iter().filter_map(Packet::as_text).collect();
    assert_eq!(texts, ["1", "2", "5"]);
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_soon_after_an_application_stopped_receiving() {
    let (a, mut b) = pair(1000);
    for _ in 0..3 {
        a.send(Packet::text("hi")).await.unwrap();
        b.recv().await.unwrap().unwrap();
    }
    let start = tokio::time::Instant::now();
    a.ping().await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_an_answer_has_it_read_at_once() {
    let (mut a, mut b) = pair(1000);
    let start = tokio::time::Instant::now();
    for _ in 0..20 {
        b.send(Packet::text("hi")).await.unwrap();
        a.recv().await.unwrap().unwrap();
        let (receipt, received) = tokio::join!(a.call(Packet::text("answer")), b.recv());
        assert_eq!(receipt.unwrap().level, Level::Acknowledged);
        received.unwrap().unwrap();
    }
    assert!(start.elapsed() < Duration::from_millis(5), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_pinged_and_then_cut() {
    let (a, _raw) = duplex(1000);
    let limits = Limits { ping_interval: Some(Duration::from_secs(1)), ..Limits::default() };
    let mut a = over(a, Framing::Haul, limits);
    let error = a.recv().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn close_ends_within_its_deadline_and_counts_what_was_lost() {
    let (a, _raw) = duplex(10);
    let a = over(a, Framing::Lines, Limits::default());
    for _ in 0..3 {
        a.send(Packet::text("0123456789")).await.unwrap();
    }
    let error = a.close(CloseReason::NORMAL).await.unwrap_err();
    assert!(error.to_string().contains("not_flushed=3"), "{error}");
}

#[tokio::test]
async fn a_close_for_a_reason_is_answered_and_told() {
    let (a, mut b) = pair(1000);
    let (closed, end) =
        tokio::join!(soon("the close", a.close(CloseReason::new(4001, "why"))), soon("the reason", b.recv()));
    closed.unwrap();
    let error = end.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.to_string().contains("why"), "{error}");
    assert_eq!(a.state().name(), "disconnected");
}

#[tokio::test]
async fn a_delivery_that_was_read_ahead_is_received_although_its_receipt_cannot_be_given() {
    let (a, mut b) = pair(1000);
    let delivering = a.call(Packet::text("early"));
    let (answer, ()) = tokio::join!(soon("the delivery", delivering), async {
        soon("the packet to be there", async {
            while b.stats().packets_received == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        b.abort(CloseReason::INTERNAL);
    });
    assert!(answer.is_err());
    assert_eq!(soon("early", b.recv()).await.unwrap().unwrap().as_text(), Some("early"));
    assert!(soon("the end", b.recv()).await.is_err());
}

#[tokio::test]
async fn a_stream_dropped_while_it_waits_leaves_the_connection_answering() {
    let (a, b) = pair(1000);
    let (sender, receiver) = b.split();
    let mut stream = receiver.into_stream();
    std::future::poll_fn(|cx| {
        assert!(futures_core::Stream::poll_next(std::pin::Pin::new(&mut stream), cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    drop(stream);
    soon("pong", a.ping()).await.unwrap();
    drop(sender);
}
