//! Dialers.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use haul_core::{Connection, Endpoint, Error, ErrorKind, Result, Sent, Service};
use haul_kit::{Over, dialer};
use tokio::sync::{Mutex, Semaphore, oneshot};

use crate::proof::{ALL_TIME, PATIENCE, caught, each_is_caught, names, proves};

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Sound,
    AnswersOkForNobody,
    BlamesTheEndpoint,
    SaysNeverAgain,
    ClaimsThatItMayHaveSent,
    DoesNotSayWhere,
    IgnoresWhatItDoesNotKnow,
    DoesNotSayWhichOption,
    GuessesValues,
    KeepsWhatWasCancelled,
    HangsAfterACancel,
    MakesTenAtMost,
    IgnoresTheDeadline,
    DialsOneAtATime,
}

/// `tcp`, broken.
struct Broken {
    how: How,
    turn: Mutex<()>,
    free: Arc<Semaphore>,
}

/// `endpoint` without its options.
fn bare(endpoint: &Endpoint) -> Endpoint {
    let bare = endpoint.as_str().split('?').next().expect("a first part");
    bare.parse().expect("an endpoint without options is one")
}

async fn dial(endpoint: Endpoint) -> Result<Connection> {
    haul_tcp::Dialer.call(endpoint).await
}

impl Broken {
    async fn dial(&self, endpoint: Endpoint) -> Result<Connection> {
        match self.how {
            How::IgnoresWhatItDoesNotKnow => dial(bare(&endpoint)).await,
            How::GuessesValues => match dial(endpoint.clone()).await {
                Err(why) if why.kind() == ErrorKind::Config => dial(bare(&endpoint)).await,
                dialed => dialed,
            },
            How::KeepsWhatWasCancelled => {
                let (give, given) = oneshot::channel();
                drop(tokio::spawn(async move {
                    if let Err(nobody_wants_it) = give.send(dial(endpoint).await) {
                        pending::<()>().await;
                        drop(nobody_wants_it);
                    }
                }));
                given.await.expect("the task goes on")
            }
            How::HangsAfterACancel => {
                self.free.acquire().await.expect("it is not closed").forget();
                let dialed = dial(endpoint).await;
                self.free.add_permits(1);
                dialed
            }
            How::MakesTenAtMost => {
                let permit = self.free.try_acquire();
                permit.map_err(|_| Error::new(ErrorKind::Overloaded, "ten were made"))?.forget();
                dial(endpoint).await
            }
            How::IgnoresTheDeadline => dial(bare(&endpoint)).await,
            How::DialsOneAtATime => {
                let _turn = self.turn.lock().await;
                dial(endpoint).await
            }
            _ => dial(endpoint).await,
        }
    }
}

impl Service<Endpoint> for Broken {
    async fn call(&self, endpoint: Endpoint) -> Result<Connection> {
        let why = match self.dial(endpoint).await {
            Ok(connection) => return Ok(connection),
            Err(why) => why,
        };
        Err(match self.how {
            How::AnswersOkForNobody => {
                let (connection, peer) = haul_mem::pair();
                drop(tokio::spawn(async move {
                    pending::<()>().await;
                    drop(peer);
                }));
                return Ok(connection);
            }
            How::BlamesTheEndpoint => Error::new(ErrorKind::Config, why.to_string()).with_sent(Sent::No),
            How::SaysNeverAgain => why.with_status(haul_core::Status::Permanent),
            How::ClaimsThatItMayHaveSent => why.with_sent(Sent::Maybe),
            How::DoesNotSayWhere | How::DoesNotSayWhichOption => {
                Error::new(why.kind(), "it did not work").with_status(why.status()).with_sent(why.sent())
            }
            _ => why,
        })
    }
}

async fn failed(how: How, checks: Vec<&'static str>, patience: Duration) -> Vec<&'static str> {
    let free = if how == How::MakesTenAtMost { 10 } else { 1 };
    let broken = Broken { how, turn: Mutex::new(()), free: Arc::new(Semaphore::new(free)) };
    let over = Over::new("tcp://127.0.0.1:0", broken, haul_tcp::listen);
    let suite = dialer::Suite::new("haul-tcp", over).only(&checks);
    names(&suite.patience(patience).failures().await)
}

const CAUGHT: &[(How, &str)] = &[
    (How::AnswersOkForNobody, "unknown"),
    (How::BlamesTheEndpoint, "unknown"),
    (How::SaysNeverAgain, "unknown"),
    (How::ClaimsThatItMayHaveSent, "unknown"),
    (How::DoesNotSayWhere, "unknown"),
    (How::AnswersOkForNobody, "refused"),
    (How::BlamesTheEndpoint, "refused"),
    (How::IgnoresWhatItDoesNotKnow, "unknown_option"),
    (How::DoesNotSayWhichOption, "unknown_option"),
    (How::GuessesValues, "wrong_value"),
    (How::DoesNotSayWhichOption, "wrong_value"),
    (How::KeepsWhatWasCancelled, "cancelled"),
    (How::HangsAfterACancel, "cancelled"),
    (How::MakesTenAtMost, "many_at_once"),
    (How::IgnoresTheDeadline, "deadline"),
    (How::ClaimsThatItMayHaveSent, "deadline"),
    (How::DialsOneAtATime, "independent"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_dialer_is_caught_by_its_check() {
    each_is_caught(CAUGHT, |how, check| failed(how, vec![check], PATIENCE)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_dialer_is_not_caught() {
    let checks: Vec<_> = dialer::Suite::promises().into_iter().map(|(check, _)| check).collect();
    assert_eq!(failed(How::Sound, checks, ALL_TIME).await, [""; 0]);
}

#[test]
fn every_promise_of_dialers_is_broken_by_something() {
    proves("dialer", &dialer::Suite::promises(), &caught(CAUGHT));
}
