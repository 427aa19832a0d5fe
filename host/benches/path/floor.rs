//! Bare wasmtime: the least with which a component of the world `bot` can be loaded and called. Its host functions answer
//! from nowhere, and nothing limits a guest but the fuel that the engine counts.

use std::path::Path;

use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, WasmBacktraceDetails,
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use bindings::bothost::bot::{alerts, log, messaging, metrics, settings, state, timers, types};
use bindings::{Bot, BotPre};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit/v0.1",
        world: "bothost:bot/bot",
        exports: { default: async },
    });
}

pub use bindings::bothost::bot::types::{
    Command, Conversation, ConversationKind, Event as GuestEvent, EventKind, Message, User,
};

/// More than any measurement uses up.
const FUEL: u64 = u64::MAX / 2;
/// As the host's engine.
const FUEL_YIELD_INTERVAL: u64 = 100_000;

/// An engine with the host's settings, and a linker.
pub struct Floor {
    /// The engine.
    pub engine: Engine,
    linker: Linker<Bare>,
}

/// A component that can be instantiated.
pub type Linked = BotPre<Bare>;

/// A live instance.
pub struct Instance {
    store: Store<Bare>,
    bot: Bot,
}

impl Floor {
    /// Reserves room for so many instances.
    pub fn new(instances: u32) -> Self {
        let engine = Engine::new(&config(instances)).expect("address space for the pool");
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).expect("WASI links");
        Bot::add_to_linker::<Bare, HasSelf<Bare>>(&mut linker, |bare| bare).expect("the world links");
        Self { engine, linker }
    }

    /// Loads code that the host compiled. It loads only if this engine's settings are those of the host's.
    #[expect(unsafe_code, reason = "loading native code is unsafe by nature")]
    pub fn load(&self, code: &Path) -> Component {
        // SAFETY: the host under measurement wrote the file into a new directory of its own a moment ago.
        unsafe { Component::deserialize_file(&self.engine, code) }.expect("the settings are those of sandbox/engine.rs")
    }

    /// Links a component.
    pub fn link(&self, component: &Component) -> Linked {
        let linked = self.linker.instantiate_pre(component).expect("the component links");
        BotPre::new(linked).expect("the component fits the world")
    }

    /// Makes an instance.
    pub async fn instance(&self, linked: &Linked) -> Instance {
        let bare = Bare { wasi: WasiCtx::builder().build(), table: ResourceTable::new() };
        let mut store = Store::new(&self.engine, bare);
        store.set_fuel(FUEL).expect("the engine counts fuel");
        store.fuel_async_yield_interval(Some(FUEL_YIELD_INTERVAL)).expect("the engine counts fuel");
        let bot = linked.instantiate_async(&mut store).await.expect("the component starts");
        Instance { store, bot }
    }
}

impl Instance {
    /// Calls `handle`.
    pub async fn handle(&mut self, event: &GuestEvent) {
        let answer = self.bot.bothost_bot_guest().call_handle(&mut self.store, event).await;
        answer.expect("the call ends well").expect("the bot answers ok");
    }
}

/// As `sandbox/engine.rs`, which says why.
fn config(instances: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances * 16)
        .total_memories(instances * 2)
        .total_tables(instances * 4)
        .total_stacks(instances)
        .max_core_instances_per_component(64)
        .max_memories_per_component(4)
        .max_tables_per_component(8)
        .max_component_instance_size(1 << 20)
        .max_core_instance_size(1 << 20)
        .max_memory_size(4 << 30)
        .table_elements(100_000)
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10)
        .max_unused_warm_slots(100)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .concurrency_support(false)
        .gc_support(false)
        .shared_memory(false)
        .memory_init_cow(true)
        .max_wasm_stack(512 << 10)
        .async_stack_size(1 << 20)
        .async_stack_zeroing(true)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20))
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// The data of a store: what the runtimes of guest languages import, and nothing else.
pub struct Bare {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Bare {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

type Answer<T> = Result<T, types::Failure>;

impl types::Host for Bare {}

impl messaging::Host for Bare {
    fn send(&mut self, _: Conversation, _: messaging::Outgoing) -> Answer<u64> {
        Ok(1)
    }

    fn edit(&mut self, _: Conversation, _: messaging::MessageRef, _: messaging::Outgoing) -> Answer<()> {
        Ok(())
    }

    fn delete(&mut self, _: Conversation, _: messaging::MessageRef) -> Answer<()> {
        Ok(())
    }

    fn react(&mut self, _: Conversation, _: messaging::MessageRef, _: String) -> Answer<()> {
        Ok(())
    }

    fn typing(&mut self, _: Conversation) {}

    fn raw(&mut self) -> Option<String> {
        None
    }
}

impl state::Host for Bare {
    fn get(&mut self, _: String) -> Answer<Option<Vec<u8>>> {
        Ok(None)
    }

    fn set(&mut self, _: String, _: Vec<u8>, _: Option<u64>) -> Answer<()> {
        Ok(())
    }

    fn delete(&mut self, _: String) -> Answer<()> {
        Ok(())
    }

    fn add(&mut self, _: String, delta: i64) -> Answer<i64> {
        Ok(delta)
    }

    fn keys(&mut self, _: String, _: Option<String>, _: u32) -> Answer<Vec<String>> {
        Ok(Vec::new())
    }
}

impl settings::Host for Bare {
    fn get(&mut self, _: String) -> Option<String> {
        None
    }

    fn all(&mut self) -> String {
        "{}".to_owned()
    }

    fn secrets(&mut self) -> Vec<String> {
        Vec::new()
    }
}

impl log::Host for Bare {
    fn write(&mut self, _: log::Level, _: String, _: Vec<(String, String)>) {}
}

impl metrics::Host for Bare {
    fn count(&mut self, _: String, _: u64, _: metrics::Labels) {}

    fn gauge(&mut self, _: String, _: f64, _: metrics::Labels) {}

    fn observe(&mut self, _: String, _: f64, _: metrics::Labels) {}
}

impl alerts::Host for Bare {
    fn raise(&mut self, _: String, _: alerts::Severity, _: String, _: Vec<(String, String)>) {}

    fn resolve(&mut self, _: String) {}
}

impl timers::Host for Bare {
    fn set(&mut self, _: String, _: timers::Schedule, _: Vec<u8>) -> Answer<()> {
        Ok(())
    }

    fn cancel(&mut self, _: String) -> Answer<bool> {
        Ok(false)
    }

    fn names(&mut self) -> Answer<Vec<String>> {
        Ok(Vec::new())
    }
}
