//! Processes that die and start again.

use super::*;

impl Pair {
    /// The process of one side dies: what was not written is gone. Its links are dead without a
    /// word, or with one.
    pub fn crash(&mut self, side: Side, silent: bool) {
        if std::mem::replace(&mut self.dead[index(side)], true) {
            return;
        }
        // The disk may have it all the same, though nobody heard.
        if let Some((_, batch)) = self.storing[index(side)].take()
            && let Some(stores) = &self.stores
            && self.rng.random()
        {
            stores[index(side)].apply_now(batch).expect("it takes everything");
        }
        if side == Dialer {
            self.dials.clear();
        }
        let at = self.now;
        for link in self.links.values_mut() {
            link.ends[index(side)] = false;
            link.to[index(side)].clear();
            if !silent && link.ends[index(side.other())] {
                link.to[index(side.other())].clear();
                link.down[index(side.other())].get_or_insert(at);
            }
        }
        // A host hangs up where no HELLO comes.
        let greeted = |link: &Link| link.adopted || link.ends[index(Dialer)];
        self.links.retain(|_, link| link.ends != [false, false] && greeted(link));
        *self.end(side) = End::new();
    }

    /// The process of one side starts again.
    pub fn restart(&mut self, side: Side) {
        if !std::mem::take(&mut self.dead[index(side)]) {
            return;
        }
        let store = &self.stores.as_ref().expect("there are stores")[index(side)];
        let identity = self.identities[index(side)].clone();
        let records = store.load(&identity_prefix(&identity.public_key())).expect("it can be read");
        let (mut saved, bad) = SavedSession::read(records);
        assert!(bad.is_empty(), "records that cannot be read: {bad:?}");
        assert!(saved.len() <= 1, "one session became several");
        let (clock, now, seed, config) = (self.clock(), self.now, self.rng.random(), self.config.clone());
        if side == Acceptor {
            let config = self.acceptor_config.clone().unwrap_or(config);
            self.acceptor.session = saved.pop().map(|saved| {
                Session::restore(identity, config, saved, clock, now, seed).expect("it can be read")
            });
        } else {
            let mut session = match saved.pop() {
                Some(saved) => {
                    Session::restore(identity, config, saved, clock, now, seed).expect("it can be read")
                }
                None => {
                    let mut session = Session::dialer(identity, config, now, seed);
                    session.keep(TARGET, clock);
                    session
                }
            };
            session.start(now);
            self.dialer.session = Some(session);
        }
        self.drain(side);
    }

    pub fn is_dead(&self, side: Side) -> bool {
        self.dead[index(side)]
    }
}
