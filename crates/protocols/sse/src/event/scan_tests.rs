use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds { line: 100, event: 200 };

/// All that a stream says in these pieces, the last id, and the error if there is one.
fn said(pieces: &[&[u8]], bounds: Bounds) -> (Vec<Item>, String, Option<(ErrorKind, String)>) {
    let mut scanner = Scanner::new(bounds, String::new());
    let mut items = Vec::new();
    for piece in pieces {
        scanner.push(piece);
        loop {
            match scanner.next() {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(why) => return (items, scanner.last_id, Some((why.kind(), why.to_string()))),
            }
        }
    }
    (items, scanner.last_id, None)
}

fn events(text: &str) -> Vec<(String, String)> {
    let (items, _, error) = said(&[text.as_bytes()], BOUNDS);
    assert_eq!(error, None);
    let events = items.into_iter().filter_map(|item| match item {
        Item::Event(Event { name, data }) => {
            Some((name.unwrap_or("message".to_owned()), String::from_utf8(data.to_vec()).unwrap()))
        }
        _ => None,
    });
    events.collect()
}

fn message(data: &str) -> (String, String) {
    ("message".to_owned(), data.to_owned())
}

#[test]
fn the_examples_of_the_standard_give_what_it_says() {
    assert_eq!(
        events("data: YHOO\ndata: +2\ndata: 10\n\n"),
        [message("YHOO\n+2\n10")],
        "three lines are one event"
    );
    let text = ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
    assert_eq!(events(text), [message("first event"), message("second event"), message(" third event")]);
    assert_eq!(said(&[text.as_bytes()], BOUNDS).1, "", "an empty id takes the last one away");
    assert_eq!(events("data\n\ndata\ndata\n\ndata:"), [message(""), message("\n")]);
    assert_eq!(events("data:test\n\ndata: test\n\n"), [message("test"), message("test")]);
}

#[test]
fn names_are_kept_and_forgotten_with_their_block() {
    let text = "event: add\ndata: 1\n\nevent: lost\n\ndata: 2\n\nevent\ndata: 3\n\n";
    assert_eq!(events(text), [("add".to_owned(), "1".to_owned()), message("2"), message("3")]);
}

#[test]
fn every_kind_of_line_end_and_a_byte_order_mark_mean_the_same() {
    let want = [message("a\nb"), message("c")];
    for end in ["\n", "\r", "\r\n"] {
        let text = "data: a\ndata: b\n\ndata: c\n\n".replace('\n', end);
        assert_eq!(events(&text), want, "{end:?}");
        assert_eq!(events(&format!("\u{feff}{text}")), want, "{end:?} after a byte order mark");
    }
    let within = "data: a\n\n\u{feff}data: b\n\n";
    assert_eq!(events(within), [message("a")], "a byte order mark later is part of a name that nobody knows");
}

#[test]
fn an_id_holds_from_the_end_of_its_block_with_or_without_data() {
    assert_eq!(said(&[b"id: 1\ndata: a\n\nid: 2\n\n"], BOUNDS).1, "2");
    assert_eq!(said(&[b"id: 1\n\nid: 2\ndata: cut"], BOUNDS).1, "1");
    assert_eq!(said(&[b"id: 1\n\nid: a\0b\n\n"], BOUNDS).1, "1");
}

#[test]
fn an_event_comes_with_the_id_of_its_block() {
    for block in
        ["id: 1\ndata: a\n\n", "data: a\nid: 1\n\n", "id: 1\ndata: a\ndata: b\n\n", "id: 1\r\ndata\r\n\r\n"]
    {
        let mut scanner = Scanner::new(BOUNDS, "0".to_owned());
        scanner.push(block.as_bytes());
        assert!(matches!(scanner.next(), Ok(Some(Item::Event(_)))), "{block:?}");
        assert_eq!(scanner.last_id(), "1", "{block:?}");
    }
}

#[test]
fn comments_and_times_are_told_and_times_that_are_none_are_not() {
    let (items, ..) = said(&[b":\n: still here\nretry: 250\nretry: soon\nretry\nretry: -1\n\n"], BOUNDS);
    assert_eq!(items, [Item::Comment, Item::Comment, Item::Retry(Duration::from_millis(250))]);
}

#[test]
fn what_is_not_whole_is_not_said() {
    assert_eq!(events("data: a\n\ndata: b\n"), [message("a")]);
}

#[test]
fn bytes_that_are_not_utf8_are_told_with_their_position() {
    let (items, _, error) = said(&[b"data: a\n\ndata: b\xffc\n\n"], BOUNDS);
    let (kind, text) = error.unwrap();
    assert_eq!((items.len(), kind), (1, ErrorKind::Codec));
    assert!(text.contains("byte 16"), "{text}");
}

#[test]
fn a_line_above_its_bound_is_refused_before_it_ends() {
    let line = [&b"data: "[..], &[b'x'; 94]].concat();
    assert_eq!(said(&[&line, b"\n\n"], BOUNDS).2, None);
    let longer = [&line[..], b"x"].concat();
    assert_eq!(said(&[&longer], BOUNDS).2.unwrap().0, ErrorKind::TooLarge);
    assert_eq!(said(&[&[b':'; 101]], BOUNDS).2.unwrap().0, ErrorKind::TooLarge, "a comment too");
}

#[test]
fn an_event_above_its_bound_is_refused_and_comments_do_not_count() {
    let lines = "data: 1234\n".repeat(18);
    assert_eq!(said(&[lines.as_bytes(), b"\n"], BOUNDS).2, None);
    assert_eq!(said(&[lines.as_bytes(), b"data: 1234\n"], BOUNDS).2.unwrap().0, ErrorKind::TooLarge);
    let comments = ": 1234\n".repeat(1000);
    assert_eq!(said(&[b"data: a\n", comments.as_bytes(), b"\n"], BOUNDS).2, None);
}

fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let line = prop_oneof![
        Just("data: x".to_owned()),
        Just("data".to_owned()),
        Just("id: 7".to_owned()),
        Just("id".to_owned()),
        Just("event: add".to_owned()),
        Just("retry: 10".to_owned()),
        Just(": hello".to_owned()),
        Just(String::new()),
        Just("\u{feff}data: \u{20ac}".to_owned()),
        "[a-z: \u{e4}]{0,8}",
    ];
    let end = prop_oneof![Just("\n"), Just("\r"), Just("\r\n")];
    let lines = proptest::collection::vec((line, end), 0..30);
    (lines, proptest::collection::vec(1usize..12, 1..20)).prop_map(|(lines, cuts)| {
        let bytes: Vec<u8> =
            lines.iter().flat_map(|(line, end)| [line.as_bytes(), end.as_bytes()].concat()).collect();
        let mut rest = &bytes[..];
        let mut pieces = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece.to_vec());
            rest = after;
        }
        pieces
    })
}

proptest! {
    #[test]
    fn however_the_bytes_are_cut_the_events_are_the_same(pieces in pieces()) {
        let whole = pieces.concat();
        let cut: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(said(&cut, BOUNDS), said(&[&whole], BOUNDS));
    }

    #[test]
    fn text_that_is_written_is_read_as_it_was(text in "[^\r]{0,60}", name in "[a-z]{0,5}") {
        let mut out = Vec::new();
        super::super::put_field(&mut out, "event", name.as_bytes());
        super::super::put_payload(&mut out, text.as_bytes()).unwrap();
        out.push(b'\n');
        let bounds = Bounds { line: 1 << 20, event: 1 << 20 };
        let name = Some(name).filter(|name| !name.is_empty());
        prop_assert_eq!(said(&[&out], bounds).0, vec![Item::Event(Event { name, data: text.into() })]);
    }
}
