//! What members and their room say to each other: a line of JSON that says what it is, and for some, after
//! the line's end, a state. The state is the application's, and passes through the room unread.

use serde::{Deserialize, Serialize};

use super::super::control::{ControlCause, Member, OfferOutcome, OpenOffer, OpenRequest, ReleaseTo, Ticket};
use super::super::error::{Refusal, RoomClosed};
use crate::identity::PublicKey;
use crate::message::Utf8Bytes;

/// The version of the format.
pub(crate) const VERSION: u16 = 1;
/// The longest first line.
const MAX_LINE: usize = 512 << 10;

/// What a member says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(crate) enum ToRoom {
    /// Always the first; again when the member or the room was started anew.
    Join {
        version: u16,
        /// The run of the room that is joined, from its hello. Without it the room says hello, and no more: what
        /// was said to an earlier run may arrive again at this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room: Option<u64>,
        n: u64,
        /// Names the member's process: what is told to another one is not for this.
        instance: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(default)]
        observer: bool,
        #[serde(default)]
        every_step: bool,
    },
    Leave {},
    /// Something that is answered. Numbers grow.
    Ask {
        n: u64,
        ask: Ask,
    },
    /// The leader's state (after the line).
    State {
        epoch: u64,
        seq: u64,
    },
    /// The leader asks for more time.
    Renew {
        n: u64,
        epoch: u64,
    },
    /// The leader has stopped.
    Yielded {
        epoch: u64,
    },
    /// The answer to `Wanted`: this member's state, if it has one (after the line).
    Have {
        pull: u64,
    },
}

/// What a member asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(crate) enum Ask {
    /// To lead. `at`: since when, by its wall clock. `seen`: the epoch it knows of.
    Lead {
        at: u64,
        seen: u64,
    },
    /// To have the others' state, then to lead.
    Pull {
        at: u64,
        seen: u64,
    },
    /// To follow.
    Follow {},
    /// To give its state (after the line), then to follow.
    Push {},
    /// The room's newest state.
    State {},
    Offer {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<PublicKey>,
    },
    Withdraw {},
    Accept {
        offer: Ticket,
    },
    Decline {
        offer: Ticket,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    Request {
        at: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    Grant {
        request: Ticket,
    },
    Deny {
        request: Ticket,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    Release {
        epoch: u64,
        to: ReleaseTo,
    },
    Return {},
    Revoke {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<PublicKey>,
    },
}

/// What a room says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(crate) enum ToMember {
    /// Always the first of a room's process; a member that knows another room here joins again.
    Hello { version: u16, room: u64 },
    /// The answer to `Join`.
    Welcome { instance: u64, max_state: u64, lease_ms: u64 },
    /// Who is in the room. The newest replaces all before.
    Members { members: Vec<Member> },
    /// Who has control, and what this member has to know about it. The newest replaces all before.
    Control(Control),
    /// The newest state (after the line).
    State { epoch: u64, from: PublicKey, rev: u64 },
    /// To the leader: stop, and say so.
    Yield { epoch: u64 },
    /// To the leader: its asking for time, `n`, was heard.
    Renewed { n: u64, epoch: u64 },
    /// To an asker (for some with a state after the line).
    Answer {
        n: u64,
        #[serde(flatten)]
        answer: Answered,
    },
    /// Somebody wants to lead and asks for this member's state.
    Wanted { pull: u64 },
    /// What this member sent was passed over.
    Rejected { what: String },
    /// This member is out.
    Goodbye {
        #[serde(flatten)]
        why: Goodbye,
    },
}

/// Who has control, as one member is told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Control {
    pub epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<PublicKey>,
    pub cause: ControlCause,
    /// Whether this member follows though nobody leads.
    #[serde(default)]
    pub following: bool,
    /// The number of the last that the room heard of this member.
    pub heard: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<OpenOffer>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<OpenRequest>,
    /// Whether some member wants every step, so that none may be superseded.
    #[serde(default)]
    pub every_step: bool,
}

/// The answer to an `Ask`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub(crate) enum Answered {
    Done {},
    Refused {
        why: Refusal,
    },
    /// Of an offer.
    Settled {
        #[serde(flatten)]
        outcome: OfferOutcome,
    },
}

/// Why a member is out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(crate) enum Goodbye {
    Full { max: u32 },
    Removed {},
    Displaced {},
    Closed { why: RoomClosed },
    Version { theirs: u16 },
    TooSlow {},
    Left {},
}

/// The frame's text.
pub(crate) fn encode(line: &impl Serialize, state: Option<&Utf8Bytes>) -> Utf8Bytes {
    // Only what this file defines is written, and all of it is JSON.
    let mut text = serde_json::to_string(line).expect("frames are JSON");
    if let Some(state) = state {
        text.reserve(state.len() + 1);
        text.push('\n');
        text.push_str(state);
    }
    text.into()
}

/// The frame of a text, and its state; `None` if it is none.
pub(crate) fn decode<'a, T: Deserialize<'a>>(text: &'a str) -> Option<(T, Option<&'a str>)> {
    let (line, state) = match text.split_once('\n') {
        Some((line, state)) => (line, Some(state)),
        None => (text, None),
    };
    if line.len() > MAX_LINE {
        return None;
    }
    Some((serde_json::from_str(line).ok()?, state))
}

/// At most so many bytes of a text, cut where a character ends.
pub(crate) fn cut(text: Option<String>, max: usize) -> Option<String> {
    text.map(|mut text| {
        if text.len() > max {
            let end = (0..=max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `docs/PROTOCOL.md` has them: others are written against it.
    #[test]
    fn frames_are_as_documented() {
        let key = PublicKey::from_bytes([1; 32]);
        let who = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
        let written = |line: &dyn erased::Line, state: Option<&str>| {
            line.text(state.map(Utf8Bytes::from).as_ref()).to_string()
        };
        let join = ToRoom::Join {
            version: VERSION,
            room: Some(7),
            n: 1,
            instance: 2,
            name: Some("Ada".into()),
            observer: false,
            every_step: true,
        };
        let control = Control { epoch: 3, holder: Some(key), heard: 4, ..Control::default() };
        let settled = Answered::Settled { outcome: OfferOutcome::Declined { by: key, reason: None } };
        for (frame, expected) in [
            (
                written(&join, None),
                r#"{"type":"join","version":1,"room":7,"n":1,"instance":2,"name":"Ada","observer":false,"everyStep":true}"#.into(),
            ),
            (written(&ToRoom::State { epoch: 3, seq: 1 }, Some("{}")), "{\"type\":\"state\",\"epoch\":3,\"seq\":1}\n{}".into()),
            (
                written(&ToRoom::Ask { n: 2, ask: Ask::Lead { at: 5, seen: 0 } }, None),
                r#"{"type":"ask","n":2,"ask":{"ask":"lead","at":5,"seen":0}}"#.into(),
            ),
            (
                written(&ToRoom::Ask { n: 2, ask: Ask::Release { epoch: 3, to: ReleaseTo::Idle } }, None),
                r#"{"type":"ask","n":2,"ask":{"ask":"release","epoch":3,"to":"idle"}}"#.into(),
            ),
            (
                written(&ToMember::Control(control), None),
                format!(r#"{{"type":"control","epoch":3,"holder":"{who}","cause":"opened","following":false,"heard":4,"everyStep":false}}"#),
            ),
            (
                written(&ToMember::Answer { n: 2, answer: settled }, None),
                format!(r#"{{"type":"answer","n":2,"result":"settled","outcome":"declined","by":"{who}"}}"#),
            ),
            (
                written(&ToMember::Answer { n: 2, answer: Answered::Refused { why: Refusal::Held { holder: key } } }, None),
                format!(r#"{{"type":"answer","n":2,"result":"refused","why":{{"code":"held","holder":"{who}"}}}}"#),
            ),
            (written(&ToMember::Goodbye { why: Goodbye::Full { max: 2 } }, None), r#"{"type":"goodbye","reason":"full","max":2}"#.into()),
        ] {
            assert_eq!(frame, expected);
        }
        // What this version does not know is passed over; what it needs must be there.
        assert!(decode::<ToRoom>(r#"{"type":"leave","more":1}"#).is_some());
        for bad in ["", "{}", "null", r#"{"type":"ask","n":2}"#, r#"{"type":"join","version":-1}"#, "\n"] {
            assert!(decode::<ToRoom>(bad).is_none(), "{bad}");
        }
        assert_eq!(cut(Some("aéé".into()), 4).as_deref(), Some("aé"));
    }

    /// Frames of both kinds, to be written alike.
    mod erased {
        use super::*;
        pub(super) trait Line {
            fn text(&self, state: Option<&Utf8Bytes>) -> Utf8Bytes;
        }
        impl<T: Serialize> Line for T {
            fn text(&self, state: Option<&Utf8Bytes>) -> Utf8Bytes {
                encode(self, state)
            }
        }
    }
}
