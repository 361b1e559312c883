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
    owed: Owed,
}

#[derive(Debug)]
enum Owed {
    /// To a limit that learns nothing.
    Permit(Permit),
    /// What few requests owe.
    More(Box<More>),
}

/// What a limit counts while the request lasts.
#[derive(Debug, Clone, Copy)]
struct Permit {
    key: KeyHash,
    /// Not zero, as no request is free: so what is owed takes no more room than a permit does.
    cost: NonZeroU32,
}

/// All that is owed to limits that look at the answer and others.
#[derive(Debug)]
struct More {
    /// When the request could be sent on.
    began: Nanos,
    /// Of limits that learn nothing.
    permits: SmallVec<[Permit; 2]>,
    /// Permits of limits that learn from how the request went.
    learning: SmallVec<[Taken; 1]>,
    /// With the header that says what the request cost.
    charges: Vec<(Taken, HeaderName)>,
    /// What the answer is slowed down by.
    paced: Vec<Paced>,
    answered: Answered,
}

/// What was taken of a limit.
#[derive(Debug)]
struct Taken {
    quota: Arc<QuotaPlan>,
    permit: Permit,
}

impl Aftermath {
    /// What a request that was admitted owes, if anything.
    #[inline]
    pub(super) fn of(worker: &Rc<Worker>, admission: &Admission<'_>, now: Nanos) -> Option<Box<Self>> {
        if let Some(passed) = &admission.passed {
            let permit = admission.permit(passed).map(|(cost, key)| Permit::new(key, cost))?;
            return Some(Box::new(Self { worker: Rc::clone(worker), owed: Owed::Permit(permit) }));
        }
        if admission.refused || (!admission.owes && admission.paced.is_empty()) {
            return None;
        }
        let mut owing = admission.taken().filter(|notice| notice.limit.owes);
        let owed = match (owing.next(), owing.next()) {
            (Some(notice), None) if admission.paced.is_empty() && notice.ask.limit.only_holds_permits() => {
                Owed::Permit(Permit::of(notice))
            }
            (_, _) => Owed::More(More::of(admission, now)),
        };
        Some(Box::new(Self { worker: Rc::clone(worker), owed }))
    }

    fn more(&mut self) -> Option<&mut More> {
        match &mut self.owed {
            Owed::Permit(_) => None,
            Owed::More(more) => Some(more),
        }
    }

    /// The request has waited for its turn, which says nothing about the upstream.
    pub(super) fn begins(&mut self, now: Nanos) {
        if let Some(more) = self.more() {
            more.began = now;
        }
    }

    /// The upstream's answer has begun: limits learn how long that took since it had the whole request, at `had_all`, and
    /// what the request cost.
    pub(super) fn answer_begins(&mut self, status: StatusCode, fields: &Fields, had_all: Nanos) {
        if let Owed::More(more) = &mut self.owed
            && more.looks_at_head()
        {
            more.answer_begins(&self.worker.shared.limits, status, fields, had_all);
        }
    }

    /// There will be no answer of the upstream's. Where that is the client's fault, nothing is learned of it.
    pub(super) fn fails(&mut self, reject: Reject) {
        let Some(more) = self.more().filter(|more| !more.learning.is_empty()) else { return };
        if !reject.is_of_the_client() {
            let took_nanos = Some(clock::now().0.saturating_sub(more.began.0));
            more.answered = Answered { took_nanos, served: false, counts: true };
        }
    }

    /// What the answer is slowed down by, if anything.
    #[inline]
    pub(crate) fn take_pace(&mut self) -> Option<(Rc<Worker>, Vec<Paced>)> {
        let paced = std::mem::take(&mut self.more()?.paced);
        (!paced.is_empty()).then(|| (Rc::clone(&self.worker), paced))
    }
}

impl Permit {
    fn new(key: KeyHash, cost: u32) -> Self {
        Self { key, cost: NonZeroU32::new(cost).unwrap_or(NonZeroU32::MIN) }
    }

    fn of(notice: &Notice<'_>) -> Self {
        Self::new(notice.ask.key, notice.limit.cost)
    }
}

impl More {
    /// All that a request owes.
    #[cold]
    fn of(admission: &Admission<'_>, now: Nanos) -> Box<Self> {
        let mut own = Box::new(Self {
            began: now,
            permits: SmallVec::new(),
            learning: SmallVec::new(),
            charges: Vec::new(),
            paced: admission.paced.iter().map(Paced::new).collect(),
            answered: Answered { took_nanos: None, served: false, counts: false },
        });
        for notice in admission.taken().filter(|notice| notice.limit.owes) {
            let (quota, permit) = (notice.quota, Permit::of(notice));
            let taken = || Taken { quota: Arc::clone(quota), permit };
            if quota.prepared.learns() {
                own.learning.push(taken());
            } else if quota.prepared.holds_permits() {
                own.permits.push(permit);
            } else if let Some(header) = &notice.limit.document.cost.response_header {
                own.charges.push((taken(), header.clone()));
            }
        }
        own
    }

    /// Whether the head of the answer says anything to a limit.
    fn looks_at_head(&self) -> bool {
        !self.learning.is_empty() || !self.charges.is_empty()
    }

    fn answer_begins(&mut self, limits: &LimitTable, status: StatusCode, fields: &Fields, had_all: Nanos) {
        let now = clock::now();
        self.began = self.began.max(had_all);
        let took_nanos = Some(now.0.saturating_sub(self.began.0));
        self.answered = Answered { took_nanos, served: !status.is_server_error(), counts: true };
        for (Taken { quota, permit }, header) in self.charges.drain(..) {
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
        for Taken { quota, permit } in &self.learning {
            limits.release(permit.key, &quota.prepared, permit.cost.get(), self.answered, now);
        }
    }
}

impl Drop for Aftermath {
    fn drop(&mut self) {
        let limits = &self.worker.shared.limits;
        match &self.owed {
            Owed::Permit(permit) => limits.give_back(permit.key, permit.cost.get()),
            Owed::More(more) => more.release(limits),
        }
    }
}
