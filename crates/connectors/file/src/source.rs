//! The source: a file's records as packets, each with its acknowledgement.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use haul_core::{Delivery, Error, ErrorKind, Result, Source};
use tokio::task::JoinHandle;

use crate::FollowConfig;
use crate::tail::{Item, Step, Tail};
use crate::window::Window;

/// Follows a file and its rotated siblings from a checkpoint.
///
/// A packet that is refused or dropped is given again, by this source or by one that is opened later. `ack` answers
/// when the checkpoint that its packet allows is on disk; acknowledgements that wait share a write. The checkpoint
/// covers only the packets before the first that is not acknowledged.
///
/// Errors of `next` that do not end it: `Gap`, once, if the file was cut or removed while it was not read to its end;
/// `Codec` and `TooLarge`, once, for a record that is passed over; those of the operating system, each time. `None`
/// comes only without `follow`, when everything was given; a packet that is refused after that is given by a further
/// call.
pub struct FileSource {
    config: Arc<FollowConfig>,
    window: Arc<Window>,
    items: VecDeque<Item>,
    tail: Option<Tail>,
    /// A look that goes on although `next` was dropped: its outcome belongs to the next one.
    looking: Option<JoinHandle<(Tail, Result<Step>)>>,
}

impl FileSource {
    /// Opens the file. Without `follow` it must be there. Errors: `Config`, `NotFound`, `Codec` for a checkpoint that
    /// is none, and those of the operating system. What a checkpoint's missing file means is told by `next`.
    pub async fn open(config: FollowConfig) -> Result<Self> {
        config.check()?;
        let config = Arc::new(config);
        let mut source = Self {
            window: Window::new(config.checkpoint_path()),
            items: VecDeque::new(),
            tail: Some(Tail::new(config.clone())),
            looking: None,
            config,
        };
        match source.look(|tail| tail.begin().map(|()| Step::Idle)).await {
            Ok(_) => Ok(source),
            Err(why) if why.kind() == ErrorKind::NotFound && source.config.follow => Ok(source),
            Err(why) if why.kind() == ErrorKind::Gap => {
                source.told_later(why)?;
                Ok(source)
            }
            Err(why) => Err(why),
        }
    }

    /// Keeps a gap that was found on opening for the first `next`.
    fn told_later(&mut self, why: Error) -> Result<()> {
        let tail = self.tail.as_mut().ok_or_else(|| why.clone())?;
        let Some(position) = tail.position() else { return Err(why) };
        self.items.push_back(Item { found: Err(why), position });
        Ok(())
    }

    async fn look(&mut self, f: impl FnOnce(&mut Tail) -> Result<Step> + Send + 'static) -> Result<Step> {
        if let Some(mut tail) = self.tail.take() {
            self.looking = Some(tokio::task::spawn_blocking(move || {
                let step = f(&mut tail);
                (tail, step)
            }));
        }
        let ended =
            || Error::new(ErrorKind::Closed, "read a file: its reader ended; was the runtime shut down?");
        let Some(looking) = &mut self.looking else { return Err(ended()) };
        let looked = looking.await;
        self.looking = None;
        let (tail, step) = looked.map_err(|why| ended().with_source(why))?;
        self.tail = Some(tail);
        step
    }

    async fn wait(&self) {
        // Whichever comes first: a refused packet, or the time to look again.
        let _ = tokio::time::timeout(self.config.poll, self.window.changed.notified()).await;
    }
}

impl Source for FileSource {
    async fn next(&mut self) -> Result<Option<Delivery>> {
        loop {
            if let Some(again) = self.window.again() {
                return Ok(Some(again));
            }
            if self.window.len() >= self.config.max_unacked {
                self.window.changed.notified().await;
                continue;
            }
            if let Some(Item { found, position }) = self.items.pop_front() {
                match found {
                    Ok(packet) => return Ok(Some(self.window.give(packet, position))),
                    Err(why) => {
                        self.window.pass(position);
                        return Err(why);
                    }
                }
            }
            match self.look(Tail::step).await {
                Ok(Step::Items(items)) => self.items = items.into(),
                Ok(Step::Idle) => self.wait().await,
                Ok(Step::End) => return Ok(None),
                Err(why) if why.kind() == ErrorKind::NotFound && self.config.follow => self.wait().await,
                Err(why) => return Err(why),
            }
        }
    }
}

impl Drop for FileSource {
    fn drop(&mut self) {
        self.window.close();
    }
}

impl fmt::Debug for FileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSource").field("config", &self.config).finish_non_exhaustive()
    }
}
