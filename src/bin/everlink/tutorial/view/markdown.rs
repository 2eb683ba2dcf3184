//! Markdown on a terminal: headings, lists, quotes, code, emphasis and links. What it does not know is shown as it is.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::clean;

/// The lines of a stranger's Markdown.
pub fn lines(markdown: &str) -> Vec<Line<'static>> {
    let text = clean(markdown);
    let (mut lines, mut fence) = (Vec::<Line<'static>>::new(), None);
    for line in text.lines() {
        let trimmed = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| trimmed.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (Some(_), _) => lines.push(Line::from(Span::styled(format!("  {line}"), CODE))),
            (None, None) if is_comment(trimmed) => {}
            (None, None) => lines.push(one(line, trimmed)),
        }
    }
    // A README begins with its title and ends with a line of nothing.
    while lines.last().is_some_and(|line| line.width() == 0) {
        lines.pop();
    }
    lines
}

const CODE: Style = Style::new().fg(Color::Yellow);
const LINK: Style = Style::new().fg(Color::Cyan).add_modifier(Modifier::UNDERLINED);
const HEADING: Style = Style::new().fg(Color::Green).add_modifier(Modifier::BOLD);

fn is_comment(line: &str) -> bool {
    line.starts_with("<!--") && line.ends_with("-->")
}

fn one(line: &str, trimmed: &str) -> Line<'static> {
    let level = trimmed.chars().take_while(|c| *c == '#').count();
    if (1..=6).contains(&level) && trimmed[level..].starts_with(' ') {
        let style = if level == 1 { HEADING.add_modifier(Modifier::UNDERLINED) } else { HEADING };
        return Line::from(Span::styled(
            trimmed[level..].trim().trim_end_matches('#').trim_end().to_owned(),
            style,
        ));
    }
    if trimmed.len() >= 3 && (trimmed.chars().all(|c| c == '-') || trimmed.chars().all(|c| c == '*')) {
        return Line::from("─".repeat(24));
    }
    let indent = line.len() - trimmed.len();
    let (prefix, rest) = match trimmed.split_at_checked(2) {
        Some(("- " | "* " | "+ ", rest)) => (format!("{}• ", " ".repeat(indent)), rest),
        Some(("> ", rest)) => (format!("{}│ ", " ".repeat(indent)), rest),
        _ => (" ".repeat(indent), trimmed),
    };
    let mut spans = vec![Span::raw(prefix)];
    inline(rest, &mut spans);
    Line::from(spans)
}

/// Code, emphasis and links within a line.
fn inline(text: &str, spans: &mut Vec<Span<'static>>) {
    let mut rest = text;
    let mut plain = String::new();
    while let Some(first) = rest.chars().next() {
        let marked = match first {
            '`' => between(rest, "`", "`").map(|(inner, rest)| (Span::styled(inner.to_owned(), CODE), rest)),
            '*' => between(rest, "**", "**")
                .map(|(inner, rest)| (Span::styled(inner.to_owned(), Modifier::BOLD), rest))
                .or_else(|| {
                    between(rest, "*", "*")
                        .map(|(inner, rest)| (Span::styled(inner.to_owned(), Modifier::ITALIC), rest))
                }),
            '[' => link(rest),
            _ => None,
        };
        match marked {
            Some((span, after)) => {
                if !plain.is_empty() {
                    spans.push(Span::raw(std::mem::take(&mut plain)));
                }
                spans.push(span);
                rest = after;
            }
            None => {
                plain.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    if !plain.is_empty() {
        spans.push(Span::raw(plain));
    }
}

/// What is between two marks at the beginning, if it is something, and what comes after.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<(&'a str, &'a str)> {
    let (inner, rest) = text.strip_prefix(open)?.split_once(close)?;
    let good = !inner.is_empty() && (open == "`" || !(inner.starts_with(' ') || inner.ends_with(' ')));
    good.then_some((inner, rest))
}

/// A link, with where it leads: a terminal has no other way to show it.
fn link(text: &str) -> Option<(Span<'static>, &str)> {
    let (name, rest) = text.strip_prefix('[')?.split_once("](")?;
    let (target, rest) = rest.split_once(')')?;
    let shown =
        if name == target || target.is_empty() { name.to_owned() } else { format!("{name} ({target})") };
    Some((Span::styled(shown, LINK), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(markdown: &str) -> Vec<String> {
        lines(markdown).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn text_is_readable_without_its_marks() {
        assert_eq!(
            plain(
                "# Title #\n\nSome **bold**, *soft* and `code * x`.\n\n- one\n  * two\n> quote\n\n```rust\nfn main() {}\n# no title\n```\n\n[a](https://b.c) [x] 2 * 3 * 4\n---\n<!-- hidden -->\n\n"
            ),
            [
                "Title",
                "",
                "Some bold, soft and code * x.",
                "",
                "• one",
                "  • two",
                "│ quote",
                "",
                "  fn main() {}",
                "  # no title",
                "",
                "a (https://b.c) [x] 2 * 3 * 4",
                "────────────────────────"
            ]
        );
    }

    #[test]
    fn a_terminal_is_not_steered_and_nothing_panics() {
        let evil = "# \u{1b}[2Jx\u{202e}y\n`\u{7}`\n```\n\u{1b}]0;t\u{7}\n";
        assert_eq!(plain(evil), ["[2Jxy", "``", "  ]0;t"]);
        for text in ["", "#", "[", "[a](", "**", "`", "ä*ä*", "***a***", "-", "> ", "é", "\u{1F600}"] {
            let _ = plain(text);
        }
    }
}
