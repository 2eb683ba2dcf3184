//! The view as lines: one for each thing that changed, for people and scripts.

use std::collections::BTreeMap;

use everlink::PublicKey;
use everlink::tutorial::{FileChange, FileStatus, Phase, Presence, Ticket, TutorialSyncState};
use serde_json::{Value, json};

use super::command::KEYS;
use super::{Pane, View, clean, clean_line, presence};

/// One line, for a person and for a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub person: String,
    pub program: Value,
}

impl Told {
    pub fn new(person: impl Into<String>, program: Value) -> Self {
        Self { person: person.into(), program }
    }
}

/// What was told so far.
#[derive(Debug, Default)]
pub struct Lines {
    state: Option<TutorialSyncState>,
    control: Option<(u64, Option<PublicKey>)>,
    phase: Option<Phase>,
    healing: bool,
    members: BTreeMap<String, (String, Presence)>,
    offer: Option<Ticket>,
    requests: Vec<Ticket>,
    trouble: Option<String>,
    /// What was asked for and is not there yet.
    asked: Vec<Pane>,
}

impl Lines {
    /// Somebody wants to see this of the step shown.
    pub fn ask(&mut self, pane: Pane) {
        self.asked.push(pane);
    }

    /// What is to be told, since the last time.
    pub fn update(&mut self, view: &View) -> Vec<Told> {
        let mut told = Vec::new();
        if self.phase != Some(view.phase) {
            self.phase = Some(view.phase);
            // People hear of who leads.
            told.push(Told::new("", json!({ "event": "phase", "phase": view.phase.as_str() })));
        }
        self.members(view, &mut told);
        let known = !matches!(view.phase, Phase::Connecting | Phase::Disconnected);
        if known && self.control != Some((view.epoch, view.holder)) {
            self.control = Some((view.epoch, view.holder));
            let id = view.holder.map(|holder| holder.to_string());
            let you = view.holder.is_some() && view.holder == view.me;
            let name = view.holder.filter(|_| !you).map(|holder| view.name(holder));
            told.push(Told::new(
                view.leader(),
                json!({ "event": "leader", "id": id, "name": name, "you": you, "epoch": view.epoch }),
            ));
        }
        if self.healing != view.healing {
            self.healing = view.healing;
            told.push(match view.healing {
                true => Told::new("connection lost, healing", json!({ "event": "healing" })),
                false => Told::new("connected again", json!({ "event": "healed" })),
            });
        }
        self.questions(view, &mut told);
        if self.state != view.state {
            self.state.clone_from(&view.state);
            told.extend(view.state.as_ref().map(step));
        }
        if self.trouble != view.trouble {
            self.trouble.clone_from(&view.trouble);
            if let Some(trouble) = &view.trouble {
                let words = clean_line(trouble);
                told.push(Told::new(words.clone(), json!({ "event": "trouble", "message": words })));
                self.asked.retain(|pane| *pane == Pane::Help);
            }
        }
        let (now, later) = std::mem::take(&mut self.asked)
            .into_iter()
            .partition(|pane| *pane == Pane::Help || view.page.is_some());
        self.asked = later;
        told.extend(Vec::into_iter(now).filter_map(|pane| shown(view, pane)));
        told
    }

    fn members(&mut self, view: &View, told: &mut Vec<Told>) {
        let mut members = BTreeMap::new();
        for member in &view.members {
            let id = member.id.to_string();
            let name = view.name(member.id);
            let before = self.members.get(&id).map(|(_, presence)| *presence);
            let what = match (before, member.presence) {
                (None, _) => Some("joined"),
                (Some(Presence::Here), Presence::Healing) => Some("healing"),
                (Some(Presence::Healing), Presence::Here) => Some("healed"),
                _ => None,
            };
            if let Some(what) = what {
                // That this member is here itself is no news to its user.
                let person =
                    if view.me == Some(member.id) { String::new() } else { format!("member {name} {what}") };
                told.push(Told::new(
                    person,
                    json!({
                        "event": "member", "change": what, "id": id, "name": name, "role": member.role,
                        "presence": presence(member), "you": view.me == Some(member.id),
                    }),
                ));
            }
            members.insert(id, (name, member.presence));
        }
        for (id, (name, _)) in std::mem::replace(&mut self.members, members) {
            if !self.members.contains_key(&id) {
                let program = json!({ "event": "member", "change": "left", "id": id, "name": name });
                told.push(Told::new(format!("member {name} left"), program));
            }
        }
    }

    fn questions(&mut self, view: &View, told: &mut Vec<Told>) {
        let offer = view.offer_to_me();
        if self.offer != offer.map(|offer| offer.offer) {
            told.push(match offer {
                Some(offer) => {
                    let name = view.name(offer.from);
                    Told::new(
                        format!("offer {name} offers you control: accept or decline"),
                        json!({ "event": "offer", "offer": offer.offer, "from": offer.from.to_string(), "name": name }),
                    )
                }
                None => Told::new("", json!({ "event": "offer_ended", "offer": self.offer })),
            });
            self.offer = offer.map(|offer| offer.offer);
        }
        let open: Vec<Ticket> = view.requests.iter().map(|request| request.request).collect();
        for request in &view.requests {
            if self.requests.contains(&request.request) {
                continue;
            }
            let name = view.name(request.from);
            let reason = request.reason.as_deref().map(clean_line).filter(|reason| !reason.is_empty());
            let words = reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
            told.push(Told::new(
                format!("request {name} asks for control{words}: accept or decline"),
                json!({
                    "event": "request", "request": request.request, "from": request.from.to_string(), "name": name,
                    "reason": reason,
                }),
            ));
        }
        self.requests = open;
    }
}

fn step(state: &TutorialSyncState) -> Told {
    let step = &state.step_content;
    let number = u64::from(step.index) + 1;
    let title = clean_line(&step.title);
    let solution = if state.is_showing_solution { " solution" } else { "" };
    Told::new(
        format!("step {number}/{} {} {title:?}{solution}", state.total_steps, step.kind),
        json!({
            "event": "step", "number": number, "index": step.index, "total": state.total_steps, "id": step.id,
            "title": title, "type": step.kind, "commitHash": step.commit_hash, "solution": state.is_showing_solution,
        }),
    )
}

/// What somebody asked to see.
fn shown(view: &View, pane: Pane) -> Option<Told> {
    if pane == Pane::Help {
        let keys: Vec<&str> = KEYS.iter().map(|(_, what)| *what).collect();
        let words = "commands: next, previous, goto N, solution, text, files, diff, checkout [--force], lead, follow, \
             offer [MEMBER], accept, decline, request [REASON], release, quit";
        return Some(Told::new(words, json!({ "event": "help", "commands": words, "keys": keys })));
    }
    let page = view.page.as_ref()?;
    Some(match pane {
        Pane::Lesson => Told::new(
            clean(page.markdown.trim_end()),
            json!({ "event": "text", "index": page.index, "markdown": page.markdown }),
        ),
        Pane::Files => {
            let files: Vec<String> = page.files.iter().map(file).collect();
            let names: Vec<Value> = page
                .files
                .iter()
                .map(|file| {
                    json!({
                        "path": file.path, "oldPath": file.old_path, "status": file.status, "binary": file.binary,
                        "tooLarge": file.too_large, "additions": file.additions, "deletions": file.deletions,
                    })
                })
                .collect();
            let person = if files.is_empty() { "no files".to_owned() } else { files.join("\n") };
            Told::new(person, json!({ "event": "files", "index": page.index, "files": names }))
        }
        Pane::Diff => {
            let diffs: Vec<String> = page.files.iter().map(diff).collect();
            let person = if diffs.is_empty() { "no changes".to_owned() } else { diffs.join("\n") };
            Told::new(person, json!({ "event": "diff", "index": page.index, "files": page.files }))
        }
        Pane::Help => return None,
    })
}

fn file(change: &FileChange) -> String {
    let lines = match &change.diff {
        Some(_) => format!(" +{} -{}", change.additions, change.deletions),
        None => String::new(),
    };
    format!("{} {}{lines}", mark(change.status), path(change))
}

fn diff(change: &FileChange) -> String {
    match &change.diff {
        Some(diff) => format!("{}\n{}", file(change), clean(diff.trim_end())),
        None => file(change),
    }
}

fn mark(status: FileStatus) -> &'static str {
    match status {
        FileStatus::Added => "A",
        FileStatus::Modified => "M",
        FileStatus::Deleted => "D",
        FileStatus::Renamed => "R",
    }
}

/// The path of a change, where it was, and why there is no diff.
pub fn path(change: &FileChange) -> String {
    let mut shown = match &change.old_path {
        Some(old) => format!("{} → {}", clean_line(old), clean_line(&change.path)),
        None => clean_line(&change.path),
    };
    if change.too_large {
        shown.push_str(" (too large to be shown)");
    } else if change.binary {
        shown.push_str(" (binary)");
    }
    shown
}
