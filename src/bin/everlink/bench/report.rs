//! Rows of figures, readable or as JSON.

use serde_json::json;

/// Prints rows as they come, and remembers whether a promise was broken.
pub struct Report {
    json: bool,
    broken: Vec<String>,
}

/// One figure: ours, the raw stack's, and what ours must reach.
pub struct Row<'a> {
    pub what: &'a str,
    pub unit: &'a str,
    pub ours: f64,
    /// The plain program on the stack, tuned alike; absent where it has no such thing.
    pub raw: Option<f64>,
    /// The same on the stack as it comes.
    pub as_it_comes: Option<f64>,
    /// What was aimed at, in words.
    pub aim: &'a str,
}

impl Report {
    pub fn new(json: bool) -> Self {
        if !json {
            println!(
                "{:<50} {:>10} {:>10} {:>8} {:>12}  aim",
                "figure", "everlink", "raw", "ratio", "as it comes"
            );
        }
        Self { json, broken: Vec::new() }
    }

    pub fn row(&mut self, row: &Row<'_>) {
        let ratio = row.raw.map(|raw| row.ours / raw);
        if self.json {
            let object = json!({
                "what": row.what, "unit": row.unit, "everlink": row.ours, "raw": row.raw, "ratio": ratio,
                "as_it_comes": row.as_it_comes, "aim": row.aim,
            });
            println!("{object}");
            return;
        }
        let number = |value: Option<f64>| match value {
            None => "-".to_owned(),
            Some(value) if value.is_infinite() => "never".to_owned(),
            Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
            Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
            Some(value) => format!("{value:.3}"),
        };
        let label = format!("{}, {}", row.what, row.unit);
        let (ours, raw, came) = (number(Some(row.ours)), number(row.raw), number(row.as_it_comes));
        let ratio = ratio.filter(|ratio| ratio.is_finite() && *ratio > 0.0);
        let ratio = ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        println!("{label:<50} {ours:>10} {raw:>10} {ratio:>8} {came:>12}  {}", row.aim);
    }

    /// A promise that the run saw broken: not a slow figure, but a lost message or a leak.
    pub fn broken(&mut self, what: String) {
        self.broken.push(what);
    }

    pub fn end(self) -> Result<(), String> {
        if self.broken.is_empty() { Ok(()) } else { Err(self.broken.join("; ")) }
    }
}

/// The middle one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

/// The value that a share of `q` does not exceed.
pub fn quantile(values: impl IntoIterator<Item = f64>, q: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(((values.len().max(1) - 1) as f64 * q).round() as usize).copied().unwrap_or(f64::NAN)
}
