//! A network that is cut, or carries in one direction only.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Clone, Copy)]
struct Weather {
    cuts: u64,
    /// Nothing comes back from the server.
    one_way: bool,
}

/// Passes connections on until they are cut.
pub(crate) struct Relay {
    pub(crate) port: u16,
    weather: watch::Sender<Weather>,
    task: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn to(port: u16) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = socket.local_addr().unwrap().port();
        let (weather, seen) = watch::channel(Weather { cuts: 0, one_way: false });
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = socket.accept().await {
                let seen = seen.clone();
                tokio::spawn(async move {
                    if let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await {
                        carry(near, far, seen).await;
                    }
                });
            }
        });
        Self { port: own, weather, task }
    }

    /// Cuts every connection; new ones are passed on, both ways.
    pub(crate) fn cut(&self) {
        self.weather.send_modify(|weather| *weather = Weather { cuts: weather.cuts + 1, one_way: false });
    }

    /// From now on nothing comes back.
    pub(crate) fn one_way(&self) {
        self.weather.send_modify(|weather| weather.one_way = true);
    }

    /// Cuts every connection, and takes no more.
    pub(crate) fn close(self) {
        self.cut();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut near: TcpStream, mut far: TcpStream, mut weather: watch::Receiver<Weather>) {
    let before = weather.borrow().cuts;
    let back = weather.clone();
    let (mut near_read, mut near_write) = near.split();
    let (mut far_read, mut far_write) = far.split();
    tokio::select! {
        _ = tokio::io::copy(&mut near_read, &mut far_write) => {}
        () = carry_back(&mut far_read, &mut near_write, back) => {}
        _ = weather.wait_for(|weather| weather.cuts > before) => {}
    }
}

async fn carry_back(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>, mut weather: watch::Receiver<Weather>) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        if weather.wait_for(|weather| !weather.one_way).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
