//! A client without a layer.

use haul_core::Link;
use haul_core::wire::{Frame, SendBuf};
use haul_mem::Mem;

use crate::{endpoint, soon};

/// A client whose every note is written by hand.
pub(crate) struct Bare {
    pub(crate) link: Link,
}

impl Bare {
    pub(crate) async fn dial(mem: &Mem) -> Self {
        Self { link: mem.dial(endpoint("mem://server")).await.unwrap().into_link().await.unwrap() }
    }

    pub(crate) async fn say(&mut self, frame: Frame) {
        let mut out = SendBuf::default();
        out.push(frame, None).unwrap();
        std::future::poll_fn(|cx| self.link.write.poll_write(cx, &mut out)).await.unwrap();
    }

    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        let read = std::future::poll_fn(|cx| self.link.read.poll_read(cx));
        soon("a frame", read).await.ok().flatten()
    }

    /// The next note but hello and ack.
    pub(crate) async fn note(&mut self) -> String {
        loop {
            match self.frame().await {
                Some(Frame::Note(note)) if !note.starts_with("hello") && !note.starts_with("ack") => {
                    return note;
                }
                Some(Frame::Close(reason)) => return format!("closed {}", reason.code),
                Some(_) => {}
                None => return "cut".into(),
            }
        }
    }

    /// Waits for hello, and asks then: nothing is lost.
    pub(crate) async fn ask(&mut self, note: &str) -> String {
        while !matches!(self.frame().await.expect("a hello"), Frame::Note(hello) if hello == "hello 1") {}
        self.say(Frame::Note(note.to_owned())).await;
        self.note().await
    }

    /// Opens a session and answers its name and token.
    pub(crate) async fn open(mem: &Mem) -> (Self, String) {
        let mut client = Self::dial(mem).await;
        let accepted = client.ask("open 1 1 1000000").await;
        client.say(Frame::Note("ack 0".into())).await;
        let key: Vec<_> = accepted.split(' ').skip(1).take(2).collect();
        (client, key.join(" "))
    }
}
