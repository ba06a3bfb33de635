//! Links taken back from a connection, and what they are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// A connection over a link that gives `frames`, and reads on forever after them.
fn giving(frames: Vec<Frame>) -> (Connection, Arc<AtomicU64>) {
    let received = Arc::new(AtomicU64::new(0));
    let read = Giving(frames.into_iter());
    let count = received.clone();
    let link = Link::new(Info::new("list", ""), read, StreamWrite::new(tokio::io::sink()))
        .with_encoder(StreamEncoder::new(Framing::Haul))
        .with_on_settled(move |more| {
            count.fetch_add(more, Ordering::SeqCst);
        });
    (Connection::new(link, spawn), received)
}

struct Giving(std::vec::IntoIter<Frame>);

impl ReadHalf for Giving {
    fn poll_read(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        self.0.next().map_or(Poll::Pending, |frame| Poll::Ready(Ok(Some(frame))))
    }

    fn take_arrived(&mut self, packets: &mut Vec<Packet>, most: usize) {
        for _ in 0..most {
            let Some(Frame::Packet { packet, receipt: false }) = self.0.as_slice().first().cloned() else {
                return;
            };
            self.0.next();
            packets.push(packet);
        }
    }
}

fn packet(text: &str) -> Frame {
    Frame::packet(Packet::text(text.to_owned()))
}

/// Waits until the driver has read that many packets ahead.
async fn read_ahead(connection: &Connection, packets: u64) {
    soon("the driver to read ahead", async {
        while connection.stats().packets_received < packets {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

async fn frames(link: &mut Link, count: usize) -> Vec<String> {
    let mut frames = Vec::new();
    for _ in 0..count {
        let read = std::future::poll_fn(|cx| link.read.poll_read(cx));
        frames.push(match soon("a frame", read).await.unwrap().unwrap() {
            Frame::Packet { packet, receipt } => format!("{} {receipt}", packet.as_text().unwrap()),
            other => format!("{other:?}"),
        });
    }
    frames
}

#[tokio::test(start_paused = true)]
async fn a_link_taken_back_keeps_its_first_notes_and_its_end_in_their_places() {
    let note = |text: &str| Frame::Note(text.to_owned());
    let wanted = Frame::Packet { packet: Packet::text("two").identified(), receipt: true };
    let all = vec![note("a"), packet("one"), note("b"), wanted, Frame::Finish];
    let (connection, _) = giving(all);
    read_ahead(&connection, 2).await;
    let mut link = connection.into_link().await.unwrap();
    let want = ["Note(\"a\")", "one false", "Note(\"b\")", "two true", "Finish"];
    assert_eq!(frames(&mut link, 5).await, want);
}

#[tokio::test(start_paused = true)]
async fn few_notes_are_kept_and_none_for_an_application_that_receives() {
    let notes = (0..100).map(|number| Frame::Note(number.to_string()));
    let (connection, _) = giving(notes.chain([packet("one")]).collect());
    read_ahead(&connection, 1).await;
    let mut link = connection.into_link().await.unwrap();
    let kept = frames(&mut link, 9).await;
    assert_eq!((kept[7].as_str(), kept[8].as_str()), ("Note(\"7\")", "one false"));

    let (mut connection, _) = giving(vec![Frame::Note("a".into()), packet("one"), packet("two")]);
    read_ahead(&connection, 2).await;
    assert_eq!(soon("one", connection.recv()).await.unwrap().unwrap().as_text(), Some("one"));
    assert_eq!(soon("two", connection.recv()).await.unwrap().unwrap().as_text(), Some("two"));
}

#[tokio::test(start_paused = true)]
async fn a_link_is_told_what_was_settled_and_not_what_was_read_ahead() {
    let (mut connection, received) = giving((0..10).map(|_| packet("one")).collect());
    let told = || received.load(Ordering::SeqCst);
    read_ahead(&connection, 10).await;
    assert_eq!(told(), 0);
    connection.recv().await.unwrap().unwrap();
    let unanswered = connection.next().await.unwrap().unwrap();
    let mut some = Vec::new();
    assert_eq!(connection.recv_many(&mut some, 3).await.unwrap(), 3);
    assert_eq!((told(), unanswered.is_awaited()), (1, false), "the others wait for the one before them");
    unanswered.ack(Receipt::new(Level::Stored, None)).await.unwrap();
    assert_eq!(told(), 5);
    let link = connection.into_link().await.unwrap();
    assert_eq!(told(), 5, "what goes back to the link was not received");
    let mut again = Connection::new(link, spawn);
    again.recv().await.unwrap().unwrap();
    assert_eq!(told(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_link_is_told_one_by_one_of_what_came_together_and_never_of_what_is_discarded() {
    let (mut connection, received) = giving((0..10).map(|_| packet("one")).collect());
    let told = || received.load(Ordering::SeqCst);
    for number in 1..4 {
        // The first brings all the others with it.
        connection.recv().await.unwrap().unwrap();
        assert_eq!((told(), connection.stats().packets_received), (number, 10));
    }
    let (sender, receiver) = connection.split();
    drop(receiver);
    assert_eq!((told(), sender.stats().packets_discarded), (3, 7));

    let (connection, received) = giving((0..10).map(|_| packet("one")).collect());
    let (sender, receiver) = connection.split();
    drop(receiver);
    soon("the discards", async {
        while sender.stats().packets_discarded < 10 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert_eq!(received.load(Ordering::SeqCst), 0);
}
