//! Throughput and round trips, ours and raw in turn.

use std::time::{Duration, Instant};

use bytes::Bytes;
use everlink::link::webrtc::Impairment;

use everlink::store::FileStore;

use super::ends::{two_ends, two_kept_ends};
use super::raw::{self, Throughput, Tuning};
use super::report::{Report, Row, median};

pub fn run(report: &mut Report, quick: bool) {
    let (rounds, run) = if quick { (1, Duration::from_millis(600)) } else { (7, Duration::from_secs(1)) };
    let none = Duration::ZERO;
    rate(report, "throughput, 64 KiB messages", 64 << 10, rounds, run, none, ">= 90 % of raw, >= 250 MB/s");
    rate(report, "throughput, 1 KiB messages", 1 << 10, rounds, run, none, ">= 110 % of raw");
    small(report, rounds, run);
    let (delay, run) = (Duration::from_millis(10), run * 3);
    let rounds = rounds.min(3);
    rate(report, "throughput, 64 KiB, 20 ms round trip", 64 << 10, rounds, run, delay, ">= 90 % of raw");
    round_trips(report, quick);
}

fn rate(
    report: &mut Report,
    what: &str,
    size: usize,
    rounds: usize,
    run: Duration,
    delay: Duration,
    aim: &str,
) {
    let mut ours = vec![];
    let mut alike = vec![];
    for _ in 0..rounds {
        alike.push(raw::throughput(Tuning::Alike, size, run, delay).megabytes);
        ours.push(throughput(size, run, delay, [None, None]).megabytes);
    }
    let as_it_comes = Some(raw::throughput(Tuning::AsItComes, size, run, delay).megabytes);
    let (ours, raw) = (median(ours), Some(median(alike)));
    report.row(&Row { what, unit: "MB/s", ours, raw, as_it_comes, aim });
}

fn small(report: &mut Report, rounds: usize, run: Duration) {
    let mut ours = vec![];
    let mut alike = vec![];
    for _ in 0..rounds {
        alike.push(raw::throughput(Tuning::Alike, 64, run, Duration::ZERO).messages / 1e6);
        ours.push(throughput(64, run, Duration::ZERO, [None, None]).messages / 1e6);
    }
    let as_it_comes = raw::throughput(Tuning::AsItComes, 64, run, Duration::ZERO).messages / 1e6;
    report.row(&Row {
        what: "64 B messages in a stream",
        unit: "million/s",
        ours: median(ours),
        raw: Some(median(alike)),
        as_it_comes: Some(as_it_comes),
        aim: ">= 4 x raw, >= 1.5",
    });
}

fn round_trips(report: &mut Report, quick: bool) {
    let (rounds, count) = if quick { (1, 1000) } else { (9, 4000) };
    let mut ours = vec![];
    let mut alike = vec![];
    let mut came = vec![];
    let none = Duration::ZERO;
    for _ in 0..rounds {
        let micros = |times: raw::Times| times.quantile(0.5).as_secs_f64() * 1e6;
        alike.push(micros(raw::round_trip(Tuning::Alike, 64, count, none)));
        ours.push(micros(round_trip(64, count)));
        came.push(micros(raw::round_trip(Tuning::AsItComes, 64, count, none)));
    }
    report.row(&Row {
        what: "round trip of 64 B, p50",
        unit: "us",
        ours: median(ours),
        raw: Some(median(alike)),
        as_it_comes: Some(median(came)),
        aim: "<= raw + 10",
    });
}

/// Sends messages of `size` bytes for `run`, and measures what was received after the first
/// quarter of it.
pub fn throughput(size: usize, run: Duration, delay: Duration, stores: [Option<FileStore>; 2]) -> Throughput {
    let impairment = (!delay.is_zero()).then(|| {
        let impairment = Impairment::new(0);
        impairment.set_delay(delay);
        impairment
    });
    let message = Bytes::from(vec![7; size]);
    let ((), received) = two_kept_ends(
        impairment,
        stores,
        move |mut end| {
            Box::pin(async move {
                let begun = Instant::now();
                while begun.elapsed() < run {
                    // A look at the clock for each would be a good part of what a small one costs.
                    for _ in 0..(64 << 10) / size {
                        end.channel.send(message.clone()).await.expect("it is connected");
                    }
                }
                end.channel.send(Bytes::new()).await.expect("it is connected");
                end.channel.recv().await.expect("it is connected");
            })
        },
        move |mut end| {
            Box::pin(async move {
                let (mut messages, mut bytes, mut from) = (0_u64, 0_u64, None);
                let begun = Instant::now();
                let mut until = begun;
                loop {
                    let message = end.channel.recv().await.expect("it is connected");
                    if message.is_empty() {
                        break;
                    }
                    messages += 1;
                    bytes += message.len() as u64;
                    if messages.is_multiple_of(64) {
                        until = Instant::now();
                        if from.is_none() && until - begun >= run / 4 {
                            from = Some((until, messages, bytes));
                        }
                    }
                }
                end.channel.send("done").await.expect("it is connected");
                let (from, messages_before, bytes_before) = from.unwrap_or((begun, 0, 0));
                let seconds = (until - from).as_secs_f64().max(1e-9);
                Throughput {
                    megabytes: (bytes - bytes_before) as f64 / 1e6 / seconds,
                    messages: (messages - messages_before) as f64 / seconds,
                }
            })
        },
    );
    received
}

/// Sends `size` bytes to and fro `count` times.
fn round_trip(size: usize, count: usize) -> raw::Times {
    let message = Bytes::from(vec![7; size]);
    let (times, ()) = two_ends(
        None,
        move |mut end| {
            Box::pin(async move {
                let mut times = Vec::with_capacity(count);
                for _ in 0..count {
                    let begun = Instant::now();
                    end.channel.send(message.clone()).await.expect("it is connected");
                    end.channel.recv().await.expect("it is connected");
                    times.push(begun.elapsed());
                }
                times
            })
        },
        |mut end| {
            Box::pin(async move {
                while let Ok(message) = end.channel.recv().await {
                    if end.channel.send(message).await.is_err() {
                        break;
                    }
                }
            })
        },
    );
    raw::Times::new(times)
}
