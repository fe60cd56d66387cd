//! Where the memory that is in use was allocated. Only the allocator can tell, and that is the program's choice, not the
//! library's: the program hands it over.

use std::fmt::Debug;

/// The allocator, as far as profiles are concerned. Neither function may be called from a worker: both may take a while.
pub trait Heap: Debug + Send + Sync {
    /// Begins to remember where memory is allocated, or forgets all of it.
    ///
    /// # Errors
    /// A sentence.
    fn watch(&self, on: bool) -> Result<(), String>;

    /// What was allocated since then and is in use, in pprof's format, compressed.
    ///
    /// # Errors
    /// A sentence.
    fn profile(&self) -> Result<Vec<u8>, String>;
}
