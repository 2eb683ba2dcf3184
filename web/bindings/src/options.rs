//! Options: numbers in the order of `web/src/check.ts`, which has checked them, and texts as members of a plain object.
//! Times are milliseconds.

use std::str::FromStr;
use std::time::Duration;

use everlink::link::IceServer;
use everlink::signaling::metadata_from_js;
use everlink::{
    ChannelConfig, ConnectionConfig, Priority, PublicKey, QueueConfig, SendOptions, ServiceConfig,
    SessionLost, StoreFailure, Target, WhenFull,
};
use js_sys::{Array, JSON, Reflect};
use wasm_bindgen::JsValue;

use crate::error::argument;

type Checked<T> = Result<T, JsValue>;

/// The numbers that are left to read. What was not given is NaN, and keeps its default.
pub(crate) struct Numbers<'a>(pub(crate) &'a [f64]);

impl Numbers<'_> {
    fn next(&mut self) -> Option<f64> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        (!first.is_nan()).then_some(*first)
    }

    fn number(&mut self, into: &mut f64) {
        *into = self.next().unwrap_or(*into);
    }

    fn count(&mut self, into: &mut usize) {
        if let Some(count) = self.next() {
            *into = count as usize;
        }
    }

    fn time(&mut self, into: &mut Duration) {
        if let Some(millis) = self.next() {
            *into = duration(millis);
        }
    }

    fn flag(&mut self, into: &mut bool) {
        if let Some(flag) = self.next() {
            *into = flag != 0.0;
        }
    }

    /// One of a few words, by its place.
    fn word<T: Copy>(&mut self, words: &[T], into: &mut T) {
        if let Some(word) = self.next().and_then(|place| words.get(place as usize)) {
            *into = *word;
        }
    }
}

fn duration(millis: f64) -> Duration {
    Duration::from_secs_f64(millis / 1000.0)
}

/// One object of options.
struct Options<'a>(&'a JsValue);

impl Options<'_> {
    fn text(&self, key: &str) -> Option<String> {
        Reflect::get(self.0, &JsValue::from_str(key)).ok()?.as_string()
    }
}

/// A name, uuid or key, parsed.
pub(crate) fn parse<T: FromStr>(text: &str) -> Checked<T>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| argument("bad-name", &error))
}

/// `{ uuid }` or `{ user, service }`.
pub(crate) fn target(texts: &JsValue) -> Checked<Target> {
    let texts = Options(texts);
    match texts.text("uuid") {
        Some(uuid) => Ok(Target::Uuid(parse(&uuid)?)),
        None => {
            let [user, service] = ["user", "service"].map(|key| texts.text(key).unwrap_or_default());
            Ok(Target::Query { user: parse(&user)?, service: parse(&service)? })
        }
    }
}

/// What a connection is told.
pub(crate) fn connection(texts: &JsValue, numbers: &mut Numbers<'_>) -> Checked<ConnectionConfig> {
    let mut config = ConnectionConfig::default();
    for time in [&mut config.connect_timeout, &mut config.park_for, &mut config.close_timeout] {
        numbers.time(time);
    }
    numbers.count(&mut config.max_message);
    numbers.count(&mut config.max_channels);
    numbers.word(&[SessionLost::Fail, SessionLost::StartFresh], &mut config.on_session_lost);
    numbers.word(&[StoreFailure::Stop, StoreFailure::GoOnInMemory], &mut config.on_store_failure);
    let (backoff, liveness) = (&mut config.backoff, &mut config.liveness);
    numbers.time(&mut backoff.base);
    numbers.time(&mut backoff.max);
    numbers.number(&mut backoff.jitter);
    if let Some(most) = numbers.next() {
        backoff.max_attempts = most.is_finite().then_some(most as u32);
    }
    for time in [&mut liveness.idle_probe, &mut liveness.busy_probe, &mut liveness.suspect_after] {
        numbers.time(time);
    }
    if let Some(queue) = queue(numbers) {
        config.queue = queue;
    }
    let texts = Options(texts);
    config.expect_peer = texts.text("expectPeer").map(|key| parse::<PublicKey>(&key)).transpose()?;
    config.token = texts.text("token");
    Ok(config)
}

/// The settings of a queue, if there are any.
fn queue(numbers: &mut Numbers<'_>) -> Option<QueueConfig> {
    let kind = numbers.next();
    let mut config = QueueConfig::default();
    numbers.count(&mut config.max_messages);
    numbers.count(&mut config.max_bytes);
    if let Some(age) = numbers.next() {
        config.max_age = age.is_finite().then(|| duration(age));
    }
    numbers.word(&[WhenFull::Wait, WhenFull::DropOldest, WhenFull::Reject], &mut config.when_full);
    Some(if kind? == 0.0 { QueueConfig::lossless() } else { config })
}

/// What a channel is told.
pub(crate) fn channel(numbers: &mut Numbers<'_>) -> ChannelConfig {
    let mut config = ChannelConfig::default();
    let (is_lossy, mut ordered, mut retransmits) = (numbers.next().is_some(), false, 0.0);
    numbers.flag(&mut ordered);
    numbers.number(&mut retransmits);
    if is_lossy {
        config = ChannelConfig::lossy(ordered, retransmits as u16);
    }
    if let Some(queue) = queue(numbers) {
        config.queue = Some(queue);
    }
    numbers.word(&[Priority::Control, Priority::Normal, Priority::Bulk], &mut config.priority);
    config
}

/// What one message asks for.
pub(crate) fn message(deadline: f64, supersede: Option<String>) -> SendOptions {
    let mut config = SendOptions::new();
    if !deadline.is_nan() {
        config = config.deadline(duration(deadline));
    }
    match supersede {
        Some(key) => config.supersede(key),
        None => config,
    }
}

/// What to expose.
pub(crate) fn service(texts: &JsValue, mut numbers: Numbers<'_>) -> Checked<ServiceConfig> {
    let options = Options(texts);
    let [user, service] = ["user", "service"].map(|key| options.text(key).unwrap_or_default());
    let mut config = ServiceConfig::new(parse(&user)?, parse(&service)?);
    numbers.flag(&mut config.public);
    numbers.time(&mut config.ttl);
    numbers.number(&mut config.refresh_margin);
    numbers.count(&mut config.pool_size);
    config.token = options.text("token");
    let metadata = Reflect::get(texts, &JsValue::from_str("metadata")).unwrap_or_default();
    if !metadata.is_undefined() {
        // As JSON has it: without what is undefined, and with dates as texts.
        let text = JSON::stringify(&metadata).ok().and_then(|text| text.as_string());
        let plain = text.and_then(|text| JSON::parse(&text).ok());
        let what = "the option `metadata` must be a plain object of JSON values";
        config.metadata =
            plain.and_then(|plain| metadata_from_js(&plain)).ok_or_else(|| argument("bad-option", &what))?;
    }
    config.connection = connection(texts, &mut numbers)?;
    Ok(config)
}

/// The servers of which the address, the name and the password are given in turn.
pub(crate) fn ice(texts: &Array) -> Vec<IceServer> {
    let mut texts = texts.iter().filter_map(|text| text.as_string());
    std::iter::from_fn(|| Some(IceServer::turn(texts.next()?, texts.next()?, texts.next()?))).collect()
}
