//! Ceilings on what one instance may take of memory and tables, and a note of what was refused: only the note tells a guest
//! that ran out of memory from one that trapped for another reason.

use wasmtime::ResourceLimiter;

/// Most core instances, memories and tables of one component; a Python guest with stubbed WASI has 38 instances.
const CORE_INSTANCES_MAX: usize = 100;
const MEMORIES_MAX: usize = 4;
const TABLES_MAX: usize = 16;

/// The ceilings of one instance and what it has taken.
#[derive(Debug)]
pub(super) struct Limiter {
    memory_bytes_max: u64,
    table_elements_max: u64,
    memory_bytes: u64,
    table_elements: u64,
    refused: Option<Refused>,
}

/// What was refused last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Memory { asked_bytes: u64 },
    Table { asked_elements: u64 },
}

impl Limiter {
    /// Returns the ceilings: bytes over all memories together, elements over all tables together.
    pub(super) fn new(memory_bytes_max: u64, table_elements_max: u32) -> Self {
        Self {
            memory_bytes_max,
            table_elements_max: table_elements_max.into(),
            memory_bytes: 0,
            table_elements: 0,
            refused: None,
        }
    }

    /// Returns the bytes of all memories; they never shrink, so this is also the highest there was.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Returns what was refused since the last call of this, if anything was.
    pub(super) fn take_refused(&mut self) -> Option<Refused> {
        self.refused.take()
    }
}

/// Returns what `taken` becomes when one part of it grows from `current` to `desired`.
fn grown(taken: u64, current: usize, desired: usize) -> u64 {
    taken.saturating_add((desired as u64).saturating_sub(current as u64))
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = grown(self.memory_bytes, current, desired);
        if total > self.memory_bytes_max || maximum.is_some_and(|maximum| desired > maximum) {
            self.refused = Some(Refused::Memory { asked_bytes: total });
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = grown(self.table_elements, current, desired);
        if total > self.table_elements_max || maximum.is_some_and(|maximum| desired > maximum) {
            self.refused = Some(Refused::Table { asked_elements: total });
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_is_over_all_memories_together() {
        let mut limiter = Limiter::new(100, 10);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 60, None).unwrap(), "a second memory counts too");
        assert_eq!(limiter.take_refused(), Some(Refused::Memory { asked_bytes: 120 }));
        assert_eq!(limiter.take_refused(), None);
        assert!(limiter.memory_growing(60, 100, None).unwrap());
        assert_eq!(limiter.memory_bytes(), 100);
    }

    #[test]
    fn a_refused_growth_takes_nothing() {
        let mut limiter = Limiter::new(100, 10);
        assert!(!limiter.table_growing(0, 11, None).unwrap());
        assert!(limiter.table_growing(0, 10, None).unwrap());
        assert!(!limiter.memory_growing(0, 50, Some(40)).unwrap());
        assert_eq!(limiter.memory_bytes(), 0);
    }
}
