//! Pages are clients of the API: whatever they show or do goes through an endpoint of it, in the name of who looks at the page, with the
//! same check of what he may. So no page can tell or do what the API would not.

use std::sync::{Arc, LazyLock};

use axum::body;
use http::header::{CONTENT_TYPE, LINK, SET_COOKIE};
use http::{Extensions, HeaderMap, HeaderValue, Method, header};
use hyper::body::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::admin::api::{self, Api};
use crate::admin::ask::Ask;
use crate::admin::endpoint::Endpoint;
use crate::admin::gate;
use crate::admin::problem::{Problem, ProblemView};
use crate::admin::query::{Query, encode};

/// Answers of the API are not longer: a listing has a bounded number of entries.
const ANSWER_BYTES_MAX: usize = 64 << 20;

static ENDPOINTS: LazyLock<Vec<Endpoint>> = LazyLock::new(api::endpoints);

/// Asks the API in the name of who looks at a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client<'a> {
    api: &'a Arc<Api>,
    ask: &'a Ask,
}

/// What is asked of the API.
#[derive(Debug, Clone)]
pub(super) struct Order<'a> {
    method: Method,
    /// As the endpoint has it, such as `/api/v1/bots/{bot}`.
    path: &'static str,
    parts: Vec<(String, String)>,
    query: Vec<(&'a str, &'a str)>,
    body: Option<Value>,
}

/// Why the API refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) why: String,
}

/// What the API answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) body: Bytes,
    headers: HeaderMap,
    /// What the API says of it besides.
    pub(super) extensions: Extensions,
}

impl<'a> Order<'a> {
    pub(super) fn new(method: Method, path: &'static str) -> Self {
        Self { method, path, parts: Vec::new(), query: Vec::new(), body: None }
    }

    pub(super) fn get(path: &'static str) -> Self {
        Self::new(Method::GET, path)
    }

    /// Says what stands in the path for a part in braces.
    pub(super) fn part(mut self, name: &str, value: &str) -> Self {
        self.parts.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Says what stands in the path for all its parts in braces.
    pub(super) fn parts(mut self, parts: &[(String, String)]) -> Self {
        self.parts.extend_from_slice(parts);
        self
    }

    /// Adds a parameter; one that is empty is left out.
    pub(super) fn with(mut self, name: &'a str, value: &'a str) -> Self {
        if !value.is_empty() {
            self.query.push((name, value));
        }
        self
    }

    pub(super) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }
}

impl Reply {
    /// Returns what asks for the next piece of a listing: the value of a parameter in the header `Link`.
    pub(super) fn next(&self, parameter: &str) -> Option<String> {
        let link = self.headers.get(LINK)?.to_str().ok()?;
        let address = link.strip_prefix('<')?.split('>').next()?;
        let pairs = address.split_once('?')?.1.split('&');
        pairs
            .filter_map(|pair| pair.split_once('='))
            .find(|(name, _)| *name == parameter)
            .map(|(_, value)| value.to_owned())
    }

    /// Returns the cookies that it sets.
    pub(super) fn cookies(&self) -> impl Iterator<Item = &HeaderValue> {
        self.headers.get_all(SET_COOKIE).iter()
    }

    /// Reads the JSON that it is; nothing where it is of another form.
    pub(super) fn json<T: DeserializeOwned + Default>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl<'a> Client<'a> {
    pub(super) fn new(api: &'a Arc<Api>, ask: &'a Ask) -> Self {
        Self { api, ask }
    }

    /// Asks for something.
    ///
    /// # Errors
    ///
    /// Why it is not given.
    pub(super) async fn get<T: DeserializeOwned + Default>(self, order: Order<'_>) -> Result<T, Refusal> {
        Ok(self.send(order).await?.json())
    }

    /// Has something done.
    ///
    /// # Errors
    ///
    /// Why it is not done.
    pub(super) async fn send(self, order: Order<'_>) -> Result<Reply, Refusal> {
        let served = match self.serve(order).await {
            Ok(answer) => answer,
            Err(problem) => problem.into_answer(),
        };
        let (head, body) = served.into_parts();
        let body = body::to_bytes(body, ANSWER_BYTES_MAX).await.unwrap_or_default();
        if head.status.is_success() {
            return Ok(Reply { body, headers: head.headers, extensions: head.extensions });
        }
        let problem: ProblemView = serde_json::from_slice(&body).unwrap_or_default();
        Err(Refusal { status: head.status.as_u16(), why: problem.detail })
    }

    async fn serve(self, order: Order<'_>) -> Result<crate::admin::problem::Answer, Problem> {
        let Order { method, path, parts, query, body } = order;
        let is_meant = |endpoint: &&Endpoint| endpoint.method == method && endpoint.path == path;
        let endpoint = ENDPOINTS.iter().find(is_meant).ok_or(Problem::NotFound)?;
        gate::admit(self.api, endpoint.access, self.ask.visitor.as_ref(), Problem::Unauthorized, &parts)?;
        let pairs: Vec<_> = query.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let query = match endpoint.parameters {
            Some(known) => Query::parse(Some(&pairs.join("&")), known)?,
            None => Query::default(),
        };
        let mut headers = self.ask.headers.clone();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let inner = Ask {
            visitor: self.ask.visitor.clone(),
            from: self.ask.from.clone(),
            uri_path: path.to_owned(),
            path: parts,
            query,
            headers,
            body,
            stream: None,
        };
        endpoint.serve(Arc::clone(self.api), inner).await
    }
}
