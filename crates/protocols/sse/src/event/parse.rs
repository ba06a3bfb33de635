//! From the lines of a block to its event: the one place that knows `eventsource-stream`.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use eventsource_stream::EventStream;
use futures_core::Stream;

use super::Event;

/// The event of a block that has data: whole lines ended by LF, an empty one last.
///
/// The library gets a line at a time: from its buffer it takes each off by copying the rest.
pub(super) fn event(block: Bytes) -> Option<Event> {
    let mut events = pin!(EventStream::new(Lines { rest: block }));
    match events.as_mut().poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(event))) => {
            let name = Some(event.event).filter(|name| name != "message");
            Some(Event { name, data: event.data.into() })
        }
        _ => None,
    }
}

struct Lines {
    rest: Bytes,
}

impl Stream for Lines {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let rest = &mut self.rest;
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        Poll::Ready((end > 0).then(|| Ok(rest.split_to(end))))
    }
}
