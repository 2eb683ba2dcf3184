//! What outlives a restart: names, services, and the nonces of what changed them. Offers do not:
//! they are only good for the connections that their host holds open.

use serde::{Deserialize, Serialize};

use super::hosts::Hosts;
use super::services::TokenHash;
use super::*;
use crate::signaling::ServiceRecord;

/// A record to write or to remove, in the order in which things happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The record's key, unique among all.
    pub key: String,
    /// The record, as JSON; `None` removes it.
    pub value: Option<Vec<u8>>,
}

/// A record that cannot be understood: the store was damaged, or is of a newer version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record {key} cannot be read: {why}")]
pub struct CorruptRecord {
    /// Its key.
    pub key: String,
    /// What is wrong with it.
    pub why: String,
}

#[derive(Serialize, Deserialize)]
struct StoredService {
    record: ServiceRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_hash: Option<TokenHash>,
    #[serde(default)]
    hosts: Hosts,
}

impl Directory {
    /// The next change to write.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// Takes over what an earlier run wrote, from all records that [`poll_change`](Self::poll_change)
    /// left. What has expired since is removed by changes to write.
    ///
    /// # Errors
    /// When a record cannot be understood. Throw the directory away then, and do not write.
    pub fn restore(
        &mut self,
        now: u64,
        records: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Result<(), CorruptRecord> {
        self.now = self.now.max(now);
        for (key, value) in records {
            let corrupt = |why: String| CorruptRecord { key: key.clone(), why };
            let json = |error: serde_json::Error| corrupt(error.to_string());
            match key.split_once('/') {
                Some(("claim", _)) => {
                    let claim: Claim = serde_json::from_slice(&value).map_err(json)?;
                    self.state(claim.owner).names += 1;
                    self.arm(None, claim.expires_at, Timer::Claim(claim.username.clone()));
                    self.claims.insert(claim.username.clone(), claim);
                }
                Some(("service", _)) => {
                    let StoredService { record, token_hash, hosts } =
                        serde_json::from_slice(&value).map_err(json)?;
                    self.arm(None, record.expires_at, Timer::Lease(record.uuid));
                    self.insert_service(record, token_hash, hosts);
                }
                Some(("nonce", rest)) => {
                    let until: u64 = serde_json::from_slice(&value).map_err(json)?;
                    let parsed = rest.split_once('/').and_then(|(key, nonce)| {
                        Some((key.parse().ok()?, *nonce.parse::<OfferId>().ok()?.as_bytes()))
                    });
                    let (author, nonce) = parsed.ok_or_else(|| corrupt("no key and nonce".to_owned()))?;
                    self.restore_nonce(author, nonce, until);
                }
                _ => return Err(corrupt("no kind of record that this version knows".to_owned())),
            }
        }
        self.expire(now);
        Ok(())
    }
}

impl Change {
    pub(super) fn put_claim(claim: &Claim) -> Self {
        Self { key: format!("claim/{}", claim.username), value: Some(json(claim)) }
    }

    pub(super) fn remove_claim(username: &Username) -> Self {
        Self { key: format!("claim/{username}"), value: None }
    }

    pub(super) fn put_service(record: &ServiceRecord, token_hash: Option<&TokenHash>, hosts: &Hosts) -> Self {
        let token_hash = token_hash.cloned();
        let stored = StoredService { record: record.clone(), token_hash, hosts: hosts.clone() };
        Self { key: format!("service/{}", record.uuid), value: Some(json(&stored)) }
    }

    pub(super) fn remove_service(uuid: &ServiceUuid) -> Self {
        Self { key: format!("service/{uuid}"), value: None }
    }

    pub(super) fn put_nonce(key: &PublicKey, nonce: &[u8; 16], until: u64) -> Self {
        Self { value: Some(json(&until)), ..Self::remove_nonce(key, nonce) }
    }

    pub(super) fn remove_nonce(key: &PublicKey, nonce: &[u8; 16]) -> Self {
        Self { key: format!("nonce/{key}/{}", OfferId::from_bytes(*nonce)), value: None }
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Only maps with keys that are no strings, or writers that fail, make serde_json fail.
    serde_json::to_vec(value).expect("records are JSON")
}
