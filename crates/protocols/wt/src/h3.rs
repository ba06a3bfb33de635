//! HTTP/3 (RFC 9114) as far as a WebTransport session needs it: settings, one extended CONNECT, streams sorted by kind.
//!
//! Frames, settings and field sections are wtransport's; who reads what and when is here, because wtransport's own driver
//! loses a frame that arrives in pieces and takes datagrams one at a time.

use std::sync::Arc;
use std::time::Duration;

use haul_core::{Error, ErrorKind, Result};
use haul_quic::raw::{failure, varint};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::timeout;
use wtransport_proto::bytes::BufferWriter;
use wtransport_proto::frame::Frame;
use wtransport_proto::headers::Headers;
use wtransport_proto::settings::Settings;

/// Stream types (RFC 9114 section 6.2, RFC 9204 section 4.2, draft-ietf-webtrans-http3 section 4.2 and 4.3).
const CONTROL: u64 = 0x00;
const QPACK: [u64; 2] = [0x02, 0x03];
const WEBTRANSPORT_UNI: u64 = 0x54;
const WEBTRANSPORT_BI: u64 = 0x41;

/// Frame types (RFC 9114 section 7.2).
const DATA: u64 = 0x00;
const HEADERS: u64 = 0x01;
const SETTINGS: u64 = 0x04;

/// The capsule that closes a session (draft-ietf-webtrans-http3 section 6).
const CLOSE_SESSION: u64 = 0x2843;

/// Error codes (RFC 9114 section 8.1).
const STREAM_CREATION_ERROR: u32 = 0x103;
const REQUEST_REJECTED: u32 = 0x10b;
const NO_ERROR: u32 = 0x100;

/// Largest frame, and capsule, that is read: a field section, settings, a close.
const MOST: u64 = 16 << 10;

/// Streams that wait to be taken; further ones wait with what they carry.
const WAITING: usize = 64;

/// What comes of a connection, sorted.
pub(crate) struct Http3 {
    pub(crate) quic: Connection,
    settings: watch::Receiver<bool>,
    requests: Mutex<mpsc::Receiver<Box<Connect>>>,
    pub(crate) bi: Mutex<mpsc::Receiver<Box<(u64, SendStream, RecvStream)>>>,
    pub(crate) uni: Mutex<mpsc::Receiver<Box<(u64, RecvStream)>>>,
    /// A session stands on it, which closes it.
    pub(crate) agreed: bool,
    /// HTTP/3 forbids that it ends.
    _control: SendStream,
}

/// A CONNECT stream: its fields, and its two directions.
pub(crate) struct Connect {
    pub(crate) headers: Headers,
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
}

/// Where the tasks put what they read: in boxes, as a channel has room for 32 from the beginning.
struct Sorter {
    quic: Connection,
    deadline: Duration,
    settings: watch::Sender<bool>,
    requests: mpsc::Sender<Box<Connect>>,
    bi: mpsc::Sender<Box<(u64, SendStream, RecvStream)>>,
    uni: mpsc::Sender<Box<(u64, RecvStream)>>,
    /// The first stream of the session was handed over.
    begun: watch::Sender<bool>,
}

/// The first stream of a session is the first that the peer opened: until it was handed over, streams keep their order.
struct Turn {
    before: oneshot::Receiver<()>,
    _done: oneshot::Sender<()>,
}

impl Http3 {
    /// Says our settings and begins to sort what comes; a stream must say what it is within `deadline`.
    pub(crate) async fn start(quic: Connection, deadline: Duration) -> Result<Self> {
        let mut control = quic.open_uni().await.map_err(|why| failure::lost(&why))?;
        let one = wtransport_proto::varint::VarInt::from_u32(1);
        let settings = Settings::builder()
            .enable_connect_protocol()
            .enable_webtransport()
            .enable_h3_datagrams()
            .webtransport_max_sessions(one)
            .build();
        let mut hello = vec![CONTROL as u8];
        hello.extend(bytes_of(&settings.generate_frame()));
        control.write_all(&hello).await.map_err(broken)?;
        let (settings_in, settings) = watch::channel(false);
        let (requests_in, requests) = mpsc::channel(1);
        let (bi_in, bi) = mpsc::channel(WAITING);
        let (uni_in, uni) = mpsc::channel(WAITING);
        let sorter = Sorter {
            quic: quic.clone(),
            deadline,
            settings: settings_in,
            requests: requests_in,
            bi: bi_in,
            uni: uni_in,
            begun: watch::Sender::new(false),
        };
        tokio::spawn(Arc::new(sorter).run());
        let (requests, bi, uni) = (requests.into(), bi.into(), uni.into());
        Ok(Self { quic, settings, requests, bi, uni, agreed: false, _control: control })
    }

    /// Waits for the peer's settings: before them nothing may be asked of it (draft-ietf-webtrans-http3 section 3.1).
    pub(crate) async fn settled(&self) -> Result<()> {
        let mut settings = self.settings.clone();
        settings.wait_for(|settled| *settled).await.map_err(|_| self.lost())?;
        Ok(())
    }

    /// The client's request.
    pub(crate) async fn request(&self) -> Result<Connect> {
        self.requests.lock().await.recv().await.map(|request| *request).ok_or_else(|| self.lost())
    }

    /// Asks for a session; the answer's fields come with the stream.
    pub(crate) async fn ask(&self, headers: &Headers) -> Result<Connect> {
        let (mut send, mut recv) = self.quic.open_bi().await.map_err(|why| failure::lost(&why))?;
        send.write_all(&bytes_of(&headers.generate_frame())).await.map_err(broken)?;
        loop {
            match read_frame(&mut recv).await? {
                Some((HEADERS, payload)) => return Ok(Connect { headers: fields(payload)?, send, recv }),
                Some(_) => {}
                None => return Err(self.lost()),
            }
        }
    }

    /// Why nothing more comes.
    pub(crate) fn lost(&self) -> Error {
        match self.quic.close_reason() {
            Some(why) => failure::lost(&why),
            None => Error::new(ErrorKind::Protocol, "the peer ended a stream that HTTP/3 needs"),
        }
    }
}

impl Drop for Http3 {
    /// The sorting tasks hold the connection too: one on which nothing was agreed is closed.
    fn drop(&mut self) {
        if !self.agreed {
            self.quic.close(NO_ERROR.into(), b"no session was agreed on");
        }
    }
}

impl Sorter {
    async fn run(self: Arc<Self>) {
        let uni = async {
            while let Ok(stream) = self.quic.accept_uni().await {
                tokio::spawn(self.clone().sort_uni(stream));
            }
        };
        let bi = async {
            let (_, mut before) = oneshot::channel();
            while let Ok((send, recv)) = self.quic.accept_bi().await {
                let (done, after) = oneshot::channel();
                let turn = Turn { before: std::mem::replace(&mut before, after), _done: done };
                tokio::spawn(self.clone().sort_bi(send, recv, turn));
            }
        };
        tokio::join!(uni, bi);
    }

    async fn sort_uni(self: Arc<Self>, mut stream: RecvStream) {
        let kind = timeout(self.deadline, read_varint(&mut stream)).await.ok().flatten();
        match kind {
            Some(CONTROL) => self.control(stream).await,
            Some(kind) if QPACK.contains(&kind) => drain(stream).await,
            Some(WEBTRANSPORT_UNI) => {
                if let Ok(Some(session)) = timeout(self.deadline, read_varint(&mut stream)).await {
                    self.put(self.uni.send(Box::new((session, stream)))).await;
                }
            }
            // Also kinds that are there so that nobody relies on there being no others (RFC 9114 section 6.2.3).
            _ => drop(stream.stop(STREAM_CREATION_ERROR.into())),
        }
    }

    async fn control(&self, mut stream: RecvStream) {
        if let Ok(Some((SETTINGS, _))) = read_frame(&mut stream).await {
            self.settings.send_replace(true);
        }
        drain(stream).await;
    }

    async fn sort_bi(self: Arc<Self>, mut send: SendStream, mut recv: RecvStream, turn: Turn) {
        let first = async {
            loop {
                match read_varint(&mut recv).await? {
                    WEBTRANSPORT_BI => return read_varint(&mut recv).await.map(Ok),
                    HEADERS => return read_payload(&mut recv).await.map(Err),
                    // Unknown kinds are passed over (RFC 9114 section 9).
                    _ => drop(read_payload(&mut recv).await?),
                }
            }
        };
        match timeout(self.deadline, first).await {
            Ok(Some(Ok(session))) => {
                let mut begun = self.begun.subscribe();
                tokio::select! {
                    _ = turn.before => {}
                    _ = begun.wait_for(|begun| *begun) => {}
                }
                self.put(self.bi.send(Box::new((session, send, recv)))).await;
                self.begun.send_replace(true);
            }
            Ok(Some(Err(payload))) => match fields(payload) {
                Ok(headers) => {
                    if let Err(refused) = self.requests.try_send(Box::new(Connect { headers, send, recv })) {
                        // One session per connection, as our settings say.
                        reject(*refused.into_inner());
                    }
                }
                Err(_) => drop(send.reset(REQUEST_REJECTED.into())),
            },
            _ => {
                drop(send.reset(REQUEST_REJECTED.into()));
                drop(recv.stop(REQUEST_REJECTED.into()));
            }
        }
    }

    /// Waits for room as long as the connection stands.
    async fn put<T>(&self, sent: impl Future<Output = T>) {
        tokio::select! {
            _ = sent => {}
            _ = self.quic.closed() => {}
        }
    }
}

fn reject(mut request: Connect) {
    drop(request.send.reset(REQUEST_REJECTED.into()));
    drop(request.recv.stop(REQUEST_REJECTED.into()));
}

/// The capsule that closes a session, in its frame.
pub(crate) fn close_capsule(code: u32, text: &str) -> Vec<u8> {
    let mut capsule = Vec::new();
    varint::put(CLOSE_SESSION, &mut capsule);
    varint::put(4 + text.len() as u64, &mut capsule);
    capsule.extend_from_slice(&code.to_be_bytes());
    capsule.extend_from_slice(text.as_bytes());
    let mut frame = Vec::new();
    varint::put(DATA, &mut frame);
    varint::put(capsule.len() as u64, &mut frame);
    [frame, capsule].concat()
}

/// Reads a CONNECT stream until it says that the session is closed: its code and text, or `None` where it just ends.
pub(crate) async fn closed(recv: &mut RecvStream) -> Option<(u32, String)> {
    let mut capsules = Vec::new();
    loop {
        match read_frame(recv).await {
            Ok(Some((DATA, payload))) => capsules.extend(payload),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
        while let Some((kind, at)) = varint::get(&capsules) {
            let Some((len, head)) = varint::get(&capsules[at..]) else { break };
            if len > MOST {
                return None;
            }
            let (start, end) = (at + head, at + head + len as usize);
            let Some(value) = capsules.get(start..end) else { break };
            if kind == CLOSE_SESSION {
                let (code, text) = value.split_first_chunk::<4>()?;
                return Some((u32::from_be_bytes(*code), String::from_utf8_lossy(text).into_owned()));
            }
            capsules.drain(..end);
        }
    }
}

/// A frame's kind and payload; `None` at the end of the stream. Errors: `TooLarge`, `Closed`.
async fn read_frame(recv: &mut RecvStream) -> Result<Option<(u64, Vec<u8>)>> {
    let Some(kind) = read_varint(recv).await else { return Ok(None) };
    let payload = read_payload(recv).await;
    let payload = payload
        .ok_or_else(|| Error::new(ErrorKind::Protocol, "a frame of HTTP/3 was cut short, or too large"))?;
    Ok(Some((kind, payload)))
}

async fn read_payload(recv: &mut RecvStream) -> Option<Vec<u8>> {
    let len = read_varint(recv).await.filter(|len| *len <= MOST)?;
    let mut payload = vec![0; len as usize];
    recv.read_exact(&mut payload).await.ok()?;
    Some(payload)
}

async fn read_varint(recv: &mut RecvStream) -> Option<u64> {
    let mut bytes = [0; 8];
    recv.read_exact(&mut bytes[..1]).await.ok()?;
    let len = 1 << (bytes[0] >> 6);
    recv.read_exact(&mut bytes[1..len]).await.ok()?;
    varint::get(&bytes[..len]).map(|(value, _)| value)
}

/// Reads and drops all that comes.
async fn drain(mut stream: RecvStream) {
    while let Ok(Some(_)) = stream.read_chunk(usize::MAX, true).await {}
}

/// The fields of a HEADERS frame. Errors: `Protocol`.
fn fields(payload: Vec<u8>) -> Result<Headers> {
    Headers::with_frame(&Frame::new_headers(payload.into())).map_err(|why| {
        Error::new(ErrorKind::Protocol, format!("the peer's HTTP/3 header cannot be read: {why}"))
    })
}

/// A frame as it stands on the wire.
pub(crate) fn bytes_of(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = vec![0; frame.write_size()];
    frame.write_to_buffer(&mut BufferWriter::new(&mut bytes)).expect("the buffer has its size");
    bytes
}

pub(crate) fn broken(why: quinn::WriteError) -> Error {
    match why {
        quinn::WriteError::ConnectionLost(why) => failure::lost(&why),
        other => Error::new(ErrorKind::Rejected, format!("the peer takes no WebTransport request: {other}")),
    }
}

/// A number of a stream on the wire.
pub(crate) fn number(stream: &RecvStream) -> u64 {
    VarInt::from(stream.id()).into_inner()
}
