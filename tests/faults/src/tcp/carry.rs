//! One connection, both ways.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::pour::{End, Pour};
use super::{Cut, Rules, TcpStats};
use crate::dice;

/// Carries until both ways have ended, or the connection is cut.
pub(super) async fn carry(
    mut near: TcpStream,
    mut far: TcpStream,
    seed: u64,
    number: u64,
    mut rules: watch::Receiver<Rules>,
    stats: &watch::Sender<TcpStats>,
) {
    for socket in [&near, &far] {
        // It would only add delays that nobody asked for.
        let _ = socket.set_nodelay(true);
    }
    let before = rules.borrow().cuts;
    let [up, down] = [0, 1].map(|way| Pour::new(dice(seed, number, way), rules.clone(), stats));
    let cut = {
        let (near_read, near_write) = near.split();
        let (far_read, far_write) = far.split();
        let both =
            async { tokio::try_join!(up.run(near_read, far_write), down.run(far_read, near_write)).err() };
        tokio::select! {
            ended = both => ended,
            told = rules.wait_for(|rules| rules.cuts != before) => told.ok().map(|rules| End::Cut(rules.how)),
        }
    };
    let Some(cut) = cut else { return };
    if let End::Cut(_) = cut {
        stats.send_modify(|stats| stats.cut += 1);
    }
    match cut {
        End::Cut(Cut::End) => end(near, far).await,
        End::Cut(Cut::Reset) | End::Lost => [&near, &far].into_iter().for_each(reset),
    }
}

/// Closing `socket` will reset it.
pub(super) fn reset(socket: &TcpStream) {
    #[expect(deprecated, reason = "a linger of zero never blocks")]
    // A socket that is gone needs no reset.
    let _ = socket.set_linger(Some(Duration::ZERO));
}

/// Ends both, and reads on: a socket closed with bytes unread would reset the other end.
async fn end(mut near: TcpStream, mut far: TcpStream) {
    let _: (io::Result<()>, io::Result<()>) = tokio::join!(near.shutdown(), far.shutdown());
    let (mut one, mut other) = (tokio::io::sink(), tokio::io::sink());
    let _ = tokio::join!(tokio::io::copy(&mut near, &mut one), tokio::io::copy(&mut far, &mut other));
}
