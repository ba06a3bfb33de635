//! Listeners.

use std::time::Duration;

use haul_kit::listener;

use crate::door::{How, half_open, over};
use crate::proof::{ALL_TIME, PATIENCE, caught, each_is_caught, names, proves};

async fn failed(how: How, checks: Vec<&'static str>, patience: Duration) -> Vec<&'static str> {
    let suite = listener::Suite::new("haul-kit", over(how)).half_open(half_open).connections(100);
    names(&suite.only(&checks).patience(patience).failures().await)
}

const CAUGHT: &[(How, &str)] = &[
    (How::ForgetsItsPort, "local_endpoint"),
    (How::IgnoresWhatItDoesNotKnow, "unknown_option"),
    (How::GuessesValues, "unknown_option"),
    (How::AcceptsBeyondTheLimit, "most_connections"),
    (How::NeverRefuses, "most_connections"),
    (How::HangsOnClose, "most_connections"),
    (How::ForgetsTheDeadline, "handshake_deadline"),
    (How::ShakesOneHandAtATime, "handshake_deadline"),
    (How::CutsOnShutdown, "shutdown_waits"),
    (How::HangsOnClose, "shutdown_waits"),
    (How::CutsOnShutdown, "shutdown_deadline"),
    (How::StaysOpen, "shutdown_stops"),
    (How::HangsOnClose, "shutdown_unaccepted"),
    (How::StaysOpen, "drop_stops"),
    (How::CutsOnShutdown, "drop_stops"),
    (How::LosesConnections, "cancelled_accept"),
    (How::LosesConnections, "backlog"),
    (How::NeverSeesTheEnd, "no_leak"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_listener_is_caught_by_its_check() {
    each_is_caught(CAUGHT, |how, check| failed(how, vec![check], PATIENCE)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_listener_is_not_caught() {
    let checks: Vec<_> = listener::Suite::promises().into_iter().map(|(check, _)| check).collect();
    assert_eq!(failed(How::Sound, checks, ALL_TIME).await, [""; 0]);
}

#[test]
fn every_promise_of_listeners_is_broken_by_something() {
    proves("listener", &listener::Suite::promises(), &caught(CAUGHT));
}
