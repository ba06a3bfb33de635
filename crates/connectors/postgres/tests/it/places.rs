//! What packets become in tables, and what rows become.

use haul_core::{
    Deliver, DeliverAll, Endpoint, Error, ErrorKind, Level, Packet, PacketId, Receipt, Sent, Sink, Source,
    Status,
};
use haul_postgres::{PostgresConfig, PostgresSink, QueueConfig};

use crate::server::Postgres;
use crate::support::{facts, queue, sink, soon};

fn id(number: u8) -> PacketId {
    PacketId::from_bytes([number; 16])
}

fn stored() -> Receipt {
    Receipt::new(Level::Stored, None)
}

fn kinds(outcomes: &[haul_core::Result<Receipt>]) -> Vec<Option<ErrorKind>> {
    outcomes.iter().map(|outcome| outcome.as_ref().err().map(Error::kind)).collect()
}

fn references(outcomes: Vec<haul_core::Result<Receipt>>) -> Vec<String> {
    outcomes.into_iter().map(|outcome| outcome.unwrap().reference.unwrap().into_owned()).collect()
}

#[tokio::test]
async fn a_row_has_all_of_a_packet_and_its_seq_is_the_reference() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let sink = sink(&postgres.url("table=events&create=true"));
    let packet = Packet::text("{\"a\":1}").with("session_id", "s1").with("type", "click").with_id(id(7));
    let receipt = sink.deliver(packet).await.unwrap();
    assert_eq!((receipt.level, receipt.id), (Level::Stored, Some(id(7))));
    let columns = "seq, id, kind, encode(payload, 'escape'), metadata->>'session_id', metadata->>'type'";
    let row = postgres.psql(&format!("select {columns} from events where stored_at is not null"));
    let seq = receipt.reference.unwrap();
    assert_eq!(row, format!("{seq}|{}|text|{{\"a\":1}}|s1|click", id(7)));
}

#[tokio::test]
async fn a_call_is_one_transaction_and_one_above_its_rows_several() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let transactions =
        |table: &str| postgres.psql(&format!("select count(distinct xmin::text) from {table}"));
    for (table, options, count) in [("one", "", "1"), ("several", "&rows=10", "4")] {
        let sink = sink(&postgres.url(&format!("table={table}&create=true{options}")));
        let batch: Vec<_> = (0..35).map(|number| Packet::text(number.to_string())).collect();
        let seqs = references(sink.deliver_all(batch).await.unwrap());
        assert_eq!(transactions(table), count, "{table}");
        let found =
            postgres.psql(&format!("select seq from {table} order by encode(payload, 'escape')::int"));
        assert_eq!(found.lines().collect::<Vec<_>>(), seqs, "the references of {table}");
    }
    // A statement takes no more after 4 MiB.
    let sink = sink(&postgres.url("table=bytes&create=true"));
    let batch = vec![Packet::binary(vec![0; 3 << 20]); 3];
    references(sink.deliver_all(batch).await.unwrap());
    assert_eq!(transactions("bytes"), "2");
}

#[tokio::test]
async fn text_alone_makes_the_same_rows_as_among_packets_that_have_more() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    for payload in ["bytea", "text", "jsonb"] {
        let sink = sink(&postgres.url(&format!("table={payload}_rows&create=true&payload={payload}")));
        let text = || Packet::text("{}");
        let alone = references(sink.deliver_all(vec![text(), text()]).await.unwrap());
        let among = references(sink.deliver_all(vec![text(), text().identified()]).await.unwrap());
        let row = |seq: &str| {
            let columns = "id is null, kind, payload, metadata, stored_at is null";
            postgres.psql(&format!("select {columns} from {payload}_rows where seq = {seq}"))
        };
        let shown = if payload == "bytea" { "\\x7b7d" } else { "{}" };
        assert_eq!(row(&among[0]), format!("t|text|{shown}|{{}}|f"));
        assert_eq!([row(&alone[0]), row(&alone[1])], [row(&among[0]), row(&among[0])]);
        assert!(alone[0] < alone[1], "{alone:?}");
    }
}

#[tokio::test]
async fn all_of_a_packet_comes_back_through_the_source() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let url = postgres.url("table=events&create=true");
    let sent = [
        Packet::binary(vec![0, 255, 10]).with("k", "v\u{e4} \"'\\"),
        Packet::text("plain\0").identified(),
        Packet::text(""),
    ];
    for outcome in sink(&url).deliver_all(sent.to_vec()).await.unwrap() {
        outcome.unwrap();
    }
    let mut source = queue(&url);
    for packet in &sent {
        let delivery = soon("a packet", source.next()).await.unwrap().unwrap();
        assert_eq!(delivery.packet(), packet);
        delivery.ack(stored()).await.unwrap();
    }
    assert_eq!(postgres.psql("select count(*) from events"), "0");
}

#[tokio::test]
async fn what_comes_again_is_not_stored_again_and_its_receipt_names_the_first() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let sink = sink(&postgres.url("table=events&create=true"));
    let first = sink.deliver(Packet::text("first").with_id(id(1))).await.unwrap().reference.unwrap();
    let batch = vec![
        Packet::text("plain"),
        Packet::text("again").with_id(id(1)),
        Packet::text("second").with_id(id(2)),
        Packet::text("second again").with_id(id(2)),
        Packet::text("plain"),
    ];
    let outcomes = sink.deliver_all(batch).await.unwrap();
    assert!(outcomes.iter().flatten().all(|receipt| receipt.level == Level::Stored));
    let seqs = references(outcomes);
    let rows = postgres.psql("select seq || ' ' || encode(payload, 'escape') from events order by seq");
    let [plain, again, second, twice, last] = &seqs[..] else { panic!("{seqs:?}") };
    assert_eq!((again, twice), (&first.to_string(), second));
    assert_eq!(rows, format!("{first} first\n{plain} plain\n{second} second\n{last} plain"));
}

#[tokio::test]
async fn a_row_that_a_trigger_leaves_out_is_not_said_to_be_stored() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let sink = sink(&postgres.url("table=events&create=true"));
    sink.ready().await.unwrap();
    postgres.psql(
        "create function leave_out() returns trigger language plpgsql as
            $$ begin return case when new.metadata ? 'out' then null else new end; end $$;
        create trigger leave_out before insert on events for each row execute function leave_out()",
    );
    let out = |text: &str| Packet::text(text.to_owned()).with("out", "");
    let batch =
        vec![out("1"), Packet::text("2"), out("3").identified(), Packet::text("4").identified(), out("5")];
    let receipts: Vec<_> = sink.deliver_all(batch).await.unwrap().into_iter().map(Result::unwrap).collect();
    // Which of those without an id it was, is not known.
    for (at, receipt) in receipts.iter().enumerate() {
        let (level, known) = if at == 3 { (Level::Stored, true) } else { (Level::Acknowledged, false) };
        assert_eq!((receipt.level, receipt.reference.is_some()), (level, known), "packet {at}");
    }
    let receipt = sink.deliver(Packet::text("6")).await.unwrap();
    assert_eq!((receipt.level, receipt.reference.is_some()), (Level::Stored, true));
}

#[tokio::test]
async fn one_that_the_server_refuses_fails_alone_and_the_others_keep_their_order() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let sink = sink(&postgres.url("table=events&create=true&payload=text"));
    sink.ready().await.unwrap();
    postgres.psql("alter table events add check (payload <> 'bad')");
    let texts = ["1", "bad", "2", "3", "with a \0", "4", "5", "bad", "bad", "6"];
    let mut batch: Vec<_> = texts.iter().map(|text| Packet::text(*text)).collect();
    batch.push(Packet::text("7").with("k", "\0"));
    let outcomes = sink.deliver_all(batch).await.unwrap();
    let (rejected, codec) = (Some(ErrorKind::Rejected), Some(ErrorKind::Codec));
    let want = [None, rejected, None, None, codec, None, None, rejected, rejected, None, codec];
    assert_eq!(kinds(&outcomes), want);
    for why in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert_eq!((why.status(), why.sent()), (Status::Permanent, Sent::No), "{why}");
        assert!(why.to_string().contains("deliver to postgres events: "), "{why}");
    }
    let rows = postgres.psql("select seq || ' ' || payload from events order by seq");
    let seqs = references(outcomes.into_iter().filter(Result::is_ok).collect());
    let want: Vec<_> = seqs.iter().zip(1..).map(|(seq, number)| format!("{seq} {number}")).collect();
    assert_eq!(rows.lines().collect::<Vec<_>>(), want);
}

#[tokio::test]
async fn text_and_json_are_columns_that_can_be_asked_and_hold_nothing_else() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let url = postgres.url("table=events&create=true&payload=jsonb");
    let json = sink(&url);
    let batch = vec![Packet::text(r#"{"user": 7}"#), Packet::text("no json"), Packet::binary("{}")];
    let outcomes = json.deliver_all(batch).await.unwrap();
    assert_eq!(kinds(&outcomes), [None, Some(ErrorKind::Codec), Some(ErrorKind::Unsupported)]);
    assert_eq!(postgres.psql("select (payload->'user')::int + 1 from events"), "8");
    let delivery = soon("a packet", queue(&url).next()).await.unwrap().unwrap();
    assert_eq!(delivery.packet().as_text(), Some(r#"{"user": 7}"#));

    let text = sink(&postgres.url("table=texts&create=true&payload=text"));
    text.deliver(Packet::text("caf\u{e9}")).await.unwrap();
    assert_eq!(postgres.psql("select upper(payload) = 'CAF' || upper(U&'\\00e9') from texts"), "t");
    let why = text.deliver(Packet::binary("x")).await.unwrap_err();
    assert_eq!(facts(&why), (ErrorKind::Unsupported, Status::Permanent, Sent::No), "{why}");
}

#[tokio::test]
async fn a_table_is_made_on_request_alone_by_whoever_comes_first() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let url = postgres.url("table=Some Schema.Odd%20%22Name%22");
    let url = url.replace(' ', "%20");
    postgres.psql(r#"create schema "Some Schema""#);
    let why = sink(&url).deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(facts(&why), (ErrorKind::NotFound, Status::Permanent, Sent::No), "{why}");
    assert_eq!(sink(&url).ready().await.unwrap_err().kind(), ErrorKind::NotFound);
    let why = soon("an error", queue(&url).next()).await.unwrap_err();
    assert_eq!((why.kind(), why.status()), (ErrorKind::NotFound, Status::Permanent), "{why}");

    let mut makers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let sink = sink(&format!("{url}&create=true"));
        makers.spawn(async move { sink.deliver(Packet::text("x")).await });
    }
    for made in soon("the makers", makers.join_all()).await {
        made.unwrap();
    }
    assert_eq!(postgres.psql(r#"select count(*) from "Some Schema"."Odd ""Name""""#), "8");
}

#[tokio::test]
async fn rows_of_others_come_as_packets_and_one_that_is_none_stays_and_is_told() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let url = postgres.url("table=outbox&create=true&max_unacked=3&poll=20ms");
    sink(&url.replace("&max_unacked=3&poll=20ms", "")).ready().await.unwrap();
    postgres.psql(
        "insert into outbox (payload, metadata) values ('hi', '{\"n\": 1.5, \"s\": \"t\"}');
        insert into outbox (payload) values ('\\xff');
        insert into outbox (payload) values ('ho')",
    );
    let mut source = queue(&url);
    let first = soon("the first", source.next()).await.unwrap().unwrap();
    assert_eq!(first.packet(), &Packet::text("hi").with("n", "1.5").with("s", "t"));
    let why = soon("the one that is none", source.next()).await.unwrap_err();
    assert_eq!((why.kind(), why.context().next()), (ErrorKind::Codec, Some(("seq", "2"))), "{why}");
    let last = soon("the last", source.next()).await.unwrap().unwrap();
    assert_eq!(last.packet().as_text(), Some("ho"));
    first.ack(stored()).await.unwrap();
    last.ack(stored()).await.unwrap();
    assert_eq!(postgres.psql("select seq from outbox"), "2");
    // Each counts as given.
    postgres.psql("insert into outbox (payload) select '\\xff' from generate_series(1, 5)");
    for _ in 0..2 {
        soon("another that is none", source.next()).await.unwrap_err();
    }
    let more = tokio::time::timeout(std::time::Duration::from_millis(300), source.next()).await;
    assert!(more.is_err(), "more than three are open: {more:?}");
}

#[tokio::test]
async fn one_source_reads_a_table_and_the_next_when_it_is_gone() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let url = postgres.url("table=events&create=true");
    sink(&url).deliver_all(vec![Packet::text("1"), Packet::text("2")]).await.unwrap();
    let mut first = queue(&url);
    let held = soon("a packet", first.next()).await.unwrap().unwrap();
    let mut second = tokio::spawn({
        let url = url.clone();
        async move { queue(&url).next().await.unwrap().unwrap().packet().clone() }
    });
    // It tries, and is turned away: its connection was made and is gone again.
    let tries = "select count(*) from pg_stat_activity where application_name = 'haul'";
    soon("the second to try", async {
        while postgres.psql(tries) == "1" {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(!second.is_finished(), "two sources read one table");
    held.ack(stored()).await.unwrap();
    drop(first);
    let next = soon("the second", &mut second).await.unwrap();
    assert_eq!(next.as_text(), Some("2"));
}

#[tokio::test]
async fn a_unix_socket_is_a_way_too() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let folder = postgres.folder().display();
    let url =
        format!("postgres://postgres@127.0.0.1:{}/postgres?host={folder}&table=t&create=true", postgres.port);
    let sink = sink(&url);
    sink.deliver(Packet::text("x")).await.unwrap();
    let clients = "select client_addr is null from pg_stat_activity where application_name = 'haul'";
    assert_eq!(postgres.psql(clients), "t");
}

#[test]
fn options_that_nobody_reads_or_that_cannot_be_are_errors() {
    let sink = |options: &str| {
        let endpoint = Endpoint::parse(&format!("postgres://u:secret@h/db?{options}"))?;
        PostgresSink::new(PostgresConfig::from_endpoint(&endpoint)?).map(drop)
    };
    sink("table=t&sslmode=verify-full&connect_timeout=10&timeout=5s").unwrap();
    sink("table=t&sslmode=disable&options=-c%20search_path%3Dx&application_name=me").unwrap();
    for (options, says) in [
        ("", "it needs a table"),
        ("table=t&sslmod=disable", "did you mean sslmode?"),
        ("table=t&sslmode=verify-ca", "disable, prefer, or require"),
        ("table=t&sslmode=prefer&insecure=true", "needs sslmode=require"),
        ("table=t&ca=/nowhere", "/nowhere"),
        ("table=a.b.c", "schema.name"),
        ("table=t&payload=json", "bytea, text or jsonb"),
        ("table=t&rows=0", "rows must be more than 0"),
        ("table=t&max_packet=300MiB", "at most 256 MiB"),
        ("table=t&poll=1s", "unknown option poll"),
    ] {
        let why = sink(options).unwrap_err();
        assert_eq!(why.kind(), ErrorKind::Config, "{why}");
        assert!(why.to_string().contains(says) && !format!("{why:?}").contains("secret"), "{why}");
    }
    for options in ["table=t&max_unacked=0", "table=t&poll=0s"] {
        let endpoint = Endpoint::parse(&format!("postgres://h/db?{options}")).unwrap();
        let source = haul_postgres::PostgresSource::new(QueueConfig::from_endpoint(&endpoint).unwrap());
        assert_eq!(source.unwrap_err().kind(), ErrorKind::Config, "{options}");
    }
}
