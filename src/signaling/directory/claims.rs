//! Usernames: first come, first served, for as long as they are used.

use super::limits::millis;
use super::*;

impl Directory {
    pub(super) fn claim(&mut self, key: PublicKey, username: Username) -> Result<Response, SignalingError> {
        match self.claims.get(&username) {
            Some(claim) if claim.owner != key => {
                let message = format!("the username {username} belongs to another key");
                return Err(refuse(ErrorCode::UsernameTaken, message));
            }
            Some(_) => {}
            None => {
                let most = self.limits.names_per_key;
                if self.keys.get(&key).is_some_and(|state| state.names >= most) {
                    return Err(refuse(ErrorCode::Quota, format!("a key has at most {most} usernames")));
                }
            }
        }
        Ok(Response::Claimed(self.extend_claim(key, username)))
    }

    /// Makes or renews a claim, which was checked to be the key's to have.
    pub(super) fn extend_claim(&mut self, key: PublicKey, username: Username) -> Claim {
        let expires_at = self.now.saturating_add(millis(self.limits.claim_for));
        let before = self.claims.get(&username);
        let claimed_at = before.map_or(self.now, |claim| claim.claimed_at);
        let expired_at = before.map(|claim| claim.expires_at);
        if before.is_none() {
            self.state(key).names += 1;
        }
        let claim = Claim { username: username.clone(), owner: key, claimed_at, expires_at };
        self.arm(expired_at, expires_at, Timer::Claim(username.clone()));
        self.changes.push_back(Change::put_claim(&claim));
        self.claims.insert(username, claim.clone());
        claim
    }

    /// A name in use stays in use: publishing renews the claim, once a day at most.
    pub(super) fn touch_claim(&mut self, username: &Username) {
        const DAY: u64 = 24 * 3600 * 1000;
        let fresh = self.now.saturating_add(millis(self.limits.claim_for)).saturating_sub(DAY);
        if let Some(claim) = self.claims.get(username)
            && claim.expires_at < fresh
        {
            self.extend_claim(claim.owner, username.clone());
        }
    }

    /// A name that nobody used for a year is free for all, so its services cannot stay.
    pub(super) fn handle_claim_end(&mut self, username: &Username) {
        let Some(claim) = self.claims.remove(username) else { return };
        let services: Vec<_> =
            self.by_user.get(username).into_iter().flat_map(|all| all.values()).copied().collect();
        for uuid in services {
            self.handle_lease_end(uuid);
        }
        self.state(claim.owner).names -= 1;
        self.changes.push_back(Change::remove_claim(username));
    }
}
