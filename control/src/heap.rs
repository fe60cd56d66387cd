//! The program's allocator: jemalloc, because it can tell where memory was allocated. It remembers nothing until the debug
//! server is opened, and then one allocation in 512 KiB or so.
//!
//! It is no part of the library: other programs that use it have allocators of their own.

use fsm_control::debug::Heap;
use std::sync::Arc;

/// What the allocator can tell; `None` where it is another one, or where something outside has told it not to.
#[cfg(all(feature = "profiles", target_os = "linux", target_env = "gnu"))]
pub(super) fn profiler() -> Option<Arc<dyn Heap>> {
    jemalloc_pprof::PROF_CTL.as_ref().map(|_| Arc::new(jemalloc::Jemalloc) as Arc<dyn Heap>)
}

/// What the allocator can tell: nothing here.
#[cfg(not(all(feature = "profiles", target_os = "linux", target_env = "gnu")))]
pub(super) fn profiler() -> Option<Arc<dyn Heap>> {
    None
}

#[cfg(all(feature = "profiles", target_os = "linux", target_env = "gnu"))]
mod jemalloc {
    use fsm_control::debug::Heap;
    use jemalloc_pprof::{JemallocProfCtl, PROF_CTL};

    #[global_allocator]
    static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

    /// Samples are possible, but none are taken until somebody asks. `MALLOC_CONF` in the environment wins.
    // SAFETY: jemalloc reads this symbol as a `const char *` once, at its start; a reference to an array is one pointer, and
    // the text ends with a zero.
    #[allow(unsafe_code)]
    #[unsafe(export_name = "malloc_conf")]
    static CONFIGURATION: &[u8; 46] = b"prof:true,prof_active:false,lg_prof_sample:19\0";

    #[derive(Debug)]
    pub(super) struct Jemalloc;

    impl Heap for Jemalloc {
        fn watch(&self, on: bool) -> Result<(), String> {
            let change = |control: &mut JemallocProfCtl| if on { control.activate() } else { control.deactivate() };
            with(|control| change(control).map_err(|error| error.to_string()))
        }

        fn profile(&self) -> Result<Vec<u8>, String> {
            with(|control| control.dump_pprof().map_err(|error| format!("{error:#}")))
        }
    }

    fn with<T>(job: impl FnOnce(&mut JemallocProfCtl) -> Result<T, String>) -> Result<T, String> {
        let control = PROF_CTL.as_ref().ok_or("jemalloc was started without `prof:true`")?;
        job(&mut control.blocking_lock())
    }
}
