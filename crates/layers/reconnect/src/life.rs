//! The life of the connection: links come and are cut, until it is over.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use haul_core::wire::Frame;
use haul_core::{BoxFuture, CloseReason, Error, ErrorKind, Info, Link, ReadHalf, Result, State, Status};
use tokio::time::Sleep;

use crate::course::{Course, Dialed, Streak};
use crate::intake::Intake;
use crate::unanswered::Unanswered;
use crate::up::Up;

pub(crate) struct Core {
    pub(crate) phase: Phase,
    pub(crate) course: Arc<Course>,
    /// The abilities that the connection was made with; a new link must have them too.
    info: Info,
    /// Counts the links.
    pub(crate) epoch: u64,
    /// The reading half of a new link, until the reader fetches it.
    fresh: Option<Box<dyn ReadHalf>>,
    /// Told to the reader before anything of the new link, and how many packets it counts.
    gap: Option<(Error, u64)>,
    /// Frames of our own making for the reader.
    pub(crate) inbound: VecDeque<Frame>,
    pub(crate) intake: Intake,
    /// Bytes at the front of the connection's buffer whose frames are in the backlog by now.
    pub(crate) skip: usize,
    /// Frames to be sent before anything new.
    pub(crate) backlog: VecDeque<Frame>,
    pub(crate) unanswered: Unanswered,
    pub(crate) max_unanswered: usize,
    streak: Streak,
    /// Why the last link was cut, and how many of our packets may be lost with it.
    cut: Option<(Error, u64)>,
    /// For the writer to tell: packets that were not flushed were lost with a link.
    pub(crate) given_up: Option<Error>,
    /// A write failed.
    pub(crate) broken: Option<(Error, Pin<Box<Sleep>>)>,
    pub(crate) said: Said,
    /// The peer said its last word: a cut is the end.
    peer_done: bool,
}

/// What was given to a link of our last words.
#[derive(Default)]
pub(crate) struct Said {
    close: Option<CloseReason>,
    /// The end of our direction.
    pub(crate) finish: bool,
}

impl Said {
    pub(crate) fn note(&mut self, frame: &Frame) {
        match frame {
            Frame::Close(reason) => self.close = Some(reason.clone()),
            Frame::Finish => self.finish = true,
            _ => {}
        }
    }
}

pub(crate) enum Phase {
    /// No link: waiting, or dialing.
    Down(BoxFuture<'static, Dialed>),
    Up(Box<Up>),
    /// Closed, or failed for this reason.
    Over(Option<Error>),
}

impl Core {
    pub(crate) fn new(course: Arc<Course>, info: Info, max_unanswered: usize, intake: Intake) -> Self {
        Self {
            phase: Phase::Down(Box::pin(course.clone().run(Streak::default(), false, None))),
            course,
            info,
            epoch: 0,
            fresh: None,
            gap: None,
            inbound: VecDeque::new(),
            intake,
            skip: 0,
            backlog: VecDeque::new(),
            unanswered: Unanswered::default(),
            max_unanswered,
            streak: Streak::default(),
            cut: None,
            given_up: None,
            broken: None,
            said: Said::default(),
            peer_done: false,
        }
    }

    /// Starts with a link that stands.
    pub(crate) fn begin(&mut self, link: Link) {
        self.install(Dialed { link: Ok(link), streak: Streak::default(), tries: 1 });
    }

    pub(crate) fn install(&mut self, dialed: Dialed) {
        self.streak = dialed.streak;
        let first = self.epoch == 0;
        let link = match dialed.link.and_then(|link| self.check(link)) {
            Ok(link) => link,
            Err(why) => {
                let lost = self.cut.take().map_or(0, |(_, lost)| lost);
                let why = if lost > 0 { why.with("ours_maybe_lost", lost) } else { why };
                self.phase = Phase::Over(Some(why));
                return;
            }
        };
        self.epoch += 1;
        if !first && let Some((why, lost)) = self.cut.take() {
            let message = format!(
                "reconnected to {} after {} tries: what it sent meanwhile is unknown",
                self.course.endpoint, dialed.tries
            );
            let gap = Error::new(ErrorKind::Gap, message).with("ours_maybe_lost", lost);
            self.gap = Some((gap.with_source(why), lost));
        }
        let (up, read) = Up::new(link, self.epoch, &self.intake);
        self.fresh = Some(read);
        self.phase = Phase::Up(Box::new(up));
        // A close of ours may have moved the state on already.
        let _ = self.course.state.set(State::Connected);
    }

    /// Refuses a link that cannot do what the connection promised.
    fn check(&self, link: Link) -> Result<Link> {
        let (old, new) = (&self.info, &link.info);
        let lacks = [
            ("receipts", old.receipts && !new.receipts),
            ("metadata", old.metadata && !new.metadata),
            ("kinds of packets", old.kinds && !new.kinds),
            ("reliable packets", !old.datagrams_only && new.datagrams_only),
        ];
        match lacks.into_iter().find(|(_, lacks)| *lacks) {
            None => Ok(link),
            Some((what, _)) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("reconnected to {}: the peer no longer does {what}", self.course.endpoint),
            )),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up(_))
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.said.close.is_some()
    }

    pub(crate) fn push(&mut self, frame: Frame) {
        self.backlog.push_back(frame);
    }

    /// The reading half of a new link, and the gap before it.
    pub(crate) fn take_fresh(&mut self) -> (Option<Box<dyn ReadHalf>>, Option<Error>) {
        (self.fresh.take(), self.gap.take().map(|(gap, _)| gap))
    }

    /// The peer said its last word on this connection.
    pub(crate) fn peer_done(&mut self) {
        self.peer_done = true;
        if matches!(self.phase, Phase::Down(_)) {
            let why = || Error::new(ErrorKind::Closed, "the peer closed before all was sent");
            self.phase = Phase::Over(self.backlog.iter().any(is_packet).then(why));
        }
    }

    /// Whether a link of this epoch still stands, and no write on it failed.
    pub(crate) fn stands(&self, epoch: u64) -> bool {
        self.epoch == epoch && matches!(self.phase, Phase::Up(_)) && self.broken.is_none()
    }

    /// Whether there is nothing that another link would be dialed for, but a close.
    pub(crate) fn only_closes(&self) -> bool {
        (self.is_closing() || self.intake.closes())
            && self.backlog.iter().all(|frame| matches!(frame, Frame::Close(_)))
    }

    pub(crate) fn cut_if_broken(&mut self) {
        if let Some((why, _)) = &self.broken {
            self.cut(self.epoch, why.clone());
        }
    }

    /// The link of `epoch` was cut: dials again, unless that was the end.
    pub(crate) fn cut(&mut self, epoch: u64, why: Error) {
        if epoch != self.epoch || !matches!(self.phase, Phase::Up(_)) {
            return;
        }
        let why = self.broken.take().map_or(why, |(broken, _)| broken);
        let Phase::Up(up) = std::mem::replace(&mut self.phase, Phase::Over(None)) else {
            return;
        };
        self.fresh = None;
        if up.since.elapsed() >= self.course.options.stable_after {
            self.streak = Streak::default();
        }
        let remains = up.remains();
        self.skip += remains.lent;
        if remains.given_up > 0 {
            let message = format!("the link was cut with {} packets half sent", remains.given_up);
            let gap = Error::new(ErrorKind::Gap, message).with_status(Status::Transient);
            self.given_up = Some(gap.with_source(why.clone()));
        }
        let unsent = remains.unflushed || self.backlog.iter().any(is_packet);
        if self.peer_done {
            self.phase = Phase::Over(unsent.then_some(why));
            return;
        }
        if self.is_closing() && !unsent && self.unanswered.is_empty() {
            return;
        }
        // What the reader was not told of in time is told with the next gap.
        let untold = self.gap.take().map_or(0, |(_, lost)| lost);
        let lost = untold + remains.unproved;
        let rest = std::mem::take(&mut self.backlog);
        self.backlog = self.unanswered.take().chain(remains.kept).chain(rest).collect();
        self.say_again();
        self.cut = Some((why.clone(), lost));
        self.phase = Phase::Down(Box::pin(self.course.clone().run(self.streak, true, Some(why))));
    }

    /// The last words that were given to a link are said to the next one too.
    fn say_again(&mut self) {
        let last = match &self.said {
            Said { close: Some(reason), .. } => Frame::Close(reason.clone()),
            Said { finish: true, .. } => Frame::Finish,
            _ => return,
        };
        let is_it = |frame: &Frame| std::mem::discriminant(frame) == std::mem::discriminant(&last);
        if !self.backlog.iter().any(is_it) {
            self.backlog.push_back(last);
        }
    }
}

pub(crate) fn is_packet(frame: &Frame) -> bool {
    matches!(frame, Frame::Packet { .. })
}
