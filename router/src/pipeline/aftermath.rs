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
use crate::limit::Answered;
use crate::limit::key::KeyHash;
use crate::listener::worker::Worker;
use crate::snapshot::QuotaPlan;

/// The most that an upstream can say that a request cost.
const MAX_COST: u32 = 1_000_000;

/// What a request owes. Whatever becomes of the request, its permits are given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Aftermath {
    worker: Rc<Worker>,
    /// When the request was admitted.
    began: Nanos,
    permits: SmallVec<[Owed; 1]>,
    /// With the header that says what the request cost.
    charges: SmallVec<[(Owed, HeaderName); 1]>,
    /// What the answer is slowed down by.
    paced: SmallVec<[(Arc<QuotaPlan>, KeyHash); 1]>,
    answered: Answered,
}

/// What was taken of one limit.
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
            charges: SmallVec::new(),
            paced: admission.paced.iter().map(|(quota, key)| (Arc::clone(quota), *key)).collect(),
            answered: Answered { took_nanos: None, served: false, counts: false },
        };
        for notice in admission.taken() {
            let owed = || Owed { quota: Arc::clone(notice.quota), key: notice.ask.key, cost: notice.limit.cost };
            if notice.quota.prepared.holds_permits() {
                own.permits.push(owed());
            } else if let Some(header) = &notice.limit.document.cost.response_header {
                own.charges.push((owed(), header.clone()));
            }
        }
        Box::new(own)
    }

    /// The upstream's answer has begun: limits learn how long that took, and what the request cost.
    pub(super) fn answer_begins(&mut self, status: StatusCode, fields: &Fields) {
        let now = clock::now();
        self.answered = Answered {
            took_nanos: Some(now.0.saturating_sub(self.began.0)),
            served: !status.is_server_error(),
            counts: true,
        };
        for (owed, header) in self.charges.drain(..) {
            let said = fields.get(header.as_str()).and_then(|value| str::from_utf8(value).ok());
            let Some(cost) = said.and_then(|value| value.trim().parse::<u32>().ok()) else { continue };
            let more = i64::from(cost.min(MAX_COST)) - i64::from(owed.cost);
            if more != 0 {
                self.worker.shared.limits.charge(owed.key, &owed.quota.prepared, more, now.0);
            }
        }
    }

    /// There will be no answer of the upstream's.
    pub(super) fn fails(&mut self) {
        self.answered =
            Answered { took_nanos: Some(clock::now().0.saturating_sub(self.began.0)), served: false, counts: true };
    }

    /// What the answer is slowed down by.
    pub(crate) fn take_pace(&mut self) -> SmallVec<[(Arc<QuotaPlan>, KeyHash); 1]> {
        std::mem::take(&mut self.paced)
    }
}

impl Drop for Aftermath {
    fn drop(&mut self) {
        if self.permits.is_empty() {
            return;
        }
        let now = clock::now().0;
        for Owed { quota, key, cost } in &self.permits {
            self.worker.shared.limits.release(*key, &quota.prepared, *cost, self.answered, now);
        }
    }
}
