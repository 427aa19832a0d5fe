//! What the admin side serves, one [`Endpoint`] each. From the list of them come the router, who may ask, what a request may have, the
//! OpenAPI document and the test of every route with every role; nothing is served that is not in the list.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::api::Api;
use super::ask::Ask;
use super::parameter::Parameter;
use super::problem::{Answer, Problem, json};
use super::query::Query;
use crate::access::Role;

/// What the body of most requests may have.
pub(super) const BODY_BYTES_MAX: usize = 64 << 10;

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Whoever can reach the listener.
    Anybody,
    /// Whoever was let in, whatever he may do otherwise.
    SignedIn,
    /// Who has this role for the whole host.
    Host(Role),
    /// Who has this role. The handler shows a tenant what is the tenant's.
    Tenant(Role),
    /// Who has this role, and a tenant only for its own bot: the one that `{bot}` in the path names.
    Bot(Role),
}

/// Returns the schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a request's body is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reads {
    /// Nobody reads it: the connection ends after the answer.
    Nothing,
    /// It is read as a whole, up to so many bytes.
    Whole { media_type: &'static str, schema: Option<SchemaOf>, bytes_max: usize, is_required: bool },
    /// The handler reads it piece by piece.
    Stream { media_type: &'static str },
}

/// What an answer is, where the request is served.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answers {
    /// JSON of this form.
    Json(SchemaOf),
    /// Something else, whole.
    Text(&'static str),
    /// Server-sent events, or JSON of this form where nobody follows.
    JsonOrEvents(SchemaOf),
    /// A page for people.
    Page,
    /// Nothing but the status.
    Nothing,
}

type Handler = Arc<dyn Fn(Arc<Api>, Ask) -> BoxFuture<'static, Result<Answer, Problem>> + Send + Sync>;

/// One method of one path.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) method: Method,
    /// With parts in braces, such as `/api/v1/bots/{bot}`.
    pub(super) path: &'static str,
    pub(super) access: Access,
    /// What it does, in a few words.
    pub(super) summary: &'static str,
    /// What the query may have. None: it is not looked at.
    pub(super) parameters: Option<&'static [Parameter]>,
    pub(super) reads: Reads,
    pub(super) answers: Answers,
    /// The status of an answer that is no problem.
    pub(super) status: StatusCode,
    /// The member of a JSON body that names what is made, which the audit log may show.
    pub(super) named_by: Option<&'static str>,
    handler: Handler,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.method, self.path, self.access)
    }
}

/// A list, or a piece of one.
#[derive(Debug)]
pub(super) struct Listing<T> {
    pub(super) items: Vec<T>,
    /// The parameter that asks for what comes after, and its value; none: this is the end.
    pub(super) next: Option<(&'static str, String)>,
}

impl<T> Listing<T> {
    /// Returns all that there is.
    pub(super) fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }

    /// Returns at most `limit` of what there is; `items` has one more where there is more, and `cursor` names the last that is shown.
    pub(super) fn page(
        mut items: Vec<T>,
        limit: u32,
        parameter: &'static str,
        cursor: impl FnOnce(&T) -> String,
    ) -> Self {
        let limit = limit as usize;
        let is_more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| is_more).map(|last| (parameter, cursor(last)));
        Self { items, next }
    }
}

impl<T: Serialize> Listing<T> {
    /// Returns it as JSON, with where it goes on in the header `Link`.
    pub(super) fn answer(self, path: &str, query: &Query) -> Answer {
        let Self { items, next } = self;
        let mut answer = json(StatusCode::OK, &items);
        if let Some((parameter, value)) = next {
            let link = format!("<{path}?{}>; rel=\"next\"", query.with(parameter, &value));
            if let Ok(link) = HeaderValue::try_from(link) {
                answer.headers_mut().insert(http::header::LINK, link);
            }
        }
        answer
    }
}

/// What belongs to a generation, which its tag names.
#[derive(Debug)]
pub(super) struct Tagged<T> {
    pub(super) view: T,
    pub(super) generation: u64,
}

/// An endpoint that has no handler yet.
pub(super) struct Draft(Endpoint);

impl Endpoint {
    /// Begins an endpoint. It takes no parameters and no body until it is told to.
    pub(super) fn of(method: Method, path: &'static str, access: Access, summary: &'static str) -> Draft {
        Draft(Self {
            method,
            path,
            access,
            summary,
            parameters: Some(&[]),
            reads: Reads::Nothing,
            answers: Answers::Nothing,
            status: StatusCode::OK,
            named_by: None,
            handler: Arc::new(|_, _| Box::pin(async { Err(Problem::NotFound) })),
        })
    }

    pub(super) fn get(path: &'static str, access: Access, summary: &'static str) -> Draft {
        Self::of(Method::GET, path, access, summary)
    }

    pub(super) fn post(path: &'static str, access: Access, summary: &'static str) -> Draft {
        Self::of(Method::POST, path, access, summary)
    }

    pub(super) fn put(path: &'static str, access: Access, summary: &'static str) -> Draft {
        Self::of(Method::PUT, path, access, summary)
    }

    pub(super) fn delete(path: &'static str, access: Access, summary: &'static str) -> Draft {
        Self::of(Method::DELETE, path, access, summary)
    }

    /// Returns whether it is for people, and no part of the API.
    pub(super) fn is_page(&self) -> bool {
        !self.path.starts_with("/api/") && !self.path.starts_with("/health") && self.path != "/metrics"
    }

    /// Returns whether it changes something.
    pub(super) fn is_change(&self) -> bool {
        self.method != Method::GET
    }

    /// Serves a request that may be served.
    pub(super) async fn serve(&self, api: Arc<Api>, ask: Ask) -> Result<Answer, Problem> {
        (self.handler)(api, ask).await
    }
}

impl Draft {
    /// Says what the query may have.
    pub(super) fn takes(mut self, parameters: &'static [Parameter]) -> Self {
        self.0.parameters = Some(parameters);
        self
    }

    /// Says that the query is not looked at.
    pub(super) fn takes_anything(mut self) -> Self {
        self.0.parameters = None;
        self
    }

    /// Says that the body is JSON of this form.
    pub(super) fn reads_json<T: JsonSchema>(self, bytes_max: usize) -> Self {
        let schema = Some(SchemaGenerator::subschema_for::<T> as SchemaOf);
        self.reads(Reads::Whole { media_type: "application/json", schema, bytes_max, is_required: true })
    }

    /// Says what the body is.
    pub(super) fn reads(mut self, reads: Reads) -> Self {
        self.0.reads = reads;
        self
    }

    /// Says which status an answer has that is no problem, where it is not 200.
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// Says which member of a JSON body names what is made.
    pub(super) fn named_by(mut self, member: &'static str) -> Self {
        self.0.named_by = Some(member);
        self
    }

    /// Answers with JSON.
    pub(super) fn json<T, R, H>(self, handler: H) -> Endpoint
    where
        T: Serialize + JsonSchema,
        R: Future<Output = Result<T, Problem>> + Send + 'static,
        H: Fn(Arc<Api>, Ask) -> R + Send + Sync + 'static,
    {
        let status = self.0.status;
        let answers = Answers::Json(SchemaGenerator::subschema_for::<T>);
        self.raw(answers, move |api, ask| {
            let served = handler(api, ask);
            async move { served.await.map(|view| json(status, &view)) }
        })
    }

    /// Answers with a list as JSON, and in the header `Link` with where it goes on.
    pub(super) fn list<T, R, H>(self, handler: H) -> Endpoint
    where
        T: Serialize + JsonSchema,
        R: Future<Output = Result<Listing<T>, Problem>> + Send + 'static,
        H: Fn(Arc<Api>, Ask) -> R + Send + Sync + 'static,
    {
        let answers = Answers::Json(SchemaGenerator::subschema_for::<Vec<T>>);
        self.raw(answers, move |api, ask| {
            let (path, query) = (ask.uri_path.clone(), ask.query.clone());
            let served = handler(api, ask);
            async move { Ok(served.await?.answer(&path, &query)) }
        })
    }

    /// Answers with JSON, and with the generation that it belongs to as `ETag`.
    pub(super) fn tagged<T, R, H>(self, handler: H) -> Endpoint
    where
        T: Serialize + JsonSchema,
        R: Future<Output = Result<Tagged<T>, Problem>> + Send + 'static,
        H: Fn(Arc<Api>, Ask) -> R + Send + Sync + 'static,
    {
        let answers = Answers::Json(SchemaGenerator::subschema_for::<T>);
        self.raw(answers, move |api, ask| {
            let served = handler(api, ask);
            async move {
                let Tagged { view, generation } = served.await?;
                Ok(super::problem::tagged(json(StatusCode::OK, &view), generation))
            }
        })
    }

    /// Answers with whatever the handler makes of it.
    pub(super) fn raw<R, H>(mut self, answers: Answers, handler: H) -> Endpoint
    where
        R: Future<Output = Result<Answer, Problem>> + Send + 'static,
        H: Fn(Arc<Api>, Ask) -> R + Send + Sync + 'static,
    {
        self.0.answers = answers;
        self.0.handler = Arc::new(move |api, ask| Box::pin(handler(api, ask)));
        self.0
    }
}
