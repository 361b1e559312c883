//! Finding the programs that are run, and the cores they are run on.

use std::path::{Path, PathBuf};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::{Context, Error, Result};

/// A program that is run from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// The data plane of this project, built beside this program.
    Gridrouter,
    /// The control plane of this project, built beside this program.
    Gridctl,
    /// The upstream of this crate, built beside this program.
    Upstream,
    /// Debian's package.
    Nginx,
    /// Debian's package.
    Haproxy,
    /// Fetched by `scripts/setup`.
    Envoy,
    /// Fetched by `scripts/setup`.
    K6,
    /// Debian's package.
    Etcd,
    /// Debian's package nghttp2-client.
    H2load,
    /// Fetched by `scripts/setup`, with grpcio and websockets.
    Python,
}

impl Tool {
    /// The program's name, and the environment variable that overrides where it is.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Tool::Gridrouter => ("gridrouter", "GRIDROUTER"),
            Tool::Gridctl => ("gridctl", "GRIDCTL"),
            Tool::Upstream => ("upstream", "UPSTREAM"),
            Tool::Nginx => ("nginx", "NGINX"),
            Tool::Haproxy => ("haproxy", "HAPROXY"),
            Tool::Envoy => ("envoy", "ENVOY"),
            Tool::K6 => ("k6", "K6"),
            Tool::Etcd => ("etcd", "ETCD"),
            Tool::H2load => ("h2load", "H2LOAD"),
            Tool::Python => ("python", "PYTHON"),
        }
    }

    /// Where the program is, or how to get it.
    pub fn find(self) -> Result<PathBuf> {
        let (name, variable) = self.names();
        if let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
            let path = PathBuf::from(path);
            return if path.is_file() {
                Ok(path)
            } else {
                Err(Error::new(format!("{variable} names {}, which is not a file", path.display())))
            };
        }
        let (places, remedy): (Vec<PathBuf>, String) = match self {
            Tool::Gridrouter | Tool::Gridctl | Tool::Upstream => {
                let here = std::env::current_exe().context("cannot tell where this program is")?;
                let package = if self == Tool::Upstream { "loadtests" } else { name };
                (
                    here.parent().map(Path::to_path_buf).into_iter().collect(),
                    format!("cargo build --release -p {package}"),
                )
            }
            Tool::Envoy | Tool::K6 | Tool::Python => {
                (vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin")], "scripts/setup test".to_owned())
            }
            Tool::Nginx | Tool::Haproxy | Tool::Etcd | Tool::H2load => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                // Debian keeps daemons where ordinary users do not look.
                let sbin = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
                (std::env::split_paths(&path).chain(sbin).collect(), "scripts/setup test".to_owned())
            }
        };
        places
            .iter()
            .map(|place| place.join(name))
            .find(|path| path.is_file())
            .ok_or_else(|| Error::new(format!("{name} not found; run `{remedy}`, or say where it is in {variable}")))
    }
}

/// Which core each part runs on.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// The proxy has this one to itself, where there is more than one.
    pub proxy: usize,
    /// The load generator.
    pub load: usize,
    /// The upstream; shares with the load generator where there are fewer than three.
    pub upstream: usize,
    /// How many cores this program may use.
    pub available: usize,
}

impl Cores {
    /// Shares out the cores that this program may use.
    pub fn share_out() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot read the allowed cores")?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
        let proxy = cores.first().copied().ok_or_else(|| Error::new("no core is allowed"))?;
        let load = cores.get(1).copied().unwrap_or(proxy);
        let upstream = cores.get(2).copied().unwrap_or(load);
        Ok(Self { proxy, load, upstream, available: cores.len() })
    }
}

/// Keeps the calling thread on one core.
pub fn stay_on(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).context(format_args!("cannot stay on core {core}"))
}
