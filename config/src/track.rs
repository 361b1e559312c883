//! Blue and green: two versions of a service in one place.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One of the two versions of a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Track {
    /// The version that is in use unless something else is said.
    #[default]
    Blue,
    /// The other one.
    Green,
}

impl Track {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Track::Blue => "blue",
            Track::Green => "green",
        }
    }

    /// The track of this word.
    pub fn parse(word: &str) -> Result<Track, String> {
        match word {
            "blue" => Ok(Track::Blue),
            "green" => Ok(Track::Green),
            _ => Err(format!("track \"{}\" is neither blue nor green", word.escape_debug())),
        }
    }

    /// The other track.
    #[must_use]
    pub const fn other(self) -> Track {
        match self {
            Track::Blue => Track::Green,
            Track::Green => Track::Blue,
        }
    }
}
