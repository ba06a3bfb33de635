//! The roles of a service, each with the method that reads well.

use std::future::Future;

use crate::{
    Batch, Connection, Endpoint, Packet, Receipt, Receiver, Request, Response, Result, Service, Subscription,
};

/// A service that makes connections.
pub trait Dial: Service<Endpoint> {
    /// Connects to `endpoint`.
    fn dial(&self, endpoint: Endpoint) -> impl Future<Output = Result<Connection>> + Send {
        self.call(endpoint)
    }
}

impl<S: Service<Endpoint>> Dial for S {}

/// A service that delivers a packet.
pub trait Deliver: Service<Packet> {
    /// Delivers `packet` and answers how far it is known to have come.
    fn deliver(&self, packet: Packet) -> impl Future<Output = Result<Receipt>> + Send {
        self.call(packet)
    }
}

impl<S: Service<Packet>> Deliver for S {}

/// A service that delivers many packets at once.
pub trait DeliverAll: Service<Batch> {
    /// Delivers `packets` and answers one outcome for each, in the same order.
    fn deliver_all(
        &self,
        packets: impl Into<Batch>,
    ) -> impl Future<Output = Result<Vec<Result<Receipt>>>> + Send {
        self.call(packets.into())
    }
}

impl<S: Service<Batch>> DeliverAll for S {}

/// A service that answers requests.
pub trait Call: Service<Request> {
    /// Sends `request` and answers the response, whatever its status: [`Input::failure`](crate::Input::failure) says
    /// what a status means.
    fn request(&self, request: Request) -> impl Future<Output = Result<Response>> + Send {
        self.call(request)
    }
}

impl<S: Service<Request>> Call for S {}

/// A service that packets can be received from by name.
pub trait Subscribe: Service<Subscription> {
    /// Subscribes; the receiver yields what is published from then on. Dropping it ends the subscription.
    fn subscribe(&self, to: impl Into<Subscription>) -> impl Future<Output = Result<Receiver>> + Send {
        self.call(to.into())
    }
}

impl<S: Service<Subscription>> Subscribe for S {}
