//! ICE restarts of live links over real WebRTC on loopback.
#![cfg(feature = "webrtc")]
// Real sockets keep real time.
#![allow(clippy::disallowed_methods)]

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use everlink::link::webrtc::{Impairment, WebRtcConfig, WebRtcTransport};
use everlink::link::{IceCredentials, LinkError, LinkEvent, RestartEvent, Transport};
use futures_util::FutureExt as _;

#[path = "common/links.rs"]
mod links;

use links::{SharedLink, frame, run};

fn impaired() -> (WebRtcTransport, Impairment) {
    let impairment = Impairment::new(7);
    let mut config = WebRtcConfig::loopback();
    config.impairment = Some(impairment.clone());
    (WebRtcTransport::new(config), impairment)
}

/// A link, the answering end first, as a peer is.
async fn connect(a: &WebRtcTransport, b: &WebRtcTransport) -> (SharedLink, SharedLink) {
    let (offering, answering) = links::connect(b, a).await;
    (answering, offering)
}

/// A whole restart, asked for by `asking`.
async fn restart(asking: &SharedLink, answering: &SharedLink) -> Result<(), LinkError> {
    let asked = asking.ask_restart().await?;
    let answered = answering.answer_restart(&asked).await?;
    asking.finish_restart(&answered).await?;
    let trickle = |from: SharedLink, to: SharedLink| async move {
        loop {
            match from.restart_event().await {
                // Refused once that end has a path.
                RestartEvent::Candidate(candidate) => _ = to.add_restart_candidate(&candidate).await,
                RestartEvent::Done => return,
                _ => unreachable!(),
            }
        }
    };
    tokio::join!(trickle(asking.clone(), answering.clone()), trickle(answering.clone(), asking.clone()));
    Ok(())
}

/// Sends numbers from `from` to `to`, one every 5 ms, until dropped; tells the longest gap.
async fn longest_gap(from: &SharedLink, to: &SharedLink, during: impl Future<Output = ()>) -> Duration {
    let mut longest = Duration::ZERO;
    let send = async {
        for number in 0..u32::MAX {
            from.send(BytesMut::from(&number.to_be_bytes()[..])).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let receive = async {
        let mut last = Instant::now();
        for number in 0..u32::MAX {
            assert_eq!(frame(to).await[..], number.to_be_bytes(), "a frame is lost");
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
    };
    tokio::select! {
        () = send => {}
        () = receive => {}
        () = during => {}
    }
    longest
}

#[test]
fn a_stream_goes_on_over_other_sockets_in_the_same_session() {
    run(async {
        for delay in [0, 10, 50] {
            for asks_first in [true, false] {
                let ((ta, impairment), (tb, _)) = (impaired(), impaired());
                let (a, b) = connect(&ta, &tb).await;
                let binding = a.binding();
                impairment.set_delay(Duration::from_millis(delay));
                let (asking, answering) = if asks_first { (&a, &b) } else { (&b, &a) };
                let mut took = vec![];
                let during = async {
                    for _ in 0..3 {
                        tokio::time::sleep(Duration::from_millis(300)).await;
                        let began = Instant::now();
                        restart(asking, answering).await.unwrap();
                        took.push(began.elapsed());
                    }
                    tokio::time::sleep(Duration::from_millis(1000)).await;
                };
                let longest = longest_gap(&a, &b, during).await;
                println!("round trip {} ms: restarts took {took:?}, longest gap {longest:?}", 2 * delay);
                assert_eq!((a.binding(), b.binding()), (binding, binding));
            }
        }
    });
}

/// The stack's clock stands in such a silence, and the checks of a restart need it.
#[test]
fn a_silent_link_is_restarted_and_delivers_what_waited() {
    run(async {
        let ((ta, dark), (tb, _)) = (impaired(), impaired());
        let (a, b) = connect(&ta, &tb).await;
        dark.set_blackout(true);
        a.send(BytesMut::from(&b"from a"[..])).await.unwrap();
        b.send(BytesMut::from(&b"from b"[..])).await.unwrap();
        assert!(matches!(a.recv().await, LinkEvent::Suspect));
        assert!(matches!(b.recv().await, LinkEvent::Suspect));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let light = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            dark.set_blackout(false);
            Instant::now()
        };
        let (restarted, healed) = tokio::join!(restart(&a, &b), light);
        restarted.unwrap();
        assert_eq!((frame(&b).await, frame(&a).await), (Bytes::from("from a"), Bytes::from("from b")));
        assert!(healed.elapsed() < Duration::from_millis(1000), "{:?}", healed.elapsed());
    });
}

#[test]
fn a_restarted_link_notices_silence_and_its_end_as_before() {
    run(async {
        let ((ta, dark), (tb, _)) = (impaired(), impaired());
        let (a, b) = connect(&ta, &tb).await;
        restart(&a, &b).await.unwrap();
        a.send(BytesMut::from(&b"moved"[..])).await.unwrap();
        assert_eq!(frame(&b).await, "moved");
        let asked = Instant::now();
        a.heard();
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(a.heard() > Some(asked), "whoever asks gets answers from the new path");
        assert!(matches!(a.recv().await, LinkEvent::Moved));
        dark.set_blackout(true);
        a.send(BytesMut::from(&b"during"[..])).await.unwrap();
        assert!(matches!(a.recv().await, LinkEvent::Suspect));
        tokio::time::sleep(Duration::from_secs(3)).await;
        dark.set_blackout(false);
        let healed = Instant::now();
        assert!(matches!(a.recv().await, LinkEvent::Recovered));
        assert_eq!(frame(&b).await, "during");
        assert!(healed.elapsed() < Duration::from_millis(1200), "{:?}", healed.elapsed());
    });
}

fn says(result: Result<impl std::fmt::Debug, LinkError>, words: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn what_is_no_step_of_a_restart_says_so_and_changes_nothing() {
    run(async {
        let ((ta, _), (tb, _)) = (impaired(), impaired());
        let (a, b) = connect(&ta, &tb).await;
        let foreign = IceCredentials::new("foreign", "0123456789012345678901").unwrap();
        says(a.finish_restart(&foreign).await, "asked for");
        says(a.add_restart_candidate("1 1 udp 1 127.0.0.1 9 typ host").await, "under way");
        // Asked, and nobody answered: as often as one likes.
        let (first, second) = (a.ask_restart().await.unwrap(), a.ask_restart().await.unwrap());
        assert_ne!(first, second);
        a.send(BytesMut::from(&b"as before"[..])).await.unwrap();
        assert_eq!(frame(&b).await, "as before");
        restart(&a, &b).await.unwrap();
        // Whoever closes it ends the restart, too.
        a.close().await;
        assert_eq!(a.ask_restart().await, Err(LinkError::Closed));
        assert_eq!(a.finish_restart(&foreign).await, Err(LinkError::Closed));
    });
}

#[test]
fn the_credentials_in_use_are_no_restart_and_bad_candidates_cost_only_themselves() {
    run(async {
        let ((ta, _), (tb, _)) = (impaired(), impaired());
        let (a, b) = connect(&ta, &tb).await;
        let asked = a.ask_restart().await.unwrap();
        let answered = b.answer_restart(&asked).await.unwrap();
        says(b.answer_restart(&asked).await, "in use");
        a.finish_restart(&answered).await.unwrap();
        let long = "x".repeat(2_000);
        for bad in ["", "nonsense", "1 1 udp 1 x y typ host", &long] {
            assert!(matches!(a.add_restart_candidate(bad).await, Err(LinkError::BadDescription(_))), "{bad}");
        }
        let RestartEvent::Candidate(good) = b.restart_event().await else { panic!("no candidate") };
        a.add_restart_candidate(&good).await.unwrap();
        for number in 0..36 {
            let far = format!("{number} 1 udp 1 127.0.0.1 {} typ host", 60_000 + number);
            let _ = a.add_restart_candidate(&far).await;
        }
        says(a.add_restart_candidate(&good).await, "40");
        while a.restart_event().await != RestartEvent::Done {}
        b.send(BytesMut::from(&b"moved"[..])).await.unwrap();
        assert_eq!(frame(&a).await, "moved");
    });
}

/// Credentials of somebody else: there is no way back, and both ends hear of it.
#[test]
fn a_restart_that_finds_no_path_ends_the_link() {
    run(async {
        let ((ta, _), (tb, _)) = (impaired(), impaired());
        let (a, b) = connect(&ta, &tb).await;
        let began = Instant::now();
        let foreign = IceCredentials::new("foreign", "0123456789012345678901").unwrap();
        b.answer_restart(&foreign).await.unwrap();
        let ended = async {
            loop {
                if let LinkEvent::Down(error) = b.recv().await {
                    return error;
                }
            }
        };
        let error = ended.await;
        assert!(matches!(error, LinkError::Failed(_)), "{error}");
        assert!(began.elapsed() > Duration::from_secs(9) && began.elapsed() < Duration::from_secs(15));
        drop((a, b));
        tokio::join!(ta.shutdown(), tb.shutdown());
    });
}

#[cfg(target_os = "linux")]
fn open_sockets() -> usize {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

/// A restart that is given up, and one whose link is closed, at whatever point it had come to.
#[cfg(target_os = "linux")]
#[test]
fn a_restart_that_races_a_close_leaves_no_socket_and_no_task() {
    run(async {
        let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let ((ta, _), (tb, _)) = (impaired(), impaired());
        let before = (open_sockets(), alive());
        for round in 0..60 {
            let (a, b) = connect(&ta, &tb).await;
            {
                let mut restarting = std::pin::pin!(restart(&a, &b).fuse());
                for _ in 0..round % 20 * 3 {
                    tokio::select! {
                        biased;
                        _ = &mut restarting => break,
                        () = tokio::task::yield_now() => {}
                    }
                }
                match round / 20 {
                    // Given up; the steps that were begun run to their end.
                    0 => {}
                    // Either end closes, and the other step has an answer, whatever it is.
                    1 => drop(tokio::join!(
                        a.close(),
                        tokio::time::timeout(Duration::from_millis(50), restarting)
                    )),
                    _ => drop(tokio::join!(
                        b.close(),
                        tokio::time::timeout(Duration::from_millis(50), restarting)
                    )),
                }
            }
            drop((a, b));
        }
        tokio::join!(ta.shutdown(), tb.shutdown());
        if std::env::var_os("NEXTEST").is_none() {
            return; // other tests of this process have sockets, too
        }
        // The tasks that closed are counted until the scheduler has put them away.
        while (open_sockets(), alive()) != before {
            tokio::task::yield_now().await;
        }
    });
}
