//! The whole data plane in process: raw clients on one side, scripted endpoints on the other, and every byte between
//! them looked at.

#[cfg(test)]
mod framing;
#[cfg(test)]
mod normal_form;
#[cfg(test)]
mod strictness;
#[cfg(test)]
mod support;
