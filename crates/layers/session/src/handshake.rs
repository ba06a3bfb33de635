//! Greetings: notes said and heard on a link before it belongs to a session.

use std::future::poll_fn;
use std::task::ready;
use std::time::Duration;

use bytes::Bytes;
use haul_core::wire::{Frame, SendBuf};
use haul_core::{Error, ErrorKind, Info, Link, Result, Sent, Status};

use tokio::time::timeout;

use crate::wire::{Message, Refusal};

/// What a client asks with: a peer that answers it and does not greet knows no sessions.
const PROBE: &[u8] = b"haul session";

/// How long a peer that answers pings may take to greet, if it is not known to have sessions.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the session is over")
}

/// Whether a link can carry a session. Errors: `Unsupported`, with what to do.
pub(crate) fn able(info: &Info) -> Result<()> {
    let lacks = match info {
        info if info.datagrams_only => "it carries datagrams only",
        info if !(info.receipts && info.metadata && info.kinds) => "it is not framed as haul.v1",
        _ => return Ok(()),
    };
    let message = format!(
        "a session over {} {}: {lacks}; leave out the framing or subprotocol option, or use reconnect",
        info.protocol, info.peer
    );
    Err(Error::new(ErrorKind::Unsupported, message))
}

/// Says `frames` and flushes them. Not cancel-safe: drop the link with the future.
pub(crate) async fn say(link: &mut Link, frames: impl IntoIterator<Item = Frame>) -> Result<()> {
    let mut out = SendBuf::default();
    for frame in frames {
        out.push(frame, link.encoder.as_deref_mut())?;
    }
    poll_fn(|cx| {
        if !out.is_empty() {
            ready!(link.write.poll_write(cx, &mut out))?;
        }
        link.write.poll_flush(cx)
    })
    .await
}

/// What was heard.
pub(crate) enum Heard {
    Message(Message),
    /// Whoever answers pings has answered the probe.
    Probe,
    /// No word of a session: a packet, a close; `None` for the end of the stream.
    Else(Option<Frame>),
}

/// Asks with `question` and hears the answer.
///
/// Until both ends have taken their links out of core's hands, a note may get lost there; so a server says hello when it
/// hears, and the question is asked again then. Errors: `Unsupported` if the peer answers pings and does not greet within
/// `patience`, and those of [`hear`].
pub(crate) async fn ask(link: &mut Link, question: Message, patience: Option<Duration>) -> Result<Message> {
    let probe = Frame::Ping(Bytes::from_static(PROBE));
    say(link, [question.clone().into_frame(), probe]).await?;
    let mut answers_pings = false;
    loop {
        let heard = match patience.filter(|_| answers_pings) {
            None => hear_any(link).await?,
            Some(patience) => {
                timeout(patience, hear_any(link)).await.unwrap_or_else(|_| Err(no_sessions()))?
            }
        };
        match heard {
            Heard::Message(Message::Hello) => say(link, [question.clone().into_frame()]).await?,
            Heard::Message(answer) => return Ok(answer),
            Heard::Probe => answers_pings = true,
            Heard::Else(frame) => return Err(no_greeting(frame)),
        }
    }
}

fn no_sessions() -> Error {
    let message =
        "the peer does not speak sessions: put session::Acceptor around its listener, or use reconnect here";
    Error::new(ErrorKind::Unsupported, message)
}

/// The next message, pings apart. Errors: `Protocol` if the peer says anything else, and the link's.
pub(crate) async fn hear(link: &mut Link) -> Result<Message> {
    loop {
        match hear_any(link).await? {
            Heard::Message(message) => return Ok(message),
            Heard::Probe => {}
            Heard::Else(frame) => return Err(no_greeting(frame)),
        }
    }
}

async fn hear_any(link: &mut Link) -> Result<Heard> {
    loop {
        let frame = read(link).await?;
        if let Some(heard) = understand(link, frame).await? {
            return Ok(heard);
        }
    }
}

/// The next frame of any kind. Cancel-safe.
pub(crate) async fn read(link: &mut Link) -> Result<Option<Frame>> {
    poll_fn(|cx| link.read.poll_read(cx)).await
}

/// What `frame` means before a session stands; `None` for pings and pongs, which are seen to. Not cancel-safe, as
/// [`say`].
pub(crate) async fn understand(link: &mut Link, frame: Option<Frame>) -> Result<Option<Heard>> {
    match frame {
        Some(Frame::Note(note)) => return Message::parse(&note).map(|message| Some(Heard::Message(message))),
        // Who asks knows by our greeting.
        Some(Frame::Ping(payload)) if payload == PROBE => {}
        Some(Frame::Ping(payload)) => say(link, [Frame::Pong(payload)]).await?,
        Some(Frame::Pong(payload)) if payload == PROBE => return Ok(Some(Heard::Probe)),
        Some(Frame::Pong(_)) => {}
        other => return Ok(Some(Heard::Else(other))),
    }
    Ok(None)
}

/// The error of a peer that began with something else than a greeting.
fn no_greeting(frame: Option<Frame>) -> Error {
    match frame {
        None => Error::new(ErrorKind::Closed, "the peer ended the stream"),
        Some(Frame::Close(reason)) => {
            let message = format!("the peer closed instead of greeting: {reason}");
            Error::new(ErrorKind::Closed, message).with("code", reason.code)
        }
        Some(_) => Error::new(
            ErrorKind::Protocol,
            "the peer began without greeting: both ends need the session layer, or neither",
        ),
    }
}

/// The error of a refusal.
pub(crate) fn refused(reason: Refusal, text: &str) -> Error {
    let (kind, status) = match reason {
        Refusal::Unauthorized => (ErrorKind::Unauthorized, Status::Permanent),
        Refusal::Overloaded => (ErrorKind::Overloaded, Status::Transient),
        Refusal::Protocol => (ErrorKind::Protocol, Status::Permanent),
        Refusal::Unknown | Refusal::Stale => (ErrorKind::Rejected, Status::Transient),
    };
    Error::new(kind, format!("the session was refused: {text}")).with_status(status).with_sent(Sent::No)
}
