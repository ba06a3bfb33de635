use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Mutex, PoisonError};

use haul_core::{Error, ErrorKind, Input, Result, Service, Status};
use tower_layer::Layer;

type BoxError = Box<dyn StdError + Send + Sync>;

/// A `tower_service::Service` as a service of haul. Each call takes a clone of it, waits until that is ready and
/// calls it, as tower's contract asks.
///
/// Errors: an error that is a [`haul_core::Error`], or has one among its sources, is answered as that one. Any other
/// is `Internal` with status `Transient` and `Sent::Maybe`, and the original as its source.
pub struct FromTower<T>(Mutex<T>);

impl<T> FromTower<T> {
    /// Wraps `service`. Its clones must share what is to be shared between calls, as tower's do.
    pub fn new(service: T) -> Self {
        Self(Mutex::new(service))
    }
}

impl<T: Clone> FromTower<T> {
    /// A copy of the service of tower. The lock, which makes any `Send` service shareable, is held for the copy only.
    fn copy(&self) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<In, T> Service<In> for FromTower<T>
where
    In: Input,
    T: tower_service::Service<In, Response = In::Out> + Clone + Send + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
{
    async fn call(&self, input: In) -> Result<In::Out> {
        let mut service = self.copy();
        let ready = poll_fn(|cx| service.poll_ready(cx)).await;
        ready.map_err(|why| typed::<In>(why.into()))?;
        let answer = service.call(input);
        answer.await.map_err(|why| typed::<In>(why.into()))
    }
}

/// The error of haul that `why` is or contains; otherwise one that says what kind of call failed.
fn typed<In: Input>(why: BoxError) -> Error {
    let why = match why.downcast::<Error>() {
        Ok(error) => return *error,
        Err(why) => why,
    };
    let mut cause = why.source();
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<Error>() {
            return error.clone();
        }
        cause = inner.source();
    }
    Error::new(ErrorKind::Internal, format!("{} through tower", In::ROLE))
        .with_status(Status::Transient)
        .with_source(why)
}

impl<T: Clone> Clone for FromTower<T> {
    fn clone(&self) -> Self {
        Self::new(self.copy())
    }
}

impl<T> fmt::Debug for FromTower<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromTower")
    }
}

/// Makes services of haul from services of tower: the outermost of tower's layers in a stack of haul's.
#[derive(Clone, Copy, Debug, Default)]
pub struct FromTowerLayer;

impl<T> Layer<T> for FromTowerLayer {
    type Service = FromTower<T>;

    fn layer(&self, inner: T) -> FromTower<T> {
        FromTower::new(inner)
    }
}
