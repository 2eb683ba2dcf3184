//! The decisions: a machine for the room and one for each member. Pure: time comes in as an argument, and
//! what is to be done comes out.
//!
//! **After every `handle_*` or command, drain `poll_output` before anything else, and come back at
//! `deadline()` with `handle_timeout`.**
//!
//! # Why there are never two leaders
//!
//! The room gives control, a number (*epoch*) and a holder, to one member at a time. It takes it away in one of two ways:
//!
//! * It asks the holder to yield, and waits for its word that it did.
//! * It waits until the holder's lease has ended. The holder leads for a time that it counts from when it *sent* the last
//!   thing that the room says to have heard; the room counts a longer time from when it *heard* it, which was later.
//!   So the holder always stops first, however late either one's messages are.
//!
//! Whoever is new therefore leads when nobody else does any more. In between, nobody may lead.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod member;
mod room;
#[cfg(test)]
mod tests;
pub(super) mod wire;

pub(super) use self::member::{Answer, AskId, Link, MemberMachine, MemberOutput, RawEvent};
pub(super) use self::room::{ConnId, RoomMachine, RoomOutput, RoomRecord, RoomSettings};

/// A frame to be sent, and under what key a newer one of its kind takes its place while it waits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outgoing {
    pub text: crate::message::Utf8Bytes,
    pub key: Option<&'static str>,
}
