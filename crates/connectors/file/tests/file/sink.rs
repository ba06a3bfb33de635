use std::fs;
use std::process::Command;
use std::sync::Arc;

use haul_core::{Deliver, DeliverAll, ErrorKind, Level, Packet, PacketId, Sent, Sink, Status};
use haul_file::{FileConfig, FileSink, Format, Fsync};

use crate::within;

#[tokio::test]
async fn another_languages_json_reads_back_what_was_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.jsonl");
    let sink = FileSink::new(FileConfig::new(&path)).unwrap();
    let id = PacketId::random();
    let packets = vec![
        Packet::text("quote \" line\nfeed \u{2028} ü \u{0}").with("session", "7").with_id(id),
        Packet::binary((0..=255).collect::<Vec<u8>>()),
    ];
    let outcomes = sink.deliver_all(packets).await.unwrap();
    assert_eq!(outcomes[0].as_ref().unwrap().id, Some(id));
    assert!(outcomes.iter().all(|outcome| outcome.as_ref().unwrap().level == Level::Stored));
    let script = r#"
import base64, datetime, json, sys
a, b = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8", newline="\n")]
assert a["payload"] == 'quote " line\nfeed \u2028 ü \0' and a["kind"] == "text", a
assert a["id"] == sys.argv[2] and a["metadata"] == {"session": "7"}, a
assert b["kind"] == "binary" and base64.b64decode(b["payload_base64"]) == bytes(range(256)), b
assert "id" not in b and "metadata" not in b, b
at = datetime.datetime.fromisoformat(a["at"][:19] + "+00:00")
assert abs(datetime.datetime.now(datetime.timezone.utc) - at) < datetime.timedelta(hours=1), at
"#;
    let python =
        Command::new("python3").args(["-c", script]).arg(&path).arg(id.to_string()).output().unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
}

#[tokio::test]
async fn in_a_batch_only_the_packet_that_the_format_cannot_hold_fails() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let sink = FileSink::new(FileConfig { format: Format::Raw, ..FileConfig::new(&path) }).unwrap();
    let packets = ["one", "two\nlines", "three"].map(Packet::text).to_vec();
    let outcomes = sink.deliver_all(packets).await.unwrap();
    let refused = outcomes[1].as_ref().unwrap_err();
    assert_eq!(
        (refused.kind(), refused.status(), refused.sent()),
        (ErrorKind::Codec, Status::Permanent, Sent::No)
    );
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\nthree\n");
}

#[tokio::test]
async fn only_a_sync_before_the_answer_makes_it_stored() {
    let directory = tempfile::tempdir().unwrap();
    let every = Fsync::Every(std::time::Duration::from_millis(1));
    for (fsync, level) in [(Fsync::Always, Level::Stored), (Fsync::Never, Level::Sent), (every, Level::Sent)]
    {
        let sink =
            FileSink::new(FileConfig { fsync, ..FileConfig::new(directory.path().join("log")) }).unwrap();
        assert_eq!(sink.deliver(Packet::text("a")).await.unwrap().level, level);
        sink.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_calls_never_mix_their_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let sink = Arc::new(FileSink::new(FileConfig { format: Format::Raw, ..FileConfig::new(&path) }).unwrap());
    let tasks: Vec<_> = (0..32)
        .map(|task| {
            let sink = sink.clone();
            tokio::spawn(async move {
                for n in 0..20 {
                    let text = format!("{task} {n} {}", "x".repeat(200));
                    sink.deliver(Packet::text(text)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        within("32 tasks to deliver", task).await.unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    let mut next = [0; 32];
    for line in text.lines() {
        let mut parts = line.split(' ');
        let task: usize = parts.next().unwrap().parse().unwrap();
        assert_eq!(parts.next(), Some(next[task].to_string().as_str()), "in order within a task");
        assert_eq!(parts.next().map(str::len), Some(200));
        next[task] += 1;
    }
    assert_eq!(next, [20; 32]);
}

#[tokio::test]
async fn a_place_that_cannot_be_written_says_what_to_do_and_works_when_it_is_mended() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("missing/deeper/log");
    let sink = FileSink::new(FileConfig::new(&path)).unwrap();
    let error = sink.deliver(Packet::text("a")).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::NotFound, Sent::No));
    assert!(error.to_string().contains("create_dirs=true"), "{error}");
    assert!(sink.ready().await.is_err());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    sink.ready().await.unwrap();
    sink.deliver(Packet::text("a")).await.unwrap();

    let config = FileConfig { create_dirs: true, ..FileConfig::new(directory.path().join("made/log")) };
    FileSink::new(config).unwrap().deliver(Packet::text("a")).await.unwrap();

    let error = FileSink::new(FileConfig::new(directory.path())).unwrap().ready().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let error = FileSink::new(FileConfig::new(path.join("below a file"))).unwrap().ready().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
}

/// Not even root may make a file in sysfs, so this holds whoever runs the tests.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_read_only_directory_is_named_with_what_to_do() {
    let sink = FileSink::new(FileConfig::new("/sys/haul.jsonl")).unwrap();
    let error = sink.deliver(Packet::text("a")).await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Io, Sent::No));
    let text = error.to_string();
    assert!(text.contains("/sys/haul.jsonl") && text.contains("let this user write"), "{text}");
}

#[tokio::test]
async fn a_torn_end_does_not_reach_the_next_record() {
    let directory = tempfile::tempdir().unwrap();
    let cases: [(Format, &[u8], &[u8]); 3] = [
        (Format::Raw, b"whole\nto", b"whole\nto\nnew\n"),
        (Format::Raw, b"whole\n", b"whole\nnew\n"),
        (Format::Length, b"\0\0\0\x01a\0\0\0\x09tor", b"\0\0\0\x01a\0\0\0\x03new"),
    ];
    for (n, (format, before, after)) in cases.into_iter().enumerate() {
        let path = directory.path().join(n.to_string());
        fs::write(&path, before).unwrap();
        let sink = FileSink::new(FileConfig { format, ..FileConfig::new(&path) }).unwrap();
        sink.deliver(Packet::text("new")).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), after);
    }
}

#[tokio::test]
async fn a_second_sink_on_the_file_is_refused_until_the_first_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let open = || FileSink::new(FileConfig::new(directory.path().join("log"))).unwrap();
    let (first, second) = (open(), open());
    first.deliver(Packet::text("a")).await.unwrap();
    let error = second.deliver(Packet::text("b")).await.unwrap_err();
    assert_eq!((error.kind(), error.status(), error.sent()), (ErrorKind::Io, Status::Transient, Sent::No));
    assert!(error.to_string().contains("another sink"), "{error}");
    first.close().await.unwrap();
    second.deliver(Packet::text("b")).await.unwrap();
    let error = first.deliver(Packet::text("c")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    first.close().await.unwrap();
}

#[tokio::test]
async fn a_file_that_others_rename_is_made_anew_and_one_that_they_empty_is_gone_on_with() {
    let directory = tempfile::tempdir().unwrap();
    let (path, moved) = (directory.path().join("log"), directory.path().join("log.1"));
    let sink = FileSink::new(FileConfig { format: Format::Raw, ..FileConfig::new(&path) }).unwrap();
    sink.deliver(Packet::text("one")).await.unwrap();
    fs::rename(&path, &moved).unwrap();
    sink.deliver(Packet::text("two")).await.unwrap();
    assert_eq!(fs::read_to_string(&moved).unwrap(), "one\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    sink.deliver(Packet::text("three")).await.unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
}
