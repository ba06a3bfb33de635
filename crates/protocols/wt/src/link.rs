//! A WebTransport session as what streams stand on.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Buf, Bytes};
use haul_core::{CloseReason, Error, ErrorKind, Result};
use haul_quic::raw::{Transport, failure, varint};
use quinn::{ConnectionError, RecvStream, SendStream, VarInt};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::h3::{self, Connect, Http3};

/// What begins a stream of the session (draft-ietf-webtrans-http3 section 4.2 and 4.3).
const UNI: u64 = 0x54;
const BI: u64 = 0x41;

/// How long a peer may take to notice that the session is closed.
const FAREWELL: Duration = Duration::from_secs(2);

/// A session that was agreed on.
pub(crate) struct Wt {
    http3: Http3,
    id: u64,
    /// What stands before each of its datagrams: its quarter stream id (RFC 9297 section 2.1).
    prefix: Vec<u8>,
    over: Arc<Over>,
    goodbye: watch::Sender<Option<CloseReason>>,
    /// Kept as long as the connection, where it was dialed.
    _endpoint: Option<Arc<quinn::Endpoint>>,
}

/// What the peer said when it closed the session, and whether it did.
#[derive(Default)]
struct Over {
    why: OnceLock<Error>,
    said: tokio::sync::Notify,
}

impl Over {
    fn set(&self, why: Error) {
        // The first word counts.
        let _ = self.why.set(why);
        self.said.notify_waiters();
    }

    async fn wait(&self) -> Error {
        loop {
            let said = self.said.notified();
            if let Some(why) = self.why.get() {
                return why.clone();
            }
            said.await;
        }
    }
}

impl Wt {
    pub(crate) fn new(mut http3: Http3, stream: Connect, endpoint: Option<Arc<quinn::Endpoint>>) -> Self {
        let Connect { send, recv, .. } = stream;
        let id = h3::number(&recv);
        let mut prefix = Vec::new();
        varint::put(id / 4, &mut prefix);
        http3.agreed = true;
        let over = Arc::new(Over::default());
        let (goodbye, said) = watch::channel(None);
        tokio::spawn(watch_over(http3.quic.clone(), send, recv, over.clone(), said));
        Self { http3, id, prefix, over, goodbye, _endpoint: endpoint }
    }

    /// The quinn connection beneath.
    fn connection(&self) -> &quinn::Connection {
        &self.http3.quic
    }

    /// `work`, unless the session ends before.
    async fn unless_over<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            why = self.over.wait() => Err(why),
            done = work => done,
        }
    }

    fn head(&self, kind: u64) -> Vec<u8> {
        let mut head = Vec::with_capacity(16);
        varint::put(kind, &mut head);
        varint::put(self.id, &mut head);
        head
    }
}

/// Stays with the CONNECT stream: hears the peer's goodbye, says ours.
async fn watch_over(
    quic: quinn::Connection,
    mut send: SendStream,
    mut recv: RecvStream,
    over: Arc<Over>,
    mut goodbye: watch::Receiver<Option<CloseReason>>,
) {
    let ours = async {
        let said = goodbye.wait_for(Option::is_some).await;
        said.ok().and_then(|reason| reason.clone()).unwrap_or(CloseReason::NORMAL)
    };
    tokio::select! {
        told = h3::closed(&mut recv) => {
            over.set(match (told, quic.close_reason()) {
                (Some((code, text)), _) => failure::closed(code.into(), &text),
                (None, Some(why)) => failure::lost(&why),
                // The end of the stream alone closes the session too (draft-ietf-webtrans-http3 section 6).
                (None, None) => failure::closed(0_u32.into(), ""),
            });
            // Whoever says goodbye first closes the connection; a browser does not.
            let _ = timeout(FAREWELL, quic.closed()).await;
            quic.close(failure::webtransport(CloseReason::NORMAL.code), b"");
        }
        reason = ours => {
            over.set(Error::new(ErrorKind::Closed, "the session is closed"));
            let said = async {
                send.write_all(&h3::close_capsule(reason.code.into(), &reason.message)).await.ok()?;
                send.finish().ok()?;
                send.stopped().await.ok()
            };
            let _ = timeout(FAREWELL, said).await;
            quic.close(failure::webtransport(reason.code), reason.message.as_bytes());
        }
    }
}

impl Transport for Wt {
    type Send = SendStream;
    type Recv = RecvStream;

    fn quic(&self) -> &quinn::Connection {
        self.connection()
    }

    async fn open_bi(&self) -> Result<(SendStream, RecvStream)> {
        self.unless_over(async {
            let (mut send, recv) = self.connection().open_bi().await.map_err(|why| self.lost(&why))?;
            send.write_all(&self.head(BI)).await.map_err(h3::broken)?;
            Ok((send, recv))
        })
        .await
    }

    async fn open_uni(&self) -> Result<SendStream> {
        self.unless_over(async {
            let mut send = self.connection().open_uni().await.map_err(|why| self.lost(&why))?;
            send.write_all(&self.head(UNI)).await.map_err(h3::broken)?;
            Ok(send)
        })
        .await
    }

    async fn accept_bi(&self) -> Result<(SendStream, RecvStream)> {
        self.unless_over(async {
            loop {
                let next = self.http3.bi.lock().await.recv().await;
                let (session, send, recv) = *next.ok_or_else(|| self.http3.lost())?;
                if session == self.id {
                    return Ok((send, recv));
                }
            }
        })
        .await
    }

    async fn accept_uni(&self) -> Result<RecvStream> {
        self.unless_over(async {
            loop {
                let (session, recv) =
                    *self.http3.uni.lock().await.recv().await.ok_or_else(|| self.http3.lost())?;
                if session == self.id {
                    return Ok(recv);
                }
            }
        })
        .await
    }

    async fn read_datagram(&self) -> Result<Bytes> {
        loop {
            let mut datagram = self.connection().read_datagram().await.map_err(|why| self.lost(&why))?;
            if datagram.starts_with(&self.prefix) {
                datagram.advance(self.prefix.len());
                return Ok(datagram);
            }
        }
    }

    fn datagram_prefix(&self) -> &[u8] {
        &self.prefix
    }

    fn close(&self, reason: &CloseReason) {
        self.goodbye.send_replace(Some(reason.clone()));
    }

    /// What was said on the session tells more than the connection's end.
    fn lost(&self, why: &ConnectionError) -> Error {
        match self.over.why.get() {
            Some(said) if !matches!(why, ConnectionError::TimedOut) => said.clone(),
            _ => failure::lost(why),
        }
    }

    fn code(&self, code: u16) -> VarInt {
        failure::webtransport(code)
    }
}
