//! `--stream`: stdin and stdout as the two directions of one stream of bytes.

use std::io;
use std::time::Duration;

use everlink::{CloseReason, DurableConnection, DurableReadHalf, DurableStream, DurableWriteHalf};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

use crate::failure::Failure;
use crate::output::is_broken_pipe;
use crate::stop::Stop;

/// How much of stdin is read at once.
const PIECE: usize = 64 << 10;
/// How long the peer may take to receive what was sent when the user wants to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);

/// Why one direction ended early.
enum Broken {
    /// The stream broke, or the connection.
    Stream(io::Error),
    Stdin(io::Error),
    Stdout(io::Error),
}

/// Carries bytes both ways until both directions have ended, and closes the connection.
pub async fn run(
    stream: DurableStream,
    connection: &DurableConnection,
    stop: &mut Stop,
) -> Result<(), Failure> {
    let (reading, mut writing) = stream.split();
    let both = async { tokio::try_join!(send(&mut writing), receive(reading)) };
    let ended = tokio::select! {
        ended = both => Some(ended),
        () = stop.wished() => None,
    };
    if ended.is_none() {
        let _ = tokio::time::timeout(LEAVE_WITHIN, writing.acked()).await;
    }
    let reason = connection.close().await;
    match ended {
        Some(Ok(_)) => Ok(()),
        None => Err(Failure::new("interrupted before both directions had ended", "")),
        // Nobody wants to read more, which is no failure.
        Some(Err(Broken::Stdout(error))) if is_broken_pipe(&error) => Ok(()),
        Some(Err(Broken::Stdout(error))) => Err(Failure::new(format!("cannot write to stdout: {error}"), "")),
        Some(Err(Broken::Stdin(error))) => Err(Failure::new(format!("cannot read stdin: {error}"), "")),
        Some(Err(Broken::Stream(error))) => Err(match reason {
            CloseReason::Local | CloseReason::Peer => Failure::new(
                format!("the stream broke off: {error}"),
                "what was sent last may not have arrived",
            ),
            reason => reason.into(),
        }),
    }
}

/// Sends stdin and its end, and waits until the peer has read both.
async fn send(stream: &mut DurableWriteHalf) -> Result<(), Broken> {
    let mut stdin = tokio::io::stdin();
    let mut piece = vec![0; PIECE];
    loop {
        match stdin.read(&mut piece).await.map_err(Broken::Stdin)? {
            0 => break,
            length => {
                stream.write_all(&piece[..length]).await.map_err(Broken::Stream)?;
                stream.flush().await.map_err(Broken::Stream)?;
            }
        }
    }
    stream.shutdown().await.map_err(Broken::Stream)?;
    stream.acked().await.map_err(Broken::Stream)
}

/// Writes what comes to stdout until its end. What was written is acknowledged, and nothing else.
async fn receive(mut stream: DurableReadHalf) -> Result<(), Broken> {
    let mut stdout = tokio::io::stdout();
    loop {
        let piece = stream.fill_buf().await.map_err(Broken::Stream)?;
        let length = piece.len();
        if length == 0 {
            return Ok(());
        }
        stdout.write_all(piece).await.map_err(Broken::Stdout)?;
        stdout.flush().await.map_err(Broken::Stdout)?;
        stream.consume(length);
    }
}
