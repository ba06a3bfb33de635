use haul_core::wire::{WriteBuf, decode, encode};
use proptest::prelude::*;

use super::*;

/// The golden vectors: name and message. `docs/wire/session.md` has the same lines.
fn golden() -> Vec<(&'static str, Message)> {
    let session: SessionId = "000102030405060708090a0b0c0d0e0f".parse().unwrap();
    let token: Token = "00112233445566778899aabbccddeeff".repeat(2).parse().unwrap();
    vec![
        ("hello", Message::Hello),
        ("open", Message::Open { epoch: 1, window: 1_048_576 }),
        ("accepted", Message::Accepted { session, token, window: 1_048_576 }),
        ("resume", Message::Resume { session, token, attempt: 2, received: 70 }),
        ("resumed", Message::Resumed { received: 41 }),
        ("refused", Message::Refused { reason: Refusal::Unknown, text: "no such session".into() }),
        ("ack", Message::Ack { settled: 64 }),
        ("gap", Message::Gap { from: 41, to: 44 }),
        ("abort", Message::Abort { code: 1011, text: "out of order".into() }),
    ]
}

fn bytes_of(message: Message) -> Vec<u8> {
    let mut out = WriteBuf::default();
    encode(&message.into_frame(), &mut out).unwrap();
    out.chunk().to_vec()
}

fn told(frame: Frame) -> String {
    match frame {
        Frame::Note(note) => note,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_golden_vectors_of_the_document_are_what_is_written_and_read() {
    let document = include_str!("../../../../docs/wire/session.md");
    for (name, message) in golden() {
        let hex: String = bytes_of(message.clone()).iter().map(|byte| format!("{byte:02x}")).collect();
        let line = format!("| {name} | `{hex}` |");
        assert!(document.contains(&line), "docs/wire/session.md lacks the line\n{line}");
        let frame = decode(bytes_of(message.clone()).into()).unwrap();
        assert_eq!(Message::parse(&told(frame)).unwrap(), message, "{name}");
    }
}

#[test]
fn every_refusal_comes_back() {
    for (reason, _) in REFUSALS {
        let message = Message::Refused { reason, text: String::new() };
        let frame = message.clone().into_frame();
        assert_eq!(Message::parse(&told(frame)).unwrap(), message);
    }
}

#[test]
fn another_version_is_unsupported_and_says_which() {
    let error = Message::parse("open 2 1 100").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("version 2"), "{error}");
}

#[test]
fn an_error_does_not_show_a_token() {
    let token = "00112233445566778899aabbccddeeff".repeat(2);
    let error = Message::parse(&format!("resume 1 0 {token} 1 1")).unwrap_err();
    assert!(!error.to_string().contains(&token[..8]), "{error}");
}

proptest! {
    #[test]
    fn any_note_is_parsed_or_refused_and_what_is_parsed_is_written_back(
        note in "(hello|open|accepted|resume|resumed|refused|ack|gap|abort|x) ?([0-9a-f]{0,3} ?){0,5}",
    ) {
        if let Ok(message) = Message::parse(&note) {
            let again = message.clone().into_frame();
            prop_assert_eq!(Message::parse(&told(again)).unwrap(), message);
        }
    }
}
