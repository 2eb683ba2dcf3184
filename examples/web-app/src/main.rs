//! A chat with any everlink service, as a web application in Rust: Yew draws, everlink keeps the
//! conversation alive. Reload the page in the middle of it, or pull the cable.
//!
//! Nothing here is special to the browser but where the identity and the sessions are kept.

use everlink::signaling::{HttpSignaling, ServiceUuid};
use everlink::store::IndexedDbStore;
use everlink::{
    ChannelConfig, ChannelSender, Client, ConnectionConfig, ConnectionState, Identity, QueueConfig, Target,
};
use wasm_bindgen_futures::spawn_local;
use web_sys::HtmlInputElement;
use yew::prelude::*;

type Failure = Box<dyn std::error::Error>;

/// What the application is told.
enum News {
    State(String),
    Open(ChannelSender),
    Line(String),
}

/// Connects, and tells of everything that comes until the connection is closed.
async fn talk(server: String, service: String, tell: Callback<News>) -> Result<(), Failure> {
    let identity = Identity::load_or_create("web-app").await?;
    let client = Client::builder(identity)
        .signaling(HttpSignaling::new(&server)?)
        .store(IndexedDbStore::open("web-app").await?)
        .build();
    let uuid: ServiceUuid = service.parse()?;
    // The conversation of before the reload, if there was one.
    let mut connection = client.connect_lazy(Target::Uuid(uuid), ConnectionConfig::default());
    let channel = connection.open_channel_with("chat", ChannelConfig::queue(QueueConfig::lossless()))?;
    let (sender, mut receiver) = channel.split();
    tell.emit(News::Open(sender));
    spawn_local({
        let tell = tell.clone();
        async move {
            while let Ok(message) = receiver.recv().await {
                let text = message.as_text().map_or_else(|| format!("{message:?}"), str::to_owned);
                tell.emit(News::Line(text));
            }
        }
    });
    loop {
        let state = match connection.state_changed().await {
            ConnectionState::Connected => "connected".to_owned(),
            ConnectionState::Closed(reason) => return Err(reason.into()),
            other => format!("{other:?}"),
        };
        tell.emit(News::State(state));
    }
}

#[component]
fn App() -> Html {
    let state = use_state(|| "not connected".to_owned());
    let lines = use_mut_ref(Vec::<String>::new);
    let sender = use_state(|| None::<ChannelSender>);
    let redraw = use_force_update();
    let (server, service, text) = (use_node_ref(), use_node_ref(), use_node_ref());
    let value = |input: &NodeRef| input.cast::<HtmlInputElement>().map(|input| input.value()).unwrap_or_default();

    let connect = {
        let (server, service) = (server.clone(), service.clone());
        let (state, sender, lines, redraw) = (state.clone(), sender.clone(), lines.clone(), redraw.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let (state, sender, lines, redraw) = (state.clone(), sender.clone(), lines.clone(), redraw.clone());
            let tell = Callback::from({
                let state = state.clone();
                move |news| match news {
                    News::State(text) => state.set(text),
                    News::Open(open) => sender.set(Some(open)),
                    News::Line(line) => {
                        lines.borrow_mut().push(line);
                        redraw.force_update();
                    }
                }
            });
            let talking = talk(value(&server), value(&service), tell);
            spawn_local(async move {
                if let Err(error) = talking.await {
                    state.set(error.to_string());
                }
            });
        })
    };
    let send = {
        let (sender, text) = (sender.clone(), text.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let Some((sender, input)) = (*sender).clone().zip(text.cast::<HtmlInputElement>()) else { return };
            let line = input.value();
            input.set_value("");
            spawn_local(async move { _ = sender.send(line).await });
        })
    };
    html! {
        <main>
            <form onsubmit={connect}>
                <input ref={server} value="http://127.0.0.1:3000" aria-label="signaling server" />
                <input ref={service} placeholder="service uuid" aria-label="service uuid" />
                <button>{ "connect" }</button>
                <output>{ (*state).clone() }</output>
            </form>
            <form onsubmit={send}>
                <input ref={text} placeholder="say something" disabled={sender.is_none()} />
                <button disabled={sender.is_none()}>{ "send" }</button>
            </form>
            <ol>{ for lines.borrow().iter().map(|line| html! { <li>{ line.clone() }</li> }) }</ol>
        </main>
    }
}

fn main() {
    yew::Renderer::<App>::new().render();
}
