//! Deadlines of one thread's connections: a coarse timer wheel.
//!
//! Setting a deadline costs a comparison when an earlier one is already set, which is the rule: every connection in use
//! is looked at once a second anyway (to park it when idle). So a request arms no timer at all, where a timer per
//! timeout would cost several insertions and removals for each request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use super::worker::Worker;
use crate::clock::{self, Millis};

/// Width of a slot: how late a deadline may fire.
const SLOT_MILLIS: u64 = 8;
/// Slots in the wheel: a horizon of eight seconds. What lies beyond is looked at again at the horizon.
const SLOTS: u64 = 1024;

/// One connection's alarm clock.
#[derive(Debug)]
pub(crate) struct Alarm {
    /// When it will next ring; [`Millis::NEVER`] when it is not in the wheel.
    scheduled: Cell<Millis>,
    waker: RefCell<Option<Waker>>,
}

impl Alarm {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self { scheduled: Cell::new(Millis::NEVER), waker: RefCell::new(None) })
    }

    /// Who is woken when it rings.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// Lets go of whoever is registered: it will not ring any more.
    pub(crate) fn cancel(&self) {
        self.scheduled.set(Millis::NEVER);
        self.waker.take();
    }

    /// Wakes whoever is registered, now.
    pub(crate) fn ring(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// The alarms that ring at about the same time, each with the time it was set to.
type Slot = Vec<(Millis, Rc<Alarm>)>;

/// The alarms of one thread.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: RefCell<Vec<Slot>>,
    /// How many alarms are in the slots.
    count: Cell<usize>,
    /// The first slot time that has not been fired.
    next: Cell<u64>,
    /// When the driver will wake up next.
    driver_wakes: Cell<Millis>,
    earlier: tokio::sync::Notify,
}

impl Default for Wheel {
    fn default() -> Self {
        Self {
            slots: RefCell::new((0..SLOTS).map(|_| Vec::new()).collect()),
            count: Cell::new(0),
            next: Cell::new(clock::now_millis().0 / SLOT_MILLIS),
            driver_wakes: Cell::new(Millis::NEVER),
            earlier: tokio::sync::Notify::new(),
        }
    }
}

impl Wheel {
    /// Makes `alarm` ring at `at` at the latest. Later times than one already set change nothing: whoever is woken
    /// looks at what is due and arms again.
    pub(crate) fn arm(&self, alarm: &Rc<Alarm>, at: Millis) {
        if at >= alarm.scheduled.get() {
            return;
        }
        alarm.scheduled.set(at);
        if self.count.get() == 0 {
            // An empty wheel stands still: without this, all the slots since then would have to be passed.
            self.next.set((clock::now_millis().0 / SLOT_MILLIS).max(self.next.get()));
        }
        self.insert(at, Rc::clone(alarm));
        if at < self.driver_wakes.get() {
            self.earlier.notify_one();
        }
    }

    fn insert(&self, at: Millis, alarm: Rc<Alarm>) {
        let first = self.next.get();
        let slot = (at.0.div_ceil(SLOT_MILLIS)).clamp(first, first + SLOTS - 1);
        if let Some(slot) = self.slots.borrow_mut().get_mut((slot % SLOTS) as usize) {
            slot.push((at, alarm));
            self.count.set(self.count.get() + 1);
        }
    }

    /// Rings everything that is due at `now`.
    fn fire(&self, now: Millis) {
        let last = now.0 / SLOT_MILLIS;
        let mut due = Vec::new();
        while self.next.get() <= last && self.count.get() > due.len() {
            let index = (self.next.get() % SLOTS) as usize;
            if let Some(slot) = self.slots.borrow_mut().get_mut(index) {
                due.append(slot);
            }
            self.next.set(self.next.get() + 1);
        }
        self.next.set(self.next.get().max(last + 1));
        self.count.set(self.count.get() - due.len());
        for (at, alarm) in due {
            if at != alarm.scheduled.get() {
                continue; // an earlier time was set since
            }
            if at > now {
                self.insert(at, alarm); // beyond the horizon when it was set
            } else {
                alarm.scheduled.set(Millis::NEVER);
                alarm.ring();
            }
        }
    }

    /// Wakes whoever waits for anything.
    pub(crate) fn ring_all(&self) {
        for (_, alarm) in self.slots.borrow().iter().flatten() {
            alarm.ring();
        }
    }

    /// The time of the first slot in use.
    fn first_used(&self) -> Option<Millis> {
        let slots = self.slots.borrow();
        let first = self.next.get();
        (first..first + SLOTS)
            .find(|slot| slots.get((slot % SLOTS) as usize).is_some_and(|s| !s.is_empty()))
            .map(|slot| Millis(slot * SLOT_MILLIS))
    }

    /// Runs the wheel for as long as the thread lives. It sleeps until something is due.
    pub(crate) async fn drive(&self, worker: &Worker) {
        loop {
            let wake = self.first_used();
            self.driver_wakes.set(wake.unwrap_or(Millis::NEVER));
            match wake {
                None => self.earlier.notified().await,
                Some(at) => {
                    let left = Duration::from_millis(at.0.saturating_sub(clock::now_millis().0));
                    tokio::select! {
                        () = tokio::time::sleep(left) => {}
                        () = self.earlier.notified() => {}
                    }
                }
            }
            self.fire(worker.read_clock().millis());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    use super::*;

    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn alarm() -> (Rc<Alarm>, Arc<Count>) {
        let count = Arc::new(Count(AtomicU32::new(0)));
        let alarm = Alarm::new();
        alarm.register(&Waker::from(Arc::clone(&count)));
        (alarm, count)
    }

    #[test]
    fn rings_once_when_due_and_never_before() {
        let wheel = Wheel::default();
        let start = clock::now_millis().0;
        for delay in [0, 1, 7, 8, 100, 999, 8_191, 8_192, 30_000, 75_000] {
            let (alarm, count) = alarm();
            let base = wheel.next.get() * SLOT_MILLIS;
            wheel.arm(&alarm, Millis(base.max(start) + delay));
            let due = base.max(start) + delay;
            let mut now = base;
            while now < due {
                wheel.fire(Millis(now));
                assert_eq!(count.0.load(Ordering::Relaxed), 0, "{delay} at {now}");
                now += 97.min(due - now);
            }
            wheel.fire(Millis(due + SLOT_MILLIS));
            assert_eq!(count.0.load(Ordering::Relaxed), 1, "{delay}");
            wheel.fire(Millis(due + 100_000));
            assert_eq!(count.0.load(Ordering::Relaxed), 1, "{delay}");
        }
    }

    #[test]
    fn a_cancelled_alarm_holds_nobody_and_never_rings() {
        let wheel = Wheel::default();
        let (alarm, count) = alarm();
        let start = wheel.next.get() * SLOT_MILLIS;
        wheel.arm(&alarm, Millis(start + 75_000));
        alarm.cancel();
        assert_eq!(Arc::strong_count(&count), 1, "the wheel keeps whoever was to be woken");
        let held = Rc::downgrade(&alarm);
        drop(alarm);
        wheel.fire(Millis(start + 10_000));
        assert!(held.upgrade().is_none(), "the wheel keeps the alarm beyond its horizon");
        wheel.fire(Millis(start + 80_000));
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_wheel_that_stood_still_goes_on_from_now() {
        let wheel = Wheel::default();
        let (alarm, count) = alarm();
        let now = clock::now_millis().0 + 3_600_000;
        wheel.next.set(0);
        wheel.arm(&alarm, Millis(now + 20));
        wheel.fire(Millis(now));
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        wheel.fire(Millis(now + 32));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(wheel.count.get(), 0);
    }

    #[test]
    fn the_earliest_of_several_times_wins() {
        let wheel = Wheel::default();
        let (alarm, count) = alarm();
        let start = wheel.next.get() * SLOT_MILLIS;
        wheel.arm(&alarm, Millis(start + 5_000));
        wheel.arm(&alarm, Millis(start + 50));
        wheel.arm(&alarm, Millis(start + 500));
        wheel.fire(Millis(start + 64));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        wheel.fire(Millis(start + 6_000));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
