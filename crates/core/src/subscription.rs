//! The role *subscribe*: what to subscribe to; the answer is a [`Receiver`].

use crate::service::{Input, Subject};
use crate::{Packet, Receiver};

/// What to subscribe to: a topic, a method or an event by name, and its parameters, if it takes any.
///
/// What a name and its parameters mean, the service says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    name: String,
    params: Option<Packet>,
}

impl Subscription {
    /// A subscription to `name`, without parameters.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), params: None }
    }

    /// The subscription with these parameters.
    #[must_use]
    pub fn with_params(mut self, params: Packet) -> Self {
        self.params = Some(params);
        self
    }

    /// The topic, method or event.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The parameters.
    pub fn params(&self) -> Option<&Packet> {
        self.params.as_ref()
    }
}

impl From<&str> for Subscription {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for Subscription {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl Input for Subscription {
    type Out = Receiver;

    const ROLE: &'static str = "subscribe";

    fn subject(&self) -> Subject {
        Subject::Subscription(self.name.clone())
    }

    fn replay(&self) -> Option<Self> {
        Some(self.clone())
    }

    /// A subscription that nobody receives from changes nothing.
    fn idempotent(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Framing;
    use crate::{Connection, Info, Limits, Link, Service, Shared, Subscribe, Task, service_fn};

    fn over(pipe: tokio::io::DuplexStream) -> Connection {
        let (read, write) = tokio::io::split(pipe);
        let link = Link::over_stream(Info::new("pipe", ""), Limits::default(), Framing::Haul, read, write);
        Connection::new(link, |task: Task| drop(tokio::spawn(task)))
    }

    /// Answers with a receiver of one packet: the name and the parameters it was asked for.
    fn feed() -> impl Service<Subscription> {
        service_fn(|wanted: Subscription| async move {
            let (near, far) = tokio::io::duplex(4096);
            let (near, far) = (over(near), over(far));
            let params = wanted.params().and_then(Packet::as_text).unwrap_or("nothing");
            far.send(Packet::text(format!("{} {params}", wanted.name()))).await?;
            far.finish().await?;
            Ok(near.split().1)
        })
    }

    #[tokio::test]
    async fn a_receiver_answers_a_subscription() {
        let feed = Shared::new(feed());
        let wanted = Subscription::new("logs").with_params(Packet::text("all"));
        assert_eq!(wanted.subject().to_string(), "logs");
        assert_eq!(wanted.replay().as_ref(), Some(&wanted));
        let mut logs = feed.subscribe(wanted).await.unwrap();
        assert_eq!(logs.recv().await.unwrap().unwrap().as_text(), Some("logs all"));
        let mut blocks = feed.subscribe("blocks").await.unwrap();
        assert_eq!(blocks.recv().await.unwrap().unwrap().as_text(), Some("blocks nothing"));
    }
}
