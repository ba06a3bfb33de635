//! Transports that connect and deliver nothing.

use super::*;

/// A dialer of three that connect at once.
fn ready() -> ([Script; 3], Adaptive) {
    let scripts = [at_once(), at_once(), at_once()].map(Script::new);
    let [one, two, three] = &scripts;
    let dialer = adaptive([one, two, three]);
    (scripts, dialer)
}

/// The demoted ones, and how often in a row.
fn demoted(dialer: &Adaptive) -> Vec<(&'static str, u32)> {
    dialer.info(&endpoint("a")).demoted.iter().map(|demoted| (demoted.name, demoted.stalls)).collect()
}

#[tokio::test(start_paused = true)]
async fn one_that_is_cut_before_anything_came_starts_last_for_a_while() {
    let ([one, ..], dialer) = ready();
    let mut ours = dialer.dial(endpoint("a")).await.unwrap();
    sleep(29 * SECOND).await;
    one.peer().abort(CloseReason::INTERNAL);
    ours.recv().await.unwrap_err();
    let info = dialer.info(&endpoint("a"));
    assert_eq!((info.order, info.winner), (vec!["two", "three", "one"], None));
    assert_eq!(info.demoted[0].left, 60 * SECOND);
    assert_eq!(transport(&dialer.dial(endpoint("a")).await.unwrap()), "two");
    sleep(61 * SECOND).await;
    assert_eq!(demoted(&dialer), []);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_closed_in_words_before_anything_came_has_stalled_too() {
    let ([one, ..], dialer) = ready();
    let mut ours = dialer.dial(endpoint("a")).await.unwrap();
    let peer = one.peer();
    tokio::spawn(async move { peer.close(CloseReason::NORMAL).await });
    assert!(ours.recv().await.unwrap().is_none());
    assert_eq!(demoted(&dialer), [("one", 1)]);
}

#[tokio::test(start_paused = true)]
async fn one_that_stood_for_longer_has_not_stalled() {
    let ([one, ..], dialer) = ready();
    let mut ours = dialer.dial(endpoint("a")).await.unwrap();
    sleep(31 * SECOND).await;
    one.peer().abort(CloseReason::INTERNAL);
    ours.recv().await.unwrap_err();
    assert_eq!(demoted(&dialer), []);
}

#[tokio::test(start_paused = true)]
async fn one_that_delivered_has_not_stalled() {
    let ([one, ..], dialer) = ready();
    let mut ours = dialer.dial(endpoint("a")).await.unwrap();
    let peer = one.peer();
    peer.send(Packet::text("hello")).await.unwrap();
    ours.recv().await.unwrap().unwrap();
    peer.abort(CloseReason::INTERNAL);
    ours.recv().await.unwrap_err();
    assert_eq!(demoted(&dialer), []);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_for_its_silence_has_stalled_at_any_time() {
    let black_hole = service_fn(|_: Endpoint| async {
        let (ours, theirs) = haul_mem::pair();
        tokio::spawn(async move {
            pending::<()>().await;
            drop(theirs);
        });
        let mut link = ours.into_link().await?;
        link.limits.idle_deadline = Some(45 * SECOND);
        Ok(Connection::new(link, spawn))
    });
    let open = Script::new(at_once());
    let candidates = [Candidate::new("hole", black_hole), open.candidate("open")];
    let dialer = Adaptive::new(AdaptiveOptions::default(), candidates).unwrap();
    let connection = dialer.dial(endpoint("a")).await.unwrap();
    let State::Failed { why } = connection.watch().over().await else { panic!("it has not failed") };
    assert_eq!(why.kind(), ErrorKind::Timeout);
    // The driver lets the link go after it said so.
    sleep(MILLI).await;
    assert_eq!(demoted(&dialer), [("hole", 1)]);
    assert_eq!(transport(&dialer.dial(endpoint("a")).await.unwrap()), "open");
}

#[tokio::test(start_paused = true)]
async fn one_that_a_layer_above_gives_up_for_its_silence_has_stalled() {
    let (_scripts, dialer) = ready();
    let link = dialer.dial(endpoint("a")).await.unwrap().into_link().await.unwrap();
    sleep(45 * SECOND).await;
    drop(link);
    assert_eq!(demoted(&dialer), [("one", 1)]);
}

#[tokio::test(start_paused = true)]
async fn one_that_we_closed_or_dropped_has_not_stalled() {
    let (_scripts, dialer) = ready();
    dialer.dial(endpoint("a")).await.unwrap().close(CloseReason::NORMAL).await.unwrap();
    dialer.dial(endpoint("a")).await.unwrap().abort(CloseReason::NORMAL);
    drop(dialer.dial(endpoint("a")).await.unwrap());
    sleep(20 * SECOND).await;
    assert_eq!(demoted(&dialer), []);
}

#[tokio::test(start_paused = true)]
async fn what_the_application_reports_counts_and_doubles_up_to_sixteen_times() {
    let (_scripts, dialer) = ready();
    for (stalls, minutes) in [1, 2, 4, 8, 16, 16].into_iter().enumerate() {
        dialer.report_stall(&endpoint("a"), "two").unwrap();
        let info = dialer.info(&endpoint("a"));
        assert_eq!(
            (info.demoted[0].stalls as usize, info.demoted[0].left),
            (stalls + 1, 60 * minutes * SECOND)
        );
    }
    assert_eq!(dialer.info(&endpoint("a")).order, ["one", "three", "two"]);
    assert_eq!(dialer.report_stall(&endpoint("a"), "four").unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn what_comes_over_it_later_clears_it() {
    let ([one, two, three], dialer) = ready();
    dialer.report_stall(&endpoint("a"), "one").unwrap();
    two.now(refused());
    three.now(refused());
    // Starting last is not leaving the race.
    let mut ours = dialer.dial(endpoint("a")).await.unwrap();
    assert_eq!((transport(&ours), demoted(&dialer)), ("one", vec![("one", 1)]));
    one.peer().send(Packet::text("hello")).await.unwrap();
    ours.recv().await.unwrap().unwrap();
    assert_eq!(demoted(&dialer), []);
}

#[tokio::test(start_paused = true)]
async fn when_all_have_stalled_the_preferred_one_starts() {
    let (_scripts, dialer) = ready();
    for name in ["one", "two", "three"] {
        dialer.report_stall(&endpoint("a"), name).unwrap();
    }
    assert_eq!(dialer.info(&endpoint("a")).order, ["one", "two", "three"]);
}
