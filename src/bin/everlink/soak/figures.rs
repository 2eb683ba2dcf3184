//! The table at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use everlink::testkit::Verdict;
use serde_json::{Value, json};

/// What a soak measured.
#[derive(Default)]
pub struct Figures {
    /// Seconds to the first message, by what befell.
    recoveries: BTreeMap<String, Vec<f64>>,
    pub kills: u64,
    pub cuts: u64,
    pub storms: u64,
    /// Packets lost and doubled in storms.
    pub harmed: [u64; 2],
    /// Reconnects in storms, where nothing else befell.
    pub storm_reconnects: u64,
    /// How often a live link was replaced while the server was away.
    pub disturbed: u64,
}

impl Figures {
    pub fn recovered(&mut self, cause: String, seconds: f64) {
        self.recoveries.entry(cause).or_default().push(seconds);
    }

    /// The value that a share of `q` does not exceed.
    fn quantile(values: &[f64], q: f64) -> f64 {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        values.get(((values.len().max(1) - 1) as f64 * q).round() as usize).copied().unwrap_or(f64::NAN)
    }

    /// What each cause must keep to, in seconds at the 99th percentile.
    fn limit(cause: &str) -> Option<f64> {
        match cause {
            "host killed" | "peer killed" => Some(2.0),
            "server killed" => Some(3.0),
            _ => None,
        }
    }

    pub fn table(&self, verdict: &Verdict, took: Duration) -> String {
        let counts = verdict.counts;
        let mut table = format!("{:<44} {:>12}\n", "figure", "");
        let mut row = |what: &str, value: String| table.push_str(&format!("{what:<44} {value:>12}\n"));
        row("seed", verdict.seed.to_string());
        row("minutes", format!("{:.1}", took.as_secs_f64() / 60.0));
        row("messages", counts.sent.to_string());
        row("cuts", self.cuts.to_string());
        row("kills", self.kills.to_string());
        row("storms", self.storms.to_string());
        row("packets lost in storms", self.harmed[0].to_string());
        row("packets doubled in storms", self.harmed[1].to_string());
        row("lost", counts.lost.to_string());
        row("doubled", counts.doubled.to_string());
        row("reordered", counts.reordered.to_string());
        row("gaps of which one end does not know", counts.unexplained.to_string());
        row("gaps of which both ends know, messages", counts.explained.to_string());
        row("came again after their receiver was killed", counts.replayed.to_string());
        row("live links replaced while the server was away", self.disturbed.to_string());
        row("reconnects in storms alone", self.storm_reconnects.to_string());
        table.push_str(&format!(
            "\n{:<32} {:>6} {:>9} {:>9} {:>9}  must reach\n",
            "seconds to the first message after", "times", "p50", "p99", "max"
        ));
        for (cause, times) in &self.recoveries {
            let [p50, p99, max] = [0.5, 0.99, 1.0].map(|q| Self::quantile(times, q));
            let limit = Self::limit(cause).map_or(String::new(), |limit| format!("<= {limit}"));
            table.push_str(&format!(
                "{cause:<34} {:>6} {p50:>9.3} {p99:>9.3} {max:>9.3}  {limit}\n",
                times.len()
            ));
        }
        table
    }

    pub fn json(&self, verdict: &Verdict, took: Duration) -> Value {
        let counts = verdict.counts;
        let recoveries: BTreeMap<&String, Value> = self
            .recoveries
            .iter()
            .map(|(cause, times)| {
                let [p50, p99, max] = [0.5, 0.99, 1.0].map(|q| Self::quantile(times, q));
                let limit = Self::limit(cause);
                (cause, json!({ "times": times.len(), "p50": p50, "p99": p99, "max": max, "limit": limit }))
            })
            .collect();
        json!({
            "event": "soak", "seed": verdict.seed, "seconds": took.as_secs_f64(), "messages": counts.sent,
            "received": counts.received, "cuts": self.cuts, "kills": self.kills, "lost": counts.lost,
            "doubled": counts.doubled, "reordered": counts.reordered, "unexplained": counts.unexplained,
            "explained": counts.explained, "replayed": counts.replayed, "disturbed": self.disturbed,
            "storms": self.storms, "packets_lost": self.harmed[0], "packets_doubled": self.harmed[1],
            "storm_reconnects": self.storm_reconnects,
            "recovery_seconds": recoveries,
        })
    }
}
