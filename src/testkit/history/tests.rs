use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::error::SendError;

const C: &str = "c";

/// A log of these records, one a millisecond from `from` on.
fn log_from(from: u64, records: &[Happened<'_>]) -> Log {
    let lines: Vec<String> =
        records.iter().enumerate().map(|(at, record)| log::line(from + at as u64, record)).collect();
    Log::from_reader(lines.join("\n").as_bytes()).unwrap()
}

fn judge(sender: &[Happened<'_>], receiver: &[Happened<'_>]) -> Verdict {
    let (sender, receiver) = (log_from(0, sender), log_from(1000, receiver));
    let verdict = check(7, &sender, &receiver);
    assert_eq!(verdict.counts, check(7, &receiver, &sender).counts, "either order will do");
    assert!(verdict.to_string().starts_with("seed 7: "));
    verdict
}

fn sending(message: u64) -> [Happened<'static>; 2] {
    [Happened::Sending { channel: C, message }, Happened::Sent { channel: C, message, seq: message }]
}

fn sent(numbers: impl IntoIterator<Item = u64>) -> Vec<Happened<'static>> {
    let one = |message| [sending(message).to_vec(), vec![Happened::Stored { channel: C, message }]].concat();
    [vec![Happened::Started], numbers.into_iter().flat_map(one).collect()].concat()
}

fn received(numbers: impl IntoIterator<Item = u64>) -> Vec<Happened<'static>> {
    let numbers = numbers.into_iter().map(|message| Happened::Received { channel: C, message });
    std::iter::once(Happened::Started).chain(numbers).collect()
}

fn dropped(message: u64, error: &SendError) -> Happened<'_> {
    Happened::Dropped { channel: C, message, error }
}

fn gap(from: u64, to: u64) -> Happened<'static> {
    Happened::Gap { channel: C, from, to, cause: GapCause::Overflow }
}

#[track_caller]
fn expect_only(verdict: &Verdict, kind: ViolationKind, message: u64) {
    let found: Vec<_> = verdict.violations.iter().map(|one| (one.kind, one.message)).collect();
    assert_eq!(found, [(kind, message)], "{verdict}");
    assert!(!verdict.is_clean() && verdict.violations[0].excerpt.len() >= 2, "{verdict}");
}

#[track_caller]
fn expect_clean(verdict: &Verdict) {
    assert!(verdict.is_clean(), "{verdict}");
}

#[test]
fn what_arrives_once_and_in_order_is_clean() {
    let verdict = judge(&sent(1..=9), &received(1..=9));
    expect_clean(&verdict);
    assert_eq!((verdict.counts.sent, verdict.counts.received, verdict.counts.restarts), (9, 9, 0));
}

#[test]
fn a_lost_message_is_found_and_shown() {
    let verdict = judge(&sent(1..=9), &received([1, 2, 3, 5, 6, 7, 8, 9]));
    expect_only(&verdict, ViolationKind::Lost, 4);
    assert_eq!(verdict.counts.lost, 1);
    let shown = verdict.to_string();
    assert!(shown.contains("stored 4") && shown.contains("received 3"), "{shown}");
    // The last one, too, and one that was only acknowledged or only taken.
    expect_only(&judge(&sent(1..=9), &received(1..=8)), ViolationKind::Lost, 9);
    let acked =
        [sent([]), sending(1).to_vec(), vec![Happened::Acked { channel: C, message: 1 }, Happened::Started]];
    expect_only(&judge(&acked.concat(), &received([])), ViolationKind::Lost, 1);
    expect_only(&judge(&sending(1), &received([])), ViolationKind::Lost, 1);
}

#[test]
fn what_a_killed_sender_had_not_stored_is_not_owed() {
    let killed = [sending(1).to_vec(), vec![Happened::Started]].concat();
    expect_clean(&judge(&killed, &received([])));
    expect_clean(&judge(&killed, &received([1])));
}

#[test]
fn a_doubled_message_is_found() {
    expect_only(&judge(&sent(1..=3), &received([1, 2, 2, 3])), ViolationKind::Doubled, 2);
}

#[test]
fn a_restarted_receiver_may_see_again_what_it_had_not_acknowledged() {
    let again = [received(1..=5), received(4..=9)].concat();
    let verdict = judge(&sent(1..=9), &again);
    expect_clean(&verdict);
    assert_eq!((verdict.counts.replayed, verdict.counts.restarts), (2, 1));
    // A restart of the sender excuses nothing.
    let restarted = [sent(1..=5), sent(6..=9)].concat();
    expect_only(&judge(&restarted, &received([1, 2, 3, 4, 5, 5, 6, 7, 8, 9])), ViolationKind::Doubled, 5);
    // Its records come before those of the receiver, so message 4 was acknowledged before the restart.
    let acked = [sent(1..=9), vec![Happened::Acked { channel: C, message: 4 }]].concat();
    expect_only(&judge(&acked, &again), ViolationKind::Doubled, 4);
    let late = [received(1..=5), received([5, 4, 6, 7, 8, 9])].concat();
    expect_only(&judge(&sent(1..=9), &late), ViolationKind::Reordered, 4);
}

#[test]
fn a_reordered_message_is_found() {
    expect_only(&judge(&sent(1..=4), &received([1, 3, 2, 4])), ViolationKind::Reordered, 2);
    let skipped = [received([1, 2, 4]), received([3])].concat();
    expect_only(&judge(&sent(1..=4), &skipped), ViolationKind::Reordered, 3);
}

#[test]
fn a_gap_needs_the_word_of_both_ends() {
    let overflow = [sent(1..=4), vec![dropped(2, &SendError::Overflow)]].concat();
    let with_gap = [received([1]), vec![gap(2, 2)], received([3, 4])[1..].to_vec()].concat();
    let verdict = judge(&overflow, &with_gap);
    expect_clean(&verdict);
    assert_eq!(verdict.counts.explained, 1);
    expect_only(&judge(&overflow, &received([1, 3, 4])), ViolationKind::Unexplained, 2);
    expect_only(&judge(&sent(1..=4), &with_gap), ViolationKind::Unexplained, 2);
    let other = [received([1]), vec![gap(1, 1)], received([3, 4])[1..].to_vec()].concat();
    let verdict = judge(&overflow, &other);
    assert_eq!(verdict.counts.unexplained, 2, "{verdict}");
}

#[test]
fn what_was_reported_as_dropped_must_not_arrive() {
    let overflow = [sent(1..=3), vec![dropped(2, &SendError::Overflow)]].concat();
    expect_only(&judge(&overflow, &received(1..=3)), ViolationKind::FalseAlarm, 2);
    let with_gap = [received(1..=3), vec![gap(2, 2)]].concat();
    expect_only(&judge(&sent(1..=3), &with_gap), ViolationKind::FalseAlarm, 2);
    let refused = [sending(1)[0], Happened::Refused { channel: C, message: 1 }];
    expect_clean(&judge(&refused, &received([])));
    expect_only(&judge(&refused, &received([1])), ViolationKind::FalseAlarm, 1);
    // Of these nobody can know.
    let lost = [sent(1..=3), vec![dropped(2, &SendError::SessionLost), Happened::SessionLost]].concat();
    expect_clean(&judge(&lost, &received(1..=3)));
    expect_clean(&judge(&lost, &received([1, 3])));
}

#[test]
fn what_nobody_sent_and_numbers_used_twice_are_found() {
    expect_only(&judge(&sent(1..=2), &received(1..=3)), ViolationKind::Invented, 3);
    let twice = [sent(1..=2), sending(2).to_vec()].concat();
    expect_only(&judge(&twice, &received(1..=2)), ViolationKind::BadLog, 2);
}

#[test]
fn channels_and_directions_are_apart() {
    let on = |channel, message| Happened::Received { channel, message };
    let sending = |channel, message| Happened::Sending { channel, message };
    let one = [sending("a", 1), sending("b", 1), on("a", 1)];
    let other = [on("b", 1), on("a", 1), sending("a", 1)];
    let verdict = judge(&one, &other);
    expect_clean(&verdict);
    assert_eq!(verdict.counts.received, 3);
    expect_only(&judge(&one[1..], &other), ViolationKind::Invented, 1);
}

#[test]
fn files_are_continued_and_survive_a_torn_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history");
    let history = History::open(&path).unwrap();
    for record in &sent(1..=3)[1..] {
        history.record(*record).unwrap();
    }
    drop(history);
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(br#"{"at":5,"what":"sen"#).unwrap();
    assert_eq!(Log::read(&path).unwrap().last_sending(C), Some(3));
    let history = History::open(&path).unwrap();
    history.record(Happened::Note("again")).unwrap();
    let log = history.log().unwrap();
    assert_eq!((log.last_sending(C), log.last_sending("d")), (Some(3), None));
    assert_eq!(check(0, &log, &log_from(9, &received(1..=3))).counts.restarts, 1);

    file.write_all(b"nonsense\n").unwrap();
    history.record(Happened::Note("after it")).unwrap();
    assert!(matches!(history.log(), Err(LogError::BadLine { line: 14, .. })), "{:?}", history.log());
    assert!(matches!(Log::read(directory.path().join("none")), Err(LogError::Io(_))));
    let unknown = Log::from_reader(br#"{"at":1,"what":"flown"}"#.as_slice());
    assert!(matches!(unknown, Err(LogError::BadLine { line: 1, .. })));
}

type Timed = Vec<(u64, Happened<'static>)>;

/// A valid run: what is sent, who is restarted when, what is dropped. One step a millisecond.
fn valid(steps: &[u8]) -> (Timed, Timed) {
    let (mut sender, mut receiver) = (vec![(0, Happened::Started)], vec![(0, Happened::Started)]);
    let (mut message, mut unacked) = (0, Vec::new());
    for (at, step) in (1..).zip(steps) {
        match step % 8 {
            0 => sender.push((at, Happened::Started)),
            1 => {
                receiver.push((at, Happened::Started));
                let again = unacked.iter().map(|&message| (at, Happened::Received { channel: C, message }));
                receiver.extend(again);
            }
            2 => {
                message += 1;
                sender.extend(sending(message).map(|record| (at, record)));
                sender.push((at, dropped(message, &SendError::Overflow)));
                receiver.push((at, gap(message, message)));
            }
            3 => {
                // The sender hears of it, so that it does not come again.
                let acked = unacked.drain(..);
                sender.extend(acked.map(|message| (at, Happened::Acked { channel: C, message })));
            }
            _ => {
                message += 1;
                sender.extend(sent([message])[1..].iter().map(|record| (at, *record)));
                receiver.push((at, Happened::Received { channel: C, message }));
                unacked.push(message);
            }
        }
    }
    (sender, receiver)
}

fn judge_timed(sender: &Timed, receiver: &Timed) -> Verdict {
    let [sender, receiver] = [sender, receiver].map(|records| {
        let lines: Vec<String> = records.iter().map(|(at, record)| log::line(*at, record)).collect();
        Log::from_reader(lines.join("\n").as_bytes()).unwrap()
    });
    check(7, &sender, &receiver)
}

/// The number of a message received.
fn number(record: &Happened<'_>) -> Option<u64> {
    match record {
        Happened::Received { message, .. } => Some(*message),
        _ => None,
    }
}

proptest! {
    #[test]
    fn valid_histories_pass_and_mutated_ones_fail(
        steps in prop::collection::vec(any::<u8>(), 1..200),
        which in any::<Index>(),
        how in 0..5_u8,
    ) {
        let (sender, mut receiver) = valid(&steps);
        let verdict = judge_timed(&sender, &receiver);
        prop_assert!(verdict.is_clean(), "{verdict}");

        let numbers: Vec<u64> = receiver.iter().filter_map(|(_, record)| number(record)).collect();
        prop_assume!(numbers.len() >= 2);
        let chosen = numbers[which.index(numbers.len())];
        let is = |(_, record): &(u64, Happened<'_>)| number(record) == Some(chosen);
        let last = receiver.iter().rposition(is).unwrap();
        match how {
            0 => receiver.retain(|record| !is(record)),
            1 => receiver.insert(last, receiver[last]),
            2 => {
                let moved = receiver[last];
                receiver.retain(|record| !is(record));
                prop_assume!(receiver.iter().any(|(_, record)| number(record) > Some(chosen)));
                receiver.push(moved);
            }
            3 => receiver[last].1 = Happened::Received { channel: C, message: 1_000_000 },
            _ => receiver.push((1000, gap(chosen, chosen))),
        }
        prop_assert!(!judge_timed(&sender, &receiver).is_clean());
    }
}
