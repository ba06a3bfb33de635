use std::time::Duration;

use haul_core::{Deliver, Endpoint, ErrorKind, Level, Packet, Registry, Source};
use haul_file::{CheckpointAt, FileConfig, FileSink, FollowConfig, Format, Fsync, Start, register};

fn endpoint(text: &str) -> Endpoint {
    text.parse().unwrap()
}

#[test]
fn a_url_and_a_table_say_the_same_for_the_sink() {
    let expected = FileConfig {
        format: Format::Raw,
        max_size: Some(64 << 20),
        rotate: Some(Duration::from_secs(86_400)),
        keep: Some(10),
        fsync: Fsync::Every(Duration::from_secs(1)),
        create_dirs: true,
        ..FileConfig::new("/var/log/my events")
    };
    let url = "file:///var/log/my%20events?format=raw&max_size=64MiB&rotate=daily&keep=10&fsync=1s&create_dirs=true";
    assert_eq!(FileConfig::from_endpoint(&endpoint(url)).unwrap(), expected);
    let table = "path = '/var/log/my events'\nformat = 'raw'\nmax_size = '64MiB'\nrotate = 'daily'\nkeep = 10\n\
                 fsync = '1s'\ncreate_dirs = true";
    assert_eq!(toml::from_str::<FileConfig>(table).unwrap(), expected);
    let least = FileConfig::new("relative/a");
    assert_eq!(FileConfig::from_endpoint(&endpoint("file:relative/a")).unwrap(), least);
    assert_eq!(toml::from_str::<FileConfig>("path = 'relative/a'").unwrap(), least);
}

#[test]
fn a_url_and_a_table_say_the_same_for_the_source() {
    let expected = FollowConfig {
        format: Format::Length,
        follow: false,
        poll: Duration::from_millis(20),
        start: Start::Oldest,
        checkpoint: CheckpointAt::Path("/tmp/c".into()),
        max_unacked: 7,
        max_packet: 1_024,
        ..FollowConfig::new("/a")
    };
    let url = "file:///a?format=length&follow=false&poll=20ms&start=oldest&checkpoint=/tmp/c&max_unacked=7&max_packet=1KiB";
    assert_eq!(FollowConfig::from_endpoint(&endpoint(url)).unwrap(), expected);
    let table = "path = '/a'\nformat = 'length'\nfollow = false\npoll = '20ms'\nstart = 'oldest'\n\
                 checkpoint = '/tmp/c'\nmax_unacked = 7\nmax_packet = 1024";
    assert_eq!(toml::from_str::<FollowConfig>(table).unwrap(), expected);
    assert_eq!(FollowConfig::from_endpoint(&endpoint("file:///a")).unwrap(), FollowConfig::new("/a"));
    assert_eq!(toml::from_str::<FollowConfig>("path = '/a'").unwrap(), FollowConfig::new("/a"));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_touched() {
    let mut registry = Registry::new();
    register(&mut registry);
    for wrong in [
        "file://",
        "file:///",
        "file://host/a",
        "file:///a?fromat=raw",
        "file:///a?format=xml",
        "file:///a?fsync=sometimes",
        "file:///a?keep=3",
        "file:///a?max_size=0",
        "file:///a?rotate=10ms",
    ] {
        let error = registry.open_sink(endpoint(wrong)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{wrong}: {error}");
    }
    for wrong in ["file:///a?poll=0", "file:///a?max_unacked=0", "file:///a?keep=1", "file:///a?start=middle"]
    {
        let error = registry.open_source(endpoint(wrong)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{wrong}: {error}");
    }
    assert!(toml::from_str::<FileConfig>("path = 'a'\nkep = 3").is_err());
    assert!(
        FileSink::new(FileConfig { fsync: Fsync::Every(Duration::ZERO), ..FileConfig::new("a") }).is_err()
    );
}

#[tokio::test]
async fn the_registry_opens_both_ends() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}/a", directory.path().display());
    let mut registry = Registry::new();
    register(&mut registry);
    let sink = registry.open_sink(endpoint(&url)).await.unwrap();
    assert_eq!(sink.deliver(Packet::text("hi")).await.unwrap().level, Level::Stored);
    let mut source = registry.open_source(endpoint(&format!("{url}?follow=false"))).await.unwrap();
    assert_eq!(source.next().await.unwrap().unwrap().packet(), &Packet::text("hi"));
    assert!(source.next().await.unwrap().is_some(), "the first was dropped, so it comes again");
}
