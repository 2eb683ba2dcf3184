//! The view on a whole terminal.

use everlink::tutorial::{FileChange, FileStatus, Phase, Presence, Role, StepType};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Paragraph};

use super::command::KEYS;
use super::wrap::wrap;
use super::{Pane, View, clean, clean_line, markdown, presence};

/// Narrower, there is no list of steps.
const WITH_STEPS: u16 = 64;
/// How wide that list is.
const STEPS_WIDTH: u16 = 30;
/// The most lines that the members take.
const MEMBERS: usize = 8;

const DIM: Style = Style::new().fg(Color::DarkGray);

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, view: &mut View) {
    let [top, middle, notice, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(header(view, top.width), top);
    frame.render_widget(status(view), notice);
    frame.render_widget(hints(view, keys.width), keys);
    let pane = if middle.width >= WITH_STEPS {
        let [side, pane] =
            Layout::horizontal([Constraint::Length(STEPS_WIDTH), Constraint::Fill(1)]).areas(middle);
        sidebar(frame, view, side);
        pane
    } else {
        middle
    };
    body(frame, view, pane);
}

/// Where we are on the left, who leads on the right.
fn header(view: &View, width: u16) -> Line<'static> {
    let title = clean_line(&view.outline.title);
    let step = match &view.state {
        Some(state) => format!(
            "  step {}/{}{}",
            u64::from(state.step_content.index) + 1,
            state.total_steps,
            if state.is_showing_solution { ", solution" } else { "" }
        ),
        None => String::new(),
    };
    let healing = if view.healing { " ⚠ connection lost, healing " } else { "" };
    let leader = match view.phase {
        Phase::Connecting => " connecting… ".to_owned(),
        Phase::Disconnected => " disconnected ".to_owned(),
        _ => format!(" {} ", view.leader()),
    };
    let style = match (view.phase, view.holder) {
        (Phase::Active, _) => Style::new().black().on_green(),
        (_, Some(_)) => Style::new().black().on_cyan(),
        _ => Style::new().black().on_gray(),
    };
    let right = [Span::styled(healing, Style::new().black().on_yellow()), Span::styled(leader, style)];
    let right_width: usize = right.iter().map(Span::width).sum();
    let room = usize::from(width).saturating_sub(right_width + 1);
    let left = Line::from(vec![Span::styled(title, Modifier::BOLD), Span::raw(step)]);
    let mut spans = cut(left, room).spans;
    let used: usize = spans.iter().map(Span::width).sum();
    spans.push(Span::raw(" ".repeat(usize::from(width).saturating_sub(right_width + used))));
    spans.extend(right);
    Line::from(spans)
}

/// A line of at most so many columns.
fn cut(line: Line<'static>, width: usize) -> Line<'static> {
    if line.width() <= width {
        return line;
    }
    let (mut spans, mut left) = (Vec::new(), width.saturating_sub(1));
    for span in line.spans {
        let mut text = String::new();
        for c in span.content.chars() {
            let wide = Span::raw(c.to_string()).width();
            if wide > left {
                left = 0;
                break;
            }
            left -= wide;
            text.push(c);
        }
        spans.push(Span::styled(text, span.style));
        if left == 0 {
            break;
        }
    }
    if width > 0 {
        spans.push(Span::raw("…"));
    }
    Line::from(spans)
}

/// The steps, and who is there.
fn sidebar(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let members = u16::try_from(view.members.len().min(MEMBERS)).unwrap_or(0);
    let wanted = if members > 0 && area.height >= members + 8 { members + 1 } else { 0 };
    let [steps, here] = Layout::vertical([Constraint::Fill(1), Constraint::Length(wanted)]).areas(area);

    let block = Block::bordered().title(" Steps ").border_style(DIM);
    let inner = block.inner(steps);
    frame.render_widget(block, steps);
    let current = view.index();
    let mut at = 0;
    let mut lines = Vec::new();
    for step in view.outline.steps.iter().filter(|step| !view.is_hidden(step.index)) {
        let is_current = current == Some(step.index)
            || current.is_some_and(|at| view.is_hidden(at) && at == step.index + 1);
        if is_current {
            at = lines.len();
        }
        let indent = if step.kind == StepType::Section || step.section.is_none() { "" } else { "  " };
        let mark = if is_current { "▸ " } else { "  " };
        let line = Line::from(format!("{mark}{indent}{}", clean_line(&step.title)));
        let style = match (is_current, step.kind) {
            (true, _) => Style::new().fg(Color::Green).add_modifier(Modifier::BOLD),
            (_, StepType::Section) => Style::new().add_modifier(Modifier::BOLD),
            _ => Style::new(),
        };
        lines.push(cut(line, usize::from(inner.width)).style(style));
    }
    // The step shown stays in sight, with some of what comes after it.
    let height = usize::from(inner.height);
    let first = (at + height / 3 + 1).saturating_sub(height).min(lines.len().saturating_sub(height));
    let lines: Vec<Line<'_>> = lines.into_iter().skip(first).take(height).collect();
    frame.render_widget(Paragraph::new(lines), inner);

    let mut lines = vec![Line::styled(format!(" Here: {}", view.members.len()), DIM)];
    for member in view.members.iter().take(MEMBERS) {
        let (mark, style) = match (member.presence, member.role) {
            (Presence::Healing, _) => ("⚠", Style::new().fg(Color::Yellow)),
            (_, Role::Leader) => ("★", Style::new().fg(Color::Green)),
            (_, Role::Observer) => ("◦", DIM),
            _ => ("•", Style::new()),
        };
        let away = if member.presence == Presence::Healing {
            format!(" ({})", presence(member))
        } else {
            String::new()
        };
        let line = Line::styled(format!(" {mark} {}{away}", view.name(member.id)), style);
        lines.push(cut(line, usize::from(here.width)));
    }
    frame.render_widget(Paragraph::new(lines), here);
}

/// The large part.
fn body(frame: &mut Frame<'_>, view: &mut View, area: Rect) {
    let title = match (&view.pane, &view.page) {
        (Pane::Help, _) => "Keys".to_owned(),
        (_, Some(page)) => format!("{} ({})", clean_line(&page.title), page.kind),
        (_, None) => {
            view.state.as_ref().map_or_else(String::new, |state| clean_line(&state.step_content.title))
        }
    };
    let title = match view.pane {
        Pane::Files => format!("{title}: files"),
        Pane::Diff => format!("{title}: changes"),
        _ => title,
    };
    let title = cut(Line::from(format!(" {title} ")), usize::from(area.width.saturating_sub(2)));
    let block = Block::bordered().title(title).border_style(DIM);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let text = content(view);
    // Code and diffs keep their lines; a text is there to be read.
    let lines = match view.pane {
        Pane::Lesson | Pane::Help => wrap(text, usize::from(inner.width)),
        Pane::Files | Pane::Diff => text.lines.into_iter().map(|line| line.patch_style(text.style)).collect(),
    };
    let most = lines.len().saturating_sub(usize::from(inner.height));
    view.scroll = view.scroll.min(u16::try_from(most).unwrap_or(u16::MAX));
    let lines: Vec<Line<'_>> =
        lines.into_iter().skip(usize::from(view.scroll)).take(usize::from(inner.height)).collect();
    frame.render_widget(Paragraph::new(lines), inner);
    if most > 0 && area.width > 12 && area.height > 1 {
        let seen = format!(" {}% ", (usize::from(view.scroll) * 100).checked_div(most).unwrap_or(100));
        let width = u16::try_from(seen.len()).unwrap_or(0);
        let corner = Rect::new(area.right() - width - 1, area.bottom() - 1, width, 1);
        frame.render_widget(Span::styled(seen, DIM), corner);
    }
}

fn content(view: &View) -> Text<'static> {
    if view.pane == Pane::Help {
        let keys = KEYS.iter().map(|(key, what)| {
            Line::from(vec![Span::styled(format!("{key:>15}  "), Color::Cyan), Span::raw(*what)])
        });
        let title = [Line::default(), Line::from("Others join with:")];
        let invite = title.into_iter().chain(view.invite.iter().map(|line| Line::from(format!("  {line}"))));
        return Text::from(keys.chain(invite).collect::<Vec<_>>());
    }
    let Some(page) = &view.page else {
        return match (&view.trouble, &view.state) {
            (Some(trouble), _) => Text::styled(clean(trouble), Color::Red),
            (None, Some(_)) => Text::styled("loading…", DIM),
            (None, None) => Text::styled("Nothing is shown yet.", DIM),
        };
    };
    match view.pane {
        Pane::Lesson if page.markdown.trim().is_empty() => {
            Text::styled("This step has no text. v shows what it changes.", DIM)
        }
        Pane::Lesson => Text::from(markdown::lines(&page.markdown)),
        Pane::Files if page.files.is_empty() => Text::styled("This step changes no files.", DIM),
        Pane::Files => Text::from(page.files.iter().map(file).collect::<Vec<_>>()),
        Pane::Diff if page.files.is_empty() => Text::styled("This step changes nothing.", DIM),
        Pane::Diff => {
            let mut lines = Vec::new();
            for change in &page.files {
                if !lines.is_empty() {
                    lines.push(Line::default());
                }
                lines.push(file(change).patch_style(Modifier::BOLD));
                lines.extend(diff(change));
            }
            Text::from(lines)
        }
        Pane::Help => Text::default(),
    }
}

/// One file that a step changes.
fn file(change: &FileChange) -> Line<'static> {
    let (mark, color) = match change.status {
        FileStatus::Added => ("A", Color::Green),
        FileStatus::Modified => ("M", Color::Yellow),
        FileStatus::Deleted => ("D", Color::Red),
        FileStatus::Renamed => ("R", Color::Cyan),
    };
    let mut spans = vec![Span::styled(format!("{mark} "), color), Span::raw(super::lines::path(change))];
    if change.diff.is_some() {
        spans.push(Span::styled(format!("  +{}", change.additions), Color::Green));
        spans.push(Span::styled(format!(" −{}", change.deletions), Color::Red));
    }
    Line::from(spans)
}

fn diff(change: &FileChange) -> Vec<Line<'static>> {
    let Some(diff) = &change.diff else { return Vec::new() };
    let line = |line: &str| {
        let style = match line.as_bytes().first() {
            Some(b'+') => Style::new().fg(Color::Green),
            Some(b'-') => Style::new().fg(Color::Red),
            Some(b'@') => Style::new().fg(Color::Cyan),
            Some(b'\\') => DIM,
            _ => Style::new(),
        };
        Line::styled(line.to_owned(), style)
    };
    clean(diff).lines().map(line).collect()
}

/// What waits for an answer, or what happened.
fn status(view: &View) -> Line<'static> {
    let pending = view.pending();
    let asks = pending.is_some();
    match pending.filter(|_| view.notice.is_none() || view.question.is_some()).or_else(|| view.notice.clone())
    {
        Some(words) if asks => {
            Line::styled(format!(" {}", clean_line(&words)), Style::new().black().on_yellow())
        }
        Some(words) => Line::styled(format!(" {}", clean_line(&words)), Color::Yellow),
        None => Line::default(),
    }
}

/// The keys that matter now.
fn hints(view: &View, width: u16) -> Line<'static> {
    let keys: &[(&str, &str)] = match view.phase {
        Phase::Active => &[
            ("n", "next"),
            ("p", "previous"),
            ("s", "solution"),
            ("v", "changes"),
            ("h", "hand over"),
            ("c", "checkout"),
            ("?", "help"),
            ("q", "quit"),
        ],
        Phase::ConnectedIdle => &[
            ("l", "lead"),
            ("w", "follow"),
            ("v", "changes"),
            ("f", "files"),
            ("c", "checkout"),
            ("?", "help"),
            ("q", "quit"),
        ],
        _ => &[
            ("r", "ask for control"),
            ("v", "changes"),
            ("f", "files"),
            ("c", "checkout"),
            ("?", "help"),
            ("q", "quit"),
        ],
    };
    // Help and the way out are always there.
    let (fit, always) = keys.split_at(keys.len() - 2);
    let length = |keys: &[(&str, &str)]| {
        keys.iter().map(|(key, what)| key.chars().count() + what.len() + 3).sum::<usize>()
    };
    let mut shown = fit.len();
    while shown > 0 && length(&fit[..shown]) + length(always) > usize::from(width) {
        shown -= 1;
    }
    let mut spans = Vec::new();
    for (key, what) in fit[..shown].iter().chain(always) {
        spans.push(Span::styled(
            format!(" {key} "),
            Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD),
        ));
        spans.push(Span::styled(format!("{what} "), DIM));
    }
    Line::from(spans)
}
