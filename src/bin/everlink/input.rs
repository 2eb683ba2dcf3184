//! Lines of stdin, as messages.

use std::io::{self, BufRead};

use bytes::Bytes;
use everlink::{Message, Utf8Bytes};
use tokio::sync::mpsc;

use crate::failure::Failure;

/// The longest line, in bytes: the largest message that everlink sends by default.
pub const MAX_LINE: usize = 16 << 20;
/// How much is read at once.
const CHUNK: usize = 64 << 10;

/// Reads stdin on a thread of its own, which the end of the process ends. Each item is what one
/// read gave; the last one may be a failure.
pub fn lines() -> mpsc::Receiver<Result<Vec<Message>, Failure>> {
    let (sender, receiver) = mpsc::channel(2);
    std::thread::spawn(move || {
        let mut reader = io::BufReader::with_capacity(CHUNK, io::stdin());
        let mut lines = Lines::default();
        loop {
            let batch = lines.read(&mut reader);
            let last = !matches!(&batch, Ok(Some(_)));
            let Some(batch) = batch.transpose() else { return };
            if sender.blocking_send(batch).is_err() || last {
                return;
            }
        }
    });
    receiver
}

#[derive(Default)]
struct Lines {
    /// The beginning of a line whose end was not read yet.
    begun: Vec<u8>,
    /// Lines read so far, to name one that is too long.
    read: u64,
}

impl Lines {
    /// The lines that end in the next piece of `reader`; at its end what is left, then `None`.
    fn read(&mut self, reader: &mut impl BufRead) -> Result<Option<Vec<Message>>, Failure> {
        let piece = loop {
            match reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::new(format!("cannot read stdin: {error}"), "")),
                Ok(piece) => break piece,
            }
        };
        if piece.is_empty() {
            let rest = std::mem::take(&mut self.begun);
            return Ok((!rest.is_empty()).then(|| vec![message(rest)]));
        }
        let mut messages = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let (part, ended) = part.strip_suffix(b"\n").map_or((part, false), |part| (part, true));
            if self.begun.len() + part.len() > MAX_LINE {
                let what = format!("line {} has more than {} MiB", self.read + 1, MAX_LINE >> 20);
                return Err(Failure::new(what, "no message may be larger; split it"));
            }
            self.begun.extend_from_slice(part);
            if ended {
                self.read += 1;
                messages.push(message(std::mem::take(&mut self.begun)));
            }
        }
        let length = piece.len();
        reader.consume(length);
        Ok(Some(messages))
    }
}

fn message(line: Vec<u8>) -> Message {
    let bytes = Bytes::from(line);
    match Utf8Bytes::try_from(bytes.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8], capacity: usize) -> Vec<Message> {
        let mut reader = io::BufReader::with_capacity(capacity, input);
        let mut lines = Lines::default();
        let mut messages = Vec::new();
        while let Some(batch) = lines.read(&mut reader).unwrap() {
            messages.extend(batch);
        }
        messages
    }

    #[test]
    fn lines_are_messages_however_they_are_read() {
        let expected: Vec<Message> =
            vec!["a".into(), "".into(), Message::Binary(Bytes::from_static(b"\xff")), "ä".into()];
        for capacity in [1, 2, 3, 100] {
            assert_eq!(all(b"a\n\n\xff\n\xc3\xa4\n", capacity), expected);
            assert_eq!(all(b"a\n\n\xff\n\xc3\xa4", capacity), expected, "the last line may lack its end");
            assert!(all(b"", capacity).is_empty());
        }
    }

    #[test]
    fn a_line_too_long_is_named_and_not_kept() {
        let mut input = b"short\n".to_vec();
        input.resize(input.len() + MAX_LINE + 1, b'x');
        let mut reader = io::BufReader::new(&input[..]);
        let mut lines = Lines::default();
        let failure = loop {
            match lines.read(&mut reader) {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it was taken"),
                Err(failure) => break failure,
            }
        };
        assert!(failure.to_string().starts_with("line 2 has more than 16 MiB"), "{failure}");
    }
}
