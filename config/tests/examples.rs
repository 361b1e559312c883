//! Every folder of `examples` is a configuration without a problem.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gridrouter_config::generation::{InForce, check_sources};

fn folders() -> Vec<PathBuf> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    std::fs::read_dir(examples).unwrap().map(|folder| folder.unwrap().path()).collect()
}

fn check(folder: &Path) -> InForce {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files: Vec<_> = files.map(|file| (file.display().to_string(), std::fs::read(&file).unwrap())).collect();
    let report = check_sources(&files);
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
    assert!(report.documents > 0, "{}", folder.display());
    report.in_force
}

#[test]
fn every_folder_is_good() {
    let folders = folders();
    assert!(folders.len() >= 8, "{folders:?}");
    for folder in folders {
        check(&folder);
    }
}

#[test]
fn every_algorithm_is_shown_and_every_limit_is_used() {
    let folder = folders().into_iter().find(|folder| folder.ends_with("limits")).unwrap();
    let in_force = check(&folder);
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
