//! What a datagram carries: one frame, or a bundle of them.
//!
//! `frame`, or `0x80 | (length u16, big-endian | frame)*`: no frame begins with 0x80. Small packets that are sent together
//! share a datagram, as QUIC would put their datagrams into one packet, at the cost of one.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Begins a bundle.
const BUNDLE: u8 = 0x80;

/// Bytes of the length before a frame.
pub(crate) const LEN: usize = 2;

/// How many of the first bytes of `frames`, whole ones after their lengths, one datagram takes that has `room` bytes: the
/// first frame at least.
pub(crate) fn fill(frames: &[u8], room: usize) -> usize {
    let mut end = 0;
    while let Some(len) = frames[end..].first_chunk() {
        let next = end + LEN + usize::from(u16::from_be_bytes(*len));
        if end > 0 && 1 + next > room {
            break;
        }
        end = next;
    }
    end
}

/// Appends `frames`, all of one datagram.
pub(crate) fn put(frames: &[u8], out: &mut BytesMut) {
    if fill(frames, 0) == frames.len() {
        out.extend_from_slice(&frames[LEN..]);
    } else {
        out.put_u8(BUNDLE);
        out.extend_from_slice(frames);
    }
}

/// The frames of `datagram`, which stand after its first `head` bytes, as datagrams of one frame each.
pub(crate) fn apart(datagram: &Bytes, head: usize) -> impl Iterator<Item = Bytes> {
    let (head, mut frames) = (datagram.slice(..head), Datagram::new(datagram.slice(head..)));
    std::iter::from_fn(move || Some(Bytes::from([&head[..], &frames.next()?].concat())))
}

/// What is left of a datagram.
#[derive(Debug, Default)]
pub(crate) enum Datagram {
    #[default]
    Read,
    Single(Bytes),
    Bundle(Bytes),
}

impl Datagram {
    pub(crate) fn new(mut bytes: Bytes) -> Self {
        if bytes.first() != Some(&BUNDLE) {
            return Self::Single(bytes);
        }
        bytes.advance(1);
        Self::Bundle(bytes)
    }

    pub(crate) fn is_read(&self) -> bool {
        matches!(self, Self::Read)
    }

    /// The next frame. For a bundle that does not add up it is one that cannot be decoded.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        match std::mem::take(self) {
            Self::Read => None,
            Self::Single(frame) => Some(frame),
            Self::Bundle(mut rest) => match rest.first_chunk().map(|len| u16::from_be_bytes(*len).into()) {
                Some(len) if rest.len() - LEN >= len => {
                    rest.advance(LEN);
                    Some(self.split(rest, len))
                }
                _ => Some(Bytes::from_static(&[BUNDLE])),
            },
        }
    }

    /// The payload of the next frame if it is a binary packet of at most `most` bytes and nothing else.
    pub(crate) fn next_plain(&mut self, most: usize) -> Option<Bytes> {
        let len = match self {
            Self::Single(frame) if frame.first() == Some(&0) => frame.len(),
            Self::Bundle(rest) => match *rest.first_chunk()? {
                [a, b, 0] => usize::from(u16::from_be_bytes([a, b])),
                _ => return None,
            },
            _ => return None,
        };
        if len == 0 || len - 1 > most {
            return None;
        }
        match std::mem::take(self) {
            Self::Single(mut frame) => {
                frame.advance(1);
                Some(frame)
            }
            Self::Bundle(mut rest) if rest.len() - LEN >= len => {
                rest.advance(LEN + 1);
                Some(self.split(rest, len - 1))
            }
            left => {
                *self = left;
                None
            }
        }
    }

    /// The first `len` bytes of `rest`; the others are left.
    fn split(&mut self, mut rest: Bytes, len: usize) -> Bytes {
        let first = rest.split_to(len);
        if !rest.is_empty() {
            *self = Self::Bundle(rest);
        }
        first
    }

    /// How many frames are left.
    pub(crate) fn count(&self) -> u64 {
        let Self::Bundle(rest) = self else { return u64::from(!self.is_read()) };
        let (mut rest, mut count) = (&rest[..], 0);
        while let Some((len, others)) = rest.split_first_chunk() {
            rest = others.get(usize::from(u16::from_be_bytes(*len))..).unwrap_or_default();
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames as the send buffer has them.
    fn run(frames: &[&[u8]]) -> Vec<u8> {
        let each = frames.iter().flat_map(|frame| [&(frame.len() as u16).to_be_bytes()[..], frame].concat());
        each.collect()
    }

    fn datagrams(mut run: &[u8], room: usize) -> Vec<Bytes> {
        let mut all = Vec::new();
        while !run.is_empty() {
            let (first, rest) = run.split_at(fill(run, room));
            let mut out = BytesMut::new();
            put(first, &mut out);
            assert!(out.len() <= room, "{} bytes where {room} have room", out.len());
            all.push(out.freeze());
            run = rest;
        }
        all
    }

    fn read(bytes: Bytes) -> Vec<Bytes> {
        let mut datagram = Datagram::new(bytes);
        let count = datagram.count();
        let frames: Vec<_> = std::iter::from_fn(|| datagram.next()).collect();
        assert_eq!(frames.len() as u64, count);
        frames
    }

    #[test]
    fn frames_come_out_of_datagrams_as_they_went_in_and_fill_them() {
        let sizes = [1, 1, 30, 64, 100, 99, 1, 60, 37, 100, 2, 2];
        let frames: Vec<Vec<u8>> = sizes.iter().map(|size| vec![*size; usize::from(*size)]).collect();
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let sent = datagrams(&run(&frames), 100);
        let came: Vec<_> = sent.iter().cloned().flat_map(read).collect();
        assert_eq!(came, frames);
        // 1 + 3 + 3 + 32, then 64 alone as 100 does not fit beside it, then each with what fits.
        let lens: Vec<_> = sent.iter().map(Bytes::len).collect();
        assert_eq!(lens, [39, 64, 100, 99, 66, 37, 100, 9]);
    }

    #[test]
    fn frames_of_a_datagram_that_is_too_large_go_one_by_one_each_after_its_head() {
        for frames in [&[&b"\0one"[..], b"\x01two", b"\0three"][..], &[b"\0alone"]] {
            let sent = [b"head", &datagrams(&run(frames), 100)[0][..]].concat();
            let each: Vec<_> = frames.iter().map(|frame| [b"head", *frame].concat()).collect();
            assert_eq!(apart(&sent.into(), 4).collect::<Vec<_>>(), each);
        }
    }

    #[test]
    fn a_frame_alone_stands_without_a_length_and_a_plain_one_is_its_payload() {
        let sent = datagrams(&run(&[b"\0one"]), 100);
        assert_eq!(sent, [&b"\0one"[..]]);
        assert_eq!(Datagram::new(sent[0].clone()).next_plain(3), Some(Bytes::from_static(b"one")));
        let mut two = Datagram::new(datagrams(&run(&[b"\0one", b"\x01two"]), 100).remove(0));
        assert_eq!(two.next_plain(2), None);
        assert_eq!(two.next_plain(3), Some(Bytes::from_static(b"one")));
        assert_eq!(two.next_plain(3), None);
        assert_eq!((two.next(), two.is_read()), (Some(Bytes::from_static(b"\x01two")), true));
    }

    #[test]
    fn a_bundle_that_does_not_add_up_has_a_frame_that_cannot_be_decoded() {
        let broken =
            [&b"\x80"[..], b"\x80\0", b"\x80\0\x02\0", b"\x80\xff\xff\0", b"\x80\0\x01\0\0", b"\x80\0\0"];
        for bytes in broken {
            let mut datagram = Datagram::new(Bytes::copy_from_slice(bytes));
            let mut frames = Vec::new();
            while !datagram.is_read() {
                frames.extend(datagram.next_plain(100).is_none().then(|| datagram.next()).flatten());
            }
            let last = frames.last().expect("the broken one");
            assert!(haul_core::wire::decode(last.clone()).is_err(), "{bytes:?} gave {frames:?}");
        }
    }
}
