//! The room: who is in it, who leads, what they see.

mod asks;
mod handover;
mod record;

use std::collections::VecDeque;
use std::time::Duration;

use self::handover::{Handover, Offer, Pull, Request};
pub(crate) use self::record::RoomRecord;
use super::super::control::{ConflictStrategy, ControlCause, Lease, Member, Presence, Role, Ticket};
use super::super::error::{MAX_NAME, RoomClosed};
use super::super::events::{Rejected, RoomEvent};
use super::Outgoing;
use super::wire::{self, Control, Goodbye, ToMember, ToRoom};
use crate::collections::{BTreeMap, BTreeSet};
use crate::durable::WallClock;
use crate::identity::PublicKey;
use crate::message::Utf8Bytes;
use crate::runtime::Instant;

/// Names a way to a member: its channel.
pub(crate) type ConnId = u64;

/// How a room is.
#[derive(Clone, Debug)]
pub(crate) struct RoomSettings {
    pub max_members: usize,
    pub expires_after: Duration,
    pub conflicts: ConflictStrategy,
    pub lease: Lease,
    pub max_state: usize,
    /// Whether there is a store that keeps records.
    pub kept: bool,
    pub moderators: BTreeSet<PublicKey>,
    /// How long an offer is open.
    pub offer_ttl: Duration,
    /// How long a leader may take to answer a request.
    pub request_ttl: Duration,
    /// How long members may take to give their state to one that wants to lead.
    pub pull_ttl: Duration,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RoomOutput {
    Send {
        conn: ConnId,
        frame: Outgoing,
    },
    /// Hang up, after what was sent.
    Drop(ConnId),
    /// To be kept before anything after it is done.
    Save(RoomRecord),
    Event(RoomEvent),
    /// The end.
    Closed(RoomClosed),
}

/// A member, as the room knows it.
#[derive(Clone, Debug)]
struct Entry {
    name: Option<String>,
    conn: ConnId,
    instance: u64,
    observer: bool,
    moderator: bool,
    every_step: bool,
    presence: Presence,
    /// Its place in the order of joining.
    order: u64,
    /// When it joined, by the room's wall clock.
    joined: u64,
    /// Follows though nobody leads.
    following: bool,
    /// The number of what was last heard of it.
    heard: u64,
    /// The number of its last state in this epoch.
    seq: u64,
}

/// What is remembered of a member.
#[derive(Clone, Copy, Debug)]
struct Known {
    order: u64,
    following: bool,
    instance: u64,
}

/// The newest state.
#[derive(Clone, Debug, PartialEq)]
struct Current {
    rev: u64,
    epoch: u64,
    from: PublicKey,
    state: Utf8Bytes,
}

/// One room. See [`super`] for how it is driven.
pub(crate) struct RoomMachine {
    settings: RoomSettings,
    /// Names this run of the room.
    incarnation: u64,
    conns: BTreeMap<ConnId, PublicKey>,
    members: BTreeMap<PublicKey, Entry>,
    joined_ever: u64,
    /// Members that were here: of an earlier run of the room, and one that left without having stopped to lead.
    known: BTreeMap<PublicKey, Known>,
    epoch: u64,
    holder: Option<PublicKey>,
    cause: ControlCause,
    /// Since when the holder wanted to lead, by its wall clock.
    wished: u64,
    came_from: Option<PublicKey>,
    /// The holder leads until then at the latest.
    leased_until: Option<Instant>,
    handover: Option<Handover>,
    pull: Option<Pull>,
    offer: Option<Offer>,
    requests: BTreeMap<Ticket, Request>,
    tickets: u64,
    rev: u64,
    current: Option<Current>,
    /// Members that are to go when they no longer lead.
    leaving: BTreeSet<PublicKey>,
    last_act: WallClock,
    closed: Option<RoomClosed>,
    members_changed: bool,
    control_changed: bool,
    outputs: VecDeque<RoomOutput>,
}

impl RoomMachine {
    /// The room, new or as an earlier run left it. `incarnation` is random.
    pub(crate) fn new(
        settings: RoomSettings,
        record: Option<RoomRecord>,
        incarnation: u64,
        now: WallClock,
    ) -> Self {
        let mut room = Self {
            settings,
            incarnation,
            conns: BTreeMap::default(),
            members: BTreeMap::default(),
            joined_ever: 0,
            known: BTreeMap::default(),
            epoch: 0,
            holder: None,
            cause: ControlCause::Opened,
            wished: 0,
            came_from: None,
            leased_until: None,
            handover: None,
            pull: None,
            offer: None,
            requests: BTreeMap::default(),
            tickets: 0,
            rev: 0,
            current: None,
            leaving: BTreeSet::default(),
            last_act: now,
            closed: None,
            members_changed: false,
            control_changed: false,
            outputs: VecDeque::new(),
        };
        if let Some(record) = record {
            room.restore(record, now);
        }
        room
    }

    pub(crate) fn poll_output(&mut self) -> Option<RoomOutput> {
        self.tell_changes();
        self.outputs.pop_front()
    }

    /// When to come back.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.closed.is_some() {
            return None;
        }
        let expiry = self.last_act.at.checked_add(self.settings.expires_after);
        let requests = self.requests.values().map(|request| request.until).min();
        let all = [self.leased_until, self.offer.as_ref().map(|offer| offer.until), requests];
        all.into_iter().chain([self.pull.as_ref().map(|pull| pull.until), expiry]).flatten().min()
    }

    /// There is a way to somebody, whose key is proven.
    pub(crate) fn handle_connected(&mut self, conn: ConnId, id: PublicKey) {
        self.conns.insert(conn, id);
        self.hello(conn);
        if let Some(closed) = self.closed {
            self.dismiss(conn, Goodbye::Closed { why: closed });
        }
    }

    /// Somebody's connection is lost and being mended, or is mended.
    pub(crate) fn handle_presence(&mut self, conn: ConnId, presence: Presence) {
        let Some(id) = self.member_at(conn) else { return };
        let Some(entry) = self.members.get_mut(&id).filter(|entry| entry.presence != presence) else {
            return;
        };
        entry.presence = presence;
        self.members_changed = true;
        self.outputs.push_back(RoomOutput::Event(match presence {
            Presence::Healing => RoomEvent::MemberHealing(id),
            Presence::Here => RoomEvent::MemberHealed(id),
        }));
    }

    /// A way to somebody has ended. `stopped` if that one knows, and so leads no longer.
    pub(crate) fn handle_gone(&mut self, conn: ConnId, stopped: bool, now: WallClock) {
        if let Some(id) = self.member_at(conn) {
            self.remove_entry(id, stopped, now);
        }
        self.conns.remove(&conn);
    }

    /// A message of somebody.
    pub(crate) fn handle_frame(&mut self, conn: ConnId, text: &str, now: WallClock) {
        if self.closed.is_some() {
            return;
        }
        let Some(&from) = self.conns.get(&conn) else { return };
        let Some((frame, state)) = wire::decode::<ToRoom>(text) else {
            return self.reject(conn, from, Rejected::InvalidMessage);
        };
        if let ToRoom::Join { version, room, n, instance, name, observer, every_step } = frame {
            if version != wire::VERSION {
                return self.dismiss(conn, Goodbye::Version { theirs: wire::VERSION });
            }
            if room != Some(self.incarnation) {
                return self.hello(conn);
            }
            let name = clean(name);
            return self.join(conn, from, n, instance, name, observer, every_step, now);
        }
        if self.member_at(conn) != Some(from) {
            // What an earlier run of the room was told arrives again before the member joins this one.
            return;
        }
        match frame {
            ToRoom::Join { .. } => {}
            ToRoom::Leave {} => {
                self.act(now);
                self.remove_entry(from, true, now);
                self.dismiss(conn, Goodbye::Left {});
            }
            ToRoom::Ask { n, ask } => {
                // Told again, since the one that heard it first forgot that it had.
                if self.hears(from, n, now) {
                    self.act(now);
                    self.handle_ask(from, n, ask, state, now);
                }
            }
            ToRoom::State { epoch, seq } => match state {
                Some(state) => self.handle_state(conn, from, epoch, seq, state, now),
                None => self.reject(conn, from, Rejected::InvalidMessage),
            },
            ToRoom::Renew { n, epoch } => {
                let fresh = self.hears(from, n, now);
                if self.holder == Some(from) && self.epoch == epoch {
                    // One that is to stop gets no more time.
                    if fresh && self.handover.is_none() {
                        self.act(now);
                        self.say_as(conn, &ToMember::Renewed { n, epoch }, Some("renewed"));
                    }
                } else {
                    self.control_changed = true;
                }
            }
            ToRoom::Yielded { epoch } => {
                if self.holder == Some(from) && self.epoch == epoch && self.handover.is_some() {
                    self.finish_handover(now);
                }
            }
            ToRoom::Have { pull } => self.handle_have(from, pull, state, now),
        }
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: WallClock) {
        if self.closed.is_some() {
            return;
        }
        if self.leased_until.is_some_and(|until| until <= now.at) {
            self.lease_ended(now);
        }
        self.end_what_is_due(now);
        if self.last_act.at + self.settings.expires_after <= now.at {
            self.close(RoomClosed::Expired);
        }
    }

    /// Ends the room, for all.
    pub(crate) fn close(&mut self, why: RoomClosed) {
        if self.closed.is_some() {
            return;
        }
        self.closed = Some(why);
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            self.dismiss(conn, Goodbye::Closed { why });
        }
        self.members = BTreeMap::default();
        self.holder = None;
        self.leased_until = None;
        self.outputs.push_back(RoomOutput::Closed(why));
    }

    /// Removes somebody, by the host's will. One that leads has to yield first.
    pub(crate) fn remove(&mut self, id: PublicKey, now: WallClock) {
        if !self.members.contains_key(&id) {
            return;
        }
        if self.holder == Some(id) {
            self.leaving.insert(id);
            self.take_over(None, ControlCause::Revoked, 0, Vec::new(), now);
        } else {
            self.remove_now(id, now);
        }
    }

    /// Gives somebody another role, by the host's will. `Leader` and `Follower` are the same here: who leads is control's matter.
    pub(crate) fn set_role(&mut self, id: PublicKey, role: Role, now: WallClock) {
        let Some(entry) = self.members.get_mut(&id) else { return };
        entry.observer = role == Role::Observer;
        entry.moderator = role == Role::Moderator;
        self.members_changed = true;
        if entry.observer && self.holder == Some(id) {
            self.take_over(None, ControlCause::Revoked, 0, Vec::new(), now);
        }
        let role = self.role(&id);
        self.outputs.push_back(RoomOutput::Event(RoomEvent::RoleChanged { member: id, role }));
    }

    pub(crate) fn members(&self) -> Vec<Member> {
        let mut members: Vec<_> = self.members.iter().collect();
        members.sort_by_key(|(_, entry)| entry.order);
        let member = |(id, entry): (&PublicKey, &Entry)| Member {
            id: *id,
            name: entry.name.clone(),
            role: self.role(id),
            moderator: entry.moderator,
            presence: entry.presence,
        };
        members.into_iter().map(member).collect()
    }

    pub(crate) fn holder(&self) -> Option<PublicKey> {
        self.holder
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn last_act(&self) -> WallClock {
        self.last_act
    }

    pub(crate) fn rev(&self) -> u64 {
        self.rev
    }

    fn role(&self, id: &PublicKey) -> Role {
        match self.members.get(id) {
            _ if self.holder == Some(*id) => Role::Leader,
            Some(entry) if entry.observer => Role::Observer,
            Some(entry) if entry.moderator => Role::Moderator,
            _ => Role::Follower,
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn join(
        &mut self,
        conn: ConnId,
        id: PublicKey,
        n: u64,
        instance: u64,
        name: Option<String>,
        observer: bool,
        every_step: bool,
        now: WallClock,
    ) {
        let earlier = self.members.get(&id).map(|entry| (entry.conn, entry.instance));
        if earlier.is_none() && self.members.len() >= self.settings.max_members {
            let max = u32::try_from(self.settings.max_members).unwrap_or(u32::MAX);
            return self.dismiss(conn, Goodbye::Full { max });
        }
        self.act(now);
        let known = self.known.remove(&id);
        let before = earlier.map(|(_, instance)| instance).or(known.map(|known| known.instance));
        if let Some((old, _)) = earlier
            && old != conn
        {
            self.dismiss(old, Goodbye::Displaced {});
        }
        match self.members.get_mut(&id) {
            Some(entry) => {
                entry.name = name;
                entry.conn = conn;
                entry.instance = instance;
                // An observer stays one whom the host made one.
                entry.observer |= observer;
                entry.every_step = every_step;
                entry.presence = Presence::Here;
                entry.heard = n;
                entry.seq = 0;
            }
            None => {
                let (order, following) = known.map_or_else(
                    || {
                        self.joined_ever += 1;
                        (self.joined_ever, false)
                    },
                    |known| (known.order, known.following),
                );
                let moderator = self.settings.moderators.contains(&id);
                let presence = Presence::Here;
                let entry = Entry {
                    name,
                    conn,
                    instance,
                    observer,
                    moderator,
                    every_step,
                    presence,
                    order,
                    joined: now.millis,
                    following,
                    heard: n,
                    seq: 0,
                };
                self.members.insert(id, entry);
            }
        }
        self.abandon_asks(id);
        let (max_state, lease) = (self.settings.max_state as u64, self.settings.lease.absence);
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        self.say(conn, &ToMember::Welcome { instance, max_state, lease_ms });
        self.members_changed = true;
        self.control_changed = true;
        self.tell_state(id);
        if earlier.is_none() {
            let joined = self.members().into_iter().find(|member| member.id == id);
            self.outputs.extend(joined.map(|member| RoomOutput::Event(RoomEvent::MemberJoined(member))));
        }
        if self.holder == Some(id) {
            let restarted = before != Some(instance);
            match &self.handover {
                // It leads again, in an epoch of its own: what its earlier run may still send is void.
                None if restarted => self.transfer(Some(id), ControlCause::Restored, self.wished, now),
                None => {}
                // It was to stop, and has: this is another run of it.
                Some(_) if restarted => self.finish_handover(now),
                Some(_) => self.say(conn, &ToMember::Yield { epoch: self.epoch }),
            }
        }
    }

    /// The newest state, for one member.
    fn tell_state(&mut self, id: PublicKey) {
        let (Some(current), Some(entry)) = (&self.current, self.members.get(&id)) else { return };
        let line = ToMember::State { epoch: current.epoch, from: current.from, rev: current.rev };
        let frame = Outgoing { text: wire::encode(&line, Some(&current.state)), key: Some("state") };
        self.outputs.push_back(RoomOutput::Send { conn: entry.conn, frame });
    }

    fn handle_state(
        &mut self,
        conn: ConnId,
        from: PublicKey,
        epoch: u64,
        seq: u64,
        state: &str,
        now: WallClock,
    ) {
        let last = self.members.get(&from).map_or(0, |entry| entry.seq);
        let wrong = if epoch < self.epoch {
            Some(Rejected::OldEpoch { epoch })
        } else if self.holder != Some(from) || epoch != self.epoch {
            Some(Rejected::NotHolder)
        } else if state.len() > self.settings.max_state {
            Some(Rejected::StateTooLarge { size: state.len() })
        } else {
            (seq <= last).then_some(Rejected::OldState)
        };
        if let Some(wrong) = wrong {
            return self.reject(conn, from, wrong);
        }
        if let Some(entry) = self.members.get_mut(&from) {
            entry.seq = seq;
        }
        self.act(now);
        self.publish(from, state);
    }

    /// A state that all but its maker are to see.
    fn publish(&mut self, from: PublicKey, state: &str) {
        self.rev += 1;
        let current = Current { rev: self.rev, epoch: self.epoch, from, state: state.into() };
        let line = ToMember::State { epoch: current.epoch, from, rev: current.rev };
        let text = wire::encode(&line, Some(&current.state));
        self.current = Some(current);
        self.save();
        for (_, entry) in self.members.iter().filter(|(id, _)| **id != from) {
            let key = (!entry.every_step).then_some("state");
            let frame = Outgoing { text: text.clone(), key };
            self.outputs.push_back(RoomOutput::Send { conn: entry.conn, frame });
        }
    }

    fn remove_now(&mut self, id: PublicKey, now: WallClock) {
        let Some(conn) = self.members.get(&id).map(|entry| entry.conn) else { return };
        self.remove_entry(id, true, now);
        self.dismiss(conn, Goodbye::Removed {});
    }

    /// Somebody is no longer in the room.
    fn remove_entry(&mut self, id: PublicKey, stopped: bool, now: WallClock) {
        self.leaving.remove(&id);
        let Some(entry) = self.members.remove(&id) else { return };
        // Should it come back, it is who it was.
        if self.holder == Some(id) {
            let (order, following, instance) = (entry.order, entry.following, entry.instance);
            self.known.insert(id, Known { order, following, instance });
        }
        self.members_changed = true;
        self.outputs.push_back(RoomOutput::Event(RoomEvent::MemberLeft(id)));
        self.forget_asks_of(id, now);
        if self.holder == Some(id) && stopped {
            match self.handover {
                Some(_) => self.finish_handover(now),
                None => self.set_free(ControlCause::HolderLeft, None, now),
            }
        }
    }

    /// Who has joined by this way.
    fn member_at(&self, conn: ConnId) -> Option<PublicKey> {
        let id = self.conns.get(&conn)?;
        self.members.get(id).filter(|entry| entry.conn == conn).map(|_| *id)
    }

    /// Whether this is news of a member.
    fn hears(&mut self, id: PublicKey, n: u64, now: WallClock) -> bool {
        let leads = self.holder == Some(id);
        let Some(entry) = self.members.get_mut(&id).filter(|entry| n > entry.heard) else { return false };
        // A leader counts its time from the last that it is told to have been heard. One that is to stop is told
        // nothing newer, and gets no more time.
        if !(leads && self.handover.is_some()) {
            entry.heard = n;
            if leads {
                self.leased_until = Some(now.at + self.settings.lease.at_the_room());
            }
        }
        true
    }

    fn act(&mut self, now: WallClock) {
        self.last_act = now;
    }

    fn reject(&mut self, conn: ConnId, from: PublicKey, what: Rejected) {
        self.say_as(conn, &ToMember::Rejected { what: what.code().into() }, Some("rejected"));
        self.outputs.push_back(RoomOutput::Event(RoomEvent::Rejected { from, what }));
    }

    fn hello(&mut self, conn: ConnId) {
        self.say(conn, &ToMember::Hello { version: wire::VERSION, room: self.incarnation });
    }

    fn say(&mut self, conn: ConnId, line: &ToMember) {
        self.say_as(conn, line, None);
    }

    fn say_as(&mut self, conn: ConnId, line: &ToMember, key: Option<&'static str>) {
        let frame = Outgoing { text: wire::encode(line, None), key };
        self.outputs.push_back(RoomOutput::Send { conn, frame });
    }

    fn dismiss(&mut self, conn: ConnId, why: Goodbye) {
        self.say(conn, &ToMember::Goodbye { why });
        self.outputs.push_back(RoomOutput::Drop(conn));
        self.conns.remove(&conn);
    }

    /// Says to all what has changed since.
    fn tell_changes(&mut self) {
        if std::mem::take(&mut self.members_changed) {
            let line = ToMember::Members { members: self.members() };
            let text = wire::encode(&line, None);
            for entry in self.members.values() {
                let frame = Outgoing { text: text.clone(), key: Some("members") };
                self.outputs.push_back(RoomOutput::Send { conn: entry.conn, frame });
            }
        }
        if std::mem::take(&mut self.control_changed) {
            let every_step = self.members.values().any(|entry| entry.every_step);
            for (id, entry) in &self.members {
                let line = ToMember::Control(Control {
                    epoch: self.epoch,
                    holder: self.holder,
                    cause: self.cause,
                    following: entry.following,
                    heard: entry.heard,
                    offer: self.offer.as_ref().filter(|offer| self.concerns(offer, id)).map(Offer::open),
                    requests: if self.holder == Some(*id) { self.open_requests() } else { Vec::new() },
                    every_step,
                });
                let frame = Outgoing { text: wire::encode(&line, None), key: Some("control") };
                self.outputs.push_back(RoomOutput::Send { conn: entry.conn, frame });
            }
        }
    }
}

/// A name that can be shown: bounded, without control characters.
fn clean(name: Option<String>) -> Option<String> {
    let name: Option<String> = name.map(|name| name.chars().filter(|char| !char.is_control()).collect());
    wire::cut(name, MAX_NAME).filter(|name| !name.trim().is_empty())
}
