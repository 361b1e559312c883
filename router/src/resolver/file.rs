//! The last good answers on disk: for a router that starts while DNS is away.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use gridrouter_config::resolved::Resolved;

/// What a process before this one wrote. What cannot be read is nothing, and a warning.
pub(super) fn load(path: &Path) -> Resolved {
    let read = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Resolved::default(),
        Err(error) => Err(error.to_string()),
        Ok(bytes) => serde_json::from_slice::<BTreeMap<Arc<str>, Vec<IpAddr>>>(&bytes).map_err(|e| e.to_string()),
    };
    match read {
        Ok(names) => names.into_iter().map(|(name, addresses)| (name, addresses.into())).collect(),
        Err(why) => {
            tracing::warn!("the names resolved last, in {}, cannot be used: {why}", path.display());
            Resolved::default()
        }
    }
}

/// Whole or not at all. It is not forced onto the disk: after a power failure it may be missing, and DNS has it.
pub(super) fn save(path: &Path, now: &Resolved) {
    let names: BTreeMap<&str, &[IpAddr]> = now.iter().collect();
    let write = || {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let temporary = path.with_extension("new");
        fs::write(&temporary, serde_json::to_vec(&names)?)?;
        fs::rename(temporary, path)
    };
    if let Err(error) = write() {
        tracing::warn!("cannot keep the resolved names in {}: {error}", path.display());
    }
}
