//! The server's side of a greeting: what becomes of a link.

use haul_core::{CloseReason, Connection, Error, ErrorKind, Link, Result};
use tokio::time::{Instant, timeout, timeout_at};

use crate::Acceptor;
use crate::handshake::{Heard, able, hear, read, refused, say, understand};
use crate::plain::{self, Begun};
use crate::table::{Claim, Turned};
use crate::wire::{Message, Refusal};

/// What a peer is told that does not greet as it should.
const NEEDED: &str = "both ends need the session layer, in one version";

/// Who came.
pub(crate) enum Greeted {
    /// A client that asks for a session.
    Session(Opening),
    /// A peer without sessions.
    Plain(Link),
}

/// A client that asked for a session.
pub(crate) struct Opening {
    pub(crate) link: Link,
    pub(crate) epoch: u64,
    pub(crate) window: u64,
    pub(crate) identity: Option<String>,
}

/// What a link began with.
enum Beginning {
    Message(Message),
    Plain(Begun),
}

impl Acceptor {
    /// What becomes of a connection: who is to be let in, or `None` where it went on with a session.
    ///
    /// Errors: `Timeout`, `Protocol`, `Unauthorized`, and the link's.
    pub(crate) async fn greet(self, connection: Connection) -> Result<Option<Greeted>> {
        let deadline = self.table.options.limits.handshake_deadline;
        let late = || Error::new(ErrorKind::Timeout, format!("no greeting within {deadline:?}"));
        timeout(deadline, self.hear_greeting(connection)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn hear_greeting(self, connection: Connection) -> Result<Option<Greeted>> {
        let mut link = connection.into_link().await?;
        if let Err(why) = able(&link.info) {
            if self.table.options.admit_plain {
                return Ok(Some(Greeted::Plain(link)));
            }
            turn_away(link, CloseReason::PROTOCOL, NEEDED).await;
            return Err(why);
        }
        say(&mut link, [Message::Hello.into_frame()]).await?;
        let mut heard = match self.hear_first(&mut link).await {
            Ok(Beginning::Plain(begun)) => return Ok(Some(Greeted::Plain(plain::link(link, begun)))),
            Ok(Beginning::Message(message)) => Ok(message),
            Err(why) => Err(why),
        };
        let mut refused_resume = None;
        loop {
            let identity = (self.identity)(&link.info);
            let (reason, text) = match heard {
                Ok(Message::Open { epoch, window }) => {
                    return Ok(Some(Greeted::Session(Opening { link, epoch, window, identity })));
                }
                // Asked once more, because of our hello.
                Ok(again @ Message::Resume { .. }) if refused_resume.as_ref() == Some(&again) => {
                    heard = hear(&mut link).await;
                    continue;
                }
                // Whoever guesses must connect again for each guess.
                Ok(Message::Resume { .. }) if refused_resume.is_some() => {
                    (Refusal::Protocol, "after a refused resume comes an open".to_owned())
                }
                Ok(resume @ Message::Resume { session, token, attempt, received }) => {
                    let claim = Claim { session, token, attempt, received, identity };
                    let Err(turned) = self.table.resume(link, &claim) else { return Ok(None) };
                    let Turned { link: back, reason, text } = *turned;
                    link = back.ok_or_else(|| refused(reason, &text))?;
                    refused_resume = Some(resume);
                    (reason, text)
                }
                Ok(_) => (Refusal::Protocol, "a client begins with open or resume".to_owned()),
                Err(why) if matches!(why.kind(), ErrorKind::Protocol | ErrorKind::Unsupported) => {
                    turn_away(link, CloseReason::PROTOCOL, NEEDED).await;
                    return Err(why);
                }
                Err(why) => return Err(why),
            };
            let why = refused(reason, &text);
            say(&mut link, [Message::Refused { reason, text: text.clone() }.into_frame()]).await?;
            if reason != Refusal::Unknown {
                turn_away(link, CloseReason::PROTOCOL, &text).await;
                return Err(why);
            }
            heard = hear(&mut link).await;
        }
    }

    /// What `link` begins with. Errors: those of [`hear`], unless peers without sessions are admitted.
    async fn hear_first(&self, link: &mut Link) -> Result<Beginning> {
        let options = &self.table.options;
        if !options.admit_plain {
            return hear(link).await.map(Beginning::Message);
        }
        let until = Instant::now() + options.patience();
        loop {
            let Ok(frame) = timeout_at(until, read(link)).await else {
                return Ok(Beginning::Plain(Begun::InSilence(options.patience())));
            };
            match understand(link, frame?).await? {
                Some(Heard::Message(message)) => return Ok(Beginning::Message(message)),
                Some(Heard::Else(frame)) => return Ok(Beginning::Plain(Begun::With(frame))),
                // A ping, or the pong of a probe that nobody sent.
                Some(Heard::Probe) | None => {}
            }
        }
    }
}

/// Closes a link with a reason, as far as the peer takes it.
pub(crate) async fn turn_away(link: Link, reason: CloseReason, text: &str) {
    let connection = Connection::new(link, crate::spawn);
    // Whether it was heard changes nothing here.
    let _ = connection.close(CloseReason::new(reason.code, text.to_owned())).await;
}
