//! Where an operator changes what controllers change: by the same small reads, without a seat and so without a fence. What
//! loses against somebody else's write, a controller's mostly, is decided anew from what is there then.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use gridrouter_config::ids::{DocumentId, Kind};
use gridrouter_config::store::etcd::writer::About;

use super::driver::Moment;
use super::ground::{Failure, Ground, Guard, Wants};
use super::{KINDS, Proposal, View};
use crate::target::Target;

/// How often a change is tried that loses.
const ATTEMPTS: usize = 20;
/// The longest pause before another attempt; a random part of it is waited.
const PAUSE: Duration = Duration::from_millis(200);

/// Why nothing was changed.
#[derive(Debug)]
pub enum Refused {
    /// It cannot be done; why.
    No(String),
    /// Others were faster every time.
    Lost(String),
    /// The store cannot be used.
    Away(String),
    /// It is not known whether it was changed.
    Unknown(String),
}

/// Asked at every moment of a write whether to die there. Tests find out with this what an operator leaves behind who is
/// killed at any moment.
pub type Crash = Box<dyn FnMut(Moment) -> bool>;

/// An operator's desk.
pub struct Desk {
    ground: Ground,
    writes: u64,
    crash: Crash,
}

impl Desk {
    /// Nothing is asked of the store yet.
    pub fn open(target: &Target) -> Result<Self, String> {
        Self::open_for(target, KINDS, &[])
    }

    /// For other kinds of documents, and single documents of others still. Nothing is asked of the store yet.
    pub fn open_for(target: &Target, kinds: &[Kind], single: &[DocumentId]) -> Result<Self, String> {
        let wants = Wants { kinds: kinds.to_vec(), single: single.iter().cloned().collect() };
        Ok(Self { ground: Ground::open(target, wants)?, writes: 0, crash: Box::new(|_| false) })
    }

    /// One whose operator dies when `crash` says so.
    #[must_use]
    pub fn mortal(self, crash: Crash) -> Self {
        Self { crash, ..self }
    }

    /// Another desk of the same operator, who dies there as well as here.
    #[must_use]
    pub fn changed_for(self, other: Self) -> Self {
        Self { ground: other.ground, ..self }
    }

    /// What is in force.
    pub fn look(&mut self) -> Result<&View, String> {
        self.ground.look().map_err(|failure| text(&failure))
    }

    /// Changes what `decide` wants, given what is in force. Returns the generation, 0 where there are none; nothing where the
    /// store had what is wanted.
    pub fn change(
        &mut self,
        author: &str,
        mut decide: impl FnMut(&View) -> Result<Proposal, String>,
    ) -> Result<Option<u64>, Refused> {
        let mut lost = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                // Every hasher of this kind begins with another number, so that two do not stay in step.
                let random = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
                // Nobody unparks this thread, and an early attempt would be no harm.
                std::thread::park_timeout(PAUSE.mul_f64(random));
            }
            let view = self.ground.look().map_err(|failure| Refused::Away(text(&failure)))?;
            let proposal = decide(view).map_err(Refused::No)?;
            let about = About { author: author.to_owned(), message: proposal.message.clone(), ..About::default() };
            let mut guard = Guard { seat: None, writes: &mut self.writes, crash: &mut *self.crash };
            match self.ground.write(&proposal, about, None, &mut guard) {
                Ok(generation) => return Ok(generation),
                Err(Failure::Lost(why)) => lost = why,
                Err(Failure::Refused(why)) => return Err(Refused::No(why)),
                Err(Failure::Unknown(why)) => return Err(Refused::Unknown(why)),
                Err(failure @ (Failure::Away(_) | Failure::Deposed | Failure::Killed)) => {
                    return Err(Refused::Away(text(&failure)));
                }
            }
        }
        Err(Refused::Lost(lost))
    }
}

fn text(failure: &Failure) -> String {
    match failure {
        Failure::Lost(why) | Failure::Refused(why) | Failure::Away(why) | Failure::Unknown(why) => {
            crate::site::in_our_words(why)
        }
        Failure::Deposed | Failure::Killed => "somebody else acts".to_owned(),
    }
}
