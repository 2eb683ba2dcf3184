//! What `send_with` promises, through the public handles.

mod common;

use std::time::Duration;

use common::{Pair, chat};
use everlink::*;

fn within(millis: u64) -> SendOptions {
    SendOptions::new().deadline(Duration::from_millis(millis))
}

fn lossless() -> ConnectionConfig {
    let mut config = ConnectionConfig::default();
    config.queue = QueueConfig::lossless();
    config
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_wait_for_room_as_well() {
    let mut config = lossless();
    config.queue.max_bytes = 100_000;
    let pair = Pair::with(1, chat(), config).await;
    let (ours, mut theirs) = pair.channel("c");
    let fill = async {
        loop {
            ours.send(vec![1; 10_000]).await.expect("taken");
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(5), fill).await.is_err(), "send never waited");
    let taken = ours.buffered().messages;
    let began = tokio::time::Instant::now();
    let late = ours.send_with(vec![2; 10_000], within(3000)).await;
    assert_eq!(late.unwrap_err(), SendError::Expired);
    assert_eq!(began.elapsed().as_secs(), 3, "neither at once nor never");
    let full = ours.try_send_with(vec![3; 10_000], within(3000)).unwrap_err();
    assert_eq!(full, TrySendError::Full(vec![3; 10_000].into()));

    // With room in time it is taken, and arrives.
    let waiting = ours.send_with(vec![4; 10_000], within(60_000));
    let reading = async {
        for _ in 0..taken {
            assert_eq!(theirs.recv().await, Ok(vec![1; 10_000].into()));
        }
        assert_eq!(theirs.recv().await, Ok(vec![4; 10_000].into()));
        drop(tokio::time::timeout(Duration::from_millis(1), theirs.recv()).await);
    };
    let (sent, ()) = tokio::join!(waiting, reading);
    assert_eq!(sent.expect("taken").acked().await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn receipts_and_statistics_tell_what_was_superseded_and_what_expired() {
    let pair = Pair::with(2, chat(), lossless()).await;
    let (ours, mut theirs) = pair.channel("c");
    ours.send("first").await.expect("taken").stored().await.expect("stored");
    assert_eq!(theirs.recv().await, Ok("first".into()));
    let mut events = ours.events();
    pair.world.network.blackout(true);
    pair.world.network.cut_all();
    tokio::time::sleep(Duration::from_secs(2)).await;

    let cursor = || SendOptions::new().supersede("cursor");
    let old = ours.send_with("1", cursor()).await.expect("taken");
    let ring = ours.try_send_with("ring", within(1000)).expect("taken");
    let new = ours.send_with("2", cursor()).await.expect("taken");
    assert_eq!(old.acked().await, Err(SendError::Superseded));
    assert_eq!(ring.acked().await, Err(SendError::Expired), "without a link");

    pair.world.network.blackout(false);
    let (received, acked) = tokio::join!(
        async {
            let received = theirs.recv().await;
            drop(tokio::time::timeout(Duration::from_secs(1), theirs.recv()).await);
            received
        },
        new.acked()
    );
    assert_eq!((received, acked), (Ok("2".into()), Ok(())));
    let stats = pair.at_peer.stats();
    assert_eq!((stats.superseded, stats.expired, stats.overflowed), (1, 1, 0));
    let mut told = vec![];
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(1), events.next()).await {
        told.push(event);
    }
    assert!(told.contains(&ChannelEvent::Superseded { count: 1 }), "{told:?}");
    assert!(told.contains(&ChannelEvent::Expired { count: 1 }), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_bad_key_is_refused_and_says_what_is_allowed() {
    let pair = Pair::new(3).await;
    let (ours, _theirs) = pair.channel("c");
    let long = SendOptions::new().supersede([0; 65]);
    let error = ours.send_with("x", long.clone()).await.unwrap_err();
    assert_eq!(error, SendError::BadKey(65));
    assert_eq!(error.to_string(), "a supersede key has 1 to 64 bytes, this one 65");
    let failed = ours.try_send_with("x", long).unwrap_err();
    assert_eq!(failed, TrySendError::Failed("x".into(), SendError::BadKey(65)));
}
