//! One member at a terminal or in a pipe: the room on one side, the view on the other.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use everlink::Client;
use everlink::testkit::Cuttable;
use everlink::tutorial::{
    ContentError, ContentErrorCode, ControlError, Left, OfferOutcome, Outline, Phase, ReleaseTo, RoomClosed,
    StepPage, TutorialSync,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::checkout::{CheckoutError, Folder, Report, checkout};
use super::lessons::Lessons;
use super::terminal::{self, Input, Screen};
use super::view::command::{self, Command};
use super::view::lines::{Lines, Told};
use super::view::{Act, Question, View};
use crate::failure::{Failure, complain};
use crate::input;
use crate::output::{Output, is_broken_pipe, written};
use crate::stop::Stop;

/// How soon what the host could not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// How soon the steps are asked for again, which some hosts never tell.
const OUTLINE_AGAIN: Duration = Duration::from_secs(30);
/// How long the room may take to hear of the end.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);

/// How the view is shown, and where commands come from.
#[allow(clippy::large_enum_variant)] // there is one of them
pub enum Face {
    Screen(Box<Screen>),
    Lines {
        output: Output,
        lines: Lines,
        input: mpsc::Receiver<Result<Vec<everlink::Message>, Failure>>,
        ended: bool,
    },
}

impl Face {
    /// The whole terminal if there is one, lines otherwise.
    pub fn new(output: Output) -> Result<Self, Failure> {
        if !output.json && terminal::is_there() {
            return Ok(Self::Screen(Box::new(Screen::take()?)));
        }
        Ok(Self::Lines { output, lines: Lines::default(), input: input::lines(), ended: false })
    }
}

/// What became of something that took its time.
enum Done {
    Outline(Result<Outline, ContentError>),
    Page((u32, bool), Box<Result<StepPage, ContentError>>),
    /// What to say about it, if anything.
    Control {
        holds: bool,
        said: Option<String>,
    },
    Checkout(Folder, Box<Result<Report, CheckoutError>>),
}

/// A member and its user.
pub struct Session {
    pub sync: TutorialSync,
    pub lessons: Lessons,
    pub view: View,
    pub face: Face,
    /// Where files are checked out; `None` while that is done, too.
    pub folder: Option<Folder>,
    /// Links that a test may cut.
    pub links: Option<Cuttable>,
    /// The host leads from the beginning, if nobody else does.
    pub leads: Leads,
    pub parting: Parting,
    work: Work,
}

/// Whether a member shall lead from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    No,
    Will,
    Asked,
}

/// What quitting means.
pub enum Parting {
    /// The member leaves the room.
    Leave,
    /// It keeps its place, and the next run goes on.
    Stay(Client),
}

/// What is under way.
#[derive(Default)]
struct Work {
    tasks: JoinSet<Done>,
    /// The page that is being fetched.
    fetching: Option<((u32, bool), AbortHandle)>,
    /// What waits until what went before it is done.
    queue: VecDeque<Said>,
    /// How much of what is under way they wait for.
    held: usize,
    /// Whether it was said that the steps are not known.
    told: bool,
}

impl Session {
    pub fn new(sync: TutorialSync, lessons: Lessons, view: View, face: Face) -> Self {
        Self {
            sync,
            lessons,
            view,
            face,
            folder: None,
            links: None,
            leads: Leads::No,
            parting: Parting::Leave,
            work: Work::default(),
        }
    }

    /// Goes on until the user quits or the room is over.
    pub async fn run(mut self, stop: &mut Stop) -> Result<(), Failure> {
        let left = self.sync.clone();
        let mut left = std::pin::pin!(async move { left.left().await });
        self.fetch_outline(Duration::ZERO);
        let ended = loop {
            self.refresh();
            self.begin();
            while self.work.held == 0
                && let Some(said) = self.work.queue.pop_front()
            {
                match said {
                    Said::Command(Command::Quit) => {
                        let _ = self.show();
                        return self.leave().await;
                    }
                    Said::Command(command) => self.perform(command),
                    Said::Nonsense(words) => self.say(&words),
                    Said::Cut => {
                        if let Some(links) = &self.links {
                            links.cut().await;
                        }
                    }
                }
                self.refresh();
            }
            if let Err(unseen) = self.show() {
                // That nobody looks any more ends it, and is no failure.
                break unseen.map_or(Ok(()), Err);
            }
            tokio::select! {
                () = self.sync.changed() => {}
                Some(done) = self.work.tasks.join_next() => if let Ok(done) = done { self.done(done) },
                said = next(&mut self.face, &self.view) => match said {
                    // At a terminal nobody waits for what is under way.
                    Ok(said) if said == [Said::Command(Command::Quit)] && matches!(self.face, Face::Screen(_)) => break Ok(()),
                    Ok(said) => self.work.queue.extend(said),
                    Err(None) => break Ok(()),
                    Err(Some(failure)) => break Err(failure),
                },
                () = stop.wished() => break Ok(()),
                left = &mut left => {
                    // What it knew last is shown before the end.
                    self.refresh();
                    let _ = self.show();
                    return self.over(left);
                }
            }
        };
        let left = self.leave().await;
        ended.and(left)
    }

    /// Leaves the room. The terminal is given back with the face.
    async fn leave(self) -> Result<(), Failure> {
        if let Parting::Stay(client) = self.parting {
            client.shutdown().await;
            return Ok(());
        }
        // A host that is not heard must not keep anybody.
        let _ = tokio::time::timeout(LEAVE_WITHIN, self.sync.leave()).await;
        Ok(())
    }

    /// The room is over for this member.
    fn over(self, left: Left) -> Result<(), Failure> {
        let lines = match self.face {
            Face::Lines { output, .. } => Some(output),
            // Given back before something is said.
            Face::Screen(screen) => {
                drop(screen);
                None
            }
        };
        let words = left.to_string();
        if let Some(output) = lines {
            written(tell(output, &Told::new("", json!({ "event": "closed", "reason": words }))))?;
        }
        match left {
            Left::ByItself => Ok(()),
            Left::Closed(RoomClosed::ByHost) => {
                complain(&words);
                Ok(())
            }
            Left::ConnectionLost(reason) => Err(reason.into()),
            _ => Err(Failure::new(words, "")),
        }
    }

    /// Takes what the room says into the view, and fetches what it shows.
    fn refresh(&mut self) {
        let (view, control) = (&mut self.view, self.sync.control());
        view.me = Some(self.sync.me());
        view.phase = self.sync.phase();
        view.healing = self.sync.is_healing();
        view.members = self.sync.members();
        view.epoch = control.epoch;
        view.holder = control.holder;
        view.offer = control.offer;
        view.requests = control.requests;
        view.set_state(self.sync.state().map(|state| (*state).clone()));
        self.fetch_page();
    }

    /// The host leads if nobody does, and begins where it was, or at the first step.
    fn begin(&mut self) {
        if self.leads == Leads::No || self.work.held > 0 || self.view.outline.steps.is_empty() {
            return;
        }
        match (self.view.phase, self.leads) {
            (Phase::ConnectedIdle, Leads::Will) => {
                self.leads = Leads::Asked;
                self.act(Act::Lead);
            }
            (Phase::Active, _) => {
                self.leads = Leads::No;
                if self.view.state.is_none() {
                    self.perform(Command::GoTo(1));
                    self.refresh();
                }
            }
            // Somebody else does, or it was refused, which was said.
            (Phase::Passive, _) | (Phase::ConnectedIdle, _) => self.leads = Leads::No,
            _ => {}
        }
    }

    fn fetch_outline(&mut self, wait: Duration) {
        let lessons = self.lessons.clone();
        // Commands wait for the first answer alone.
        self.work.held += usize::from(!self.work.told);
        self.work.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            Done::Outline(lessons.outline().await)
        });
    }

    fn fetch_page(&mut self) {
        let Some(wanted) = self.view.wanted_page() else { return };
        if self.view.page.is_some() || self.work.fetching.as_ref().is_some_and(|(page, _)| *page == wanted) {
            return;
        }
        // What nobody wants to see any more.
        if let Some((_, fetching)) = self.work.fetching.take() {
            fetching.abort();
        }
        let lessons = self.lessons.clone();
        // It failed before: not at once again.
        let wait = if self.view.trouble.is_some() { ASK_AGAIN } else { Duration::ZERO };
        let fetch = self.work.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            Done::Page(wanted, Box::new(lessons.step(wanted.0, wanted.1).await))
        });
        self.work.fetching = Some((wanted, fetch));
    }

    /// Takes what has come to an end.
    fn done(&mut self, done: Done) {
        match done {
            Done::Outline(outline) => {
                self.work.held -= usize::from(!self.work.told);
                match outline {
                    Ok(outline) => self.view.outline = outline,
                    // Following goes without; leading does not.
                    Err(error) => {
                        if !self.work.told {
                            self.work.told = true;
                            self.say(&format!("the steps are not known: {error}"));
                        }
                        if error.code == ContentErrorCode::Unavailable {
                            self.fetch_outline(OUTLINE_AGAIN);
                        }
                    }
                }
            }
            Done::Page(page, answer) => {
                if self.work.fetching.as_ref().is_none_or(|(fetching, _)| *fetching != page) {
                    return;
                }
                match *answer {
                    Ok(page) => {
                        self.view.page = Some(page);
                        self.view.trouble = None;
                        self.work.fetching = None;
                    }
                    Err(error) => {
                        self.view.trouble = Some(error.to_string());
                        // What may work later is asked again.
                        if error.code == ContentErrorCode::Unavailable {
                            self.work.fetching = None;
                        }
                    }
                }
            }
            Done::Control { holds, said } => {
                self.work.held -= usize::from(holds);
                if let Some(said) = said {
                    self.say(&said);
                }
            }
            Done::Checkout(folder, report) => {
                self.work.held -= 1;
                let root = folder.root().display().to_string();
                self.folder = Some(folder);
                match *report {
                    Ok(report) => {
                        if !report.kept.is_empty() {
                            self.view.question = Some(Question::Overwrite);
                        }
                        let told = json!({
                            "event": "checkout", "folder": root, "written": report.written, "unchanged": report.unchanged,
                            "removed": report.removed, "kept": report.kept,
                            "refused": report.refused.iter().map(|(path, why)| json!({ "path": path, "why": why })).collect::<Vec<_>>(),
                        });
                        self.tell(Told::new(format!("checkout {report}"), told));
                    }
                    Err(error) => self.say(&error.to_string()),
                }
            }
        }
    }

    /// Does what a command says.
    fn perform(&mut self, command: Command) {
        let act = self.view.command(command);
        if let Some(notice) = self.view.notice.clone() {
            self.say(&notice);
        }
        if let Some(act) = act {
            self.act(act);
        }
    }

    fn act(&mut self, act: Act) {
        // Whoever reads lines sees what comes of it.
        if let Face::Screen(_) = self.face {
            self.view.notice = match act {
                Act::Checkout { .. } => Some("checking out…".to_owned()),
                Act::Request(_) => Some("asked for control…".to_owned()),
                _ => None,
            };
        }
        let sync = self.sync.clone();
        let holds = !matches!(act, Act::Offer(_) | Act::Request(_));
        match act {
            Act::Send(state) => {
                if let Err(error) = sync.send_state(state) {
                    self.say(&error.to_string());
                }
            }
            Act::Print(pane) => {
                if let Face::Lines { lines, .. } = &mut self.face {
                    lines.ask(pane);
                }
            }
            Act::Checkout { index, force } => {
                let Some(mut folder) = self.folder.take() else { return self.say("a checkout is under way") };
                let lessons = self.lessons.clone();
                self.work.held += 1;
                self.work.tasks.spawn(async move {
                    let report = checkout(&mut folder, &lessons, index, force).await;
                    Done::Checkout(folder, Box::new(report))
                });
            }
            Act::Quit => {}
            act => {
                self.work.held += usize::from(holds);
                self.work.tasks.spawn(async move { Done::Control { holds, said: control(sync, act).await } });
            }
        }
    }

    /// Says something to the user.
    fn say(&mut self, words: &str) {
        self.tell(Told::new("", json!({ "event": "notice", "message": words })));
        match self.face {
            Face::Screen(_) => self.view.notice = Some(words.to_owned()),
            Face::Lines { output, .. } if !output.json => complain(words),
            Face::Lines { .. } => {}
        }
    }

    fn tell(&mut self, told: Told) {
        match &self.face {
            Face::Screen(_) if told.person.is_empty() => {}
            Face::Screen(_) => self.view.notice = Some(told.person),
            // Whoever writes lines learns that nobody reads them.
            Face::Lines { output, .. } => {
                let _ = tell(*output, &told);
            }
        }
    }

    /// Shows what there is. Fails without a reason when nobody looks any more.
    fn show(&mut self) -> Result<(), Option<Failure>> {
        match &mut self.face {
            Face::Screen(screen) => screen.draw(&mut self.view).map_err(Some),
            Face::Lines { output, lines, .. } => {
                for told in lines.update(&self.view) {
                    match tell(*output, &told) {
                        Err(error) if is_broken_pipe(&error) => return Err(None),
                        told => written(told).map_err(Some)?,
                    }
                }
                Ok(())
            }
        }
    }
}

fn tell(output: Output, told: &Told) -> io::Result<()> {
    if told.person.is_empty() {
        return output.event(told.program.clone());
    }
    output.line(&told.person, told.program.clone())
}

/// What somebody said.
#[derive(Debug, PartialEq)]
enum Said {
    Command(Command),
    /// What is no command, and what would be one.
    Nonsense(String),
    /// A test wants the links cut.
    Cut,
}

/// What is said next; an error when nobody can say anything any more. Cancel-safe.
async fn next(face: &mut Face, view: &View) -> Result<Vec<Said>, Option<Failure>> {
    match face {
        Face::Screen(screen) => match screen.next().await {
            Some(Input::Key(key)) => {
                Ok(command::of_key(key, view.question.as_ref()).map(Said::Command).into_iter().collect())
            }
            Some(Input::Resized) => Ok(Vec::new()),
            None => Err(None),
        },
        // Who has no more to say may still want to see.
        Face::Lines { ended: true, .. } => std::future::pending().await,
        Face::Lines { input, ended, .. } => match input.recv().await {
            None => {
                *ended = true;
                Ok(Vec::new())
            }
            Some(Err(failure)) => Err(Some(failure)),
            Some(Ok(lines)) => {
                let said = lines.iter().filter_map(|line| {
                    let line = String::from_utf8_lossy(line.as_bytes());
                    match command::of_line(&line) {
                        Ok(command) => command.map(Said::Command),
                        Err(_) if line.trim() == "cut" => Some(Said::Cut),
                        Err(words) => Some(Said::Nonsense(words)),
                    }
                });
                Ok(said.collect())
            }
        },
    }
}

/// Does something about control; what to say about it.
async fn control(sync: TutorialSync, act: Act) -> Option<String> {
    let done = match act {
        Act::Lead => sync.lead().await,
        Act::Follow => sync.follow().await,
        Act::Withdraw => sync.withdraw_offer().await,
        Act::Accept(offer) => sync.accept_control(offer).await,
        Act::Decline(offer) => sync.decline_control(offer, None).await,
        Act::Grant(request) => sync.grant_request(request).await,
        Act::Deny(request) => sync.deny_request(request, None).await,
        Act::Request(reason) => sync.request_control(reason.as_deref()).await,
        Act::Release => sync.release_control(ReleaseTo::Idle).await,
        Act::Offer(to) => match sync.offer_control(to).await {
            Ok(outcome) => return Some(settled(&outcome)),
            Err(error) => Err(error),
        },
        Act::Send(_) | Act::Checkout { .. } | Act::Print(_) | Act::Quit => Ok(()),
    };
    done.err().map(|error: ControlError| error.to_string())
}

fn settled(outcome: &OfferOutcome) -> String {
    match outcome {
        OfferOutcome::Accepted { .. } => "control was accepted".to_owned(),
        OfferOutcome::Declined { reason: Some(reason), .. } => format!("control was declined: {reason}"),
        OfferOutcome::Declined { reason: None, .. } => "control was declined".to_owned(),
        OfferOutcome::Expired => "nobody took control".to_owned(),
        OfferOutcome::Withdrawn => "the offer was taken back".to_owned(),
        _ => "the offer is over".to_owned(),
    }
}
