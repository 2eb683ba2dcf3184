//! Semantic versions and requirements on them, read where they stand in a name's text. Pure.
//!
//! Both mean what they mean to Cargo, whose `semver` the tests ask about every kind of text; a page
//! would load three times the code for it.

use std::cmp::Ordering;

/// Whether `text` is a full semantic version.
pub(super) fn is_version(text: &str) -> bool {
    full(text).is_some()
}

/// Which of two versions is the higher. Of builds of one version it is the one whose build metadata
/// is, so that only equal texts are equal.
pub(super) fn compare(left: &str, right: &str) -> Ordering {
    let [left, right] = [left, right].map(|text| full(text).unwrap_or_default());
    compare_to(&left, &right, 3)
        .then_with(|| compare_pre(&left, &right))
        .then_with(|| compare_identifiers(left.build, right.build, usize::MAX))
}

/// The one text of a requirement, whatever spaces, wildcards and builds are in `text`; `None` if it
/// is no requirement.
pub(super) fn canonical(text: &str) -> Option<String> {
    let mut canonical = String::new();
    each_comparator(text, &mut |Comparator { op, version }| {
        if !canonical.is_empty() {
            canonical.push_str(", ");
        }
        canonical.push_str(if op == WILDCARD { "" } else { op });
        canonical.push_str(version.numbers);
        if op == WILDCARD {
            canonical.push_str(".*");
        } else if !version.pre.is_empty() {
            canonical.push('-');
            canonical.push_str(version.pre);
        }
    })?;
    if canonical.is_empty() {
        canonical.push_str(WILDCARD);
    }
    Some(canonical)
}

/// Whether `version` is what `requirement` asks for.
pub(super) fn matches(requirement: &str, version: &str) -> bool {
    let Some(version) = full(version) else { return false };
    // A pre-release is for those who ask for one of its release.
    let (mut all, mut is_meant) = (true, version.pre.is_empty());
    let read = each_comparator(requirement, &mut |comparator| {
        all &= comparator.admits(&version);
        is_meant |= comparator.names_pre_release_of(&version);
    });
    read.is_some() && all && is_meant
}

/// A version, or the front of one.
#[derive(Default)]
struct Version<'a> {
    /// How many numbers there are, one to three; a version has three.
    given: usize,
    /// The numbers and the dots between them.
    numbers: &'a str,
    /// What comes after `-`.
    pre: &'a str,
    /// What comes after `+`.
    build: &'a str,
}

/// One condition of a requirement.
struct Comparator<'a> {
    /// One of `= > >= < <= ~ ^` and [`WILDCARD`].
    op: &'a str,
    version: Version<'a>,
}

/// The operator of `1.*`.
const WILDCARD: &str = "*";

impl Comparator<'_> {
    fn admits(&self, version: &Version<'_>) -> bool {
        let Self { op, version: asked } = self;
        let same = |most| compare_to(version, asked, most).is_eq();
        let numbers = compare_to(version, asked, asked.given);
        let whole = numbers.then_with(|| compare_pre(version, asked));
        // All of 1.2.* lie neither above 1.2 nor below it, pre-releases of them included.
        let apart = if asked.given == 3 { whole } else { numbers };
        match *op {
            ">" => apart.is_gt(),
            ">=" => whole.is_ge(),
            "<" => apart.is_lt(),
            "<=" => apart.is_lt() || whole.is_eq(),
            "~" => same(asked.given.min(2)) && whole.is_ge(),
            // What is compatible has the same first number that is not 0, and what is before it.
            "^" => {
                let first = asked.numbers.split('.').position(|number| number != "0");
                same(first.map_or(asked.given, |zeros| zeros + 1)) && apart.is_ge()
            }
            _ => whole.is_eq(),
        }
    }

    fn names_pre_release_of(&self, version: &Version<'_>) -> bool {
        !self.version.pre.is_empty() && self.version.numbers == version.numbers
    }
}

/// Compares the first `most` numbers.
fn compare_to(left: &Version<'_>, right: &Version<'_>, most: usize) -> Ordering {
    compare_identifiers(left.numbers, right.numbers, most)
}

/// Compares what comes after `-`. Without it a version is higher than any pre-release of it.
fn compare_pre(left: &Version<'_>, right: &Version<'_>) -> Ordering {
    let released = left.pre.is_empty().cmp(&right.pre.is_empty());
    released.then_with(|| compare_identifiers(left.pre, right.pre, usize::MAX))
}

/// Compares what lies between dots, one after the other and at most the first `most`.
fn compare_identifiers(left: &str, right: &str, most: usize) -> Ordering {
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    for _ in 0..most {
        let order = match (left.next(), right.next()) {
            (Some(left), Some(right)) => rank(left).cmp(&rank(right)),
            (left, right) => return left.is_some().cmp(&right.is_some()),
        };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Numbers are below texts, and ordered by what they count however long they are, then by how many
/// zeros are before them.
fn rank(identifier: &str) -> (bool, usize, &str, usize) {
    if is_number(identifier) {
        let digits = identifier.trim_start_matches('0');
        (false, digits.len(), digits, identifier.len())
    } else {
        (true, 0, identifier, 0)
    }
}

fn is_number(identifier: &str) -> bool {
    identifier.bytes().all(|byte| byte.is_ascii_digit())
}

/// The version that `text` is.
fn full(text: &str) -> Option<Version<'_>> {
    let rest = &mut &*text;
    let (version, _) = read_version(rest)?;
    (version.given == 3 && rest.is_empty()).then_some(version)
}

/// Gives each of a requirement's comparators to `with`; `None` if it is no requirement, perhaps
/// after some of them.
fn each_comparator<'a>(text: &'a str, with: &mut dyn FnMut(Comparator<'a>)) -> Option<()> {
    let rest = &mut &*text;
    skip_spaces(rest);
    if skip_wildcard(rest) {
        skip_spaces(rest);
        return rest.is_empty().then_some(());
    }
    loop {
        with(read_comparator(rest)?);
        if rest.is_empty() {
            return Some(());
        }
        if !skip(rest, ',') {
            return None;
        }
        skip_spaces(rest);
    }
}

fn read_comparator<'a>(text: &mut &'a str) -> Option<Comparator<'a>> {
    let written = take(text, |byte| b"=<>~^".contains(&byte));
    skip_spaces(text);
    let (version, is_wild) = read_version(text)?;
    skip_spaces(text);
    let op = match written {
        "" if is_wild => WILDCARD,
        "" => "^",
        "=" | ">" | ">=" | "<" | "<=" | "~" | "^" => written,
        _ => return None,
    };
    Some(Comparator { op, version })
}

/// Reads a version, or the front of one, and whether a wildcard stands for the rest of it.
fn read_version<'a>(text: &mut &'a str) -> Option<(Version<'a>, bool)> {
    let (whole, mut version, mut is_wild) = (*text, Version::default(), false);
    for place in 0..3 {
        if place > 0 && !skip(text, '.') {
            break;
        }
        if place > 0 && skip_wildcard(text) {
            is_wild = true;
        } else if is_wild || !skip_number(text) {
            return None;
        } else {
            version.given = place + 1;
            version.numbers = &whole[..whole.len() - text.len()];
        }
    }
    if version.given == 3 {
        if skip(text, '-') {
            version.pre = take_identifiers(text)?;
            let is_padded = |identifier: &str| is_number(identifier) && has_zeros_before(identifier);
            if version.pre.split('.').any(is_padded) {
                return None;
            }
        }
        if skip(text, '+') {
            version.build = take_identifiers(text)?;
        }
    }
    Some((version, is_wild))
}

fn take_identifiers<'a>(text: &mut &'a str) -> Option<&'a str> {
    let taken = take(text, |byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    (!taken.split('.').any(str::is_empty)).then_some(taken)
}

/// Up to the greatest number of 64 bits, as everywhere.
fn skip_number(text: &mut &str) -> bool {
    const MAX: &str = "18446744073709551615";
    let number = take(text, |byte| byte.is_ascii_digit());
    !number.is_empty() && !has_zeros_before(number) && (number.len(), number) <= (MAX.len(), MAX)
}

fn has_zeros_before(number: &str) -> bool {
    number.len() > 1 && number.starts_with('0')
}

fn skip_wildcard(text: &mut &str) -> bool {
    skip(text, '*') || skip(text, 'x') || skip(text, 'X')
}

fn skip_spaces(text: &mut &str) {
    take(text, |byte| byte == b' ');
}

fn skip(text: &mut &str, character: char) -> bool {
    let rest = text.strip_prefix(character);
    *text = rest.unwrap_or(text);
    rest.is_some()
}

/// Takes from the front of `text` as long as its bytes belong, which only those of ASCII may.
fn take<'a>(text: &mut &'a str, belongs: fn(u8) -> bool) -> &'a str {
    let end = text.bytes().position(|byte| !belongs(byte)).unwrap_or(text.len());
    let (taken, rest) = text.split_at(end);
    *text = rest;
    taken
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
