//! Every folder of `examples` is a configuration without a problem.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use gridrouter_config::generation::{InForce, check_sources};

fn inside(folder: &Path) -> io::Result<Vec<PathBuf>> {
    std::fs::read_dir(folder)?.map(|one| Ok(one?.path())).collect()
}

fn folders() -> io::Result<Vec<PathBuf>> {
    inside(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"))
}

fn check(folder: &Path) -> io::Result<InForce> {
    let files = inside(folder)?.into_iter().map(|file| Ok((file.display().to_string(), std::fs::read(&file)?)));
    let files: Vec<_> = files.collect::<io::Result<_>>()?;
    let report = check_sources(&files);
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
    assert!(report.documents > 0, "{}", folder.display());
    Ok(report.in_force)
}

#[test]
fn every_folder_is_good() {
    let folders = folders().unwrap();
    assert!(folders.len() >= 8, "{folders:?}");
    for folder in folders {
        check(&folder).unwrap();
    }
}

#[test]
fn every_algorithm_is_shown_and_every_limit_is_used() {
    let folder = folders().unwrap().into_iter().find(|folder| folder.ends_with("limits")).unwrap();
    let in_force = check(&folder).unwrap();
    let model = in_force.model();
    let shown: BTreeSet<&str> = model.limits.values().map(|limit| limit.algorithm.as_str()).collect();
    assert_eq!(shown.len(), 9, "{shown:?}");
    let mut used = BTreeSet::new();
    used.extend(model.listeners.values().flat_map(|listener| &listener.limits));
    used.extend(model.services.values().flat_map(|service| &service.limits));
    used.extend(model.routes.values().flat_map(|route| &route.limits));
    used.extend(model.plans.values().flat_map(|plan| &plan.extra_limits));
    let unused: Vec<_> = model.limits.keys().filter(|name| !used.contains(name)).collect();
    assert!(unused.is_empty(), "{unused:?}");
}
