//! A request's body for a second reader, who wants it when it is whole: kept as it passes to the first one, if it is not
//! too long. The bytes are copied, because a piece of what was read keeps the buffer alive that it was read into.

use bytes::Bytes;
use tokio::sync::oneshot;

/// Where a body is kept that passes. Whoever waits for it learns that there will be none when this is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    bytes: Vec<u8>,
    most: usize,
    whole: oneshot::Sender<Bytes>,
}

/// A body that is kept; the error: it was too long, or broke off, or was not read to its end.
pub(crate) type KeptBody = oneshot::Receiver<Bytes>;

impl Keeper {
    /// Keeps up to so many bytes.
    pub(super) fn new(most: usize) -> (Self, KeptBody) {
        let (whole, kept) = oneshot::channel();
        (Self { bytes: Vec::new(), most, whole }, kept)
    }

    /// Keeps a piece. Returns whether the body is not too long by now.
    pub(super) fn passes(&mut self, data: &[u8]) -> bool {
        let fits = self.bytes.len() + data.len() <= self.most;
        if fits {
            self.bytes.extend_from_slice(data);
        }
        fits
    }

    /// The body is whole.
    pub(super) fn ends(self) {
        // Nobody may wait for it any more, which is just as well.
        drop(self.whole.send(self.bytes.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_kept_whole_or_not_at_all() {
        let (mut keeper, mut kept) = Keeper::new(5);
        assert!(keeper.passes(b"ab") && keeper.passes(b"cde"));
        assert!(kept.try_recv().is_err());
        keeper.ends();
        assert_eq!(kept.try_recv().unwrap(), "abcde");
        assert!(!Keeper::new(5).0.passes(b"abcdef"));
        let (mut keeper, mut kept) = Keeper::new(5);
        assert!(keeper.passes(b"abc") && !keeper.passes(b"def"));
        drop(keeper);
        assert_eq!(kept.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
