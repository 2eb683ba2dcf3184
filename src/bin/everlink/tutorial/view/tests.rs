//! What is shown, and what commands do. The screens are whole, so that a change is seen as a user sees it.

use everlink::Identity;
use everlink::tutorial::{FileChange, FileStatus};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::json;

use super::lines::Lines;
use super::*;

fn key(number: u8) -> PublicKey {
    Identity::from_secret([number; 32]).public_key()
}

fn member(number: u8, name: &str, role: &str, presence: &str) -> Member {
    let json =
        json!({ "id": key(number), "name": name, "role": role, "moderator": false, "presence": presence });
    serde_json::from_value(json).unwrap()
}

fn offer(number: u64, from: u8, to: Option<u8>) -> OpenOffer {
    serde_json::from_value(json!({ "offer": number, "from": key(from), "to": to.map(key) })).unwrap()
}

fn request(number: u64, from: u8, reason: &str) -> OpenRequest {
    serde_json::from_value(json!({ "request": number, "from": key(from), "reason": reason })).unwrap()
}

fn outline() -> Outline {
    let step = |(index, (kind, title)): (usize, (StepType, &str))| StepSummary {
        index: index as u32,
        id: format!("{kind}-{index}"),
        title: title.to_owned(),
        kind,
        commit_hash: format!("{index:040}"),
        section: (index > 0).then(|| "A greeting".to_owned()),
    };
    let steps = [
        (StepType::Section, "A greeting"),
        (StepType::Action, "Set up the project"),
        (StepType::Template, "Say hello"),
        (StepType::Solution, "Say hello"),
        (StepType::Template, "Ask for a name"),
        (StepType::Solution, "Ask for a name"),
        (StepType::Section, "The end"),
    ];
    Outline {
        title: "greeting".into(),
        repo_url: None,
        steps: steps.into_iter().enumerate().map(step).collect(),
    }
}

fn page() -> StepPage {
    let change = |path: &str, status, diff: Option<&str>| FileChange {
        path: path.to_owned(),
        old_path: None,
        status,
        binary: false,
        too_large: diff.is_none(),
        additions: 1,
        deletions: u32::from(status == FileStatus::Modified),
        diff: diff.map(str::to_owned),
    };
    StepPage {
        index: 2,
        id: "template-2".into(),
        title: "Say hello".into(),
        kind: StepType::Template,
        commit_hash: "2".into(),
        markdown: "# Say hello\n\nPrint a line, as **everybody** does when they begin with a language: `println!`.\n".into(),
        files: vec![
            change("src/main.rs", FileStatus::Modified, Some("@@ -1 +1 @@\n-fn main() {}\n+fn main() { todo!() }\n")),
            change("big.bin", FileStatus::Added, None),
        ],
    }
}

/// Ada, who leads, Bob, and Eve, who observes.
fn view(me: u8) -> View {
    let mut view = View::new(vec!["everlink tutorial follow room".into()], true);
    view.outline = outline();
    view.me = Some(key(me));
    view.phase = if me == 1 { Phase::Active } else { Phase::Passive };
    view.holder = Some(key(1));
    view.epoch = 1;
    view.members = vec![
        member(1, "Ada", "leader", "here"),
        member(2, "Bob", "follower", "here"),
        member(3, "Eve", "observer", "healing"),
    ];
    view.state = view.state_at(2, false);
    view.page = Some(page());
    view
}

fn screen(view: &mut View, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen::draw(frame, view)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let lines = buffer.content().chunks(usize::from(width).max(1)).map(|row| {
        let row: String = row.iter().map(|cell| cell.symbol()).collect();
        row.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn expect(screen: &str, expected: &str) {
    let expected = expected.trim_matches('\n');
    assert!(screen == expected, "\n{screen}\n--- expected ---\n{expected}");
}

#[test]
fn a_leader_sees_the_lesson_the_steps_and_who_is_here() {
    expect(
        &screen(&mut view(1), 90, 18),
        r"
greeting  step 3/7                                                               you lead
┌ Steps ─────────────────────┐┌ Say hello (template) ────────────────────────────────────┐
│  A greeting                ││Say hello                                                 │
│    Set up the project      ││                                                          │
│▸   Say hello               ││Print a line, as everybody does when they begin with a    │
│    Ask for a name          ││language: println!.                                       │
│  The end                   ││                                                          │
│                            ││                                                          │
│                            ││                                                          │
│                            ││                                                          │
│                            ││                                                          │
└────────────────────────────┘│                                                          │
 Here: 3                      │                                                          │
 ★ you                        │                                                          │
 • Bob                        │                                                          │
 ⚠ Eve (healing)              └──────────────────────────────────────────────────────────┘

 n next  p previous  s solution  v changes  h hand over  c checkout  ? help  q quit",
    );
}

#[test]
fn a_follower_on_a_small_terminal_sees_the_changes() {
    let mut view = view(2);
    view.command(Command::Show(Pane::Diff));
    view.healing = true;
    expect(
        &screen(&mut view, 60, 12),
        r"
greeting  step 3/7    ⚠ connection lost, healing  Ada leads
┌ Say hello (template): changes ───────────────────────────┐
│M src/main.rs  +1 −1                                      │
│@@ -1 +1 @@                                               │
│-fn main() {}                                             │
│+fn main() { todo!() }                                    │
│                                                          │
│A big.bin (too large to be shown)                         │
│                                                          │
└──────────────────────────────────────────────────────────┘

 r ask for control  v changes  f files  ? help  q quit",
    );
    // Colours say what was added and removed.
    let mut terminal = Terminal::new(TestBackend::new(60, 12)).unwrap();
    terminal.draw(|frame| screen::draw(frame, &mut view)).unwrap();
    let buffer = terminal.backend().buffer();
    let color = |row| buffer[(1, row)].fg;
    assert_eq!((color(4), color(5)), (ratatui::style::Color::Red, ratatui::style::Color::Green));
}

#[test]
fn a_terminal_of_any_size_is_drawn_on() {
    let mut view = view(1);
    view.notice = Some("something".into());
    for pane in [Pane::Lesson, Pane::Files, Pane::Diff, Pane::Help] {
        view.pane = pane;
        for width in (0..100).step_by(7) {
            for height in 0..24 {
                view.scroll = 1000;
                screen(&mut view, width, height);
            }
        }
    }
    view.pane = Pane::Lesson;
    view.page = None;
    view.outline = Outline::default();
    screen(&mut view, 80, 24);
    view.trouble = Some("the host does not answer; try again".into());
    assert!(screen(&mut view, 80, 24).contains("does not answer"));
}

#[test]
fn scrolling_ends_with_the_text() {
    let mut view = view(1);
    view.page.as_mut().unwrap().markdown = (0..100).map(|n| format!("line {n}\n\n")).collect();
    assert!(screen(&mut view, 60, 12).contains("0%"));
    view.command(Command::Scroll(10));
    assert!(screen(&mut view, 60, 12).contains("line 5"));
    view.command(Command::Scroll(i16::MAX));
    let end = screen(&mut view, 60, 12);
    assert!(end.contains("line 99") && end.contains("100%"), "{end}");
    view.command(Command::Scroll(-1));
    assert!(screen(&mut view, 60, 12).contains("99%"));
    // Another step begins at its beginning.
    view.command(Command::Next);
    assert_eq!((view.scroll, &view.page), (0, &None));
}

#[test]
fn strangers_cannot_steer_the_terminal() {
    let mut view = view(2);
    let evil = "\u{1b}[2J\u{7}\u{202e}evil\r\n";
    view.outline.title = evil.into();
    for step in &mut view.outline.steps {
        step.title = evil.into();
    }
    view.members[0] = member(1, evil, "leader", "here");
    view.state.as_mut().unwrap().step_content.title = evil.into();
    view.requests = vec![request(1, 2, evil)];
    view.offer = Some(offer(1, 1, None));
    let page = view.page.as_mut().unwrap();
    page.title = evil.into();
    page.markdown = evil.into();
    page.files[0].path = evil.into();
    page.files[0].diff = Some(format!("@@ -1 +1 @@\n+{evil}"));
    let is_bad = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    let mut lines = Lines::default();
    for pane in [Pane::Lesson, Pane::Files, Pane::Diff, Pane::Help] {
        view.pane = pane;
        lines.ask(pane);
        let shown = screen(&mut view, 100, 30);
        assert!(!shown.contains(is_bad), "{shown:?}");
    }
    for told in lines.update(&view) {
        assert!(!told.person.contains(is_bad), "{told:?}");
    }
}

#[test]
fn the_leader_goes_through_the_steps_and_solutions_are_shown_with_their_template() {
    let mut view = view(1);
    view.state = None;
    let mut went = Vec::new();
    for command in [
        Command::Next,
        Command::Next,
        Command::Next,
        Command::Solution,
        Command::Next,
        Command::Solution,
        Command::Solution,
        Command::Next,
        Command::Previous,
        Command::Previous,
        Command::GoTo(1),
        Command::GoTo(4),
    ] {
        let Some(Act::Send(state)) = view.command(command.clone()) else {
            panic!("{command:?}: {:?}", view.notice)
        };
        assert_eq!(view.state.as_ref(), Some(&state));
        assert_eq!((state.total_steps, &*state.tutorial_title), (7, "greeting"));
        went.push((state.step_content.index, state.is_showing_solution));
    }
    let expected = [
        (0, false),
        (1, false),
        (2, false),
        (2, true),
        (4, false),
        (4, true),
        (4, false),
        (6, false),
        (4, false),
        (2, false),
        (0, false),
        (3, false),
    ];
    assert_eq!(went, expected);
    for (at, command, words) in [
        (1, Command::Previous, "first step"),
        (7, Command::Next, "last step"),
        (6, Command::Next, ""),
        (1, Command::Solution, "no solution"),
        (1, Command::GoTo(8), "steps 1 to 7"),
        (1, Command::GoTo(u32::MAX), "steps 1 to 7"),
        (1, Command::GoTo(1), "first step"),
    ] {
        view.state = view.state_at(at - 1, false);
        let act = view.command(command.clone());
        assert_eq!(act.is_none(), !words.is_empty(), "{command:?} at {at}: {act:?}");
        assert!(view.notice.unwrap_or_default().contains(words), "{command:?} at {at}");
        view.notice = None;
    }
}

#[test]
fn only_who_leads_goes_on_and_others_are_told_how() {
    for command in [Command::Next, Command::Previous, Command::GoTo(1), Command::Solution] {
        let mut view = view(2);
        assert_eq!(view.command(command.clone()), None);
        assert_eq!(view.notice.as_deref(), Some("Ada leads; r asks for control"), "{command:?}");
        view.phase = Phase::ConnectedIdle;
        view.holder = None;
        assert_eq!(view.command(command), None);
        assert_eq!(view.notice.as_deref(), Some("nobody leads; l leads"));
    }
    let mut view = view(2);
    assert_eq!(view.command(Command::Lead), None);
    assert_eq!(view.command(Command::Release), None);
    assert_eq!(view.command(Command::Offer(None)), None);
    assert_eq!(view.command(Command::Request(None)), Some(Act::Request(None)));
    view.phase = Phase::ConnectedIdle;
    view.holder = None;
    assert_eq!(view.command(Command::Lead), Some(Act::Lead));
    assert_eq!(view.command(Command::Follow), Some(Act::Follow));
    view.phase = Phase::Connecting;
    assert_eq!(view.command(Command::Next), None);
    assert_eq!(view.notice.as_deref(), Some("not in the room yet"));
}

#[test]
fn control_is_handed_over_to_somebody_who_may_have_it() {
    let mut view = view(1);
    // Eve observes: Bob is the only one.
    assert_eq!(view.command(Command::Offer(None)), Some(Act::Offer(Some(key(2)))));
    view.members.push(member(4, "Cleo", "follower", "here"));
    assert_eq!(view.command(Command::Offer(None)), None);
    assert!(screen(&mut view, 90, 18).contains("hand over to: 1 Bob, 2 Cleo, 0 whoever wants, Esc nobody"));
    let of =
        |code, view: &View| command::of_key(KeyEvent::new(code, KeyModifiers::NONE), view.question.as_ref());
    let two = of(KeyCode::Char('2'), &view).unwrap();
    assert_eq!(view.clone().command(two), Some(Act::Offer(Some(key(4)))));
    let any = of(KeyCode::Char('0'), &view).unwrap();
    assert_eq!(view.clone().command(any), Some(Act::Offer(None)));
    assert_eq!(view.command(Command::Choose(9)), None);
    assert_eq!(view.command(Command::Choose(2)), None, "the question is over");
    assert_eq!(view.command(Command::Offer(Some("Cleo".into()))), Some(Act::Offer(Some(key(4)))));
    assert_eq!(view.command(Command::Offer(Some(key(2).to_string()))), Some(Act::Offer(Some(key(2)))));
    assert_eq!(view.command(Command::Offer(Some("Eve".into()))), None);
    view.offer = Some(offer(7, 1, Some(2)));
    assert_eq!(view.pending().unwrap(), "control is offered to Bob: h takes it back");
    assert_eq!(view.command(Command::Offer(None)), Some(Act::Withdraw));
    view.offer = None;
    view.requests = vec![request(5, 2, "I know\nthis")];
    assert_eq!(view.pending().unwrap(), "Bob asks for control (I know this): a grants, d denies");
    assert_eq!(view.command(Command::Accept), Some(Act::Grant(5)));
    assert_eq!(view.command(Command::Decline), Some(Act::Deny(5)));

    let mut bob = self::view(2);
    assert_eq!(bob.command(Command::Accept), None);
    bob.offer = Some(offer(7, 1, Some(2)));
    assert_eq!(bob.pending().unwrap(), "Ada offers you control: a accepts, d declines");
    assert_eq!(bob.command(Command::Accept), Some(Act::Accept(7)));
    assert_eq!(bob.command(Command::Decline), Some(Act::Decline(7)));
}

#[test]
fn files_are_checked_out_as_they_are_shown() {
    let mut view = view(2);
    assert_eq!(
        view.command(Command::Checkout { force: false }),
        Some(Act::Checkout { index: 2, force: false })
    );
    view.state = view.state_at(2, true);
    assert_eq!(
        view.command(Command::Checkout { force: true }),
        Some(Act::Checkout { index: 3, force: true })
    );
    view.question = Some(Question::Overwrite);
    assert_eq!(view.clone().command(Command::Escape), None);
    assert_eq!(view.command(Command::Yes), Some(Act::Checkout { index: 3, force: true }));
    assert_eq!(view.command(Command::Yes), None);
    view.work = false;
    assert_eq!(view.command(Command::Checkout { force: false }), None);
    assert!(view.notice.unwrap().contains("--work"));
}

#[test]
fn keys_and_lines_are_read() {
    let none = |code| command::of_key(KeyEvent::new(code, KeyModifiers::NONE), None);
    assert_eq!(none(KeyCode::Right), Some(Command::Next));
    assert_eq!(none(KeyCode::Char('y')), None);
    assert_eq!(none(KeyCode::Char('1')), None);
    let ctrl = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(command::of_key(ctrl, None), Some(Command::Quit));
    for (line, expected) in [
        ("", None),
        ("  next  ", Some(Command::Next)),
        ("goto 3", Some(Command::GoTo(3))),
        ("offer", Some(Command::Offer(None))),
        ("offer  Bob the builder", Some(Command::Offer(Some("Bob the builder".into())))),
        ("checkout --force", Some(Command::Checkout { force: true })),
        ("text", Some(Command::Show(Pane::Lesson))),
    ] {
        assert_eq!(command::of_line(line), Ok(expected), "{line}");
    }
    for bad in
        ["goto", "goto 0", "goto x", "goto -1", "next 3", "checkout all", "nonsense", &"x".repeat(10_000)]
    {
        let words = command::of_line(bad).unwrap_err();
        assert!(words.len() < 300, "{words}");
    }
}

#[test]
fn lines_tell_each_change_once() {
    let mut view = View::new(Vec::new(), false);
    let mut lines = Lines::default();
    let mut people = |view: &View| {
        let told = lines.update(view).into_iter().map(|told| told.person);
        told.filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    assert!(people(&view).is_empty());
    let full = self::view(2);
    view = View { page: None, ..full.clone() };
    assert_eq!(
        people(&view),
        ["member Ada joined", "member Eve joined", "Ada leads", "step 3/7 template \"Say hello\""]
    );
    assert!(people(&view).is_empty());
    view.healing = true;
    view.members[2] = member(3, "Eve", "observer", "here");
    assert_eq!(people(&view), ["member Eve healed", "connection lost, healing"]);
    view.healing = false;
    view.offer = Some(offer(7, 1, None));
    assert_eq!(people(&view), ["connected again", "offer Ada offers you control: accept or decline"]);
    view.offer = None;
    view.holder = Some(key(2));
    view.phase = Phase::Active;
    view.epoch = 2;
    view.members.remove(2);
    view.state = view.state_at(2, true);
    assert_eq!(people(&view), ["member Eve left", "you lead", "step 3/7 template \"Say hello\" solution"]);
    view.requests = vec![request(5, 1, "")];
    assert_eq!(people(&view), ["request Ada asks for control: accept or decline"]);
    view.requests.clear();
    view.trouble = Some("no page".into());
    assert_eq!(people(&view), ["no page"]);
}

#[test]
fn what_was_asked_for_is_shown_when_it_is_there() {
    let mut view = view(2);
    let page = view.page.take();
    let mut lines = Lines::default();
    lines.update(&view);
    lines.ask(Pane::Files);
    lines.ask(Pane::Diff);
    lines.ask(Pane::Lesson);
    assert!(lines.update(&view).is_empty());
    view.page = page;
    let told = lines.update(&view);
    assert_eq!(told[0].person, "M src/main.rs +1 -1\nA big.bin (too large to be shown)");
    assert!(
        told[1]
            .person
            .starts_with("M src/main.rs +1 -1\n@@ -1 +1 @@\n-fn main() {}\n+fn main() { todo!() }\nA big")
    );
    assert!(told[2].person.starts_with("# Say hello\n"));
    assert_eq!(told[1].program["files"][0]["path"], "src/main.rs");
    assert_eq!(told[2].program["event"], "text");
    assert!(lines.update(&view).is_empty());
}
