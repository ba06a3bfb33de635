//! Who may come back to a session, and who comes last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use haul_core::wire::{Frame, SendBuf};
use haul_core::{Connection, Packet};
use haul_mem::Mem;
use haul_session::{Acceptor, AcceptorOptions};

use crate::bare::Bare;
use crate::{Net, endpoint, next, soon};

async fn still_works(server: &mut Connection, client: &mut Bare) {
    client.say(Frame::packet(Packet::text("still here"))).await;
    assert_eq!(next(server).await.as_text(), Some("still here"));
}

#[tokio::test]
async fn a_wrong_token_is_no_session_and_one_guess_costs_one_connection() {
    let net = Net::new(AcceptorOptions::default());
    let (mut client, key) = Bare::open(&net.mem).await;
    let mut server = net.accept().await;
    let (session, token) = key.split_once(' ').unwrap();
    let wrong = match token.strip_prefix('0') {
        Some(rest) => format!("1{rest}"),
        None => format!("0{}", &token[1..]),
    };
    let mut thief = Bare::dial(&net.mem).await;
    let answer = thief.ask(&format!("resume 1 {session} {wrong} 1 0")).await;
    assert_eq!(answer, "refused unknown there is no such session");
    thief.say(Frame::Note(format!("resume 1 {session} {token} 2 0"))).await;
    let second = thief.note().await;
    assert!(second.starts_with("refused protocol"), "a second guess on one connection: {second}");
    still_works(&mut server, &mut client).await;
}

#[tokio::test]
async fn another_identity_is_unauthorized_and_the_session_goes_on_undisturbed() {
    let mem = Mem::new();
    let second = Arc::new(AtomicBool::new(false));
    let acceptor = Acceptor::new(AcceptorOptions::default()).unwrap().identified_by({
        let second = second.clone();
        move |_| Some(if second.load(Ordering::SeqCst) { "mallory" } else { "alice" }.to_owned())
    });
    let listener = acceptor.listen(vec![mem.listen(endpoint("mem://server")).unwrap()]).unwrap();
    let (mut client, key) = Bare::open(&mem).await;
    let mut server = soon("the session", listener.accept()).await.unwrap().unwrap();
    second.store(true, Ordering::SeqCst);
    let mut thief = Bare::dial(&mem).await;
    let answer = thief.ask(&format!("resume 1 {key} 1 0")).await;
    assert_eq!(answer, "refused unauthorized the session belongs to another identity");
    still_works(&mut server, &mut client).await;
    assert_eq!(server.state().name(), "connected");
    assert!(listener.stats().last_failure.is_none_or(|why| why.kind() == haul_core::ErrorKind::Unauthorized));
}

#[tokio::test]
async fn a_newer_resume_fences_the_older_link_and_an_older_resume_is_stale() {
    let net = Net::new(AcceptorOptions::default());
    let (mut first, key) = Bare::open(&net.mem).await;
    let mut server = net.accept().await;
    first.say(Frame::packet(Packet::text("one"))).await;
    assert_eq!(next(&mut server).await.as_text(), Some("one"));
    let mut newer = Bare::dial(&net.mem).await;
    assert_eq!(newer.ask(&format!("resume 1 {key} 2 0")).await, "resumed 1");
    // The old link may not even know yet.
    let mut out = SendBuf::default();
    out.push(Frame::packet(Packet::text("from the grave")), None).unwrap();
    let written = std::future::poll_fn(|cx| Poll::Ready(first.link.write.poll_write(cx, &mut out))).await;
    assert!(!matches!(written, Poll::Ready(Ok(()))), "the old link is still heard");
    let mut older = Bare::dial(&net.mem).await;
    assert_eq!(older.ask(&format!("resume 1 {key} 1 0")).await, "refused stale a later resume came before");
    newer.say(Frame::packet(Packet::text("two"))).await;
    assert_eq!(next(&mut server).await.as_text(), Some("two"));
}

#[tokio::test]
async fn a_resume_gives_exactly_what_is_lacking() {
    let net = Net::new(AcceptorOptions::default());
    let (first, key) = Bare::open(&net.mem).await;
    let server = net.accept().await;
    for number in 0..5 {
        server.send(Packet::text(number.to_string())).await.unwrap();
    }
    server.flush().await.unwrap();
    drop(first);
    let mut second = Bare::dial(&net.mem).await;
    assert_eq!(second.ask(&format!("resume 1 {key} 1 3")).await, "resumed 0");
    let mut texts = Vec::new();
    while texts.len() < 2 {
        if let Some(Frame::Packet { packet, .. }) = second.frame().await {
            texts.push(packet.as_text().unwrap().to_owned());
        }
    }
    assert_eq!(texts, ["3", "4"]);
}

#[tokio::test]
async fn a_client_that_claims_what_it_cannot_have_is_refused_and_the_session_goes_on() {
    let net = Net::new(AcceptorOptions::default());
    let (mut client, key) = Bare::open(&net.mem).await;
    let mut server = net.accept().await;
    let mut liar = Bare::dial(&net.mem).await;
    let answer = liar.ask(&format!("resume 1 {key} 1 7")).await;
    assert!(answer.starts_with("refused protocol"), "{answer}");
    still_works(&mut server, &mut client).await;
}
