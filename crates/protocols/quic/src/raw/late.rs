//! The first stream of a session at the end that waits for it: a link stands before its stream does.

use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use haul_core::Result;

/// The two directions of a stream that has yet to come.
pub(crate) struct Late<S, R>(Mutex<State<S, R>>);

struct State<S, R> {
    send: Half<S>,
    recv: Half<R>,
}

struct Half<T> {
    came: Option<Result<T>>,
    waker: Option<Waker>,
}

impl<S, R> Late<S, R> {
    pub(crate) fn new() -> Self {
        let send = Half { came: None, waker: None };
        let recv = Half { came: None, waker: None };
        Self(Mutex::new(State { send, recv }))
    }

    /// The stream came, or never will.
    pub(crate) fn set(&self, stream: Result<(S, R)>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (send, recv) = match stream {
            Ok((send, recv)) => (Ok(send), Ok(recv)),
            Err(why) => (Err(why.clone()), Err(why)),
        };
        let wakers = [state.send.set(send), state.recv.set(recv)];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// The sending direction; it is given once.
    pub(crate) fn poll_send(&self, cx: &Context<'_>) -> Poll<Result<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).send.poll(cx)
    }

    /// The receiving direction; it is given once.
    pub(crate) fn poll_recv(&self, cx: &Context<'_>) -> Poll<Result<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).recv.poll(cx)
    }
}

impl<T> Half<T> {
    fn set(&mut self, came: Result<T>) -> Option<Waker> {
        self.came.get_or_insert(came);
        self.waker.take()
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<T>> {
        match self.came.take() {
            Some(came) => Poll::Ready(came),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
