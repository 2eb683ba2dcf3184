//! The identity and the client.

use everlink::signaling::HttpSignaling;
use everlink::store::{IndexedDbStore, IndexedDbStoreConfig, MemoryStore};
use everlink::{Client, ClientBuilder, Identity};
use js_sys::{Array, JSON, Promise};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::connection::RawConnection;
use crate::error::{self, argument};
use crate::js::{number, object, promise, text};
use crate::options::{self, Numbers};
use crate::service::RawService;

/// A key pair.
#[wasm_bindgen]
pub struct RawIdentity {
    identity: Identity,
}

#[wasm_bindgen]
impl RawIdentity {
    /// A new one, or that of a 32-byte seed.
    #[wasm_bindgen(constructor)]
    pub fn new(secret: Option<Vec<u8>>) -> Result<RawIdentity, JsValue> {
        let identity = match secret.map(<[u8; 32]>::try_from) {
            None => Identity::generate(),
            Some(Ok(secret)) => Identity::from_secret(secret),
            Some(Err(_)) => return Err(argument("bad-secret", &"the secret of an identity has 32 bytes")),
        };
        Ok(Self { identity })
    }

    /// The one that this site keeps under a name.
    #[wasm_bindgen(js_name = loadOrCreate)]
    pub fn load_or_create(name: String) -> Promise {
        promise(None, async move {
            let identity = Identity::load_or_create(&name).await.map_err(|cause| error::store(&cause))?;
            Ok(RawIdentity { identity }.into())
        })
    }

    #[wasm_bindgen(getter, js_name = publicKey)]
    pub fn public_key(&self) -> String {
        self.identity.public_key().to_string()
    }
}

/// Where sessions live on.
#[wasm_bindgen]
pub struct RawStore {
    /// Tells the builder. A closure, so that what has to do with stores is made by those who make one: it is loaded then.
    keep: Box<dyn FnOnce(ClientBuilder) -> ClientBuilder>,
}

#[wasm_bindgen]
impl RawStore {
    pub fn memory() -> RawStore {
        Self { keep: Box::new(|builder| builder.store(MemoryStore::new())) }
    }

    #[wasm_bindgen(js_name = indexedDb)]
    pub fn indexed_db(name: String, max_bytes: Option<f64>) -> Promise {
        promise(None, async move {
            let mut config = IndexedDbStoreConfig::default();
            if let Some(bytes) = max_bytes {
                config.max_bytes = bytes as u64;
            }
            let store =
                IndexedDbStore::open_with(&name, config).await.map_err(|cause| error::store(&cause))?;
            Ok(RawStore { keep: Box::new(|builder| builder.store(store)) }.into())
        })
    }
}

/// A client.
#[wasm_bindgen]
pub struct RawClient {
    /// `None` once it was shut down.
    client: Option<Client>,
    stored: bool,
}

#[wasm_bindgen]
impl RawClient {
    #[wasm_bindgen(constructor)]
    pub fn new(
        identity: &RawIdentity,
        signaling: &str,
        ice: &Array,
        store: Option<RawStore>,
    ) -> Result<RawClient, JsValue> {
        let signaling = HttpSignaling::new(signaling).map_err(|cause| argument("bad-url", &cause))?;
        let builder = Client::builder(identity.identity.clone()).signaling(signaling).ice(options::ice(ice));
        let stored = store.is_some();
        let builder = match store {
            Some(store) => (store.keep)(builder),
            None => builder,
        };
        Ok(Self { client: Some(builder.build()), stored })
    }

    pub(crate) fn client(&self) -> Result<Client, JsValue> {
        let shut = || error::error("connect", "shutdown", &"the client was shut down");
        self.client.clone().ok_or_else(shut)
    }

    /// Resolves once the first link is live.
    pub fn connect(&self, texts: &JsValue, numbers: &[f64], cancelled: Option<Promise>) -> Promise {
        let (client, target) = (self.client(), options::target(texts));
        let config = options::connection(texts, &mut Numbers(numbers));
        let stored = self.stored;
        promise(cancelled, async move {
            let client = client?;
            let connection = client.connect_with(target?, config?).await;
            let connection = connection.map_err(|cause| error::connect(&cause))?;
            Ok(RawConnection::new(connection, client, stored).into())
        })
    }

    #[wasm_bindgen(js_name = connectLazy)]
    pub fn connect_lazy(&self, texts: &JsValue, numbers: &[f64]) -> Result<RawConnection, JsValue> {
        let client = self.client()?;
        let config = options::connection(texts, &mut Numbers(numbers))?;
        let connection = client.connect_lazy(options::target(texts)?, config);
        Ok(RawConnection::new(connection, client, self.stored))
    }

    #[wasm_bindgen(js_name = exposeService)]
    pub fn expose_service(&self, texts: &JsValue, numbers: &[f64], cancelled: Option<Promise>) -> Promise {
        let (client, config) = (self.client(), options::service(texts, Numbers(numbers)));
        let stored = self.stored;
        promise(cancelled, async move {
            let client = client?;
            let service = client.expose_service(config?).await.map_err(|cause| error::service(&cause))?;
            Ok(RawService::new(service, client, stored).into())
        })
    }

    #[wasm_bindgen(js_name = claimUsername)]
    pub fn claim_username(&self, username: &str, cancelled: Option<Promise>) -> Promise {
        let (client, username) = (self.client(), options::parse(username));
        promise(cancelled, async move {
            let claim = client?.claim_username(username?).await.map_err(|cause| error::signaling(&cause))?;
            let [claimed_at, expires_at] = [claim.claimed_at, claim.expires_at].map(number);
            let values = [text(&claim.username), text(&claim.owner), claimed_at, expires_at];
            Ok(object("username owner claimedAt expiresAt", values))
        })
    }

    /// The public services of a user.
    pub fn services(&self, username: &str, cancelled: Option<Promise>) -> Promise {
        let (client, username) = (self.client(), options::parse(username));
        promise(cancelled, async move {
            let services = client?.services(username?).await.map_err(|cause| error::signaling(&cause))?;
            let record = |service: everlink::signaling::ServiceRecord| {
                let [uuid, owner] = [text(&service.uuid), text(&service.owner)];
                let [user, name] = [text(&service.username), text(&service.service)];
                let metadata = JSON::parse(service.metadata.as_str()).unwrap_or(JsValue::NULL);
                let expires_at = number(service.expires_at);
                object(
                    "uuid owner user service metadata expiresAt",
                    [uuid, owner, user, name, metadata, expires_at],
                )
            };
            Ok(services.into_iter().map(record).collect::<Array>().into())
        })
    }

    #[wasm_bindgen(js_name = networkChanged)]
    pub fn network_changed(&self) {
        if let Some(client) = &self.client {
            client.network_changed();
        }
    }

    pub fn shutdown(&mut self) -> Promise {
        let client = self.client.take();
        promise(None, async move {
            if let Some(client) = client {
                client.shutdown().await;
            }
            Ok(JsValue::UNDEFINED)
        })
    }
}
