//! The flags of `--adopt`: an operator's word that this store takes the place of what routers follow now.

use clap::Args;
use gridrouter_config::live::{RouterState, RouterStatus};
use gridrouter_config::store::etcd::Head;
use gridrouter_config::store::etcd::writer::Adopt;

use super::{open, open_to_adopt};
use crate::output::Output;
use crate::site::{Place, Site, in_our_words};
use crate::table::printable;
use crate::target::Target;

/// For a store that was emptied, restored from a backup or moved: routers hold on to what they have until they are told.
#[derive(Debug, Args)]
pub(super) struct AdoptFlags {
    /// Make routers follow this store although it was emptied, restored from a backup or moved
    #[arg(long)]
    adopt: bool,
    /// With --adopt: a lineage that routers hold on to, as their log and /ready name it [default: what live routers and the
    /// export say]
    #[arg(long, value_name = "LINEAGE", requires = "adopt")]
    replaces: Vec<String>,
    /// With --adopt: a generation that is higher than what any router has [default: what live routers and the export say]
    #[arg(long, value_name = "GENERATION", requires = "adopt")]
    above: Option<u64>,
}

/// What an export says of the store that it came from.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) generation: u64,
    pub(super) digest: Option<String>,
    pub(super) lineage: Option<String>,
    pub(super) documents: Option<usize>,
}

impl AdoptFlags {
    /// Opens the store and reads what it has.
    pub(super) fn open(&self, target: Result<Target, String>, output: &mut Output) -> Result<(Place, Site), String> {
        if self.adopt { open_to_adopt(target, output) } else { open(target, output) }
    }

    /// Whom to replace, and what to be above.
    pub(super) fn settle(
        &self,
        place: &mut Place,
        site: &Site,
        origin: Option<&Origin>,
        output: &mut Output,
    ) -> Result<Option<Adopt>, String> {
        if !self.adopt {
            return Ok(None);
        }
        let writer = place.writer("is not followed by generations, and needs no --adopt")?;
        let routers = writer.routers().map_err(|error| in_our_words(&error.explain()))?;
        let highest = routers.iter().map(|router| router.generation).max().unwrap_or_default();
        let above = highest.max(origin.map_or(0, |origin| origin.generation)).max(self.above.unwrap_or_default());
        let lineage = origin.and_then(|origin| origin.lineage.clone());
        let mut replaces: Vec<String> = Vec::new();
        for lineage in self.replaces.iter().cloned().chain(lineage).chain(elsewhere(&routers, site.head())) {
            if !replaces.contains(&lineage) {
                replaces.push(lineage);
            }
        }
        let mute = |router: &&RouterStatus| router.state == RouterState::Held && router.lineage.is_empty();
        if replaces.is_empty()
            && let Some(router) = routers.iter().find(mute)
        {
            output.note(format_args!(
                "router {} holds on to a lineage and does not tell which; name it with --replaces if it stays held",
                printable(&router.id)
            ));
        }
        let named = if replaces.is_empty() { String::new() } else { format!(" and of {}", replaces.join(", ")) };
        output.note(format_args!(
            "adopting the store above generation {above}, in place of its own lineage{}",
            printable(&named)
        ));
        Ok(Some(Adopt { replaces, above }))
    }
}

/// The lineages of routers that follow another one than the store's own.
fn elsewhere(routers: &[RouterStatus], head: Option<&Head>) -> impl Iterator<Item = String> {
    let own = head.map(|head| head.lineage.as_str()).unwrap_or_default();
    let other = move |router: &&RouterStatus| !router.lineage.is_empty() && router.lineage != own;
    routers.iter().filter(other).map(|router| router.lineage.clone())
}
