//! Choices made from bytes.

/// What is left of an input. Where nothing is left, every choice is the first one.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Less than `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// All that is left, in pieces whose sizes were chosen before.
    pub(super) fn pieces(&mut self) -> Vec<&'a [u8]> {
        let sizes = [self.byte(), self.byte()].map(|size| match size {
            0..=200 => usize::from(size % 16) + 1,
            _ => usize::from(size) * 64,
        });
        let (mut pieces, mut rest) = (Vec::new(), self.0);
        for size in sizes.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(size.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        self.0 = &[];
        pieces
    }
}
