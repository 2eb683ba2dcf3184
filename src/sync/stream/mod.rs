//! Streams of bytes on a durable channel.

mod wire;

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_sink::Sink as _;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use self::wire::{Incoming, Outgoing, Received};
use crate::durable::{ChannelReceiver, ChannelSender, DurableChannel};
use crate::error::{RecvError, SendError};

/// A stream of bytes each way over a [`DurableChannel`]: tokio's [`AsyncRead`], [`AsyncBufRead`]
/// and [`AsyncWrite`]. It goes on over the next link where it stopped on the last one, with nothing lost,
/// doubled or reordered.
///
/// Both ends of the channel must be made streams. Open it with a queue that drops nothing
/// ([`QueueConfig::lossless`](crate::QueueConfig::lossless)): a stream cannot do without the bytes
/// in the middle, and ends with [`StreamError::Gap`] if the queue dropped some.
///
/// ```
/// # async fn example(connection: everlink::DurableConnection) -> Result<(), Box<dyn std::error::Error>> {
/// use everlink::{ChannelConfig, DurableStream, QueueConfig};
/// use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
///
/// let config = ChannelConfig::queue(QueueConfig::lossless());
/// let mut stream = DurableStream::new(connection.open_channel_with("shell", config)?);
/// stream.write_all(b"uname\n").await?;
/// stream.shutdown().await?; // that was all from this side
/// let mut answer = String::new();
/// stream.read_to_string(&mut answer).await?; // until the other side says the same
/// # Ok(())
/// # }
/// ```
///
/// # Writing
///
/// A write goes to the channel at once, as one message of up to 60 KiB; the channel puts small messages
/// that wait together into one packet. Only while the channel has no room does a write
/// collect bytes here, up to 60 KiB, before it waits: so under load small writes share a message.
/// **What was collected leaves with the next write, `flush` or `shutdown`, and is lost if the stream is
/// dropped before.** Flush after the last write, as with every tokio writer.
///
/// `flush` waits until the channel has taken everything. It does not wait for the other side, which may be away:
/// that is [`DurableWriteHalf::acked`].
///
/// # How it ends
///
/// `shutdown` is the end of this side's bytes, and the other side reads it as the end of its input;
/// its own bytes still come. A loss of the link is no end. Everything else is an error of
/// reading, whose inner error is a [`StreamError`]: that the other side dropped the stream without `shutdown`
/// (`UnexpectedEof`), that the connection closed (`ConnectionAborted`), that it sent
/// nonsense (`InvalidData`). Dropping the stream closes the channel.
///
/// A stream lives as long as this process. Over a persistent store its channel outlives it; a
/// process that was started anew begins a new stream, and the other side learns of it by
/// [`StreamError::Restarted`] or [`StreamError::Gap`] rather than read bytes in the wrong place.
#[must_use = "dropping a stream closes its channel"]
pub struct DurableStream {
    read: DurableReadHalf,
    write: DurableWriteHalf,
}

/// The reading half of a [`DurableStream`].
///
/// What was read is acknowledged when more is asked for, so a reader that stops stops the writer
/// after a window's worth of bytes. Dropping this half alone does the same for good.
pub struct DurableReadHalf {
    receiver: ChannelReceiver,
    incoming: Incoming,
    chunk: Bytes,
    state: State,
}

/// The writing half of a [`DurableStream`]. Dropping it without `shutdown` is an error for the other side's
/// reader, after everything that was flushed.
pub struct DurableWriteHalf {
    sender: ChannelSender,
    outgoing: Outgoing,
    state: State,
}

#[derive(Debug)]
enum State {
    Open,
    Ended,
    Failed(StreamError),
}

/// Why a stream cannot go on: the inner error of the `io::Error`s of a [`DurableStream`]. To find it
/// there: `error.get_ref().and_then(|inner| inner.downcast_ref::<StreamError>())`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// Nothing more can be read: the connection is closed.
    #[error(transparent)]
    Read(RecvError),
    /// Nothing more can be written, or what was written was dropped by the channel's queue.
    #[error(transparent)]
    Write(SendError),
    /// The other side dropped the stream without ending it: what was read may not be all.
    #[error("the other side dropped the stream without ending it")]
    Unended,
    /// Written to after `shutdown`.
    #[error("this side has ended the stream")]
    Ended,
    /// Bytes are missing: the queue of the other side dropped them, or this side is a process that was
    /// started anew in the middle of the stream.
    #[error(
        "byte {got} of the stream came where {expected} was due; open its channel with QueueConfig::lossless()"
    )]
    Gap {
        /// The offset due.
        expected: u64,
        /// The offset that came.
        got: u64,
    },
    /// The other side began a new stream on the same channel: its process was started anew.
    #[error("the other side was started anew and began another stream")]
    Restarted,
    /// The other side speaks another version of the format.
    #[error("the other side speaks version {0} of the stream format, this side 1: update the older side")]
    Version(u8),
    /// What came is no stream: is the other end of the channel a `DurableStream`?
    #[error("no stream: {0}; is the other end of the channel one?")]
    Malformed(&'static str),
    /// The channel is lossy.
    #[error("a lossy channel cannot carry a stream: open it as a durable one")]
    Lossy,
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        use io::ErrorKind;
        let kind = match &error {
            StreamError::Read(RecvError::ChannelClosed) | StreamError::Unended => ErrorKind::UnexpectedEof,
            StreamError::Read(_) => ErrorKind::ConnectionAborted,
            StreamError::Write(SendError::ChannelClosed) | StreamError::Ended => ErrorKind::BrokenPipe,
            StreamError::Write(SendError::Closed(_)) => ErrorKind::ConnectionAborted,
            StreamError::Restarted => ErrorKind::ConnectionReset,
            StreamError::Gap { .. } | StreamError::Version(_) | StreamError::Malformed(_) => {
                ErrorKind::InvalidData
            }
            StreamError::Write(_) => ErrorKind::Other,
            StreamError::Lossy => ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

impl DurableStream {
    /// The stream that this channel carries. Nothing else may be sent on it, or received from it, before or after.
    ///
    /// Chunks have up to 60 KiB and 9 bytes: [`max_message`](crate::ConnectionConfig::max_message) must allow
    /// that at both ends.
    pub fn new(channel: DurableChannel) -> Self {
        let state = || if channel.is_lossy() { State::Failed(StreamError::Lossy) } else { State::Open };
        let (reading, writing) = (state(), state());
        let (sender, receiver) = channel.split();
        let read =
            DurableReadHalf { receiver, incoming: Incoming::default(), chunk: Bytes::new(), state: reading };
        let write = DurableWriteHalf { sender, outgoing: Outgoing::default(), state: writing };
        Self { read, write }
    }

    /// The label of the channel.
    pub fn label(&self) -> &str {
        self.write.label()
    }

    /// The two directions apart, for two tasks. The channel closes when both are dropped.
    pub fn split(self) -> (DurableReadHalf, DurableWriteHalf) {
        (self.read, self.write)
    }

    /// As [`DurableWriteHalf::acked`].
    ///
    /// # Errors
    /// As there.
    pub async fn acked(&mut self) -> io::Result<()> {
        self.write.acked().await
    }
}

impl DurableReadHalf {
    /// The label of the channel.
    pub fn label(&self) -> &str {
        self.receiver.label()
    }

    /// Waits until there are bytes to read. At the end of the stream there are none.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.chunk.is_empty() {
            match &self.state {
                State::Open => {}
                State::Ended => return Poll::Ready(Ok(())),
                State::Failed(error) => return Poll::Ready(Err(error.clone().into())),
            }
            let received = match ready!(self.receiver.poll_recv(cx)) {
                Ok(message) => self.incoming.handle(message),
                Err(error) => Err(StreamError::Read(error)),
            };
            match received {
                Ok(Received::Chunk(bytes)) => self.chunk = bytes,
                Ok(Received::End) => {
                    self.state = State::Ended;
                    // Asking on acknowledges the end. Whatever else came is not of this stream.
                    let _ = self.receiver.poll_recv(cx);
                }
                Err(error) => self.state = State::Failed(error),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for DurableReadHalf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0 {
            ready!(self.poll_chunk(cx))?;
            let length = self.chunk.len().min(buffer.remaining());
            buffer.put_slice(&self.chunk.split_to(length));
        }
        Poll::Ready(Ok(()))
    }
}

/// The chunks as they came, without a copy.
impl AsyncBufRead for DurableReadHalf {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_chunk(cx))?;
        Poll::Ready(Ok(&this.chunk))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.chunk.advance(amount);
    }
}

impl DurableWriteHalf {
    /// The label of the channel.
    pub fn label(&self) -> &str {
        self.sender.label()
    }

    /// Flushes, and waits until the application at the other side has read everything written, the end
    /// included if it was written. Cancel-safe.
    ///
    /// The last bytes count as read when that side asks for more.
    ///
    /// # Errors
    /// With a [`StreamError`] inside: the connection closed before.
    pub async fn acked(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            ready!(self.poll_taken(cx))?;
            Pin::new(&mut self.sender).poll_flush(cx).map_err(|error| self.fail(error))
        })
        .await
    }

    /// Waits until the channel has taken everything.
    fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let State::Failed(error) = &self.state {
            return Poll::Ready(Err(error.clone().into()));
        }
        loop {
            ready!(self.poll_room(cx))?;
            if self.outgoing.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.hand_over()?;
        }
    }

    /// Waits until the channel takes another message.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.sender).poll_ready(cx).map_err(|error| self.fail(error))
    }

    /// Gives what was collected to the channel, which has room.
    fn hand_over(&mut self) -> io::Result<()> {
        let chunk = self.outgoing.chunk();
        Pin::new(&mut self.sender).start_send(chunk).map_err(|error| self.fail(error))
    }

    /// Whatever the channel did not take is missing for good.
    fn fail(&mut self, error: SendError) -> io::Error {
        let error = StreamError::Write(error);
        self.state = State::Failed(error.clone());
        error.into()
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &self.state {
            State::Open => {}
            State::Ended => return Poll::Ready(Err(StreamError::Ended.into())),
            State::Failed(error) => return Poll::Ready(Err(error.clone().into())),
        }
        if parts.iter().all(|part| part.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        let mut room = self.poll_room(cx)?;
        if room.is_ready() && self.outgoing.room() == 0 {
            self.hand_over()?;
            room = self.poll_room(cx)?;
        }
        if self.outgoing.room() == 0 {
            return Poll::Pending;
        }
        let taken = parts.iter().map(|part| self.outgoing.push(part)).sum();
        if room.is_ready() {
            self.hand_over()?;
        }
        Poll::Ready(Ok(taken))
    }
}

impl AsyncWrite for DurableWriteHalf {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_all(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_all(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_taken(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_taken(cx))?;
        if let State::Open = self.state {
            self.state = State::Ended;
            let end = self.outgoing.end();
            if let Err(error) = Pin::new(&mut self.sender).start_send(end) {
                return Poll::Ready(Err(self.fail(error)));
            }
        }
        self.poll_room(cx)
    }
}

impl Drop for DurableWriteHalf {
    fn drop(&mut self) {
        // The other half may keep the channel open, and the other side's reader must not wait forever.
        if let State::Open = self.state
            && self.sender.try_send(self.outgoing.abort()).is_err()
        {
            self.sender.close();
        }
    }
}

impl AsyncRead for DurableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buffer)
    }
}

impl AsyncBufRead for DurableStream {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Pin::new(&mut self.get_mut().read).poll_fill_buf(cx)
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        Pin::new(&mut self.read).consume(amount);
    }
}

impl AsyncWrite for DurableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(cx)
    }
}

impl fmt::Debug for DurableStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableStream({:?})", self.label())
    }
}

impl fmt::Debug for DurableReadHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableReadHalf({:?}, {:?})", self.label(), self.state)
    }
}

impl fmt::Debug for DurableWriteHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableWriteHalf({:?}, {:?})", self.label(), self.state)
    }
}
