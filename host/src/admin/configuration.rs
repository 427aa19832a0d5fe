//! `/api/v1/config`: what is in force and was, without its secrets, and the operator's edits of it.

use http::header::{ETAG, IF_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};

use super::problem::{Answer, Problem, answer, chain, json};
use super::query::Query;
use super::route::Version;
use crate::generation::{Archive, EditError, Editor, Export, GenerationError, Reloaded, Summary, Who};
use crate::supervisor::{Control, ReloadReport, ReloadStep};

/// Who edits where nobody says so.
const AUTHOR: &str = "admin";

/// One generation in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VersionView {
    /// Its number.
    pub generation: u64,
    /// Since when it was in force, in RFC 3339.
    pub at: String,
    /// Who brought it about.
    pub author: String,
    /// Why.
    pub reason: String,
}

impl From<Summary> for VersionView {
    fn from(summary: Summary) -> Self {
        let Summary { number, at, author, reason } = summary;
        Self { generation: number, at: at.to_string(), author, reason }
    }
}

/// What came of an edit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EditView {
    /// The generation that is in force.
    pub generation: u64,
    /// What was done, step by step, for people.
    pub steps: Vec<String>,
    /// Changes that take effect at the next start only.
    pub needs_restart: Vec<String>,
}

/// A key to set, as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Setting {
    key: String,
    value: String,
}

/// Returns the editor of a running host's configuration.
pub fn editor(archive: Archive, path: impl Into<std::path::PathBuf>, control: Control) -> Editor {
    Editor::new(archive, path, move || {
        let control = control.clone();
        async move { control.reload(false).await.map(reloaded).map_err(|error| error.to_string()) }
    })
}

fn reloaded(report: ReloadReport) -> Reloaded {
    let ReloadReport { generation, steps, rejected, needs_restart } = report;
    let line = |ReloadStep { subject, action, detail, .. }: ReloadStep| match detail.as_str() {
        "" => format!("{subject}: {action}"),
        detail => format!("{subject}: {action} ({detail})"),
    };
    Reloaded { generation, steps: steps.into_iter().map(line).collect(), rejected, needs_restart }
}

/// Shows the text that is in force, with its generation as `ETag`.
pub(super) async fn text(editor: &Editor) -> Result<Answer, Problem> {
    let Export { generation, config, .. } = editor.show(None).await.map_err(refused_by_archive)?;
    Ok(tagged(answer(StatusCode::OK, "application/toml", Bytes::from(config)), generation))
}

/// Replaces the text, if it is still the one that the client has seen.
pub(super) async fn put(editor: &Editor, headers: &HeaderMap, query: &Query, body: Bytes) -> Result<Answer, Problem> {
    let based_on = based_on(headers)?;
    let text = text_of(body)?;
    edited(query, editor.put(who(query), based_on, text).await)
}

/// Lists what there is to go back to, the newest first.
pub(super) async fn versions(editor: &Editor) -> Result<Answer, Problem> {
    let history = editor.archive().history().await.map_err(refused_by_archive)?;
    Ok(json(StatusCode::OK, &history.into_iter().map(VersionView::from).collect::<Vec<_>>()))
}

/// Shows one generation, in the form that can be imported.
pub(super) async fn version(editor: &Editor, version: Version) -> Result<Answer, Problem> {
    let export = editor.show(version.number()).await.map_err(refused_by_archive)?;
    Ok(json(StatusCode::OK, &export))
}

/// Compares two.
pub(super) async fn diff(editor: &Editor, from: u64, to: Version) -> Result<Answer, Problem> {
    let difference = editor.compare(from, to.number()).await.map_err(refused_by_archive)?;
    Ok(json(StatusCode::OK, &difference))
}

/// Goes back to one.
pub(super) async fn rollback(editor: &Editor, number: u64, query: &Query) -> Result<Answer, Problem> {
    edited(query, editor.rollback(who(query), number).await)
}

/// Takes over what was exported.
pub(super) async fn import(editor: &Editor, query: &Query, body: Bytes) -> Result<Answer, Problem> {
    let export = serde_json::from_slice(&body)
        .map_err(|error| Problem::BadRequest(format!("the body is no export of a configuration: {error}")))?;
    edited(query, editor.import(who(query), export).await)
}

/// Sets a key: by the address, or by a body where the value is not for logs.
pub(super) async fn set(editor: &Editor, query: &Query, body: Bytes) -> Result<Answer, Problem> {
    let Setting { key, value } = if body.is_empty() {
        let value = query.given("value").ok_or_else(|| missing("value"))?.to_owned();
        Setting { key: key(query)?, value }
    } else {
        // What serde says may repeat the value.
        let wanted = "the body is not of the form {\"key\": \"limits.memory\", \"value\": \"128MiB\"}";
        serde_json::from_slice(&body).map_err(|_| Problem::BadRequest(wanted.to_owned()))?
    };
    edited(query, editor.set(who(query), key, Some(value)).await)
}

/// Removes a key.
pub(super) async fn unset(editor: &Editor, query: &Query) -> Result<Answer, Problem> {
    edited(query, editor.set(who(query), key(query)?, None).await)
}

/// Says whether a bot is started.
pub(super) async fn enable(editor: &Editor, bot: &str, is_enabled: bool, query: &Query) -> Result<Answer, Problem> {
    let bot = bot.parse().map_err(|error| Problem::Absent(format!("{error}")))?;
    edited(query, editor.enable(who(query), bot, is_enabled).await)
}

fn key(query: &Query) -> Result<String, Problem> {
    query.text("key").map(str::to_owned).ok_or_else(|| missing("key"))
}

fn missing(name: &str) -> Problem {
    Problem::BadRequest(format!("`{name}` is missing"))
}

fn who(query: &Query) -> Who {
    let text = |key, default: &str| query.text(key).unwrap_or(default).to_owned();
    Who { author: text("author", AUTHOR), reason: text("reason", "") }
}

fn text_of(body: Bytes) -> Result<String, Problem> {
    String::from_utf8(body.into()).map_err(|_| Problem::BadRequest("the body is not UTF-8".to_owned()))
}

/// Returns the generation that a client has seen. None: it does not care.
fn based_on(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let given = headers.get(IF_MATCH).ok_or(Problem::PreconditionRequired)?;
    if given == "*" {
        return Ok(None);
    }
    let tag = given.to_str().ok().and_then(|tag| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok());
    let unknown =
        || Problem::PreconditionFailed("`If-Match` is none of this host's tags: GET the configuration".into());
    tag.map(Some).ok_or_else(unknown)
}

fn edited(query: &Query, outcome: Result<Reloaded, EditError>) -> Result<Answer, Problem> {
    let Reloaded { generation, steps, needs_restart, .. } = outcome.map_err(|error| refused(query, error))?;
    Ok(tagged(json(StatusCode::OK, &EditView { generation, steps, needs_restart }), generation))
}

fn tagged(mut answer: Answer, generation: u64) -> Answer {
    if let Ok(tag) = HeaderValue::try_from(format!("\"{generation}\"")) {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer
}

fn refused(query: &Query, error: EditError) -> Problem {
    let (said, Who { author, reason }) = (chain(&error), who(query));
    tracing::info!(author, reason, error = said, "an edit of the configuration was refused");
    match error {
        EditError::Overtaken { .. } => Problem::PreconditionFailed(said),
        EditError::Invalid(_) | EditError::Key(_) | EditError::UnknownSecret { .. } => Problem::Unprocessable(said),
        EditError::NoBot { .. } => Problem::Absent(said),
        EditError::NoComponent { .. } | EditError::Rejected { .. } => Problem::Conflict(said),
        EditError::NotReloaded(_) => Problem::Unavailable(said),
        EditError::Generation(error) => refused_by_archive(error),
    }
}

fn refused_by_archive(error: GenerationError) -> Problem {
    let said = chain(&error);
    match error {
        GenerationError::Absent { .. } => Problem::Absent(said),
        GenerationError::Damaged { .. } | GenerationError::Lost { .. } => Problem::Conflict(said),
        _ => {
            tracing::warn!(error = said, "the generations cannot be used");
            Problem::Unavailable(said)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_tag_of_this_host_says_what_was_seen() {
        let headers = |value: &'static str| HeaderMap::from_iter([(IF_MATCH, HeaderValue::from_static(value))]);
        assert_eq!(based_on(&headers("\"17\"")), Ok(Some(17)));
        assert_eq!(based_on(&headers("*")), Ok(None));
        assert_eq!(based_on(&HeaderMap::new()), Err(Problem::PreconditionRequired));
        for other in ["17", "W/\"17\"", "\"x\"", "\"17\", \"18\""] {
            assert!(matches!(based_on(&headers(other)), Err(Problem::PreconditionFailed(_))), "{other}");
        }
    }

    #[test]
    fn a_report_becomes_lines() {
        let step = |action: &str, detail: &str| ReloadStep {
            subject: "bot echo".to_owned(),
            action: action.to_owned(),
            detail: detail.to_owned(),
            elapsed_ms: 3,
        };
        let report = ReloadReport {
            generation: 7,
            steps: vec![step("serving", ""), step("refused", "why")],
            ..ReloadReport::default()
        };
        let reloaded = reloaded(report);
        assert_eq!(
            (reloaded.generation, reloaded.steps),
            (7, vec!["bot echo: serving".to_owned(), "bot echo: refused (why)".to_owned()])
        );
    }
}
