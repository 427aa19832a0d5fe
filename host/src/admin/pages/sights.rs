//! The pages that show something: each asks the API for what it shows.

use http::{Method, StatusCode};

use super::alerts::AlertsPage;
use super::client::{Client, Order, Refusal};
use super::configuration::{ConfigurationPage, Difference};
use super::connectors::{self, ConnectorsPage};
use super::measured;
use super::overview::{Glance, Health, OverviewPage, Trouble};
use super::pager::{Pager, Piece, address};
use super::people::{AccountPage, AuditPage, OffersPage, Record, SignInPage, TenantsPage};
use super::records::{LettersPage, MessagePage, MessagesPage, OutboxPage, Search, states};
use super::shell::Shell;
use super::visit::Visit;
use super::{bots, reply};
use crate::access::Role;
use crate::admin::problem::Answer;
use crate::admin::{AlertView, DeadLetterView, SendView, StoryView, VersionView};

/// Dead letters that are counted on the first page.
const COUNTED: &str = "100";
const COUNTED_MAX: usize = 100;
/// Messages on a page.
const MESSAGES: &str = "50";

pub(super) async fn overview(visit: &Visit) -> Result<Answer, Refusal> {
    let (client, shell) = (visit.client(), visit.shell().await);
    let bots: Vec<bots::Bot> = client.get(Order::get("/api/v1/bots")).await?;
    let alerts: Vec<AlertView> = client.get(Order::get("/api/v1/alerts")).await?;
    let firing = alerts.iter().filter(|alert| alert.state != "acknowledged");
    let mut troubles: Vec<_> = firing.map(|alert| Trouble::alert(alert, &shell)).collect();
    let health = if shell.sees_host() { health(client).await } else { Health::default() };
    let letters = client.get::<Vec<DeadLetterView>>(Order::get("/api/v1/dead-letters").with("limit", COUNTED));
    let letters = letters.await.unwrap_or_default().len();
    if shell.sees_host() {
        troubles.extend(health.degraded.iter().map(|part| Trouble::part(part, &shell)));
        let lost = Order::get("/api/v1/outbox").with("state", "lost").with("limit", COUNTED);
        let lost = client.get::<Vec<SendView>>(lost).await.unwrap_or_default().len();
        troubles.extend((lost > 0).then(|| Trouble::lost(lost, lost >= COUNTED_MAX, &shell)));
    } else {
        troubles.extend(bots.iter().filter(|bot| bot.is_ill()).map(|bot| Trouble::bot(bot, &shell)));
    }
    troubles.extend((letters > 0).then(|| Trouble::letters(letters, letters >= COUNTED_MAX, &shell)));
    let figures = measured::figures(client, &shell, &bots).await;
    let phases = bots::phases(&bots, "", shell.text);
    Ok(visit.page(&OverviewPage::new(shell, &health, troubles, figures, phases)))
}

/// Returns how the host is. Not by `/health`, whose answer is a failure where the host is not well.
async fn health(client: Client<'_>) -> Health {
    client.get::<Glance>(Order::get("/api/v1/status")).await.unwrap_or_default().health
}

pub(super) async fn bots(visit: &Visit) -> Result<Answer, Refusal> {
    let (client, shell) = (visit.client(), visit.shell().await);
    let asked = bots::Asked::new(|name| visit.given(name));
    let all = client.get(Order::get("/api/v1/bots")).await?;
    let selection = bots::Selection::new(asked, all, shell.text);
    let shell = Shell { back: selection.address(), ..shell };
    let lately = measured::lately(client, &selection.bots).await;
    let text = shell.text;
    let page = selection.page(shell, |bot| {
        let (events, fuel) = lately.get(&bot.name).cloned().unwrap_or_default();
        bots::Row::new(bot, &events, fuel, text)
    });
    Ok(visit.page(&page))
}

pub(super) async fn connectors(visit: &Visit) -> Result<Answer, Refusal> {
    let (client, shell) = (visit.client(), visit.shell().await);
    let found: Vec<connectors::Connector> = client.get(Order::get("/api/v1/connectors")).await?;
    let buffers: Vec<connectors::Buffer> =
        client.get(Order::get("/api/v1/outbox/statistics")).await.unwrap_or_default();
    let row = |connector: connectors::Connector| {
        let buffer = buffers.iter().find(|buffer| buffer.connector == connector.name);
        let waiting = buffer.map_or(0, |buffer| buffer.waiting);
        connectors::Row::new(connectors::Connector { waiting, ..connector }, &shell)
    };
    let rows = found.into_iter().map(row).collect();
    Ok(visit.page(&ConnectorsPage { shell, rows }))
}

pub(super) async fn messages(visit: &Visit) -> Result<Answer, Refusal> {
    let (shell, asked) = (visit.shell().await, Search::new(|name| visit.given(name)));
    let before = visit.given("before").unwrap_or_default();
    let parameters = asked.parameters();
    let mut order = Order::get("/api/v1/events").with("limit", MESSAGES).with("before", &before);
    for (name, value) in parameters {
        order = order.with(name, value);
    }
    let (rows, next, refusal) = match visit.client().send(order).await {
        Ok(found) => (found.json(), found.next("before"), None),
        Err(refusal) => (Vec::new(), None, Some(refusal.why)),
    };
    let after = next.map(|next| {
        let parameters: Vec<_> = parameters.into_iter().chain([("before", next.as_str())]).collect();
        address("/messages", &parameters)
    });
    let first = (!before.is_empty()).then(|| address("/messages", &parameters));
    let pager = Pager::new(shell.text, String::new(), first, after);
    let states = states(shell.text);
    Ok(visit.page(&MessagesPage { shell, asked, states, rows, refusal, pager }))
}

pub(super) async fn message(visit: &Visit) -> Result<Answer, Refusal> {
    let story: StoryView = visit.client().get(Order::get("/api/v1/events/{event}").parts(&visit.ask.path)).await?;
    Ok(visit.page(&MessagePage { shell: visit.shell().await, story }))
}

pub(super) async fn letters(visit: &Visit) -> Result<Answer, Refusal> {
    let (shell, bot) = (visit.shell().await, visit.given("bot").unwrap_or_default());
    let piece = Piece::new(visit.given("page").as_deref());
    let limit = piece.limit();
    let order = Order::get("/api/v1/dead-letters").with("bot", &bot).with("limit", &limit);
    let (letters, refusal) = told(visit.client().get::<Vec<DeadLetterView>>(order).await);
    let (letters, pager) = piece.cut(letters, shell.text, ("/dead-letters", &[("bot", &bot)]));
    Ok(visit.page(&LettersPage { shell, bot, letters, refusal, pager }))
}

pub(super) async fn outbox(visit: &Visit) -> Result<Answer, Refusal> {
    let (shell, connector) = (visit.shell().await, visit.given("connector").unwrap_or_default());
    let state = visit.given("state").unwrap_or_else(|| "waiting".to_owned());
    let piece = Piece::new(visit.given("page").as_deref());
    let limit = piece.limit();
    let order = Order::get("/api/v1/outbox").with("state", &state).with("connector", &connector).with("limit", &limit);
    let (sends, refusal) = told(visit.client().get::<Vec<SendView>>(order).await);
    let (sends, pager) = piece.cut(sends, shell.text, ("/outbox", &[("state", &state), ("connector", &connector)]));
    Ok(visit.page(&OutboxPage { shell, state, connector, sends, refusal, pager }))
}

pub(super) async fn alerts(visit: &Visit) -> Result<Answer, Refusal> {
    let (client, shell) = (visit.client(), visit.shell().await);
    let active = client.get(Order::get("/api/v1/alerts")).await?;
    let (mut channels, mut rules, mut news) = (Vec::new(), Vec::new(), Vec::new());
    if shell.sees_host() {
        channels = client.get(Order::get("/api/v1/alerts/channels")).await.unwrap_or_default();
        rules = client.get(Order::get("/api/v1/alerts/rules")).await.unwrap_or_default();
        news = client.get(Order::get("/api/v1/alerts/history").with("limit", MESSAGES)).await.unwrap_or_default();
    }
    Ok(visit.page(&AlertsPage { shell, active, channels, rules, news }))
}

pub(super) async fn configuration(visit: &Visit) -> Result<Answer, Refusal> {
    let (client, shell) = (visit.client(), visit.shell().await);
    let text = client.send(Order::get("/api/v1/config")).await?;
    let text = String::from_utf8_lossy(&text.body).into_owned();
    let versions: Vec<VersionView> = client.get(Order::get("/api/v1/config/versions")).await?;
    let number = |at: usize| versions.get(at).map_or(0, |version| version.generation);
    let asked = |name| visit.given(name).and_then(|number: String| number.parse::<u64>().ok());
    let generation = number(0);
    let (from, to) = (asked("from"), asked("to"));
    let difference = match (from, to) {
        (Some(from), Some(to)) => {
            let path = "/api/v1/config/versions/{version}/diff/{other}";
            let order = Order::get(path).part("version", &from.to_string()).part("other", &to.to_string());
            Some(client.get::<Difference>(order).await?)
        }
        _ => None,
    };
    let (from, to) = (from.unwrap_or_else(|| number(1)), to.unwrap_or(generation));
    Ok(visit.page(&ConfigurationPage { shell, generation, text, versions, from, to, difference }))
}

pub(super) async fn tenants(visit: &Visit) -> Result<Answer, Refusal> {
    let (client, shell) = (visit.client(), visit.shell().await);
    let tenants = client.get(Order::get("/api/v1/tenants")).await.unwrap_or_default();
    let (mut accounts, mut tokens) = (Vec::new(), Vec::new());
    if shell.may(Role::Admin) {
        accounts = client.get(Order::get("/api/v1/accounts")).await.unwrap_or_default();
        tokens = client.get(Order::get("/api/v1/tokens")).await.unwrap_or_default();
    }
    Ok(visit.page(&TenantsPage { shell, tenants, accounts, tokens }))
}

pub(super) async fn offers(visit: &Visit) -> Result<Answer, Refusal> {
    let offers = visit.client().get(Order::get("/api/v1/offers")).await.unwrap_or_default();
    Ok(visit.page(&OffersPage { shell: visit.shell().await, offers }))
}

pub(super) async fn account(visit: &Visit) -> Result<Answer, Refusal> {
    Ok(visit.page(&AccountPage { shell: visit.shell().await }))
}

pub(super) async fn sign_in(visit: &Visit) -> Result<Answer, Refusal> {
    if visit.ask.visitor.is_some() {
        return Ok(reply::back("/", None));
    }
    let page = SignInPage { shell: visit.shell().await, name: String::new() };
    Ok(reply::page(StatusCode::OK, &page, &visit.ask.headers))
}

pub(super) async fn audit(visit: &Visit) -> Result<Answer, Refusal> {
    let shell = visit.shell().await;
    let [who, since, before] = ["who", "since", "before"].map(|name| visit.given(name).unwrap_or_default());
    let order = Order::new(Method::GET, "/api/v1/audit").with("limit", "100");
    let order = order.with("who", &who).with("since", &since).with("before", &before);
    let (records, refusal) = told(visit.client().get::<Vec<Record>>(order).await);
    let last = records.last().filter(|_| records.len() == 100).map(|record| record.seq.to_string());
    let after = last.map(|last| address("/audit", &[("who", &who), ("since", &since), ("before", &last)]));
    let pager = Pager::new(shell.text, String::new(), None, after);
    Ok(visit.page(&AuditPage { shell, who, since, records, refusal, pager }))
}

/// Returns what was found, or why nothing was.
fn told<T: Default>(found: Result<T, Refusal>) -> (T, Option<String>) {
    match found {
        Ok(found) => (found, None),
        Err(refusal) => (T::default(), Some(refusal.why)),
    }
}
