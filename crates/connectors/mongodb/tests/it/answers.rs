//! What becomes of a server's answers, said by a double: FerretDB knows few of them.

use haul_core::{Deliver, DeliverAll, ErrorKind, Level, Packet, Sent, Status};
use mongodb::bson::{Document, doc};

use crate::scripted::{Says, Scripted};
use crate::support::{facts, id, sink, soon};

/// The server did not do any of it.
fn refusal(code: i32) -> Says {
    Says::This(doc! { "ok": 0, "code": code, "codeName": "Name", "errmsg": "as it was told" })
}

/// The server did not take some.
fn partly(done: i32, errors: Vec<Document>) -> Says {
    Says::This(doc! { "ok": 1, "n": done, "writeErrors": errors })
}

fn texts(some: &[&str]) -> Vec<Packet> {
    some.iter().map(|text| Packet::text((*text).to_owned())).collect()
}

#[tokio::test]
async fn what_the_server_says_decides_whether_to_try_again() {
    use ErrorKind as Kind;
    use Sent::{Maybe, No};
    use Status::{Permanent, Transient};
    let server = Scripted::start([]).await;
    let sink = sink(&server.url("retryWrites=false"));
    for (code, kind, status, sent) in [
        (10107, Kind::Overloaded, Transient, No),
        (13435, Kind::Overloaded, Transient, No),
        (11602, Kind::Closed, Transient, Maybe),
        (91, Kind::Closed, Transient, Maybe),
        (189, Kind::Closed, Transient, Maybe),
        (50, Kind::Timeout, Transient, Maybe),
        (1, Kind::Overloaded, Transient, Maybe),
        (112, Kind::Overloaded, Transient, Maybe),
        (16500, Kind::RateLimited, Transient, Maybe),
        (13, Kind::Unauthorized, Permanent, No),
        (26, Kind::NotFound, Permanent, No),
        (73, Kind::Config, Permanent, No),
        (10334, Kind::TooLarge, Permanent, No),
        (22, Kind::Codec, Permanent, No),
        (121, Kind::Rejected, Permanent, No),
    ] {
        server.then(refusal(code));
        let why = soon("an answer", sink.deliver(Packet::text("x"))).await.unwrap_err();
        assert_eq!(facts(&why), (kind, status, sent), "{code}: {why}");
        assert!(why.to_string().contains(&format!("as it was told (code={code}, name=Name)")), "{why}");
        soon("a delivery", sink.deliver(Packet::text("y"))).await.unwrap();
    }
}

#[tokio::test]
async fn a_duplicate_of_another_index_is_refused_and_one_of_the_id_is_there() {
    let duplicate = |at: i32, of: &str| {
        let message = format!("E11000 duplicate key error collection: db.c index: {of} dup key: {{ x: 1 }}");
        doc! { "index": at, "code": 11000, "errmsg": message }
    };
    let tricky = "other_1 dup key: db.c index: _id_";
    let errors = vec![duplicate(0, "_id_"), duplicate(2, "other_1"), duplicate(3, tricky)];
    let server = Scripted::start([partly(1, errors)]).await;
    let batch =
        ["a", "b", "c", "d"].iter().zip(1..).map(|(text, number)| Packet::text(*text).with_id(id(number)));
    let sink = sink(&server.url(""));
    let outcomes = soon("the outcomes", sink.deliver_all(batch.collect::<Vec<_>>())).await.unwrap();
    // This server finds nothing, when it is asked for what is there.
    let there: Vec<_> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(there, [true, true, false, false]);
    assert_eq!(outcomes[0].as_ref().unwrap().reference.as_deref(), Some(&*id(1).to_string()));
    for why in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert_eq!(facts(why), (ErrorKind::Rejected, Status::Permanent, Sent::No), "{why}");
    }
}

#[tokio::test]
async fn what_is_not_as_safe_as_was_asked_for_is_not_said_to_be() {
    let concern =
        doc! { "code": 64, "codeName": "WriteConcernTimeout", "errmsg": "waiting for replication timed out" };
    let error = doc! { "index": 1, "code": 121, "errmsg": "Document failed validation" };
    let answer = doc! { "ok": 1, "n": 1, "writeErrors": [error], "writeConcernError": concern };
    let server = Scripted::start([Says::This(answer)]).await;
    let sink = sink(&server.url("retryWrites=false"));
    let outcomes = soon("the outcomes", sink.deliver_all(texts(&["1", "2"]))).await.unwrap();
    let why = outcomes[0].as_ref().unwrap_err();
    assert_eq!(facts(why), (ErrorKind::Timeout, Status::Transient, Sent::Maybe), "{why}");
    let why = outcomes[1].as_ref().unwrap_err();
    assert_eq!(facts(why), (ErrorKind::Rejected, Status::Permanent, Sent::No), "{why}");
}

#[tokio::test]
async fn the_write_concern_is_told_to_the_server_and_says_what_a_receipt_may() {
    let server = Scripted::start([]).await;
    for (options, told, level) in [
        ("", doc! { "w": "majority", "wtimeout": 30_000, "j": true }, Level::Stored),
        ("w=1&timeout=5s", doc! { "w": 1, "wtimeout": 5000 }, Level::Acknowledged),
        ("journal=true&wtimeoutMS=7", doc! { "wtimeout": 7, "j": true }, Level::Stored),
        ("w=2&journal=false", doc! { "w": 2, "wtimeout": 30_000, "j": false }, Level::Acknowledged),
        ("w=near", doc! { "w": "near", "wtimeout": 30_000 }, Level::Acknowledged),
    ] {
        let sink = sink(&server.url(options));
        let receipt = soon("a receipt", sink.deliver(Packet::text("x"))).await.unwrap();
        assert_eq!(receipt.level, level, "{options}");
        let (insert, _) = server.inserts().pop().unwrap();
        assert_eq!(insert.get_document("writeConcern").unwrap(), &told, "{options}");
        assert!(!insert.get_bool("ordered").unwrap());
    }
}

#[tokio::test]
async fn behind_a_failure_that_may_pass_nothing_is_tried() {
    let server = Scripted::start([
        Says::This(doc! { "ok": 1, "n": 2 }),
        partly(1, vec![doc! { "index": 1, "code": 112, "errmsg": "WriteConflict" }]),
    ])
    .await;
    let sink = sink(&server.url("documents=2&retryWrites=false"));
    let outcomes = soon("the outcomes", sink.deliver_all(texts(&["1", "2", "3", "4", "5", "6", "7"]))).await;
    let outcomes = outcomes.unwrap();
    let there: Vec<_> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(there, [true, true, true, false, false, false, false]);
    for (at, why) in outcomes.iter().enumerate().skip(3) {
        let why = why.as_ref().unwrap_err();
        assert_eq!(facts(why), (ErrorKind::Overloaded, Status::Transient, Sent::No), "{why}");
        assert_eq!(why.to_string().contains("not tried"), at > 3, "{why}");
    }
    assert_eq!(server.inserts().len(), 2);
}

#[tokio::test]
async fn an_insert_that_is_refused_for_one_of_its_documents_is_tried_without_it() {
    let done = |many: i32| Says::This(doc! { "ok": 1, "n": many });
    // Of 4, of the first 2, of the last 2, of the third, of the fourth.
    let server = Scripted::start([refusal(22), done(2), refusal(22), refusal(22), done(1)]).await;
    let sink = sink(&server.url("retryWrites=false"));
    let outcomes = soon("the outcomes", sink.deliver_all(texts(&["1", "2", "bad", "4"]))).await.unwrap();
    let kinds: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().err().map(haul_core::Error::kind)).collect();
    assert_eq!(kinds, [None, None, Some(ErrorKind::Codec), None]);
    let many: Vec<_> = server.inserts().into_iter().map(|(_, many)| many).collect();
    assert_eq!(many, [4, 2, 2, 1, 1]);
}

#[tokio::test]
async fn one_that_is_too_large_for_this_server_fails_alone() {
    let server = Scripted::taking(1000, []).await;
    let large = "x".repeat(1000);
    let sink = sink(&server.url(""));
    let outcomes = soon("the outcomes", sink.deliver_all(texts(&["1", &large, "3"]))).await.unwrap();
    let there: Vec<_> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(there, [true, false, true]);
    let why = outcomes[1].as_ref().unwrap_err();
    assert_eq!(facts(why), (ErrorKind::Rejected, Status::Permanent, Sent::No), "{why}");
    assert!(why.to_string().contains("must be within 1000 bytes"), "{why}");
}

#[tokio::test]
async fn a_connection_that_ends_before_the_answer_leaves_a_maybe() {
    let server = Scripted::start([Says::Nothing]).await;
    let sink = sink(&server.url("retryWrites=false"));
    let why = soon("the failure", sink.deliver(Packet::text("x"))).await.unwrap_err();
    assert_eq!(facts(&why), (ErrorKind::Closed, Status::Transient, Sent::Maybe), "{why}");
    soon("a delivery", sink.deliver(Packet::text("x"))).await.unwrap();
}

#[tokio::test]
async fn an_insert_takes_no_more_documents_and_bytes_than_the_bounds() {
    let server = Scripted::start([]).await;
    let many = |outcomes: Vec<haul_core::Result<_>>| outcomes.into_iter().filter(Result::is_ok).count();
    let batch: Vec<_> = (0..25).map(|number| Packet::text(number.to_string())).collect();
    assert_eq!(many(sink(&server.url("documents=10")).deliver_all(batch).await.unwrap()), 25);
    let large = vec![Packet::binary(vec![0; 3 << 20]); 3];
    assert_eq!(many(sink(&server.url("")).deliver_all(large).await.unwrap()), 3);
    let inserts: Vec<_> = server.inserts().into_iter().map(|(_, many)| many).collect();
    assert_eq!(inserts, [10, 10, 5, 2, 1]);
}
