//! Event streams: the same events however the bytes are cut, none above the bound, and each is written as read.

use haul_core::ErrorKind;

use crate::pieces::{cut, take};
use crate::sse::{Bounds, Event, Item, Scanner, put_field, put_payload};

/// The bounds of events that are tried.
const BOUNDS: [usize; 3] = [8, 64, 1 << 20];

/// The bounds, the cuts, and the bytes of the stream.
pub(crate) fn run(mut data: &[u8]) {
    let (choice, seed) = (usize::from(take(&mut data)), take(&mut data));
    let bounds = Bounds { line: BOUNDS[choice % 3], event: BOUNDS[choice / 3 % 3] };
    let whole = said(bounds, &[data]);
    assert_eq!(said(bounds, &cut(data, seed)), whole);
    assert!(matches!(whole.2, None | Some(ErrorKind::Codec | ErrorKind::TooLarge)), "{:?}", whole.2);
    for item in &whole.0 {
        let Item::Event(Event { name, data }) = item else { continue };
        assert!(data.len() <= bounds.event, "{item:?}");
        let mut written = Vec::new();
        if let Some(name) = name {
            put_field(&mut written, "event", name.as_bytes());
        }
        put_payload(&mut written, data).expect("what was read is written");
        written.push(b'\n');
        let wide = Bounds { line: 2 << 20, event: 8 << 20 };
        assert_eq!(said(wide, &[&written]).0, std::slice::from_ref(item));
    }
}

/// What a stream says, its last id, and its error if it has one.
fn said(bounds: Bounds, pieces: &[&[u8]]) -> (Vec<Item>, String, Option<ErrorKind>) {
    let mut scanner = Scanner::new(bounds, "before".to_owned());
    let mut items = Vec::new();
    for piece in pieces {
        scanner.push(piece);
        loop {
            match scanner.next() {
                Ok(None) => break,
                Ok(Some(item)) => items.push(item),
                Err(why) => return (items, scanner.last_id().to_owned(), Some(why.kind())),
            }
        }
    }
    (items, scanner.last_id().to_owned(), None)
}
