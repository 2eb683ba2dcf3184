//! An identity in the browser: the seed in IndexedDB, sealed with a key that no script can read.

use js_sys::Uint8Array;
use wasm_bindgen::JsValue;
use zeroize::Zeroizing;

use super::Identity;
use crate::runtime;
use crate::store::{StoreError, told};
use crate::web::{Database, DatabaseError, call, get, global, object, problem, settled};

const DATABASE: &str = "everlink identities";
const IDENTITIES: &str = "identities";
const FORMAT: u32 = 1;

pub(super) async fn load_or_create(name: &str) -> Result<Identity, StoreError> {
    let fail = |error: DatabaseError| told(DATABASE, error);
    let database = Database::open(DATABASE, FORMAT, IDENTITIES).await.map_err(fail)?;
    let mut record = read(&database, name).await.map_err(fail)?;
    if record.is_none() {
        let new = seal().await.map_err(|error| fail(error.into()))?;
        // Of two pages that come here at once, the first one's is kept: `add` changes nothing that
        // is there, and what is there then counts.
        let added = add(&database, name, &new).await;
        record = read(&database, name).await.map_err(fail)?;
        if record.is_none() {
            added.map_err(fail)?;
        }
    }
    let opened = match record {
        Some(record) => open(&record).await,
        None => None,
    };
    opened.ok_or_else(|| StoreError::Corrupt {
        path: format!("{DATABASE}: {name}"),
        problem: "its seed cannot be read".to_owned(),
    })
}

async fn read(database: &Database, name: &str) -> Result<Option<JsValue>, DatabaseError> {
    let transaction = database.begin(false)?;
    let request = transaction.ask("get", &[&name.into()])?;
    transaction.done().await?;
    Ok(get(&request, "result"))
}

async fn add(database: &Database, name: &str, record: &JsValue) -> Result<(), DatabaseError> {
    let transaction = database.begin(true)?;
    transaction.ask("add", &[record, &name.into()])?;
    transaction.done().await
}

/// Absent in a page over plain `http:`, but for those of this machine.
fn subtle() -> Option<JsValue> {
    get(&global("crypto")?, "subtle")
}

fn cipher(iv: &JsValue) -> JsValue {
    object([("name", "AES-GCM".into()), ("iv", iv.clone())])
}

/// A new seed as it is kept.
async fn seal() -> Result<JsValue, JsValue> {
    let seed = Seed::of(&Zeroizing::new(runtime::random::<32>())[..]);
    let Some(subtle) = subtle() else {
        // Copied by the database, as is everything.
        return Ok(object([("seed", Uint8Array::new(&seed.0).into())]));
    };
    let algorithm = object([("name", "AES-GCM".into()), ("length", 256.into())]);
    let uses = crate::web::array(["encrypt".into(), "decrypt".into()]);
    let key = settled(call(&subtle, "generateKey", &[&algorithm, &false.into(), &uses])).await?;
    let iv: JsValue = Uint8Array::from(&runtime::random::<12>()[..]).into();
    let sealed = settled(call(&subtle, "encrypt", &[&cipher(&iv), &key, &seed.0])).await?;
    Ok(object([("key", key), ("iv", iv), ("sealed", sealed)]))
}

/// The identity of what is kept, unless it is damaged.
async fn open(record: &JsValue) -> Option<Identity> {
    let seed = match get(record, "seed") {
        Some(seed) => seed,
        None => {
            let (key, iv, sealed) = (get(record, "key")?, get(record, "iv")?, get(record, "sealed")?);
            let opened = settled(call(&subtle()?, "decrypt", &[&cipher(&iv), &key, &sealed])).await;
            opened.map_err(|error| tracing::debug!(error = problem(&error), "a sealed identity")).ok()?
        }
    };
    let seed = Seed(Uint8Array::new(&seed));
    if seed.0.length() != 32 {
        return None;
    }
    let mut bytes = Zeroizing::new([0; 32]);
    seed.0.copy_to(&mut bytes[..]);
    Some(Identity::from_secret(*bytes))
}

/// A seed in the memory of JavaScript, wiped when dropped.
struct Seed(Uint8Array);

impl Seed {
    fn of(bytes: &[u8]) -> Self {
        Self(Uint8Array::from(bytes))
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        self.0.fill(0, 0, self.0.length());
    }
}
