//! What is remembered of hosts.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_winner_starts_first_the_next_time_at_its_host_only() {
    let [one, two, three] = [Act::Never, at_once(), at_once()].map(Script::new);
    let dialer = adaptive([&one, &two, &three]);
    dialer.dial(endpoint("a")).await.unwrap();
    let info = dialer.info(&endpoint("A"));
    assert_eq!((info.order, info.winner), (vec!["two", "one", "three"], Some("two")));
    assert_eq!(dialer.info(&endpoint("b")).order, ["one", "two", "three"]);
    let start = Instant::now();
    let connection = dialer.dial(endpoint("a")).await.unwrap();
    assert_eq!((transport(&connection), start.elapsed() < 10 * MILLI, one.dials()), ("two", true, 1));
}

#[tokio::test(start_paused = true)]
async fn a_winner_that_fails_gives_way_at_once() {
    let [one, two, three] = [Act::Never, at_once(), at_once()].map(Script::new);
    let dialer = adaptive([&one, &two, &three]);
    dialer.dial(endpoint("a")).await.unwrap();
    two.now(refused());
    one.now(at_once());
    let start = Instant::now();
    assert_eq!(transport(&dialer.dial(endpoint("a")).await.unwrap()), "one");
    assert!(start.elapsed() < 10 * MILLI);
    assert_eq!(dialer.info(&endpoint("a")).winner, Some("one"));
}

#[tokio::test(start_paused = true)]
async fn a_winner_is_forgotten_when_it_did_not_win_for_long() {
    let [one, two, three] = [Act::Never, at_once(), at_once()].map(Script::new);
    let dialer = adaptive([&one, &two, &three]);
    dialer.dial(endpoint("a")).await.unwrap();
    sleep(599 * SECOND).await;
    assert_eq!(dialer.info(&endpoint("a")).winner, Some("two"));
    sleep(2 * SECOND).await;
    assert_eq!(dialer.info(&endpoint("a")).winner, None);
    assert_eq!(dialer.info(&endpoint("a")).order, ["one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn the_preferred_one_is_probed_and_comes_back_up() {
    let [one, two, three] = [Act::Never, at_once(), at_once()].map(Script::new);
    let dialer = adaptive([&one, &two, &three]);
    dialer.dial(endpoint("a")).await.unwrap();
    assert_eq!(dialer.info(&endpoint("a")).probe_in, Some(300 * SECOND));
    sleep(200 * SECOND).await;
    dialer.dial(endpoint("a")).await.unwrap();
    assert_eq!(one.dials(), 1);
    sleep(101 * SECOND).await;
    // Still a black hole: the probe costs a head start, and the next one waits as long again.
    let start = Instant::now();
    assert_eq!(transport(&dialer.dial(endpoint("a")).await.unwrap()), "two");
    assert!(start.elapsed() >= 250 * MILLI);
    assert_eq!(one.dials(), 2);
    dialer.dial(endpoint("a")).await.unwrap();
    assert_eq!(one.dials(), 2);
    one.now(at_once());
    sleep(301 * SECOND).await;
    assert_eq!(transport(&dialer.dial(endpoint("a")).await.unwrap()), "one");
    let info = dialer.info(&endpoint("a"));
    assert_eq!((info.winner, info.probe_in), (Some("one"), None));
}

#[tokio::test(start_paused = true)]
async fn of_many_dials_beside_each_other_one_probes() {
    let [one, two, three] = [Act::Never, at_once(), at_once()].map(Script::new);
    let dialer = adaptive([&one, &two, &three]);
    dialer.dial(endpoint("a")).await.unwrap();
    sleep(301 * SECOND).await;
    let dials: Vec<_> = (0..100)
        .map(|_| {
            let dialer = dialer.clone();
            tokio::spawn(async move {
                dialer.dial(endpoint("a")).await.map(|connection| transport(&connection).to_owned())
            })
        })
        .collect();
    for dial in dials {
        assert_eq!(dial.await.unwrap().unwrap(), "two");
    }
    assert_eq!((one.dials(), two.dials(), dialer.hosts()), (2, 101, 1));
    assert_eq!([&one, &two, &three].map(Script::running), [0; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_dials_to_one_host_race_each_by_itself_and_leave_nothing() {
    let [one, two, three] = [Act::Never, Act::Connects(50 * MILLI), Act::Never].map(Script::new);
    let dialer = adaptive([&one, &two, &three]);
    let dials: Vec<_> = (0..100)
        .map(|_| {
            let dialer = dialer.clone();
            tokio::spawn(async move { dialer.dial(endpoint("a")).await })
        })
        .collect();
    for dial in dials {
        assert_eq!(transport(&dial.await.unwrap().unwrap()), "two");
    }
    assert_eq!((one.dials(), two.dials(), three.dials()), (100, 100, 0));
    assert_eq!([&one, &two, &three].map(Script::running), [0; 3]);
}

#[tokio::test(start_paused = true)]
async fn of_more_hosts_than_the_most_the_one_noted_longest_ago_is_forgotten() {
    let [one, two, three] = [refused(), at_once(), refused()].map(Script::new);
    let options = AdaptiveOptions { max_hosts: 2, ..AdaptiveOptions::default() };
    let dialer = with_options([&one, &two, &three], options);
    for host in ["a", "b", "a", "c", "a", "d"] {
        dialer.dial(endpoint(host)).await.unwrap();
        assert!(dialer.hosts() <= 2);
    }
    let known = ["a", "b", "c", "d"].map(|host| dialer.info(&endpoint(host)).winner.is_some());
    assert_eq!(known, [true, false, false, true]);
}

#[tokio::test(start_paused = true)]
async fn hosts_are_told_apart_by_port_and_asking_remembers_nothing() {
    let [one, two, three] = [refused(), at_once(), refused()].map(Script::new);
    let dialer = adaptive([&one, &two, &three]);
    dialer.dial(endpoint("a")).await.unwrap();
    assert_eq!(dialer.info(&endpoint("a").with_port(8443).unwrap()).winner, None);
    assert_eq!(dialer.hosts(), 1);
}
