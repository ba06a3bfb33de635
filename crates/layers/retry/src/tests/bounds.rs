//! Each bound of the retries holds.

use haul_core::{Connection, Dial, Endpoint, Info, Limits, Link, wire::Framing};

use super::*;

/// A service that always refuses, and how often it was called.
fn refusing() -> (impl Service<Packet> + Clone, Arc<Mutex<usize>>) {
    let calls = Arc::new(Mutex::new(0));
    let seen = calls.clone();
    let service = service_fn(move |_: Packet| {
        *seen.lock().unwrap() += 1;
        async { Err(refused()) }
    });
    (service, calls)
}

#[tokio::test(start_paused = true)]
async fn of_many_failing_calls_no_more_are_retries_than_the_budget_and_the_reserve() {
    for (budget, reserve, expected) in [(0.1, 10, 30), (0.5, 0, 100), (0.0, 7, 7), (0.0, 0, 0), (3.0, 0, 600)]
    {
        let (service, calls) = refusing();
        let retry = layer(RetryOptions { budget, reserve, ..RetryOptions::default() }).layer(service);
        for _ in 0..200 {
            retry.deliver(Packet::text("x")).await.unwrap_err();
        }
        assert_eq!(*calls.lock().unwrap(), 200 + expected, "budget {budget}, reserve {reserve}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_at_once_share_one_budget() {
    let (service, calls) = refusing();
    let retry = layer(RetryOptions { budget: 0.0, reserve: 10, ..RetryOptions::default() }).layer(service);
    let all: Vec<_> = (0..100)
        .map(|_| {
            let retry = retry.clone();
            tokio::spawn(async move { retry.deliver(Packet::text("x")).await.unwrap_err() })
        })
        .collect();
    for call in all {
        assert_eq!(call.await.unwrap().status(), Status::Exhausted);
    }
    assert_eq!(*calls.lock().unwrap(), 110);
}

#[tokio::test(start_paused = true)]
async fn attempts_count_the_first_try_and_one_is_no_retry() {
    for attempts in 1..6 {
        let (service, calls) = refusing();
        let retry = layer(RetryOptions { attempts, ..RetryOptions::default() }).layer(service);
        let error = retry.deliver(Packet::text("x")).await.unwrap_err();
        assert_eq!((*calls.lock().unwrap(), error.status()), (attempts as usize, Status::Exhausted));
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_asks_to_wait_beyond_the_deadline_is_not_waited_for() {
    let deadline = Some(Duration::from_secs(20));
    let start = Instant::now();
    let (service, times) = scripted([Err(refused().with_retry_after(Duration::from_secs(21)))]);
    let retry = layer(RetryOptions { deadline, ..RetryOptions::default() }).layer(service);
    let error = retry.deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!((error.status(), start.elapsed()), (Status::Exhausted, Duration::ZERO));
    assert_eq!(times.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_counts_the_time_that_tries_take() {
    let calls = Arc::new(Mutex::new(0));
    let seen = calls.clone();
    let slow = service_fn(move |_: Packet| {
        *seen.lock().unwrap() += 1;
        async {
            sleep(Duration::from_secs(4)).await;
            Err(refused())
        }
    });
    let options =
        RetryOptions { attempts: 100, deadline: Some(Duration::from_secs(10)), ..RetryOptions::default() };
    let start = Instant::now();
    layer(options).layer(slow).deliver(Packet::text("x")).await.unwrap_err();
    // They begin at 0, 4.1 and 8.3 s; a fourth would at 12.7 s.
    assert_eq!((*calls.lock().unwrap(), start.elapsed().as_millis()), (3, 12_300));
}

#[tokio::test(start_paused = true)]
async fn a_dial_is_tried_again_and_answers_the_connection() {
    let dials = Arc::new(Mutex::new(0));
    let seen = dials.clone();
    let third = service_fn(move |endpoint: Endpoint| {
        let dial = {
            let mut dials = seen.lock().unwrap();
            *dials += 1;
            *dials
        };
        async move {
            match dial {
                1 => Err(Error::new(ErrorKind::Connect, "refused")),
                // Dialing twice has the effect of dialing once.
                2 => Err(Error::new(ErrorKind::Timeout, "no answer")),
                _ => {
                    let (read, write) = tokio::io::split(tokio::io::duplex(64).0);
                    let info = Info::new("pipe", endpoint.host().unwrap_or_default().to_owned().leak());
                    let link = Link::over_stream(info, Limits::default(), Framing::Length, read, write);
                    Ok(Connection::new(link, |task| drop(tokio::spawn(task))))
                }
            }
        }
    });
    let retry = layer(RetryOptions::default()).layer(third);
    let connection = retry.dial(Endpoint::parse("pipe://peer").unwrap()).await.unwrap();
    assert_eq!((connection.info().protocol, *dials.lock().unwrap()), ("pipe", 3));
    let never = service_fn(|_: Endpoint| async { Err(Error::new(ErrorKind::Unauthorized, "token expired")) });
    let error = layer(RetryOptions::default())
        .layer(never)
        .dial(Endpoint::parse("pipe://peer").unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.status(), Status::Permanent);
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_call_fails_goes_again_whole_only_if_nothing_was_sent_or_every_packet_has_an_id() {
    let batch = |ids: bool| -> Batch {
        ["a", "b"]
            .map(Packet::text)
            .map(|packet| if ids { packet.identified() } else { packet })
            .into_iter()
            .collect()
    };
    for (kind, ids, expected) in
        [(ErrorKind::Connect, false, 2), (ErrorKind::Timeout, false, 1), (ErrorKind::Timeout, true, 2)]
    {
        let calls = Arc::new(Mutex::new(0));
        let seen = calls.clone();
        let first_fails = service_fn(move |batch: Batch| {
            let first = {
                let mut calls = seen.lock().unwrap();
                *calls += 1;
                *calls == 1
            };
            async move {
                match first {
                    true => Err(Error::new(kind, "the whole call")),
                    false => Ok(batch.packets().iter().map(|_| ok()).collect()),
                }
            }
        });
        let answer = layer(RetryOptions::default()).layer(first_fails).deliver_all(batch(ids)).await;
        assert_eq!(*calls.lock().unwrap(), expected, "{kind} {ids}");
        assert_eq!(answer.is_ok(), expected == 2, "{kind} {ids}");
    }
}
