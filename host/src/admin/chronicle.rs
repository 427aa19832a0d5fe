//! What is written down of a request that changes something: who asked for what, and what came of it. No value of a query or a body:
//! those may be secrets.

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{Method, StatusCode};

use super::api::Api;
use super::ask::Ask;
use super::auth::Visitor;
use super::endpoint::Endpoint;
use super::problem::{Answer, Problem, chain};
use crate::audit::{Entry, Outcome};
use crate::id::TenantName;

/// Who an answer turned out to be about, where the request did not say: who signed in.
#[derive(Debug, Clone)]
pub(super) struct SignedInAs(pub(super) Arc<str>);

/// What came of a form, in the extensions of the answer that leads back whatever it was.
#[derive(Debug, Clone)]
pub(super) struct CameTo {
    pub(super) status: StatusCode,
    /// What it was about, where the path does not say; may be empty.
    pub(super) about: String,
}

/// What is known of a request before it is served.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    who: Option<(Arc<str>, &'static str)>,
    address: Option<IpAddr>,
    method: Method,
    subject: String,
}

impl Signed {
    pub(super) fn of(visitor: &Visitor, head: &Parts, endpoint: &Endpoint) -> Self {
        let who = visitor.caller.as_ref().map(|caller| (Arc::clone(&caller.name), caller.way.as_str()));
        let names = head.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split('=').next());
        // Only those that the path knows: what somebody takes for a name may be anything.
        let known = endpoint.parameters.unwrap_or_default();
        let names: Vec<_> = names.filter(|name| known.iter().any(|parameter| parameter.name == *name)).collect();
        let path = head.uri.path();
        let subject = if names.is_empty() { path.to_owned() } else { format!("{path}?{}", names.join("&")) };
        Self { who, address: visitor.address, method: head.method.clone(), subject }
    }

    /// Adds what an answer says of who asked and of what it was about, and returns what came of it.
    fn read(&mut self, answer: &Answer) -> StatusCode {
        if let Some(SignedInAs(name)) = answer.extensions().get() {
            self.who = Some((Arc::clone(name), "session"));
        }
        let Some(CameTo { status, about }) = answer.extensions().get() else { return answer.status() };
        if !about.is_empty() {
            self.subject = format!("{}: {about}", self.subject);
        }
        *status
    }

    fn entry(self, outcome: Outcome, status: StatusCode) -> Entry {
        let (who, way) = self.who.unwrap_or_else(|| ("nobody".into(), "none"));
        Entry {
            who,
            way,
            address: self.address,
            verb: self.method.to_string(),
            subject: self.subject,
            outcome,
            detail: Some(status.to_string()),
        }
    }
}

/// Notes that somebody known was refused a change. Of those whom nobody knows there may be any number: they are counted by the lock-out.
pub(super) async fn refused(api: &Api, endpoint: &Endpoint, signed: Signed, problem: &Problem) {
    if !endpoint.is_change() || signed.who.is_none() {
        return;
    }
    let entry = signed.entry(Outcome::Refused, problem.status());
    // It is refused either way; that nothing gets to the disk is told by the log itself.
    let _ = api.sources.audit.record(entry).await;
}

/// Serves a request that changes something, and answers once what came of it is recorded on disk. Where that cannot be, nothing is
/// begun. It goes on to its end though the client may leave.
pub(super) async fn change(
    api: Arc<Api>,
    endpoint: Arc<Endpoint>,
    ask: Ask,
    signed: Signed,
) -> Result<Answer, Problem> {
    if let Err(error) = api.sources.audit.ready().await {
        let why = chain(&error);
        return Err(Problem::Unavailable(format!("nothing is changed while it cannot be recorded: {why}")));
    }
    let mut signed = signed;
    if let Some(name) = endpoint.named_by.and_then(|member| named(&ask.body, member)) {
        signed.subject = format!("{}/{name}", signed.subject);
    }
    let changes = api.changes.clone();
    let changed = changes.spawn(async move {
        let served = endpoint.serve(Arc::clone(&api), ask).await;
        let status = match &served {
            Ok(answer) => signed.read(answer),
            Err(problem) => problem.status(),
        };
        // Locked out, he was recorded before he was.
        if status == StatusCode::TOO_MANY_REQUESTS {
            return served;
        }
        let outcome = outcome(status);
        match api.sources.audit.record(signed.entry(outcome, status)).await {
            Ok(()) => served,
            Err(error) if outcome == Outcome::Done => {
                let why = chain(&error);
                Err(Problem::Unavailable(format!("it was done, and could not be recorded: {why}")))
            }
            Err(_) => served,
        }
    });
    match changed.await {
        Ok(served) => served,
        Err(_) => Err(Problem::Unavailable("it went wrong in the host: its log says more".to_owned())),
    }
}

/// Returns the name that a body gives, if it is one.
fn named(body: &[u8], member: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    // Tenants' names have the form of all names.
    body.get(member)?.as_str()?.parse::<TenantName>().ok().map(|name| name.to_string())
}

fn outcome(status: StatusCode) -> Outcome {
    match status {
        status if status.is_server_error() => Outcome::Failed,
        status if status.is_client_error() => Outcome::Refused,
        _ => Outcome::Done,
    }
}
