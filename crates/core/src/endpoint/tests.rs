use super::*;
use std::time::Duration;

#[test]
fn an_error_points_at_the_wrong_part() {
    for (text, part) in [
        ("tcp://127.0.0.1:99999", "byte 16: port 99999"),
        ("tcp://ho st:1", "byte 8"),
        ("localhost", "an endpoint looks like"),
        ("ws://host/%zz", "byte 10"),
        ("ws://[::zz]/", "byte 8"),
        ("ws://host/?a=%ff", "not UTF-8"),
    ] {
        let error = Endpoint::parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
}

#[test]
fn the_password_is_not_shown() {
    let endpoint = Endpoint::parse("ws://me:s%23cret@host/path").unwrap();
    assert_eq!(endpoint.to_string(), "ws://me:***@host/path");
    assert_eq!((endpoint.user(), endpoint.password()), (Some("me"), Some("s#cret")));
    for wrong in
        ["ws://me:s3cret@host:99999", "ws://me:s3c/ret@ho st", "me:s3cret@ho st", "ws://me:s3%ffcret@host"]
    {
        let error = Endpoint::parse(wrong).unwrap_err().to_string();
        assert!(error.contains("me:***@ho") && !error.contains("ret"), "{error}");
    }
}

#[test]
fn an_unknown_option_names_the_nearest_known_one() {
    let endpoint = Endpoint::parse("tcp://host:1?framng=lines").unwrap();
    let error = endpoint.options(Place::Query, &["framing", "nodelay"]).unwrap_err();
    assert!(error.to_string().contains("did you mean framing?"), "{error}");
}

#[test]
fn where_the_query_is_the_servers_options_stand_in_the_fragment() {
    let endpoint = Endpoint::parse("ws://host/live?token=7#ping=250ms&limit=64KiB").unwrap();
    let options = endpoint.options(Place::Fragment, &["ping", "limit"]).unwrap();
    assert_eq!(options.duration("ping").unwrap(), Some(Duration::from_millis(250)));
    assert_eq!(options.bytes("limit").unwrap(), Some(65_536));
    assert_eq!(endpoint.path_and_query(), "/live?token=7");
}

#[test]
fn an_option_set_later_wins_and_survives_a_new_port() {
    let endpoint = Endpoint::parse("tcp://u@[::1]:0/?a=1").unwrap().with_option("b", 2);
    let bound = endpoint.with_port(80).unwrap();
    assert_eq!(bound.as_str(), "tcp://u@[::1]:80/?a=1");
    let options = bound.options(Place::Query, &["a", "b"]).unwrap();
    assert_eq!((options.text("a"), options.text("b")), (Some("1"), Some("2")));
}

#[test]
fn an_option_with_a_bad_value_says_what_it_takes() {
    let endpoint = Endpoint::parse("tcp://host:1?wait=soon").unwrap();
    let error = endpoint.options(Place::Query, &["wait"]).unwrap().duration("wait").unwrap_err();
    assert!(error.to_string().contains("wait=soon: a duration looks like"), "{error}");
}

#[test]
fn templates_may_stand_in_paths_and_options_as_they_are() {
    let endpoint = Endpoint::parse("redis://h/events-{session_id|none}?fields=a:{/b}").unwrap();
    assert_eq!(endpoint.path(), "/events-{session_id|none}");
    assert_eq!(endpoint.as_str(), "redis://h/events-{session_id|none}?fields=a:{/b}");
    assert_eq!(endpoint.to_string(), endpoint.as_str());
    assert_eq!(endpoint.path_and_query(), "/events-%7Bsession_id%7Cnone%7D?fields=a:%7B/b%7D");
    assert_eq!(endpoint.query().collect::<Vec<_>>(), [("fields", "a:{/b}")]);
}
