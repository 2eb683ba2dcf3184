//! What the fuzz target `tutorial` does with a room and its members.

use std::time::Duration;

use super::super::control::{ConflictStrategy, Lease, Presence};
use super::super::phase::Phase;
use super::{Link, MemberMachine, MemberOutput, RoomMachine, RoomOutput, RoomRecord, RoomSettings};
use crate::collections::BTreeSet;
use crate::durable::WallClock;
use crate::identity::PublicKey;
use crate::runtime::Instant;

/// More than all that can follow from one message in a room of five.
const OUTPUTS: usize = 1000;

/// Messages with zeroes between. The first byte says for whom: the room from one of three, a member, a record of a room; or how much
/// time passes, or whose connection fails. Nothing panics, a message brings about a bounded number of others, and whoever leads is named.
pub(crate) fn tutorial(data: &[u8]) {
    #[allow(clippy::disallowed_methods)]
    let start = Instant::now();
    let mut now = WallClock { at: start, millis: 1_700_000_000_000 };
    let settings = RoomSettings {
        max_members: 5,
        expires_after: Duration::from_secs(1800),
        conflicts: ConflictStrategy::UserChoice,
        lease: Lease { absence: Duration::from_secs(30) },
        max_state: 100,
        kept: true,
        moderators: BTreeSet::default(),
        offer_ttl: Duration::from_secs(30),
        request_ttl: Duration::from_secs(30),
        pull_ttl: Duration::from_secs(5),
    };
    let mut room = RoomMachine::new(settings.clone(), None, 7, now);
    let key = |index: u64| PublicKey::from_bytes([index as u8; 32]);
    (1..4).for_each(|conn| room.handle_connected(conn, key(conn)));
    let mut member = MemberMachine::new(key(1), None, false, false, 1, start);
    drain_room(&mut room);
    for message in data.split(|byte| *byte == 0).take(64) {
        let Some((&first, rest)) = message.split_first() else { continue };
        let text = String::from_utf8_lossy(rest);
        let conn = u64::from(first % 3) + 1;
        match first % 8 {
            0..=2 => room.handle_frame(conn, &text, now),
            3 | 4 => member.handle_frame(&text, now.at),
            5 => {
                if let Ok(record) = RoomRecord::decode(rest) {
                    assert_eq!(RoomRecord::decode(&record.encode()).as_ref(), Ok(&record));
                    let mut again = RoomMachine::new(settings.clone(), Some(record), 8, now);
                    assert!(again.poll_output().is_none() && again.deadline().is_some());
                }
            }
            6 => {
                let millis = u64::try_from(rest.len()).unwrap_or(0) * 1000;
                now = WallClock { at: now.at + Duration::from_millis(millis), millis: now.millis + millis };
                room.handle_timeout(now);
                member.handle_timeout(now.at);
            }
            _ => {
                room.handle_presence(
                    conn,
                    if rest.len() % 2 == 0 { Presence::Here } else { Presence::Healing },
                );
                member.handle_link(if rest.len() % 2 == 0 { Link::Up } else { Link::Healing }, now.at);
            }
        }
        drain_room(&mut room);
        let mut count = 0;
        while let Some(output) = member.poll_output() {
            count += 1;
            assert!(count < OUTPUTS, "one message brings about {OUTPUTS}");
            if let MemberOutput::Send(frame) = output {
                room.handle_frame(1, &frame.text, now);
            }
        }
        drain_room(&mut room);
        if member.phase(now.at) == Phase::Active {
            assert_eq!(member.control().holder, Some(key(1)));
        }
        if let Some(holder) = room.holder() {
            assert!((1..4).any(|conn| key(conn) == holder), "a leader who never joined");
        }
    }
}

fn drain_room(room: &mut RoomMachine) {
    let mut count = 0;
    while let Some(output) = room.poll_output() {
        count += 1;
        assert!(count < OUTPUTS, "one message brings about {OUTPUTS}");
        if let RoomOutput::Save(record) = output {
            assert_eq!(RoomRecord::decode(&record.encode()), Ok(record));
        }
    }
}
