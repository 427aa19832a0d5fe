//! Keeps the memory of this process, which has secrets in it, out of core files, and from other processes of its user. What those may
//! still see of it in `/proc` is what everybody may: the kernel gives the rest to the administrator.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, dumpable_behavior, set_dumpable_behavior, setrlimit};

/// A process whose memory is its own. It stays so when this is dropped.
#[derive(Debug)]
pub struct Seal {
    was_dumpable: bool,
    core_bytes_max: Rlimit,
}

impl Seal {
    /// Seals this process, and leaves its children no core files either. To be called before it reads a secret. What it has open
    /// stays open.
    ///
    /// # Errors
    ///
    /// What the system says. It may have done one half.
    pub fn set() -> io::Result<Self> {
        let was_dumpable = dumpable_behavior()? == DumpableBehavior::Dumpable;
        let core_bytes_max = rustix::process::getrlimit(Resource::Core);
        // What counts: where core files go to a program, the limit is none.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        setrlimit(Resource::Core, Rlimit { current: Some(0), ..core_bytes_max })?;
        Ok(Self { was_dumpable, core_bytes_max })
    }

    /// Has everything be as it was before.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn lift(self) -> io::Result<()> {
        setrlimit(Resource::Core, self.core_bytes_max)?;
        if self.was_dumpable {
            set_dumpable_behavior(DumpableBehavior::Dumpable)?;
        }
        Ok(())
    }
}
