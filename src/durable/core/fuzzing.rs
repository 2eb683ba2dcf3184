//! What the fuzz targets reach of the core.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

pub(crate) use super::handshake::{Hello, Refuse, Welcome};
use super::tests::pair::{Acceptor, Dialer, Pair};
pub(crate) use super::tests::properties::run_bytes;
use super::wire;
pub(crate) use super::wire::{Decoder, Frame};
use crate::config::ConnectionConfig;
use crate::message::Message;

/// Encodes any frame, DATA with its messages.
pub(crate) fn put_frame(out: &mut BytesMut, frame: &Frame, messages: &[Message]) {
    match frame {
        Frame::Hello(body) => wire::put_hello(out, body),
        Frame::Welcome(body) => wire::put_welcome(out, body),
        Frame::Refuse(body) => wire::put_refuse(out, body),
        Frame::Open { half, first_seq, lossy, label } => {
            wire::put_open(out, *half, *first_seq, *lossy, label);
        }
        Frame::Data { half, seq, .. } => {
            let mut data = wire::DataFrame::begin(out, *half, *seq);
            messages.iter().for_each(|message| data.put(out, message));
            data.end(out);
        }
        Frame::Fragment { half, seq, text, total, offset, data } => {
            // Written from a whole message everywhere else, so by hand here.
            out.extend_from_slice(&[6]);
            for number in [u64::from(*half), *seq, total << 1 | u64::from(*text), *offset] {
                wire::put_varint(out, number);
            }
            wire::put_varint(out, data.len() as u64);
            out.extend_from_slice(data);
        }
        Frame::Ack(ack) => wire::put_ack(out, ack),
        Frame::Skip { half, from, to, cause } => wire::put_skip(out, *half, *from, *to, *cause),
        Frame::End { half, seq } => wire::put_end(out, *half, *seq),
        Frame::Ping(number) => wire::put_ping(out, *number),
        Frame::Pong(number) => wire::put_pong(out, *number),
        Frame::Close => wire::put_close(out),
    }
}

/// A connection one of whose sides says what the peer never said. Each part is a step of two bytes
/// (what, and how long it takes), then a packet with its length in two bytes, which may be empty.
pub(crate) fn run_hostile(data: &[u8]) {
    let mut pair = Pair::connected(1, ConnectionConfig::default());
    let (ours, theirs) = pair.channel("c");
    pair.run(Duration::from_millis(50));
    let mut rest = Bytes::copy_from_slice(data);
    for _ in 0..32 {
        if rest.len() < 4 {
            break;
        }
        let head = rest.split_to(4);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]])).min(rest.len());
        let packet = rest.split_to(length);
        let side = if head[0] & 128 > 0 { Dialer } else { Acceptor };
        if pair.links() > 0 && !packet.is_empty() {
            pair.inject(side, packet);
        }
        match head[0] % 8 {
            0 | 1 => _ = pair.send(side, if side == Dialer { ours } else { theirs }, "message"),
            2 => _ = pair.recv(side, if side == Dialer { ours } else { theirs }),
            3 => pair.cut(),
            4 => _ = pair.accept(side),
            5 => pair.close_channel(side, if side == Dialer { ours } else { theirs }),
            _ => {}
        }
        pair.run(Duration::from_millis(u64::from(head[1]) * 4));
    }
    pair.run(Duration::from_secs(10));
    let waiting = [(Dialer, ours), (Acceptor, theirs)].map(|(side, id)| pair.recv_all(side, id).len());
    assert!(waiting.iter().all(|count| *count <= 65_536), "{waiting:?}");
    let channels = pair.channels();
    assert!(channels.iter().all(|count| *count <= 3 * 256), "{channels:?} channels");
}
