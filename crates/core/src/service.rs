//! One service trait: the input names the role.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::{Error, Result, Sent, Status};

/// An asynchronous function from an input to its answer, that many may call at once.
///
/// It takes `&self` and has no readiness protocol: what must wait, waits inside the call. Concurrent calls have no
/// order among them. Dropping a call's future cancels what has not been handed over; each implementation says what
/// may still happen.
pub trait Service<In: Input>: Send + Sync + 'static {
    /// Does what the input asks for.
    fn call(&self, input: In) -> impl Future<Output = Result<In::Out>> + Send;
}

/// What a layer must know of an input and of its answer.
pub trait Input: Sized + Send + 'static {
    /// The answer.
    type Out: Send + 'static;

    /// What such a call does, in one or two words: `deliver`, `dial`. It names the role in spans and metrics.
    const ROLE: &'static str = "call";

    /// What this call is about, in a form that is cheap to take before the input is given away.
    fn subject(&self) -> Subject {
        Subject::Nothing
    }

    /// Another copy to send; `None` if it can be consumed only once (a streaming body).
    fn replay(&self) -> Option<Self>;

    /// Applying it twice has the effect of applying it once.
    fn idempotent(&self) -> bool;

    /// What an `Ok` answer says about the peer: a 503, a batch with failures.
    fn failure(_out: &Self::Out) -> Option<Error> {
        None
    }

    /// The part of the input that this answer leaves undone and that may be sent again. Failures inside the answer
    /// that look transient but must not be sent again are marked [`exhausted`](Error::exhausted) in it.
    fn rest(self, _out: &mut Self::Out) -> Option<Self> {
        None
    }

    /// A later answer for the rest, joined to the first (a batch fills its open positions).
    fn join(_first: Self::Out, later: Result<Self::Out>) -> Result<Self::Out> {
        later
    }

    /// Marks failures inside an answer as of what may have been sent, by an earlier try.
    fn heard(_out: &mut Self::Out) {}

    /// The answer after the last try: an outer retry leaves alone what it left undone.
    fn exhausted(answer: Result<Self::Out>) -> Result<Self::Out> {
        answer.map_err(Error::exhausted)
    }

    /// What is still to do after `answer` and may be tried again, and why it is not done: for an error the whole
    /// input if that is safe, for an answer its [`rest`](Self::rest).
    fn unfinished(self, answer: &mut Result<Self::Out>) -> Option<(Self, Error)> {
        match answer {
            Err(why) => {
                let safe = why.sent() == Sent::No || self.idempotent();
                (why.status() == Status::Transient && safe).then(|| (self, why.clone()))
            }
            Ok(out) => {
                let why = Self::failure(out).filter(|why| why.status() == Status::Transient)?;
                Some((self.rest(out)?, why))
            }
        }
    }

    /// Undoes [`exhausted`](Self::exhausted) inside an answer: what was tried often enough at one peer is open to
    /// another.
    fn reopen(_out: &mut Self::Out) {}

    /// What is still to do after `answer` and may be tried at another peer, and why it is not done: as
    /// [`unfinished`](Self::unfinished), and what was tried often enough at this one. Then the answer is left so that
    /// [`join`](Self::join) can fill it.
    fn elsewhere(self, answer: &mut Result<Self::Out>) -> Option<(Self, Error)> {
        match answer {
            Err(why) => {
                let safe = why.sent() == Sent::No || self.idempotent();
                if why.status() == Status::Permanent || !safe {
                    return None;
                }
                *why = why.clone().with_status(Status::Transient);
                Some((self, why.clone()))
            }
            Ok(out) => {
                Self::reopen(out);
                self.unfinished(answer)
            }
        }
    }
}

/// What a call is about. Displayed, it goes after the role: `dial tcp://host:9000`, `deliver 64 bytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// Nothing that could be said cheaply.
    Nothing,
    /// An endpoint; displayed without its password.
    Endpoint(crate::Endpoint),
    /// A packet with a payload of so many bytes.
    Bytes(usize),
    /// So many packets.
    Packets(usize),
    /// A request; displayed without user, password and query.
    Request(http::Method, http::Uri),
    /// The name that is subscribed to.
    Subscription(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Endpoint(endpoint) => endpoint.fmt(f),
            Self::Bytes(bytes) => write!(f, "{bytes} bytes"),
            Self::Packets(packets) => write!(f, "{packets} packets"),
            Self::Request(method, uri) => {
                write!(f, "{method} ")?;
                if let Some(scheme) = uri.scheme_str() {
                    write!(f, "{scheme}://")?;
                }
                let authority = uri.authority().map_or("", |authority| authority.as_str());
                f.write_str(authority.rsplit('@').next().unwrap_or_default())?;
                f.write_str(uri.path())
            }
            Self::Subscription(name) => f.write_str(name),
        }
    }
}

/// A clonable service of any type: the form that registries, configurations and stacks hold.
///
/// Each call through it allocates its future once.
pub struct Shared<In: Input>(Arc<dyn Erased<In>>);

type Answer<'a, Out> = Pin<Box<dyn Future<Output = Result<Out>> + Send + 'a>>;

trait Erased<In: Input>: Send + Sync {
    fn call_boxed(&self, input: In) -> Answer<'_, In::Out>;
}

impl<In: Input, S: Service<In>> Erased<In> for S {
    fn call_boxed(&self, input: In) -> Answer<'_, In::Out> {
        Box::pin(self.call(input))
    }
}

impl<In: Input> Shared<In> {
    /// Erases the type of `service`.
    pub fn new(service: impl Service<In>) -> Self {
        Self(Arc::new(service))
    }
}

impl<In: Input> Service<In> for Shared<In> {
    fn call(&self, input: In) -> impl Future<Output = Result<In::Out>> + Send {
        self.0.call_boxed(input)
    }
}

impl<In: Input, S: Service<In>> Service<In> for Arc<S> {
    fn call(&self, input: In) -> impl Future<Output = Result<In::Out>> + Send {
        S::call(self, input)
    }
}

impl<In: Input> Clone for Shared<In> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<In: Input> fmt::Debug for Shared<In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

/// The service that calls `f`.
pub fn service_fn<In, F, Fut>(f: F) -> ServiceFn<F>
where
    In: Input,
    F: Fn(In) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<In::Out>> + Send,
{
    ServiceFn(f)
}

/// See [`service_fn`].
#[derive(Clone, Copy, Debug)]
pub struct ServiceFn<F>(F);

impl<In, F, Fut> Service<In> for ServiceFn<F>
where
    In: Input,
    F: Fn(In) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<In::Out>> + Send,
{
    fn call(&self, input: In) -> impl Future<Output = Result<In::Out>> + Send {
        (self.0)(input)
    }
}
