//! What stands between a dialer and a listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::net::UdpSocket;
use tokio::sync::Notify;

/// Passes datagrams on, and does what it is told; it ends with the test.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    orders: Arc<Orders>,
}

#[derive(Default)]
struct Orders {
    /// Of so many datagrams to the listener, one is lost; 0 loses none.
    one_in: AtomicU64,
    /// Nothing goes back to the dialer.
    mute: AtomicBool,
    forget: Notify,
}

impl Relay {
    /// Before `server`.
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let inside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (address, orders) = (inside.local_addr().unwrap(), Arc::new(Orders::default()));
        tokio::spawn(pass(inside, server, orders.clone()));
        Self { address, orders }
    }

    /// Goes on from a new socket, as a NAT does that has forgotten.
    pub(crate) fn forget(&self) {
        self.orders.forget.notify_one();
    }

    /// Loses one in `one_in` datagrams to the listener.
    pub(crate) fn lose(&self, one_in: u64) {
        self.orders.one_in.store(one_in, Ordering::Relaxed);
    }

    /// Lets nothing back to the dialer, or all.
    pub(crate) fn mute(&self, mute: bool) {
        self.orders.mute.store(mute, Ordering::Relaxed);
    }
}

async fn pass(inside: UdpSocket, server: SocketAddr, orders: Arc<Orders>) {
    let mut outside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (mut client, mut count) = (None, 0_u64);
    let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
    loop {
        tokio::select! {
            Ok((len, from)) = inside.recv_from(&mut up) => {
                // An empty one only asks whether anybody is there.
                if len == 0 {
                    continue;
                }
                client = Some(from);
                count += 1;
                let one_in = orders.one_in.load(Ordering::Relaxed);
                if one_in == 0 || !count.is_multiple_of(one_in) {
                    outside.send_to(&up[..len], server).await.unwrap();
                }
            }
            Ok((len, _)) = outside.recv_from(&mut down) => {
                if !orders.mute.load(Ordering::Relaxed) {
                    inside.send_to(&down[..len], client.unwrap()).await.unwrap();
                }
            }
            () = orders.forget.notified() => outside = UdpSocket::bind("127.0.0.1:0").await.unwrap(),
        }
    }
}
