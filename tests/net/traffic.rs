//! Traffic for `run.sh`: numbered messages at a steady rate, when each arrived, and what that says.
//!
//! * `source EVERY_MS STOP SENT END`: writes `NUMBER MICROSECONDS` lines to stdout until the file
//!   STOP exists, then writes how many into SENT, and keeps stdout open until END exists.
//! * `sink LOG`: reads the JSON lines of `everlink --json`, and writes `ARRIVED NUMBER SENT` for
//!   each message (microseconds since 1970), and every other line as it is after a `#`.
//! * `judge SENT LOG...`: prints `lost doubled reordered` over all logs; ends with 1 if any is not 0.
//! * `after MOMENT LOG`: milliseconds from MOMENT to the first arrival after it.
//! * `fresh MOMENT LOG`: milliseconds from MOMENT to the first arrival of a message sent after it.
//! * `gap LOG`: the longest time between two arrivals, in milliseconds.
//! * `quantiles NUMBER...`: `p50 p99 max`.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["source", every, stop, sent, end] => source(every, stop, sent, end).map(|()| true),
        ["sink", log] => sink(log).map(|()| true),
        ["judge", sent, ref logs @ ..] => judge(sent, logs),
        ["after", moment, log] => first(log, moment, |arrival, moment| arrival.at > moment),
        ["fresh", moment, log] => first(log, moment, |arrival, moment| arrival.sent > moment),
        ["gap", log] => gap(log).map(|()| true),
        ["quantiles", ref numbers @ ..] => quantiles(numbers).map(|()| true),
        _ => Err("see the top of traffic.rs for the usage".into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("traffic: {error}");
            ExitCode::from(2)
        }
    }
}

fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64)
}

fn source(every: &str, stop: &str, sent: &str, end: &str) -> Outcome<()> {
    let every = Duration::from_millis(every.parse()?);
    let mut stdout = io::stdout().lock();
    let begun = Instant::now();
    let mut number = 0;
    while !Path::new(stop).exists() {
        writeln!(stdout, "{number} {}", micros())?;
        stdout.flush()?;
        number += 1;
        // By the clock and not by the last tick: a pipe that was full is caught up with.
        thread::sleep((begun + every * number).saturating_duration_since(Instant::now()));
    }
    // Whoever sees the file shall see it whole.
    let whole = format!("{sent}.new");
    fs::write(&whole, number.to_string())?;
    fs::rename(whole, sent)?;
    while !Path::new(end).exists() {
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn sink(log: &str) -> Outcome<()> {
    let mut log = File::create(log)?;
    for line in io::stdin().lock().lines() {
        let (line, now) = (line?, micros());
        let message = serde_json::from_str::<serde_json::Value>(&line)
            .ok()
            .filter(|told| told["event"] == "message")
            .and_then(|told| told["text"].as_str().map(str::to_owned));
        match message {
            Some(text) => writeln!(log, "{now} {text}")?,
            None => writeln!(log, "# {now} {line}")?,
        }
    }
    Ok(())
}

/// A message that arrived.
struct Arrival {
    at: u64,
    number: usize,
    sent: u64,
}

fn read(log: &str) -> Outcome<Vec<Arrival>> {
    let mut arrivals = Vec::new();
    for line in fs::read_to_string(log)?.split_inclusive('\n') {
        // What is being written has no end yet.
        let Some(line) = line.strip_suffix('\n').filter(|line| !line.starts_with('#')) else { continue };
        let mut fields = line.split(' ');
        let mut field = || fields.next().ok_or_else(|| format!("{log}: not an arrival: {line}"));
        arrivals.push(Arrival { at: field()?.parse()?, number: field()?.parse()?, sent: field()?.parse()? });
    }
    Ok(arrivals)
}

fn judge(sent: &str, logs: &[&str]) -> Outcome<bool> {
    let sent: usize = fs::read_to_string(sent)?.trim().parse()?;
    let (mut lost, mut doubled, mut reordered) = (0, 0, 0);
    for log in logs {
        let mut seen = vec![0_u32; sent];
        let mut highest = None;
        for arrival in read(log)? {
            *seen.get_mut(arrival.number).ok_or("a message arrived that was never sent")? += 1;
            reordered += u32::from(highest.is_some_and(|highest| arrival.number < highest));
            highest = highest.max(Some(arrival.number));
        }
        lost += seen.iter().filter(|times| **times == 0).count();
        doubled += seen.iter().map(|times| times.saturating_sub(1)).sum::<u32>();
    }
    println!("{lost} {doubled} {reordered}");
    Ok(lost == 0 && doubled == 0 && reordered == 0 && sent > 0)
}

fn first(log: &str, moment: &str, is_it: impl Fn(&Arrival, u64) -> bool) -> Outcome<bool> {
    let moment = moment.parse()?;
    match read(log)?.iter().find(|arrival| is_it(arrival, moment)) {
        Some(arrival) => {
            println!("{}", arrival.at.saturating_sub(moment) / 1000);
            Ok(true)
        }
        None => Ok(false),
    }
}

fn gap(log: &str) -> Outcome<()> {
    let arrivals = read(log)?;
    let longest = arrivals.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap_or(0);
    println!("{}", longest / 1000);
    Ok(())
}

fn quantiles(numbers: &[&str]) -> Outcome<()> {
    let mut numbers = numbers.iter().map(|number| number.parse()).collect::<Result<Vec<u64>, _>>()?;
    numbers.sort_unstable();
    // The nearest rank: with fewer than a hundred numbers p99 is the largest.
    let rank = |percent: usize| (numbers.len() * percent).div_ceil(100).saturating_sub(1);
    let of = |percent| numbers.get(rank(percent)).ok_or("no numbers");
    println!("{} {} {}", of(50)?, of(99)?, of(100)?);
    Ok(())
}
