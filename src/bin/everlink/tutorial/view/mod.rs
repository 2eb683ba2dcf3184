//! What a tutorial looks like to one member, and what the keys do: pure, so that both renderers and all tests share it.

pub mod command;
pub mod lines;
pub mod markdown;
pub mod screen;
#[cfg(test)]
mod tests;
mod wrap;

use everlink::PublicKey;
use everlink::tutorial::{
    Member, OpenOffer, OpenRequest, Outline, Phase, Presence, Role, StepContent, StepPage, StepSummary,
    StepType, Ticket, TutorialSyncState,
};

pub use self::command::Command;

/// Everything that is shown.
#[derive(Clone, Debug)]
pub struct View {
    /// How others join, in lines.
    pub invite: Vec<String>,
    /// What the tutorial is known by, for the first state.
    pub tutorial_id: String,
    pub outline: Outline,
    /// What the leader shows.
    pub state: Option<TutorialSyncState>,
    /// The text and the changes of the step shown, as soon as they are there.
    pub page: Option<StepPage>,
    /// Why there is no page.
    pub trouble: Option<String>,
    pub me: Option<PublicKey>,
    pub phase: Phase,
    /// Whether the connection is lost and looked for.
    pub healing: bool,
    pub epoch: u64,
    pub holder: Option<PublicKey>,
    pub members: Vec<Member>,
    /// An offer that this member made or may accept.
    pub offer: Option<OpenOffer>,
    pub requests: Vec<OpenRequest>,
    /// Where files are checked out, if anywhere.
    pub work: bool,
    pub pane: Pane,
    /// The first line of the pane that is seen.
    pub scroll: u16,
    pub question: Option<Question>,
    /// What happened last, in words.
    pub notice: Option<String>,
}

/// What the large part of the screen shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pane {
    Lesson,
    Files,
    Diff,
    Help,
}

/// What is asked before something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// To whom control shall go: to one of these, or to whoever wants it.
    HandOver(Vec<PublicKey>),
    /// Whether local changes may be overwritten.
    Overwrite,
}

/// What is to be done about a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    Send(TutorialSyncState),
    Lead,
    Follow,
    Offer(Option<PublicKey>),
    Withdraw,
    Accept(Ticket),
    Decline(Ticket),
    Grant(Ticket),
    Deny(Ticket),
    Request(Option<String>),
    Release,
    Checkout {
        index: u32,
        force: bool,
    },
    /// Somebody who reads lines asked for this.
    Print(Pane),
    Quit,
}

impl View {
    pub fn new(invite: Vec<String>, work: bool) -> Self {
        Self {
            invite,
            tutorial_id: String::new(),
            outline: Outline::default(),
            state: None,
            page: None,
            trouble: None,
            me: None,
            phase: Phase::Connecting,
            healing: false,
            epoch: 0,
            holder: None,
            members: Vec::new(),
            offer: None,
            requests: Vec::new(),
            work,
            pane: Pane::Lesson,
            scroll: 0,
            question: None,
            notice: None,
        }
    }

    /// Takes what the room shows. Forgets the page of another step.
    pub fn set_state(&mut self, state: Option<TutorialSyncState>) {
        if self.state == state {
            return;
        }
        let shown = |state: &Option<TutorialSyncState>| {
            state.as_ref().map(|state| (state.step_content.clone(), state.is_showing_solution))
        };
        if shown(&self.state) != shown(&state) {
            self.page = None;
            self.trouble = None;
            self.scroll = 0;
            self.question = None;
        }
        self.state = state;
    }

    /// Which page belongs to what is shown: the index of its step, and whether it is that step's solution.
    pub fn wanted_page(&self) -> Option<(u32, bool)> {
        let state = self.state.as_ref()?;
        Some((state.step_content.index, state.is_showing_solution))
    }

    /// The step shown, from 0.
    pub fn index(&self) -> Option<u32> {
        self.state.as_ref().map(|state| state.step_content.index)
    }

    /// The state that shows a step of the outline.
    pub fn state_at(&self, index: u32, solution: bool) -> Option<TutorialSyncState> {
        let step = self.step(index)?;
        let known = self.state.as_ref();
        Some(TutorialSyncState {
            tutorial_id: match known {
                Some(state) => state.tutorial_id.clone(),
                None if self.tutorial_id.is_empty() => self.outline.title.clone(),
                None => self.tutorial_id.clone(),
            },
            tutorial_title: self.outline.title.clone(),
            total_steps: u32::try_from(self.outline.steps.len()).unwrap_or(u32::MAX),
            is_showing_solution: solution,
            step_content: StepContent {
                id: step.id.clone(),
                title: step.title.clone(),
                commit_hash: step.commit_hash.clone(),
                kind: step.kind,
                index: step.index,
            },
            repo_url: self.outline.repo_url.clone(),
        })
    }

    fn step(&self, index: u32) -> Option<&StepSummary> {
        self.outline.steps.get(index as usize)
    }

    /// Whether a step is shown as the solution of the one before it, and not by itself.
    pub fn is_hidden(&self, index: u32) -> bool {
        let kind = |index: u32| self.step(index).map(|step| step.kind);
        kind(index) == Some(StepType::Solution)
            && index.checked_sub(1).is_some_and(|before| kind(before) == Some(StepType::Template))
    }

    fn has_solution(&self, index: u32) -> bool {
        self.is_hidden(index.saturating_add(1))
    }

    /// What somebody is called.
    pub fn name(&self, who: PublicKey) -> String {
        if self.me == Some(who) {
            return "you".to_owned();
        }
        let member = self.members.iter().find(|member| member.id == who);
        match member.and_then(|member| member.name.as_deref()).map(clean_line).filter(|name| !name.is_empty())
        {
            Some(name) => name,
            None => who.to_string().chars().take(8).collect(),
        }
    }

    /// Who leads, in words.
    pub fn leader(&self) -> String {
        match self.holder {
            Some(holder) if self.me == Some(holder) => "you lead".to_owned(),
            Some(holder) => format!("{} leads", self.name(holder)),
            None => "nobody leads".to_owned(),
        }
    }

    /// What waits for this member's word.
    pub fn pending(&self) -> Option<String> {
        match &self.question {
            Some(Question::HandOver(to)) => {
                let names = to.iter().enumerate().map(|(at, who)| format!("{} {}", at + 1, self.name(*who)));
                return Some(format!(
                    "hand over to: {}, 0 whoever wants, Esc nobody",
                    names.collect::<Vec<_>>().join(", ")
                ));
            }
            Some(Question::Overwrite) => {
                return Some("overwrite your changes in these files? y yes, Esc no".to_owned());
            }
            None => {}
        }
        if let Some(offer) = self.offer_to_me() {
            return Some(format!("{} offers you control: a accepts, d declines", self.name(offer.from)));
        }
        if let Some(offer) = &self.offer {
            let to = offer.to.map_or("whoever wants".to_owned(), |to| self.name(to));
            return Some(format!("control is offered to {to}: h takes it back"));
        }
        let request = self.open_request()?;
        let reason = request.reason.as_deref().map(clean_line).filter(|reason| !reason.is_empty());
        let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
        Some(format!("{} asks for control{reason}: a grants, d denies", self.name(request.from)))
    }

    /// An offer that this member may accept.
    pub fn offer_to_me(&self) -> Option<&OpenOffer> {
        self.offer.as_ref().filter(|offer| self.me != Some(offer.from))
    }

    fn open_request(&self) -> Option<&OpenRequest> {
        self.requests.first().filter(|_| self.phase == Phase::Active)
    }

    fn says(&mut self, words: impl Into<String>) -> Option<Act> {
        self.notice = Some(words.into());
        None
    }

    /// Does what a command says as far as it is this member's own business; the rest is to be done.
    pub fn command(&mut self, command: Command) -> Option<Act> {
        self.notice = None;
        let question = self.question.take();
        match command {
            Command::Next => self.go(self.index().map_or(0, |index| self.after(index))),
            Command::Previous => match self.index().map(|index| self.before(index)) {
                Some(Some(index)) => self.go(index),
                _ => self.go(0),
            },
            // As people count.
            Command::GoTo(number) => self.go(number.saturating_sub(1)),
            Command::Solution => self.toggle_solution(),
            Command::Lead => match self.phase {
                Phase::Active => self.says("you lead already"),
                Phase::ConnectedIdle => Some(Act::Lead),
                _ => self.says(format!("{}; r asks for control", self.leader())),
            },
            Command::Follow => match self.phase {
                Phase::Active => self.says("you lead: x releases control, h hands it over"),
                Phase::ConnectedIdle => Some(Act::Follow),
                _ => self.says("you follow already"),
            },
            Command::Offer(to) => self.hand_over(to),
            Command::Accept => match (self.offer_to_me(), self.open_request()) {
                (Some(offer), _) => Some(Act::Accept(offer.offer)),
                (None, Some(request)) => Some(Act::Grant(request.request)),
                (None, None) => self.says("nobody offers you control, and nobody asks for it"),
            },
            Command::Decline => match (self.offer_to_me(), self.open_request()) {
                (Some(offer), _) => Some(Act::Decline(offer.offer)),
                (None, Some(request)) => Some(Act::Deny(request.request)),
                (None, None) => self.says("nobody offers you control, and nobody asks for it"),
            },
            Command::Request(reason) => match self.phase {
                Phase::Active => self.says("you lead already"),
                Phase::Passive | Phase::ConnectedIdle => Some(Act::Request(reason)),
                _ => self.says("not in the room yet"),
            },
            Command::Release => match self.phase {
                Phase::Active => Some(Act::Release),
                _ => self.says("you do not lead"),
            },
            Command::Show(pane) => self.show(pane),
            Command::Checkout { force } => self.checkout(force),
            Command::Choose(choice) => match question {
                Some(Question::HandOver(to)) => match choice {
                    0 => Some(Act::Offer(None)),
                    _ => to.get(choice as usize - 1).map(|to| Act::Offer(Some(*to))),
                },
                _ => None,
            },
            Command::Yes => match question {
                Some(Question::Overwrite) => self.checkout(true),
                _ => None,
            },
            Command::Scroll(lines) => {
                self.question = question;
                self.scroll = self.scroll.saturating_add_signed(lines);
                None
            }
            Command::Escape => {
                if question.is_none() {
                    self.pane = Pane::Lesson;
                    self.scroll = 0;
                }
                None
            }
            Command::Quit => Some(Act::Quit),
        }
    }

    fn after(&self, index: u32) -> u32 {
        let next = index.saturating_add(1);
        if self.is_hidden(next) { next.saturating_add(1) } else { next }
    }

    fn before(&self, index: u32) -> Option<u32> {
        let before = index.checked_sub(1)?;
        if self.is_hidden(before) { before.checked_sub(1) } else { Some(before) }
    }

    /// Shows a step to all, if this member leads.
    fn go(&mut self, index: u32) -> Option<Act> {
        if let Some(refused) = self.may_not_lead() {
            return self.says(refused);
        }
        let steps = self.outline.steps.len();
        let Some(state) = self.state_at(index, false) else {
            return match steps {
                0 => self.says("the steps are not known yet"),
                _ if self.index().is_some_and(|at| index > at && self.after(at) >= steps as u32) => {
                    self.says("this is the last step")
                }
                _ => self.says(format!("there are steps 1 to {steps}")),
            };
        };
        if self.state.as_ref() == Some(&state) {
            return self.says(if index == 0 { "this is the first step" } else { "this step is shown" });
        }
        self.set_state(Some(state.clone()));
        Some(Act::Send(state))
    }

    fn may_not_lead(&self) -> Option<String> {
        match self.phase {
            Phase::Active => None,
            Phase::ConnectedIdle if self.holder.is_none() => Some("nobody leads; l leads".to_owned()),
            Phase::Passive | Phase::ConnectedIdle => Some(format!("{}; r asks for control", self.leader())),
            _ => Some("not in the room yet".to_owned()),
        }
    }

    fn toggle_solution(&mut self) -> Option<Act> {
        if let Some(refused) = self.may_not_lead() {
            return self.says(refused);
        }
        let Some((index, solution)) = self.wanted_page() else { return self.says("no step is shown yet") };
        if !solution && !self.has_solution(index) {
            return self.says("this step has no solution");
        }
        let state = self.state_at(index, !solution)?;
        self.set_state(Some(state.clone()));
        Some(Act::Send(state))
    }

    fn hand_over(&mut self, to: Option<String>) -> Option<Act> {
        if self.phase != Phase::Active {
            return self.says("only who leads can hand over");
        }
        if self.offer.is_some() {
            return Some(Act::Withdraw);
        }
        let others: Vec<PublicKey> = self
            .members
            .iter()
            .filter(|member| self.me != Some(member.id) && member.role != Role::Observer)
            .map(|member| member.id)
            .collect();
        if let Some(to) = to {
            let found: Vec<_> = others
                .iter()
                .filter(|who| self.name(**who) == to || who.to_string().starts_with(&to))
                .collect();
            return match found[..] {
                [who] => Some(Act::Offer(Some(*who))),
                [] => self.says(format!("there is no member {}", clean_line(&to))),
                _ => self.says(format!("there are several members {}; name one by its key", clean_line(&to))),
            };
        }
        match others[..] {
            [] => self.says("there is nobody to hand over to"),
            [one] => Some(Act::Offer(Some(one))),
            _ => {
                self.question = Some(Question::HandOver(others));
                None
            }
        }
    }

    fn show(&mut self, pane: Pane) -> Option<Act> {
        // The same key goes back.
        self.pane = if self.pane == pane && pane != Pane::Lesson { Pane::Lesson } else { pane };
        self.scroll = 0;
        Some(Act::Print(pane))
    }

    fn checkout(&mut self, force: bool) -> Option<Act> {
        if !self.work {
            return self.says("start it with --work DIR to check files out");
        }
        let Some((index, solution)) = self.wanted_page() else { return self.says("no step is shown yet") };
        // The solution is a step of its own.
        let index = if solution && self.has_solution(index) { index + 1 } else { index };
        Some(Act::Checkout { index, force })
    }
}

/// Whether a member is there, as a mark.
pub fn presence(member: &Member) -> &'static str {
    match member.presence {
        Presence::Healing => "healing",
        _ => "here",
    }
}

/// A stranger's text without what steers a terminal or turns its lines around. Lines stay.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => cleaned.push('\n'),
            '\t' => cleaned.push_str("    "),
            c if c.is_control() => {}
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c => cleaned.push(c),
        }
    }
    cleaned
}

/// The same as one line.
pub fn clean_line(text: &str) -> String {
    clean(text).replace('\n', " ").trim().to_owned()
}
