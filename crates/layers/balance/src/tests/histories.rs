//! Random histories: members fail and come back, and no packet is lost or delivered twice that need not be.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// How a member answers now.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Works,
    /// Nothing of it is delivered.
    Down,
    /// It delivers, and the answer is lost.
    Silent,
}

#[derive(Clone, Debug)]
enum Event {
    Changes(usize, Mood),
    Delivers { id: bool },
    Passes(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let mood = prop_oneof![Just(Mood::Works), Just(Mood::Down), Just(Mood::Silent)];
    prop_oneof![
        2 => (0..3_usize, mood).prop_map(|(at, mood)| Event::Changes(at, mood)),
        5 => any::<bool>().prop_map(|id| Event::Delivers { id }),
        1 => (1..15_000_u64).prop_map(Event::Passes),
    ]
}

type Delivered = Arc<Mutex<BTreeMap<String, usize>>>;

fn member(mood: Arc<Mutex<Mood>>, delivered: Delivered) -> Shared<Packet> {
    Shared::new(service_fn(move |packet: Packet| {
        let mood = *mood.lock().unwrap();
        if !matches!(mood, Mood::Down) {
            *delivered.lock().unwrap().entry(packet.as_text().unwrap().to_owned()).or_default() += 1;
        }
        async move {
            match mood {
                Mood::Works => Ok(Receipt::new(Level::Stored, packet.id())),
                Mood::Down => Err(down()),
                Mood::Silent => Err(Error::new(ErrorKind::Timeout, "no answer")),
            }
        }
    }))
}

async fn history(way: By, events: Vec<Event>) -> std::result::Result<(), TestCaseError> {
    let moods = [0; 3].map(|_| Arc::new(Mutex::new(Mood::Works)));
    let delivered = Delivered::default();
    let members: Vec<_> =
        moods.iter().map(|mood| Member::new(member(mood.clone(), delivered.clone()))).collect();
    let balance = Balance::new(by(way), members).unwrap();
    for (number, event) in events.into_iter().enumerate() {
        match event {
            Event::Changes(at, mood) => *moods[at].lock().unwrap() = mood,
            Event::Passes(millis) => advance(Duration::from_millis(millis)).await,
            Event::Delivers { id } => {
                let packet = Packet::text(number.to_string());
                let packet = if id { packet.identified() } else { packet };
                let answer = balance.deliver(packet).await;
                let times = delivered.lock().unwrap().get(&number.to_string()).copied().unwrap_or(0);
                let works = moods.iter().any(|mood| matches!(*mood.lock().unwrap(), Mood::Works));
                let silent = moods.iter().any(|mood| matches!(*mood.lock().unwrap(), Mood::Silent));
                prop_assert!(times <= 1 || id, "delivered {times} times without an id");
                match answer {
                    Ok(_) => prop_assert!(times >= 1, "Ok for what was not delivered"),
                    Err(why) => {
                        prop_assert!(!works || (!id && silent), "lost although a member works: {why}");
                        prop_assert!(
                            times == 0 || why.sent() == Sent::Maybe,
                            "delivered, and said not to be"
                        );
                    }
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn while_a_member_works_nothing_is_lost_and_nothing_delivered_twice_without_an_id(
        way in prop_oneof![Just(By::RoundRobin), Just(By::LeastInFlight), Just(By::Latency)],
        events in vec(event(), 1..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(history(way, events))?;
    }
}
