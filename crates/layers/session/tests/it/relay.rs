//! A network between client and server that takes its time, and can be cut.

use std::time::Duration;

use haul_core::wire::{Frame, SendBuf};
use haul_core::{Link, ReadHalf, WriteHalf};
use haul_mem::Mem;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::endpoint;

/// Carries frames between `mem://relay` and `mem://server`.
pub(crate) struct Relay {
    cuts: watch::Sender<u64>,
    stall: watch::Sender<Duration>,
}

impl Relay {
    /// A relay on which each frame travels for `delay`.
    pub(crate) fn new(mem: &Mem, delay: Duration) -> Self {
        let listener = mem.listen(endpoint("mem://relay")).unwrap();
        let (cuts, _) = watch::channel(0);
        let (stall, stalls) = watch::channel(Duration::ZERO);
        let (mem, cut) = (mem.clone(), cuts.clone());
        tokio::spawn(async move {
            while let Ok(Some(near)) = listener.accept().await {
                let mut now = cut.subscribe();
                let (mem, stall) = (mem.clone(), *stalls.borrow());
                tokio::spawn(async move {
                    // Until then it answers pings.
                    sleep(stall).await;
                    // One that did not wait for so long.
                    let Ok(near) = near.into_link().await else { return };
                    let far = mem.dial(endpoint("mem://server")).await.unwrap().into_link().await.unwrap();
                    let (near, far) = (halves(near), halves(far));
                    tokio::select! {
                        () = carry(near.0, far.1, delay) => {}
                        () = carry(far.0, near.1, delay) => {}
                        _ = now.changed() => {}
                    }
                });
            }
        });
        Self { cuts, stall }
    }

    /// Links of later dials are there at once, and carry nothing for this long.
    pub(crate) fn stall(&self, time: Duration) {
        self.stall.send_replace(time);
    }

    /// Cuts every link that stands, with all that is on its way.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }
}

type Halves = (Box<dyn ReadHalf>, Box<dyn WriteHalf>);

fn halves(link: Link) -> Halves {
    (link.read, link.write)
}

async fn carry(mut from: Box<dyn ReadHalf>, mut to: Box<dyn WriteHalf>, delay: Duration) {
    let (on_the_way, mut arriving) = mpsc::channel::<(Instant, Frame)>(1000);
    let taking = async {
        while let Ok(Some(frame)) = std::future::poll_fn(|cx| from.poll_read(cx)).await {
            if on_the_way.send((Instant::now() + delay, frame)).await.is_err() {
                return;
            }
        }
    };
    let giving = async {
        while let Some((at, frame)) = arriving.recv().await {
            sleep_until(at).await;
            let mut out = SendBuf::default();
            out.push(frame, None).unwrap();
            if std::future::poll_fn(|cx| to.poll_write(cx, &mut out)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = taking => {}
        () = giving => {}
    }
}
