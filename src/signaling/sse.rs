//! Reads server-sent events from bytes as they come. Pure.

/// One event: its id, if it has one, and its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SseEvent {
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

/// Something that is no stream of events, or an event that is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SseError {
    #[error("an event of the stream has more than {MAX_EVENT} bytes")]
    TooLarge,
    #[error("the event stream is not UTF-8")]
    NotText,
}

/// The largest event: a description and its wrapping, with room.
const MAX_EVENT: usize = 1 << 20;

/// A stream of events in the making. **Push each chunk; the events that it completed come out.**
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    line: Vec<u8>,
    /// The last byte was a carriage return, which a line feed may still belong to.
    after_return: bool,
    event: SseEvent,
    has_data: bool,
}

impl SseParser {
    /// Takes the next bytes, cut anywhere. After an error the stream is of no use.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, SseError> {
        let mut events = Vec::new();
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            if std::mem::take(&mut self.after_return) && first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
            if self.line.len() + part.len() + self.event.data.len() > MAX_EVENT {
                return Err(SseError::TooLarge);
            }
            self.line.extend_from_slice(part);
            rest = after;
            if let Some((&terminator, after)) = after.split_first() {
                rest = after;
                self.after_return = terminator == b'\r';
                let line = std::mem::take(&mut self.line);
                events.extend(self.handle_line(&line)?);
            }
        }
        Ok(events)
    }

    fn handle_line(&mut self, line: &[u8]) -> Result<Option<SseEvent>, SseError> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return Ok(std::mem::take(&mut self.has_data).then_some(event));
        }
        let line = std::str::from_utf8(line).map_err(|_| SseError::NotText)?;
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "id" => self.event.id = Some(value.to_owned()),
            // Comments, which have no field, and fields that we do not use.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: Option<&str>, data: &str) -> SseEvent {
        SseEvent { id: id.map(str::to_owned), data: data.to_owned() }
    }

    const TEXT: &str = ": hello\n\nid: 1-1\ndata: {\"a\":1}\n\ndata:x\r\ndata: y\r\n\r\nevent: z\rid:2\rdata: ü\r\r\n\
                        : only a comment\n\nid: lost\n\nretry: 5\ndata\n\n";

    fn expected() -> Vec<SseEvent> {
        vec![event(Some("1-1"), "{\"a\":1}"), event(None, "x\ny"), event(Some("2"), "ü"), event(None, "")]
    }

    #[test]
    fn the_same_comes_out_wherever_the_stream_is_cut() {
        let bytes = TEXT.as_bytes();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut parser = SseParser::default();
                let mut events = Vec::new();
                for part in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    events.extend(parser.push(part).unwrap());
                }
                assert_eq!(events, expected(), "cut at {first} and {second}");
            }
        }
        let mut parser = SseParser::default();
        let singly: Vec<_> = bytes.iter().flat_map(|byte| parser.push(&[*byte]).unwrap()).collect();
        assert_eq!(singly, expected());
    }

    #[test]
    fn what_is_too_large_or_no_text_is_an_error() {
        let mut parser = SseParser::default();
        let chunk = [b'a'; 4096];
        let error = (0..1000).find_map(|_| parser.push(&chunk).err());
        assert_eq!(error, Some(SseError::TooLarge));
        let mut parser = SseParser::default();
        let line = [b"data: ", &[b'a'; 4096][..], b"\n"].concat();
        let error = (0..1000).find_map(|_| parser.push(&line).err());
        assert_eq!(error, Some(SseError::TooLarge), "many lines of one event");
        assert_eq!(SseParser::default().push(b"data: \xff\n"), Err(SseError::NotText));
    }
}
