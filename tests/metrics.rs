//! What the feature `metrics` counts, over memory links with a paused clock.
#![cfg(feature = "metrics")]

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Pair, expect_numbers, send_numbers};
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

/// Every value that was recorded, under `name{label=value,…}`.
#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

struct Series {
    recorded: Recorded,
    name: String,
}

impl Series {
    fn add(&self, value: f64) {
        self.recorded.0.lock().unwrap().entry(self.name.clone()).or_default().push(value);
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }
    fn absolute(&self, _: u64) {}
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        self.add(value);
    }
}

impl Recorded {
    fn series(&self, key: &Key) -> Arc<Series> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = match labels.is_empty() {
            true => key.name().to_owned(),
            false => format!("{}{{{}}}", key.name(), labels.join(",")),
        };
        Arc::new(Series { recorded: self.clone(), name })
    }

    fn sum(&self, name: &str) -> f64 {
        self.0.lock().unwrap().get(name).map_or(0.0, |values| values.iter().sum())
    }

    fn values(&self, name: &str) -> Vec<f64> {
        self.0.lock().unwrap().get(name).cloned().unwrap_or_default()
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}

/// Runs a test on this thread alone, with a paused clock, and returns what was recorded.
fn recorded<F: Future<Output = ()>>(test: impl FnOnce() -> F) -> Recorded {
    let recorded = Recorded::default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&recorded, || runtime.block_on(test()));
    recorded
}

#[test]
fn recoveries_are_counted_and_timed_by_cause_and_rung() {
    let recorded = recorded(|| async {
        let pair = Pair::new(1).await;
        let (ours, mut theirs) = pair.channel("chat");
        send_numbers(&ours, 0..10).await;
        expect_numbers(&mut theirs, 0..10).await;
        pair.world.network.cut_all();
        tokio::time::sleep(Duration::from_secs(10)).await;
        pair.world.network.blackout(true);
        send_numbers(&ours, 0..10).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        pair.world.network.blackout(false);
        expect_numbers(&mut theirs, 0..10).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        pair.peer.network_changed();
        tokio::time::sleep(Duration::from_secs(10)).await;
        let stats = pair.at_peer.stats();
        assert_eq!(stats.last_recovery.unwrap().cause.as_str(), "network_change");
    });
    // Both ends are in this process, and each counts its own.
    assert!(recorded.sum("everlink_recoveries_total{cause=link_down,rung=fresh_link}") >= 2.0);
    let dead = recorded.values("everlink_recovery_seconds{cause=path_dead,rung=probe}");
    let fresh = recorded.values("everlink_recovery_seconds{cause=path_dead,rung=fresh_link}");
    let seconds = [dead, fresh].concat();
    assert!(seconds.iter().any(|s| (17.0..25.0).contains(s)), "{seconds:?}");
    assert!(seconds.iter().all(|s| (0.0..25.0).contains(s)), "{seconds:?}");
    let changes =
        recorded.0.lock().unwrap().keys().filter(|key| key.contains("cause=network_change")).count();
    assert_eq!(changes, 2, "a counter and a histogram");
    assert!(recorded.sum("everlink_dial_attempts_total") >= 4.0);
    assert!(recorded.sum("everlink_probes_total") >= 4.0);
    let ages = recorded.values("everlink_unacknowledged_seconds");
    assert!(ages.iter().any(|age| (10.0..21.0).contains(age)), "{ages:?}");
}

#[test]
fn what_was_sent_again_or_dropped_is_counted() {
    let recorded = recorded(|| async {
        let pair = Pair::new(2).await;
        let (ours, mut theirs) = pair.channel("chat");
        send_numbers(&ours, 0..10).await;
        expect_numbers(&mut theirs, 0..10).await;
        pair.world.network.blackout(true);
        send_numbers(&ours, 0..10).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        send_numbers(&ours, 0..1100).await;
        tokio::time::sleep(Duration::from_secs(90)).await;
        pair.world.network.blackout(false);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let stats = pair.at_peer.stats();
        assert!(stats.expired > 0 && stats.overflowed > 0, "{stats:?}");
    });
    assert!(recorded.sum("everlink_messages_expired_total") > 0.0);
    assert!(recorded.sum("everlink_messages_overflowed_total") >= 100.0);
    assert!(recorded.sum("everlink_messages_replayed_total") > 0.0);
}
