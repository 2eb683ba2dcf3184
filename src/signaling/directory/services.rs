//! Services: published, refreshed in place, found, withdrawn.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::hosts::Hosts;
use super::limits::millis;
use super::*;
use crate::signaling::{Event, Lease, Publish, ServiceRecord, ServiceTarget};

/// A published service.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) record: ServiceRecord,
    pub(super) token_hash: Option<TokenHash>,
    pub(super) hosts: Hosts,
    /// Every offer, whatever became of it.
    pub(super) offers: BTreeSet<OfferId>,
    /// Those that nobody took yet, the newest last.
    pub(super) pool: Vec<OfferId>,
    /// Peers that wait, the first first.
    pub(super) waiting: VecDeque<WaiterId>,
}

/// SHA-256 of an access token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TokenHash(pub(super) [u8; 32]);

impl Service {
    /// Whether `token` opens it.
    fn admits(&self, token: Option<&str>) -> bool {
        let Some(TokenHash(expected)) = &self.token_hash else { return true };
        token.is_some_and(|token| bool::from(Sha256::digest(token)[..].ct_eq(expected)))
    }
}

impl Directory {
    pub(super) fn publish(&mut self, key: PublicKey, publish: Publish) -> Result<Response, SignalingError> {
        let token_hash = self.check_publish(key, &publish)?;
        self.check_offers(publish.uuid, &publish.offers, 0)?;
        let mut hosts = self.services.get(&publish.uuid).map(|known| known.hosts.clone()).unwrap_or_default();
        hosts.check(publish.instance)?;
        let took_over = hosts.take_over(publish.instance);

        let Publish { username, service, uuid, salt, public, metadata, ttl, offers, .. } = publish;
        self.touch_claim(&username);
        // The same owner, name and version under another uuid: the owner chose another salt.
        if let Some(&replaced) = self.by_user.get(&username).and_then(|all| all.get(&service))
            && replaced != uuid
        {
            self.remove_service(replaced);
        }
        let ttl = ttl.clamp(self.limits.min_ttl, self.limits.max_ttl);
        let expires_at = self.now.saturating_add(millis(ttl));
        let before = self.services.get(&uuid).map(|service| service.record.expires_at);
        let record = ServiceRecord {
            uuid,
            owner: key,
            username: username.clone(),
            service: service.clone(),
            salt,
            public,
            metadata,
            expires_at,
        };
        self.changes.push_back(Change::put_service(&record, token_hash.as_ref(), &hosts));
        self.insert_service(record, token_hash, hosts);
        self.arm(before, expires_at, Timer::Lease(uuid));
        if took_over {
            // Those of the other host are not this one's to keep open. That host is told to come
            // and see, and is then refused.
            self.drop_pool_except(uuid, &offers);
            self.push(key, Event::LeaseLost { uuid });
        }
        if !offers.is_empty() {
            self.drop_pool_except(uuid, &offers);
            self.pool_offers(uuid, offers);
        }
        self.serve(uuid);
        let service = self.services.get(&uuid);
        let (offers, wanted) = service.map_or((0, 0), |service| (service.pool.len(), service.waiting.len()));
        Ok(Response::Published(Lease { uuid, ttl, expires_at, offers, wanted, took_over }))
    }

    /// Everything that can be wrong with a publication but its offers.
    fn check_publish(&self, key: PublicKey, publish: &Publish) -> Result<Option<TokenHash>, SignalingError> {
        let Publish { username, service, .. } = publish;
        let Some(claim) = self.claims.get(username) else {
            let message = format!("nobody has claimed the username {username}");
            return Err(refuse(ErrorCode::UsernameUnclaimed, message));
        };
        if claim.owner != key {
            return Err(refuse(
                ErrorCode::NotYours,
                format!("the username {username} belongs to another key"),
            ));
        }
        let Some(salt) = decoded::<16>(&publish.salt) else {
            return Err(refuse(ErrorCode::Malformed, "the salt is not 16 bytes in unpadded base64url"));
        };
        if ServiceUuid::derive(&key, username, service, &salt) != publish.uuid {
            let message = "the uuid does not follow from owner, username, service and salt";
            return Err(refuse(ErrorCode::BadUuid, message));
        }
        let token_hash = match &publish.token_hash {
            None => None,
            Some(_) if publish.public => {
                return Err(refuse(ErrorCode::Malformed, "a public service has no access token"));
            }
            Some(text) => match decoded(text) {
                Some(hash) => Some(TokenHash(hash)),
                None => {
                    let message = "the token hash is not 32 bytes in unpadded base64url";
                    return Err(refuse(ErrorCode::Malformed, message));
                }
            },
        };
        let most = self.limits.metadata_bytes;
        if publish.metadata.as_str().len() > most {
            return Err(refuse(ErrorCode::TooLarge, format!("metadata has at most {most} bytes as JSON")));
        }
        if !publish.metadata.is_readable() {
            return Err(refuse(ErrorCode::Malformed, "metadata is nested too deep"));
        }
        let published = self.by_user.get(username).is_some_and(|all| all.contains_key(service));
        if !published {
            let most = self.limits.services_per_key;
            if self.keys.get(&key).is_some_and(|state| state.services.len() >= most) {
                return Err(refuse(ErrorCode::Quota, format!("a key publishes at most {most} services")));
            }
            if self.services.len() >= self.limits.services {
                return Err(refuse(ErrorCode::Busy, "the server has no room for another service"));
            }
        }
        Ok(token_hash)
    }

    /// Puts a record where it is found. Offers and peers of an earlier publication stay.
    pub(super) fn insert_service(
        &mut self,
        record: ServiceRecord,
        token_hash: Option<TokenHash>,
        hosts: Hosts,
    ) {
        let (uuid, owner) = (record.uuid, record.owner);
        self.by_user.entry(record.username.clone()).or_default().insert(record.service.clone(), uuid);
        self.state(owner).services.insert(uuid);
        match self.services.get_mut(&uuid) {
            Some(service) => {
                service.record = record;
                service.token_hash = token_hash;
                service.hosts = hosts;
            }
            None => {
                let (offers, pool, waiting) = (BTreeSet::new(), Vec::new(), VecDeque::new());
                self.services.insert(uuid, Service { record, token_hash, hosts, offers, pool, waiting });
            }
        }
    }

    pub(super) fn withdraw(&mut self, key: PublicKey, uuid: ServiceUuid) -> Result<Response, SignalingError> {
        let several = self.owned(key, uuid)?.hosts.were_several();
        self.remove_service(uuid);
        if several {
            // It may be the one that lost it who leaves: the other is to publish again.
            self.push(key, Event::LeaseLost { uuid });
        }
        Ok(Response::Done)
    }

    /// The service, if it is the key's.
    pub(super) fn owned(&self, key: PublicKey, uuid: ServiceUuid) -> Result<&Service, SignalingError> {
        match self.services.get(&uuid) {
            None => Err(not_found(uuid)),
            Some(service) if service.record.owner == key => Ok(service),
            Some(_) => Err(refuse(ErrorCode::NotYours, format!("the service {uuid} belongs to another key"))),
        }
    }

    /// The lease was not refreshed: the owner is told, in case it is still there.
    pub(super) fn handle_lease_end(&mut self, uuid: ServiceUuid) {
        if let Some(owner) = self.remove_service(uuid) {
            self.push(owner, Event::LeaseLost { uuid });
        }
    }

    /// Takes a service away with its offers; its waiting peers learn that it is gone.
    fn remove_service(&mut self, uuid: ServiceUuid) -> Option<PublicKey> {
        let service = self.services.remove(&uuid)?;
        let ServiceRecord { username, service: name, owner, expires_at, .. } = service.record;
        for id in service.offers {
            self.remove_offer(id);
        }
        for id in service.waiting {
            self.complete(id, Err(not_found(uuid)));
        }
        if let Some(all) = self.by_user.get_mut(&username) {
            all.remove(&name);
            if all.is_empty() {
                self.by_user.remove(&username);
            }
        }
        self.state(owner).services.remove(&uuid);
        self.disarm(expires_at, &Timer::Lease(uuid));
        self.changes.push_back(Change::remove_service(&uuid));
        Some(owner)
    }

    /// A user's public services.
    pub(super) fn list(&self, username: &Username) -> Vec<ServiceRecord> {
        let all = self.by_user.get(username).into_iter().flat_map(|all| all.values());
        let records = all.filter_map(|uuid| self.services.get(uuid)).map(|service| &service.record);
        records.filter(|record| record.public).cloned().collect()
    }

    /// The service that is meant: the highest that matches and may be seen.
    pub(super) fn find(&self, target: &ServiceTarget) -> Result<&Service, SignalingError> {
        let (username, query, token) = match target {
            ServiceTarget::Uuid { uuid } => return self.services.get(uuid).ok_or_else(|| not_found(uuid)),
            ServiceTarget::Name { username, service, token } => (username, service, token.as_deref()),
        };
        let all = self.by_user.get(username).into_iter().flat_map(|all| all.values());
        let matching = all
            .filter_map(|uuid| self.services.get(uuid))
            .filter(|service| query.matches(&service.record.service))
            .filter(|service| service.record.public || query.is_exact())
            .max_by(|a, b| a.record.service.cmp(&b.record.service));
        match matching {
            None => Err(not_found(format!("{username}/{query}"))),
            Some(service) if service.admits(token) => Ok(service),
            Some(_) => {
                let message = format!("{username}/{query} needs its access token");
                Err(refuse(ErrorCode::TokenNeeded, message))
            }
        }
    }
}

/// Unknown and expired are the same to whoever asks: one cannot be told from the other.
fn not_found(what: impl std::fmt::Display) -> SignalingError {
    refuse(ErrorCode::ServiceNotFound, format!("no service {what}, or its lease ended"))
}

/// Exactly `N` bytes of unpadded base64url.
pub(super) fn decoded<const N: usize>(text: &str) -> Option<[u8; N]> {
    crate::base64url::decode(text)
}
