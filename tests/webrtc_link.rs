//! Links over real WebRTC on loopback. Nothing here sleeps to wait for something: each test waits
//! for the event itself, under one generous deadline.
#![cfg(feature = "webrtc")]
// Real sockets keep real time.
#![allow(clippy::disallowed_methods)]

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use everlink::link::webrtc::{Impairment, WebRtcConfig, WebRtcTransport};
use everlink::link::{LinkError, LinkEvent, LossyConfig, Negotiation, NegotiationEvent, Transport};

#[path = "common/links.rs"]
mod links;

use links::{SharedLink, connect, established, frame, run};

fn transport() -> WebRtcTransport {
    WebRtcTransport::new(WebRtcConfig::loopback())
}

/// A transport whose packets can be dropped, and that notices soon.
fn impaired() -> (WebRtcTransport, Impairment) {
    let impairment = Impairment::new(7);
    let mut config = WebRtcConfig::loopback();
    config.impairment = Some(impairment.clone());
    config.suspect_after = Duration::from_millis(600);
    config.keepalive = Duration::from_millis(500);
    (WebRtcTransport::new(config), impairment)
}

async fn pair() -> (SharedLink, SharedLink) {
    connect(&transport(), &transport()).await
}

async fn down(link: &SharedLink) -> LinkError {
    loop {
        if let LinkEvent::Down(error) = link.recv().await {
            return error;
        }
    }
}

async fn refused(result: impl Future<Output = Result<Arc<dyn Negotiation>, LinkError>>) -> LinkError {
    match result.await {
        Ok(_) => panic!("it was taken"),
        Err(error) => error,
    }
}

#[test]
fn frames_go_both_ways_in_order() {
    run(async {
        let (a, b) = pair().await;
        for (from, to) in [(&a, &b), (&b, &a)] {
            let send = async {
                for number in 0..2_000_u32 {
                    from.send(BytesMut::from(&number.to_be_bytes()[..])).await.unwrap();
                }
            };
            let receive = async {
                for number in 0..2_000_u32 {
                    assert_eq!(frame(to).await[..], number.to_be_bytes());
                }
            };
            tokio::join!(send, receive);
        }
    });
}

/// The stack sets messages aside once 256 wait, and would go back to them with the next packet
/// only: here the keep-alive, 2 s later.
#[test]
fn a_burst_of_small_frames_arrives_without_a_pause() {
    run(async {
        let (a, b) = pair().await;
        for _ in 0..5 {
            for number in 0..2_000_u32 {
                a.send(BytesMut::from(&number.to_be_bytes()[..])).await.unwrap();
            }
            let sent = Instant::now();
            for number in 0..2_000_u32 {
                assert_eq!(frame(&b).await[..], number.to_be_bytes());
            }
            assert!(sent.elapsed() < Duration::from_millis(700), "{:?}", sent.elapsed());
        }
    });
}

#[test]
fn the_largest_frame_arrives_whole_and_a_larger_one_is_refused() {
    run(async {
        let (a, b) = pair().await;
        assert_eq!(a.max_frame(), 65 * 1024);
        assert_eq!(b.max_frame(), 65 * 1024);
        let content: Vec<u8> = (0..a.max_frame()).map(|n| (n * 31 % 251) as u8).collect();
        a.send(BytesMut::from(&content[..])).await.unwrap();
        a.send(BytesMut::from(&b"after"[..])).await.unwrap();
        assert!(frame(&b).await == content);
        assert_eq!(frame(&b).await, "after");
        let error = a.send(BytesMut::zeroed(a.max_frame() + 1)).await.unwrap_err();
        assert!(error.to_string().contains(&(a.max_frame() + 1).to_string()), "{error}");
        a.send(BytesMut::from(&b"and on"[..])).await.unwrap();
        assert_eq!(frame(&b).await, "and on");
    });
}

#[test]
fn the_binding_is_equal_at_both_ends_and_differs_between_links() {
    run(async {
        let (a, b) = (transport(), transport());
        let (first_a, first_b) = connect(&a, &b).await;
        let (second_a, second_b) = connect(&a, &b).await;
        assert_eq!(first_a.binding(), first_b.binding());
        assert_eq!(second_a.binding(), second_b.binding());
        assert_ne!(first_a.binding(), second_a.binding());
    });
}

#[test]
fn a_close_is_seen_by_the_other_end_at_once() {
    run(async {
        for close_by_drop in [false, true] {
            let (a, b) = pair().await;
            let begun = Instant::now();
            if close_by_drop {
                drop(a)
            } else {
                a.close().await
            }
            assert_eq!(down(&b).await, LinkError::ClosedByPeer);
            assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        }
    });
}

#[test]
fn a_closed_link_says_so_and_closing_twice_is_no_matter() {
    run(async {
        let (a, _b) = pair().await;
        tokio::join!(a.close(), a.close());
        a.close().await;
        assert_eq!(down(&a).await, LinkError::Closed);
        assert_eq!(a.send(BytesMut::from(&b"x"[..])).await, Err(LinkError::Closed));
        let more = tokio::time::timeout(Duration::from_millis(50), a.recv()).await;
        assert!(more.is_err(), "nothing follows the end");
    });
}

#[test]
fn a_sender_that_waits_is_released_by_close() {
    run(async {
        let (a, b) = pair().await;
        // Nobody receives at the other end: sooner or later there is no room.
        let waiting = async { while a.send(BytesMut::zeroed(65 * 1024)).await.is_ok() {} };
        let closing = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            a.close().await;
        };
        tokio::join!(waiting, closing);
        drop(b);
    });
}

#[test]
fn a_blackout_is_suspected_and_its_end_is_noticed_with_all_frames() {
    run(async {
        let (dark, impairment) = impaired();
        let (a, b) = connect(&dark, &transport()).await;
        a.send(BytesMut::from(&b"before"[..])).await.unwrap();
        assert_eq!(frame(&b).await, "before");
        impairment.set_blackout(true);
        a.send(BytesMut::from(&b"during"[..])).await.unwrap();
        assert!(matches!(a.recv().await, LinkEvent::Suspect));
        // The stack's own timers would now be at seconds.
        tokio::time::sleep(Duration::from_secs(3)).await;
        impairment.set_blackout(false);
        let healed = Instant::now();
        assert!(matches!(a.recv().await, LinkEvent::Recovered));
        assert!(healed.elapsed() < Duration::from_millis(800), "{:?}", healed.elapsed());
        assert_eq!(frame(&b).await, "during");
        assert!(healed.elapsed() < Duration::from_millis(1200), "{:?}", healed.elapsed());
    });
}

/// Before the first keep-alive, with nothing said yet, and both ways at once.
#[test]
fn a_blackout_right_after_the_opening_is_survived_by_both_ends() {
    run(async {
        let impairment = Impairment::new(7);
        let mut config = WebRtcConfig::loopback();
        config.impairment = Some(impairment.clone());
        let (a, b) = connect(&WebRtcTransport::new(config), &transport()).await;
        impairment.set_blackout(true);
        for link in [&a, &b] {
            for number in 0..40_u8 {
                link.send(BytesMut::from(&[number; 5_000][..])).await.unwrap();
            }
        }
        assert!(matches!(a.recv().await, LinkEvent::Suspect));
        assert!(matches!(b.recv().await, LinkEvent::Suspect));
        tokio::time::sleep(Duration::from_secs(2)).await;
        impairment.set_blackout(false);
        let healed = Instant::now();
        for link in [&a, &b] {
            for number in 0..40_u8 {
                assert!(frame(link).await == [number; 5_000][..]);
            }
        }
        assert!(healed.elapsed() < Duration::from_millis(1500), "{:?}", healed.elapsed());
    });
}

#[test]
fn a_negotiation_learns_that_the_other_end_gave_up() {
    run(async {
        let (a, b) = (transport(), transport());
        let offer = a.offer().await.unwrap();
        let answer = b.answer(offer.description()).await.unwrap();
        offer.set_answer(answer.description()).await.unwrap();
        let link = established(&offer).await;
        link.close().await;
        // It may have come to a link there; that one, then, learns it.
        match answer.next().await {
            NegotiationEvent::Established(link) => {
                assert_eq!(down(&link).await, LinkError::ClosedByPeer);
            }
            NegotiationEvent::Failed(error) => assert_eq!(error, LinkError::ClosedByPeer),
            _ => panic!("neither link nor failure"),
        }
    });
}

#[test]
fn a_negotiation_that_begins_in_a_blackout_succeeds_once_it_ends() {
    run(async {
        let (dark, impairment) = impaired();
        impairment.set_blackout(true);
        let offer = dark.offer().await.unwrap();
        let answer = transport().answer(offer.description()).await.unwrap();
        offer.set_answer(answer.description()).await.unwrap();
        // Past the seven checks after which ICE gives a pair up.
        let early = tokio::time::timeout(Duration::from_secs(3), established(&offer)).await;
        assert!(early.is_err());
        impairment.set_blackout(false);
        let healed = Instant::now();
        tokio::join!(established(&offer), established(&answer));
        assert!(healed.elapsed() < Duration::from_secs(1), "{:?}", healed.elapsed());
    });
}

#[test]
fn loss_and_delay_lose_nothing() {
    run(async {
        let (bad, impairment) = impaired();
        let (a, b) = connect(&bad, &transport()).await;
        impairment.set_delay(Duration::from_millis(5));
        impairment.set_loss(0.02);
        let begun = Instant::now();
        let send = async {
            for number in 0..200_u32 {
                a.send(BytesMut::from(&number.to_be_bytes()[..])).await.unwrap();
            }
        };
        let receive = async {
            for number in 0..200_u32 {
                assert_eq!(frame(&b).await[..], number.to_be_bytes());
            }
        };
        tokio::join!(send, receive);
        assert!(begun.elapsed() >= Duration::from_millis(5));
    });
}

#[test]
fn unusable_descriptions_are_refused_with_a_reason() {
    run(async {
        let transport = transport();
        let offer = transport.offer().await.unwrap();
        let good = offer.description().to_owned();
        let cut: Vec<String> = good.lines().map(|line| format!("{line}\r\n")).collect();
        // Each with one line missing, doubled, or cut: refused or taken, but never a panic.
        for index in 0..cut.len() {
            let without: String =
                cut.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, l)| &l[..]).collect();
            let mut doubled = cut.clone();
            doubled.insert(index, cut[index].clone());
            let mut halved = cut.clone();
            halved[index] = format!("{}\r\n", &cut[index][..cut[index].len() / 2]);
            for sdp in [without, doubled.concat(), halved.concat()] {
                let _ = transport.answer(&sdp).await;
                let other = transport.offer().await.unwrap();
                let _ = other.set_answer(&sdp).await;
            }
        }
        for sdp in ["", "v=0", "{}", "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"] {
            let error = refused(transport.answer(sdp)).await;
            assert!(matches!(error, LinkError::BadDescription(_)), "{error}");
            let error = offer.set_answer(sdp).await.unwrap_err();
            assert!(matches!(error, LinkError::BadDescription(_)), "{error}");
        }
        let error = offer.set_answer(&good).await.unwrap_err();
        assert!(error.to_string().contains("our own"), "{error}");

        // After all this the negotiation is still good.
        let answer = transport.answer(&good).await.unwrap();
        offer.set_answer(answer.description()).await.unwrap();
        assert!(offer.set_answer(answer.description()).await.is_err(), "a second answer");
        assert!(answer.set_answer(&good).await.is_err(), "the answering end takes none");
        tokio::join!(established(&offer), established(&answer));
        transport.shutdown().await;
    });
}

#[test]
fn a_candidate_that_is_none_is_an_error_and_changes_nothing() {
    run(async {
        let (a, b) = (transport(), transport());
        let offer = a.offer().await.unwrap();
        // Without its candidates, as if the other end told them later.
        let (candidates, bare): (Vec<&str>, Vec<&str>) =
            offer.description().lines().partition(|line| line.starts_with("a=candidate"));
        let bare: String =
            bare.iter().filter(|l| !l.contains("end-of")).map(|l| format!("{l}\r\n")).collect();
        let answer = b.answer(&bare).await.unwrap();
        for bad in ["", "hello", "candidate:1 1 udp x", "candidate:1 1 UDP 1 1.2.3.4 99999 typ host"] {
            let error = answer.add_candidate(bad).await.unwrap_err();
            assert!(matches!(error, LinkError::BadDescription(_)), "{bad}: {error}");
        }
        assert!(offer.add_candidate("candidate:").await.is_err(), "before the answer");
        // The answer's candidates are taken away as well: only what is told later leads anywhere.
        let bare_answer: String = answer
            .description()
            .lines()
            .filter(|line| !line.starts_with("a=candidate") && !line.contains("end-of"))
            .map(|line| format!("{line}\r\n"))
            .collect();
        offer.set_answer(&bare_answer).await.unwrap();
        assert!(!candidates.is_empty());
        for candidate in candidates {
            answer.add_candidate(candidate.strip_prefix("a=").unwrap()).await.unwrap();
        }
        tokio::join!(established(&offer), established(&answer));
    });
}

#[test]
fn the_number_of_candidates_is_bounded() {
    run(async {
        let (a, b) = (transport(), transport());
        let offer = a.offer().await.unwrap();
        let answer = b.answer(offer.description()).await.unwrap();
        let mut taken = 0;
        loop {
            let candidate = format!("candidate:9 1 udp 1 127.0.0.1 {} typ host", 1000 + taken);
            match answer.add_candidate(&candidate).await {
                Ok(()) => taken += 1,
                Err(LinkError::BadDescription(_)) => break,
                Err(other) => panic!("{other}"),
            }
            assert!(taken <= 40);
        }
    });
}

#[test]
fn another_certificate_than_the_described_one_is_not_let_in() {
    run(async {
        let (a, b) = (transport(), transport());
        let offer = a.offer().await.unwrap();
        let impostor = a.offer().await.unwrap();
        let fingerprint =
            |sdp: &str| sdp.lines().find(|line| line.starts_with("a=fingerprint")).unwrap().to_owned();
        let (theirs, wrong) = (fingerprint(offer.description()), fingerprint(impostor.description()));
        let answer = b.answer(&offer.description().replace(&theirs, &wrong)).await.unwrap();
        offer.set_answer(answer.description()).await.unwrap();
        let event = tokio::select! {
            event = offer.next() => event,
            event = answer.next() => event,
            () = tokio::time::sleep(Duration::from_secs(3)) => return,
        };
        assert!(!matches!(event, NegotiationEvent::Established(_)));
    });
}

#[test]
fn lossy_streams_deliver_beside_the_frames() {
    run(async {
        let (a, b) = pair().await;
        let config = LossyConfig { ordered: false, max_retransmits: 0 };
        a.open_lossy(2, config);
        b.open_lossy(2, config);
        a.open_lossy(4, config);
        b.open_lossy(4, LossyConfig { ordered: true, max_retransmits: 3 });
        // What is sent before both ends are open is lost; so send until something arrives.
        for stream in [2, 4] {
            let got = async {
                loop {
                    if let LinkEvent::Lossy { stream: from, data } = b.recv().await
                        && from == stream
                    {
                        return data;
                    }
                }
            };
            let sending = async {
                loop {
                    a.send_lossy(stream, BytesMut::from(&b"maybe"[..]));
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                data = got => assert_eq!(data, "maybe"),
                () = sending => unreachable!(),
            }
        }
        a.send(BytesMut::from(&b"surely"[..])).await.unwrap();
        loop {
            match b.recv().await {
                LinkEvent::Frame(frame) => break assert_eq!(frame, "surely"),
                LinkEvent::Lossy { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        a.close_lossy(2);
        a.send_lossy(2, BytesMut::from(&b"nobody"[..]));
        a.send(BytesMut::from(&b"still here"[..])).await.unwrap();
        loop {
            match b.recv().await {
                LinkEvent::Frame(frame) => break assert_eq!(frame, "still here"),
                LinkEvent::Lossy { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn recv_can_be_given_up_without_loss() {
    run(async {
        let (a, b) = pair().await;
        let send = async {
            for number in 0..500_u32 {
                a.send(BytesMut::from(&number.to_be_bytes()[..])).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let receive = async {
            let mut next = 0_u32;
            while next < 500 {
                tokio::select! {
                    biased;
                    () = tokio::task::yield_now() => {}
                    event = b.recv() => match event {
                        LinkEvent::Frame(frame) => {
                            assert_eq!(frame[..], next.to_be_bytes());
                            next += 1;
                        }
                        other => panic!("{other:?}"),
                    },
                }
            }
        };
        tokio::join!(send, receive);
    });
}

#[test]
fn shutdown_closes_everything_and_refuses_what_comes() {
    run(async {
        let (a, b) = (transport(), transport());
        let (link, other) = connect(&a, &b).await;
        let unanswered = a.offer().await.unwrap();
        a.shutdown().await;
        assert_eq!(down(&link).await, LinkError::Closed);
        assert_eq!(down(&other).await, LinkError::ClosedByPeer);
        assert!(matches!(unanswered.next().await, NegotiationEvent::Failed(LinkError::Closed)));
        assert_eq!(refused(a.offer()).await, LinkError::Closed);
        drop(other);
        b.shutdown().await;
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

/// One test for all of it, in a process of its own under nextest, as sockets are counted.
#[cfg(target_os = "linux")]
#[test]
fn what_is_dropped_or_closed_leaves_no_socket_and_no_task() {
    run(async {
        let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let (a, b) = (transport(), transport());
        let before = (open_sockets(), alive());

        drop(a.offer().await.unwrap());
        let offer = a.offer().await.unwrap();
        drop(b.answer(offer.description()).await.unwrap());
        drop(offer);
        // Given up at whatever point it had come to.
        for polls in 0..40 {
            let mut offering = Box::pin(a.offer());
            for _ in 0..polls {
                tokio::select! {
                    biased;
                    _ = &mut offering => break,
                    () = tokio::task::yield_now() => {}
                }
            }
        }
        for round in 0..50 {
            let (left, right) = connect(&a, &b).await;
            left.send(BytesMut::from(&b"hello"[..])).await.unwrap();
            assert_eq!(frame(&right).await, "hello");
            match round % 3 {
                0 => left.close().await,
                1 => drop(left),
                _ => {
                    right.close().await;
                    assert_eq!(down(&left).await, LinkError::ClosedByPeer);
                }
            }
        }
        tokio::join!(a.shutdown(), b.shutdown());
        if std::env::var_os("NEXTEST").is_none() {
            return; // other tests of this process have sockets, too
        }
        // The tasks that closed are counted until the scheduler has put them away.
        while (open_sockets(), alive()) != before {
            tokio::task::yield_now().await;
        }
    });
}

/// `cargo nextest run --release --run-ignored all a_thousand`, as it takes a while in debug builds.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "takes half a minute"]
fn a_thousand_links_one_after_the_other_take_no_more_memory_than_fifty() {
    fn resident_kib() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
    run(async {
        let (a, b) = (transport(), transport());
        let mut after_fifty = (0, 0);
        for round in 0..1_000 {
            let (left, right) = connect(&a, &b).await;
            left.send(BytesMut::zeroed(1000)).await.unwrap();
            frame(&right).await;
            if round % 2 == 0 {
                left.close().await;
            }
            drop(left);
            assert_eq!(down(&right).await, LinkError::ClosedByPeer);
            if round == 50 {
                after_fifty = (resident_kib(), open_sockets());
            }
        }
        assert!(resident_kib() < after_fifty.0 + 4096, "{} KiB", resident_kib());
        assert!(open_sockets() <= after_fifty.1 + 4);
        tokio::join!(a.shutdown(), b.shutdown());
    });
}
