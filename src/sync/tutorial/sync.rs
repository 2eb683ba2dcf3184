//! The handle of a member.

mod driver;
mod steps;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::driver::Ways;
pub use self::steps::Steps;
use super::clock::SleepProofClock;
use super::content::{CONTENT_LABEL, ContentClient, ContentError, ContentErrorCode};
use super::control::{ControlView, Member, OfferOutcome, ReleaseTo, Ticket};
use super::core::{Answer, AskId, Link, MemberMachine, MemberOutput, Outgoing, RawEvent};
use super::error::{ControlError, JoinError, Left, MAX_NAME, MAX_REASON, Refusal, StateError};
use super::events::{Rejected, TutorialEvent};
use super::phase::Phase;
use super::pipe::{self, Blocked};
use super::state::TutorialSyncState;
use crate::client::Client;
use crate::config::{ChannelConfig, ConnectionConfig, QueueConfig, SessionLost};
use crate::durable::{ChannelSender, DurableConnection, EventSource, Events};
use crate::identity::PublicKey;
use crate::message::Utf8Bytes;
use crate::runtime::sync::{Notify, mpsc, oneshot, watch};
use crate::runtime::{self, MaybeSend, MaybeSync, Task};
use crate::signaling::ServiceUuid;

/// What can be a tutorial's state: anything that goes to JSON and back.
pub trait TutorialState: Serialize + DeserializeOwned + Clone + MaybeSend + MaybeSync + 'static {}
impl<T: Serialize + DeserializeOwned + Clone + MaybeSend + MaybeSync + 'static> TutorialState for T {}

/// How to be in a room.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JoinConfig {
    /// How the others shall call this member: 1 to [`MAX_NAME`] bytes. Default: nothing.
    pub name: Option<String>,
    /// Only looks on: sees everything, and never holds control. Default: false.
    pub observer: bool,
    /// Wants each step of the leader, not just the newest after a cut: see [`TutorialSync::steps`]. The room's leader then
    /// keeps all of them while it is cut off, up to 4,096. Default: false.
    pub every_step: bool,
    /// How long joining may take, from the connection on. Default: 30 s.
    pub timeout: Duration,
    /// Of [`TutorialSync::connect`]: how the connection is. Default: it never gives up, and begins
    /// a session anew that the host has lost.
    pub connection: ConnectionConfig,
}

impl Default for JoinConfig {
    fn default() -> Self {
        let mut connection = ConnectionConfig::default();
        connection.backoff.max_attempts = None;
        connection.on_session_lost = SessionLost::StartFresh;
        Self { name: None, observer: false, every_step: false, timeout: Duration::from_secs(30), connection }
    }
}

/// A membership in a room where a tutorial is shown: one leads, the others follow.
///
/// The leader ([`Phase::Active`]) sends states with [`send_state`](Self::send_state); all others get the newest as
/// [`TutorialEvent::StateUpdated`] and from [`state`](Self::state). Control is handed over by offers, requests and
/// release, and there are never two leaders. The role outlives cuts of the connection and restarts of the
/// process, for as long as the lease: 30 s, if the room has no other.
///
/// Three surfaces for three questions, as everywhere in this crate: *what is it now* ([`phase`](Self::phase), [`state`](Self::state),
/// [`members`](Self::members), [`control`](Self::control), and [`changed`](Self::changed) to wait for), *what happened* ([`events`](Self::events)), *what
/// did they show, step by step* ([`steps`](Self::steps)).
///
/// Cheap to clone. Dropping the last handle leaves the room; to come back in the same role after a restart, let the process
/// end with the handle alive.
///
/// ```no_run
/// # async fn example(client: everlink::Client, link: &str) -> Result<(), Box<dyn std::error::Error>> {
/// use everlink::tutorial::{JoinConfig, TutorialEvent, TutorialLink, TutorialSync, TutorialSyncState};
///
/// let link: TutorialLink = link.parse()?;
/// let sync: TutorialSync = TutorialSync::connect(&client, link.room, JoinConfig::default()).await?;
/// let mut events = sync.events();
/// while let Some(event) = events.next().await {
///     match event {
///         TutorialEvent::StateUpdated(state) => println!("step {}", state.step_content.index + 1),
///         TutorialEvent::ControlOffered { offer, .. } => sync.accept_control(offer).await?,
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct TutorialSync<S: TutorialState = TutorialSyncState> {
    handle: Arc<Handle<S>>,
    version: watch::Receiver<u64>,
}

impl<S: TutorialState> Clone for TutorialSync<S> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), version: self.version.clone() }
    }
}

/// Leaves when the last handle goes.
struct Handle<S: TutorialState> {
    shared: Arc<Shared<S>>,
    task: Mutex<Option<Task>>,
}

impl<S: TutorialState> Drop for Handle<S> {
    fn drop(&mut self) {
        self.shared.command(|inner, _| inner.machine.leave());
    }
}

/// What the handles and the driver share.
struct Shared<S: TutorialState> {
    /// Held for microseconds, never over an `.await`.
    inner: Mutex<Inner<S>>,
    /// There may be a new deadline, or an end.
    wake: Notify,
    events: EventSource<TutorialEvent<S>>,
    /// Grows with every change.
    version: watch::Sender<u64>,
    left: watch::Sender<Option<Left>>,
    way: Way,
    connection: Option<DurableConnection>,
    /// Made when first needed.
    content: Mutex<Option<ContentClient>>,
}

struct Inner<S> {
    machine: MemberMachine,
    clock: SleepProofClock,
    asked: BTreeMap<AskId, oneshot::Sender<Answer>>,
    /// The newest state, read.
    state: Option<Arc<S>>,
    steps: Option<mpsc::Sender<Arc<S>>>,
    /// States that the reader of steps has not taken.
    untaken: std::collections::VecDeque<Arc<S>>,
}

/// Where frames go.
enum Way {
    Channel(ChannelSender),
    Local(Box<dyn LocalWay>),
}

/// The way into a room of this process.
pub(super) trait LocalWay: MaybeSend + MaybeSync {
    /// Says something to the room.
    fn say(&self, text: &str);
}

impl<S: TutorialState> TutorialSync<S> {
    /// Connects to a room and joins it. Closes the connection when it leaves.
    ///
    /// Cancel-safe: a dropped future leaves nothing behind.
    ///
    /// # Errors
    /// [`JoinError`]: the room cannot be reached, is full or closed, or speaks another version.
    pub async fn connect(client: &Client, room: ServiceUuid, config: JoinConfig) -> Result<Self, JoinError> {
        check_name(&config)?;
        let connection = client.connect_with(room.into(), config.connection.clone()).await?;
        let joined = Self::over(connection.clone(), config, true).await;
        if joined.is_err() {
            let _ = connection.close().await;
        }
        joined
    }

    /// Joins over a connection to a room's service, which stays open when this leaves.
    ///
    /// Cancel-safe: a dropped future leaves the room again.
    ///
    /// # Errors
    /// As of [`connect`](Self::connect).
    pub async fn join(connection: DurableConnection, config: JoinConfig) -> Result<Self, JoinError> {
        Self::over(connection, config, false).await
    }

    async fn over(connection: DurableConnection, config: JoinConfig, own: bool) -> Result<Self, JoinError> {
        check_name(&config)?;
        let channel = connection.open_channel_with(pipe::LABEL, pipe::channel_config())?;
        let (sender, receiver) = channel.split();
        let me = connection.own_key();
        let sync = Self::start(me, &config, Way::Channel(sender), Some(connection), |shared| {
            driver::drive(shared, Ways::Channel(receiver), own)
        });
        sync.joined(config.timeout).await?;
        Ok(sync)
    }

    /// The host's own membership.
    pub(super) fn local(
        me: PublicKey,
        config: &JoinConfig,
        way: Box<dyn LocalWay>,
        mailbox: pipe::Mailbox,
    ) -> Self {
        Self::start(me, config, Way::Local(way), None, |shared| {
            driver::drive(shared, Ways::Local(mailbox), false)
        })
    }

    fn start<F>(
        me: PublicKey,
        config: &JoinConfig,
        way: Way,
        connection: Option<DurableConnection>,
        drive: impl FnOnce(Arc<Shared<S>>) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + MaybeSend + 'static,
    {
        let mut clock = SleepProofClock::new(runtime::wall_clock());
        let now = clock.read().at;
        let instance = u64::from_be_bytes(runtime::random()) >> 11;
        let machine =
            MemberMachine::new(me, config.name.clone(), config.observer, config.every_step, instance, now);
        let inner = Inner {
            machine,
            clock,
            asked: BTreeMap::new(),
            state: None,
            steps: None,
            untaken: Default::default(),
        };
        let shared = Arc::new(Shared {
            inner: Mutex::new(inner),
            wake: Notify::new(),
            events: EventSource::new(),
            version: watch::Sender::new(0),
            left: watch::Sender::new(None),
            way,
            connection,
            content: Mutex::new(None),
        });
        shared.command(|_, _| ());
        let task = runtime::spawn(drive(shared.clone()));
        let version = shared.version.subscribe();
        Self { handle: Arc::new(Handle { shared, task: Mutex::new(Some(task)) }), version }
    }

    /// Waits until the room has taken this member in.
    pub(super) async fn joined(&self, timeout: Duration) -> Result<(), JoinError> {
        let mut version = self.version.clone();
        let joining = async {
            loop {
                {
                    let inner = self.shared().lock();
                    if let Some(left) = inner.machine.left() {
                        return Err(JoinError::Left(left.clone()));
                    }
                    if inner.machine.is_joined() {
                        return Ok(());
                    }
                }
                // The sender is in `self`.
                let _ = version.changed().await;
            }
        };
        runtime::timeout(timeout, joining).await.unwrap_or(Err(JoinError::TimedOut(timeout)))
    }

    fn shared(&self) -> &Arc<Shared<S>> {
        &self.handle.shared
    }

    // ---- what is

    /// This member's name in the room: its key.
    pub fn me(&self) -> PublicKey {
        self.shared().lock().machine.me()
    }

    /// The phase at this moment.
    pub fn phase(&self) -> Phase {
        let mut inner = self.shared().lock();
        let now = inner.clock.read().at;
        inner.machine.phase(now)
    }

    /// Whether the connection is lost and being mended. The phase stays what it was, a leader's for as long as its lease.
    pub fn is_healing(&self) -> bool {
        self.shared().lock().machine.is_healing()
    }

    /// The newest state of the room, this member's own included.
    pub fn state(&self) -> Option<Arc<S>> {
        self.shared().lock().state.clone()
    }

    /// Who is in the room, in the order of joining, this member included.
    pub fn members(&self) -> Vec<Member> {
        self.shared().lock().machine.members().to_vec()
    }

    /// Who leads.
    pub fn holder(&self) -> Option<PublicKey> {
        self.control().holder
    }

    /// Who has control, and what is pending about it.
    pub fn control(&self) -> ControlView {
        self.shared().lock().machine.control()
    }

    /// Waits until something of the above has changed since this handle last waited. Cancel-safe.
    pub async fn changed(&mut self) {
        // The sender is in `self`.
        let _ = self.version.changed().await;
    }

    /// What happens from now on; the first subscriber gets the last few events before, too.
    pub fn events(&self) -> Events<TutorialEvent<S>> {
        self.shared().events.subscribe()
    }

    /// Each state that the leader shows from now on, in order, none left out: with
    /// [`JoinConfig::every_step`]. Without it, what arrives: after a cut only the newest.
    ///
    /// There is one reader: a later call ends the steps of an earlier one. A reader that falls behind by 64 steps keeps
    /// this member from receiving, and behind by some thousands more from staying in the room ([`Left::TooSlow`]).
    pub fn steps(&self) -> Steps<S> {
        let (sender, receiver) = mpsc::channel(64);
        let mut inner = self.shared().lock();
        inner.steps = Some(sender);
        inner.untaken.clear();
        drop(inner);
        self.shared().wake.notify_one();
        Steps::new(receiver)
    }

    // ---- who leads

    /// Begins to lead: from [`Phase::ConnectedIdle`], when nobody does. While leading it does nothing.
    ///
    /// Resolves when this member leads. Cancel-safe, but the wish may come true.
    ///
    /// # Errors
    /// [`ControlError`]: not in this phase, or as the room refuses.
    pub async fn lead(&self) -> Result<(), ControlError> {
        let asked = self.ask(|machine, now, wall| machine.lead(false, wall, now))?;
        self.settled(asked).await?;
        self.leading().await
    }

    /// Begins to follow: from [`Phase::ConnectedIdle`]. If nobody leads, the first that joined and has not chosen does then.
    /// While following it does nothing.
    ///
    /// # Errors
    /// [`ControlError`]: not in this phase, or as the room refuses.
    pub async fn follow(&self) -> Result<(), ControlError> {
        let asked = self.ask(|machine, now, _| machine.follow(None, now))?;
        self.settled(asked).await
    }

    /// Takes the others' state once, then leads from there. It is what a peer [keeps](Self::keep_state), or the room's newest;
    /// `None` if there is none. Nobody is waited for longer than 5 s.
    ///
    /// # Errors
    /// As of [`lead`](Self::lead).
    pub async fn pull_state_from_peer(&self) -> Result<Option<Arc<S>>, ControlError> {
        let asked = self.ask(|machine, now, wall| machine.lead(true, wall, now))?;
        self.settled(asked).await?;
        self.leading().await?;
        Ok(self.state())
    }

    /// Gives the others this state once, then follows; the first that joined and has not chosen leads from there.
    ///
    /// # Errors
    /// As of [`follow`](Self::follow), and [`ControlError::State`] for a state that does not fit.
    pub async fn push_state_to_peer(&self, state: S) -> Result<(), ControlError> {
        let text = to_json(&state)?;
        let asked = self.ask(|machine, now, _| machine.follow(Some(text), now))?;
        self.settled(asked).await
    }

    /// Shows a state to all: the leader's right. Returns at once; while the connection is being mended the newest waits.
    ///
    /// # Errors
    /// [`StateError`]; nothing is sent then.
    pub fn send_state(&self, state: S) -> Result<(), StateError> {
        let text = to_json(&state)?;
        self.shared().command(|inner, now| {
            inner.machine.send_state(text, now)?;
            inner.state = Some(Arc::new(state));
            Ok(())
        })
    }

    /// Keeps a state for a peer that wants to begin where this member is ([`pull_state_from_peer`](Self::pull_state_from_peer)).
    /// Nothing is sent now. It is forgotten when the room has a newer one.
    ///
    /// # Errors
    /// [`StateError::NotJson`].
    pub fn keep_state(&self, state: &S) -> Result<(), StateError> {
        let text = to_json(state)?;
        self.shared().command(|inner, _| inner.machine.keep_state(text));
        Ok(())
    }

    /// Asks for the room's newest state, and returns it.
    ///
    /// # Errors
    /// [`ControlError`]: out of the room, or no answer in time.
    pub async fn request_state(&self) -> Result<Option<Arc<S>>, ControlError> {
        let asked = self.ask(|machine, now, _| machine.request_state(now).map(Some))?;
        self.settled(asked).await?;
        Ok(self.state())
    }

    /// Offers control to one member, or to whoever accepts first, and waits for what becomes of it: at most 30 s.
    ///
    /// Dropping the future does not take the offer back: [`withdraw_offer`](Self::withdraw_offer) does.
    ///
    /// # Errors
    /// [`ControlError`]: only the leader may, and there has to be somebody.
    pub async fn offer_control(&self, to: Option<PublicKey>) -> Result<OfferOutcome, ControlError> {
        let asked = self.ask(|machine, now, _| machine.offer(to, now).map(Some))?;
        match self.answer(asked).await? {
            Answer::Settled(outcome) => Ok(outcome),
            Answer::Failed(error) => Err(error),
            // A room that does not keep to the format.
            Answer::Done => Ok(OfferOutcome::Withdrawn),
        }
    }

    /// Takes an offer back.
    ///
    /// # Errors
    /// [`Refusal::Gone`] if it is no longer open.
    pub async fn withdraw_offer(&self) -> Result<(), ControlError> {
        let asked = self.ask(|machine, now, _| machine.withdraw(now).map(Some))?;
        self.settled(asked).await
    }

    /// Takes control that was offered. Resolves when this member leads: the former leader has stopped by then, or its lease
    /// has ended.
    ///
    /// # Errors
    /// [`Refusal::Gone`] if the offer is no longer open.
    pub async fn accept_control(&self, offer: Ticket) -> Result<(), ControlError> {
        let asked = self.ask(|machine, now, _| machine.accept(offer, now).map(Some))?;
        self.settled(asked).await?;
        self.leading().await
    }

    /// Declines an offer; the offerer is told, and why.
    ///
    /// # Errors
    /// [`Refusal::Gone`] if the offer is no longer open.
    pub async fn decline_control(&self, offer: Ticket, reason: Option<&str>) -> Result<(), ControlError> {
        let reason = short(reason);
        let asked = self.ask(|machine, now, _| machine.decline(offer, reason, now).map(Some))?;
        self.settled(asked).await
    }

    /// Asks for control. By the room's [`ConflictStrategy`](super::ConflictStrategy) it is granted, denied, or the leader
    /// is asked, who may take 30 s. When nobody leads it is granted at once. Resolves when this member leads.
    ///
    /// # Errors
    /// [`ControlError::Refused`]: why not.
    pub async fn request_control(&self, reason: Option<&str>) -> Result<(), ControlError> {
        let reason = short(reason);
        let asked = self.ask(|machine, now, wall| machine.request(reason, wall, now))?;
        self.settled(asked).await?;
        self.leading().await
    }

    /// Grants a request: the leader's right.
    ///
    /// # Errors
    /// [`Refusal::Gone`] if the request is no longer open.
    pub async fn grant_request(&self, request: Ticket) -> Result<(), ControlError> {
        let asked = self.ask(|machine, now, _| machine.grant(request, now).map(Some))?;
        self.settled(asked).await
    }

    /// Denies a request; whoever asked is told, and why.
    ///
    /// # Errors
    /// [`Refusal::Gone`] if the request is no longer open.
    pub async fn deny_request(&self, request: Ticket, reason: Option<&str>) -> Result<(), ControlError> {
        let reason = short(reason);
        let asked = self.ask(|machine, now, _| machine.deny(request, reason, now).map(Some))?;
        self.settled(asked).await
    }

    /// Stops to lead, at once; resolves when the room knows. Whoever waits with a request gets control.
    ///
    /// # Errors
    /// [`ControlError::WrongPhase`] if this member does not lead.
    pub async fn release_control(&self, to: ReleaseTo) -> Result<(), ControlError> {
        let asked = self.ask(|machine, now, _| machine.release(to, now).map(Some))?;
        self.settled(asked).await
    }

    /// Gives control back to whom it came from.
    ///
    /// # Errors
    /// [`Refusal::Nobody`] if it came from nobody, or that one is not here.
    pub async fn return_control(&self) -> Result<(), ControlError> {
        let asked = self.ask(|machine, now, _| machine.give_back(now).map(Some))?;
        self.settled(asked).await
    }

    /// Takes control from the leader, and gives it to a member, or nobody: a moderator's right. The host is one.
    ///
    /// # Errors
    /// [`Refusal::NotModerator`].
    pub async fn revoke_control(&self, to: Option<PublicKey>) -> Result<(), ControlError> {
        let asked = self.ask(|machine, now, _| machine.revoke(to, now).map(Some))?;
        self.settled(asked).await
    }

    // ---- the end

    /// Leaves the room. A leader frees control by it. Resolves when the room knows, or after some seconds.
    pub async fn leave(&self) {
        self.shared().command(|inner, _| inner.machine.leave());
        let task = self.handle.task.lock().expect("no panic while locked").take();
        if let Some(task) = task {
            task.ended().await;
        }
        self.left().await;
    }

    /// Waits until this member is out of the room, and says why. Cancel-safe.
    pub async fn left(&self) -> Left {
        let mut left = self.shared().left.subscribe();
        let left = left.wait_for(Option::is_some).await;
        // The sender is in `self`.
        left.ok().and_then(|left| left.clone()).unwrap_or(Left::ByItself)
    }

    /// Asks the host about the tutorial itself: its steps, their text and files.
    ///
    /// # Errors
    /// [`ContentErrorCode::Unavailable`] for the host's own membership, which has the content without asking, and
    /// [`ContentErrorCode::Closed`] when this member is out of the room.
    pub fn content(&self) -> Result<ContentClient, ContentError> {
        let shared = self.shared();
        let Some(connection) = &shared.connection else {
            let here = "the host has the content itself";
            return Err(ContentError::new(ContentErrorCode::Unavailable, here));
        };
        let mut content = shared.content.lock().expect("no panic while locked");
        if let Some(content) = &*content {
            return Ok(content.clone());
        }
        let config = ChannelConfig::queue(QueueConfig::lossless());
        let channel = connection.open_channel_with(CONTENT_LABEL, config);
        let channel =
            channel.map_err(|error| ContentError::new(ContentErrorCode::Closed, error.to_string()))?;
        Ok(content.insert(ContentClient::new(channel)).clone())
    }

    /// The connection that the membership is over; none for the host's own.
    pub fn connection(&self) -> Option<&DurableConnection> {
        self.shared().connection.as_ref()
    }

    // ---- within

    fn ask(
        &self,
        ask: impl FnOnce(&mut MemberMachine, runtime::Instant, u64) -> Result<Option<AskId>, ControlError>,
    ) -> Result<Option<oneshot::Receiver<Answer>>, ControlError> {
        let wall = runtime::unix_millis();
        self.shared().command(|inner, now| {
            let Some(id) = ask(&mut inner.machine, now, wall)? else { return Ok(None) };
            let (sender, receiver) = oneshot::channel();
            inner.asked.insert(id, sender);
            Ok(Some(receiver))
        })
    }

    async fn answer(&self, asked: Option<oneshot::Receiver<Answer>>) -> Result<Answer, ControlError> {
        match asked {
            None => Ok(Answer::Done),
            // Every ask is answered, at the latest by the end.
            Some(asked) => asked.await.map_err(|_| ControlError::Left(Left::ByItself)),
        }
    }

    async fn settled(&self, asked: Option<oneshot::Receiver<Answer>>) -> Result<(), ControlError> {
        match self.answer(asked).await? {
            Answer::Failed(error) => Err(error),
            Answer::Done | Answer::Settled(_) => Ok(()),
        }
    }

    /// Waits until this member, which was given control, leads: one round trip, if what the room heard of it last is long ago.
    async fn leading(&self) -> Result<(), ControlError> {
        let mut version = self.version.clone();
        let leading = async {
            loop {
                if self.phase() == Phase::Active {
                    return Ok(());
                }
                {
                    let inner = self.shared().lock();
                    if let Some(left) = inner.machine.left() {
                        return Err(ControlError::Left(left.clone()));
                    }
                    if inner.machine.control().holder != Some(inner.machine.me()) {
                        return Err(ControlError::Refused(Refusal::Late));
                    }
                }
                // The sender is in `self`.
                let _ = version.changed().await;
            }
        };
        runtime::timeout(Duration::from_secs(10), leading).await.unwrap_or(Err(ControlError::TimedOut))
    }
}

impl<S: TutorialState> fmt::Debug for TutorialSync<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TutorialSync({}, {})", self.me(), self.phase())
    }
}

impl<S: TutorialState> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        self.inner.lock().expect("the machine panicked")
    }

    /// Does something to the machine, and what follows from it.
    fn command<T>(&self, does: impl FnOnce(&mut Inner<S>, runtime::Instant) -> T) -> T {
        let mut inner = self.lock();
        let now = inner.clock.read().at;
        let done = does(&mut inner, now);
        let mut changed = false;
        while let Some(output) = inner.machine.poll_output() {
            changed = true;
            self.carry_out(&mut inner, output, now);
        }
        drop(inner);
        if changed {
            self.version.send_modify(|version| *version += 1);
        }
        self.wake.notify_one();
        done
    }

    fn carry_out(&self, inner: &mut Inner<S>, output: MemberOutput, now: runtime::Instant) {
        match output {
            MemberOutput::Send(frame) => {
                if self.say(frame).is_err() {
                    inner.machine.handle_link(Link::Ended(Left::TooSlow), now);
                }
            }
            MemberOutput::Answer(id, answer) => {
                if let Some(asked) = inner.asked.remove(&id) {
                    // Nobody waits for it any more, if it fails.
                    let _ = asked.send(answer);
                }
            }
            MemberOutput::Event(event) => {
                if let Some(event) = typed(inner, event) {
                    self.events.publish(event);
                }
            }
            MemberOutput::Left(left) => {
                inner.steps = None;
                self.events.close(TutorialEvent::Left(left.clone()));
                self.left.send_replace(Some(left));
            }
        }
    }

    fn say(&self, frame: Outgoing) -> Result<(), Blocked> {
        match &self.way {
            // A channel that is closed says so to the driver.
            Way::Channel(sender) => pipe::send(sender, frame),
            Way::Local(room) => {
                room.say(&frame.text);
                Ok(())
            }
        }
    }
}

/// An event, with its state read.
fn typed<S: TutorialState>(inner: &mut Inner<S>, event: RawEvent) -> Option<TutorialEvent<S>> {
    use TutorialEvent as E;
    Some(match event {
        RawEvent::State(text) => match serde_json::from_str::<S>(&text) {
            Ok(state) => {
                let state = Arc::new(state);
                inner.state = Some(state.clone());
                if inner.steps.is_some() {
                    inner.untaken.push_back(state.clone());
                }
                E::StateUpdated(state)
            }
            Err(_) => E::Rejected(Rejected::InvalidState),
        },
        RawEvent::Phase { from, to, cause } => E::PhaseChanged { from, to, cause },
        RawEvent::Control { epoch, holder, cause } => E::ControlChanged { epoch, holder, cause },
        RawEvent::HolderLost(holder) => E::HolderLost { holder },
        RawEvent::Offered { offer, from } => E::ControlOffered { offer, from, state: inner.state.clone() },
        RawEvent::OfferEnded(offer) => E::OfferEnded { offer },
        RawEvent::Requested { request, from, reason } => E::ControlRequested { request, from, reason },
        RawEvent::RequestEnded(request) => E::RequestEnded { request },
        RawEvent::Settled(outcome) => E::OfferSettled { outcome },
        RawEvent::Joined(member) => E::MemberJoined(member),
        RawEvent::Role(member) => E::RoleChanged { member: member.id, role: member.role },
        RawEvent::Healing(id) => E::MemberHealing(id),
        RawEvent::Healed(id) => E::MemberHealed(id),
        RawEvent::MemberLeft(id) => E::MemberLeft(id),
        RawEvent::LinkHealing => E::Healing,
        RawEvent::LinkHealed => E::Healed,
        RawEvent::Rejected(what) => E::Rejected(what),
    })
}

fn to_json(state: &impl Serialize) -> Result<Utf8Bytes, StateError> {
    serde_json::to_string(state).map(Utf8Bytes::from).map_err(|error| StateError::NotJson(error.to_string()))
}

fn short(reason: Option<&str>) -> Option<String> {
    super::core::wire::cut(reason.map(String::from), MAX_REASON)
}

fn check_name(config: &JoinConfig) -> Result<(), JoinError> {
    match &config.name {
        Some(name) if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) => {
            Err(JoinError::BadName)
        }
        _ => Ok(()),
    }
}
