//! Options, as plain objects, checked: what is `undefined` keeps its default, and what cannot be is an error that
//! names the option. Times are milliseconds.

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

/// A century: longer is a mistake, and no clock here can add it up.
const MOST_MILLIS: u64 = 100 * 366 * 86_400_000;

type Checked<T> = Result<T, JsValue>;

/// One object of options.
pub(crate) struct Options<'a>(pub &'a JsValue);

impl Options<'_> {
    fn get(&self, key: &str) -> Option<JsValue> {
        let value = Reflect::get(self.0, &JsValue::from_str(key)).ok()?;
        (!value.is_undefined()).then_some(value)
    }

    fn bad(key: &str, wanted: &str) -> JsValue {
        argument("bad-option", &format!("the option `{key}` must be {wanted}"))
    }

    // The bounds are whole: printing floats would take 10 KiB of code.
    fn number(&self, key: &str, least: u64, most: u64, into: &mut dyn FnMut(f64)) -> Checked<()> {
        let Some(value) = self.get(key) else { return Ok(()) };
        match value.as_f64() {
            Some(number) if number >= least as f64 && number <= most as f64 => {
                into(number);
                Ok(())
            }
            _ => Err(Self::bad(key, &format!("a number from {least} to {most}"))),
        }
    }

    fn count(&self, key: &str, into: &mut usize) -> Checked<()> {
        self.number(key, 0, u64::from(u32::MAX), &mut |count| *into = count as usize)
    }

    fn time(&self, key: &str, into: &mut Duration) -> Checked<()> {
        self.number(key, 0, MOST_MILLIS, &mut |millis| *into = Duration::from_secs_f64(millis / 1000.0))
    }

    fn flag(&self, key: &str, into: &mut bool) -> Checked<()> {
        if let Some(value) = self.get(key) {
            *into = value.as_bool().ok_or_else(|| Self::bad(key, "true or false"))?;
        }
        Ok(())
    }

    pub(crate) fn text(&self, key: &str) -> Checked<Option<String>> {
        self.get(key).map(|value| value.as_string().ok_or_else(|| Self::bad(key, "a string"))).transpose()
    }

    /// One of a few words.
    fn word<T: Copy>(&self, key: &str, words: &[(&str, T)], into: &mut T) -> Checked<()> {
        if let Some(text) = self.text(key)? {
            let wanted = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(" or ");
            *into = words.iter().find(|(word, _)| *word == text).ok_or_else(|| Self::bad(key, &wanted()))?.1;
        }
        Ok(())
    }

    fn is_null(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.is_null())
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
pub(crate) fn target(options: &JsValue) -> Checked<Target> {
    let options = Options(options);
    if let Some(uuid) = options.text("uuid")? {
        return Ok(Target::Uuid(parse(&uuid)?));
    }
    match (options.text("user")?, options.text("service")?) {
        (Some(user), Some(service)) => Ok(Target::Query { user: parse(&user)?, service: parse(&service)? }),
        _ => Err(argument("bad-option", &"a target is { uuid } or { user, service }")),
    }
}

/// What a connection is told.
pub(crate) fn connection(value: &JsValue) -> Checked<ConnectionConfig> {
    let mut config = ConnectionConfig::default();
    let options = Options(value);
    options.time("connectTimeout", &mut config.connect_timeout)?;
    options.time("parkFor", &mut config.park_for)?;
    options.time("closeTimeout", &mut config.close_timeout)?;
    options.count("maxMessage", &mut config.max_message)?;
    options.count("maxChannels", &mut config.max_channels)?;
    let lost = [("fail", SessionLost::Fail), ("start-fresh", SessionLost::StartFresh)];
    options.word("onSessionLost", &lost, &mut config.on_session_lost)?;
    let failure = [("stop", StoreFailure::Stop), ("go-on-in-memory", StoreFailure::GoOnInMemory)];
    options.word("onStoreFailure", &failure, &mut config.on_store_failure)?;
    if let Some(key) = options.text("expectPeer")? {
        config.expect_peer = Some(parse::<PublicKey>(&key)?);
    }
    config.token = options.text("token")?;
    if let Some(value) = options.get("backoff") {
        let backoff = Options(&value);
        backoff.time("base", &mut config.backoff.base)?;
        backoff.time("max", &mut config.backoff.max)?;
        backoff.number("jitter", 0, 1, &mut |jitter| config.backoff.jitter = jitter)?;
        if backoff.is_null("maxAttempts") {
            config.backoff.max_attempts = None;
        } else {
            let attempts = &mut config.backoff.max_attempts;
            backoff
                .number("maxAttempts", 1, u64::from(u32::MAX), &mut |most| *attempts = Some(most as u32))?;
        }
    }
    if let Some(value) = options.get("liveness") {
        let liveness = Options(&value);
        liveness.time("idleProbe", &mut config.liveness.idle_probe)?;
        liveness.time("busyProbe", &mut config.liveness.busy_probe)?;
        liveness.time("suspectAfter", &mut config.liveness.suspect_after)?;
    }
    if let Some(value) = options.get("queue") {
        config.queue = queue(&value)?;
    }
    Ok(config)
}

/// `'lossless'`, or the settings of a queue.
fn queue(value: &JsValue) -> Checked<QueueConfig> {
    match value.as_string() {
        Some(word) if word == "lossless" => return Ok(QueueConfig::lossless()),
        Some(_) => return Err(Options::bad("queue", "'lossless' or an object")),
        None => {}
    }
    let mut config = QueueConfig::default();
    let options = Options(value);
    options.count("maxMessages", &mut config.max_messages)?;
    options.count("maxBytes", &mut config.max_bytes)?;
    if options.is_null("maxAge") {
        config.max_age = None;
    } else {
        let mut age = config.max_age.unwrap_or_default();
        options.time("maxAge", &mut age)?;
        config.max_age = Some(age);
    }
    let full =
        [("wait", WhenFull::Wait), ("drop-oldest", WhenFull::DropOldest), ("reject", WhenFull::Reject)];
    options.word("whenFull", &full, &mut config.when_full)?;
    Ok(config)
}

/// What a channel is told.
pub(crate) fn channel(value: &JsValue) -> Checked<ChannelConfig> {
    let mut config = ChannelConfig::default();
    let options = Options(value);
    if let Some(value) = options.get("lossy") {
        let lossy = Options(&value);
        let (mut ordered, mut retransmits) = (false, 0.0);
        lossy.flag("ordered", &mut ordered)?;
        lossy.number("maxRetransmits", 0, 65_535, &mut |most| retransmits = most)?;
        config = ChannelConfig::lossy(ordered, retransmits as u16);
    }
    if let Some(value) = options.get("queue") {
        config.queue = Some(queue(&value)?);
    }
    let lanes = [("control", Priority::Control), ("normal", Priority::Normal), ("bulk", Priority::Bulk)];
    options.word("priority", &lanes, &mut config.priority)?;
    Ok(config)
}

/// What one message asks for.
pub(crate) fn message(value: &JsValue) -> Checked<SendOptions> {
    let mut config = SendOptions::new();
    let options = Options(value);
    let mut deadline = Duration::MAX;
    options.time("deadline", &mut deadline)?;
    if deadline != Duration::MAX {
        config = config.deadline(deadline);
    }
    if let Some(key) = options.text("supersede")? {
        config = config.supersede(key);
    }
    Ok(config)
}

/// What to expose.
pub(crate) fn service(value: &JsValue) -> Checked<ServiceConfig> {
    let options = Options(value);
    let (Some(user), Some(service)) = (options.text("user")?, options.text("service")?) else {
        return Err(argument("bad-option", &"a service needs `user` and `service`"));
    };
    let mut config = ServiceConfig::new(parse(&user)?, parse(&service)?);
    options.flag("public", &mut config.public)?;
    config.token = options.text("token")?;
    options.time("ttl", &mut config.ttl)?;
    options.number("refreshMargin", 0, 1, &mut |margin| config.refresh_margin = margin)?;
    options.number("poolSize", 1, 64, &mut |size| config.pool_size = size as usize)?;
    if let Some(value) = options.get("metadata") {
        // As JSON has it: without what is undefined, and with dates as texts.
        let text = JSON::stringify(&value).ok().and_then(|text| text.as_string());
        let plain = text.and_then(|text| JSON::parse(&text).ok());
        config.metadata = plain
            .and_then(|plain| metadata_from_js(&plain))
            .ok_or_else(|| Options::bad("metadata", "a plain object of JSON values"))?;
    }
    config.connection = connection(value)?;
    Ok(config)
}

/// `RTCIceServer`s.
pub(crate) fn ice(value: &JsValue) -> Checked<Vec<IceServer>> {
    let mut servers = Vec::new();
    for value in Array::from(value).iter() {
        let options = Options(&value);
        let urls = match options.get("urls") {
            Some(one) if one.is_string() => vec![one.as_string().unwrap_or_default()],
            Some(many) => Array::from(&many).iter().filter_map(|url| url.as_string()).collect(),
            None => Vec::new(),
        };
        let username = options.text("username")?.unwrap_or_default();
        let credential = options.text("credential")?.unwrap_or_default();
        for url in urls {
            servers.push(IceServer::turn(url, username.clone(), credential.clone()));
        }
    }
    Ok(servers)
}
