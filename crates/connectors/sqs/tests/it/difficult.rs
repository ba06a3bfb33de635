//! What a server may answer, and what is asked of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use haul_core::{Deliver, DeliverAll, ErrorKind, Level, Packet, Receipt, Sent, Source, Status};
use serde_json::{Value, json};

use crate::double::Double;
use crate::support::{sink, soon, source};

fn entries(body: &Value) -> &Vec<Value> {
    body["Entries"].as_array().unwrap()
}

fn accept(entry: &Value) -> Value {
    json!({ "Id": entry["Id"], "MessageId": format!("m-{}", entry["MessageBody"].as_str().unwrap_or_default()),
        "MD5OfMessageBody": "" })
}

fn accept_all(body: &Value) -> (u16, Value) {
    (200, json!({ "Successful": entries(body).iter().map(accept).collect::<Vec<_>>(), "Failed": [] }))
}

/// Bytes as the server counts them.
fn size(entry: &Value) -> usize {
    let attributes = entry["MessageAttributes"].as_object();
    let text = |value: &Value| value.as_str().unwrap().len();
    let attributes = attributes.into_iter().flatten();
    let attributes =
        attributes.map(|(name, it)| name.len() + text(&it["DataType"]) + text(&it["StringValue"]));
    text(&entry["MessageBody"]) + attributes.sum::<usize>()
}

#[tokio::test]
async fn requests_have_ten_messages_and_the_bytes_they_may_have_and_no_fewer_than_fit() {
    let server = Double::start(|_, body| accept_all(body)).await;
    let sink = sink(server.port, "q", "max_request=1000");
    let small: Vec<_> = (0..25).map(|n| Packet::text(n.to_string())).collect();
    // 400 and 33 bytes: two in a request, and the third does not fit.
    let large: Vec<_> = (0..5).map(|_| Packet::binary(vec![0; 300]).with("name", "0123456789")).collect();
    let whole = vec![Packet::text("x".repeat(1000)), Packet::text("y".repeat(1001)), Packet::text("z")];
    let mut outcomes = sink.deliver_all([small, large, whole].concat()).await.unwrap();
    let too_large = outcomes.remove(31).unwrap_err();
    assert_eq!(
        (too_large.kind(), too_large.status(), too_large.sent()),
        (ErrorKind::TooLarge, Status::Permanent, Sent::No)
    );
    let references: Vec<_> =
        outcomes.into_iter().take(25).map(|outcome| outcome.unwrap().reference.unwrap()).collect();
    assert_eq!(references, (0..25).map(|n| format!("m-{n}")).collect::<Vec<_>>());
    let asked = server.asked();
    let counts: Vec<_> = asked.iter().map(|(_, body)| entries(body).len()).collect();
    assert_eq!(counts, [10, 10, 7, 2, 1, 1, 1], "messages of each request");
    for (_, body) in &asked {
        let bytes: usize = entries(body).iter().map(size).sum();
        assert!(bytes <= 1000, "a request of {bytes} bytes");
    }
}

#[tokio::test]
async fn parts_that_are_refused_fail_alone_and_nothing_is_tried_behind_a_failure_that_may_pass() {
    let refuse = |entry: &Value, code: &str, fault| json!({ "Id": entry["Id"], "Code": code, "SenderFault": fault, "Message": "no" });
    let server = Double::start(move |_, body| {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for entry in entries(body) {
            match entry["MessageBody"].as_str().unwrap() {
                "1" => bad.push(refuse(entry, "InvalidMessageContents", true)),
                "2" => bad.push(refuse(entry, "InternalError", false)),
                "3" => bad.push(refuse(entry, "RequestThrottled", true)),
                "4" => bad.push(refuse(entry, "AccessDenied", true)),
                "5" => {}
                _ => good.push(accept(entry)),
            }
        }
        // The order of answers is the server's own.
        good.reverse();
        (200, json!({ "Successful": good, "Failed": bad }))
    })
    .await;
    let packets: Vec<_> = (0..12).map(|n| Packet::text(n.to_string())).collect();
    let outcomes = sink(server.port, "q", "").deliver_all(packets).await.unwrap();
    let facts: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(receipt) => Ok(receipt.reference.as_deref().unwrap()),
            Err(why) => Err((why.kind(), why.status(), why.sent())),
        })
        .collect();
    use ErrorKind::{Overloaded, Protocol, RateLimited, Rejected, Unauthorized};
    use Sent::{Maybe, No};
    use Status::{Permanent, Transient};
    assert_eq!(
        facts,
        [
            Ok("m-0"),
            Err((Rejected, Permanent, No)),
            Err((Overloaded, Transient, Maybe)),
            Err((RateLimited, Transient, No)),
            Err((Unauthorized, Permanent, No)),
            Err((Protocol, Transient, Maybe)),
            Ok("m-6"),
            Ok("m-7"),
            Ok("m-8"),
            Ok("m-9"),
            Err((Overloaded, Transient, No)),
            Err((Overloaded, Transient, No)),
        ]
    );
    assert_eq!(server.asked().len(), 1, "what came behind was sent");
    assert!(outcomes[10].as_ref().unwrap_err().to_string().contains("not tried"));
}

#[tokio::test]
async fn a_request_that_fails_is_classified_and_tried_once() {
    use Status::{Permanent, Transient};
    let said = |status: u16, code: &str| {
        (status, json!({ "__type": format!("com.amazonaws.sqs#{code}"), "message": "it says so" }))
    };
    for (answer, kind, status, sent) in [
        (said(400, "RequestThrottled"), ErrorKind::RateLimited, Transient, Sent::No),
        (said(400, "ThrottlingException"), ErrorKind::RateLimited, Transient, Sent::No),
        (said(429, "Whatever"), ErrorKind::RateLimited, Transient, Sent::No),
        (said(403, "InvalidClientTokenId"), ErrorKind::Unauthorized, Permanent, Sent::No),
        (said(400, "UnrecognizedClientException"), ErrorKind::Unauthorized, Permanent, Sent::No),
        (said(403, "Whatever"), ErrorKind::Unauthorized, Permanent, Sent::No),
        (said(400, "QueueDoesNotExist"), ErrorKind::NotFound, Permanent, Sent::No),
        (said(400, "AWS.SimpleQueueService.NonExistentQueue"), ErrorKind::NotFound, Permanent, Sent::No),
        (said(400, "InvalidAddress"), ErrorKind::Rejected, Permanent, Sent::No),
        (said(500, "InternalError"), ErrorKind::Overloaded, Transient, Sent::Maybe),
        (said(503, "ServiceUnavailable"), ErrorKind::Overloaded, Transient, Sent::Maybe),
        ((200, json!("what?")), ErrorKind::Protocol, Transient, Sent::Maybe),
    ] {
        let server = Double::start({
            let answer = answer.clone();
            move |_, _| answer.clone()
        })
        .await;
        let packets: Vec<_> = (0..11).map(|n| Packet::text(n.to_string())).collect();
        let outcomes = sink(server.port, "q", "").deliver_all(packets).await.unwrap();
        let why = outcomes[0].as_ref().unwrap_err();
        assert_eq!((why.kind(), why.status(), why.sent()), (kind, status, sent), "{answer:?}: {why}");
        if answer.0 >= 400 {
            assert!(why.to_string().contains("it says so"), "{why}");
        }
        let tries = if status == Transient { 1 } else { 2 };
        assert_eq!(server.asked().len(), tries, "requests for {answer:?}");
    }
}

/// Gives one message, and takes what becomes of it.
fn one_message(handed: &AtomicUsize, operation: &str, body: &Value, message: &Value) -> (u16, Value) {
    if operation != "ReceiveMessage" {
        return accept_all(body);
    }
    let none = handed.fetch_add(1, Ordering::Relaxed) > 0;
    (200, json!({ "Messages": if none { vec![] } else { vec![message.clone()] } }))
}

#[tokio::test]
async fn a_message_that_is_held_is_kept_from_others_until_it_is_acknowledged_and_then_deleted() {
    let (handed, deleted) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let server = Double::start(move |operation, body| {
        let next = handed.load(Ordering::Relaxed);
        match operation {
            // The second message comes when the first is deleted.
            "ReceiveMessage" if next <= deleted.load(Ordering::Relaxed) && next < 2 => {
                handed.store(next + 1, Ordering::Relaxed);
                let message = json!({ "MessageId": "m", "ReceiptHandle": format!("h{next}"), "Body": "hi" });
                (200, json!({ "Messages": [message] }))
            }
            "ReceiveMessage" => (200, json!({})),
            "DeleteMessageBatch" => {
                deleted.fetch_add(1, Ordering::Relaxed);
                accept_all(body)
            }
            _ => accept_all(body),
        }
    })
    .await;
    let mut source = source(server.port, "q", "visibility=2s&wait=1s");
    let first = soon("the message", source.next()).await.unwrap().unwrap();
    let asked = server.asked_for("ReceiveMessage", 1).await.remove(0);
    let option = |name: &str| asked[name].as_u64();
    assert_eq!(option("MaxNumberOfMessages"), Some(10));
    assert_eq!((option("VisibilityTimeout"), option("WaitTimeSeconds")), (Some(2), Some(1)));
    let longer = |handle| vec![json!({ "Id": "0", "ReceiptHandle": handle, "VisibilityTimeout": 2 })];
    let kept = server.asked_for("ChangeMessageVisibilityBatch", 3).await;
    assert!(kept.iter().all(|asked| *entries(asked) == longer("h0")), "{kept:?}");
    first.ack(Receipt::new(Level::Stored, None)).await.unwrap();
    let deleted = server.asked_for("DeleteMessageBatch", 1).await;
    assert_eq!(deleted.len(), 1);
    assert_eq!(entries(&deleted[0]), &[json!({ "Id": "0", "ReceiptHandle": "h0" })]);
    // What is kept now is the second one alone.
    let _second = soon("the second message", source.next()).await.unwrap().unwrap();
    let before = server.asked_for("ChangeMessageVisibilityBatch", 0).await.len();
    let kept = server.asked_for("ChangeMessageVisibilityBatch", before + 2).await;
    assert!(kept[before..].iter().all(|asked| *entries(asked) == longer("h1")), "{kept:?}");
}

#[tokio::test]
async fn a_refusal_shows_the_message_to_others_at_once() {
    for dropped in [true, false] {
        let handed = AtomicUsize::new(0);
        let message = json!({ "MessageId": "1", "ReceiptHandle": "h1", "Body": "hi" });
        let server =
            Double::start(move |operation, body| one_message(&handed, operation, body, &message)).await;
        let mut source = source(server.port, "q", "");
        let delivery = soon("the message", source.next()).await.unwrap().unwrap();
        match dropped {
            true => drop(delivery),
            false => delivery.nack(haul_core::Error::new(ErrorKind::Overloaded, "not now")).await.unwrap(),
        }
        let shown = server.asked_for("ChangeMessageVisibilityBatch", 1).await;
        let entry = json!({ "Id": "0", "ReceiptHandle": "h1", "VisibilityTimeout": 0 });
        assert_eq!(entries(&shown[0]), &[entry]);
    }
}

#[tokio::test]
async fn an_acknowledgement_that_the_server_does_not_take_says_that_the_message_comes_again() {
    let (handed, message) =
        (AtomicUsize::new(0), json!({ "MessageId": "1", "ReceiptHandle": "h1", "Body": "hi" }));
    let server = Double::start(move |operation, body| match operation {
        "DeleteMessageBatch" => {
            let refusal =
                json!({ "Id": "0", "Code": "ReceiptHandleIsInvalid", "SenderFault": true, "Message": "old" });
            (200, json!({ "Successful": [], "Failed": [refusal] }))
        }
        _ => one_message(&handed, operation, body, &message),
    })
    .await;
    let mut source = source(server.port, "q", "");
    let delivery = soon("the message", source.next()).await.unwrap().unwrap();
    let why = delivery.ack(Receipt::new(Level::Stored, None)).await.unwrap_err();
    assert_eq!(why.kind(), ErrorKind::Closed, "{why}");
    assert!(why.to_string().contains("ReceiptHandleIsInvalid"), "{why}");
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_an_error_that_names_it_and_is_not_deleted() {
    let handed = AtomicUsize::new(0);
    let kind = json!({ "DataType": "String", "StringValue": "binary" });
    let message = json!({ "MessageId": "id-1", "ReceiptHandle": "h1", "Body": "no base64!",
        "MessageAttributes": { "haul.body": kind } });
    let server = Double::start(move |operation, body| one_message(&handed, operation, body, &message)).await;
    let mut source = source(server.port, "q", "");
    let why = soon("the error", source.next()).await.unwrap_err();
    assert_eq!(why.kind(), ErrorKind::Codec, "{why}");
    assert!(why.to_string().contains("id-1"), "{why}");
    server.asked_for("ReceiveMessage", 3).await;
    assert!(server.asked().iter().all(|(operation, _)| operation == "ReceiveMessage"));
}

#[tokio::test]
async fn what_the_server_says_of_its_refusal_is_told_for_a_single_packet() {
    let server = Double::start(|_, body| {
        let refusal = json!({ "Id": entries(body)[0]["Id"], "Code": "InvalidMessageContents", "SenderFault": true,
            "Message": "a strange character" });
        (200, json!({ "Failed": [refusal], "Successful": [] }))
    })
    .await;
    let why = sink(server.port, "q", "").deliver(Packet::text("x")).await.unwrap_err();
    let said = why.to_string();
    for part in ["deliver sqs q", "InvalidMessageContents", "a strange character"] {
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test]
async fn a_server_that_takes_smaller_requests_gets_them_and_refuses_only_what_is_too_large_alone() {
    let server = Double::start(|_, body| match entries(body).iter().map(size).sum::<usize>() {
        0..=100 => accept_all(body),
        _ => (400, json!({ "__type": "com.amazonaws.sqs#BatchRequestTooLong", "message": "too long" })),
    })
    .await;
    let large = "x".repeat(101);
    let bodies: Vec<_> = (10..22).map(|n| format!("{n}{}", "x".repeat(28))).collect();
    let mut packets: Vec<_> = bodies.iter().map(|body| Packet::text(body.clone())).collect();
    packets.insert(4, Packet::text(large));
    let mut outcomes = sink(server.port, "q.fifo", "group=g").deliver_all(packets).await.unwrap();
    let why = outcomes.remove(4).unwrap_err();
    let facts = (why.kind(), why.status(), why.sent());
    assert_eq!(facts, (ErrorKind::TooLarge, Status::Permanent, Sent::No), "{why}");
    let references: Vec<_> =
        outcomes.into_iter().map(|outcome| outcome.unwrap().reference.unwrap()).collect();
    assert_eq!(references, bodies.iter().map(|body| format!("m-{body}")).collect::<Vec<_>>());
    let taken =
        server.asked().into_iter().filter(|(_, body)| entries(body).iter().map(size).sum::<usize>() <= 100);
    let taken: Vec<_> = taken
        .flat_map(|(_, body)| entries(&body).clone())
        .map(|entry| entry["MessageBody"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(taken, bodies, "what the server took, in order");
}

#[tokio::test]
async fn calls_to_a_server_that_never_answers_do_not_wait_for_one_another() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sink = sink(silent.local_addr().unwrap().port(), "q", "timeout=2s");
    let sink = std::sync::Arc::new(sink);
    // One after the other, they would take longer than we wait.
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let sink = sink.clone();
        calls.spawn(async move { sink.deliver(Packet::text("x")).await });
    }
    for answer in soon("the answers", calls.join_all()).await {
        let why = answer.unwrap_err();
        assert_eq!((why.kind(), why.sent()), (ErrorKind::Timeout, Sent::No), "{why}");
    }
}
