//! Everything is bounded: by how much.

use std::time::Duration;

/// The bounds of a directory. Each bound that a key meets is answered with `quota`, each that the
/// whole directory meets with `busy`, each size with `too_large`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// How long a claimed username stays its owner's without being used. 365 days.
    pub claim_for: Duration,
    /// The shortest lease granted. 10 s; a shorter one would cost more refreshes than it is worth.
    pub min_ttl: Duration,
    /// The longest lease granted. 24 h; so long does a service that vanished stay findable.
    pub max_ttl: Duration,
    /// How long an offer stays in the pool. 3 min; the paths in it grow stale.
    pub offer_ttl: Duration,
    /// How long a peer may take to answer the offer it took. 60 s.
    pub answer_within: Duration,
    /// How long candidates pass after the answer. 60 s.
    pub answered_for: Duration,
    /// The longest that a peer waits for an offer. 30 s.
    pub max_wait: Duration,
    /// How long a host that was not heard of counts as there, so that its offers are handed out.
    /// 15 s.
    pub absent_after: Duration,
    /// How long an event waits to be read. 2 min.
    pub event_ttl: Duration,
    /// Usernames of one key. 16.
    pub names_per_key: usize,
    /// Services of one key. 64.
    pub services_per_key: usize,
    /// Offers in the pool of one service. 128.
    pub offers_per_service: usize,
    /// Offers that one key has taken and not answered, and waits for. 64.
    pub takes_per_key: usize,
    /// Peers that wait for an offer of one service. 256.
    pub waiters_per_service: usize,
    /// Open event streams of one key. 16.
    pub streams_per_key: usize,
    /// Events kept for one key. 512.
    pub events_per_key: usize,
    /// Bytes of events kept for one key. 1 MiB.
    pub event_bytes_per_key: usize,
    /// Signed requests of one key in a minute; as many may come at once. 1,200.
    pub requests_per_minute: u32,
    /// Bytes of a session description. 64 KiB.
    pub description_bytes: usize,
    /// Bytes of a service's metadata as JSON. 4 KiB.
    pub metadata_bytes: usize,
    /// Candidates from either side of one offer. 64.
    pub candidates_per_side: usize,
    /// Bytes of one candidate. 1 KiB.
    pub candidate_bytes: usize,
    /// Keys that anything is known of. 100,000.
    pub keys: usize,
    /// Services in all. 100,000.
    pub services: usize,
    /// Bytes of all descriptions held. 256 MiB.
    pub total_description_bytes: usize,
    /// Nonces remembered in all, for ten minutes each. 1,000,000.
    pub nonces: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            claim_for: seconds(365 * 24 * 3600),
            min_ttl: seconds(10),
            max_ttl: seconds(24 * 3600),
            offer_ttl: seconds(180),
            answer_within: seconds(60),
            answered_for: seconds(60),
            max_wait: seconds(30),
            absent_after: seconds(15),
            event_ttl: seconds(120),
            names_per_key: 16,
            services_per_key: 64,
            offers_per_service: 128,
            takes_per_key: 64,
            waiters_per_service: 256,
            streams_per_key: 16,
            events_per_key: 512,
            event_bytes_per_key: 1 << 20,
            requests_per_minute: 1200,
            description_bytes: 64 << 10,
            metadata_bytes: 4 << 10,
            candidates_per_side: 64,
            candidate_bytes: 1 << 10,
            keys: 100_000,
            services: 100_000,
            total_description_bytes: 256 << 20,
            nonces: 1_000_000,
        }
    }
}

/// A duration in the directory's milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
