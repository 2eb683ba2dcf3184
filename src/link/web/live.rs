//! An open link.

use std::cell::Cell;
use std::rc::Rc;

use bytes::BytesMut;

use super::peer::{Peer, Reports};
use crate::link::{Binding, Link, LinkError, LinkEvent, LossyConfig};
use crate::runtime::BoxFuture;
use crate::web;

/// What a link can carry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_frame: usize,
    pub(super) receive_window: u32,
    pub(super) send_buffer: u32,
}

pub(super) struct Live {
    peer: Rc<Peer>,
    binding: Binding,
    limits: Limits,
    /// Whether the user was told last that the path is suspect.
    told_suspect: Cell<bool>,
    down: Cell<bool>,
}

impl Live {
    pub(super) fn new(peer: Rc<Peer>, binding: Binding, limits: Limits) -> Self {
        Self { peer, binding, limits, told_suspect: Cell::new(false), down: Cell::new(false) }
    }

    fn reports(&self) -> &Rc<Reports> {
        &self.peer.reports
    }

    async fn next_event(&self) -> LinkEvent {
        if self.down.get() {
            return std::future::pending().await;
        }
        loop {
            let reports = self.reports();
            if let Some(frame) = reports.next_frame() {
                return LinkEvent::Frame(frame);
            }
            if let Some((stream, data)) = reports.next_lossy() {
                return LinkEvent::Lossy { stream, data };
            }
            let ended = reports.ended.borrow().clone();
            if let Some(error) = ended {
                self.down.set(true);
                self.release();
                return LinkEvent::Down(error);
            }
            let suspect = reports.suspect.get();
            if self.told_suspect.replace(suspect) != suspect {
                return if suspect { LinkEvent::Suspect } else { LinkEvent::Recovered };
            }
            reports.changed.notified().await;
        }
    }

    async fn send_frame(&self, frame: BytesMut) -> Result<(), LinkError> {
        if frame.len() > self.limits.max_frame {
            let (len, max) = (frame.len(), self.limits.max_frame);
            return Err(LinkError::Failed(format!("a frame of {len} bytes; at most {max} go")));
        }
        let channel = &self.peer.channel;
        loop {
            let ended = self.reports().ended.borrow().clone();
            if let Some(error) = ended {
                return Err(error);
            }
            if !self.peer.is_hung_up() && channel.buffered_amount() <= f64::from(self.limits.send_buffer) {
                break;
            }
            self.reports().room.notified().await;
        }
        channel.send(&frame).map_err(|error| match self.peer.is_closed() {
            true => LinkError::Closed,
            false => LinkError::Failed(web::problem(&error)),
        })
    }

    fn release(&self) {
        self.peer.close();
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

    fn open_lossy(&self, stream: u16, config: LossyConfig) {
        if !self.down.get() {
            self.peer.pc.open_lossy(stream, config.ordered, config.max_retransmits);
        }
    }

    fn send_lossy(&self, stream: u16, data: BytesMut) {
        if data.len() <= self.limits.max_frame {
            self.peer.pc.send_lossy(stream, &data);
        }
    }

    fn close_lossy(&self, stream: u16) {
        self.peer.pc.close_lossy(stream);
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.release();
        Box::pin(std::future::ready(()))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.release();
    }
}
