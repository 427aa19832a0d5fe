//! Somebody's look at a page: who he is, in which language he reads, and what every page shows around its content.

use std::sync::Arc;

use askama::Template;
use http::StatusCode;
use serde::Deserialize;

use super::client::{Client, Order, Refusal};
use super::people::RefusalPage;
use super::reply;
use super::shell::{Shell, Who};
use crate::access::{Caller, Way};
use crate::admin::AlertView;
use crate::admin::api::Api;
use crate::admin::ask::Ask;
use crate::admin::problem::Answer;
use crate::clock::Timestamp;

/// One request for a page.
#[derive(Debug)]
pub(super) struct Visit {
    api: Arc<Api>,
    pub(super) ask: Ask,
}

/// The session as the API tells of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Session {
    csrf: Option<String>,
}

impl Visit {
    pub(super) fn new(api: Arc<Api>, ask: Ask) -> Self {
        Self { api, ask }
    }

    pub(super) fn client(&self) -> Client<'_> {
        Client::new(&self.api, &self.ask)
    }

    /// Returns a parameter of the address.
    pub(super) fn given(&self, name: &str) -> Option<String> {
        self.ask.query.text(name).map(str::to_owned)
    }

    /// Returns what every page shows around its content.
    pub(super) async fn shell(&self) -> Shell {
        let headers = &self.ask.headers;
        let shell = Shell::new(reply::language(headers), &self.ask.uri_path, Timestamp::now());
        let shell = Shell { flash: reply::flash(headers), ..shell };
        let Some(caller) = &self.ask.visitor else { return shell };
        let alerts: Vec<AlertView> = self.client().get(Order::get("/api/v1/alerts")).await.unwrap_or_default();
        let csrf = match caller.way {
            Way::Session => self.client().get::<Session>(Order::get("/api/v1/session")).await.unwrap_or_default().csrf,
            Way::Socket | Way::Token => None,
        };
        Shell { who: Some(who(caller)), csrf, alerts: alerts.len(), ..shell }
    }

    /// Answers with a page.
    pub(super) fn page(&self, page: &impl Template) -> Answer {
        reply::page(StatusCode::OK, page, &self.ask.headers)
    }

    /// Answers with the reason why there is no such page for him.
    pub(super) async fn refused(&self, refusal: Refusal) -> Answer {
        let Refusal { status, why } = refusal;
        let page = RefusalPage { shell: self.shell().await, status, why };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        reply::page(status, &page, &self.ask.headers)
    }
}

fn who(caller: &Caller) -> Who {
    Who { name: caller.name.to_string(), role: caller.role, tenant: caller.scope.tenant().map(ToString::to_string) }
}
