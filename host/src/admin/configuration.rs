//! `/api/v1/config`: what is in force and was, without its secrets, and the operator's edits of it.

use http::header::IF_MATCH;
use http::{HeaderMap, StatusCode};
use hyper::body::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::ask::Ask;
use super::endpoint::{Access, Answers, Endpoint, Listing, Reads, Tagged};
use super::parameter::{AUTHOR, EDIT, Kind, Parameter, REASON};
use super::problem::{Answer, Problem, answer, chain, tagged};
use crate::access::{Role, Way};
use crate::generation::{
    Archive, Difference, EditError, Editor, Export, GenerationError, Reloaded, RentalError, Summary, Who,
};
use crate::supervisor::{Control, ReloadReport, ReloadStep};

/// Who edits where nobody says so.
const AUTHOR_OF_PROGRAMS: &str = "admin";

/// One generation in a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
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
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Setting {
    /// With dots, such as `limits.memory`.
    key: String,
    /// As TOML; what is none is a text.
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

/// What a body with one text of a configuration may have: as much as the file.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// What an exported generation may have, which holds the texts of all bots.
const EXPORT_BYTES_MAX: usize = 4 << 20;

pub(super) fn endpoints() -> Vec<Endpoint> {
    const KEY: Parameter = Parameter::new("key", Kind::Text, "with dots, such as `limits.memory`");
    const VALUE: Parameter = Parameter::new("value", Kind::Text, "as TOML; a secret is better sent in a body");
    const SET: &[Parameter] = &[KEY, VALUE, AUTHOR, REASON];
    const UNSET: &[Parameter] = &[KEY.required(), AUTHOR, REASON];
    let (look, act) = (Access::Host(Role::Viewer), Access::Host(Role::Admin));
    let toml =
        Reads::Whole { media_type: "application/toml", schema: None, bytes_max: TEXT_BYTES_MAX, is_required: true };
    let setting = Reads::Whole {
        media_type: "application/json",
        schema: Some(schemars::SchemaGenerator::subschema_for::<Setting>),
        bytes_max: TEXT_BYTES_MAX,
        is_required: false,
    };
    let enable = |path, summary, is_enabled| {
        Endpoint::post(path, Access::Bot(Role::Operator), summary)
            .takes(EDIT)
            .tagged(move |api, ask| async move { enable(&api, &ask, is_enabled).await })
    };
    vec![
        Endpoint::get("/api/v1/config", look, "the text in force, without its secrets")
            .raw(Answers::Text("application/toml"), async |api, _| text(&api).await),
        Endpoint::put("/api/v1/config", act, "another text; `If-Match` names the one that was seen")
            .takes(EDIT)
            .reads(toml)
            .tagged(async |api, ask| put(&api, &ask).await),
        Endpoint::get("/api/v1/config/versions", look, "the generations, the newest first")
            .list(async |api, _| versions(&api).await.map(Listing::whole)),
        Endpoint::get("/api/v1/config/versions/{version}", look, "one of them, or `latest`")
            .json(async |api, ask| version(&api, &ask).await),
        Endpoint::get("/api/v1/config/versions/{version}/export", look, "in the form that can be imported")
            .json(async |api, ask| version(&api, &ask).await),
        Endpoint::get("/api/v1/config/versions/{version}/diff/{other}", look, "what differs between two")
            .json(async |api, ask| diff(&api, &ask).await),
        Endpoint::post("/api/v1/config/versions/{version}/rollback", act, "goes back to one")
            .takes(EDIT)
            .tagged(async |api, ask| rollback(&api, &ask).await),
        Endpoint::post("/api/v1/config/import", act, "takes over what was exported")
            .takes(EDIT)
            .reads_json::<Export>(EXPORT_BYTES_MAX)
            .tagged(async |api, ask| import(&api, &ask).await),
        Endpoint::post("/api/v1/config/set", act, "one key; it and its value may also be a body of JSON")
            .takes(SET)
            .reads(setting)
            .tagged(async |api, ask| set(&api, &ask).await),
        Endpoint::post("/api/v1/config/unset", act, "removes a key")
            .takes(UNSET)
            .tagged(async |api, ask| unset(&api, &ask).await),
        enable("/api/v1/bots/{bot}/enable", "switches a bot on in the configuration", true),
        enable("/api/v1/bots/{bot}/disable", "switches a bot off in the configuration", false),
    ]
}

/// Shows the text that is in force, with its generation as `ETag`.
async fn text(api: &Api) -> Result<Answer, Problem> {
    let Export { generation, config, .. } = shown(api, None).await?;
    Ok(tagged(answer(StatusCode::OK, "application/toml", Bytes::from(config)), generation))
}

/// Shows a generation; none: the latest.
pub(super) async fn shown(api: &Api, number: Option<u64>) -> Result<Export, Problem> {
    api.sources.editor.show(number).await.map_err(refused_by_archive)
}

/// Replaces the text, if it is still the one that the client has seen.
async fn put(api: &Api, ask: &Ask) -> Result<Tagged<EditView>, Problem> {
    let based_on = based_on(&ask.headers)?;
    let text = text_of(ask.body.clone())?;
    edited(ask, api.sources.editor.put(who(ask), based_on, text).await)
}

/// Lists what there is to go back to, the newest first.
pub(super) async fn versions(api: &Api) -> Result<Vec<VersionView>, Problem> {
    let history = api.sources.editor.archive().history().await.map_err(refused_by_archive)?;
    Ok(history.into_iter().map(VersionView::from).collect())
}

/// Shows one generation, in the form that can be imported.
async fn version(api: &Api, ask: &Ask) -> Result<Export, Problem> {
    shown(api, number_or_latest(ask, "version")?).await
}

/// Compares two.
async fn diff(api: &Api, ask: &Ask) -> Result<Difference, Problem> {
    let (from, to) = (number(ask, "version")?, number_or_latest(ask, "other")?);
    compared(api, from, to).await
}

/// Compares two generations; none: the latest.
pub(super) async fn compared(api: &Api, from: u64, to: Option<u64>) -> Result<Difference, Problem> {
    api.sources.editor.compare(from, to).await.map_err(refused_by_archive)
}

/// Goes back to one.
pub(super) async fn rollback(api: &Api, ask: &Ask) -> Result<Tagged<EditView>, Problem> {
    let number = number(ask, "version")?;
    edited(ask, api.sources.editor.rollback(who(ask), number).await)
}

/// Takes over what was exported.
async fn import(api: &Api, ask: &Ask) -> Result<Tagged<EditView>, Problem> {
    let export = serde_json::from_slice(&ask.body)
        .map_err(|error| Problem::BadRequest(format!("the body is no export of a configuration: {error}")))?;
    edited(ask, api.sources.editor.import(who(ask), export).await)
}

/// Sets a key: by the address, or by a body where the value is not for logs.
async fn set(api: &Api, ask: &Ask) -> Result<Tagged<EditView>, Problem> {
    let Setting { key, value } = if ask.body.is_empty() {
        let value = ask.query.given("value").ok_or_else(|| missing("value"))?.to_owned();
        Setting { key: key(ask)?, value }
    } else {
        // What serde says may repeat the value.
        let wanted = "the body is not of the form {\"key\": \"limits.memory\", \"value\": \"128MiB\"}";
        serde_json::from_slice(&ask.body).map_err(|_| Problem::BadRequest(wanted.to_owned()))?
    };
    edited(ask, api.sources.editor.set(who(ask), key, Some(value)).await)
}

/// Removes a key.
async fn unset(api: &Api, ask: &Ask) -> Result<Tagged<EditView>, Problem> {
    let key = key(ask)?;
    edited(ask, api.sources.editor.set(who(ask), key, None).await)
}

/// Says whether a bot is started.
pub(super) async fn enable(api: &Api, ask: &Ask, is_enabled: bool) -> Result<Tagged<EditView>, Problem> {
    let bot = ask.part("bot").parse().map_err(|error| Problem::Absent(format!("{error}")))?;
    edited(ask, api.sources.editor.enable(who(ask), bot, is_enabled).await)
}

fn number(ask: &Ask, part: &str) -> Result<u64, Problem> {
    ask.number(part, "a generation is named by a whole number; GET /api/v1/config/versions lists them")
}

/// Returns a generation that the path names; none: the latest.
fn number_or_latest(ask: &Ask, part: &str) -> Result<Option<u64>, Problem> {
    if ask.part(part) == "latest" { Ok(None) } else { number(ask, part).map(Some) }
}

fn key(ask: &Ask) -> Result<String, Problem> {
    ask.query.text("key").map(str::to_owned).ok_or_else(|| missing("key"))
}

fn missing(name: &str) -> Problem {
    Problem::Unprocessable(format!("`{name}` is missing"))
}

/// Returns who edits, and why. A program may say for whom it does; who signed in speaks for himself.
pub(super) fn who(ask: &Ask) -> Who {
    let caller = ask.caller();
    let author = match caller.way {
        Way::Session => &*caller.name,
        Way::Socket | Way::Token => ask.query.text("author").unwrap_or(AUTHOR_OF_PROGRAMS),
    };
    Who { author: author.to_owned(), reason: ask.query.text("reason").unwrap_or_default().to_owned() }
}

fn text_of(body: Bytes) -> Result<String, Problem> {
    String::from_utf8(body.into()).map_err(|_| Problem::BadRequest("the body is not UTF-8".to_owned()))
}

/// Returns the generation that a client has seen. None: it does not care.
pub(super) fn based_on(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let given = headers.get(IF_MATCH).ok_or(Problem::PreconditionRequired)?;
    if given == "*" {
        return Ok(None);
    }
    let tag = given.to_str().ok().and_then(|tag| tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok());
    let unknown =
        || Problem::PreconditionFailed("`If-Match` is none of this host's tags: GET the configuration".into());
    tag.map(Some).ok_or_else(unknown)
}

/// Returns what came of an edit.
pub(super) fn edited(ask: &Ask, outcome: Result<Reloaded, EditError>) -> Result<Tagged<EditView>, Problem> {
    let Reloaded { generation, steps, needs_restart, .. } = outcome.map_err(|error| refused(ask, error))?;
    Ok(Tagged { view: EditView { generation, steps, needs_restart }, generation })
}

pub(super) fn refused(ask: &Ask, error: EditError) -> Problem {
    let (said, Who { author, reason }) = (chain(&error), who(ask));
    tracing::info!(author, reason, error = said, "an edit of the configuration was refused");
    match error {
        EditError::Overtaken { .. } => Problem::PreconditionFailed(said),
        EditError::Invalid(_) | EditError::Key(_) | EditError::UnknownSecret { .. } => Problem::Unprocessable(said),
        EditError::NoBot { .. } => Problem::Absent(said),
        EditError::Rental(RentalError::TooMany { .. } | RentalError::Taken | RentalError::NotRented(_)) => {
            Problem::Conflict(said)
        }
        EditError::Rental(RentalError::NoOffer { .. }) => Problem::Absent(said),
        EditError::Rental(_) => Problem::Unprocessable(said),
        EditError::NoComponent { .. } | EditError::InUse { .. } | EditError::Rejected { .. } => Problem::Conflict(said),
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
    use http::HeaderValue;

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
