//! Lines broken at words, so that it is known how many there are.

use ratatui::text::{Line, Span, Text};

/// The text in lines of at most so many columns. A line that begins with blanks or a bullet goes on below its text.
pub fn wrap(text: Text<'static>, width: usize) -> Vec<Line<'static>> {
    let style = text.style;
    text.lines
        .into_iter()
        .flat_map(|line| one(line, width.max(1)))
        .map(|line| line.patch_style(style))
        .collect()
}

fn one(line: Line<'static>, width: usize) -> Vec<Line<'static>> {
    if line.width() <= width {
        return vec![line];
    }
    let style = line.style;
    // Each character with its style and columns.
    let mut cells = Vec::new();
    for span in &line.spans {
        for c in span.content.chars() {
            cells.push((c, span.style, Span::raw(c.to_string()).width()));
        }
    }
    let indent =
        cells.iter().take_while(|(c, ..)| matches!(c, ' ' | '•' | '│')).map(|(.., wide)| wide).sum::<usize>();
    let indent = if indent * 2 < width { indent } else { 0 };
    let (mut lines, mut from) = (Vec::new(), 0);
    while from < cells.len() {
        let room = if lines.is_empty() { width } else { width - indent };
        let (mut to, mut used, mut blank) = (from, 0, None);
        while to < cells.len() && (used + cells[to].2 <= room || to == from) {
            used += cells[to].2;
            to += 1;
            if to < cells.len() && cells[to].0 == ' ' && to > from {
                blank = Some(to);
            }
        }
        // In the middle of a word: before it, if there was something.
        let end = if to < cells.len() {
            blank.filter(|blank| has_text(&cells[from..*blank])).unwrap_or(to)
        } else {
            to
        };
        let mut spans =
            if lines.is_empty() || indent == 0 { Vec::new() } else { vec![Span::raw(" ".repeat(indent))] };
        for (c, style, _) in &cells[from..end] {
            match spans.last_mut() {
                Some(last) if last.style == *style => last.content.to_mut().push(*c),
                _ => spans.push(Span::styled(c.to_string(), *style)),
            }
        }
        lines.push(Line::from(spans).style(style));
        from = end;
        while from < cells.len() && cells[from].0 == ' ' {
            from += 1;
        }
    }
    lines
}

fn has_text<S>(cells: &[(char, S, usize)]) -> bool {
    cells.iter().any(|(c, ..)| !matches!(c, ' ' | '•' | '│'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(text: &str, width: usize) -> Vec<String> {
        wrap(Text::raw(text.to_owned()), width).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lines_break_at_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("onetwothree x", 4), ["onet", "woth", "ree", "x"]);
        assert_eq!(wrapped("• one two three", 9), ["• one two", "  three"]);
        assert_eq!(wrapped("short\n\nshort", 9), ["short", "", "short"]);
        assert_eq!(wrapped("日本語", 4), ["日本", "語"]);
        for width in 0..6 {
            for text in ["", " ", "•", "      x", "日 本", "a b c d e f", "• • • • •"] {
                let lines = wrapped(text, width);
                let kept = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
                assert_eq!(kept(&lines.concat()), kept(text), "{text:?} in {width}");
            }
        }
    }

    #[test]
    fn styles_stay() {
        use ratatui::style::Stylize as _;
        let line = Line::from(vec!["one ".bold(), "two".italic()]);
        let lines = wrap(Text::from(line), 4);
        assert_eq!(lines, [Line::from("one".bold()), Line::from("two".italic())]);
    }
}
