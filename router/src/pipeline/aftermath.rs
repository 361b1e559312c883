//! What a request owes its limits after it was admitted: permits to give back when its answer is over, what it really
//! cost, and the pace of its answer.
//!
//! Most requests owe nothing, and have none of this.

use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderName, StatusCode};
use smallvec::SmallVec;

use super::admission::Admission;
use crate::clock::{self, Nanos};
use crate::http::fields::Fields;
use crate::http::reject::Reject;
use crate::limit::Answered;
use crate::limit::key::KeyHash;
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
    /// When the request could be sent on.
    began: Nanos,
    permits: SmallVec<[Permit; 1]>,
    /// With the header that says what the request cost.
    charges: Vec<(Owed, HeaderName)>,
    /// What the answer is slowed down by.
    paced: Vec<Paced>,
    /// Whether a limit learns from how long the answer takes: if not, no clock has to be read for it.
    learns: bool,
    answered: Answered,
}

/// What was taken of a limit of concurrency.
#[derive(Debug)]
struct Permit {
    key: KeyHash,
    cost: u32,
    /// The limit, if it learns from how the request went.
    learning: Option<Arc<QuotaPlan>>,
}

/// What was taken of a limit that the upstream says the cost of.
#[derive(Debug)]
struct Owed {
    quota: Arc<QuotaPlan>,
    key: KeyHash,
    cost: u32,
}

impl Aftermath {
    /// What a request that was admitted owes, if anything.
    #[inline]
    pub(super) fn of(worker: &Rc<Worker>, admission: &Admission<'_>, now: Nanos) -> Option<Box<Self>> {
        let owes = !admission.refused && (admission.owes || !admission.paced.is_empty());
        owes.then(|| Self::new(worker, admission, now))
    }

    #[cold]
    fn new(worker: &Rc<Worker>, admission: &Admission<'_>, now: Nanos) -> Box<Self> {
        let mut own = Self {
            worker: Rc::clone(worker),
            began: now,
            permits: SmallVec::new(),
            charges: Vec::new(),
            learns: false,
            paced: admission.paced.iter().map(Paced::new).collect(),
            answered: Answered { took_nanos: None, served: false, counts: false },
        };
        for notice in admission.taken() {
            let (quota, key, cost) = (notice.quota, notice.ask.key, notice.limit.cost);
            if quota.prepared.holds_permits() {
                // What does not learn shares no reference count with other threads.
                let learning = quota.prepared.learns().then(|| Arc::clone(quota));
                own.learns |= learning.is_some();
                own.permits.push(Permit { key, cost, learning });
            } else if let Some(header) = &notice.limit.document.cost.response_header {
                own.charges.push((Owed { quota: Arc::clone(quota), key, cost }, header.clone()));
            }
        }
        Box::new(own)
    }

    /// The request has waited for its turn, which says nothing about the upstream.
    pub(super) fn begins(&mut self, now: Nanos) {
        self.began = now;
    }

    /// The upstream's answer has begun: limits learn how long that took since it had the whole request, at `had_all`, and
    /// what the request cost.
    pub(super) fn answer_begins(&mut self, status: StatusCode, fields: &Fields, had_all: Nanos) {
        if !self.learns && self.charges.is_empty() {
            return;
        }
        let now = clock::now();
        self.began = self.began.max(had_all);
        self.answered = Answered {
            took_nanos: Some(now.0.saturating_sub(self.began.0)),
            served: !status.is_server_error(),
            counts: true,
        };
        for (owed, header) in self.charges.drain(..) {
            let Some(cost) = fields.get(header.as_str()).and_then(cost_of) else { continue };
            let more = i64::from(cost) - i64::from(owed.cost);
            if more != 0 {
                self.worker.shared.limits.charge(owed.key, &owed.quota.prepared, more, now.0);
            }
        }
    }

    /// There will be no answer of the upstream's. Where that is the client's fault, nothing is learned of it.
    pub(super) fn fails(&mut self, reject: Reject) {
        if !self.learns || reject.is_of_the_client() {
            return;
        }
        self.answered =
            Answered { took_nanos: Some(clock::now().0.saturating_sub(self.began.0)), served: false, counts: true };
    }

    /// What the answer is slowed down by, if anything.
    pub(crate) fn take_pace(&mut self) -> Option<(Rc<Worker>, Vec<Paced>)> {
        (!self.paced.is_empty()).then(|| (Rc::clone(&self.worker), std::mem::take(&mut self.paced)))
    }
}

impl Drop for Aftermath {
    fn drop(&mut self) {
        if self.permits.is_empty() {
            return;
        }
        let now = if self.learns { clock::now() } else { self.began }.0;
        let limits = &self.worker.shared.limits;
        for Permit { key, cost, learning } in &self.permits {
            match learning {
                Some(quota) => limits.release(*key, &quota.prepared, *cost, self.answered, now),
                None => limits.give_back(*key, *cost, now),
            }
        }
    }
}
