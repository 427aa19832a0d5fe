//! The data of a store: what the host functions of one instance work with, and what it sees of WASI.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::clocks::{CoarseMonotonicClock, CoarseWallClock};
use super::context::{COPIED_BYTES_MAX, GuestContext, RANDOM_BYTES_MAX, RESOURCES_MAX};
use super::effects::Gathered;
use super::fault::Circumstances;
use super::imports::http::Outbound;
use super::limiter::Limiter;
use super::stdio::GuestOutput;
use crate::logs::Stream;

/// What a call may do: `describe` may do nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Describe,
    Act,
}

/// The data of a store: what the host functions of one instance work with.
pub(super) struct GuestState {
    pub(super) context: Arc<GuestContext>,
    pub(super) stage: Stage,
    pub(super) gathered: Gathered,
    /// The platform's JSON of the event at hand.
    pub(super) raw: Option<String>,
    pub(super) limiter: Limiter,
    stderr: GuestOutput,
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outbound: Outbound,
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outbound, table: &mut self.table, ctx: &mut self.http }
    }
}

impl GuestState {
    pub(super) fn new(context: &Arc<GuestContext>) -> Self {
        let limits = &context.limits;
        let stdout = GuestOutput::new(context.log.stream(Stream::Stdout));
        let stderr = GuestOutput::new(context.log.stream(Stream::Stderr));
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        Self {
            stage: Stage::Describe,
            gathered: Gathered::default(),
            raw: None,
            limiter: Limiter::new(limits.memory, limits.table_elements),
            wasi: wasi(context, &stdout, &stderr),
            http: WasiHttpCtx::new(),
            outbound: Outbound::new(Arc::clone(context)),
            context: Arc::clone(context),
            stderr,
            table,
        }
    }

    pub(super) fn circumstances(&mut self) -> Circumstances {
        let limits = &self.context.limits;
        Circumstances {
            refused: self.limiter.take_refused(),
            stderr_tail: self.stderr.take_tail(),
            fuel_limit: limits.fuel_per_event,
            memory_limit: limits.memory,
            table_limit: limits.table_elements,
            copied_limit: COPIED_BYTES_MAX,
        }
    }
}

/// Returns what a language's runtime needs and no more: empty environment and arguments, no network, coarse clocks, and the
/// granted directories.
fn wasi(context: &GuestContext, stdout: &GuestOutput, stderr: &GuestOutput) -> WasiCtx {
    let mut builder = WasiCtx::builder();
    builder
        .stdout(stdout.clone())
        .stderr(stderr.clone())
        .max_random_size(RANDOM_BYTES_MAX)
        .wall_clock(CoarseWallClock)
        .monotonic_clock(CoarseMonotonicClock::new())
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    for dir in &context.grants.dirs {
        let permissions = if dir.write { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        if let Err(error) = builder.preopened_dir(&dir.host, &dir.guest, permissions) {
            // It was there when the bot was loaded. The guest sees that it is gone; the operator reads why.
            let path = dir.host.display();
            tracing::warn!(bot = %context.bot, %path, %error, "a granted directory cannot be opened");
        }
    }
    builder.build()
}
