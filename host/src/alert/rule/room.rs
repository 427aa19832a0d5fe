//! How many subjects rules may still take up.

/// Room for subjects.
#[derive(Debug)]
pub(super) struct Room {
    left: usize,
    refused: u64,
}

impl Room {
    pub(super) fn new(max: usize, taken: usize) -> Self {
        Self { left: max.saturating_sub(taken), refused: 0 }
    }

    /// Takes room for one more; false where there is none.
    pub(super) fn take(&mut self) -> bool {
        let is_there = self.left > 0;
        self.left -= usize::from(is_there);
        self.refused += u64::from(!is_there);
        is_there
    }

    /// Returns how often there was none.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}
