//! Work on a thread of its own.

use std::future::Future;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::error::{Context, Error, Result};
use crate::tools;

/// The lowest priority that there is.
const LOWEST: i32 = 19;

/// Lets this thread run only where nobody else wants to. By the lowest priority alone it may go on until the next tick of the kernel's
/// clock, four milliseconds, before those who are woken have their turn. Where it cannot be had, there is that priority.
fn yield_to_all() {
    let thread = gettid().as_raw_nonzero().to_string();
    let _unable = Command::new("chrt").args(["--idle", "--pid", "0", &thread]).stderr(Stdio::null()).status();
}

/// Whose turn it is when several want the same core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manners {
    /// Like everybody.
    Usual,
    /// After everybody else: what attackers do must not take the time of the good clients, who run on the same core.
    Meek,
}

/// Work on a thread of its own, which ends with this.
#[derive(Debug)]
pub(super) struct Apart<T> {
    thread: Option<JoinHandle<Option<T>>>,
    stop: Option<oneshot::Sender<()>>,
}

impl<T: Send + 'static> Apart<T> {
    /// Starts it. The work ends soon after it was told to.
    pub(super) fn start<F: Future<Output = T>>(
        name: &str,
        core: Option<usize>,
        manners: Manners,
        work: impl FnOnce(oneshot::Receiver<()>) -> F + Send + 'static,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        let (stop, stopped) = oneshot::channel();
        let body = move || {
            if let Some(core) = core {
                tools::stay_on(core).ok()?;
            }
            if manners == Manners::Meek {
                // Of this thread alone: the kernel knows no other processes.
                setpriority_process(None, LOWEST).ok()?;
                yield_to_all();
            }
            Some(LocalSet::new().block_on(&runtime, work(stopped)))
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body).context("no thread")?;
        Ok(Self { thread: Some(thread), stop: Some(stop) })
    }

    /// Ends it, and returns what it has come to.
    pub(super) fn end(mut self) -> Result<T> {
        drop(self.stop.take());
        let ended = self.thread.take().and_then(|thread| thread.join().ok()).flatten();
        ended.ok_or_else(|| Error::new("a thread of the drill broke"))
    }
}

impl<T> Drop for Apart<T> {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}
