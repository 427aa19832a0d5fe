//! The engine that all guests share: what WebAssembly they may use, and how many of them may live at once.
//!
//! The figures here were measured on wasmtime 48.0.8 and Linux 6.18, two cores: a fresh instance with one call costs about
//! 9 µs with these settings, 28 µs without the pool's page map scan; yielding every 100,000 units of fuel keeps the p99 of
//! 980 well-behaved guests at 4 ms beside 20 that spin, and costs those 7 %.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use super::compile::{CompileLimits, Compiler};
use super::component::{GuestLinker, SharedComponents};
use super::turns::{Turn, Turns};
use crate::action::Priority;
use crate::id::BotName;

/// After how much fuel a guest lets others have its thread.
pub(super) const FUEL_YIELD_INTERVAL: u64 = 100_000;
/// Most live instances, however many mappings the machine allows.
const INSTANCES_MAX: u32 = 2_000;
/// Fewer than this are not worth starting for.
const INSTANCES_MIN: u32 = 8;
/// Memory mappings that a slot of the pool can need: two memories, four tables and a stack, with their guards.
const MAPPINGS_PER_INSTANCE: u64 = 12;
/// Mappings left to everything else in the process.
const MAPPINGS_RESERVED: u64 = 5_000;
/// Largest `limits.table_elements`. StarlingMonkey needs 7,694 at the start.
pub(super) const TABLE_ELEMENTS_MAX: u32 = 100_000;
/// Largest `limits.memory`: what 32-bit WebAssembly can address.
pub(super) const MEMORY_BYTES_MAX: u64 = 4 << 30;

/// What the sandbox is opened with.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Where compiled components are kept; created with mode 0700.
    pub cache_dir: PathBuf,
    /// The program whose `compile` verb compiles components. None: this program.
    pub compiler: Option<PathBuf>,
    /// What compiling one component may take.
    pub compile: CompileLimits,
    /// Live instances at one moment. None: as many as `vm.max_map_count` has room for, at most 2,000.
    pub instances: Option<u32>,
}

/// Why the sandbox cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// `vm.max_map_count` is too small.
    #[error(
        "vm.max_map_count is {found}, which leaves room for {room} live instances; at least {INSTANCES_MIN} are needed: run \
         `sysctl -w vm.max_map_count=65530`"
    )]
    FewMappings {
        /// What the machine says.
        found: u64,
        /// What fits.
        room: u64,
    },
    /// More instances are asked for than mappings allow.
    #[error(
        "[host] instances = {asked} needs vm.max_map_count of at least {needed}, which is {found}: run \
         `sysctl -w vm.max_map_count={needed}` or lower `instances`"
    )]
    ManyInstances {
        /// The configuration's number.
        asked: u32,
        /// What it takes.
        needed: u64,
        /// What the machine says.
        found: u64,
    },
    /// Address space could not be reserved.
    #[error("cannot reserve address space for {instances} instances (is `ulimit -v` set?): {reason}")]
    Reserve {
        /// How many were tried.
        instances: u32,
        /// What wasmtime says.
        reason: String,
    },
    /// The cache's directory cannot be made.
    #[error("cannot use the cache directory {}", .path.display())]
    Cache {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The engine, the compiler with its cache, the components in use, and the slots of live instances. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox {
    pub(super) engine: Engine,
    pub(super) linker: Arc<GuestLinker>,
    pub(super) compiler: Arc<Compiler>,
    pub(super) components: Arc<SharedComponents>,
    turns: Turns,
    instances: u32,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("instances", &self.instances).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Opens the sandbox: reserves address space for the instances and makes the cache's directory. Blocking.
    ///
    /// # Errors
    ///
    /// [`SandboxError`], each with what to change on the machine or in the configuration.
    pub fn open(config: &SandboxConfig) -> Result<Self, SandboxError> {
        let instances = pool_size(config.instances, max_map_count())?;
        let reserve = |error: wasmtime::Error| SandboxError::Reserve { instances, reason: format!("{error:#}") };
        let mut engine_config = guest_config();
        engine_config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances)));
        let engine = Engine::new(&engine_config).map_err(reserve)?;
        let linker = Arc::new(GuestLinker::new(&engine).map_err(reserve)?);
        let compiler = Compiler::open(&engine, config.cache_dir.clone(), config.compiler.clone(), config.compile)
            .map_err(|source| SandboxError::Cache { path: config.cache_dir.clone(), source })?;
        Ok(Self {
            engine,
            linker,
            compiler: Arc::new(compiler),
            components: Arc::default(),
            turns: Turns::new(instances as usize),
            instances,
        })
    }

    /// Returns how many instances may live at one moment.
    pub fn instances(&self) -> u32 {
        self.instances
    }

    /// Waits for room for one live instance of a bot. Bots take turns; see [`Turns::take`]. Cancel safe.
    pub(super) async fn turn(&self, bot: &BotName, priority: Priority) -> Turn {
        self.turns.take(bot, priority).await
    }
}

/// Decides how many instances may live at once. Past the mappings that the kernel allows, the process would abort.
fn pool_size(asked: Option<u32>, max_map_count: Option<u64>) -> Result<u32, SandboxError> {
    // Without /proc the kernel's default is assumed.
    let found = max_map_count.unwrap_or(65_530);
    let room = found.saturating_sub(MAPPINGS_RESERVED) / MAPPINGS_PER_INSTANCE;
    match asked {
        Some(asked) if u64::from(asked) > room => {
            let needed = MAPPINGS_RESERVED + u64::from(asked) * MAPPINGS_PER_INSTANCE;
            Err(SandboxError::ManyInstances { asked, needed, found })
        }
        Some(asked) => Ok(asked.max(1)),
        None if room < u64::from(INSTANCES_MIN) => Err(SandboxError::FewMappings { found, room }),
        None => Ok(u32::try_from(room).unwrap_or(u32::MAX).min(INSTANCES_MAX)),
    }
}

fn max_map_count() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// What guests may use. The compiling child uses the same, without the pool, so that its code fits this engine.
pub(super) fn guest_config() -> Config {
    let mut config = Config::new();
    config.consume_fuel(true);
    // Component-model async would make every call cost twice as much, and its limits are not per event.
    config.concurrency_support(false);
    config.gc_support(false);
    config.shared_memory(false);
    config.memory_init_cow(true);
    // JavaScript recurses deep; what the fiber has beyond the guest's share is for host functions.
    config.max_wasm_stack(512 << 10);
    config.async_stack_size(1 << 20);
    config.async_stack_zeroing(true);
    config.wasm_backtrace_max_frames(NonZeroUsize::new(20));
    config.wasm_backtrace_details(WasmBacktraceDetails::Enable);
    config
}

/// The pool. The per-component figures are what JavaScript and Python guests need; smaller ones refuse all of them.
fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(16))
        .total_memories(instances.saturating_mul(2))
        .total_tables(instances.saturating_mul(4))
        .total_stacks(instances)
        .max_core_instances_per_component(64)
        .max_memories_per_component(4)
        .max_tables_per_component(8)
        .max_component_instance_size(1 << 20)
        .max_core_instance_size(1 << 20)
        .max_memory_size(usize::try_from(MEMORY_BYTES_MAX).unwrap_or(usize::MAX))
        .table_elements(TABLE_ELEMENTS_MAX as usize)
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10)
        .max_unused_warm_slots(100)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Has the file be open by which the pool finds out what a guest wrote to. A process that seals its memory before has no right to it
/// any more, and clears more than it would have to.
pub fn open_page_map() {
    // What it returns is asked again where it counts; the file is opened once for the process.
    let _ = PoolingAllocationConfig::is_pagemap_scan_available();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_fits_the_mappings_the_kernel_allows() {
        for limit in [5_200, 10_000, 65_530, 262_144, 1 << 40] {
            let instances = pool_size(None, Some(limit)).unwrap();
            assert!(u64::from(instances) * MAPPINGS_PER_INSTANCE + MAPPINGS_RESERVED <= limit, "{limit}");
            assert!(instances <= INSTANCES_MAX);
        }
    }

    #[test]
    fn too_few_mappings_are_refused_with_the_command_that_helps() {
        let error = pool_size(None, Some(1_000)).unwrap_err().to_string();
        assert!(error.contains("sysctl -w vm.max_map_count="), "{error}");
        let error = pool_size(Some(10_000), Some(65_530)).unwrap_err().to_string();
        assert!(error.contains("vm.max_map_count=125000"), "{error}");
    }
}
