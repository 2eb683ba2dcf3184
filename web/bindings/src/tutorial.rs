//! Rooms and their members, with values as JSON text: TypeScript reads and writes it.

use std::rc::Rc;
use std::time::Duration;

use everlink::PublicKey;
use everlink::signaling::{ServiceUuid, Username};
use everlink::tutorial::{
    ConflictStrategy, ContentClient, ContentError, JoinConfig, ReleaseTo, Role, RoomConfig, TutorialLink,
    TutorialRoom, TutorialSync,
};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use js_sys::Promise;
use serde::Deserialize;
use serde_json::Value;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

mod told;

use self::told::{Fault, json};
use crate::client::RawClient;
use crate::error::argument;
use crate::event::RawEvents;
use crate::js::{Outcome, promise};

type Sync = TutorialSync<Value>;

/// How to join, as TypeScript says it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Join {
    name: Option<String>,
    observer: bool,
    every_step: bool,
}

impl Join {
    fn config(self) -> JoinConfig {
        let mut config = JoinConfig::default();
        (config.name, config.observer, config.every_step) = (self.name, self.observer, self.every_step);
        config
    }
}

/// What room to open.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Open {
    user: String,
    service: Option<String>,
    #[serde(default)]
    metadata: serde_json::Map<String, Value>,
    #[serde(default)]
    public: bool,
    max_members: Option<usize>,
    conflicts: Option<ConflictStrategy>,
    lease_ms: Option<f64>,
    expires_after_ms: Option<f64>,
    #[serde(default)]
    moderators: Vec<String>,
}

impl Open {
    fn config(self) -> Result<(Username, RoomConfig), JsValue> {
        let user = crate::options::parse(&self.user)?;
        let mut config = RoomConfig::default();
        config.service = self.service.as_deref().map(crate::options::parse).transpose()?;
        config.metadata = self.metadata;
        config.public = self.public;
        config.max_members = self.max_members.unwrap_or(config.max_members);
        config.conflicts = self.conflicts.unwrap_or_default();
        let millis = |given: Option<f64>, otherwise| match given {
            None => Ok(otherwise),
            Some(millis) => Duration::try_from_secs_f64(millis / 1000.0)
                .map_err(|cause| argument("bad-option", &format!("{millis} milliseconds: {cause}"))),
        };
        config.lease = millis(self.lease_ms, config.lease)?;
        config.expires_after = millis(self.expires_after_ms, config.expires_after)?;
        config.moderators = self.moderators.iter().map(|key| key_of(key)).collect::<Result<_, _>>()?;
        Ok((user, config))
    }
}

fn options<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, JsValue> {
    serde_json::from_str(text).map_err(|cause| argument("bad-option", &cause))
}

fn key_of(text: &str) -> Result<PublicKey, JsValue> {
    text.parse().map_err(|_| argument("bad-option", &"a member is named by its public key"))
}

fn value_of(text: &str) -> Result<Value, JsValue> {
    serde_json::from_str(text).map_err(|cause| argument("bad-data", &cause))
}

/// A member.
#[wasm_bindgen]
pub struct RawTutorial {
    // Not in an `Rc`: dropping the last handle leaves the room.
    sync: Sync,
}

impl RawTutorial {
    /// Something that takes its time, with the handle for it.
    fn ask<F: Future<Output = Outcome> + 'static>(
        &self,
        cancelled: Option<Promise>,
        work: impl FnOnce(Sync) -> F,
    ) -> Promise {
        promise(cancelled, work(self.sync.clone()))
    }

    fn content<T, F>(
        &self,
        cancelled: Option<Promise>,
        ask: impl FnOnce(ContentClient) -> F + 'static,
    ) -> Promise
    where
        T: serde::Serialize,
        F: Future<Output = Result<T, ContentError>>,
    {
        self.ask(cancelled, |sync| async move {
            let content = sync.content().map_err(|cause| cause.fault())?;
            Ok(json(&ask(content).await.map_err(|cause| cause.fault())?))
        })
    }
}

fn done(outcome: Result<(), impl Fault>) -> Outcome {
    outcome.map(|()| JsValue::UNDEFINED).map_err(|cause| cause.fault())
}

#[wasm_bindgen]
impl RawTutorial {
    pub fn connect(client: &RawClient, room: &str, join: &str, cancelled: Option<Promise>) -> Promise {
        let client = client.client();
        let room: Result<ServiceUuid, _> =
            room.parse().map_err(|_| argument("bad-link", &"a room is named by a uuid"));
        let join = options::<Join>(join).map(Join::config);
        promise(cancelled, async move {
            let sync = Sync::connect(&client?, room?, join?).await.map_err(|cause| cause.fault())?;
            Ok(RawTutorial { sync }.into())
        })
    }

    #[wasm_bindgen(getter)]
    pub fn me(&self) -> String {
        self.sync.me().to_string()
    }

    #[wasm_bindgen(getter)]
    pub fn phase(&self) -> String {
        self.sync.phase().as_str().to_owned()
    }

    #[wasm_bindgen(getter)]
    pub fn healing(&self) -> bool {
        self.sync.is_healing()
    }

    #[wasm_bindgen(getter)]
    pub fn state(&self) -> Option<String> {
        self.sync.state().map(|state| state.to_string())
    }

    #[wasm_bindgen(getter)]
    pub fn members(&self) -> String {
        told::text(&self.sync.members())
    }

    #[wasm_bindgen(getter)]
    pub fn control(&self) -> String {
        told::control(&self.sync.control()).to_string()
    }

    pub fn lead(&self, cancelled: Option<Promise>) -> Promise {
        self.ask(cancelled, |sync| async move { done(sync.lead().await) })
    }

    pub fn follow(&self, cancelled: Option<Promise>) -> Promise {
        self.ask(cancelled, |sync| async move { done(sync.follow().await) })
    }

    #[wasm_bindgen(js_name = pullStateFromPeer)]
    pub fn pull_state_from_peer(&self, cancelled: Option<Promise>) -> Promise {
        self.ask(cancelled, |sync| async move {
            let state = sync.pull_state_from_peer().await.map_err(|cause| cause.fault())?;
            Ok(state.map_or(JsValue::UNDEFINED, |state| json(&*state)))
        })
    }

    #[wasm_bindgen(js_name = pushStateToPeer)]
    pub fn push_state_to_peer(&self, state: &str, cancelled: Option<Promise>) -> Promise {
        let state = value_of(state);
        self.ask(cancelled, |sync| async move { done(sync.push_state_to_peer(state?).await) })
    }

    #[wasm_bindgen(js_name = sendState)]
    pub fn send_state(&self, state: &str) -> Result<(), JsValue> {
        self.sync.send_state(value_of(state)?).map_err(|cause| cause.fault())
    }

    #[wasm_bindgen(js_name = keepState)]
    pub fn keep_state(&self, state: &str) -> Result<(), JsValue> {
        self.sync.keep_state(&value_of(state)?).map_err(|cause| cause.fault())
    }

    #[wasm_bindgen(js_name = requestState)]
    pub fn request_state(&self, cancelled: Option<Promise>) -> Promise {
        self.ask(cancelled, |sync| async move {
            let state = sync.request_state().await.map_err(|cause| cause.fault())?;
            Ok(state.map_or(JsValue::UNDEFINED, |state| json(&*state)))
        })
    }

    #[wasm_bindgen(js_name = offerControl)]
    pub fn offer_control(&self, to: Option<String>, cancelled: Option<Promise>) -> Promise {
        let to = to.as_deref().map(key_of).transpose();
        self.ask(cancelled, |sync| async move {
            Ok(json(&sync.offer_control(to?).await.map_err(|cause| cause.fault())?))
        })
    }

    #[wasm_bindgen(js_name = withdrawOffer)]
    pub fn withdraw_offer(&self, cancelled: Option<Promise>) -> Promise {
        self.ask(cancelled, |sync| async move { done(sync.withdraw_offer().await) })
    }

    #[wasm_bindgen(js_name = acceptControl)]
    pub fn accept_control(&self, offer: f64, cancelled: Option<Promise>) -> Promise {
        self.ask(cancelled, move |sync| async move { done(sync.accept_control(offer as u64).await) })
    }

    #[wasm_bindgen(js_name = declineControl)]
    pub fn decline_control(&self, offer: f64, reason: Option<String>, cancelled: Option<Promise>) -> Promise {
        self.ask(cancelled, move |sync| async move {
            done(sync.decline_control(offer as u64, reason.as_deref()).await)
        })
    }

    #[wasm_bindgen(js_name = requestControl)]
    pub fn request_control(&self, reason: Option<String>, cancelled: Option<Promise>) -> Promise {
        self.ask(cancelled, |sync| async move { done(sync.request_control(reason.as_deref()).await) })
    }

    #[wasm_bindgen(js_name = grantRequest)]
    pub fn grant_request(&self, request: f64, cancelled: Option<Promise>) -> Promise {
        self.ask(cancelled, move |sync| async move { done(sync.grant_request(request as u64).await) })
    }

    #[wasm_bindgen(js_name = denyRequest)]
    pub fn deny_request(&self, request: f64, reason: Option<String>, cancelled: Option<Promise>) -> Promise {
        self.ask(cancelled, move |sync| async move {
            done(sync.deny_request(request as u64, reason.as_deref()).await)
        })
    }

    #[wasm_bindgen(js_name = releaseControl)]
    pub fn release_control(&self, to: &str, cancelled: Option<Promise>) -> Promise {
        let to = if to == "passive" { ReleaseTo::Passive } else { ReleaseTo::Idle };
        self.ask(cancelled, move |sync| async move { done(sync.release_control(to).await) })
    }

    #[wasm_bindgen(js_name = returnControl)]
    pub fn return_control(&self, cancelled: Option<Promise>) -> Promise {
        self.ask(cancelled, |sync| async move { done(sync.return_control().await) })
    }

    #[wasm_bindgen(js_name = revokeControl)]
    pub fn revoke_control(&self, to: Option<String>, cancelled: Option<Promise>) -> Promise {
        let to = to.as_deref().map(key_of).transpose();
        self.ask(cancelled, |sync| async move { done(sync.revoke_control(to?).await) })
    }

    pub fn events(&self) -> RawEvents {
        RawEvents::new(self.sync.events().map(|event| told::event(event).to_string().into()))
    }

    pub fn steps(&self) -> RawEvents {
        let steps = self.sync.steps();
        RawEvents::new(stream::unfold(steps, |mut steps| async {
            steps.next().await.map(|state| (json(&*state), steps))
        }))
    }

    pub fn outline(&self, cancelled: Option<Promise>) -> Promise {
        self.content(cancelled, |content| async move { content.outline().await })
    }

    pub fn step(&self, index: u32, solution: bool, cancelled: Option<Promise>) -> Promise {
        self.content(cancelled, move |content| async move { content.step(index, solution).await })
    }

    pub fn tree(&self, index: u32, cancelled: Option<Promise>) -> Promise {
        self.content(cancelled, move |content| async move { content.tree(index).await })
    }

    pub fn file(&self, index: u32, path: String, cancelled: Option<Promise>) -> Promise {
        self.content(cancelled, move |content| async move { content.file(index, path).await })
    }

    pub fn leave(&self) -> Promise {
        self.ask(None, |sync| async move {
            sync.leave().await;
            Ok(JsValue::UNDEFINED)
        })
    }

    pub fn left(&self, cancelled: Option<Promise>) -> Promise {
        self.ask(cancelled, |sync| async move { Ok(json(&told::left(&sync.left().await))) })
    }
}

/// A room that this client hosts.
#[wasm_bindgen]
pub struct RawRoom {
    room: Rc<TutorialRoom>,
}

#[wasm_bindgen]
impl RawRoom {
    pub fn open(client: &RawClient, open: &str, cancelled: Option<Promise>) -> Promise {
        let (client, open) = (client.client(), options::<Open>(open).and_then(Open::config));
        promise(cancelled, async move {
            let (user, config) = open?;
            let room = TutorialRoom::open(&client?, user, config).await.map_err(|cause| cause.fault())?;
            Ok(RawRoom { room: Rc::new(room) }.into())
        })
    }

    #[wasm_bindgen(getter)]
    pub fn id(&self) -> String {
        self.room.id().to_string()
    }

    pub fn link(&self, server: &str) -> String {
        TutorialLink::to_string(&self.room.link(server))
    }

    pub fn info(&self) -> String {
        told::info(&self.room.info()).to_string()
    }

    pub fn members(&self) -> String {
        told::text(&self.room.members())
    }

    pub fn sync(&self, join: &str, cancelled: Option<Promise>) -> Promise {
        let (room, join) = (self.room.clone(), options::<Join>(join).map(Join::config));
        promise(cancelled, async move {
            let sync = room.sync(join?).await.map_err(|cause| cause.fault())?;
            Ok(RawTutorial { sync }.into())
        })
    }

    #[wasm_bindgen(js_name = setRole)]
    pub fn set_role(&self, member: &str, role: &str) -> Result<(), JsValue> {
        let role: Role =
            serde_json::from_value(role.into()).map_err(|cause| argument("bad-option", &cause))?;
        self.room.set_role(key_of(member)?, role);
        Ok(())
    }

    pub fn remove(&self, member: &str) -> Result<(), JsValue> {
        self.room.remove(key_of(member)?);
        Ok(())
    }

    pub fn events(&self) -> RawEvents {
        RawEvents::new(self.room.events().map(|event| told::room_event(event).to_string().into()))
    }

    pub fn close(&self) -> Promise {
        let room = self.room.clone();
        promise(None, async move { Ok(room.close().map(|()| JsValue::UNDEFINED).await) })
    }
}
