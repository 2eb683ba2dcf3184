//! A chat between two pages. Without a fragment in its address the page is a host: it exposes a service and shows the link
//! to it. With the service's uuid as its fragment it is that host's guest. Both may be reloaded at any time.

mod conversation;
mod log;

use everlink::signaling::{HttpSignaling, ServiceUuid};
use everlink::store::IndexedDbStore;
use everlink::{Client, ConnectionConfig, DurableConnection, Identity, ServiceConfig, Target};
use yew::html::Scope;
use yew::platform::spawn_local;
use yew::prelude::*;

use crate::conversation::Conversation;

type Error = Box<dyn std::error::Error>;

#[derive(Default)]
struct App {
    /// Of our service, for guests.
    link: Option<String>,
    /// One at a guest; at a host one for each guest.
    connections: Vec<DurableConnection>,
    problem: Option<String>,
}

enum Msg {
    Exposed(ServiceUuid),
    Connection(DurableConnection),
    Failed(Error),
}

impl Component for App {
    type Message = Msg;
    type Properties = ();

    fn create(ctx: &Context<Self>) -> Self {
        let page = ctx.link().clone();
        // In a browser everlink runs on the event loop, and so do its futures: any task will do.
        spawn_local(async move {
            if let Err(error) = run(&page).await {
                page.send_message(Msg::Failed(error));
            }
        });
        Self::default()
    }

    fn update(&mut self, _: &Context<Self>, message: Msg) -> bool {
        match message {
            Msg::Exposed(uuid) => self.link = Some(format!("#{uuid}")),
            Msg::Connection(connection) => self.connections.push(connection),
            // Every error says what happened and what to do about it, so show it as it is.
            Msg::Failed(error) => self.problem = Some(error.to_string()),
        }
        true
    }

    fn view(&self, _: &Context<Self>) -> Html {
        html! {
            <main>
                if let Some(problem) = &self.problem {
                    <p role="alert">{ problem }</p>
                }
                if let Some(link) = &self.link {
                    <p>
                        { "You are the host. Your guests open " }
                        <a id="link" href={link.clone()} target="_blank">{ "this link" }</a>{ "." }
                    </p>
                }
                { for self.connections.iter().map(|connection| html! {
                    <Conversation key={connection.id().to_string()} connection={connection.clone()} />
                }) }
            </main>
        }
    }
}

/// Everything that the page does over the network. It keeps the client until all is over: when that is dropped, its connections
/// end.
async fn run(page: &Scope<App>) -> Result<(), Error> {
    let location = web_sys::window().ok_or("there is no window")?.location();
    let (query, fragment) = (location.search().unwrap_or_default(), location.hash().unwrap_or_default());
    let signaling = match query.strip_prefix("?signaling=") {
        Some(address) => address.to_owned(),
        None => format!("http://{}:3000", location.hostname().unwrap_or_default()),
    };
    let uuid = fragment.strip_prefix('#').map(str::parse::<ServiceUuid>).transpose()?;

    // A reload goes on if it comes with the same identity and the same store. Each conversation has its own, so that host and
    // guests can be tabs of one browser: a store belongs to one page at a time (`StoreError::Locked`).
    let name = uuid.map_or("host".to_owned(), |uuid| uuid.to_string());
    let identity = Identity::load_or_create(&name).await?;
    let key = identity.public_key();
    let client = Client::builder(identity)
        .signaling(HttpSignaling::new(&signaling)?)
        .store(IndexedDbStore::open(&name).await?)
        // Peers in other networks need a STUN server, and some a TURN server: `.ice([…])`.
        .build();

    if let Some(uuid) = uuid {
        // Returns at once, also while the host is away, with the session of before the reload, if there was one.
        let connection = client.connect_lazy(Target::Uuid(uuid), ConnectionConfig::default());
        page.send_message(Msg::Connection(connection.clone()));
        // The reason is shown beside the conversation.
        connection.closed().await;
        return Ok(());
    }
    // A username belongs to the key that first claims it, so make one that no other key will want.
    let digits: String = key.as_bytes()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let config = ServiceConfig::new(format!("chat-{digits}").parse()?, "chat@1.0.0".parse()?);
    let service = client.expose_service(config).await?;
    page.send_message(Msg::Exposed(service.info().uuid));
    // First the sessions of before the reload, then each new guest. One that only lost its link does not come here again.
    while let Some(connection) = service.accept().await {
        page.send_message(Msg::Connection(connection));
    }
    Err("the service has ended: another page publishes it".into())
}

fn main() {
    yew::Renderer::<App>::new().render();
}
