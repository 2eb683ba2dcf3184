//! Which paths of strangers may be written below a folder. The same on every platform, so that a tutorial is.

/// How deep folders may be in each other.
const MAX_DEPTH: usize = 64;
/// The longest name that common file systems take, in bytes.
const MAX_NAME: usize = 255;
/// The folder of our own.
pub const OWN: &str = ".everlink";

/// The parts of a path that leads to a file below a folder, on every platform.
///
/// # Errors
/// In words, after "it".
pub fn parts(path: &str) -> Result<Vec<&str>, &'static str> {
    if path.is_empty() {
        return Err("is empty");
    }
    if path.starts_with('/') {
        return Err("is absolute");
    }
    let parts: Vec<&str> = path.split('/').collect();
    if parts.len() > MAX_DEPTH {
        return Err("is too deep");
    }
    for part in &parts {
        check(part)?;
    }
    if parts[0].eq_ignore_ascii_case(OWN) {
        return Err("is in the folder that everlink keeps for itself");
    }
    Ok(parts)
}

fn check(name: &str) -> Result<(), &'static str> {
    match name {
        "" => return Err("has an empty part"),
        "." | ".." => return Err("leads elsewhere"),
        _ => {}
    }
    if name.len() > MAX_NAME {
        return Err("has a name that is too long");
    }
    if name.contains(|c: char| c.is_control() || matches!(c, '\\' | ':' | '<' | '>' | '"' | '|' | '?' | '*'))
    {
        return Err("has a character that Windows does not allow");
    }
    if name.ends_with(['.', ' ']) {
        return Err("has a name that ends with a dot or a space, which Windows drops");
    }
    if is_git(name) {
        return Err("is in a .git folder");
    }
    if is_device(name) {
        return Err("has the name of a device of Windows");
    }
    Ok(())
}

/// Whether some file system takes it for `.git`: of any case, by its short name, or with characters that are ignored.
fn is_git(name: &str) -> bool {
    let seen: String = name.chars().filter(|c| !is_ignored(*c)).flat_map(char::to_lowercase).collect();
    let short = seen.strip_prefix("git~").is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()));
    seen == ".git" || short
}

/// Characters that the file system of older Macs leaves out of comparisons.
fn is_ignored(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

/// Whether Windows takes it for a device, whatever its extension.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_ascii_uppercase();
    let numbered = |prefix| {
        let rest: Option<&str> = stem.strip_prefix(prefix);
        rest.is_some_and(|rest| {
            matches!(rest, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³")
        })
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$")
        || numbered("COM")
        || numbered("LPT")
}

/// What two names have in common that are one on a file system that does not know case.
pub fn folded(path: &str) -> String {
    path.chars().filter(|c| !is_ignored(*c)).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_leads_elsewhere_or_is_no_file_everywhere_is_refused() {
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "//server/share",
            "..",
            "../a",
            "a/..",
            "a/../../b",
            ".",
            "./a",
            "a/.",
            "a//b",
            "a/",
            "C:",
            "C:/a",
            "c:a",
            "a:stream",
            "\\a",
            "..\\a",
            "a\\..\\b",
            "\\\\?\\C:\\a",
            "a\0b",
            "a\nb",
            "\u{1b}[2J",
            ".git",
            ".GIT/config",
            "a/.Git/hooks/post-checkout",
            ".git.",
            ".git ",
            ".gi\u{200d}t/config",
            "git~1/config",
            "GIT~2",
            "con",
            "CON.txt",
            "a/nul",
            "Aux.tar.gz",
            "com1",
            "LPT9.md",
            "COM¹",
            "conin$",
            "nul .txt",
            "a.",
            "a ",
            "a./b",
            "<",
            "a|b",
            "a?",
            "*",
            "\"",
            ".everlink/checkout.json",
            ".Everlink/x",
        ] {
            assert!(parts(bad).is_err(), "{bad:?} is let through");
        }
        assert!(parts(&"a/".repeat(100)).is_err() && parts(&"a".repeat(256)).is_err());
        for good in [
            "a",
            "a/b/c.rs",
            ".gitignore",
            ".github/workflows/a.yml",
            "..a",
            "a..b",
            "git",
            "gitorial",
            "console.log",
            "com",
            "com10",
            "null",
            "ä/ö.md",
            "a b",
            ".a",
            "a/.everlink",
            "-rf",
            "~",
            "$HOME",
        ] {
            assert!(parts(good).is_ok(), "{good:?}: {:?}", parts(good));
        }
    }

    proptest! {
        #[test]
        fn what_is_let_through_stays_below(path in "[aA.gGiItT/\\\\:~ \\x00-\\x20ä1]{0,12}") {
            if parts(&path).is_ok() {
                let components: Vec<_> = Path::new(&path).components().collect();
                prop_assert!(components.iter().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
                let names: Vec<String> = path.split('/').map(|part| part.trim_end_matches(['.', ' ']).to_lowercase()).collect();
                prop_assert_eq!(names.len(), components.len());
                prop_assert!(names.iter().all(|name| !name.is_empty() && name != ".git"), "{path:?}");
            }
        }
    }
}
