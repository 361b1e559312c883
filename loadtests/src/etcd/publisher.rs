//! A writer of configuration, as gridctl is one. Its calls block, so it has a thread of its own.

use std::sync::mpsc;

use gridrouter_config::store::etcd::writer::{About, Change, PublishError, Published, Writer};
use gridrouter_config::store::etcd::{EtcdSettings, Random};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::{Context, Error, Result};
use crate::output;

type Job = Box<dyn FnOnce(&mut Writer) + Send>;

/// A thread that publishes. It ends when this is dropped.
#[derive(Debug)]
pub struct Publisher {
    jobs: mpsc::Sender<Job>,
}

/// What became of one try to publish.
#[derive(Debug)]
pub enum Attempt {
    /// It is in force.
    Committed {
        /// The generation that it started from.
        before: u64,
        /// What was published.
        published: Published,
        /// When that was known.
        at: Instant,
    },
    /// The generation in force could not even be read.
    Unreadable(String),
    /// The store failed and promised that nothing was changed.
    Failed {
        /// The generation that it started from.
        before: u64,
        /// Why.
        why: String,
    },
    /// Somebody else was faster.
    Lost {
        /// The generation that it started from.
        before: u64,
        /// Who.
        why: String,
    },
    /// The change is no good.
    Refused(String),
    /// Nobody knows whether it is in force.
    Unknown {
        /// The generation that it started from.
        before: u64,
        /// Why.
        why: String,
    },
}

impl Publisher {
    /// A publisher for the cluster with these members, that waits this long for an answer. Nothing is asked yet.
    pub fn start(endpoints: Vec<String>, patience: &str, seed: u64) -> Result<Self> {
        let settings =
            EtcdSettings { endpoints, request_timeout: Some(patience.to_owned()), ..EtcdSettings::default() };
        let options = settings.check().map_err(Error::new)?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let mut writer = Writer::new(options, Random::seeded(seed)).context("a writer")?;
        let run = move || {
            for job in queue {
                job(&mut writer);
            }
        };
        std::thread::Builder::new().name("publisher".to_owned()).spawn(run).context("cannot start a thread")?;
        Ok(Self { jobs })
    }

    /// Does something with the writer.
    pub async fn with<T: Send + 'static>(&self, work: impl FnOnce(&mut Writer) -> T + Send + 'static) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let job = move |writer: &mut Writer| {
            // Whoever asked may have gone.
            let _ = reply.send(work(writer));
        };
        self.jobs.send(Box::new(job)).map_err(|_| Error::new("the publisher has ended"))?;
        answer.await.map_err(|_| Error::new("the publisher has ended"))
    }

    /// Tries once to publish changes of whatever is in force.
    pub async fn attempt(&self, changes: Vec<Change>) -> Result<Attempt> {
        self.with(move |writer| attempt(writer, &changes)).await
    }

    /// Publishes, where nothing may go wrong. Says when it was committed, too.
    pub async fn publish(&self, changes: Vec<Change>) -> Result<(Published, Instant)> {
        match self.attempt(changes).await? {
            Attempt::Committed { published, at, .. } => Ok((published, at)),
            Attempt::Unreadable(why)
            | Attempt::Refused(why)
            | Attempt::Failed { why, .. }
            | Attempt::Lost { why, .. }
            | Attempt::Unknown { why, .. } => Err(Error::new(format!("cannot publish: {why}"))),
        }
    }

    /// Publishes many changes, so many at a time. Returns the last generation.
    pub async fn publish_all(&self, mut changes: Vec<Change>, batch: usize) -> Result<u64> {
        let (all, began) = (changes.len(), Instant::now());
        let mut generation = 0;
        while !changes.is_empty() {
            let rest = changes.split_off(batch.min(changes.len()));
            generation = self.publish(std::mem::replace(&mut changes, rest)).await?.0.generation;
            let done = all - changes.len();
            output::progress(format_args!(
                "published {done} of {all} documents, {:.0} s",
                began.elapsed().as_secs_f64()
            ));
        }
        Ok(generation)
    }
}

fn attempt(writer: &mut Writer, changes: &[Change]) -> Attempt {
    let base = match writer.base() {
        Ok(base) => base,
        Err(error) => return Attempt::Unreadable(error.to_string()),
    };
    let before = base.generation();
    let about = About { author: "drill".to_owned(), ..About::default() };
    let outcome = writer.publish(&base, changes, &about);
    let at = Instant::now();
    match outcome {
        Ok(published) => Attempt::Committed { before, published, at },
        Err(error) => {
            let why = error.to_string();
            match error {
                PublishError::Lost(_) => Attempt::Lost { before, why },
                // The drill's writer leads nobody.
                PublishError::Refused(_) | PublishError::Deposed => Attempt::Refused(why),
                PublishError::Store(_) => Attempt::Failed { before, why },
                PublishError::Unknown(_) => Attempt::Unknown { before, why },
            }
        }
    }
}
