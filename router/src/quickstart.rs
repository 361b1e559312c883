//! A router with three demo cells on loopback, and something to try. It needs nothing installed.

mod demo;

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::lifecycle::{Options, Router};
use crate::output;

/// The documents of `config/examples/quickstart`, which the demo writes out for people to edit.
const DOCUMENTS: &[(&str, &str)] = &[
    ("grid.yaml", include_str!("../../config/examples/quickstart/grid.yaml")),
    ("services.yaml", include_str!("../../config/examples/quickstart/services.yaml")),
    ("routes.yaml", include_str!("../../config/examples/quickstart/routes.yaml")),
    ("limits.yaml", include_str!("../../config/examples/quickstart/limits.yaml")),
    ("tenants.yaml", include_str!("../../config/examples/quickstart/tenants.yaml")),
];

/// Starts the demo: endpoints for every address in the documents, and a router before them.
pub fn start(options: &Options, directory: Option<PathBuf>) -> Result<Router, String> {
    let directory = match directory {
        Some(directory) => directory,
        None => fresh_directory()?,
    };
    write(&directory)?;
    let endpoints = demo::start(&directory)?;
    let options = Options { config: directory.clone(), state: None, ..options.clone() };
    let router = Router::start(&options)?;
    let address = router.addresses().first().and_then(|(_, address)| address.socket());
    output::say(&welcome(address, router.admin(), &directory, endpoints));
    Ok(router)
}

/// A directory of this run's own. One that is there already may be somebody else's, with other documents in it.
fn fresh_directory() -> Result<PathBuf, String> {
    let directory = std::env::temp_dir().join(format!("gridrouter-quickstart-{}", std::process::id()));
    let made = std::fs::DirBuilder::new().mode(0o700).create(&directory);
    made.map_err(|error| format!("cannot create {}: {error}; give another with --dir DIR", directory.display()))?;
    Ok(directory)
}

/// Writes the documents, leaving alone what is there: somebody may have edited it.
fn write(directory: &Path) -> Result<(), String> {
    let cannot = |what: &Path, error: std::io::Error| format!("cannot write {}: {error}", what.display());
    std::fs::create_dir_all(directory).map_err(|error| cannot(directory, error))?;
    for (name, text) in DOCUMENTS {
        let path = directory.join(name);
        if !path.exists() {
            std::fs::write(&path, text).map_err(|error| cannot(&path, error))?;
        }
    }
    Ok(())
}

fn welcome(address: Option<SocketAddr>, admin: Option<SocketAddr>, directory: &Path, endpoints: usize) -> String {
    let url = address.map_or_else(|| "http://127.0.0.1:8080".to_owned(), |address| format!("http://{address}"));
    let admin = admin.map_or_else(|| "off".to_owned(), |address| format!("http://{address}"));
    let (bold, dim, plain) = if output::colours() { ("\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    let directory = directory.display();
    format!(
        "
{bold}GridRouter is running.{plain} Three cells (eu-1, eu-2, us-1) with {endpoints} demo endpoints answer on loopback.

  {dim}# a tenant always reaches the same cell: the answer says which{plain}
  curl -s -H 'Host: shop.example.com' -H 'x-tenant-id: globex' {url}/api/checkout

  {dim}# this tenant is pinned to eu-2, whatever its hash says{plain}
  curl -s -H 'Host: shop.example.com' -H 'x-tenant-id: acme' {url}/api/checkout

  {dim}# more than its burst at once: 429 with Retry-After, RateLimit and RateLimit-Policy{plain}
  curl -s -o /dev/null -w '%{{http_code}}\\n' -H 'Host: shop.example.com' -H 'x-tenant-id: globex' \\
    '{url}/api/checkout?n=[1-600]' | sort | uniq -c

  {dim}# why does a request go where it goes? nothing is sent{plain}
  curl -s '{admin}/explain?host=shop.example.com&path=/api/checkout&header=x-tenant-id:acme'

  {dim}# move acme: edit its cell, save, and ask again{plain}
  sed -i 's/cell: eu-2/cell: us-1/' {directory}/tenants.yaml

The documents are in {directory}, admin is at {admin}. Ctrl-C ends it.
"
    )
}
