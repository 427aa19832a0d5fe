//! The page of one bot, put together from what the API tells of it.

use serde::Deserialize;
use serde_json::Value;

use super::bot::{BotPage, Fact, LogLine, StateEntry};
use super::bots::Bot;
use super::client::{Client, Order, Refusal};
use super::marks::units;
use super::measured;
use super::settings::Form;
use super::shell::Shell;
use super::visit::Visit;
use crate::access::Role;
use crate::admin::IncidentView;
use crate::admin::problem::Answer;

/// A line of a log, as the API tells of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    time: Option<String>,
    level: Option<String>,
    message: String,
}

pub(super) async fn show(visit: &Visit) -> Result<Answer, Refusal> {
    let (client, path) = (visit.client(), &visit.ask.path);
    let bot: Bot = client.get(Order::get("/api/v1/bots/{bot}").parts(path)).await?;
    let shell = visit.shell().await;
    let lately = measured::of_bot(client, &bot.name).await;
    let incidents =
        client.get::<Vec<IncidentView>>(Order::get("/api/v1/faults").with("bot", &bot.name).with("limit", "20"));
    let incidents = incidents.await.unwrap_or_default();
    let page = BotPage {
        tag: bot.tag(shell.text),
        switch: bot.switch(),
        may_switch: shell.may(Role::Operator),
        is_ill: bot.is_ill(),
        figures: measured::figures_of(&bot, &lately, &shell),
        facts: facts(&bot, lately.1, &shell),
        settings: settings(client, visit).await,
        incidents,
        state: state(client, visit).await,
        logs: logs(client, &bot.name).await,
        bot,
        shell,
    };
    Ok(visit.page(&page))
}

fn facts(bot: &Bot, fuel: Option<f64>, shell: &Shell) -> Vec<Fact> {
    let text = shell.text;
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let limit = units(bot.fuel_limit as f64);
    let used = fuel.map_or_else(|| "–".to_owned(), units);
    let mut facts = vec![
        Fact { name: text.version, value: bot.version.clone().unwrap_or_else(|| "–".to_owned()) },
        Fact { name: text.since, value: bot.since.clone() },
        Fact { name: text.fuel, value: format!("{used} / {limit}") },
    ];
    if !bot.tenant.is_empty() {
        facts.insert(1, Fact { name: text.tenant, value: bot.tenant.clone() });
    }
    facts
}

/// Returns the form of its settings; none: he may not see it, or nothing tells what the settings may be.
async fn settings(client: Client<'_>, visit: &Visit) -> Option<Form> {
    let order = Order::get("/api/v1/bots/{bot}/settings").parts(&visit.ask.path);
    client.get(order).await.ok()
}

/// Returns what it keeps, where the API tells.
async fn state(client: Client<'_>, visit: &Visit) -> Vec<StateEntry> {
    let order = Order::get("/api/v1/bots/{bot}/state").parts(&visit.ask.path);
    let told: Vec<Value> = client.get(order).await.unwrap_or_default();
    let entry = |value: Value| {
        let key = value.get("key")?.as_str()?.to_owned();
        Some(StateEntry::new(key, value.get("bytes").and_then(Value::as_f64).unwrap_or(0.0)))
    };
    told.into_iter().filter_map(entry).collect()
}

/// Returns the last lines of its log.
async fn logs(client: Client<'_>, bot: &str) -> Vec<LogLine> {
    let order = Order::get("/api/v1/logs").with("bot", bot).with("lines", "50");
    let lines: Vec<Line> = client.get(order).await.unwrap_or_default();
    let line = |line: Line| LogLine {
        at: line.time.unwrap_or_default(),
        level: line.level.unwrap_or_default(),
        text: line.message,
    };
    lines.into_iter().map(line).collect()
}
