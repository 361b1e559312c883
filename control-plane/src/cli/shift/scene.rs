//! What the verbs of shifts look at: the documents, the routers, and the time.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use gridrouter_config::check::{ModelDocument, convert};
use gridrouter_config::ids::{DocumentId, Kind, Name};
use gridrouter_config::model::Shift;
use gridrouter_config::problem::did_you_mean;
use gridrouter_config::raw;
use gridrouter_config::track::Track;

use crate::controller::View;
use crate::controller::desk::Desk;
use crate::controller::shift::{Answers, Routers, verdict};
use crate::ledger::Ledger;
use crate::observe::Observer;
use crate::picture::{Picture, Sight};
use crate::target::Target;

/// Which routers are asked.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct RouterFlags {
    /// Ask these routers what they count, by the address of their admin endpoints, instead of those that are live in etcd;
    /// a directory has no list of them
    #[arg(long = "router", value_name = "HOST:PORT", value_delimiter = ',')]
    pub(super) routers: Vec<String>,
}

/// Milliseconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A shift as it is written, and what that means.
pub(super) fn find<'a>(view: &'a View, name: &str) -> Result<(&'a raw::Shift, Arc<Shift>), String> {
    let id = DocumentId { kind: Kind::Shift, name: Name::parse(name)? };
    let Some(document) = view.documents.get(&id) else {
        if let Some(unreadable) = view.unreadable.iter().find(|one| one.id.as_ref() == Some(&id)) {
            return Err(format!("shift \"{name}\" cannot be read: {}", unreadable.why));
        }
        let help = did_you_mean(name, names(view)).unwrap_or_else(|| "`gridctl shift list` lists them".to_owned());
        return Err(format!("there is no shift \"{name}\"; {help}"));
    };
    match (&document.raw, convert(document)) {
        (raw::Document::Shift(raw), Ok(ModelDocument::Shift(shift))) => Ok((raw, shift)),
        (_, Err(problems)) => {
            let why = problems.first().map(|problem| problem.message.clone()).unwrap_or_default();
            Err(format!("shift \"{name}\" is not right: {why}"))
        }
        (_, Ok(_)) => Err(format!("{id} is no shift")),
    }
}

/// The names of all shifts.
pub(super) fn names(view: &View) -> impl Iterator<Item = &str> {
    view.documents.keys().filter(|id| id.kind == Kind::Shift).map(|id| id.name.as_str())
}

/// Whoever looks at shifts more than once.
pub(super) struct Scene {
    pub(super) desk: Desk,
    routers: Routers,
    observer: Observer,
    begun: Instant,
}

impl Scene {
    pub(super) fn open(target: &Target, flags: &RouterFlags) -> Result<Self, String> {
        let (desk, routers) = (Desk::open(target)?, Routers::of(target, &flags.routers)?);
        Ok(Self { desk, routers, observer: Observer::new()?, begun: Instant::now() })
    }

    /// Takes what routers have counted now.
    pub(super) fn count(&mut self, shift: &Shift, ledger: &mut Ledger) -> Result<(), String> {
        if shift.state.started > 0 {
            ledger.take(shift, &self.observer.read(self.routers.list()?));
        }
        Ok(())
    }

    /// How many requests the endpoints of a track have had in these cells, by what all routers have counted since they were
    /// started. The error says which router could not be asked.
    pub(super) fn requests(&mut self, service: &Name, cells: &[&Name], track: Track) -> Result<u64, String> {
        let groups: Vec<String> = cells.iter().map(|cell| format!("{service}/{cell}/{}", track.as_str())).collect();
        let routers = self.routers.list()?;
        if routers.is_empty() {
            return Err("no router is known".to_owned());
        }
        self.observer.requests(routers, &groups)
    }

    /// What Prometheus says of a shift under way.
    fn answers(&self, shift: &Shift) -> Answers {
        let analysis = shift.analysis.as_ref().filter(|_| shift.is_under_way());
        analysis
            .and_then(|analysis| analysis.prometheus.as_ref())
            .map_or_else(Vec::new, |prometheus| self.observer.ask(prometheus))
    }

    /// Whether a shift is known to be deleted.
    pub(super) fn is_gone(&mut self, name: &str) -> bool {
        let (Ok(name), Ok(view)) = (Name::parse(name), self.desk.look()) else { return false };
        let id = DocumentId { kind: Kind::Shift, name };
        // What cannot be read may be this one.
        let unreadable = view.unreadable.iter().any(|one| one.id.as_ref().is_none_or(|one| *one == id));
        !unreadable && !view.documents.contains_key(&id)
    }

    /// How a shift is now, and what came since the last look.
    pub(super) fn picture(&mut self, name: &str, sight: &mut Sight) -> Result<Picture, String> {
        let (_, shift) = find(self.desk.look()?, name)?;
        if shift.state.started > 0 {
            let routers = self.routers.list()?;
            // Routers are asked now and answer at once; it is for those that do not that this takes long.
            let at = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            sight.take(&shift, &self.observer.read(routers), at);
        }
        let verdict = verdict(&shift, &sight.ledger, &self.answers(&shift));
        let mut picture = Picture::of(&shift, sight, &verdict, now());
        for missing in &mut picture.missing {
            *missing = self.routers.explain(missing);
        }
        Ok(picture)
    }
}
