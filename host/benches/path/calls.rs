//! One call of a guest, into an instance that stays and into a new one.

use std::sync::Arc;
use std::time::Duration;

use bothost::limits::InstanceMode;
use bothost::sandbox::{Component, Guest};
use criterion::Criterion;
use harness::guests;
use tokio::runtime::Runtime;

use super::floor::{Floor, Linked};
use super::measure::{Pace, compare, floor_alone, timed};
use super::sheet::Sheet;
use super::wall::{Said, Wall};

/// What is called, in both forms, and what it is told.
struct Called<'a> {
    runtime: &'a Runtime,
    wall: &'a Wall,
    floor: &'a Floor,
    component: Arc<Component>,
    linked: Linked,
    said: Said,
}

/// Measures calls.
pub fn measure(criterion: &mut Criterion, runtime: &Runtime, wall: &Wall, floor: &Floor) {
    let called = |bytes: Vec<u8>, said| {
        let (component, _) = runtime.block_on(wall.load(&bytes));
        let linked = floor.link(&floor.load(&wall.code(component.hash())));
        Called { runtime, wall, floor, component, linked, said }
    };
    // Any test guest will do: `!ping` is answered by one send, and nothing else happens.
    let pong = called(guests::guest("panic"), Said::command("ping", &[]));
    let echo = called(guests::example("echo"), Said::command("echo", &["hi"]));
    let idle = called(guests::component(guests::IDLE), Said::command("ping", &[]));
    pong.warm(criterion, "warm_send");
    echo.warm(criterion, "warm_send_and_add");
    pong.fresh(criterion, "fresh_send");
    echo.fresh(criterion, "fresh_send_and_add");
    idle.fresh(criterion, "fresh_idle");
    floor_alone(criterion, "instantiate", |times| {
        timed(runtime, times, async || drop(floor.instance(&echo.linked).await))
    });
}

/// Puts the figures down.
pub fn report(sheet: &mut Sheet) {
    sheet.times("call, warm instance: one send", "warm_send");
    sheet.times("call, warm instance: one send, one state.add", "warm_send_and_add");
    sheet.times("call, fresh instance: one send", "fresh_send");
    sheet.times("call, fresh instance: one send, one state.add", "fresh_send_and_add");
    sheet.times("call, fresh instance: a guest that does nothing", "fresh_idle");
    sheet.times("instantiate and drop, no call", "instantiate");
}

impl Called<'_> {
    fn warm(&self, criterion: &mut Criterion, name: &str) {
        let guest = self.guest(InstanceMode::Warm);
        let mut instance = self.runtime.block_on(self.floor.instance(&self.linked));
        let floor = |times| timed(self.runtime, times, async || instance.handle(&self.said.guest_event).await);
        compare(criterion, name, Pace::Quick, |times| self.handle(&guest, times), floor);
    }

    fn fresh(&self, criterion: &mut Criterion, name: &str) {
        let guest = self.guest(InstanceMode::Fresh);
        let floor = |times| {
            timed(self.runtime, times, async || {
                self.floor.instance(&self.linked).await.handle(&self.said.guest_event).await;
            })
        };
        compare(criterion, name, Pace::Quick, |times| self.handle(&guest, times), floor);
    }

    fn guest(&self, instance: InstanceMode) -> Guest {
        self.runtime.block_on(self.wall.guest(&self.component, instance))
    }

    fn handle(&self, guest: &Guest, times: u64) -> Duration {
        timed(self.runtime, times, async || {
            guest.handle(&self.said.event, 1).await.outcome.expect("the guest answers");
        })
    }
}
