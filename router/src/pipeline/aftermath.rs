//! What a request owes its limits after it was admitted: permits to give back when its answer is over, what it really
//! cost, and the pace of its answer.
//!
//! Most requests owe nothing, and have none of this; of the others most owe one permit.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderName, StatusCode};
use smallvec::SmallVec;

use super::admission::{Admission, Notice};
use crate::clock::{self, Nanos};
use crate::http::fields::Fields;
use crate::http::reject::Reject;
use crate::limit::Answered;
use crate::limit::key::KeyHash;
use crate::limit::table::LimitTable;
use crate::listener::worker::Worker;
use crate::snapshot::QuotaPlan;
use crate::upstream::pace::Paced;

/// The most that an upstream can say that a request cost.
const MAX_COST: u32 = 1_000_000;

/// What an upstream says that a request cost: a whole number; more than the most is the most.
fn cost_of(value: &[u8]) -> Option<u32> {
    let digits = value.trim_ascii();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number = str::from_utf8(digits).ok().filter(|_| is_number)?;
    Some(number.parse::<u32>().unwrap_or(MAX_COST).min(MAX_COST))
}

/// What a request owes. Whatever becomes of the request, its permits are given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Aftermath {
    worker: Rc<Worker>,
    /// Of a limit that learns nothing.
    permit: Option<Permit>,
    /// What few requests owe.
    more: Option<Box<More>>,
}

/// What a limit that learns nothing counts while the request lasts.
#[derive(Debug, Clone, Copy)]
struct Permit {
    key: KeyHash,
    /// Not zero, as no request is free: so a permit takes no more room than its key does.
    cost: NonZeroU32,
}

/// What is owed to limits that look at the answer, and permits beyond the first.
#[derive(Debug)]
struct More {
    /// When the request could be sent on.
    began: Nanos,
    permits: Vec<Permit>,
    /// Permits of limits that learn from how the request went.
    learning: SmallVec<[Owed; 1]>,
    /// With the header that says what the request cost.
    charges: Vec<(Owed, HeaderName)>,
    /// What the answer is slowed down by.
    paced: Vec<Paced>,
    answered: Answered,
}

/// What was taken of a limit.
#[derive(Debug)]
struct Owed {
    quota: Arc<QuotaPlan>,
    permit: Permit,
}

impl Aftermath {
    /// What a request that was admitted owes, if anything.
    #[inline]
    pub(super) fn of(worker: &Rc<Worker>, admission: &Admission<'_>, now: Nanos) -> Option<Self> {
        let owes = !admission.refused && (admission.owes || !admission.paced.is_empty());
        owes.then(|| Self::new(worker, admission, now))
    }

    #[inline]
    fn new(worker: &Rc<Worker>, admission: &Admission<'_>, now: Nanos) -> Self {
        let mut own = Self { worker: Rc::clone(worker), permit: None, more: None };
        if !admission.paced.is_empty() {
            own.more(now).paced = admission.paced.iter().map(Paced::new).collect();
        }
        for notice in admission.taken().filter(|notice| notice.limit.owes) {
            let permit =
                Permit { key: notice.ask.key, cost: NonZeroU32::new(notice.limit.cost).unwrap_or(NonZeroU32::MIN) };
            if own.permit.is_none() && notice.ask.limit.only_holds_permits() {
                own.permit = Some(permit);
            } else {
                own.owe_more(notice, permit, now);
            }
        }
        own
    }

    #[cold]
    fn owe_more(&mut self, notice: &Notice<'_>, permit: Permit, now: Nanos) {
        let (quota, more) = (notice.quota, self.more(now));
        let owed = || Owed { quota: Arc::clone(quota), permit };
        if quota.prepared.learns() {
            more.learning.push(owed());
        } else if quota.prepared.holds_permits() {
            more.permits.push(permit);
        } else if let Some(header) = &notice.limit.document.cost.response_header {
            more.charges.push((owed(), header.clone()));
        }
    }

    #[cold]
    fn more(&mut self, now: Nanos) -> &mut More {
        self.more.get_or_insert_with(|| {
            Box::new(More {
                began: now,
                permits: Vec::new(),
                learning: SmallVec::new(),
                charges: Vec::new(),
                paced: Vec::new(),
                answered: Answered { took_nanos: None, served: false, counts: false },
            })
        })
    }

    /// The request has waited for its turn, which says nothing about the upstream.
    pub(super) fn begins(&mut self, now: Nanos) {
        if let Some(more) = &mut self.more {
            more.began = now;
        }
    }

    /// The upstream's answer has begun: limits learn how long that took since it had the whole request, at `had_all`, and
    /// what the request cost.
    pub(super) fn answer_begins(&mut self, status: StatusCode, fields: &Fields, had_all: Nanos) {
        if let Some(more) = self.more.as_mut().filter(|more| more.looks_at_head()) {
            more.answer_begins(&self.worker.shared.limits, status, fields, had_all);
        }
    }

    /// There will be no answer of the upstream's. Where that is the client's fault, nothing is learned of it.
    pub(super) fn fails(&mut self, reject: Reject) {
        let Some(more) = self.more.as_mut().filter(|more| !more.learning.is_empty()) else { return };
        if !reject.is_of_the_client() {
            let took_nanos = Some(clock::now().0.saturating_sub(more.began.0));
            more.answered = Answered { took_nanos, served: false, counts: true };
        }
    }

    /// What the answer is slowed down by, if anything.
    #[inline]
    pub(crate) fn take_pace(&mut self) -> Option<(Rc<Worker>, Vec<Paced>)> {
        let more = self.more.as_mut().filter(|more| !more.paced.is_empty())?;
        Some((Rc::clone(&self.worker), std::mem::take(&mut more.paced)))
    }
}

impl More {
    /// Whether the head of the answer says anything to a limit.
    fn looks_at_head(&self) -> bool {
        !self.learning.is_empty() || !self.charges.is_empty()
    }

    fn answer_begins(&mut self, limits: &LimitTable, status: StatusCode, fields: &Fields, had_all: Nanos) {
        let now = clock::now();
        self.began = self.began.max(had_all);
        let took_nanos = Some(now.0.saturating_sub(self.began.0));
        self.answered = Answered { took_nanos, served: !status.is_server_error(), counts: true };
        for (Owed { quota, permit }, header) in self.charges.drain(..) {
            let Some(cost) = fields.get(header.as_str()).and_then(cost_of) else { continue };
            let more = i64::from(cost) - i64::from(permit.cost.get());
            if more != 0 {
                limits.charge(permit.key, &quota.prepared, more, now.0);
            }
        }
    }

    /// Gives back what it has permits of.
    #[cold]
    fn release(&self, limits: &LimitTable) {
        for permit in &self.permits {
            limits.give_back(permit.key, permit.cost.get());
        }
        if self.learning.is_empty() {
            return;
        }
        let now = clock::now().0;
        for Owed { quota, permit } in &self.learning {
            limits.release(permit.key, &quota.prepared, permit.cost.get(), self.answered, now);
        }
    }
}

impl Drop for Aftermath {
    fn drop(&mut self) {
        let limits = &self.worker.shared.limits;
        if let Some(Permit { key, cost }) = self.permit {
            limits.give_back(key, cost.get());
        }
        if let Some(more) = &self.more {
            more.release(limits);
        }
    }
}
