//! A relay that can be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Passes connections on until they are cut.
pub(crate) struct Relay {
    pub(crate) port: u16,
    target: Arc<AtomicU16>,
    cuts: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn to(port: u16) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = socket.local_addr().unwrap().port();
        let (cuts, cut) = watch::channel(0);
        let target = Arc::new(AtomicU16::new(port));
        let leads = target.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = socket.accept().await {
                let mut cut = cut.clone();
                cut.mark_unchanged();
                let port = leads.load(Relaxed);
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { port: own, target, cuts, task }
    }

    /// Cuts every connection; new ones are passed on.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts every connection, and takes no more.
    pub(crate) async fn close(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }

    /// Leads new connections to another port.
    pub(crate) fn lead_to(&self, port: u16) {
        self.target.store(port, Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
