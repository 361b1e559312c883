//! Controllers: of many, one acts, and whatever moment it dies at, the next one goes on.

#![allow(clippy::unwrap_used, reason = "a test that cannot run a controller has to fail")]

#[cfg(test)]
mod acting;
#[cfg(test)]
mod dying;
mod hooks;
#[cfg(test)]
mod movers;
#[cfg(test)]
mod moves;
#[cfg(test)]
mod moving;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod shifts;
#[cfg(test)]
mod support;
#[cfg(test)]
mod watching;
