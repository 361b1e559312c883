//! The GridRouter data plane as a program.

use std::process::ExitCode;
#[cfg(feature = "mimalloc")]
use std::time::Duration;

use clap::Parser;
use gridrouter::cli::{Cli, Run};
use gridrouter::lifecycle::Router;
use gridrouter::quickstart;
use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            gridrouter::output::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let (run, log_level) = Cli::parse().settle()?;
    let filter = EnvFilter::try_new(&log_level).map_err(|error| format!("log level \"{log_level}\": {error}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_ansi(gridrouter::output::log_colours()).init();
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGQUIT]).map_err(|error| format!("cannot wait for signals: {error}"))?;
    raise_descriptor_limit();
    use_small_pages();
    #[cfg(feature = "mimalloc")]
    give_memory_back()?;
    match run {
        Run::Router(options) => {
            let router = Router::start(&options)?;
            signals.forever().next();
            stop(router, &mut signals);
        }
        Run::Quickstart(options, directory) => {
            let demo = quickstart::start(&options, directory)?;
            signals.forever().next();
            stop(demo, &mut signals);
        }
    }
    Ok(())
}

/// A router needs two descriptors a request: as many as it may have.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}

/// Keeps the kernel from handing out memory in pages of 2 MiB, which the allocator asks it to do. To clear one takes a thread that
/// serves requests up to milliseconds, in which everybody on it waits: clients who made it take memory, 500 heads of 30 KB a
/// second, made others wait 5 ms at the 99th percentile. And what is used of such a page may be little of it.
fn use_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "the kernel may hand out memory in huge pages");
    }
}

/// Makes the allocator give back what was freed, also while nothing happens.
///
/// It gives memory back a second after it was freed, but looks only when some thread takes or returns a page of it: after a
/// burst of connections the quiet that follows would keep what the burst took. So a page is taken and returned now and then; it
/// is never touched.
#[cfg(feature = "mimalloc")]
fn give_memory_back() -> Result<(), String> {
    /// Above this the allocator has a page for each piece of memory.
    const PAGE: usize = 2 * 1024 * 1024;
    const PAUSE: Duration = Duration::from_secs(2);
    let give = || loop {
        std::thread::park_timeout(PAUSE);
        drop(std::hint::black_box(Vec::<u8>::with_capacity(PAGE)));
    };
    let thread = std::thread::Builder::new().name("memory".to_owned()).spawn(give);
    thread.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
}

/// Lets answers under way end; a second signal ends the process at once.
fn stop(router: Router, signals: &mut Signals) {
    tracing::info!("stopping: no more connections, answers under way may end");
    let handle = signals.handle();
    let stopping = std::thread::spawn(move || {
        let cut_off = router.stop();
        handle.close();
        cut_off
    });
    if signals.forever().next().is_some() {
        tracing::warn!("stopped at once");
        return;
    }
    match stopping.join() {
        Ok(0) => tracing::info!("stopped"),
        Ok(cut_off) => tracing::warn!(cut_off, "stopped: the drain time was over"),
        Err(_) => tracing::error!("stopping failed"),
    }
}
