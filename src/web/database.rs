//! IndexedDB, as far as it is needed: databases with one kind of record, read whole and written in
//! transactions. What talks to the browser is `database.js`.

use std::time::Duration;

use js_sys::{Array, Promise, Uint8Array};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast as _, JsValue};
use zeroize::Zeroizing;

use super::{name, problem, settled};

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
            "Absent" => Self::Absent,
            "Blocked" => Self::Blocked,
            "Newer" => Self::Newer(what.rsplit(' ').next().and_then(|found| found.parse().ok()).unwrap_or(0)),
            "QuotaExceededError" => Self::Full(what),
            "SecurityError" | "NotAllowedError" => Self::Denied(what),
            "InvalidStateError" => Self::Closed(what),
            // As Chromium tells of a disk that gets full in the middle of a write.
            "UnknownError" if what.contains("NO_SPACE") => Self::Full(what),
            _ => Self::Failed(what),
        }
    }
}

#[wasm_bindgen(module = "/src/web/database.js")]
extern "C" {
    fn open(name: &str, version: u32, store: &str) -> Promise;
    fn close(database: &JsValue);
    #[wasm_bindgen(js_name = readAll)]
    fn read_all(database: &JsValue) -> Promise;
    fn clear(changes: &Array);
    fn put(changes: &Array, key: &[u8], value: &[u8]);
    fn remove(changes: &Array, from: &[u8], to: &[u8]);
    fn write(database: &JsValue, changes: &Array) -> Promise;
    #[wasm_bindgen(js_name = loadSeed)]
    fn load_seed(path: &str, name: &str) -> Promise;

    #[wasm_bindgen(js_name = Hold)]
    type JsHold;
    #[wasm_bindgen(constructor, js_class = "Hold")]
    fn new() -> JsHold;
    #[wasm_bindgen(method, js_class = "Hold")]
    fn take(this: &JsHold, name: &str, patience: u32) -> Promise;
    #[wasm_bindgen(method, js_class = "Hold")]
    fn release(this: &JsHold);
}

/// An open database. Closed when dropped, and when a page with a later release wants it.
pub(crate) struct Database(JsValue);

impl Database {
    /// Opens the database `name` with the one object store `store`, which is made if need be.
    pub(crate) async fn open(name: &str, version: u32, store: &str) -> Result<Self, DatabaseError> {
        Ok(Self(settled(open(name, version, store)).await?))
    }

    /// All records, in the order of their keys; none if they are not of bytes.
    pub(crate) async fn read(&self) -> Result<Option<Vec<(Vec<u8>, Vec<u8>)>>, DatabaseError> {
        let flat = settled(read_all(&self.0)).await?;
        Ok(flat.dyn_into::<Array>().ok().map(|flat| {
            let mut items = flat.iter().map(|item| Uint8Array::new(&item).to_vec());
            std::iter::from_fn(|| items.next().zip(items.next())).collect()
        }))
    }

    /// Carries changes out, all or none.
    pub(crate) async fn write(&self, changes: &Changes) -> Result<(), DatabaseError> {
        settled(write(&self.0, &changes.0)).await?;
        Ok(())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        close(&self.0);
    }
}

/// Changes that belong together.
#[derive(Default)]
pub(crate) struct Changes(Array);

impl Changes {
    /// Forgets all records.
    pub(crate) fn clear(&self) {
        clear(&self.0);
    }

    pub(crate) fn put(&self, key: &[u8], value: &[u8]) {
        put(&self.0, key, value);
    }

    /// Forgets what has a key from `from` up to but not including `to`, which must be greater.
    pub(crate) fn remove(&self, from: &[u8], to: &[u8]) {
        remove(&self.0, from, to);
    }
}

/// The seed kept under `name` in the database `path`, made if it is not there; none if it is
/// damaged.
pub(crate) async fn seed(path: &str, name: &str) -> Result<Option<Zeroizing<[u8; 32]>>, DatabaseError> {
    let kept = settled(load_seed(path, name)).await?;
    let Ok(kept) = kept.dyn_into::<Uint8Array>() else { return Ok(None) };
    let mut seed = Zeroizing::new([0; 32]);
    let is_whole = kept.length() == 32;
    if is_whole {
        kept.copy_to(&mut seed[..]);
    }
    kept.fill(0, 0, kept.length());
    Ok(is_whole.then_some(seed))
}

/// A name that one page at a time can hold, across all pages of a site. Where there are no locks of
/// the browser, it is held within this page only.
pub(crate) struct Hold(JsHold);

impl Hold {
    /// Takes the name, unless it is held for longer than `patience`.
    pub(crate) async fn take(name: &str, patience: Duration) -> Option<Self> {
        let hold = Self(JsHold::new());
        let taken = settled(hold.0.take(name, patience.as_millis() as u32)).await;
        taken.is_ok_and(|taken| taken.is_truthy()).then_some(hold)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.release();
    }
}
