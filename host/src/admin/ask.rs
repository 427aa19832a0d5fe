//! One request as its handler gets it: let in, with what its path and its query say, and its body.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Mutex;

use axum::body::Body;
use http::HeaderMap;
use hyper::body::Bytes;
use serde::de::DeserializeOwned;

use super::api::Api;
use super::auth::Visitor;
use super::operate::no_bot;
use super::problem::Problem;
use super::query::Query;
use crate::access::{Caller, Scope};
use crate::id::BotName;

/// A request that may be served.
#[derive(Debug)]
pub(super) struct Ask {
    /// Who asks; none, where anybody may.
    pub(super) visitor: Option<Caller>,
    /// What else is known of where it comes from.
    pub(super) from: Visitor,
    /// The path as it came.
    pub(super) uri_path: String,
    /// What stands in the path for the parts in braces.
    pub(super) path: Vec<(String, String)>,
    pub(super) query: Query,
    pub(super) headers: HeaderMap,
    /// The body, where it is read as a whole.
    pub(super) body: Bytes,
    /// The body, where the handler reads it.
    pub(super) stream: Option<Mutex<Body>>,
}

impl Ask {
    /// Returns who asks.
    ///
    /// # Panics
    ///
    /// Anybody may: then it is [`Ask::visitor`].
    pub(super) fn caller(&self) -> &Caller {
        self.visitor.as_ref().expect("the gate lets in nobody unknown")
    }

    /// Returns whose things he may see.
    pub(super) fn scope(&self) -> &Scope {
        &self.caller().scope
    }

    /// Returns what stands in the path for a part in braces.
    pub(super) fn part(&self, name: &str) -> &str {
        self.path.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// Returns a part of the path that is an id.
    ///
    /// # Errors
    ///
    /// It is none.
    pub(super) fn id<I: FromStr<Err: Display>>(&self, name: &str) -> Result<I, Problem> {
        self.part(name).parse().map_err(|error| Problem::BadRequest(format!("{error}; listings show it")))
    }

    /// Returns a part of the path that is a whole number.
    ///
    /// # Errors
    ///
    /// It is none; `wanted` says what it should be.
    pub(super) fn number(&self, name: &str, wanted: &str) -> Result<u64, Problem> {
        let text = self.part(name);
        // `parse` would take a sign as well.
        let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        number.ok_or_else(|| Problem::BadRequest(wanted.to_owned()))
    }

    /// Returns the bot that the path names.
    ///
    /// # Errors
    ///
    /// It is no name.
    pub(super) fn bot(&self) -> Result<BotName, Problem> {
        self.part("bot").parse().map_err(|_| no_bot(self.part("bot")))
    }

    /// Returns the bot that the parameter `bot` names, where it is given. A tenant must name one, of its own.
    ///
    /// # Errors
    ///
    /// It is no name; a tenant gives none, or one that is not its own.
    pub(super) fn asked_bot(&self, api: &Api) -> Result<Option<BotName>, Problem> {
        let bot = self.query.name::<BotName>("bot")?;
        match (&bot, self.scope()) {
            (_, Scope::Host) => Ok(bot),
            (Some(name), scope) if api.covers(scope, name) => Ok(bot),
            (Some(name), _) => Err(no_bot(name.as_str())),
            (None, Scope::Tenant(_)) => {
                Err(Problem::BadRequest("`bot` is missing: name one of your bots, such as ?bot=NAME".to_owned()))
            }
        }
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    ///
    /// It is not of that form. What is said repeats no value of it, which may be a secret.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let kind = match error.classify() {
                serde_json::error::Category::Data => "is not of the form that this path takes",
                _ => "is no JSON",
            };
            Problem::BadRequest(format!("the body {kind} (line {line}, column {column}); see /api/openapi.json"))
        })
    }
}
