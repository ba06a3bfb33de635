//! Random histories: whoever calls, waits, and goes away, each packet is delivered once or not at all, and its caller has
//! its own outcome.

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::time::{sleep, timeout};

use super::*;

/// One caller: when it comes, with how many packets, and when it goes away without its answer, in milliseconds.
#[derive(Clone, Debug)]
struct Caller {
    comes: u64,
    packets: usize,
    leaves: Option<u64>,
}

fn caller() -> impl Strategy<Value = Caller> {
    (0..60_u64, 1..6_usize, proptest::option::weighted(0.3, 0..30_u64))
        .prop_map(|(comes, packets, leaves)| Caller { comes, packets, leaves })
}

fn options() -> impl Strategy<Value = BatchOptions> {
    (1..8_usize, 0..10_u64, 1..4_usize, 1..5_usize).prop_map(|(count, after, in_flight, waiting)| {
        BatchOptions {
            count,
            after: Duration::from_millis(after),
            in_flight,
            waiting,
            ..BatchOptions::default()
        }
    })
}

/// Takes some milliseconds for each delivery, and notes it.
struct Slow(Mutex<Vec<Vec<String>>>);

impl Service<Batch> for Slow {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        let texts: Vec<_> =
            batch.packets().iter().map(|packet| packet.as_text().unwrap().to_owned()).collect();
        self.0.lock().unwrap().push(texts.clone());
        sleep(Duration::from_millis(texts.len() as u64 % 7)).await;
        let outcome = |text: String| match text.len() % 3 {
            0 => Err(Error::new(ErrorKind::Rejected, text)),
            _ => Ok(Receipt::new(Level::Stored, None).with_reference(text)),
        };
        Ok(texts.into_iter().map(outcome).collect())
    }
}

impl Sink for Slow {}

/// The words of the outcome: the packet's own text, whatever it was.
fn words(outcome: &Result<Receipt>) -> String {
    match outcome {
        Ok(receipt) => receipt.reference.as_deref().unwrap_or_default().to_owned(),
        Err(why) => why.message().to_owned(),
    }
}

async fn history(options: BatchOptions, callers: Vec<Caller>) -> std::result::Result<(), TestCaseError> {
    let batcher = BatchLayer::new(options).unwrap().layer(Slow(Mutex::default()));
    let calls: Vec<_> = callers
        .into_iter()
        .enumerate()
        .map(|(number, Caller { comes, packets, leaves })| {
            let texts: Vec<String> =
                (0..packets).map(|at| format!("{number}-{at}{}", "x".repeat(at))).collect();
            let (batcher, batch) = (batcher.clone(), texts.iter().map(Packet::text).collect::<Batch>());
            let call = tokio::spawn(async move {
                sleep(Duration::from_millis(comes)).await;
                let patience = Duration::from_millis(leaves.unwrap_or(3_600_000));
                timeout(patience, batcher.deliver_all(batch)).await
            });
            (texts, leaves, call)
        })
        .collect();
    let mut gone = Vec::new();
    let mut stayed = Vec::new();
    for (texts, leaves, call) in calls {
        match call.await.unwrap() {
            Ok(outcomes) => {
                let outcomes = outcomes.unwrap();
                prop_assert_eq!(outcomes.iter().map(words).collect::<Vec<_>>(), texts.clone());
                stayed.extend(texts);
            }
            Err(_) => {
                prop_assert!(leaves.is_some(), "{:?} were never answered", texts);
                gone.extend(texts);
            }
        }
    }
    batcher.close().await.unwrap();
    let deliveries = batcher.inner.0.lock().unwrap().clone();
    let mut all = deliveries.concat();
    for texts in &deliveries {
        let caller = |text: &String| text.split('-').next().unwrap_or_default().to_owned();
        let one_caller = texts.iter().all(|text| caller(text) == caller(&texts[0]));
        prop_assert!(texts.len() <= options.count || one_caller, "{:?} are too many", texts);
    }
    all.sort();
    let delivered = all.len();
    all.dedup();
    prop_assert_eq!(all.len(), delivered, "a packet was delivered twice");
    prop_assert!(
        stayed.iter().all(|text| all.binary_search(text).is_ok()),
        "an answered packet was not delivered"
    );
    let mut foreign = all.iter().filter(|text| !stayed.contains(text) && !gone.contains(text));
    prop_assert_eq!(foreign.next(), None, "a packet was delivered that nobody gave");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn each_packet_is_delivered_once_or_not_at_all_and_its_caller_has_its_own_outcome(
        options in options(),
        callers in vec(caller(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(history(options, callers))?;
    }
}
