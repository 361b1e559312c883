//! How many connections a thread opens to one endpoint before it looks what else has come.
//!
//! To open one takes the kernel many times as long as to use one. A client of HTTP/2 may ask for a hundred in one write, and each
//! request on the same thread would wait until all of them were opened.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tokio::sync::Semaphore;

use crate::listener::worker::Worker;

/// So many take about as long as ten or twenty requests.
const AT_ONCE: usize = 4;

/// One thread's endpoints that connections are being opened to, with how many more may be in this turn.
#[derive(Debug, Default)]
pub(crate) struct Turns(RefCell<HashMap<u32, Rc<Semaphore>>>);

/// Waits until it is this connection's turn to be opened, in the order in which they are asked for.
pub(super) async fn wait(worker: &Rc<Worker>, endpoint: u32) {
    let known = worker.turns.0.borrow().get(&endpoint).cloned();
    let turn = known.unwrap_or_else(|| {
        let turn = Rc::new(Semaphore::new(AT_ONCE));
        worker.turns.0.borrow_mut().insert(endpoint, Rc::clone(&turn));
        drop(tokio::task::spawn_local(go_on(Rc::clone(worker), endpoint, Rc::clone(&turn))));
        turn
    });
    // It is never closed.
    if let Ok(place) = turn.acquire().await {
        place.forget();
    }
}

/// Begins a turn as often as the thread has looked what has come, until nobody wants one.
async fn go_on(worker: Rc<Worker>, endpoint: u32, turn: Rc<Semaphore>) {
    loop {
        tokio::task::yield_now().await;
        let taken = AT_ONCE.saturating_sub(turn.available_permits());
        if taken == 0 {
            worker.turns.0.borrow_mut().remove(&endpoint);
            return;
        }
        turn.add_permits(taken);
    }
}
