//! What the fuzz targets reach of the core.

use bytes::BytesMut;

pub(crate) use super::handshake::{Hello, Refuse, Welcome};
use super::wire;
pub(crate) use super::wire::{Decoder, Frame};
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
