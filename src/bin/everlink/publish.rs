//! A service on the command line, from its publication to its end.

use everlink::signaling::Signaling as _;
use everlink::store::FileStore;
use everlink::{Client, DurableService, QueueConfig, ServiceConfig, ServiceInfo};
use serde_json::{Value, json};

use crate::args::Publish;
use crate::failure::{Failure, complain};
use crate::whoami::identity;

/// A service that peers can connect to.
pub struct Published {
    pub service: DurableService,
    pub info: ServiceInfo,
    /// What a program is told of it.
    pub told: Value,
    client: Client,
}

/// Publishes, with further settings.
pub async fn publish(
    args: Publish,
    store: Option<FileStore>,
    settings: impl FnOnce(&mut ServiceConfig),
) -> Result<Published, Failure> {
    let (identity, _) = identity(args.identity.as_deref())?;
    let key = identity.public_key();
    // Asked first, as it knows at once; publishing would wait for the server to come.
    args.network.server.probe().await?;

    let (user, service) = args.service;
    let mut config = ServiceConfig::new(user, service);
    config.token = args.token;
    config.connection.queue = QueueConfig::lossless();
    args.network.prepare(&mut config.connection);
    settings(&mut config);
    let client = args.network.client(identity, store);
    let service = client.expose_service(config).await?;
    let info = service.info();
    let told = json!({
        "event": "service", "uuid": info.uuid, "service": info.service, "key": key,
        "server": args.network.server.url(), "expires_at": info.expires_at,
    });
    Ok(Published { service, info, told, client })
}

impl Published {
    /// Tells peers and the server that it is over; then what the command `ended` with.
    pub async fn end(self, ended: Result<(), Failure>) -> Result<(), Failure> {
        let withdrawn = self.service.stop().await;
        self.client.shutdown().await;
        ended?;
        if let Err(error) = withdrawn {
            complain(&format!(
                "the server was not told of the end; the service vanishes when its lease ends: {error}"
            ));
        }
        Ok(())
    }

    /// Leaves without a word: peers wait for the next run, which finds their sessions in the store.
    pub async fn leave(self) {
        drop(self.service);
        self.client.shutdown().await;
    }
}
