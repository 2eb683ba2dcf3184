//! An open link.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};

use super::addrs::has_address;
use super::path::Path;
use super::peer::{Peer, breach};
use super::restart::Restart;
use crate::link::{Binding, IceCredentials, Link, LinkError, LinkEvent, LossyConfig, RestartEvent};
use crate::runtime::{BoxFuture, Instant};

/// Messages of lossy streams that may wait for `recv`; more are dropped.
const MAX_LOSSY_IN: usize = 256;
/// Messages of one lossy stream that may wait to be sent; more are dropped.
const MAX_LOSSY_OUT: usize = 64;
/// Bytes of one lossy stream that may wait in the stack: what is late anyway is better dropped.
const MAX_LOSSY_BYTES: usize = 256 * 1024;

/// What a link can carry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_frame: usize,
    pub(super) receive_window: u32,
}

pub(super) struct Live {
    peer: Arc<Peer>,
    channel: Arc<dyn DataChannel>,
    binding: Binding,
    limits: Limits,
    /// Whether the user was told last that the path is suspect.
    told_suspect: AtomicBool,
    down: AtomicBool,
    restart: Restart,
    lossy: Mutex<HashMap<u16, mpsc::Sender<BytesMut>>>,
    lossy_in: mpsc::Sender<(u16, Bytes)>,
    /// Locked by `recv` only, and set free with it.
    lossy_out: tokio::sync::Mutex<mpsc::Receiver<(u16, Bytes)>>,
}

impl Live {
    pub(super) fn new(
        peer: Arc<Peer>,
        channel: Arc<dyn DataChannel>,
        binding: Binding,
        limits: Limits,
        restart: Restart,
    ) -> Self {
        peer.path.handle_open();
        let (lossy_in, lossy_out) = mpsc::channel(MAX_LOSSY_IN);
        Self {
            peer,
            channel,
            binding,
            limits,
            told_suspect: AtomicBool::new(false),
            down: AtomicBool::new(false),
            restart,
            lossy: Mutex::default(),
            lossy_in,
            lossy_out: tokio::sync::Mutex::new(lossy_out),
        }
    }

    async fn next_event(&self) -> LinkEvent {
        loop {
            if self.down.load(Ordering::Acquire) {
                return std::future::pending().await;
            }
            // Asked for before the state is looked at, so that no change falls in between.
            let mut changed = std::pin::pin!(self.peer.path.changed.notified());
            changed.as_mut().enable();
            if let Some(news) = self.path_news() {
                return news;
            }
            let lossy = async { self.lossy_out.lock().await.recv().await };
            tokio::select! {
                biased;
                event = next_of(&*self.channel, &self.peer.path) => match event {
                    Some(DataChannelEvent::OnMessage(message)) => {
                        return LinkEvent::Frame(message.data.freeze());
                    }
                    Some(DataChannelEvent::OnClose) | None => return self.end(event.is_some()),
                    Some(_) => {}
                },
                () = changed => {}
                // Never `None`: `self` holds a sender.
                Some((stream, data)) = lossy => return LinkEvent::Lossy { stream, data },
            }
        }
    }

    fn path_news(&self) -> Option<LinkEvent> {
        let path = &self.peer.path;
        if self.peer.breach.load(Ordering::Acquire) {
            self.down.store(true, Ordering::Release);
            self.peer.begin_close();
            return Some(LinkEvent::Down(breach()));
        }
        if path.gave_up() {
            self.down.store(true, Ordering::Release);
            let reason = "the other end was silent for too long".to_owned();
            return Some(LinkEvent::Down(LinkError::Failed(reason)));
        }
        if path.take_moved() {
            // That much is said by it.
            self.told_suspect.store(path.is_suspect(), Ordering::Release);
            return Some(LinkEvent::Moved);
        }
        let suspect = path.is_suspect();
        (self.told_suspect.swap(suspect, Ordering::AcqRel) != suspect).then_some(match suspect {
            true => LinkEvent::Suspect,
            false => LinkEvent::Recovered,
        })
    }

    fn end(&self, told: bool) -> LinkEvent {
        self.down.store(true, Ordering::Release);
        LinkEvent::Down(match (self.peer.is_closing(), told) {
            (true, _) => LinkError::Closed,
            (false, true) => LinkError::ClosedByPeer,
            (false, false) => LinkError::Failed("the stack stopped".to_owned()),
        })
    }

    async fn send_frame(&self, frame: BytesMut) -> Result<(), LinkError> {
        if frame.len() > self.limits.max_frame {
            let (len, max) = (frame.len(), self.limits.max_frame);
            return Err(LinkError::Failed(format!("a frame of {len} bytes; at most {max} go")));
        }
        self.channel.send(frame).await.map_err(|error| match self.peer.is_closing() {
            true => LinkError::Closed,
            false => LinkError::Failed(error.to_string()),
        })
    }

    fn lossy(&self) -> std::sync::MutexGuard<'_, HashMap<u16, mpsc::Sender<BytesMut>>> {
        self.lossy.lock().expect("no panic while lossy streams are locked")
    }
}

impl Link for Live {
    fn binding(&self) -> Binding {
        self.binding
    }

    fn max_frame(&self) -> usize {
        self.limits.max_frame
    }

    fn receive_window(&self) -> u32 {
        self.limits.receive_window
    }

    fn send(&self, frame: BytesMut) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(self.send_frame(frame))
    }

    fn recv(&self) -> BoxFuture<'_, LinkEvent> {
        Box::pin(self.next_event())
    }

    fn heard(&self) -> Option<Instant> {
        self.peer.path.heard()
    }

    fn open_lossy(&self, stream: u16, config: LossyConfig) {
        let (sender, outgoing) = mpsc::channel(MAX_LOSSY_OUT);
        {
            let mut streams = self.lossy();
            // A second one of the same number would close the first.
            if streams.get(&stream).is_some_and(|open| !open.is_closed()) {
                return;
            }
            streams.insert(stream, sender);
        }
        let init = RTCDataChannelInit {
            ordered: config.ordered,
            max_retransmits: Some(config.max_retransmits),
            negotiated: Some(stream),
            ..RTCDataChannelInit::default()
        };
        let (peer, incoming) = (Arc::downgrade(&self.peer), self.lossy_in.clone());
        let path = Arc::clone(&self.peer.path);
        // Ends with the stream's sender, which the link holds, or with the peer connection.
        self.peer.tasks.spawn(async move {
            let opened = match peer.upgrade() {
                Some(peer) => peer.channel("everlink/lossy", init).await,
                None => return,
            };
            match opened {
                Ok(channel) => carry_lossy(stream, &*channel, &path, outgoing, incoming).await,
                Err(error) => tracing::debug!(%error, stream, "opening a lossy stream"),
            }
        });
    }

    fn send_lossy(&self, stream: u16, data: BytesMut) {
        if data.len() <= self.limits.max_frame
            && let Some(sender) = self.lossy().get(&stream)
        {
            let _ = sender.try_send(data);
        }
    }

    fn close_lossy(&self, stream: u16) {
        self.lossy().remove(&stream);
    }

    fn is_stranded(&self) -> bool {
        self.peer.path.local_ip().is_some_and(|ip| !has_address(ip))
    }

    fn ask_restart(&self) -> BoxFuture<'_, Result<IceCredentials, LinkError>> {
        Box::pin(self.restart.ask())
    }

    fn answer_restart<'a>(
        &'a self,
        theirs: &'a IceCredentials,
    ) -> BoxFuture<'a, Result<IceCredentials, LinkError>> {
        Box::pin(self.restart.answer(theirs))
    }

    fn finish_restart<'a>(&'a self, theirs: &'a IceCredentials) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(self.restart.finish(theirs))
    }

    fn add_restart_candidate<'a>(&'a self, candidate: &'a str) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(self.restart.add_candidate(candidate))
    }

    fn restart_event(&self) -> BoxFuture<'_, RestartEvent> {
        Box::pin(self.restart.next_event())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.lossy().clear();
        Box::pin(self.peer.close())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.peer.begin_close();
    }
}

/// The next event of a channel; cancel-safe, as [`DataChannel::poll`] is.
async fn next_of(channel: &dyn DataChannel, path: &Path) -> Option<DataChannelEvent> {
    let mut event = channel.poll();
    let event = match futures_util::poll!(&mut event) {
        Poll::Ready(event) => event,
        Poll::Pending => {
            path.handle_drained();
            event.await
        }
    };
    path.handle_taken();
    event
}

/// Carries one lossy stream until either end closes it.
async fn carry_lossy(
    stream: u16,
    channel: &dyn DataChannel,
    path: &Path,
    mut outgoing: mpsc::Receiver<BytesMut>,
    incoming: mpsc::Sender<(u16, Bytes)>,
) {
    loop {
        tokio::select! {
            biased;
            event = next_of(channel, path) => match event {
                Some(DataChannelEvent::OnMessage(message)) => {
                    let _ = incoming.try_send((stream, message.data.freeze()));
                }
                Some(DataChannelEvent::OnClose) | None => return,
                Some(_) => {}
            },
            data = outgoing.recv() => match data {
                Some(data) => {
                    let waiting = channel.outstanding_bytes().await.unwrap_or(usize::MAX);
                    if waiting < MAX_LOSSY_BYTES {
                        // Not open yet, or no more: lost, as the stream may.
                        let _ = channel.try_send(data).await;
                    }
                }
                None => {
                    let _ = channel.close().await;
                    return;
                }
            },
        }
    }
}
