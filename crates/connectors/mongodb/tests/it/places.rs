//! What packets become in collections.

use haul_core::{
    Deliver, DeliverAll, Endpoint, Error, ErrorKind, Level, Packet, Receipt, Result, Sent, Sink, Status,
};
use haul_mongodb::{MongoConfig, MongoSink};
use mongodb::bson::{Bson, doc};

use crate::server::Ferret;
use crate::support::{documents, facts, id, payloads, sink, soon};

fn kinds(outcomes: &[Result<Receipt>]) -> Vec<Option<ErrorKind>> {
    outcomes.iter().map(|outcome| outcome.as_ref().err().map(Error::kind)).collect()
}

#[tokio::test]
async fn a_document_has_all_of_a_packet_and_its_id_is_the_reference() {
    let Some(ferret) = Ferret::start(&[]) else { return };
    let sink = sink(&ferret.url("collection=events"));
    let sent = [
        Packet::text("caf\u{e9}\0").with("session_id", "s1").with("type", "click").with_id(id(7)),
        Packet::binary(vec![0, 255, 10]),
    ];
    let receipts = sink.deliver_all(sent.to_vec()).await.unwrap();
    let receipts: Vec<_> = receipts.into_iter().map(Result::unwrap).collect();
    assert_eq!((receipts[0].level, receipts[0].id), (Level::Stored, Some(id(7))));
    let found = documents(ferret.port, "db", "events").await;
    for (document, receipt) in found.iter().zip(&receipts) {
        let reference = match document.get("_id") {
            Some(Bson::Binary(id)) => id.to_uuid().unwrap().to_string(),
            Some(Bson::ObjectId(id)) => id.to_hex(),
            other => panic!("the _id is {other:?}"),
        };
        assert_eq!(receipt.reference.as_deref(), Some(&*reference));
        assert!(document.get_datetime("sent_at").is_ok());
    }
    assert_eq!(found[0].get_str("kind").unwrap(), "text");
    assert_eq!(found[0].get_document("metadata").unwrap(), &doc! { "session_id": "s1", "type": "click" });
    assert_eq!(found[1].get_str("kind").unwrap(), "binary");
    assert!(found[1].get_document("metadata").unwrap().is_empty());
    // As another client sees it.
    let program = "first, second = db.events.find().sort('seq')
print(first['_id'].as_uuid(), ascii(first['payload']), first['metadata']['type'], second['payload'])";
    if let Some(printed) = ferret.pymongo(program) {
        assert_eq!(printed, format!(r"{} 'caf\xe9\x00' click b'\x00\xff\n'", id(7)));
    }
}

#[tokio::test]
async fn what_comes_again_is_not_stored_again_and_its_receipt_is_that_of_the_first() {
    let Some(ferret) = Ferret::start(&[]) else { return };
    let sink = sink(&ferret.url("collection=events"));
    let first = sink.deliver(Packet::text("first").with_id(id(1))).await.unwrap();
    let batch = vec![
        Packet::text("plain"),
        Packet::text("again").with_id(id(1)),
        Packet::text("second").with_id(id(2)),
        Packet::text("second again").with_id(id(2)),
        Packet::text("plain"),
    ];
    let outcomes: Vec<_> = sink.deliver_all(batch).await.unwrap().into_iter().map(Result::unwrap).collect();
    let what = |receipt: &Receipt| (receipt.level, receipt.id, receipt.reference.clone());
    assert_eq!(what(&outcomes[1]), what(&first));
    assert_eq!(what(&outcomes[3]), what(&outcomes[2]));
    assert_eq!(payloads(ferret.port, "events").await, ["first", "plain", "second", "plain"]);
}

#[tokio::test]
async fn one_that_another_unique_index_refuses_is_no_duplicate() {
    let Some(ferret) = Ferret::start(&[]) else { return };
    let Some(_) = ferret.pymongo("db.events.create_index('metadata.user', unique=True)") else { return };
    let sink = sink(&ferret.url("collection=events"));
    let of = |user: &'static str, number: u8| Packet::text(user).with("user", user).with_id(id(number));
    sink.deliver(of("a", 1)).await.unwrap();
    let outcomes = sink.deliver_all(vec![of("b", 2), of("a", 3), of("c", 1), of("d", 4)]).await.unwrap();
    assert_eq!(kinds(&outcomes), [None, Some(ErrorKind::Rejected), None, None]);
    let why = outcomes[1].as_ref().unwrap_err();
    assert_eq!(facts(why), (ErrorKind::Rejected, Status::Permanent, Sent::No), "{why}");
    assert!(why.to_string().contains("deliver to mongodb db.events: E11000 duplicate key"), "{why}");
    assert_eq!(payloads(ferret.port, "events").await, ["a", "b", "d"]);
}

#[tokio::test]
async fn one_that_the_server_refuses_fails_alone_and_the_others_keep_their_order() {
    let Some(ferret) = Ferret::start(&[]) else { return };
    let sink = sink(&ferret.url("collection=events&max_packet=100"));
    let text = |text: &str| Packet::text(text.to_owned());
    let batch = vec![
        text("1"),
        // FerretDB does not take it; MongoDB does.
        text("2").with("$a", ""),
        text("3"),
        text("4").with("a\0", ""),
        text(&"5".repeat(101)),
        text("6"),
    ];
    let outcomes = sink.deliver_all(batch).await.unwrap();
    let want = [
        None,
        Some(ErrorKind::Rejected),
        None,
        Some(ErrorKind::Unsupported),
        Some(ErrorKind::TooLarge),
        None,
    ];
    assert_eq!(kinds(&outcomes), want);
    for why in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert_eq!((why.status(), why.sent()), (Status::Permanent, Sent::No), "{why}");
    }
    assert_eq!(payloads(ferret.port, "events").await, ["1", "3", "6"]);
}

#[tokio::test]
async fn packets_choose_their_database_and_collection() {
    let Some(ferret) = Ferret::start(&[]) else { return };
    let url = format!("mongodb://127.0.0.1:{}/of-{{tenant|none}}?collection=c-{{type}}", ferret.port);
    let of = |text: &'static str, tenant: &'static str, kind: &'static str| {
        Packet::text(text).with("tenant", tenant).with("type", kind)
    };
    let batch = vec![
        of("1", "a", "x"),
        of("2", "a", "y"),
        of("3", "b", "x"),
        Packet::text("4").with("type", "x"),
        of("5", "a", "x"),
        Packet::text("6"),
        of("7", "no database", "x"),
    ];
    let outcomes = sink(&url).deliver_all(batch).await.unwrap();
    let refused = Some(ErrorKind::Rejected);
    assert_eq!(kinds(&outcomes), [None, None, None, None, None, refused, Some(ErrorKind::Config)]);
    for (database, collection, texts) in [
        ("of-a", "c-x", vec!["1", "5"]),
        ("of-a", "c-y", vec!["2"]),
        ("of-b", "c-x", vec!["3"]),
        ("of-none", "c-x", vec!["4"]),
    ] {
        let found = documents(ferret.port, database, collection).await;
        let found: Vec<_> = found.iter().map(|document| document.get_str("payload").unwrap()).collect();
        assert_eq!(found, texts, "{database}.{collection}");
    }
}

#[tokio::test]
async fn json_becomes_what_can_be_asked_for_and_nothing_else_does() {
    let Some(ferret) = Ferret::start(&[]) else { return };
    let sink = sink(&ferret.url("collection=events&payload=json"));
    let batch = vec![
        Packet::text(r#"{"user": {"id": 7}, "tags": ["a", null, 1.5, 9000000000]}"#),
        Packet::text("no json"),
        Packet::text("7"),
        Packet::binary("{}"),
        Packet::text(r#"["b"]"#),
    ];
    let outcomes = sink.deliver_all(batch).await.unwrap();
    let (codec, unsupported) = (Some(ErrorKind::Codec), Some(ErrorKind::Unsupported));
    assert_eq!(kinds(&outcomes), [None, codec, codec, unsupported, None]);
    let found = documents(ferret.port, "db", "events").await;
    let first = doc! { "user": { "id": 7 }, "tags": ["a", null, 1.5, 9_000_000_000_i64] };
    assert_eq!(found[0].get_document("payload").unwrap(), &first);
    assert_eq!(found[1].get_array("payload").unwrap(), &[Bson::String("b".to_owned())]);
    if let Some(printed) = ferret.pymongo("print(db.events.count_documents({'payload.user.id': 7}))") {
        assert_eq!(printed, "1");
    }
}

#[tokio::test]
async fn the_largest_document_arrives_and_one_above_it_is_refused_here() {
    let Some(ferret) = Ferret::start(&[]) else { return };
    let sink = sink(&ferret.url("collection=events&max_packet=16MiB"));
    let packet = |len: usize| Packet::binary(vec![7; len]);
    let outcomes = sink.deliver_all(vec![packet(15 << 20), packet(16 << 20), packet(1)]).await.unwrap();
    assert_eq!(kinds(&outcomes), [None, Some(ErrorKind::TooLarge), None]);
    let lengths: Vec<_> = payloads(ferret.port, "events").await.iter().map(|bytes| bytes.len()).collect();
    assert_eq!(lengths, [15 << 20, 1]);
}

#[tokio::test]
async fn many_more_than_an_insert_takes_arrive_in_order() {
    let Some(ferret) = Ferret::start(&[]) else { return };
    let sink = sink(&ferret.url("collection=events&documents=70"));
    let texts: Vec<_> = (0..500).map(|number| format!("{number}")).collect();
    let batch: Vec<_> = texts.iter().map(|text| Packet::text(text.clone())).collect();
    for outcome in soon("the outcomes", sink.deliver_all(batch)).await.unwrap() {
        outcome.unwrap();
    }
    assert_eq!(payloads(ferret.port, "events").await, texts);
    sink.close().await.unwrap();
}

#[test]
fn options_that_nobody_reads_or_that_cannot_be_are_errors() {
    let sink = |url: &str| MongoSink::new(MongoConfig::from_endpoint(&Endpoint::parse(url)?)?).map(drop);
    for sound in [
        "db?collection=c&w=majority&journal=true&wtimeoutMS=100&timeout=5s&connect_timeout=1s",
        "db?collection=c&hosts=b:27018,c:27019&replicaSet=rs0&authSource=admin&authMechanism=SCRAM-SHA-256",
        "of-{tenant}?collection=c-{/a/b|none}&tls=true&appName=me&directConnection=true&payload=json",
    ] {
        sink(&format!("mongodb://u:secret@h/{sound}")).unwrap_or_else(|why| panic!("{sound}: {why}"));
    }
    for (options, says) in [
        ("?collection=c", "it needs a database"),
        ("db", "it needs a collection"),
        ("db?collection=c&replicaset=rs0", "did you mean replicaSet?"),
        ("db?collection=c&socketTimeoutMS=7", "unknown option socketTimeoutMS"),
        ("db?collection=c&w=0", "w=1 is the least"),
        ("db?collection=c&w=-1", "negative"),
        ("db?collection=c&journal=maybe", "must be a boolean"),
        ("db?collection=c&authMechanism=magic", "magic"),
        ("db?collection=c&payload=text", "plain or json"),
        ("db?collection=c&documents=0", "between 1 and 100000"),
        ("db?collection=c&documents=100001", "between 1 and 100000"),
        ("db?collection=c&max_packet=17MiB", "at most 16 MiB"),
        ("db?collection={a", "template"),
    ] {
        let why = sink(&format!("mongodb://u:secret@h/{options}")).unwrap_err();
        assert_eq!(why.kind(), ErrorKind::Config, "{why}");
        assert!(why.to_string().contains(says), "{options}: {why}");
        assert!(!format!("{why:?}").contains("secret"), "{why:?}");
    }
}
