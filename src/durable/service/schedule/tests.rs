//! A host and a directory in virtual time, an hour ahead of the clock.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(300);

/// A schedule with a directory that does as it is told. What is asked takes `latency`.
struct Bench {
    schedule: Schedule,
    now: Instant,
    started: Instant,
    latency: Duration,
    /// What the directory answers to announcements.
    refuse: Option<Refusal>,
    refuse_uploads: Option<Refusal>,
    fail_offers: bool,
    ttl: Duration,
    claimed: bool,
    published: bool,
    /// The pool at the directory, until when each is good there.
    pool: Vec<Ticket>,
    waiting: usize,
    /// Offers that this end holds.
    held: Vec<Ticket>,
    pending: Vec<(Instant, Reply)>,
    log: Vec<(Duration, Output)>,
}

enum Reply {
    Claimed,
    Published,
    AnnounceFailed(Refusal),
    Made(Ticket),
    MakeFailed(Ticket),
    Uploaded,
    UploadFailed(Refusal),
    Withdrawn,
    Counted(usize, usize),
}

impl Bench {
    fn new(config: ScheduleConfig) -> Self {
        #[allow(clippy::disallowed_methods)] // the one reading that all virtual time starts from
        let started = Instant::now() + Duration::from_secs(3600);
        Self {
            schedule: Schedule::new(config, started, 1),
            now: started,
            started,
            latency: Duration::from_millis(10),
            refuse: None,
            refuse_uploads: None,
            fail_offers: false,
            ttl: TTL,
            claimed: false,
            published: false,
            pool: Vec::new(),
            waiting: 0,
            held: Vec::new(),
            pending: Vec::new(),
            log: Vec::new(),
        }
    }

    fn running() -> Self {
        let mut bench = Self::new(ScheduleConfig::default());
        bench.run_for(SECOND);
        assert!(bench.published);
        bench.log.clear();
        bench
    }

    /// Runs until `end`, answering all that is asked.
    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let deadline = loop {
                match self.schedule.poll_output(self.now) {
                    Output::Timeout(at) => break at,
                    output => self.carry_out(output),
                }
            };
            assert!(deadline.is_none_or(|at| at > self.now), "a deadline that has passed is a busy loop");
            let reply = self.pending.iter().map(|(at, _)| *at).min();
            let next = deadline.into_iter().chain(reply).min().unwrap_or(end).min(end);
            self.now = next;
            let due: Vec<usize> = (0..self.pending.len()).filter(|i| self.pending[*i].0 <= next).collect();
            for index in due.into_iter().rev() {
                let (_, reply) = self.pending.remove(index);
                self.reply(reply);
            }
            if next >= end {
                return;
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        let at = self.now + self.latency;
        let answer = match &output {
            Output::Claim => Some(match self.refuse {
                Some(refusal) => Reply::AnnounceFailed(refusal),
                None => {
                    self.claimed = true;
                    Reply::Claimed
                }
            }),
            Output::Publish(offers) => Some(match self.refuse {
                Some(refusal) => Reply::AnnounceFailed(refusal),
                None if !self.claimed => Reply::AnnounceFailed(Refusal::Unclaimed),
                None => {
                    self.published = true;
                    if !offers.is_empty() {
                        self.pool.clone_from(offers);
                    }
                    self.serve();
                    Reply::Published
                }
            }),
            Output::Make(ticket) if self.fail_offers => Some(Reply::MakeFailed(*ticket)),
            Output::Make(ticket) => {
                self.held.push(*ticket);
                Some(Reply::Made(*ticket))
            }
            Output::Upload(offers) => Some(match self.refuse_uploads {
                Some(refusal) => Reply::UploadFailed(refusal),
                None if !self.published => Reply::UploadFailed(Refusal::LeaseLost),
                None => {
                    self.pool.extend(offers);
                    self.serve();
                    Reply::Uploaded
                }
            }),
            Output::TakeBack(offers) => {
                self.pool.retain(|offer| !offers.contains(offer));
                None
            }
            Output::Drop(ticket) => {
                self.held.retain(|held| held != ticket);
                None
            }
            Output::Withdraw => {
                self.published = false;
                Some(Reply::Withdrawn)
            }
            Output::GiveUp | Output::Timeout(_) => None,
        };
        self.pending.extend(answer.map(|answer| (at, answer)));
        self.log.push((self.now - self.started, output));
    }

    fn reply(&mut self, reply: Reply) {
        match reply {
            Reply::Claimed => self.schedule.handle_claimed(self.now),
            Reply::Published => {
                let granted = Granted { ttl: self.ttl, offers: self.pool.len(), wanted: self.waiting };
                self.schedule.handle_published(self.now, granted);
            }
            Reply::AnnounceFailed(refusal) => self.schedule.handle_announce_failed(self.now, refusal),
            Reply::Made(ticket) => self.schedule.handle_offer_made(self.now, ticket),
            Reply::MakeFailed(ticket) => self.schedule.handle_offer_failed(self.now, ticket),
            Reply::Uploaded => self.schedule.handle_uploaded(),
            Reply::UploadFailed(refusal) => self.schedule.handle_upload_failed(self.now, refusal),
            Reply::Withdrawn => self.schedule.handle_withdrawn(),
            Reply::Counted(offers, wanted) => self.schedule.handle_counted(offers, wanted),
        }
    }

    /// A peer comes: it takes an offer, or waits for one.
    fn join(&mut self) {
        self.waiting += 1;
        self.serve();
        self.count();
    }

    fn serve(&mut self) {
        let served = self.waiting.min(self.pool.len());
        self.waiting -= served;
        self.pool.drain(..served);
        if served > 0 {
            self.count();
        }
    }

    fn count(&mut self) {
        self.pending.push((self.now + self.latency, Reply::Counted(self.pool.len(), self.waiting)));
    }

    fn times(&self, matches: impl Fn(&Output) -> bool) -> Vec<Duration> {
        self.log.iter().filter(|(_, output)| matches(output)).map(|(at, _)| *at).collect()
    }

    fn publishes(&self) -> Vec<Duration> {
        self.times(|output| matches!(output, Output::Publish(_)))
    }
}

#[test]
fn starts_by_claiming_and_publishing_with_a_full_pool() {
    let bench = {
        let mut bench = Bench::new(ScheduleConfig { pool_size: 3, ..ScheduleConfig::default() });
        bench.run_for(SECOND);
        bench
    };
    assert_eq!(bench.pool.len(), 3);
    let Some((_, Output::Publish(offers))) = bench.log.iter().find(|(_, o)| matches!(o, Output::Publish(_)))
    else {
        panic!("never published")
    };
    assert_eq!(offers.len(), 3, "the offers of a process before this one are replaced at once");
    assert!(bench.times(|o| *o == Output::Claim)[0] < bench.publishes()[0]);
}

#[test]
fn an_offer_that_cannot_be_made_does_not_hold_the_service_back() {
    let mut bench = Bench::new(ScheduleConfig::default());
    bench.fail_offers = true;
    bench.run_for(SECOND);
    assert!(bench.published);
    assert!(bench.times(|o| matches!(o, Output::Make(_))).len() < 5, "retries back off");
    bench.fail_offers = false;
    bench.run_for(10 * SECOND);
    assert_eq!(bench.pool.len(), 1);
}

#[test]
fn w3_refreshes_at_the_margin_of_the_ttl_that_was_granted_not_asked() {
    let mut bench = Bench::new(ScheduleConfig::default());
    bench.ttl = 60 * SECOND;
    bench.run_for(200 * SECOND);
    let at = bench.publishes();
    assert_eq!(at.len(), 5);
    for pair in at.windows(2) {
        assert_eq!(pair[1] - pair[0], 48 * SECOND);
    }
}

#[test]
fn w3_a_server_that_grants_nothing_is_not_asked_in_a_busy_loop() {
    let mut bench = Bench::new(ScheduleConfig::default());
    bench.ttl = Duration::ZERO;
    bench.run_for(10 * SECOND);
    assert!(bench.publishes().len() <= 51, "{}", bench.publishes().len());
}

#[test]
fn w4_a_refresh_leaves_the_pool_and_everything_else_alone() {
    let mut bench = Bench::running();
    let pool = bench.pool.clone();
    bench.schedule.config.offer_lifetime = Duration::from_secs(3600);
    bench.run_for(TTL);
    let refreshes: Vec<&Output> =
        bench.log.iter().map(|(_, o)| o).filter(|o| matches!(o, Output::Publish(_))).collect();
    assert_eq!(refreshes, [&Output::Publish(Vec::new())]);
    assert!(bench.times(|o| *o == Output::Claim).is_empty());
    assert_ne!(pool, [], "and it was there");
}

#[test]
fn w5_a_lost_lease_is_presented_again_at_once_with_the_same_offers() {
    let mut bench = Bench::running();
    let pool = std::mem::take(&mut bench.pool);
    (bench.published, bench.claimed) = (false, false);
    bench.schedule.handle_lease_lost(bench.now);
    bench.run_for(SECOND);
    assert!(bench.published && bench.claimed, "even by a server that forgot the username");
    assert_eq!(bench.pool, pool);
}

#[test]
fn w5_a_break_of_the_connection_leads_to_one_publishing() {
    let mut bench = Bench::running();
    bench.run_for(10 * SECOND);
    bench.schedule.handle_reconnected(bench.now);
    bench.run_for(10 * SECOND);
    assert_eq!(bench.publishes().len(), 1);
}

#[test]
fn a_server_that_loses_leases_all_the_time_is_not_flooded() {
    let mut bench = Bench::running();
    for _ in 0..1000 {
        bench.schedule.handle_lease_lost(bench.now);
        bench.run_for(Duration::from_millis(10));
    }
    assert!(bench.publishes().len() <= 51, "{}", bench.publishes().len());
}

#[test]
fn temporary_failures_are_retried_with_backoff_and_within_a_short_lease() {
    let mut bench = Bench::running();
    bench.run_for(230 * SECOND);
    bench.refuse = Some(Refusal::Temporary(None));
    bench.run_for(300 * SECOND);
    let at = bench.publishes();
    let gaps: Vec<Duration> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[0] < SECOND && gaps.last().unwrap() >= &(5 * SECOND), "{gaps:?}");
    assert!(gaps.iter().all(|gap| *gap <= 11 * SECOND), "{gaps:?}");
    bench.refuse = None;
    bench.run_for(11 * SECOND);
    assert_eq!(bench.pool.len(), 1, "found again by itself");

    let mut bench = Bench::new(ScheduleConfig::default());
    bench.ttl = 10 * SECOND;
    bench.run_for(7 * SECOND);
    bench.refuse = Some(Refusal::Temporary(None));
    let before = bench.publishes().len();
    bench.run_for(3 * SECOND);
    assert!(bench.publishes().len() - before >= 4, "several tries before the lease ends");
}

#[test]
fn a_server_that_asks_for_time_gets_it_within_reason() {
    let mut bench = Bench::new(ScheduleConfig::default());
    bench.refuse = Some(Refusal::Temporary(Some(Duration::from_secs(20))));
    bench.run_for(19 * SECOND);
    assert_eq!(bench.log.iter().filter(|(_, o)| *o == Output::Claim).count(), 1);
    bench.refuse = Some(Refusal::Temporary(Some(Duration::from_secs(1 << 40))));
    bench.run_for(100 * SECOND);
    bench.refuse = None;
    bench.run_for(60 * SECOND);
    assert!(bench.published, "no server sends a service away for ever");
}

#[test]
fn permanent_failures_end_it_and_release_everything() {
    for refusal in [Refusal::Permanent, Refusal::Dubious] {
        let mut bench = Bench::new(ScheduleConfig::default());
        bench.refuse = Some(refusal);
        bench.run_for(600 * SECOND);
        assert_eq!(bench.times(|o| *o == Output::Claim).len(), 1);
        assert_eq!(bench.times(|o| *o == Output::GiveUp).len(), 1);
        assert!(bench.schedule.is_over() && bench.held.is_empty());
    }
}

#[test]
fn a_server_being_mended_is_no_reason_to_give_up_what_ran() {
    let mut bench = Bench::running();
    bench.refuse = Some(Refusal::Dubious);
    bench.run_for(600 * SECOND);
    bench.refuse = None;
    bench.run_for(20 * SECOND);
    assert!(!bench.schedule.is_over() && bench.pool.len() == 1);
}

#[test]
fn at_most_one_announcement_is_under_way() {
    let mut bench = Bench::running();
    bench.latency = 5 * SECOND;
    for _ in 0..20 {
        bench.schedule.handle_reconnected(bench.now);
        bench.schedule.handle_lease_lost(bench.now);
        bench.run_for(SECOND);
    }
    bench.run_for(20 * SECOND);
    for pair in bench.publishes().windows(2) {
        assert!(pair[1] - pair[0] >= 5 * SECOND);
    }
}

#[test]
fn n5_any_number_of_joiners_is_served_by_a_pool_of_one() {
    let mut bench = Bench::running();
    for _ in 0..5 {
        bench.join();
    }
    bench.run_for(SECOND);
    assert_eq!((bench.waiting, bench.pool.len()), (0, 1));
    for _ in 0..50 {
        bench.join();
        bench.run_for(SECOND);
        // Answered: connected peers weigh nothing.
        let answered: Vec<Ticket> = bench.held.iter().filter(|t| !bench.pool.contains(t)).copied().collect();
        for ticket in answered {
            let _ = bench.schedule.handle_answered(ticket);
            bench.held.retain(|held| *held != ticket);
        }
    }
    assert_eq!((bench.waiting, bench.pool.len()), (0, 1));
}

#[test]
fn w18_a_burst_is_bounded_in_the_making() {
    let mut bench = Bench::running();
    bench.latency = SECOND;
    for _ in 0..40 {
        bench.join();
    }
    bench.run_for(2 * SECOND);
    assert!(bench.schedule.count(State::Making) <= 8);
    bench.run_for(60 * SECOND);
    assert_eq!(bench.waiting, 0);
    assert!(bench.pool.len() <= 3, "{}", bench.pool.len());
}

#[test]
fn w18_an_answer_counts_once() {
    let mut bench = Bench::running();
    let ticket = bench.pool[0];
    bench.join();
    assert!(bench.schedule.handle_answered(ticket));
    assert!(!bench.schedule.handle_answered(ticket));
    bench.run_for(SECOND);
    assert_eq!(bench.pool.len(), 1);
}

#[test]
fn w17_n4_offers_are_replaced_before_they_are_stale_and_taken_back() {
    let mut bench = Bench::running();
    let first = bench.pool[0];
    for _ in 0..3600 {
        bench.run_for(SECOND);
        assert_eq!(bench.pool.len(), 1, "never more to be found than the pool's size, never fewer");
        assert!(bench.held.len() <= 3);
    }
    assert!(!bench.pool.contains(&first) && !bench.held.contains(&first));
}

#[test]
fn n4_an_answer_under_way_still_finds_an_offer_that_was_taken_back() {
    let mut bench = Bench::running();
    let first = bench.pool[0];
    bench.run_for(100 * SECOND);
    assert!(!bench.pool.contains(&first), "replaced");
    assert!(bench.schedule.handle_answered(first));
}

#[test]
fn offers_taken_and_never_answered_are_bounded_and_given_up() {
    let mut bench = Bench::running();
    for _ in 0..600 {
        bench.join();
        bench.run_for(SECOND / 4);
        assert!(bench.held.len() <= 64);
    }
    bench.run_for(200 * SECOND);
    assert_eq!(bench.waiting, 0, "and those who mean it are served again");
}

#[test]
fn uploads_that_fail_are_tried_again() {
    let mut bench = Bench::running();
    bench.refuse_uploads = Some(Refusal::Temporary(None));
    bench.join();
    bench.run_for(20 * SECOND);
    assert!(bench.pool.is_empty());
    assert!(bench.times(|o| matches!(o, Output::Upload(_))).len() <= 10);
    bench.refuse_uploads = None;
    bench.run_for(20 * SECOND);
    assert_eq!(bench.pool.len(), 1);
}

#[test]
fn w19_stop_ends_every_timer_and_withdraws_once() {
    let mut bench = Bench::running();
    bench.schedule.stop();
    bench.run_for(SECOND);
    assert_eq!(bench.times(|o| *o == Output::Withdraw).len(), 1);
    assert!(bench.held.is_empty() && !bench.published && bench.schedule.is_over());
    bench.log.clear();
    bench.schedule.stop();
    bench.schedule.handle_lease_lost(bench.now);
    bench.schedule.handle_counted(0, 5);
    bench.run_for(3600 * SECOND);
    assert!(bench.log.is_empty(), "{:?}", bench.log);
}

#[test]
fn w19_a_publishing_under_way_does_not_bring_a_stopped_service_back() {
    for refuse in [None, Some(Refusal::Temporary(None)), Some(Refusal::Permanent)] {
        let mut bench = Bench::new(ScheduleConfig::default());
        bench.latency = SECOND;
        bench.run_for(SECOND / 2);
        bench.refuse = refuse;
        bench.run_for(SECOND);
        assert!(matches!(bench.schedule.announce, Announce::Publishing { .. }));
        bench.schedule.stop();
        bench.run_for(SECOND / 4);
        assert_eq!(bench.times(|o| *o == Output::Withdraw).len(), 0, "its outcome is awaited");
        bench.run_for(5 * SECOND);
        assert_eq!(bench.times(|o| *o == Output::Withdraw).len(), 1);
        assert!(!bench.published && bench.held.is_empty() && bench.schedule.is_over());
    }
}

#[test]
fn w19_a_start_that_failed_leaves_nothing_for_the_next_to_trip_over() {
    let mut bench = Bench::new(ScheduleConfig::default());
    bench.refuse = Some(Refusal::Permanent);
    bench.run_for(SECOND);
    assert!(bench.schedule.is_over());
    bench.schedule.handle_reconnected(bench.now);
    bench.log.clear();
    bench.run_for(3600 * SECOND);
    assert!(bench.log.is_empty());
    let mut next = Bench::new(ScheduleConfig::default());
    next.run_for(SECOND);
    assert!(next.published);
}

#[test]
fn w16_news_may_come_in_any_order_and_does_no_harm() {
    let mut bench = Bench::new(ScheduleConfig::default());
    let now = bench.now;
    bench.schedule.handle_uploaded();
    bench.schedule.handle_published(now, Granted { ttl: TTL, offers: 9, wanted: 9 });
    bench.schedule.handle_claimed(now);
    bench.schedule.handle_offer_made(now, Ticket(77));
    bench.schedule.handle_offer_failed(now, Ticket(77));
    assert!(!bench.schedule.handle_answered(Ticket(77)));
    bench.schedule.handle_counted(usize::MAX, usize::MAX);
    bench.run_for(10 * SECOND);
    assert!(bench.published);
}

#[test]
fn after_a_change_of_the_network_every_offer_is_a_fresh_one() {
    let mut bench = Bench::running();
    let before = bench.pool.clone();
    assert_eq!(before.len(), 1);
    bench.schedule.handle_network_change(bench.now);
    bench.run_for(SECOND);
    assert_eq!(bench.pool.len(), 1);
    assert!(!before.contains(&bench.pool[0]), "an offer with the old addresses is still there");
    let took = bench.times(|output| matches!(output, Output::Upload(_)));
    assert!(took.len() == 1 && bench.publishes().is_empty(), "{took:?}");

    // In the midst of an upload, and in the midst of the making.
    for after in [5, 15, 25] {
        let mut bench = Bench::new(ScheduleConfig::default());
        bench.run_for(Duration::from_millis(after));
        let stale = bench.held.clone();
        bench.schedule.handle_network_change(bench.now);
        bench.run_for(2 * SECOND);
        assert!(bench.pool.len() == 1 && !stale.contains(&bench.pool[0]), "after {after} ms");
    }
}
