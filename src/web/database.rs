//! IndexedDB, as far as it is needed: databases with one kind of record, read whole and written in
//! transactions.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use wasm_bindgen::JsValue;

use super::{Listener, call, get, global, name, object, problem};
use crate::runtime;

/// How long another page may take to let go of a database of an older format.
const UPGRADE_WITHIN: Duration = Duration::from_secs(2);

/// Why a database could not be opened or used.
#[derive(Debug)]
pub(crate) enum DatabaseError {
    /// There is no IndexedDB where this runs.
    Absent,
    /// It may not be used, in this mode of the browser or with these settings.
    Denied(String),
    /// A later release made it.
    Newer(u32),
    /// Another page holds it in an older format.
    Blocked,
    /// The disk, or what the browser allows this site, is full.
    Full(String),
    /// The browser has closed it.
    Closed(String),
    /// Anything else.
    Failed(String),
}

impl From<JsValue> for DatabaseError {
    fn from(error: JsValue) -> Self {
        let what = problem(&error);
        match &*name(&error) {
            "QuotaExceededError" => Self::Full(what),
            "SecurityError" | "NotAllowedError" => Self::Denied(what),
            "InvalidStateError" => Self::Closed(what),
            // As Chromium tells of a disk that gets full in the middle of a write.
            "UnknownError" if what.contains("NO_SPACE") => Self::Full(what),
            _ => Self::Failed(what),
        }
    }
}

/// An open database. Closed when dropped, and when a page with a later release wants it.
pub(crate) struct Database {
    database: JsValue,
    store: &'static str,
    _listeners: [Listener; 2],
}

impl Database {
    /// Opens the database `name` with the one object store `store`, which is made if need be.
    pub(crate) async fn open(name: &str, version: u32, store: &'static str) -> Result<Self, DatabaseError> {
        let factory = global("indexedDB").ok_or(DatabaseError::Absent)?;
        let request = call(&factory, "open", &[&name.into(), &version.into()]);
        let request = request.map_err(denied)?;
        let upgraded = Listener::new(&request, "upgradeneeded", {
            let request = request.clone();
            move |_| {
                // The only format so far; what comes here has none. Its failure aborts the opening.
                if let Some(database) = get(&request, "result") {
                    let _ = call(&database, "createObjectStore", &[&store.into()]);
                }
            }
        })?;
        let opened = Outcome::of(&request, "success", &["error", "blocked"])?;
        let opened = runtime::timeout(UPGRADE_WITHIN + UPGRADE_WITHIN, opened.wait()).await;
        drop(upgraded);
        match opened {
            Some(Ok(())) => {}
            Some(Err("blocked")) | None => return Err(DatabaseError::Blocked),
            Some(Err(_)) => {
                let error = get(&request, "error").unwrap_or_default();
                return Err(match &*super::name(&error) {
                    "VersionError" => DatabaseError::Newer(version_of(&factory, name).await.unwrap_or(0)),
                    // All that some browsers say of a full disk at this place.
                    "UnknownError" => {
                        DatabaseError::Failed(format!("{}; the disk may be full", problem(&error)))
                    }
                    _ => denied(error),
                });
            }
        }
        let database = get(&request, "result")
            .ok_or_else(|| DatabaseError::Failed("the browser opened nothing".to_owned()))?;
        let close = || {
            let database = database.clone();
            move |_| _ = call(&database, "close", &[])
        };
        let listeners = [
            Listener::new(&database, "versionchange", close())?,
            Listener::new(&database, "close", close())?,
        ];
        Ok(Self { database, store, _listeners: listeners })
    }

    /// Begins a transaction, which must be given its requests at once.
    pub(crate) fn begin(&self, write: bool) -> Result<Transaction, DatabaseError> {
        let mode = if write { "readwrite" } else { "readonly" };
        // What is told to be stored shall survive a loss of power.
        let options = object([("durability", "strict".into())]);
        let transaction = call(&self.database, "transaction", &[&self.store.into(), &mode.into(), &options])?;
        let store = call(&transaction, "objectStore", &[&self.store.into()])?;
        let done = Outcome::of(&transaction, "complete", &["abort"])?;
        Ok(Transaction { transaction, store, done })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = call(&self.database, "close", &[]);
    }
}

/// Changes or looks that belong together.
pub(crate) struct Transaction {
    transaction: JsValue,
    store: JsValue,
    done: Outcome,
}

impl Transaction {
    /// Asks something of the object store. The answer is there when the transaction is done.
    pub(crate) fn ask(&self, method: &str, args: &[&JsValue]) -> Result<JsValue, DatabaseError> {
        Ok(call(&self.store, method, args)?)
    }

    /// Waits until all of it is done, or none.
    pub(crate) async fn done(self) -> Result<(), DatabaseError> {
        match self.done.wait().await {
            Ok(()) => Ok(()),
            Err(_) => Err(match get(&self.transaction, "error") {
                Some(error) => error.into(),
                None => DatabaseError::Closed("the browser gave a transaction up".to_owned()),
            }),
        }
    }

    /// Undoes it.
    pub(crate) fn abort(self) {
        let _ = call(&self.transaction, "abort", &[]);
    }
}

/// Which of some events comes first. Listens from the moment it is made.
struct Outcome {
    told: oneshot::Receiver<Option<&'static str>>,
    _listeners: Vec<Listener>,
}

impl Outcome {
    fn of(target: &JsValue, good: &'static str, bad: &[&'static str]) -> Result<Self, JsValue> {
        let (tell, told) = oneshot::channel();
        let tell = Rc::new(RefCell::new(Some(tell)));
        let listen = |event: &'static str, outcome| {
            let tell = tell.clone();
            Listener::new(target, event, move |_| {
                if let Some(tell) = tell.borrow_mut().take() {
                    let _ = tell.send(outcome);
                }
            })
        };
        let mut listeners = vec![listen(good, None)?];
        for event in bad {
            listeners.push(listen(event, Some(*event))?);
        }
        Ok(Self { told, _listeners: listeners })
    }

    async fn wait(self) -> Result<(), &'static str> {
        match self.told.await {
            Ok(None) => Ok(()),
            Ok(Some(event)) => Err(event),
            // Its listeners live as long as it does.
            Err(_) => Err("dropped"),
        }
    }
}

/// The format of a database that is newer than this release.
async fn version_of(factory: &JsValue, name: &str) -> Option<u32> {
    let request = call(factory, "open", &[&name.into()]).ok()?;
    Outcome::of(&request, "success", &["error", "blocked"]).ok()?.wait().await.ok()?;
    let database = get(&request, "result")?;
    let version = get(&database, "version").and_then(|version| version.as_f64());
    let _ = call(&database, "close", &[]);
    version.map(|version| version as u32)
}

/// What a browser says that lets a site keep nothing: in private windows of some, or by a setting.
fn denied(error: JsValue) -> DatabaseError {
    match DatabaseError::from(error) {
        DatabaseError::Closed(what) => DatabaseError::Denied(what),
        other => other,
    }
}

/// A name that one page at a time can hold, across all pages of a site.
pub(crate) struct Hold {
    /// Where there are no locks of the browser, it is held within this page only.
    name: String,
    release: Option<JsValue>,
}

thread_local! {
    static HELD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl Hold {
    /// Takes the name, unless it is held for longer than `patience`.
    pub(crate) async fn take(hold: &str, patience: Duration) -> Option<Self> {
        if HELD.with_borrow(|held| held.iter().any(|held| held == hold)) {
            return None;
        }
        let locks = global("navigator").and_then(|navigator| get(&navigator, "locks"));
        let release = match locks {
            Some(locks) => Some(lock(&locks, hold, patience).await?),
            None => None,
        };
        HELD.with_borrow_mut(|held| held.push(hold.to_owned()));
        Some(Self { name: hold.to_owned(), release })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| held.retain(|held| *held != self.name));
        if let Some(release) = &self.release {
            let _ = call(release, "call", &[]);
        }
    }
}

/// A lock of the browser; calling what it gives releases it.
async fn lock(locks: &JsValue, hold: &str, patience: Duration) -> Option<JsValue> {
    let (granted, is_granted) = oneshot::channel();
    let granted = Cell::new(Some(granted));
    let mut release = JsValue::UNDEFINED;
    let until_released = js_sys::Promise::new(&mut |resolve, _| release = resolve.into());
    let callback = wasm_bindgen::closure::Closure::<dyn FnMut(JsValue) -> JsValue>::new(move |_lock| {
        if let Some(granted) = granted.take() {
            let _ = granted.send(());
        }
        until_released.clone().into()
    });
    let abort = super::construct("AbortController", &[]).ok()?;
    let options = object([("signal", get(&abort, "signal")?)]);
    let request = call(locks, "request", &[&hold.into(), &options, callback.as_ref()]);
    // Ends when it is released or given up.
    wasm_bindgen_futures::spawn_local(async move { _ = super::settled(request).await });
    let got = runtime::timeout(patience, is_granted).await;
    if got.is_none() {
        let _ = call(&abort, "abort", &[]);
        return None;
    }
    Some(release)
}
