//! What becomes of what is sent: refused, sent again, or counted.

use haul_core::wire::{Frame, WriteBuf, encode_prefixed};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_close_that_is_cut_dials_again_for_a_packet_with_an_id_that_the_peer_has_not_read() {
    let packet = Packet::text("with").identified();
    let mut bytes = WriteBuf::default();
    encode_prefixed(&Frame::packet(packet.clone()), &mut bytes).unwrap();
    encode_prefixed(&Frame::Close(CloseReason::NORMAL), &mut bytes).unwrap();
    // All of both is on its way when it is cut.
    let mut net = Net::new([Plan::CutAfter(bytes.len())]);
    let connection = dial(&net, ReconnectOptions::default()).await;
    connection.send(packet).await.unwrap();
    let closing = tokio::spawn(async move { connection.close(CloseReason::NORMAL).await });
    let _first = net.accept().await;
    let mut second = net.accept().await;
    assert_eq!(text(&mut second.connection).await.unwrap().unwrap(), "with");
    assert_eq!(text(&mut second.connection).await.unwrap(), None);
    soon("the close", closing).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_packet_with_an_id_is_sent_again_until_the_peer_has_it_and_is_no_part_of_a_gap() {
    let mut net = Net::new([]);
    let mut connection = dial(&net, ReconnectOptions::default()).await;
    let first = net.accept().await;
    connection.send(Packet::text("with").identified()).await.unwrap();
    connection.send(Packet::text("without")).await.unwrap();
    connection.flush().await.unwrap();
    // Nobody has read them.
    first.fuse.blow();
    assert_eq!(gap(&mut connection).await, 1);
    let mut second = net.accept().await;
    assert_eq!(text(&mut second.connection).await.unwrap().unwrap(), "with");
    connection.ping().await.unwrap();
    second.fuse.blow();
    assert_eq!(gap(&mut connection).await, 0);
    connection.send(Packet::text("next")).await.unwrap();
    let mut third = net.accept().await;
    assert_eq!(text(&mut third.connection).await.unwrap().unwrap(), "next");
}

#[tokio::test(start_paused = true)]
async fn what_the_protocol_cannot_express_is_answered_to_its_sender_and_the_connection_goes_on() {
    let mut net = Net::new([]);
    net.framing = Framing::Lines;
    let mut connection = dial(&net, ReconnectOptions::default()).await;
    let tagged = || Packet::text("x").with("name", "value");
    let mut server = net.accept().await;
    for up in [true, false] {
        let error = connection.send(tagged()).await.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Unsupported, Sent::No), "{error}");
        let error = connection.deliver(tagged()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        let error = connection.send(Packet::text("two\nlines")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
        assert!(!connection.state().is_over());
        connection.send(Packet::text("plain")).await.unwrap();
        if up {
            assert_eq!(text(&mut server.connection).await.unwrap().unwrap(), "plain");
            server.fuse.blow();
            let mut watch = connection.watch();
            while !matches!(watch.get(), State::Reconnecting { .. }) {
                soon("the cut", watch.changed()).await;
            }
        }
    }
    server = net.accept().await;
    assert_eq!(text(&mut server.connection).await.unwrap().unwrap(), "plain");
    assert_eq!(gap(&mut connection).await, 1);
}

#[tokio::test(start_paused = true)]
async fn metadata_is_refused_before_the_peer_is_known_unless_it_was_promised() {
    let mut net = Net::new([]);
    let reconnect = net.reconnect(layer(ReconnectOptions::default()));
    let tagged = || Packet::text("x").with("name", "value");
    let connection = reconnect.connect_lazy(endpoint());
    let error = connection.send(tagged()).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Unsupported, Sent::No), "{error}");
    net.accept().await;
    let mut info = Info::new("pipe", "haul.v1");
    info.metadata = true;
    let connection = reconnect.connect_lazy_as(endpoint(), info);
    connection.send(tagged()).await.unwrap();
    let mut server = net.accept().await;
    let packet = soon("the packet", server.connection.recv()).await.unwrap().unwrap();
    assert_eq!(packet.metadata().get("name"), Some("value"));
}

#[tokio::test(start_paused = true)]
async fn packets_with_ids_beyond_what_is_kept_are_counted_in_the_gap() {
    let mut net = Net::new([]);
    let options = ReconnectOptions { max_unanswered_bytes: 2000, ..ReconnectOptions::default() };
    let mut connection = dial(&net, options).await;
    let first = net.accept().await;
    for fill in 1..=5 {
        connection.send(Packet::binary(vec![fill; 900]).identified()).await.unwrap();
    }
    connection.flush().await.unwrap();
    // Nobody reads them, so no receipt comes.
    first.fuse.blow();
    assert_eq!(gap(&mut connection).await, 3);
    let mut second = net.accept().await;
    for fill in 4..=5 {
        let packet = soon("a packet", second.connection.recv()).await.unwrap().unwrap();
        assert_eq!(packet.payload()[0], fill);
    }
}

#[tokio::test(start_paused = true)]
async fn flush_delivery_and_close_say_that_a_line_was_cut_in_half() {
    let mut net = Net::new([Plan::CutAfter(10), Plan::Connect, Plan::CutAfter(20)]);
    net.framing = Framing::Lines;
    let mut connection = dial(&net, ReconnectOptions::default()).await;
    let line = || Packet::text("a line of twenty-five chr");
    connection.send(line()).await.unwrap();
    let why = soon("the flush", connection.flush()).await.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Gap, Sent::Maybe), "{why}");
    assert_eq!(gap(&mut connection).await, 1);
    let _cut = net.accept().await;

    // Once told, it is over with: what comes now arrives.
    connection.send(line()).await.unwrap();
    soon("a flush", connection.flush()).await.unwrap();
    let mut server = net.accept().await;
    assert_eq!(text(&mut server.connection).await.unwrap().unwrap(), "a line of twenty-five chr");

    server.fuse.blow();
    assert_eq!(gap(&mut connection).await, 1);
    let why = soon("the receipt", connection.deliver(line())).await.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Gap, Sent::Maybe), "{why}");
    assert_eq!(gap(&mut connection).await, 1);
    soon("a close after all was told", connection.close(CloseReason::NORMAL)).await.unwrap();

    let mut net = Net::new([Plan::CutAfter(10)]);
    net.framing = Framing::Lines;
    let connection = dial(&net, ReconnectOptions::default()).await;
    connection.send(line()).await.unwrap();
    let why = soon("the close", connection.close(CloseReason::NORMAL)).await.unwrap_err();
    assert_eq!((why.kind(), why.sent()), (ErrorKind::Gap, Sent::Maybe), "nobody was told before: {why}");
}
