//! The one task of a connection: it drains the core, and waits for one input.
//!
//! It owns the link, the dials, the packet being sent and the timer. Nothing is awaited inline: a
//! blocked send must not stop what arrives, nor a hung dial the probes.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;

use super::core::{DialId, Hello, LinkId, LinkInfo, Output, Session};
use super::dialer::{DialFailure, Dialed, Dialer, Restart};
use super::events::ConnectionEvent;
use super::shared::Shared;
use crate::link::{Link, LinkError, LinkEvent};
use crate::metrics::Told;
use crate::runtime::sync::mpsc;
use crate::runtime::{self, BoxFuture, Timer};
use crate::store::{Store, StoreError};

/// A link that came with an accepted HELLO for a session of this host.
pub(crate) struct Adoption {
    pub(crate) link: Arc<dyn Link>,
    pub(crate) hello: Hello,
    /// The signed text of the HELLO.
    pub(crate) body: bytes::Bytes,
    /// The size of the packet it came in.
    pub(crate) received: usize,
    pub(crate) resumed: bool,
}

pub(crate) struct Driver {
    shared: Arc<Shared>,
    /// Absent at a host, which waits in `adoptions` instead.
    dialer: Option<Arc<dyn Dialer>>,
    adoptions: Option<mpsc::Receiver<Adoption>>,
    link: Option<Attached>,
    next_link: u64,
    dials: Vec<(DialId, BoxFuture<'static, Result<Dialed, DialFailure>>)>,
    /// A link being brought to new addresses.
    restarting: Option<(LinkId, BoxFuture<'static, Result<(), DialFailure>>)>,
    reachable: Option<BoxFuture<'static, ()>>,
    closing: Vec<BoxFuture<'static, ()>>,
    store: Option<Arc<dyn Store>>,
    storing: Option<BoxFuture<'static, Result<(), StoreError>>>,
    timer: Timer,
    told: Told,
}

struct Attached {
    id: LinkId,
    link: Arc<dyn Link>,
    receiving: BoxFuture<'static, LinkEvent>,
    sending: Option<BoxFuture<'static, Result<(), LinkError>>>,
}

impl Attached {
    fn new(id: LinkId, link: Arc<dyn Link>) -> Self {
        Self { id, receiving: receive(&link), link, sending: None }
    }

    fn info(&self) -> LinkInfo {
        let link = &self.link;
        LinkInfo {
            binding: link.binding(),
            max_frame: link.max_frame(),
            receive_window: link.receive_window(),
        }
    }
}

fn receive(link: &Arc<dyn Link>) -> BoxFuture<'static, LinkEvent> {
    let link = link.clone();
    Box::pin(async move { link.recv().await })
}

fn send(link: &Arc<dyn Link>, packet: BytesMut) -> BoxFuture<'static, Result<(), LinkError>> {
    let link = link.clone();
    Box::pin(async move { link.send(packet).await })
}

/// What an end may take to acknowledge a probe, besides the round trip.
const PROBE_ANSWERED: Duration = Duration::from_millis(15);
/// A path slower than this is not waited for.
const SLOW_PATH: Duration = Duration::from_millis(300);
/// Packets taken in one go, before what they led to is carried out.
const BATCH: usize = 32;

impl Driver {
    /// The dialing side; starts at once.
    pub(super) fn dialing(shared: Arc<Shared>, dialer: Arc<dyn Dialer>) -> Self {
        shared.lock().start(runtime::now());
        Self::new(shared, Some(dialer), None)
    }

    /// The accepting side.
    pub(super) fn accepting(shared: Arc<Shared>, adoptions: mpsc::Receiver<Adoption>) -> Self {
        Self::new(shared, None, Some(adoptions))
    }

    fn new(
        shared: Arc<Shared>,
        dialer: Option<Arc<dyn Dialer>>,
        adoptions: Option<mpsc::Receiver<Adoption>>,
    ) -> Self {
        Self {
            shared,
            dialer,
            adoptions,
            link: None,
            next_link: 0,
            dials: Vec::new(),
            restarting: None,
            reachable: None,
            closing: Vec::new(),
            store: None,
            storing: None,
            timer: Timer::default(),
            told: Told::default(),
        }
    }

    /// Where the session is kept.
    pub(super) fn with_store(mut self, store: Option<Arc<dyn Store>>) -> Self {
        self.store = store;
        self
    }

    /// Runs until the connection is closed, the peer knows it, and every link is released.
    pub(super) async fn run(mut self) {
        loop {
            self.drain();
            if self.is_done() {
                break;
            }
            poll_fn(|cx| self.poll_inputs(cx)).await;
        }
    }

    fn is_done(&self) -> bool {
        let idle = self.link.is_none() && self.closing.is_empty() && self.storing.is_none();
        idle && {
            let session = self.shared.lock();
            session.close_reason().is_some() && session.is_saved()
        }
    }

    /// Carries out everything the core wants.
    fn drain(&mut self) {
        let shared = self.shared.clone();
        loop {
            // Locked anew for each output, so that what is carried out never happens under it.
            let output = shared.lock().poll_output(runtime::now());
            match output {
                Output::Transmit { link, packet } => {
                    if let Some(attached) = self.link.as_mut().filter(|attached| attached.id == link) {
                        attached.sending = Some(send(&attached.link, packet));
                        // It usually takes the packet at once; then the next one can be built.
                        if !self.poll_sent(&mut Context::from_waker(std::task::Waker::noop())) {
                            continue;
                        }
                    }
                }
                Output::Dial { dial, attempt } => {
                    if let Some(dialer) = &self.dialer {
                        self.told.dialed();
                        self.dials.push((dial, dialer.dial(attempt)));
                    }
                }
                Output::CancelDial(dial) => self.dials.retain(|(id, _)| *id != dial),
                Output::Restart(id) => {
                    if let Some(dialer) = &self.dialer
                        && let Some(attached) = self.link.as_ref().filter(|attached| attached.id == id)
                        // One at a time: a link in doubt comes to be taken for dead.
                        && self.restarting.is_none()
                    {
                        let restart = self.restart(id, attached.link.clone());
                        self.restarting = Some((id, dialer.restart(restart)));
                    }
                }
                Output::Hangup(id) => {
                    self.restarting.take_if(|(link, _)| *link == id);
                    if let Some(attached) = self.link.take_if(|attached| attached.id == id) {
                        self.close(attached.link);
                    }
                }
                Output::OpenLossy { link, stream, config } => {
                    if let Some(attached) = self.link.as_ref().filter(|attached| attached.id == link) {
                        attached.link.open_lossy(stream, config);
                    }
                }
                Output::CloseLossy { link, stream } => {
                    if let Some(attached) = self.link.as_ref().filter(|attached| attached.id == link) {
                        attached.link.close_lossy(stream);
                    }
                }
                Output::SendLossy { link, stream, data } => {
                    if let Some(attached) = self.link.as_ref().filter(|attached| attached.id == link) {
                        attached.link.send_lossy(stream, data);
                    }
                }
                Output::Store(batch) => self.storing = self.store.as_ref().map(|store| store.apply(batch)),
                Output::State(state) => _ = shared.state.send_replace(state),
                Output::Event(event @ ConnectionEvent::Closed(_)) => shared.events.close(event),
                Output::Event(event) => {
                    self.told.event(&event);
                    shared.events.publish(event);
                }
                Output::Timeout(deadline) => {
                    if let Some(deadline) = deadline {
                        self.timer.set(deadline);
                    }
                    let session = shared.lock();
                    let waits = session.wants_reachability();
                    self.tell_figures(&session);
                    drop(session);
                    match (&self.dialer, waits) {
                        (Some(dialer), true) => _ = self.reachable.get_or_insert_with(|| dialer.reachable()),
                        _ => self.reachable = None,
                    }
                    return;
                }
            }
        }
    }

    fn restart(&self, id: LinkId, link: Arc<dyn Link>) -> Restart {
        let patience = match link.is_stranded() {
            true => Duration::ZERO,
            false => self.shared.lock().least_rtt().min(SLOW_PATH).mul_f64(1.2) + PROBE_ANSWERED,
        };
        let shared = Arc::downgrade(&self.shared);
        let is_wanted = move || shared.upgrade().is_some_and(|shared| shared.lock().wants_restart(id));
        Restart { link, not_before: runtime::now() + patience, is_wanted: Box::new(is_wanted) }
    }

    fn tell_figures(&mut self, session: &Session) {
        self.told.counted(session.counters());
        let now = runtime::now();
        if self.told.wants_age(now)
            && let Some(oldest) = session.oldest_unacknowledged()
        {
            self.told.age(now.saturating_duration_since(oldest));
        }
    }

    fn close(&mut self, link: Arc<dyn Link>) {
        self.closing.push(Box::pin(async move { link.close().await }));
    }

    /// Takes every input that is there; ready when there was one.
    fn poll_inputs(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut progress = self.shared.poll_dirty(cx);
        progress |= self.poll_stored(cx);
        progress |= self.poll_sent(cx);
        progress |= self.poll_received(cx);
        progress |= self.poll_adopted(cx);
        progress |= self.poll_dialed(cx);
        if let Some((_, restart)) = &mut self.restarting
            && let Poll::Ready(result) = restart.as_mut().poll(cx)
        {
            if let Err(failure) = &result {
                tracing::debug!(error = %failure.error, "the old link was not brought to the new addresses");
            }
            self.restarting = None;
            progress = true;
        }
        if let Some(reachable) = &mut self.reachable
            && reachable.as_mut().poll(cx).is_ready()
        {
            self.reachable = None;
            self.shared.lock().handle_reachable(runtime::now());
            progress = true;
        }
        let closing = self.closing.len();
        self.closing.retain_mut(|close| close.as_mut().poll(cx).is_pending());
        progress |= self.closing.len() < closing;
        if self.timer.poll(cx).is_ready() {
            self.ask_path();
            self.shared.lock().handle_timeout(runtime::now());
            progress = true;
        }
        if progress { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Asks the link about its path, if the core is in doubt.
    fn ask_path(&self) {
        let Some(id) = self.shared.lock().doubts(runtime::now()) else { return };
        let attached = self.link.as_ref().filter(|attached| attached.id == id);
        if let Some(at) = attached.and_then(|attached| attached.link.heard()) {
            self.shared.lock().handle_heard(id, at);
        }
    }

    fn poll_stored(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(storing) = &mut self.storing else { return false };
        let Poll::Ready(stored) = storing.as_mut().poll(cx) else { return false };
        self.storing = None;
        self.shared.lock().handle_stored(runtime::now(), stored);
        true
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(attached) = &mut self.link else { return false };
        let Some(sending) = &mut attached.sending else { return false };
        let Poll::Ready(sent) = sending.as_mut().poll(cx) else { return false };
        attached.sending = None;
        let mut session = self.shared.lock();
        match sent {
            Ok(()) => session.handle_sent(attached.id),
            Err(error) => session.handle_link_down(runtime::now(), attached.id, error),
        };
        true
    }

    fn poll_received(&mut self, cx: &mut Context<'_>) -> bool {
        for taken in 0..BATCH {
            let Some(attached) = &mut self.link else { return taken > 0 };
            let Poll::Ready(event) = attached.receiving.as_mut().poll(cx) else { return taken > 0 };
            attached.receiving = receive(&attached.link);
            let (id, now) = (attached.id, runtime::now());
            let mut session = self.shared.lock();
            match event {
                LinkEvent::Frame(packet) => session.handle_packet(now, id, packet),
                LinkEvent::Lossy { stream, data } => session.handle_lossy(id, stream, &data),
                LinkEvent::Suspect => session.handle_path_news(now, id, false),
                LinkEvent::Recovered => session.handle_path_news(now, id, true),
                LinkEvent::Moved => session.handle_moved(now, id),
                LinkEvent::Down(error) => {
                    session.handle_link_down(now, id, error);
                    return true;
                }
            };
        }
        cx.waker().wake_by_ref();
        true
    }

    fn poll_adopted(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(adoptions) = &mut self.adoptions else { return false };
        let adoption = match adoptions.poll_recv(cx) {
            Poll::Ready(Some(adoption)) => adoption,
            Poll::Ready(None) => {
                self.adoptions = None;
                return false;
            }
            Poll::Pending => return false,
        };
        // Meanwhile; a peer that still is there says it again, and is answered.
        if self.shared.lock().was_overtaken(&adoption.hello) {
            self.close(adoption.link);
            return true;
        }
        let attached = self.attach(adoption.link);
        let (id, info) = (attached.id, attached.info());
        let now = runtime::now();
        let mut session = self.shared.lock();
        let (hello, body) = (&adoption.hello, &adoption.body);
        let adopted = session.handle_adopted(now, id, info, hello, body, adoption.received, adoption.resumed);
        if let Err(misbehaviour) = adopted {
            session.handle_misbehaviour(now, misbehaviour);
        }
        true
    }

    /// Takes a new link in place of the old one, which the core hangs up in its own good time.
    fn attach(&mut self, link: Arc<dyn Link>) -> &mut Attached {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        self.restarting = None;
        if let Some(old) = self.link.take() {
            self.close(old.link);
        }
        self.link.insert(Attached::new(id, link))
    }

    fn poll_dialed(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        while let Some((dial, result)) = poll_first(&mut self.dials, cx) {
            progress = true;
            let now = runtime::now();
            match result {
                Ok(Dialed { link, peer }) => {
                    if !self.shared.lock().wants_link(dial) {
                        self.close(link);
                        continue;
                    }
                    let attached = self.attach(link);
                    let (id, info) = (attached.id, attached.info());
                    self.shared.lock().handle_link_up(now, dial, id, info, peer);
                }
                Err(failure) => {
                    self.shared.lock().handle_dial_failed(now, dial, failure);
                }
            }
        }
        progress
    }
}

type Dial = (DialId, BoxFuture<'static, Result<Dialed, DialFailure>>);

/// The first dial that has ended.
fn poll_first(dials: &mut Vec<Dial>, cx: &mut Context<'_>) -> Option<(DialId, Result<Dialed, DialFailure>)> {
    for at in 0..dials.len() {
        if let Poll::Ready(result) = dials[at].1.as_mut().poll(cx) {
            let (dial, _) = dials.swap_remove(at);
            return Some((dial, result));
        }
    }
    None
}
