use bytes::Bytes;

use super::*;

type Pair = (Arc<dyn Link>, Arc<dyn Link>);

async fn established(negotiation: &dyn Negotiation) -> Arc<dyn Link> {
    match negotiation.next().await {
        NegotiationEvent::Established(link) => link,
        NegotiationEvent::Candidate(_) => panic!("a candidate without trickle"),
        NegotiationEvent::Failed(error) => panic!("{error}"),
    }
}

async fn negotiate(network: &MemoryNetwork) -> (Arc<dyn Negotiation>, Arc<dyn Negotiation>) {
    let transport = network.transport();
    let offer = transport.offer().await.unwrap();
    let answer = transport.answer(offer.description()).await.unwrap();
    offer.set_answer(answer.description()).await.unwrap();
    (offer, answer)
}

async fn pair(network: &MemoryNetwork) -> Pair {
    let (offer, answer) = negotiate(network).await;
    let (a, b) = (established(&*offer).await, established(&*answer).await);
    assert_eq!(a.binding(), b.binding());
    (a, b)
}

fn frame(text: &str) -> BytesMut {
    BytesMut::from(text)
}

async fn expect_frame(link: &Arc<dyn Link>) -> Bytes {
    match link.recv().await {
        LinkEvent::Frame(frame) => frame,
        other => panic!("{other:?}"),
    }
}

async fn silent(link: &Arc<dyn Link>) -> bool {
    runtime::timeout(Duration::from_secs(3600), link.recv()).await.is_none()
}

#[tokio::test(start_paused = true)]
async fn frames_arrive_in_order_after_the_delay() {
    let network = MemoryNetwork::new(1);
    network.set_delay(Duration::from_millis(20));
    let (a, b) = pair(&network).await;
    let started = runtime::now();
    for n in 0..100 {
        a.send(frame(&n.to_string())).await.unwrap();
    }
    for n in 0..100 {
        assert_eq!(expect_frame(&b).await, n.to_string());
    }
    assert_eq!(runtime::now() - started, Duration::from_millis(20));
}

#[tokio::test(start_paused = true)]
async fn every_link_has_a_binding_of_its_own() {
    let network = MemoryNetwork::new(1);
    let (first, second) = (pair(&network).await, pair(&network).await);
    assert_ne!(first.0.binding(), second.0.binding());
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_makes_the_sender_wait_until_the_other_end_reads() {
    let network = MemoryNetwork::new(1);
    let (a, b) = pair(&network).await;
    let mut taken = 0;
    while runtime::timeout(Duration::from_secs(1), a.send(BytesMut::zeroed(64 * 1024))).await.is_some() {
        taken += 1;
    }
    assert_eq!(taken, 20, "1 MiB of window and 256 KiB of buffer");
    let blocked = a.send(BytesMut::zeroed(64 * 1024));
    let (sent, _) = tokio::join!(blocked, expect_frame(&b));
    sent.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_frame_over_the_limit_is_refused() {
    let network = MemoryNetwork::new(1);
    network.update(|config| config.max_frame = 10);
    let (a, b) = pair(&network).await;
    assert!(matches!(a.send(BytesMut::zeroed(11)).await, Err(LinkError::Failed(_))));
    a.send(BytesMut::zeroed(10)).await.unwrap();
    assert_eq!(expect_frame(&b).await.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn the_other_end_sees_a_close_after_what_had_arrived() {
    let network = MemoryNetwork::new(1);
    let (a, b) = pair(&network).await;
    a.send(frame("last")).await.unwrap();
    a.close().await;
    a.close().await;
    assert_eq!(expect_frame(&b).await, "last");
    assert!(matches!(b.recv().await, LinkEvent::Down(LinkError::ClosedByPeer)));
    assert!(matches!(a.recv().await, LinkEvent::Down(LinkError::Closed)));
    assert!(silent(&a).await && silent(&b).await);
    assert_eq!(a.send(frame("no")).await, Err(LinkError::Closed));
    assert_eq!(b.send(frame("no")).await, Err(LinkError::ClosedByPeer));
    assert_eq!(network.links(), 0);
}

#[tokio::test(start_paused = true)]
async fn close_loses_what_has_not_arrived() {
    let network = MemoryNetwork::new(1);
    network.set_delay(Duration::from_millis(5));
    let (a, b) = pair(&network).await;
    a.send(frame("lost")).await.unwrap();
    a.close().await;
    assert!(matches!(b.recv().await, LinkEvent::Down(LinkError::ClosedByPeer)));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_closes_and_releases() {
    let network = MemoryNetwork::new(1);
    let (a, b) = pair(&network).await;
    assert_eq!((network.links(), network.negotiations()), (1, 0));
    drop(a);
    assert!(matches!(b.recv().await, LinkEvent::Down(LinkError::ClosedByPeer)));
    drop(b);
    assert_eq!(network.links(), 0);
    assert!(network.lock().wires.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_seen_at_both_ends_at_once() {
    let network = MemoryNetwork::new(1);
    network.set_delay(Duration::from_millis(5));
    let (a, b) = pair(&network).await;
    a.send(frame("lost")).await.unwrap();
    network.cut_all();
    assert!(matches!(a.recv().await, LinkEvent::Down(LinkError::Failed(_))));
    assert!(matches!(b.recv().await, LinkEvent::Down(LinkError::Failed(_))));
    assert_eq!(network.links(), 0);
    pair(&network).await;
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_cuts_at_the_same_frame() {
    async fn survived(seed: u64) -> Vec<u32> {
        let network = MemoryNetwork::new(seed);
        network.update(|config| config.cut_after = Some(1..=50));
        let mut counts = Vec::new();
        for _ in 0..5 {
            let (a, _b) = pair(&network).await;
            let mut count = 0;
            while a.send(frame("x")).await.is_ok() {
                count += 1;
            }
            counts.push(count);
        }
        counts
    }
    assert_eq!(survived(7).await, survived(7).await);
    assert_ne!(survived(7).await, survived(8).await);
}

#[tokio::test(start_paused = true)]
async fn a_short_blackout_delays_and_a_long_one_silences_for_ever() {
    let network = MemoryNetwork::new(1);
    let (a, b) = pair(&network).await;
    a.send(frame("before")).await.unwrap();
    network.blackout(true);
    a.send(frame("during")).await.unwrap();
    assert_eq!(expect_frame(&b).await, "before");
    assert!(runtime::timeout(Duration::from_secs(10), b.recv()).await.is_none());
    network.blackout(false);
    assert_eq!(expect_frame(&b).await, "during");

    network.blackout(true);
    a.send(frame("swallowed")).await.unwrap();
    runtime::sleep(Duration::from_secs(31)).await;
    network.blackout(false);
    a.send(frame("swallowed too")).await.unwrap();
    assert!(silent(&b).await, "as SCTP: open, and dead");
    assert_eq!(network.links(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_link_outlives_a_long_blackout() {
    let network = MemoryNetwork::new(1);
    let (a, b) = pair(&network).await;
    network.blackout(true);
    runtime::sleep(Duration::from_secs(75)).await;
    network.blackout(false);
    a.send(frame("hello")).await.unwrap();
    assert_eq!(expect_frame(&b).await, "hello");
}

#[tokio::test(start_paused = true)]
async fn a_blackout_is_suspected_and_recovered_from_or_given_up() {
    let network = MemoryNetwork::new(1);
    network.update(|config| {
        config.suspect_after = Some(Duration::from_secs(4));
        config.fail_after = Some(Duration::from_secs(29));
    });
    let (a, b) = pair(&network).await;
    network.blackout(true);
    let started = runtime::now();
    assert!(matches!(a.recv().await, LinkEvent::Suspect));
    assert_eq!(runtime::now() - started, Duration::from_secs(4));
    network.blackout(false);
    assert!(matches!(a.recv().await, LinkEvent::Recovered));
    network.blackout(true);
    drop(b);
    assert!(matches!(a.recv().await, LinkEvent::Suspect));
    network.blackout(false);
    assert!(matches!(a.recv().await, LinkEvent::Down(LinkError::Failed(_))), "the peer left unheard");
}

#[tokio::test(start_paused = true)]
async fn negotiations_hang_in_a_blackout_and_come_to_a_link_after_it() {
    let network = MemoryNetwork::new(1);
    network.blackout(true);
    let (offer, answer) = negotiate(&network).await;
    assert!(runtime::timeout(Duration::from_secs(60), offer.next()).await.is_none());
    network.blackout(false);
    tokio::join!(established(&*offer), established(&*answer));
}

#[tokio::test(start_paused = true)]
async fn trickle_needs_a_candidate_each_way() {
    let network = MemoryNetwork::new(1);
    network.update(|config| config.trickle = true);
    let (offer, answer) = negotiate(&network).await;
    for (from, to) in [(&offer, &answer), (&answer, &offer)] {
        assert!(to.add_candidate("nonsense").await.is_err());
        let NegotiationEvent::Candidate(candidate) = from.next().await else { panic!("no candidate") };
        assert!(runtime::timeout(Duration::from_secs(60), from.next()).await.is_none());
        to.add_candidate(&candidate).await.unwrap();
    }
    tokio::join!(established(&*offer), established(&*answer));
}

#[tokio::test(start_paused = true)]
async fn bad_descriptions_are_errors_and_strangers_never_meet() {
    let network = MemoryNetwork::new(1);
    let transport = network.transport();
    assert!(matches!(transport.answer("v=0").await, Err(LinkError::BadDescription(_))));
    let (one, two) = (transport.offer().await.unwrap(), transport.offer().await.unwrap());
    assert!(matches!(one.set_answer("v=0").await, Err(LinkError::BadDescription(_))));
    let answer = transport.answer(two.description()).await.unwrap();
    one.set_answer(answer.description()).await.unwrap();
    assert!(one.set_answer(answer.description()).await.is_err(), "only one answer is taken");
    assert!(runtime::timeout(Duration::from_secs(60), one.next()).await.is_none());
    drop((one, two, answer));
    assert_eq!(network.negotiations(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_negotiation_dropped_before_its_link_is_taken_closes_it() {
    let network = MemoryNetwork::new(1);
    let (offer, answer) = negotiate(&network).await;
    let a = established(&*offer).await;
    drop(answer);
    assert!(matches!(a.recv().await, LinkEvent::Down(LinkError::ClosedByPeer)));
    assert_eq!((network.links(), network.negotiations()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn lossy_streams_lose_their_share_and_keep_order_if_asked() {
    for ordered in [true, false] {
        let network = MemoryNetwork::new(3);
        network.update(|config| {
            config.loss = 0.3;
            config.delay = Duration::from_millis(10);
        });
        let (a, b) = pair(&network).await;
        let config = LossyConfig { ordered, max_retransmits: 1 };
        a.open_lossy(5, config);
        a.send_lossy(5, frame("too early: the other end has not opened it"));
        b.open_lossy(5, config);
        for n in 0..1000u32 {
            a.send_lossy(5, BytesMut::from(&n.to_be_bytes()[..]));
        }
        a.send_lossy(6, frame("never opened"));
        let mut got = Vec::new();
        while let Some(event) = runtime::timeout(Duration::from_secs(1), b.recv()).await {
            let LinkEvent::Lossy { stream: 5, data } = event else { panic!("{event:?}") };
            got.push(u32::from_be_bytes(data[..].try_into().unwrap()));
        }
        assert!((860..960).contains(&got.len()), "0.3² of 1000 are lost, not {}", 1000 - got.len());
        assert_eq!(got.is_sorted(), ordered);
    }
}
