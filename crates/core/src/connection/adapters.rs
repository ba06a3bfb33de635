//! The two ends as a `futures` stream and sink.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_sink::Sink;

use super::receiver::Receiver;
use super::sender::Sender;
use crate::{BoxFuture, CloseReason, Error, Packet, Result};

/// The receiving end as a stream. It ends after `None`, or after an error that is not a `Gap`.
#[derive(Debug)]
pub struct PacketStream {
    receiver: Receiver,
    ended: bool,
}

impl PacketStream {
    pub(super) fn new(receiver: Receiver) -> Self {
        Self { receiver, ended: false }
    }
}

impl Stream for PacketStream {
    type Item = Result<Packet>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Packet>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let received = ready!(self.receiver.poll_recv(cx));
        self.ended = match &received {
            Ok(packet) => packet.is_none(),
            Err(why) => why.kind() != crate::ErrorKind::Gap,
        };
        Poll::Ready(received.transpose())
    }
}

/// The sending end as a sink. `close` closes the connection.
pub struct PacketSink {
    sender: Sender,
    under_way: Option<BoxFuture<'static, Result<()>>>,
    closing: bool,
}

impl PacketSink {
    pub(super) fn new(sender: Sender) -> Self {
        Self { sender, under_way: None, closing: false }
    }

    fn poll_under_way(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(under_way) = &mut self.under_way {
            let done = ready!(under_way.as_mut().poll(cx));
            self.under_way = None;
            done?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Sink<Packet> for PacketSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_under_way(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, packet: Packet) -> Result<()> {
        let sender = self.sender.clone();
        self.under_way = Some(Box::pin(async move { sender.send(packet).await }));
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_under_way(cx))?;
        let sender = self.sender.clone();
        let flush: BoxFuture<'static, Result<()>> = Box::pin(async move { sender.flush().await });
        self.under_way = Some(flush);
        self.poll_under_way(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_under_way(cx))?;
        if !self.closing {
            self.closing = true;
            let sender = self.sender.clone();
            self.under_way = Some(Box::pin(async move { sender.close(CloseReason::NORMAL).await }));
        }
        self.poll_under_way(cx)
    }
}

impl fmt::Debug for PacketSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PacketSink").field(&self.sender).finish()
    }
}
