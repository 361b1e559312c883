//! One thread's balancers. Their positions belong to the endpoint group's name and outlive every edit of it.

use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;

use crate::balance::Balancer;
use crate::balance::smooth_weighted_round_robin::{Outcome, PeerView, SmoothWeightedRoundRobin, Tried};
use crate::snapshot::EndpointGroup;

/// An endpoint group as requests hold it while they use one of its endpoints: counted by a counter of this thread's own.
pub(crate) type Group = Rc<Arc<EndpointGroup>>;

#[derive(Debug)]
struct Entry {
    group: Group,
    balancer: Balancer,
}

/// One thread's balancers, by the group's stable number.
#[derive(Debug, Default)]
pub(crate) struct Balancers {
    entries: RefCell<Vec<Option<Entry>>>,
}

impl Balancers {
    /// Picks an endpoint of the group, which [`done`](Self::done) must be told of later.
    pub(crate) fn pick(&self, group: &Arc<EndpointGroup>, now_secs: u64, tried: &mut Tried) -> Option<(Group, usize)> {
        self.with(group, |entry| entry.balancer.pick(now_secs, tried).map(|index| (Rc::clone(&entry.group), index)))
    }

    /// The endpoint that would be picked.
    pub(crate) fn peek(&self, group: &Arc<EndpointGroup>, now_secs: u64) -> Option<usize> {
        self.with(group, |entry| entry.balancer.peek(now_secs, &Tried::default()))
    }

    /// The state of an endpoint, for people.
    pub(crate) fn view(&self, group: &Arc<EndpointGroup>, index: usize, now_secs: u64) -> Option<PeerView> {
        self.with(group, |entry| entry.balancer.view(index, now_secs))
    }

    /// Tells how a request to a picked endpoint went. The group may have been edited since: then the endpoint is found
    /// by its address.
    pub(crate) fn done(&self, group: &Group, index: usize, outcome: Outcome, now_secs: u64) {
        let mut entries = self.entries.borrow_mut();
        let Some(Some(entry)) = entries.get_mut(group.id as usize) else { return };
        let index = if Rc::ptr_eq(&entry.group, group) {
            Some(index)
        } else {
            group.endpoints.get(index).and_then(|old| position(&entry.group, old.id))
        };
        if let Some(index) = index {
            entry.balancer.done(index, outcome, now_secs);
        }
    }

    fn with<T>(&self, group: &Arc<EndpointGroup>, use_it: impl FnOnce(&mut Entry) -> T) -> T {
        let mut entries = self.entries.borrow_mut();
        let index = group.id as usize;
        if entries.len() <= index {
            entries.resize_with(index + 1, || None);
        }
        let fresh = |group: &Arc<EndpointGroup>| Entry { group: Rc::new(Arc::clone(group)), balancer: start(group) };
        let Some(slot) = entries.get_mut(index) else { return use_it(&mut fresh(group)) };
        let entry = slot.get_or_insert_with(|| fresh(group));
        if !Arc::ptr_eq(&entry.group, group) {
            if **entry.group != **group {
                entry.balancer = edited(entry, group);
            }
            entry.group = Rc::new(Arc::clone(group));
        }
        use_it(entry)
    }
}

fn position(group: &EndpointGroup, endpoint: u32) -> Option<usize> {
    group.endpoints.iter().position(|e| e.id == endpoint)
}

/// A balancer at a random point of its cycle: many threads of many routers would otherwise all begin with the same
/// endpoint.
fn start(group: &EndpointGroup) -> Balancer {
    let mut balancer = SmoothWeightedRoundRobin::new(&group.peers, group.policy);
    balancer.start_at_random_phase(RandomState::new().hash_one(group.id));
    Balancer::SmoothWeightedRoundRobin(balancer)
}

/// A balancer for an edited group, which goes on where the old one stands.
fn edited(entry: &Entry, group: &EndpointGroup) -> Balancer {
    let Balancer::SmoothWeightedRoundRobin(old) = &entry.balancer;
    let mut balancer = SmoothWeightedRoundRobin::new(&group.peers, group.policy);
    balancer.carry_over(old, |new| group.endpoints.get(new).and_then(|e| position(&entry.group, e.id)));
    Balancer::SmoothWeightedRoundRobin(balancer)
}
