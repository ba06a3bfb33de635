//! An event stream that is asked for again when it is cut.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use haul_core::{Backoff, Body, BoxFuture, Error, ErrorKind, Response, Result, State, StateCell, Status};
use http_body::Body as _;
use tokio::time::{Instant, Sleep, sleep};

use super::{Request, open};
use crate::event::{Bounds, Item, Scanner};

/// The longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(30);

/// A stream that was open for so long was worth it: the next time, trying begins anew.
const HELD: Duration = Duration::from_secs(1);

/// The most of a server's `retry` that is heeded.
const MOST: Duration = Duration::from_secs(3600);

/// What an event stream says, over as many connections as it takes.
pub(crate) struct Events {
    request: Request,
    bounds: Bounds,
    scanner: Scanner,
    phase: Phase,
    /// The wait before coming back, as the server said last.
    retry: Duration,
    /// How long it is tried to come back.
    patience: Duration,
    /// Since when it brings nothing, and how often it was asked for since.
    since: Option<Instant>,
    fruitless: u32,
    opened: Instant,
    /// Tries since it was open.
    attempt: u32,
    state: StateCell,
    /// Events may be missing: none that was seen had an id.
    gap: bool,
}

enum Phase {
    Open(Body),
    Waiting(Pin<Box<Sleep>>),
    Opening(BoxFuture<'static, Result<Response>>),
    /// The stream has ended: cleanly, or why.
    Over(Option<Error>),
}

impl Events {
    /// The events of an answer to `request`.
    pub(crate) fn new(
        request: Request,
        bounds: Bounds,
        last_id: String,
        body: Body,
        patience: Duration,
    ) -> Self {
        Self {
            request,
            bounds,
            scanner: Scanner::new(bounds, last_id),
            phase: Phase::Open(body),
            retry: Duration::from_secs(3),
            patience,
            since: None,
            fruitless: 0,
            opened: Instant::now(),
            attempt: 0,
            state: StateCell::new(State::Connected),
            gap: false,
        }
    }

    /// The state that it moves while it comes back.
    pub(crate) fn state(&self) -> StateCell {
        self.state.clone()
    }

    pub(crate) fn last_id(&self) -> &str {
        self.scanner.last_id()
    }

    /// From now on it comes back to this session, for so long.
    pub(crate) fn belongs_to(&mut self, token: http::HeaderValue, patience: Duration) {
        self.request.token = Some(token);
        self.patience = patience;
    }

    pub(crate) fn request(&self) -> &Request {
        &self.request
    }

    /// What comes next; `None` when the peer ended the stream and nobody is to come back.
    ///
    /// Errors: `Gap` once after events may have been missed, then it goes on; those of coming back; `Codec` and
    /// `TooLarge` for what is no event stream.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Item>>> {
        loop {
            match &mut self.phase {
                Phase::Over(None) => return Poll::Ready(Ok(None)),
                Phase::Over(Some(why)) => return Poll::Ready(Err(why.clone())),
                Phase::Open(_) => {
                    if let Some(item) = self.arrived() {
                        return Poll::Ready(Ok(Some(item)));
                    }
                    let Phase::Open(body) = &mut self.phase else { continue };
                    let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
                        self.scanner.rest();
                        return Poll::Pending;
                    };
                    match frame {
                        Some(Ok(frame)) => self.scanner.push(frame.data_ref().map_or(&[], |data| &data[..])),
                        Some(Err(why)) => self.lost(Some(why)),
                        None => self.lost(None),
                    }
                }
                Phase::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    let (request, last_id) = (self.request.clone(), self.last_id().to_owned());
                    self.phase = Phase::Opening(Box::pin(open(request, last_id)));
                }
                Phase::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(response) => {
                        // It may be over already, and then stays so.
                        let _ = self.state.set(State::Connected);
                        (self.attempt, self.opened) = (0, Instant::now());
                        self.phase = Phase::Open(response.into_body());
                        if std::mem::take(&mut self.gap) {
                            let why = "the stream was cut, and its events have no ids: some may be missing";
                            return Poll::Ready(Err(Error::new(ErrorKind::Gap, why)));
                        }
                    }
                    Err(why) => self.refused(why),
                },
            }
        }
    }

    /// What has come already. What is wrong with it, the next poll says.
    pub(crate) fn arrived(&mut self) -> Option<Item> {
        while let Phase::Open(_) = self.phase {
            match self.scanner.next() {
                Ok(Some(Item::Retry(wait))) => self.retry = wait.min(MOST),
                Ok(item) => {
                    if item.is_some() {
                        (self.since, self.fruitless) = (None, 0);
                    }
                    return item;
                }
                Err(why) => self.phase = Phase::Over(Some(why)),
            }
        }
        None
    }

    /// The stream broke off, or ended.
    fn lost(&mut self, why: Option<Error>) {
        if self.patience.is_zero() {
            self.phase = Phase::Over(why);
            return;
        }
        if self.opened.elapsed() >= HELD {
            (self.since, self.fruitless) = (None, 0);
        }
        // What was not whole was not said.
        self.scanner = Scanner::new(self.bounds, self.scanner.last_id().to_owned());
        self.gap = self.last_id().is_empty();
        self.again(why.unwrap_or_else(|| Error::new(ErrorKind::Closed, "the peer ended the stream")));
    }

    /// It could not be come back to.
    fn refused(&mut self, why: Error) {
        if why.status() == Status::Transient {
            return self.again(why);
        }
        let over = Error::new(
            ErrorKind::Closed,
            format!("it was cut, and cannot be gone on with: {}", why.message()),
        );
        let facts = why.context().fold(over, |over, (key, value)| over.with(key, value.to_owned()));
        self.phase = Phase::Over(Some(facts.with_status(Status::Permanent)));
    }

    fn again(&mut self, why: Error) {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.patience {
            let doing = format!("it was cut, and tried again for {:?}", self.patience);
            self.phase = Phase::Over(Some(why.while_doing(doing)));
            return;
        }
        let backoff = Backoff { base: self.retry, factor: 2.0, cap: LONGEST.max(self.retry) };
        let wait = backoff.wait(self.fruitless, Backoff::random());
        let wait = why.retry_after().map_or(wait, |asked| wait.max(asked));
        (self.attempt, self.fruitless) = (self.attempt + 1, self.fruitless + 1);
        let _ = self.state.set(State::Reconnecting { attempt: self.attempt });
        self.phase = Phase::Waiting(Box::pin(sleep(wait.min(self.patience))));
    }
}
