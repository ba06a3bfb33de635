#![doc = include_str!("../README.md")]
//!
//! # Replay safety, order, cancellation
//!
//! The bridges send nothing twice by themselves. Order: they go wherever the two kinds of services meet;
//! [`TowerLayer`] puts a layer of tower between two of haul. Cancel: dropping a call's future drops the call beneath.

mod from_tower;
mod to_tower;

pub use from_tower::{FromTower, FromTowerLayer};
pub use to_tower::{ToTower, ToTowerLayer};

use tower_layer::Layer;

/// A layer of tower as a layer of haul: a timeout or a concurrency limit of tower's between haul's own.
#[derive(Clone, Copy, Debug)]
pub struct TowerLayer<L>(L);

impl<L> TowerLayer<L> {
    /// Wraps `layer`, whose services must be `Clone`.
    pub fn new(layer: L) -> Self {
        Self(layer)
    }
}

impl<S, L: Layer<ToTower<S>>> Layer<S> for TowerLayer<L> {
    type Service = FromTower<L::Service>;

    fn layer(&self, inner: S) -> Self::Service {
        FromTower::new(self.0.layer(ToTower::new(inner)))
    }
}

#[cfg(test)]
mod tests;
