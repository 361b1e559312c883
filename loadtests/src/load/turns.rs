//! Several loads in turns: what one costs a proxy more than another.
//!
//! All go over the same connections, so that nothing differs but what is asked. A turn asks a number of requests of each,
//! one load after the other, with nothing under way in between: then the proxy sleeps, and the kernel tells its CPU time to
//! the nanosecond (of a process that runs it only knows what was so at the last tick).
//!
//! In a turn each load asks other requests: what one has brought into the processor's caches is of no use to the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{OPENING, Plan, Trouble, once};
use crate::error::{Context, Error, Result};
use crate::http::Connection;

/// How long a proxy may do what is left to do after an answer.
const SETTLING: Duration = Duration::from_millis(2);

/// How much to ask in turns.
#[derive(Debug, Clone, Copy)]
pub struct Turns {
    /// How many turns.
    pub turns: usize,
    /// Requests of each load in a turn.
    pub requests: usize,
}

/// Asks all requests of each load once, and then a number of them in turns. `cpu` tells the proxy's CPU time so far.
///
/// Returns the CPU time of each turn, in the order of the loads.
///
/// # Errors
///
/// What was not answered, or wrongly.
pub async fn in_turns(plans: &[Plan], how: Turns, cpu: impl Fn() -> Duration) -> Result<Vec<Vec<Duration>>> {
    let count = plans.iter().map(|plan| plan.connections).max().unwrap_or_default();
    let mut connections = Vec::new();
    connections.resize_with(count, || None);
    let mut begun: Vec<usize> = (0..plans.len()).map(|number| number * how.requests).collect();
    for (plan, begun) in plans.iter().zip(&mut begun) {
        connections = asked(plan, connections, begun, plan.requests.len()).await?;
    }
    let mut turns = Vec::new();
    sleep(SETTLING).await;
    let mut before = cpu();
    for turn in 0..how.turns {
        let mut took = vec![Duration::ZERO; plans.len()];
        for number in order(plans.len(), turn) {
            let (Some(plan), Some(begun), Some(took)) =
                (plans.get(number), begun.get_mut(number), took.get_mut(number))
            else {
                continue;
            };
            connections = asked(plan, connections, begun, how.requests).await?;
            sleep(SETTLING).await;
            let after = cpu();
            *took = after.saturating_sub(before);
            before = after;
        }
        turns.push(took);
    }
    Ok(turns)
}

/// The order in a turn: each load is as often the first as any other, and has each of the others before it.
fn order(loads: usize, turn: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..loads).collect();
    order.rotate_left(turn % loads.max(1));
    if turn / loads.max(1) % 2 == 1 {
        order.reverse();
    }
    order
}

type Connections = Vec<Option<Connection>>;

/// Asks the load's next requests, over all connections, and returns these when everything was answered.
async fn asked(plan: &Plan, connections: Connections, begun: &mut usize, requests: usize) -> Result<Connections> {
    let (next, end) = (Arc::new(AtomicUsize::new(*begun)), *begun + requests);
    *begun = end;
    let mut clients = JoinSet::new();
    for connection in connections {
        clients.spawn(client(plan.clone(), connection, Arc::clone(&next), end));
    }
    let mut back = Vec::new();
    let all = async {
        while let Some(client) = clients.join_next().await {
            back.push(client.context("a client ended")??);
        }
        Ok(())
    };
    timeout(OPENING, all).await.context("a proxy stands still")??;
    Ok(back)
}

/// One connection, until all requests before the last were begun.
async fn client(
    plan: Plan,
    mut connection: Option<Connection>,
    next: Arc<AtomicUsize>,
    end: usize,
) -> Result<Option<Connection>> {
    loop {
        let number = next.fetch_add(1, Relaxed);
        if number >= end {
            return Ok(connection);
        }
        let request = plan.requests.get(number % plan.requests.len()).map(Vec::as_slice).unwrap_or_default();
        once(&mut connection, &plan, request, false).await.map_err(|trouble| match trouble {
            Trouble::Answer(status, length) => Error::new(format!("status {status} with {length} bytes")),
            Trouble::Handshake(kind) => Error::new(format!("a handshake of another kind: {kind:?}")),
            Trouble::Failed(failed) => Error::new(failed.to_string()),
        })?;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicU64;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Answers requests of 19 bytes, and counts those of both kinds.
    async fn serve(mut client: TcpStream, seen: Arc<[AtomicU64; 2]>) -> std::io::Result<()> {
        let mut request = [0; 19];
        while client.read_exact(&mut request).await.is_ok() {
            let kind = usize::from(request[5] == b'b');
            seen[kind].fetch_add(1, Relaxed);
            let answer: &[u8] = if request[5] == b'!' { b"HTTP/1.1 503 no\r\ncontent-length: 0\r\n\r\n" } else { OK };
            client.write_all(answer).await?;
        }
        Ok(())
    }

    const OK: &[u8] = b"HTTP/1.1 200 yes\r\ncontent-length: 2\r\n\r\nok";

    async fn server() -> (SocketAddr, Arc<[AtomicU64; 2]>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::new([AtomicU64::new(0), AtomicU64::new(0)]));
        let counted = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, Arc::clone(&counted)));
            }
        });
        (address, seen)
    }

    #[test]
    fn all_come_first_as_often_as_others() {
        let orders: Vec<Vec<usize>> = (0..6).map(|turn| order(3, turn)).collect();
        assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0], [0, 2, 1], [1, 0, 2]]);
        assert_eq!((order(1, 5), order(0, 5)), (vec![0], vec![]));
    }

    fn plan(target: SocketAddr, path: &str) -> Plan {
        let request = format!("GET /{path} HTTP/1.1\r\n\r\n").into_bytes();
        assert_eq!(request.len(), 19);
        Plan { target, tls: None, requests: Arc::new(vec![request; 5]), body: 2, connections: 3, reconnect: false }
    }

    #[tokio::test]
    async fn each_load_has_its_requests_in_its_turn_and_none_in_another() {
        let (target, seen) = server().await;
        let plans = [plan(target, "a"), plan(target, "b")];
        // As many seconds as there were requests, of which those of the second load count a hundred times.
        let cpu = || Duration::from_secs(seen[0].load(Relaxed) + 100 * seen[1].load(Relaxed));
        let turns = in_turns(&plans, Turns { turns: 4, requests: 7 }, cpu).await.unwrap();
        assert_eq!(turns, vec![vec![Duration::from_secs(7), Duration::from_secs(700)]; 4]);
        // Before, each was asked all that it has.
        assert_eq!([&seen[0], &seen[1]].map(|count| count.load(Relaxed)), [5 + 28, 5 + 28]);
    }

    #[tokio::test]
    async fn a_wrong_answer_ends_it() {
        let (target, _) = server().await;
        let wrong = in_turns(&[plan(target, "!")], Turns { turns: 1, requests: 1 }, || Duration::ZERO).await;
        assert_eq!(wrong.unwrap_err().to_string(), "status 503 with 0 bytes");
    }
}
