//! What is a version, which is the higher and what a requirement admits is as Cargo's `semver` has
//! it, for every kind of text.

use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use semver::{Version, VersionReq};

use crate::runtime;
use crate::signaling::{NameError, ServiceFqn, ServiceQuery};

/// The query that is asked, as it would be with `semver`.
enum Expected {
    Exact(Version),
    Range(VersionReq),
}

impl Expected {
    fn of(text: &str) -> Option<Self> {
        let trimmed = text.trim();
        let exact = trimmed.strip_prefix('=').unwrap_or(trimmed).trim_start();
        if text.len() > 128 {
            None
        } else if let Ok(version) = Version::parse(exact) {
            Some(Self::Exact(version))
        } else {
            VersionReq::parse(trimmed).ok().filter(|range| range.to_string().len() <= 128).map(Self::Range)
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Exact(version) => version.to_string(),
            Self::Range(range) => range.to_string(),
        }
    }

    fn matches(&self, version: &Version) -> bool {
        match self {
            Self::Range(range) => range.matches(version),
            Self::Exact(asked) if asked.build.is_empty() => asked.cmp_precedence(version).is_eq(),
            Self::Exact(asked) => asked == version,
        }
    }
}

/// Makes texts that are often right and often nearly so. Their numbers and identifiers are few, so
/// that they meet.
struct Maker {
    rng: StdRng,
    /// How often something odd is made, of 100 times.
    oddity: u32,
    /// The numbers that are not odd.
    numbers: &'static [&'static str],
}

impl Maker {
    fn one_of(&mut self, all: &[&str]) -> String {
        all[self.rng.random_range(0..all.len())].to_owned()
    }

    fn odd(&mut self) -> bool {
        self.rng.random_range(0..100) < self.oddity
    }

    fn number(&mut self) -> String {
        const ODD: [&str; 14] = [
            "",
            "00",
            "01",
            "x",
            "X",
            "*",
            "-1",
            "+1",
            "1a",
            "٣",
            "999999999999999999",
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999",
        ];
        let all = if self.odd() { &ODD } else { self.numbers };
        self.one_of(all)
    }

    fn identifiers(&mut self) -> String {
        const COMMON: [&str; 12] = ["0", "1", "2", "10", "a", "b", "rc", "rc1", "-", "--1", "A", "0a"];
        const ODD: [&str; 10] =
            ["", "00", "01", "001", "é", "a b", "_", "+", "*", "123456789012345678901234567890"];
        let mut text = String::new();
        for at in 0..self.rng.random_range(1..4) {
            text.push_str(if at > 0 { "." } else { "" });
            text.push_str(&if self.odd() { self.one_of(&ODD) } else { self.one_of(&COMMON) });
        }
        text
    }

    /// A version of so many numbers, or of one number more or less.
    fn version(&mut self, mut numbers: usize, with_wildcards: bool) -> String {
        if self.odd() {
            numbers = self.rng.random_range(0..5);
        }
        let wild_from = if with_wildcards { self.rng.random_range(0..7) } else { 7 };
        let mut text = String::new();
        for place in 0..numbers {
            text.push_str(if place > 0 { "." } else { "" });
            text.push_str(&if place >= wild_from { self.one_of(&["*", "x", "X"]) } else { self.number() });
        }
        if numbers == 3 || self.odd() {
            if self.rng.random_range(0..2) == 0 {
                let _ = write!(text, "-{}", self.identifiers());
            }
            if self.rng.random_range(0..4) == 0 {
                let _ = write!(text, "+{}", self.identifiers());
            }
        }
        text
    }

    fn full(&mut self) -> String {
        let text = self.version(3, false);
        self.spoilt(text)
    }

    fn requirement(&mut self) -> String {
        const OPERATORS: [&str; 12] = ["", "", "", "=", ">", ">=", "<", "<=", "~", "^", "^", "~"];
        const ODD: [&str; 10] = ["==", "=>", "> =", "~>", "!", "^^", "v", "\t", "<>", ">=="];
        if self.rng.random_range(0..50) == 0 {
            let star = self.one_of(&["*", "x", "X", " * ", "*,", "*.", "*.*", "*,1", "1,*", "**", "", " "]);
            return self.spoilt(star);
        }
        let most = if self.odd() { 40 } else { 4 };
        let mut text = self.spaces();
        for at in 0..self.rng.random_range(1..most) {
            if at > 0 {
                text.push_str(&if self.odd() {
                    self.one_of(&["", ",,", ";", "||", " "])
                } else {
                    ",".to_owned()
                });
                text.push_str(&self.spaces());
            }
            text.push_str(&if self.odd() { self.one_of(&ODD) } else { self.one_of(&OPERATORS) });
            text.push_str(&self.spaces());
            let numbers = self.rng.random_range(1..4);
            text.push_str(&self.version(numbers, true));
            text.push_str(&self.spaces());
        }
        self.spoilt(text)
    }

    fn spaces(&mut self) -> String {
        if self.odd() {
            self.one_of(&["\t", "\u{a0}", "\u{2003}", "\n"])
        } else {
            self.one_of(&["", "", "", " ", "  "])
        }
    }

    /// Sometimes with a character more, less or changed; sometimes much too long, or just about.
    fn spoilt(&mut self, text: String) -> String {
        const CHARACTERS: [&str; 22] = [
            "", "0", "1", "9", ".", "-", "+", "*", "x", "X", ",", " ", "=", ">", "<", "~", "^", "@", "a",
            "\0", "ü", "\u{2028}",
        ];
        let mut text: Vec<String> = text.chars().map(String::from).collect();
        if self.odd() {
            for _ in 0..self.rng.random_range(1..4) {
                let at = self.rng.random_range(0..=text.len());
                let to = (at + self.rng.random_range(0..2)).min(text.len());
                let put = self.one_of(&CHARACTERS);
                text.splice(at..to, [put]);
            }
        }
        let mut text = text.concat();
        if self.odd() && self.odd() {
            let filling = self.one_of(&["0", "1", "a", " ", ".a", ",1", ".*"]);
            let length = self.rng.random_range(100..150);
            while text.len() < length {
                text.push_str(&filling);
            }
        }
        text
    }
}

/// Makes texts by `make` and asks `check` about them, so many times.
fn for_many(times: usize, mut check: impl FnMut(&mut Maker)) {
    let seed = u64::from_le_bytes(runtime::random());
    println!("seed {seed}");
    let numbers = &["0", "0", "0", "1", "1", "2", "9", "10", "11"];
    let mut maker = Maker { rng: StdRng::seed_from_u64(seed), oddity: 0, numbers };
    for time in 0..times {
        maker.oddity = [0, 3, 12][time % 3];
        check(&mut maker);
    }
}

#[test]
fn versions_are_those_of_semver() {
    let mut accepted = 0;
    for_many(60_000, |maker| {
        let text = maker.full();
        let ours = ServiceFqn::new("a", &text);
        let Some(theirs) = Version::parse(&text).ok().filter(|_| text.len() <= 128) else {
            assert!(matches!(ours, Err(NameError::Version(_))), "{text:?}");
            return;
        };
        let ours = ours.unwrap_or_else(|_| panic!("{text:?}"));
        assert_eq!(
            (ours.version(), ours.to_string()),
            (theirs.to_string(), format!("a@{theirs}")),
            "{text:?}"
        );
        accepted += 1;
    });
    assert!((30_000..55_000).contains(&accepted), "{accepted} of 60000 were versions");
}

#[test]
fn versions_are_ordered_as_in_semver() {
    let mut last = (ServiceFqn::new("a", "0.0.0").unwrap(), Version::new(0, 0, 0));
    let mut seen = [0; 3];
    for_many(60_000, |maker| {
        let text = maker.full();
        let (Ok(ours), Ok(theirs)) = (ServiceFqn::new("a", &text), Version::parse(&text)) else { return };
        let expected = theirs.cmp(&last.1);
        assert_eq!(ours.cmp(&last.0), expected, "{ours} and {}", last.0);
        assert_eq!(last.0.cmp(&ours), expected.reverse(), "{} and {ours}", last.0);
        assert_eq!(ours == last.0, theirs == last.1, "{ours} and {}", last.0);
        seen[(expected as i8 + 1) as usize] += 1;
        last = (ours, theirs);
    });
    assert!(seen.iter().all(|&times| times > 20), "{seen:?}");
}

#[test]
fn requirements_are_those_of_semver() {
    let (mut exact, mut ranges) = (0, 0);
    for_many(60_000, |maker| {
        let text = maker.requirement();
        let ours = ServiceQuery::new("a", &text);
        let Some(theirs) = Expected::of(&text) else {
            assert!(matches!(ours, Err(NameError::Requirement(_))), "{text:?}");
            return;
        };
        let ours = ours.unwrap_or_else(|_| panic!("{text:?}"));
        assert_eq!(ours.to_string(), format!("a@{}", theirs.text()), "{text:?}");
        let is_exact = matches!(theirs, Expected::Exact(_));
        assert_eq!(ours.is_exact(), is_exact, "{text:?}");
        assert_eq!(ours.to_string().parse(), Ok(ours), "{text:?}");
        *(if is_exact { &mut exact } else { &mut ranges }) += 1;
    });
    assert!(
        exact > 300 && (20_000..50_000).contains(&ranges),
        "{exact} versions and {ranges} ranges of 60000"
    );
}

#[test]
fn requirements_admit_what_they_admit_in_semver() {
    let mut versions = Vec::new();
    for_many(3_000, |maker| {
        maker.numbers = &["0", "0", "1", "1", "2"];
        let text = maker.full();
        versions.extend(ServiceFqn::new("a", &text).ok().zip(Version::parse(&text).ok()));
    });
    versions.sort();
    let (mut admitted, mut of_pre_releases, mut asked) = (0, 0, 0);
    for_many(20_000, |maker| {
        maker.numbers = &["0", "0", "1", "1", "2"];
        // Either something, or what is near some version, and so is what is asked about.
        let (text, near) = if maker.rng.random_range(0..2) == 0 {
            (maker.requirement(), 0..versions.len())
        } else {
            let at = maker.rng.random_range(4..versions.len() - 4);
            let op = maker.one_of(&["=", ">", ">=", "<", "<=", "~", "^", "", ">=0.0.0-0, <", "^0, >"]);
            (format!("{op}{}", versions[at].1), at - 4..at + 5)
        };
        let (Ok(ours), Some(theirs)) = (ServiceQuery::new("a", &text), Expected::of(&text)) else { return };
        for _ in 0..10 {
            let (version, their_version) = &versions[maker.rng.random_range(near.clone())];
            let expected = theirs.matches(their_version);
            assert_eq!(ours.matches(version), expected, "{ours} and {version}");
            asked += 1;
            admitted += usize::from(expected);
            of_pre_releases += usize::from(expected && !their_version.pre.is_empty());
        }
    });
    let figures = format!("{admitted} of {asked}, {of_pre_releases} of them pre-releases");
    assert!(asked > 120_000 && admitted > 30_000 && of_pre_releases > 5_000, "{figures}");
}

/// Near its edges: each version of a small world with each requirement of it.
#[test]
fn a_whole_small_world_is_as_in_semver() {
    let numbers = ["0.0.0", "0.0.1", "0.1.0", "0.1.1", "1.0.0", "1.0.1", "1.1.0", "1.1.1", "2.0.0"];
    let suffixes = ["", "-0", "-a", "-a.0", "-a.b", "+0", "+00", "-a+b"];
    let texts: Vec<String> =
        numbers.iter().flat_map(|number| suffixes.map(|suffix| format!("{number}{suffix}"))).collect();
    let mut asked = texts.clone();
    asked.extend(
        ["0", "1", "2", "0.0", "0.1", "1.0", "1.1", "0.*", "1.*", "1.1.*", "1.x.X"].map(String::from),
    );
    let versions: Vec<_> = texts
        .iter()
        .map(|text| (ServiceFqn::new("a", text).unwrap(), Version::parse(text).unwrap()))
        .collect();
    for op in ["", "=", ">", ">=", "<", "<=", "~", "^"] {
        for text in &asked {
            for and in ["", ", >=1.0.0-0", ",<1.1"] {
                let text = format!("{op}{text}{and}");
                let (ours, theirs) = (ServiceQuery::new("a", &text).unwrap(), Expected::of(&text).unwrap());
                for (version, their_version) in &versions {
                    assert_eq!(ours.matches(version), theirs.matches(their_version), "{text} and {version}");
                }
            }
        }
    }
    for (left, their_left) in &versions {
        for (right, their_right) in &versions {
            assert_eq!(left.cmp(right), their_left.cmp(their_right), "{left} and {right}");
        }
    }
}
