//! One connection as people see it: its state, what was said, and a field to say more. Host and guest have the same.

use everlink::{
    ChannelConfig, ChannelReceiver, ChannelSender, ConnectionState, DurableConnection, QueueConfig, RecvError,
};
use web_sys::HtmlInputElement;
use yew::html::Scope;
use yew::platform::spawn_local;
use yew::prelude::*;

use crate::Error;
use crate::log::Log;

#[derive(Properties)]
pub struct Props {
    pub connection: DurableConnection,
}

impl PartialEq for Props {
    fn eq(&self, other: &Self) -> bool {
        self.connection.id() == other.connection.id()
    }
}

pub struct Conversation {
    state: ConnectionState,
    log: Log,
    /// `None` if the connection had ended before.
    sender: Option<ChannelSender>,
    field: NodeRef,
    problem: Option<String>,
}

pub enum Msg {
    State(ConnectionState),
    Typed,
    LogChanged,
    Failed(Error),
}

impl Component for Conversation {
    type Message = Msg;
    type Properties = Props;

    fn create(ctx: &Context<Self>) -> Self {
        let (connection, page) = (ctx.props().connection.clone(), ctx.link().clone());
        let state = connection.state();
        // The session has the same id after a reload, at both ends.
        let log = Log::load(format!("chat {}", connection.id()));
        // Both ends open the same label, and after a reload again: it is one channel. The default queue would drop lines that
        // wait for longer than a minute; a lossless one never does.
        let config = ChannelConfig::queue(QueueConfig::lossless());
        let channel = connection.open_channel_with("lines", config).ok();
        let (sender, receiver) = channel.map(|channel| channel.split()).unzip();
        spawn_local(watch(connection, page.clone()));
        if let Some(receiver) = receiver {
            spawn_local(hear(receiver, log.clone(), page));
        }
        let this = Self { state, log, sender, field: NodeRef::default(), problem: None };
        // Said so shortly before the reload that they may not have been stored.
        for (number, line) in this.log.mine().into_iter().filter(|(_, line)| !line.stored) {
            this.send(ctx, number, &line.text);
        }
        this
    }

    fn update(&mut self, ctx: &Context<Self>, message: Msg) -> bool {
        match message {
            Msg::State(state) => self.state = state,
            Msg::Typed => {
                let Some(field) = self.field.cast::<HtmlInputElement>() else { return false };
                let text = field.value();
                match self.log.say(text.clone()) {
                    Ok(number) => self.send(ctx, number, &text),
                    Err(error) => self.problem = Some(error.to_string()),
                }
                field.set_value("");
            }
            Msg::LogChanged => {}
            Msg::Failed(error) => self.problem = Some(error.to_string()),
        }
        true
    }

    fn view(&self, ctx: &Context<Self>) -> Html {
        let (class, state) = match &self.state {
            ConnectionState::Connecting { .. } => ("connecting", "Connecting…".to_owned()),
            ConnectionState::Connected => ("connected", "Connected".to_owned()),
            // Nothing to do about it: what is said meanwhile waits, and everlink finds the peer again.
            ConnectionState::Reconnecting { .. } => ("reconnecting", "Reconnecting…".to_owned()),
            ConnectionState::Closed(reason) => ("closed", format!("Closed: {reason}")),
            _ => ("", String::new()),
        };
        let onsubmit = ctx.link().callback(|event: SubmitEvent| {
            event.prevent_default();
            Msg::Typed
        });
        html! {
            <section>
                <p class={classes!("state", class)} role="status">{ state }</p>
                if let Some(problem) = &self.problem {
                    <p role="alert">{ problem }</p>
                }
                <ol>
                    { for self.log.lines().into_iter().map(|line| html! {
                        <li class={classes!(line.mine.then_some("mine"), (!line.stored).then_some("waits"))}>
                            { line.text }
                        </li>
                    }) }
                </ol>
                <form {onsubmit}>
                    <input ref={&self.field} required=true autocomplete="off" placeholder="Say something" />
                </form>
            </section>
        }
    }
}

impl Conversation {
    /// Gives a line of mine to everlink, and notes when it is safe there. It need not be connected for that.
    fn send(&self, ctx: &Context<Self>, number: usize, text: &str) {
        let Some(sender) = self.sender.clone() else { return };
        let (log, message) = (self.log.clone(), format!("{number} {text}"));
        ctx.link().send_future(async move {
            let stored = async {
                sender.send(message).await?.stored().await?;
                Ok::<_, Error>(log.stored(number)?)
            };
            stored.await.map_or_else(Msg::Failed, |()| Msg::LogChanged)
        });
    }
}

/// Shows every state, the last one included.
async fn watch(mut connection: DurableConnection, page: Scope<Conversation>) {
    loop {
        let state = connection.state_changed().await;
        let over = matches!(state, ConnectionState::Closed(_));
        page.send_message(Msg::State(state));
        if over {
            break;
        }
    }
}

async fn hear(mut receiver: ChannelReceiver, log: Log, page: Scope<Conversation>) {
    loop {
        let heard: Result<(), Error> = async {
            // Asking for a line acknowledges the one before, which is in the log by now. A line that is not is
            // heard again after a reload.
            let message = receiver.recv().await?;
            let line =
                message.as_text().and_then(|text| text.split_once(' ')).ok_or("the peer sent no line")?;
            Ok(log.hear(line.0.parse()?, line.1)?)
        }
        .await;
        match heard {
            Ok(()) => page.send_message(Msg::LogChanged),
            // The end of the connection is told by its state.
            Err(error) if error.is::<RecvError>() => break,
            Err(error) => return page.send_message(Msg::Failed(error)),
        }
    }
}
