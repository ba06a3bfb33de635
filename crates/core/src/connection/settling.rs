//! What the application has settled, for a link that wants to know.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::hub::lock;
use crate::link::OnSettled;

/// Tells a link of settled packets in the order in which they were received, whatever order they are settled in.
pub(super) struct Settling {
    told: OnSettled,
    /// There is a packet that was received and not settled: the others wait behind it.
    waiting: AtomicBool,
    behind: Mutex<Behind>,
}

/// The first packet that is not settled, and those behind it.
#[derive(Default)]
struct Behind {
    /// The number of the first.
    first: u64,
    settled: VecDeque<bool>,
    /// Behind them is one that nobody will settle.
    cut: bool,
}

impl Settling {
    pub(super) fn new(told: OnSettled) -> Self {
        Self { told, waiting: AtomicBool::new(false), behind: Mutex::default() }
    }

    pub(super) fn told(&self) -> OnSettled {
        self.told.clone()
    }

    /// The application has `count` more packets, which are settled by that.
    #[inline]
    pub(super) fn received(&self, count: u64) {
        // Only who receives sets it, and it is taken back after the last word of the others.
        if self.waiting.load(Ordering::Acquire) {
            let mut behind = lock(&self.behind);
            if !behind.cut {
                behind.settled.extend(std::iter::repeat_n(true, count as usize));
                self.tell(&mut behind);
            }
        } else {
            (self.told)(count);
        }
    }

    /// The application has one more packet, to be settled by its number, which this answers.
    pub(super) fn open(&self) -> u64 {
        let mut behind = lock(&self.behind);
        self.waiting.store(true, Ordering::Release);
        behind.settled.push_back(false);
        behind.first + behind.settled.len() as u64 - 1
    }

    /// A packet was dropped: neither it nor what comes after it is ever settled.
    pub(super) fn cut(&self) {
        let mut behind = lock(&self.behind);
        self.waiting.store(true, Ordering::Release);
        behind.cut = true;
    }

    /// The packet of this number is settled.
    pub(super) fn settle(&self, number: u64) {
        let mut behind = lock(&self.behind);
        let index = (number - behind.first) as usize;
        behind.settled[index] = true;
        self.tell(&mut behind);
    }

    fn tell(&self, behind: &mut Behind) {
        let count = behind.settled.iter().take_while(|settled| **settled).count();
        if count > 0 {
            behind.settled.drain(..count);
            behind.first += count as u64;
            (self.told)(count as u64);
        }
        if behind.settled.is_empty() && !behind.cut {
            self.waiting.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;

    fn settling() -> (Settling, Arc<AtomicU64>) {
        let told = Arc::new(AtomicU64::new(0));
        let count = told.clone();
        let settling = Settling::new(Arc::new(move |more| {
            count.fetch_add(more, Ordering::Relaxed);
        }));
        (settling, told)
    }

    #[test]
    fn what_is_settled_out_of_order_is_told_in_order() {
        let (settling, told) = settling();
        let told = || told.load(Ordering::Relaxed);
        settling.received(2);
        assert_eq!(told(), 2);
        let (first, second) = (settling.open(), settling.open());
        settling.received(3);
        settling.settle(second);
        assert_eq!(told(), 2);
        settling.settle(first);
        assert_eq!(told(), 7);
        settling.received(1);
        assert_eq!(told(), 8);
        let third = settling.open();
        settling.settle(third);
        assert_eq!(told(), 9);
    }

    #[test]
    fn what_is_never_settled_holds_back_all_behind_it() {
        let (settling, told) = settling();
        settling.open();
        settling.received(5);
        let later = settling.open();
        settling.settle(later);
        assert_eq!(told.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_came_before_a_dropped_packet_is_still_told_and_nothing_after_it_is_kept() {
        let (settling, told) = settling();
        let open = settling.open();
        settling.cut();
        settling.received(1000);
        assert_eq!(lock(&settling.behind).settled.len(), 1);
        settling.settle(open);
        settling.received(1);
        assert_eq!(told.load(Ordering::Relaxed), 1);
    }
}
