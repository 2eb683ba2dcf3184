//! What only a browser can prove: the store and the identity in IndexedDB, and sessions that go on
//! from there. Run by `web/test/wasm.sh` in a headless Chromium.

#![cfg(target_arch = "wasm32")]

use bytes::Bytes;
use everlink::link::memory::MemoryNetwork;
use everlink::signaling::{HttpSignaling, MemorySignaling};
use everlink::store::{Batch, Change, IndexedDbStore, IndexedDbStoreConfig, Store as _, StoreError};
use everlink::{ChannelConfig, Client, ConnectionConfig, Identity, QueueConfig, ServiceConfig, Target};
use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

fn put(key: &'static [u8], value: &'static [u8]) -> Change {
    Change::Put { key: Bytes::from_static(key), value: Bytes::from_static(value) }
}

fn remove(from: &'static [u8], to: &'static [u8]) -> Change {
    Change::Remove { from: Bytes::from_static(from), to: Bytes::from_static(to) }
}

fn batch(changes: Vec<Change>) -> Batch {
    Batch { changes }
}

/// Runs a script and waits for what it gives.
async fn script(body: &str) -> JsValue {
    let promise = Function::new_no_args(body).call0(&JsValue::NULL).unwrap();
    wasm_bindgen_futures::JsFuture::from(promise.unchecked_into::<Promise>()).await.unwrap()
}

/// Puts a function of this page away for as long as it lives.
struct Without {
    of: JsValue,
    name: &'static str,
    was: JsValue,
}

impl Without {
    fn new(of: JsValue, name: &'static str) -> Self {
        let was = Reflect::get(&of, &name.into()).unwrap();
        Self::put(&of, name, &JsValue::UNDEFINED);
        Self { of, name, was }
    }

    fn put(of: &JsValue, name: &str, value: &JsValue) {
        let descriptor = js_sys::Object::new();
        for (key, value) in [("value", value), ("configurable", &true.into()), ("writable", &true.into())] {
            Reflect::set(&descriptor, &key.into(), value).unwrap();
        }
        assert!(
            Reflect::define_property::<js_sys::Object>(of.unchecked_ref(), &name.into(), &descriptor)
                .unwrap()
        );
    }
}

impl Drop for Without {
    fn drop(&mut self) {
        Self::put(&self.of, self.name, &self.was);
    }
}

#[wasm_bindgen_test]
async fn records_are_there_after_the_store_is_opened_again() {
    let store = IndexedDbStore::open("again").await.unwrap();
    let all = [put(b"a1", b"x"), put(b"a2", b"y"), put(b"b", &[0, 255, 1]), put(b"a2", b"z")];
    let first = store.apply(batch(all.to_vec()));
    let second = store.apply(batch(vec![remove(b"a1", b"a2"), put(b"a3", b"")]));
    second.await.unwrap();
    first.await.unwrap();
    let expected = [(&b"a2"[..], &b"z"[..]), (b"a3", b"")].map(|(k, v)| (Bytes::from(k), Bytes::from(v)));
    assert_eq!(store.load(b"a").unwrap(), expected);
    let bytes = store.bytes();
    drop(store);
    let store = IndexedDbStore::open("again").await.unwrap();
    assert_eq!(store.load(b"a").unwrap(), expected);
    assert_eq!(&store.load(b"b").unwrap()[0].1[..], [0, 255, 1]);
    assert_eq!(store.bytes(), bytes);
    assert_eq!(bytes, 3 + 2 + 4);
}

#[wasm_bindgen_test]
async fn a_batch_whose_future_is_dropped_is_applied() {
    let store = IndexedDbStore::open("dropped").await.unwrap();
    drop(store.apply(batch(vec![put(b"k", b"v")])));
    store.apply(Batch::default()).await.unwrap();
    assert_eq!(store.load(b"").unwrap().len(), 1);
}

#[wasm_bindgen_test]
async fn a_store_in_use_is_locked_and_free_afterwards() {
    let store = IndexedDbStore::open("locked").await.unwrap();
    let error = IndexedDbStore::open("locked").await.unwrap_err();
    assert!(matches!(error, StoreError::Locked(_)), "{error:?}");
    drop(store);
    IndexedDbStore::open("locked").await.unwrap();
}

#[wasm_bindgen_test]
async fn a_store_that_another_page_holds_is_locked() {
    // The lock as another page would hold it: the list of this page knows nothing of it.
    script(
        "return new Promise(ready => navigator.locks.request('everlink sessions elsewhere',
            () => { ready(); return new Promise(done => { globalThis.letGo = done; }); }))",
    )
    .await;
    let error = IndexedDbStore::open("elsewhere").await.unwrap_err();
    assert!(matches!(error, StoreError::Locked(_)), "{error:?}");
    script("globalThis.letGo(); return Promise.resolve()").await;
    IndexedDbStore::open("elsewhere").await.unwrap();
}

#[wasm_bindgen_test]
async fn a_store_of_a_later_release_is_left_alone() {
    script(
        "return new Promise((good, bad) => {
            const request = indexedDB.open('everlink sessions later', 7);
            request.onupgradeneeded = () => request.result.createObjectStore('something else');
            request.onsuccess = () => { request.result.close(); good(); };
            request.onerror = bad;
        })",
    )
    .await;
    let error = IndexedDbStore::open("later").await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 7, supported: 1, .. }), "{error:?}");
}

#[wasm_bindgen_test]
async fn a_full_store_says_so_and_takes_less_again() {
    let mut config = IndexedDbStoreConfig::default();
    config.max_bytes = 100;
    let store = IndexedDbStore::open_with("full", config).await.unwrap();
    let large = store.apply(batch(vec![put(b"large", &[0; 99])]));
    let small = store.apply(batch(vec![put(b"small", b"1")]));
    assert!(matches!(large.await, Err(StoreError::Full(_))));
    small.await.unwrap();
}

#[wasm_bindgen_test]
async fn a_database_that_the_browser_closed_is_opened_again_with_all_that_was_in_it() {
    let store = IndexedDbStore::open("cleared").await.unwrap();
    store.apply(batch(vec![put(b"old", b"1")])).await.unwrap();
    // Its `versionchange` makes the store let go; then the data of the site is gone.
    script(
        "return new Promise((good, bad) => {
            const request = indexedDB.deleteDatabase('everlink sessions cleared');
            request.onsuccess = good; request.onerror = bad;
        })",
    )
    .await;
    store.apply(batch(vec![put(b"new", b"2")])).await.unwrap();
    drop(store);
    let store = IndexedDbStore::open("cleared").await.unwrap();
    assert_eq!(store.load(b"").unwrap().len(), 2);
}

#[wasm_bindgen_test]
async fn what_is_missing_is_said() {
    let without = Without::new(js_sys::global().into(), "indexedDB");
    let error = IndexedDbStore::open("none").await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(_)), "{error:?}");
    let error = Identity::load_or_create("none").await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(_)), "{error:?}");
    drop(without);
    let _without = Without::new(js_sys::global().into(), "RTCPeerConnection");
    let signaling = MemorySignaling::new();
    let (network, host) = (MemoryNetwork::new(1), Identity::from_secret([1; 32]));
    let host = Client::builder(host).signaling(signaling.clone()).transport(network.transport()).build();
    let service = ServiceConfig::new("a".repeat(3).parse().unwrap(), "chat@1.0.0".parse().unwrap());
    let service = host.expose_service(service).await.unwrap();
    let peer = Client::new(Identity::from_secret([2; 32]), signaling);
    let error = peer.connect_by_uuid(service.info().uuid).await.expect_err("an error");
    assert!(error.to_string().contains("RTCPeerConnection"), "{error}");
}

#[wasm_bindgen_test]
async fn an_identity_is_made_once() {
    let (first, second) = futures_util::join!(Identity::load_or_create("me"), Identity::load_or_create("me"));
    let key = first.unwrap().public_key();
    assert_eq!(key, second.unwrap().public_key());
    assert_eq!(key, Identity::load_or_create("me").await.unwrap().public_key());
    assert_ne!(key, Identity::load_or_create("another").await.unwrap().public_key());
    // What is kept is not the seed, and the key that opens it cannot be read.
    let kept = script(
        "return new Promise((good, bad) => {
            const request = indexedDB.open('everlink identities');
            request.onerror = bad;
            request.onsuccess = () => {
                const got = request.result.transaction('identities').objectStore('identities').get('me');
                got.onsuccess = () => { request.result.close(); good(got.result); };
            };
        })",
    )
    .await;
    let part = |of: &JsValue, name: &str| Reflect::get(of, &name.into()).unwrap();
    assert!(part(&kept, "seed").is_undefined());
    assert_eq!(part(&part(&kept, "key"), "extractable"), false);
    assert_eq!(part(&part(&kept, "sealed"), "byteLength"), 48);
}

#[wasm_bindgen_test]
fn addresses_are_checked() {
    let url = |text: &str| HttpSignaling::new(text).map(|signaling| signaling.url().to_owned());
    assert_eq!(url("http://127.0.0.1:8080/").unwrap(), "http://127.0.0.1:8080");
    assert_eq!(url("http://example.com/below/").unwrap(), "http://example.com/below");
    for bad in
        ["", "example.com", "127.0.0.1:80", "ftp://a", "http://", "http://a?b", "http://a#b", "http://u:p@a"]
    {
        let error = url(bad).unwrap_err().to_string();
        assert!(error.contains("http://127.0.0.1:8080"), "{error}");
    }
}

#[wasm_bindgen_test]
async fn a_session_goes_on_from_the_database() {
    let (network, signaling) = (MemoryNetwork::new(7), MemorySignaling::new());
    let client = |secret, store: Option<IndexedDbStore>| {
        let builder = Client::builder(Identity::from_secret([secret; 32]))
            .signaling(signaling.clone())
            .transport(network.transport());
        match store {
            Some(store) => builder.store(store).build(),
            None => builder.build(),
        }
    };
    let host = client(1, None);
    let service = ServiceConfig::new("alice".parse().unwrap(), "chat@1.0.0".parse().unwrap());
    let service = host.expose_service(service).await.unwrap();
    let target = Target::Uuid(service.info().uuid);
    let lossless = ChannelConfig::queue(QueueConfig::lossless());

    let peer = client(2, Some(IndexedDbStore::open("session").await.unwrap()));
    let connection = peer.connect_with(target.clone(), ConnectionConfig::default()).await.unwrap();
    let channel = connection.open_channel_with("chat", lossless.clone()).unwrap();
    channel.send("first").await.unwrap();
    let session = service.accept().await.unwrap();
    let mut received = session.accept_channel().await.unwrap();
    assert_eq!(received.recv().await.unwrap().as_text(), Some("first"));
    network.blackout(true);
    channel.send("second").await.unwrap().stored().await.unwrap();
    // The page is gone; what it had is in the database.
    connection.detach().await;
    drop(channel);
    peer.shutdown().await;
    network.blackout(false);

    let peer = client(2, Some(IndexedDbStore::open("session").await.unwrap()));
    let connection = peer.connect_lazy(target, ConnectionConfig::default());
    let _channel = connection.open_channel_with("chat", lossless).unwrap();
    assert_eq!(received.recv().await.unwrap().as_text(), Some("second"));
    connection.close().await;
}
