//! The wall: what a guest may do, and what it can not, each with a guest that tries.

use std::sync::Arc;
use std::time::Duration;

use bothost::action::{Act, Effects};
use bothost::clock::Timestamp;
use bothost::delivery::{Order, Overflow};
use bothost::event::{Conversation, ConversationKind, Event, EventKind, Message, User};
use bothost::grants::ConnectorKey;
use bothost::id::ContentHash;
use bothost::limits::{InstanceMode, Limits};
use bothost::metrics::Metrics;
use bothost::sandbox::{
    Attempt, CompileError, CompileLimits, Component, ComponentError, Fault, FaultKind, Guest, GuestContext, LoadSource,
    Sandbox, SandboxConfig, Services, StartReason,
};
use bothost::store::{OutboxSettings, Store, StoreOptions};
use harness::guests;

/// A sandbox with everything that guests need around it.
struct Wall {
    sandbox: Sandbox,
    services: Services,
    _dir: tempfile::TempDir,
}

const CONNECTOR: &str = "test";

impl Wall {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::open(&SandboxConfig {
            cache_dir: dir.path().join("cache"),
            compiler: Some(env!("CARGO_BIN_EXE_host").into()),
            compile: CompileLimits::default(),
            instances: Some(16),
        });
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let outbox = OutboxSettings { len_max: 1_000_000, overflow: Overflow::Reject, order: Order::Priority };
        store.outbox().open(&ConnectorKey::shared(CONNECTOR.parse().unwrap()), outbox);
        let guard = bothost::egress::AddressGuard::public_only();
        let services = Services::new(store, Arc::new(Metrics::new()), guard);
        Self { sandbox: sandbox.unwrap(), services, _dir: dir }
    }

    async fn load(&self, bytes: Vec<u8>) -> Result<Arc<Component>, ComponentError> {
        let loaded = Component::load(&self.sandbox, ContentHash::of(&bytes), move || Ok(bytes)).await;
        loaded.map(|(component, _)| component)
    }

    fn context(&self, limits: Limits) -> GuestContext {
        GuestContext::new("guest".parse().unwrap(), limits, self.services.clone())
    }

    async fn guest(&self, bytes: Vec<u8>, limits: Limits) -> Guest {
        let component = self.load(bytes).await.unwrap();
        let manifest = component.describe(self.context(limits.clone())).await.unwrap();
        Guest::new(component, manifest, self.context(limits)).unwrap()
    }
}

fn event(text: &str) -> Event {
    let conversation = Conversation {
        connector: CONNECTOR.parse().unwrap(),
        id: "lobby".into(),
        kind: ConversationKind::Group,
        title: None,
        thread: None,
    };
    let message = Message {
        id: "1".into(),
        conversation,
        sender: User { id: "alice".into(), name: None, is_bot: false },
        text: text.into(),
        attachments: vec![],
        reply_to: None,
        addressed: true,
        sent_at: Timestamp::now(),
        reply_deadline: None,
    };
    let mut kind = EventKind::Message(message.clone());
    if let Some(rest) = text.strip_prefix('!') {
        let mut words = rest.split_whitespace().map(str::to_owned);
        kind =
            EventKind::Command(bothost::event::Command { name: words.next().unwrap(), args: words.collect(), message });
    }
    Event::now(Some(CONNECTOR.parse().unwrap()), kind)
}

fn texts(effects: &Effects) -> Vec<&str> {
    effects
        .actions
        .iter()
        .filter_map(|action| match &action.act {
            Act::Send { message, .. } => Some(message.text.as_str()),
            _ => None,
        })
        .collect()
}

fn answers(attempt: &Attempt) -> Vec<&str> {
    texts(attempt.outcome.as_ref().unwrap())
}

fn fault(attempt: Attempt) -> Fault {
    attempt.outcome.unwrap_err()
}

/// Quick limits, so that what runs into them does so in no time.
fn tight() -> Limits {
    Limits { fuel_per_event: 200_000_000, event_timeout: Duration::from_secs(20), ..Limits::default() }
}

/// Lets a guest do `text`, expects this kind of fault, and that the guest answers afterwards.
async fn check(guest: &str, text: &str, limits: Limits, kind: FaultKind) -> Fault {
    let wall = Wall::new();
    let loaded = wall.guest(guests::guest(guest), limits).await;
    let fault = fault(loaded.handle(&event(text), 1).await);
    assert_eq!(fault.kind, kind, "{fault}\n{}", fault.backtrace.join("\n"));
    assert_eq!(answers(&loaded.handle(&event("!ping"), 1).await), ["pong"], "a fresh instance serves the next event");
    fault
}

#[tokio::test]
async fn a_guest_answers_and_says_what_it_is() {
    let wall = Wall::new();
    let echo = wall.guest(guests::example("echo"), Limits::default()).await;
    assert_eq!(echo.manifest().name, "echo");
    assert!(echo.init(StartReason::Started).await.outcome.is_ok());
    let attempt = echo.handle(&event("!echo hi"), 1).await;
    assert_eq!(answers(&attempt), ["hi"]);
    assert!(attempt.fuel > 0 && attempt.memory_bytes > 0);
}

#[tokio::test]
async fn a_trap_names_the_function_it_happened_in() {
    let fault = check("trap", "!trap", tight(), FaultKind::Trapped).await;
    assert!(fault.backtrace.iter().any(|line| line.contains("trap.rs:")), "{:#?}", fault.backtrace);
}

#[tokio::test]
async fn a_panic_is_told_by_its_text() {
    let fault = check("panic", "!panic now", tight(), FaultKind::Panicked).await;
    assert!(fault.message.contains("boom now") && fault.message.contains("panic.rs:"), "{fault}");
}

#[tokio::test]
async fn an_endless_loop_runs_out_of_fuel() {
    let fault = check("spin", "!spin", tight(), FaultKind::OutOfFuel).await;
    assert!(fault.message.contains("limits.fuel_per_event"), "{fault}");
}

#[tokio::test]
async fn an_endless_loop_with_fuel_for_ever_runs_out_of_time() {
    let limits =
        Limits { fuel_per_event: u64::MAX / 2, event_timeout: Duration::from_millis(300), ..Limits::default() };
    let fault = check("spin", "!spin", limits, FaultKind::TimedOut).await;
    assert!(fault.message.contains("limits.event_timeout"), "{fault}");
}

#[tokio::test]
async fn a_guest_that_waits_in_a_host_call_runs_out_of_time_not_of_fuel() {
    let limits = Limits { event_timeout: Duration::from_millis(300), ..Limits::default() };
    check("slow_host_call", "!sleep", limits, FaultKind::TimedOut).await;
}

#[tokio::test]
async fn a_loop_in_init_or_describe_is_bounded_as_well() {
    let wall = Wall::new();
    let guest = wall.guest(guests::guest("spin_init"), tight()).await;
    assert_eq!(fault(guest.init(StartReason::Started).await).kind, FaultKind::OutOfFuel);
    let component = wall.load(guests::guest("spin_describe")).await.unwrap();
    match component.describe(wall.context(tight())).await {
        Err(ComponentError::Describe(fault)) => assert_eq!(fault.kind, FaultKind::OutOfFuel),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn memory_past_the_limit_is_refused_and_a_trap_over_it_has_its_own_name() {
    let wall = Wall::new();
    let hog = wall.guest(guests::guest("memory_hog"), tight()).await;
    let attempt = hog.handle(&event("!hog"), 1).await;
    assert!(answers(&attempt)[0].starts_with("refused after "), "{attempt:?}");
    assert!(attempt.memory_bytes <= tight().memory);
    let fault = check("memory_hog", "!hog trap", tight(), FaultKind::OutOfMemory).await;
    assert!(fault.message.contains("limits.memory is 64MiB"), "{fault}");
}

#[tokio::test]
async fn tables_past_the_limit_are_refused() {
    let wall = Wall::new();
    let hog = wall.guest(guests::guest_from_wat("table_hog"), tight()).await;
    let fault = fault(hog.handle(&event("grow"), 1).await);
    assert_eq!(fault.kind, FaultKind::OutOfTable, "{fault}");
}

#[tokio::test]
async fn deep_recursion_ends_in_the_guest() {
    check("deep_recursion", "!dive", tight(), FaultKind::StackOverflow).await;
}

#[tokio::test]
async fn a_flood_of_host_calls_uses_up_the_fuel() {
    check("hostcall_flood", "!flood", tight(), FaultKind::OutOfFuel).await;
}

#[tokio::test]
async fn more_bytes_than_one_host_call_may_carry_are_refused() {
    let fault = check("huge_reply", "!huge", tight(), FaultKind::CopiedTooMuch).await;
    assert!(fault.message.contains("1MiB"), "{fault}");
}

#[tokio::test]
async fn resources_that_are_never_dropped_are_refused() {
    check("resource_leak", "!leak", tight(), FaultKind::OutOfHandles).await;
}

#[tokio::test]
async fn a_returned_failure_is_a_fault_of_its_own_kind() {
    let wall = Wall::new();
    let guest = wall.guest(guests::guest("fail"), tight()).await;
    assert_eq!(fault(guest.handle(&event("!fail"), 1).await).kind, FaultKind::Failed);
}

#[tokio::test]
async fn nothing_of_one_event_is_left_in_memory_for_the_next_unless_the_instance_is_warm() {
    let wall = Wall::new();
    let fresh = wall.guest(guests::guest("counter"), tight()).await;
    let warm = wall.guest(guests::guest("counter"), Limits { instance: InstanceMode::Warm, ..tight() }).await;
    for expected in ["1", "2"] {
        assert_eq!(answers(&fresh.handle(&event("!memory"), 1).await), ["1"]);
        assert_eq!(answers(&warm.handle(&event("!memory"), 1).await), [expected]);
    }
}

#[tokio::test]
async fn bots_of_one_file_share_its_code_and_the_last_one_takes_it_along() {
    let wall = Wall::new();
    let hash = ContentHash::of(&guests::component(guests::IDLE));
    let load = || Component::load(&wall.sandbox, hash, || Ok(guests::component(guests::IDLE)));
    let (first, compiled) = load().await.unwrap();
    let (second, shared) = load().await.unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!((compiled.source, shared.source), (LoadSource::Compiled, LoadSource::Shared));
    drop((first, second));
    assert_eq!(load().await.unwrap().1.source, LoadSource::Cache);
}

#[tokio::test]
async fn f031_compiling_has_a_cap_on_time_and_memory() {
    // One function of many statements: cheap to write, slow and large to compile, and nothing can interrupt it.
    let body = "(local.set 0 (i32.add (local.get 0) (i32.const 1)))".repeat(400_000);
    let bomb = guests::IDLE.replacen("(memory (export", &format!("(func (local i32) {body}) (memory (export"), 1);
    let bomb = guests::component(&bomb);
    for compile in [
        CompileLimits { cpu: Duration::from_secs(1), ..CompileLimits::default() },
        CompileLimits { memory: 256 << 20, ..CompileLimits::default() },
    ] {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::open(&SandboxConfig {
            cache_dir: dir.path().join("cache"),
            compiler: Some(env!("CARGO_BIN_EXE_host").into()),
            compile,
            instances: Some(4),
        });
        let bytes = bomb.clone();
        match Component::load(&sandbox.unwrap(), ContentHash::of(&bomb), move || Ok(bytes)).await {
            Err(ComponentError::Compile(CompileError::TooCostly(limits))) => assert_eq!(limits, compile),
            other => panic!("{compile:?}: {other:?}"),
        }
        let left: Vec<_> = std::fs::read_dir(dir.path().join("cache")).unwrap().collect();
        assert!(left.is_empty(), "nothing unfinished stays in the cache: {left:?}");
    }
}
