mod bounds;
mod request;

use std::collections::VecDeque;
use std::sync::Mutex;

use haul_core::{
    Batch, Deliver, DeliverAll, ErrorKind, Level, Packet, PacketId, Receipt, Sent, ServiceFn, Status,
    service_fn,
};

use super::*;

type Outcome = Result<Receipt>;

fn ok() -> Outcome {
    Ok(Receipt::new(Level::Sent, None))
}

fn refused() -> Error {
    Error::new(ErrorKind::Overloaded, "full")
}

/// A service that answers each call with the next of `answers`, and the times of its calls.
fn scripted(answers: impl IntoIterator<Item = Outcome>) -> (impl Service<Packet>, Arc<Mutex<Vec<Duration>>>) {
    let answers = Mutex::new(answers.into_iter().collect::<VecDeque<_>>());
    let times = Arc::new(Mutex::new(Vec::new()));
    let (seen, start) = (times.clone(), Instant::now());
    let service = service_fn(move |_: Packet| {
        seen.lock().unwrap().push(start.elapsed());
        let answer = answers.lock().unwrap().pop_front();
        async move { answer.expect("one call too many") }
    });
    (service, times)
}

fn layer(options: RetryOptions) -> RetryLayer {
    RetryLayer::with_random(options, || u64::MAX).unwrap()
}

fn seconds(times: &Mutex<Vec<Duration>>) -> Vec<f64> {
    let rounded = |time: &Duration| (time.as_secs_f64() * 10.0).round() / 10.0;
    times.lock().unwrap().iter().map(rounded).collect()
}

#[tokio::test(start_paused = true)]
async fn waits_double_up_to_the_cap_and_the_last_error_is_exhausted() {
    let options = RetryOptions { attempts: 5, cap: Duration::from_millis(300), ..RetryOptions::default() };
    let (service, times) = scripted([(); 5].map(|()| Err(refused())));
    let error = layer(options).layer(service).deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(error.status(), Status::Exhausted);
    assert_eq!(seconds(&times), [0.0, 0.1, 0.3, 0.6, 0.9]);
}

#[tokio::test(start_paused = true)]
async fn the_peers_word_on_when_to_come_back_counts_if_it_is_longer() {
    let wait = |seconds| Err(refused().with_retry_after(Duration::from_secs_f64(seconds)));
    let (service, times) = scripted([wait(30.0), wait(0.01), ok()]);
    let retry = layer(RetryOptions::default()).layer(service);
    retry.deliver(Packet::text("x")).await.unwrap();
    assert_eq!(seconds(&times), [0.0, 30.0, 30.2]);
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_sent_is_sent_again_only_with_an_id() {
    let maybe = || Err(refused().with_sent(Sent::Maybe));
    let (service, times) = scripted([maybe(), maybe(), ok()]);
    let retry = layer(RetryOptions::default()).layer(service);
    retry.deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(times.lock().unwrap().len(), 1);
    retry.deliver(Packet::text("x").identified()).await.unwrap();
    assert_eq!(times.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_one_try_may_have_done_stays_with_the_last_error() {
    let maybe = || Err(Error::new(ErrorKind::Timeout, "no answer"));
    let unsent = || Err(Error::new(ErrorKind::Connect, "refused"));
    let never = || Err(Error::new(ErrorKind::Rejected, "no"));
    let last = async |answers: Vec<Outcome>| {
        let tries = answers.len() as u32;
        let (service, _) = scripted(answers);
        let retry = layer(RetryOptions { attempts: tries, ..RetryOptions::default() }).layer(service);
        let error = retry.deliver(Packet::text("x").identified()).await.unwrap_err();
        (error.kind(), error.status(), error.sent())
    };
    let exhausted = Status::Exhausted;
    assert_eq!(last(vec![unsent(), unsent()]).await, (ErrorKind::Connect, exhausted, Sent::No));
    assert_eq!(last(vec![maybe(), unsent()]).await, (ErrorKind::Connect, exhausted, Sent::Maybe));
    assert_eq!(last(vec![maybe(), unsent(), unsent()]).await, (ErrorKind::Connect, exhausted, Sent::Maybe));
    let permanent = Status::Permanent;
    assert_eq!(last(vec![maybe(), never()]).await, (ErrorKind::Rejected, permanent, Sent::Maybe));
    assert_eq!(last(vec![unsent(), never()]).await, (ErrorKind::Rejected, permanent, Sent::No));
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_is_answered_at_once_and_an_exhausted_one_too() {
    for error in [Error::new(ErrorKind::Rejected, "no"), refused().exhausted()] {
        let (service, times) = scripted([Err(error.clone())]);
        let retry = layer(RetryOptions::default()).layer(service);
        let answer = retry.deliver(Packet::text("x")).await.unwrap_err();
        assert_eq!(answer.status(), error.status());
        assert_eq!(times.lock().unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn no_try_begins_after_the_deadline() {
    let start = Instant::now();
    let options =
        RetryOptions { attempts: 100, deadline: Some(Duration::from_millis(800)), ..RetryOptions::default() };
    let (service, times) = scripted([(); 4].map(|()| Err(refused())));
    let error = layer(options).layer(service).deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(error.status(), Status::Exhausted);
    assert_eq!(seconds(&times), [0.0, 0.1, 0.3, 0.7]);
    assert!(start.elapsed() < Duration::from_millis(750), "it waited for a try that begins too late");
}

#[tokio::test(start_paused = true)]
async fn an_empty_budget_answers_at_once_for_all_services_of_the_layer() {
    let options = RetryOptions { budget: 0.5, reserve: 1, ..RetryOptions::default() };
    let layer = layer(options);
    // The first call earns half a retry: one and a half are there, so one is spent.
    let (first, first_calls) = scripted([Err(refused()), Err(refused())]);
    layer.layer(first).deliver(Packet::text("x")).await.unwrap_err();
    assert_eq!(first_calls.lock().unwrap().len(), 2);
    // The second call makes it one: one is spent again. The third has half a retry, which is none.
    for (calls, answers) in [(2, vec![Err(refused()), ok()]), (1, vec![Err(refused())])] {
        let before = Instant::now();
        let (service, times) = scripted(answers);
        let answer = layer.clone().layer(service).deliver(Packet::text("x")).await;
        assert_eq!(times.lock().unwrap().len(), calls);
        if let Err(why) = answer {
            assert_eq!((why.status(), before.elapsed()), (Status::Exhausted, Duration::ZERO));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_only_the_rest_is_sent_again_and_its_outcomes_fill_the_open_positions() {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let seen = sent.clone();
    let service: ServiceFn<_> = service_fn(move |batch: Batch| {
        let texts: Vec<_> =
            batch.packets().iter().map(|packet| packet.as_text().unwrap().to_owned()).collect();
        let outcomes = texts.iter().map(|text| match text.as_str() {
            "never" => Err(Error::new(ErrorKind::Rejected, "no")),
            "maybe" => Err(Error::new(ErrorKind::Timeout, "no answer")),
            "later" if seen.lock().unwrap().is_empty() => Err(refused()),
            "busy" => Err(refused()),
            _ => ok(),
        });
        let outcomes = outcomes.collect();
        seen.lock().unwrap().push(texts);
        async move { Ok(outcomes) }
    });
    let retry = layer(RetryOptions { attempts: 3, ..RetryOptions::default() }).layer(service);
    let with_id = Packet::text("maybe").with_id(PacketId::random());
    let batch: Batch =
        ["now", "later", "never", "maybe", "busy"].map(Packet::text).into_iter().chain([with_id]).collect();
    let outcomes = retry.deliver_all(batch).await.unwrap();
    assert_eq!(
        *sent.lock().unwrap(),
        [
            vec!["now", "later", "never", "maybe", "busy", "maybe"],
            vec!["later", "busy", "maybe"],
            vec!["busy", "maybe"]
        ]
    );
    let status: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().err().map(Error::status)).collect();
    let exhausted = Some(Status::Exhausted);
    assert_eq!(status, [None, None, Some(Status::Permanent), exhausted, exhausted, exhausted]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_does_not_try_again() {
    let (service, times) = scripted([Err(refused())]);
    let retry = layer(RetryOptions::default()).layer(service);
    let call = tokio::time::timeout(Duration::from_millis(50), retry.deliver(Packet::text("x")));
    call.await.expect_err("the call was to be dropped while it waits");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(times.lock().unwrap().len(), 1);
}

#[test]
fn options_come_from_toml_and_unknown_ones_are_refused() {
    let options: RetryOptions = toml::from_str("attempts = 2\nbase = \"5ms\"\ndeadline = \"1m\"").unwrap();
    assert_eq!((options.attempts, options.base), (2, Duration::from_millis(5)));
    assert_eq!(options.deadline, Some(Duration::from_secs(60)));
    assert_eq!(toml::from_str::<RetryOptions>(&toml::to_string(&options).unwrap()).unwrap(), options);
    let error = toml::from_str::<RetryOptions>("attemps = 2").unwrap_err();
    assert!(error.to_string().contains("`attempts`"), "{error}");
}

#[test]
fn options_out_of_range_are_refused() {
    let default = RetryOptions::default;
    for wrong in [
        RetryOptions { attempts: 0, ..default() },
        RetryOptions { factor: 0.5, ..default() },
        RetryOptions { factor: f64::NAN, ..default() },
        RetryOptions { budget: -0.1, ..default() },
    ] {
        assert_eq!(RetryLayer::new(wrong).unwrap_err().kind(), ErrorKind::Config);
    }
}
