//! Random histories: whatever calls come, fail and are dropped, turns and places come back.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Event {
    Comes { priority: u8, attempts: u32 },
    Answers { fails: bool },
    Dropped(usize),
    Passes(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..4_u8, 1..4_u32).prop_map(|(priority, attempts)| Event::Comes { priority, attempts }),
        3 => any::<bool>().prop_map(|fails| Event::Answers { fails }),
        1 => any::<usize>().prop_map(Event::Dropped),
        1 => (1..2000_u64).prop_map(Event::Passes),
    ]
}

async fn history(
    events: Vec<Event>,
    overflow: Overflow,
    concurrency: usize,
) -> std::result::Result<(), TestCaseError> {
    let options = QueueOptions { concurrency, capacity: 6, overflow, ..one() };
    let (queue, probe) = queue(options, 0);
    let mut calls: Vec<JoinHandle<Result<Receipt>>> = Vec::new();
    for event in events {
        match event {
            Event::Comes { priority, attempts } => calls.push(call(&queue, "x", priority, attempts)),
            Event::Answers { fails } => {
                if fails {
                    probe.fails.lock().unwrap().push_back(busy());
                }
                probe.turns.add_permits(1);
            }
            Event::Dropped(at) if !calls.is_empty() => {
                let call = calls.swap_remove(at % calls.len());
                call.abort();
            }
            Event::Dropped(_) => {}
            Event::Passes(millis) => advance(Duration::from_millis(millis)).await,
        }
        all_idle().await;
        let under_way = probe.under_way.load(Ordering::SeqCst);
        prop_assert!(under_way <= concurrency, "{under_way} are under way");
        let waiting = queue.waiting();
        prop_assert!(waiting + under_way <= 6, "{waiting} wait, {under_way} are under way");
        prop_assert!(waiting == 0 || under_way == concurrency, "{waiting} wait, {under_way} are under way");
    }
    probe.turns.add_permits(OPEN / 2);
    for call in calls {
        match tokio::time::timeout(Duration::from_secs(3600), call).await {
            Ok(Ok(Ok(_))) => {}
            Ok(Ok(Err(why))) => prop_assert_eq!(why.kind(), ErrorKind::Overloaded),
            other => prop_assert!(false, "a call was not answered: {:?}", other),
        }
    }
    prop_assert_eq!(
        (queue.line.free_turns(), queue.line.free_places(), queue.waiting()),
        (concurrency, 6, 0)
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_call_is_answered_and_turns_and_places_come_back(
        events in vec(event(), 1..80),
        overflow in prop_oneof![Just(Overflow::Refuse), Just(Overflow::Evict), Just(Overflow::Wait)],
        concurrency in 1..4_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(history(events, overflow, concurrency))?;
    }
}
