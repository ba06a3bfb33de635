//! The ends of a pipe: URLs, files, stdin and stdout.

use std::path::{Path, PathBuf};

use bytes::BytesMut;
use haul::wire::{Frame, Framing, StreamDecoder, StreamEncoder, WriteBuf};
use haul::{
    AnySink, AnySource, Batch, Delivery, Encoder, Endpoint, Error, ErrorKind, Level, Packet, Receipt, Result,
    Sender, Sent, Service, Sink, Source,
};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;

use crate::args::PipeFraming;
use crate::layers::Layers;

/// Bytes asked of a file at once.
const READ_SIZE: usize = 64 << 10;

/// An end of a pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Stdio,
    File(PathBuf),
    Url(String),
}

impl End {
    /// `-`, a URL (`scheme://...`, or a known scheme and a colon), or else a file.
    pub(crate) fn parse(text: &str) -> Self {
        let schemes = haul::registry().schemes();
        let known = |scheme: &str| schemes.deliver.contains(&scheme) || schemes.read.contains(&scheme);
        match text {
            "-" => Self::Stdio,
            _ if text.contains("://") => Self::Url(text.to_owned()),
            _ if text.split_once(':').is_some_and(|(scheme, _)| known(scheme)) => Self::Url(text.to_owned()),
            _ => Self::File(text.into()),
        }
    }

    pub(crate) fn is_url(&self) -> bool {
        matches!(self, Self::Url(_))
    }

    /// Whether it is a connection.
    pub(crate) fn is_dialed(&self) -> bool {
        let dialed = |at: Endpoint| haul::registry().schemes().dial.contains(&at.scheme());
        matches!(self, Self::Url(url) if Endpoint::parse(url).is_ok_and(dialed))
    }

    /// Opens it to be read. Of a connection there is the sending end too, which is to be closed when all was answered.
    pub(crate) async fn source(
        &self,
        framing: PipeFraming,
        max_packet: usize,
        layers: &Layers,
    ) -> Result<(AnySource, Option<Sender>)> {
        let source = match self {
            Self::Url(url) if self.is_dialed() => {
                let (sender, receiver) = layers.connect(url).await?.split();
                return Ok((AnySource::new(receiver), Some(sender)));
            }
            Self::Url(url) => haul::source(url).await?,
            Self::Stdio => AnySource::new(Bytes::new(tokio::io::stdin(), framing, max_packet)),
            Self::File(path) => {
                let file = File::open(path).await.map_err(|why| failed("read", path, why))?;
                AnySource::new(Bytes::new(file, framing, max_packet))
            }
        };
        Ok((source, None))
    }

    /// Opens it to be delivered to; a file is emptied.
    pub(crate) async fn sink(&self, framing: PipeFraming, layers: &Layers) -> Result<AnySink> {
        match self {
            Self::Url(url) if self.is_dialed() => layers.connect(url).sink().await,
            Self::Url(url) => haul::deliver(url).await,
            Self::Stdio => Ok(AnySink::new(Written::new(Target::Stdout(tokio::io::stdout()), framing))),
            Self::File(path) => {
                let file = File::create(path).await.map_err(|why| failed("write", path, why))?;
                Ok(AnySink::new(Written::new(Target::File(file), framing)))
            }
        }
    }
}

fn failed(doing: &str, path: &Path, why: std::io::Error) -> Error {
    Error::from(why).while_doing(format!("{doing} {}", path.display()))
}

fn on_stream(framing: PipeFraming) -> Framing {
    match framing {
        PipeFraming::Lines => Framing::Lines,
        PipeFraming::Length => Framing::Length,
        PipeFraming::Haul => Framing::Haul,
        PipeFraming::Raw | PipeFraming::Whole => Framing::Raw,
    }
}

/// Packets from bytes.
struct Bytes<R> {
    from: R,
    bytes: BytesMut,
    decoder: StreamDecoder,
    whole: bool,
    max_packet: usize,
    ended: bool,
    /// The last frame said that no more comes: haul's own frames do not just stop.
    finished: bool,
}

impl<R: AsyncRead + Unpin + Send + 'static> Bytes<R> {
    fn new(from: R, framing: PipeFraming, max_packet: usize) -> Self {
        Self {
            from,
            bytes: BytesMut::new(),
            decoder: StreamDecoder::new(on_stream(framing), max_packet),
            whole: framing == PipeFraming::Whole,
            max_packet,
            ended: false,
            finished: false,
        }
    }

    /// What is there already, or `None` if more must be read first.
    fn buffered(&mut self) -> Result<Option<Frame>> {
        if !self.whole {
            return self.decoder.next(&mut self.bytes);
        }
        if self.bytes.len() > self.max_packet {
            let message = format!("the input is larger than the {} bytes of --max-packet", self.max_packet);
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        Ok(None)
    }

    /// What is left at the end of the input.
    fn last(&mut self) -> Result<Option<Frame>> {
        if self.finished && self.bytes.is_empty() {
            return Ok(None);
        }
        if !self.whole || self.bytes.is_empty() {
            return self.decoder.finish(&mut self.bytes);
        }
        let all = self.bytes.split().freeze();
        let packet = Packet::text_from_utf8(all.clone()).unwrap_or_else(|_| Packet::binary(all));
        Ok(Some(Frame::packet(packet)))
    }

    async fn frame(&mut self) -> Result<Option<Frame>> {
        loop {
            if self.ended {
                return self.last();
            }
            if let Some(frame) = self.buffered()? {
                return Ok(Some(frame));
            }
            self.bytes.reserve(READ_SIZE);
            self.ended = self.from.read_buf(&mut self.bytes).await? == 0;
        }
    }
}

impl<R: AsyncRead + Unpin + Send + 'static> Source for Bytes<R> {
    async fn next(&mut self) -> Result<Option<Delivery>> {
        loop {
            match self.frame().await? {
                None => return Ok(None),
                Some(Frame::Packet { packet, .. }) => {
                    self.finished = false;
                    return Ok(Some(Delivery::unanswered(packet)));
                }
                Some(Frame::Finish) => self.finished = true,
                // Receipts and pings that were recorded with the packets mean nothing now.
                Some(_) => {}
            }
        }
    }
}

enum Target {
    Stdout(tokio::io::Stdout),
    File(File),
}

impl Target {
    async fn write(&mut self, mut bytes: WriteBuf) -> std::io::Result<()> {
        let to: &mut (dyn AsyncWrite + Unpin + Send) = match self {
            Self::Stdout(stdout) => stdout,
            Self::File(file) => file,
        };
        while !bytes.is_empty() {
            let written = to.write(bytes.chunk()).await?;
            bytes.advance(written);
        }
        to.flush().await
    }
}

/// Packets written as bytes. Receipts are `Sent`: the operating system has them; closing syncs a file to its disk.
struct Written {
    to: Mutex<Target>,
    framing: Framing,
}

impl Written {
    fn new(to: Target, framing: PipeFraming) -> Self {
        Self { to: to.into(), framing: on_stream(framing) }
    }
}

fn not_written(why: std::io::Error) -> Error {
    let kind = Error::from(std::io::Error::from(why.kind())).kind();
    Error::new(kind, "write the output").with_source(why).with_sent(Sent::Maybe)
}

impl Service<Batch> for Written {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        let mut encoder = StreamEncoder::new(self.framing);
        let mut bytes = WriteBuf::default();
        let mut encode = |packet: Packet| {
            let id = packet.id();
            encoder.encode(&Frame::packet(packet), &mut bytes)?;
            Ok(Receipt::new(Level::Sent, id))
        };
        let outcomes = batch.into_packets().into_iter().map(&mut encode).collect();
        self.to.lock().await.write(bytes).await.map_err(not_written)?;
        Ok(outcomes)
    }
}

impl Sink for Written {
    async fn close(&self) -> Result<()> {
        let mut to = self.to.lock().await;
        let mut end = WriteBuf::default();
        StreamEncoder::new(self.framing).encode(&Frame::Finish, &mut end)?;
        to.write(end).await.map_err(not_written)?;
        match &mut *to {
            Target::Stdout(stdout) => stdout.flush().await.map_err(not_written),
            // A device or a pipe by name cannot be synced, and need not be.
            Target::File(file) => match file.sync_all().await {
                Err(why) if why.kind() == std::io::ErrorKind::InvalidInput => Ok(()),
                done => done.map_err(not_written),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_url_only_if_it_looks_like_one() {
        assert_eq!(End::parse("-"), End::Stdio);
        assert!(End::parse("kafka://host").is_url());
        assert_eq!(End::parse("a:b.txt"), End::File("a:b.txt".into()));
    }

    async fn packets(input: &'static [u8], framing: PipeFraming) -> Result<Vec<Packet>> {
        let mut source = Bytes::new(input, framing, 8);
        let mut packets = Vec::new();
        while let Some(delivery) = source.next().await? {
            packets.push(delivery.packet().clone());
        }
        Ok(packets)
    }

    #[tokio::test]
    async fn whole_is_one_packet_and_nothing_is_none() {
        assert_eq!(packets(b"a\nb", PipeFraming::Whole).await.unwrap(), [Packet::text("a\nb")]);
        assert_eq!(packets(b"", PipeFraming::Whole).await.unwrap(), []);
        let error = packets(b"123456789", PipeFraming::Whole).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }

    #[tokio::test]
    async fn frames_of_haul_that_just_stop_were_cut_off() {
        const FINISH: &[u8] = b"\0\0\0\x02\x20\x03";
        const PACKET: &[u8] = b"\0\0\0\x02\x01a";
        let whole: &'static [u8] = [PACKET, FINISH, PACKET, FINISH].concat().leak();
        assert_eq!(packets(whole, PipeFraming::Haul).await.unwrap().len(), 2);
        let cut = &whole[..whole.len() - FINISH.len()];
        assert_eq!(packets(cut, PipeFraming::Haul).await.unwrap_err().kind(), ErrorKind::Closed);
    }

    #[tokio::test]
    async fn a_last_line_without_line_feed_is_a_packet_and_a_cut_length_is_an_error() {
        let lines = packets(b"a\n\nb", PipeFraming::Lines).await.unwrap();
        assert_eq!(lines, [Packet::text("a"), Packet::text(""), Packet::text("b")]);
        assert_eq!(packets(b"\0\0\0\x02a", PipeFraming::Length).await.unwrap_err().kind(), ErrorKind::Closed);
    }
}
