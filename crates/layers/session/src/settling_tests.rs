use super::*;

#[test]
fn only_the_contiguous_part_is_told() {
    let mut settling = Settling::default();
    settling.settle(1);
    settling.settle(2);
    assert_eq!(settling.tell(), Tell::Nothing);
    settling.settle(0);
    assert_eq!((settling.tell(), settling.told()), (Tell::Later, 3));
    assert_eq!(settling.tell(), Tell::Nothing);
}

#[test]
fn many_packets_or_bytes_are_told_at_once() {
    let mut settling = Settling::default();
    (0..WANTED_AFTER).for_each(|number| settling.settle(number));
    assert_eq!(settling.tell(), Tell::Wanted);
    (WANTED_AFTER..DUE_AFTER).for_each(|number| settling.settle(number));
    assert_eq!(settling.tell(), Tell::Due);
    settling.told();
    settling.hand(Some(DUE_AFTER), 2, 2 * DUE_AFTER_BYTES);
    assert_eq!(settling.tell(), Tell::Nothing);
    settling.receive(1);
    assert_eq!(settling.tell(), Tell::Due);
}

#[test]
fn what_core_has_is_settled_when_it_says_so_and_not_before() {
    let mut settling = Settling::default();
    settling.hand(Some(0), 3, 3);
    settling.hand(Some(3), 2, 2);
    // Two beside the session.
    settling.hand(None, 2, 2);
    settling.hand(Some(6), 1, 1);
    assert_eq!(settling.told(), 0);
    settling.receive(4);
    assert_eq!(settling.told(), 4);
    settling.receive(8);
    assert_eq!(settling.told(), 5);
    settling.settle(5);
    assert_eq!(settling.told(), 7);
}

#[test]
fn what_core_has_of_an_old_epoch_settles_nothing_in_the_new_one() {
    let mut settling = Settling::default();
    settling.hand(Some(0), 3, 3);
    settling.receive(1);
    settling.start_over();
    settling.hand(Some(0), 2, 2);
    settling.receive(3);
    assert_eq!(settling.told(), 0);
    settling.receive(4);
    assert_eq!(settling.told(), 1);
}

#[test]
fn it_is_looked_at_before_too_many_packets_or_bytes_are_received() {
    let mut settling = Settling::default();
    settling.hand(Some(0), 1000, 1000);
    assert_eq!(settling.next_look(), WANTED_AFTER);
    settling.receive(WANTED_AFTER - 1);
    assert_eq!(settling.next_look(), 1);
    let mut settling = Settling::default();
    settling.hand(Some(0), 100, 100 * DUE_AFTER_BYTES / 4);
    assert_eq!(settling.next_look(), 4);
    settling.receive(3);
    assert_eq!(settling.next_look(), 1);
    settling.receive(5);
    assert_eq!((settling.next_look(), settling.tell()), (1, Tell::Due));
}
