//! What a data directory keeps: over a stop, and over a `kill -9` in the middle.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use everlink::signaling::server::{Server, ServerConfig};
use everlink::signaling::{
    ErrorCode, Event, HttpSignaling, Request, Response, ServiceTarget, ServiceUuid, Signaling as _,
    SignalingError, Username,
};
use futures_util::StreamExt as _;

use crate::person::{Person, person, take};
use crate::{Running, within};

async fn host(signaling: &HttpSignaling, who: &Person, name: &str) -> ServiceUuid {
    let publish = who.publish(name, "chat@1.0.0");
    let uuid = publish.uuid;
    let username = Username::new(name).unwrap();
    signaling.call(who.request(Request::Claim { username })).await.unwrap();
    signaling.call(who.request(Request::Publish(publish))).await.unwrap();
    uuid
}

async fn is_found(signaling: &HttpSignaling, uuid: ServiceUuid) -> bool {
    let target = ServiceTarget::Uuid { uuid };
    matches!(signaling.call(person(9).request(Request::Resolve { target })).await, Ok(Response::Service(_)))
}

#[tokio::test]
async fn names_services_and_uuids_are_there_after_a_restart_and_offers_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(Some(directory.path())).await;
    let (address, alice) = (server.address, person(1));
    let signaling = HttpSignaling::new(&server.url()).unwrap();
    let uuid = host(&signaling, &alice, "alice").await;
    let gone = host(&signaling, &alice, "gone").await;
    let withdraw = alice.request(Request::Withdraw { uuid: gone });
    signaling.call(withdraw.clone()).await.unwrap();
    let offers = vec![alice.new_offer(&uuid, "offer")];
    signaling.call(alice.request(Request::AddOffers { instance: None, uuid, offers })).await.unwrap();
    let mut stream = signaling.events(alice.request(Request::Events { cursor: None })).await.unwrap();
    let (cursor, _) = stream.next().await.unwrap().unwrap();
    server.stop().await;
    assert!(within(2, stream.next()).await.unwrap().is_err());

    let server = Running::on(TcpListener::bind(address).unwrap(), Some(directory.path()));
    assert!(is_found(&signaling, uuid).await, "the same client goes on");
    assert!(!is_found(&signaling, gone).await);
    let username = Username::new("alice").unwrap();
    let error = signaling.call(person(2).request(Request::Claim { username })).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UsernameTaken));
    let error = signaling.call(person(2).request(take(uuid, Duration::ZERO))).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NoOffer));
    let error = signaling.call(withdraw).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Replayed));
    let events = alice.request(Request::Events { cursor: Some(cursor) });
    let mut stream = signaling.events(events).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().1, Event::Missed);
    assert_eq!(host(&signaling, &alice, "alice").await, uuid);
    drop(stream);
    server.stop().await;
}

#[test]
fn a_data_directory_in_use_is_refused_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = ServerConfig::default();
    config.data = Some(directory.path().to_path_buf());
    let _first = Server::new(config.clone()).unwrap();
    let error = Server::new(config).unwrap_err().to_string();
    assert!(error.contains("another server is using it") && !error.contains('\n'), "{error}");
}

/// Not a test of its own: the process that the next one kills.
#[test]
#[ignore = "is run by `what_was_acknowledged_survives_a_kill` as a process of its own"]
fn serve_until_killed() {
    let Some(directory) = std::env::var_os("EVERLINK_TEST_DATA") else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = Running::start(Some(Path::new(&directory))).await;
        println!("\nserving {}", server.url());
        let _ = server.task.await;
    });
}

fn spawn(directory: &Path) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "restart::serve_until_killed", "--ignored", "--nocapture"])
        .env("EVERLINK_TEST_DATA", directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("serving ").map(str::to_owned));
    (child, url.expect("an address"))
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let (mut child, url) = spawn(directory.path());
        let signaling = HttpSignaling::new(&url).unwrap();
        for uuid in &acknowledged {
            assert!(is_found(&signaling, *uuid).await);
        }
        // Hosts publish without pause, and are cut off somewhere.
        let (acknowledging, mut acknowledgements) = tokio::sync::mpsc::unbounded_channel();
        let people: Vec<_> = (0..8).map(|number| person(10 + number)).collect();
        let publishing = futures_util::future::join_all(people.iter().enumerate().map(|(at, who)| {
            let (signaling, acknowledging) = (&signaling, acknowledging.clone());
            async move {
                for number in 0..5 {
                    let name = format!("user-{round}-{at}-{number}");
                    let username = Username::new(&name).unwrap();
                    signaling.call(who.request(Request::Claim { username })).await?;
                    let publish = who.publish(&name, "chat@1.0.0");
                    let uuid = publish.uuid;
                    signaling.call(who.request(Request::Publish(publish))).await?;
                    let _ = acknowledging.send(uuid);
                }
                Ok::<_, SignalingError>(())
            }
        }));
        let killing = async {
            for _ in 0..12 + round {
                acknowledged.push(acknowledgements.recv().await.unwrap());
            }
            child.kill().unwrap();
            child.wait().unwrap();
        };
        let (results, ()) = tokio::join!(within(10, publishing), killing);
        assert!(results.iter().any(Result::is_err), "it was cut off");
        while let Ok(uuid) = acknowledgements.try_recv() {
            acknowledged.push(uuid);
        }
    }
    let server = Running::start(Some(directory.path())).await;
    let signaling = HttpSignaling::new(&server.url()).unwrap();
    for uuid in &acknowledged {
        assert!(is_found(&signaling, *uuid).await);
    }
    println!("{} publications were acknowledged, and all of them are there", acknowledged.len());
    server.stop().await;
}
