//! A WebSocket server's handshake: any bytes are answered in HTTP or not at all, and nothing behind them is lost.

use httparse::EMPTY_HEADER;
use tokio::io::AsyncReadExt;

use crate::handshake::server::{Terms, shake};
use crate::pieces::{at_once, take};

/// The terms, where the request is cut in two, and what the client sends.
pub(crate) fn run(mut data: &[u8]) {
    let (choice, at) = (take(&mut data), usize::from(take(&mut data)));
    let terms = Terms {
        path: (choice & 1 == 1).then(|| "/live".to_owned()),
        subprotocols: ["haul.v1", "chat"][usize::from(choice & 2 == 2)..]
            .iter()
            .map(|&it| it.into())
            .collect(),
        strict: choice & 4 == 4,
    };
    let (first, second) = data.split_at(at.min(data.len()));
    let mut answer = Vec::new();
    let mut stream = tokio::io::join(first.chain(second), &mut answer);
    let outcome = at_once(shake(&mut stream, &terms));
    let (first, second) = stream.reader().get_ref();
    let rest = [*first, *second].concat();
    let code = code(&answer);
    match outcome {
        Ok(agreed) => {
            assert_eq!(code, Some(101));
            assert!(
                data.ends_with(&[&agreed.early[..], &rest].concat()),
                "bytes behind the handshake are lost"
            );
            assert!(agreed.subprotocol.is_none_or(|chosen| terms.subprotocols.contains(&chosen)));
            assert!(terms.path.is_none() || agreed.target.starts_with("/live"), "{}", agreed.target);
        }
        Err(why) => assert!(code.is_none_or(|code| code >= 400), "answered {code:?}, and failed: {why}"),
    }
}

/// The status of an answer, whose length must be what it says; `None` if there is none.
fn code(answer: &[u8]) -> Option<u16> {
    if answer.is_empty() {
        return None;
    }
    let mut headers = [EMPTY_HEADER; 10];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(answer).expect("the answer is HTTP");
    let head = parsed.unwrap();
    let length = response.headers.iter().find(|header| header.name == "Content-Length");
    let length = length.map_or("0", |header| std::str::from_utf8(header.value).expect("digits"));
    assert_eq!(length.parse::<usize>(), Ok(answer.len() - head));
    response.code
}
