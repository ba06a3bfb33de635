//! Dialing a name.

use haul_core::{Connection, Endpoint, Error, ErrorKind, Limits, Place, Result, Sent, Service, Status};
use tokio::sync::oneshot;

use crate::listener::{Mem, Request, name_of};
use crate::session::DEFAULT_QUEUE;

/// Dials `mem://name` in one [`Mem`]; by default in the process-wide one.
///
/// Errors: `Connect` if nobody listens on the name, `Overloaded` if the listener has its most connections, `Config` for
/// what is wrong with the endpoint. Cancelled, nothing remains.
#[derive(Clone, Debug, Default)]
pub struct Dialer {
    mem: Mem,
}

impl Dialer {
    /// Dials the names of `mem`.
    pub fn new(mem: Mem) -> Self {
        Self { mem }
    }

    async fn dial(&self, endpoint: &Endpoint) -> Result<Connection> {
        let name = name_of(endpoint)?;
        let mut known = Limits::OPTIONS.to_vec();
        known.push("queue");
        let options = endpoint.options(Place::Query, &known)?;
        let limits = Limits::from_options(&options)?;
        let queue = options.bytes("queue")?.unwrap_or(DEFAULT_QUEUE);
        let gone = || {
            Error::new(ErrorKind::Connect, format!("nobody listens on {name}"))
                .with_status(Status::Transient)
                .with_sent(Sent::No)
        };
        let door = self.mem.door(name).ok_or_else(gone)?;
        let (answer, answered) = oneshot::channel();
        let request = Request { limits, queue, answer };
        door.send(request).await.map_err(|_| gone())?;
        let link = answered.await.map_err(|_| gone())??;
        Ok(Connection::new(link, crate::spawn))
    }
}

impl Service<Endpoint> for Dialer {
    async fn call(&self, endpoint: Endpoint) -> Result<Connection> {
        self.dial(&endpoint).await.map_err(|why| why.while_doing(format_args!("dial {endpoint}")))
    }
}
