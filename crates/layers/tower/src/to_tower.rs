use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use haul_core::{BoxFuture, Error, Input, Result, Service};
use tower_layer::Layer;

/// A service of haul as a `tower_service::Service`, for every input that it takes. Clones share it.
///
/// It is always ready: what must wait, waits inside the call, so `poll_ready` says nothing about load. Each call
/// allocates its future once.
pub struct ToTower<S>(Arc<S>);

impl<S> ToTower<S> {
    /// Wraps `service`.
    pub fn new(service: S) -> Self {
        Self(Arc::new(service))
    }

    /// The service of haul.
    pub fn get_ref(&self) -> &S {
        &self.0
    }
}

impl<In: Input, S: Service<In>> tower_service::Service<In> for ToTower<S> {
    type Response = In::Out;
    type Error = Error;
    type Future = BoxFuture<'static, Result<In::Out>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, input: In) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move { service.call(input).await })
    }
}

impl<S> Clone for ToTower<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> fmt::Debug for ToTower<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ToTower")
    }
}

/// Makes services of tower from services of haul: the outermost of haul's layers in a stack of tower's.
#[derive(Clone, Copy, Debug, Default)]
pub struct ToTowerLayer;

impl<S> Layer<S> for ToTowerLayer {
    type Service = ToTower<S>;

    fn layer(&self, inner: S) -> ToTower<S> {
        ToTower::new(inner)
    }
}
