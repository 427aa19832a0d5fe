//! `/api/v1/components`: what lies in the bots' directory, and what the operator sends there. A component is judged by the same gate as
//! one that is copied there, before it is put in place: one that is not good changes nothing.

use std::sync::PoisonError;

use axum::body::Body;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::ask::Ask;
use super::configuration::{EditView, edited, who};
use super::endpoint::{Access, Endpoint, Listing, Reads, Tagged};
use super::parameter::EDIT;
use super::places::place;
use super::problem::{Problem, chain};
use super::rentals::optional_match;
use crate::access::Role;
use crate::bot::manifest::ComponentName;
use crate::generation::{EditError, Placing};
use crate::supervisor::{InspectError, Judged, Shelved};

/// Tries to put a component in place whose kept content may be let go by what comes into force meanwhile.
const TRIES_MAX: usize = 3;

/// One component of the bots' directory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ComponentView {
    /// Its file.
    pub file: String,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: Option<String>,
    /// How many bytes it has.
    pub bytes: u64,
    /// Why it is of no use, where it is not.
    pub problem: Option<String>,
    /// The bots that use it.
    pub bots: Vec<String>,
    /// The offers that name it.
    pub offers: Vec<String>,
}

/// What came of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct UploadView {
    /// Its file.
    file: String,
    /// SHA-256 of its content, in hexadecimal.
    sha256: String,
    /// How many bytes it has.
    bytes: u64,
    /// What it calls itself.
    name: String,
    /// The version that it names.
    version: String,
    /// What it imports.
    imports: Vec<String>,
    /// The bots that use it.
    bots: Vec<String>,
    /// Those of them that are served by it now.
    serving: Vec<String>,
    /// What was done.
    #[serde(flatten)]
    edit: EditView,
}

impl From<Shelved> for ComponentView {
    fn from(shelved: Shelved) -> Self {
        let Shelved { file, component, bots, offers } = shelved;
        let (sha256, bytes, problem) = match component {
            Ok(component) => (Some(component.hash.to_string()), component.len, None),
            Err(problem) => (None, 0, Some(chain(&problem))),
        };
        Self { file, sha256, bytes, problem, bots: bots.iter().map(ToString::to_string).collect(), offers }
    }
}

impl From<InspectError> for Problem {
    fn from(error: InspectError) -> Self {
        let said = error.to_string();
        match error {
            InspectError::Bad(_) => Self::Unprocessable(said),
            InspectError::Absent(_) => Self::Absent(said),
            InspectError::Stopping => Self::Unavailable(said),
        }
    }
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    let act = Access::Host(Role::Admin);
    vec![
        Endpoint::get("/api/v1/components", Access::Host(Role::Viewer), "what lies in the bots' directory")
            .list(async |api, _| list(&api).await.map(Listing::whole)),
        Endpoint::put("/api/v1/components/{file}", act, "puts a component there, once it is known to be good")
            .takes(EDIT)
            .reads(Reads::Stream { media_type: "application/wasm" })
            .tagged(async |api, ask| put(&api, &ask).await),
        Endpoint::delete("/api/v1/components/{file}", act, "removes a component that no bot and no offer needs")
            .takes(EDIT)
            .tagged(async |api, ask| place(&api, &ask, Placing::NoComponent(file(&ask)?)).await),
    ]
}

/// Lists them.
pub(super) async fn list(api: &Api) -> Result<Vec<ComponentView>, Problem> {
    let inspector = api.sources.control.inspector().await?;
    Ok(inspector.components().into_iter().map(ComponentView::from).collect())
}

fn file(ask: &Ask) -> Result<ComponentName, Problem> {
    let file: ComponentName = ask.part("file").parse().map_err(|error| Problem::BadRequest(format!("{error}")))?;
    // The directory is by bots' names.
    let stem = file.as_str().trim_end_matches(".wasm").parse::<crate::id::BotName>();
    stem.map(|_| file).map_err(|error| Problem::BadRequest(error.to_string()))
}

async fn put(api: &Api, ask: &Ask) -> Result<Tagged<UploadView>, Problem> {
    let file = file(ask)?;
    let inspector = api.sources.control.inspector().await?;
    let body = ask
        .stream
        .as_ref()
        .map(|body| std::mem::replace(&mut *body.lock().unwrap_or_else(PoisonError::into_inner), Body::empty()));
    let body = body.unwrap_or_default();
    let received = api.uploads.receive(&inspector.data_dir(), inspector.component_bytes_max(), body).await?;
    let component = received.component.clone();
    let Judged { manifest, imports, users } = inspector.judge(&file, component.clone()).await?;
    let editor = &api.sources.editor;
    let mut tries = 0;
    let outcome = loop {
        tries += 1;
        if let Err(error) = editor.archive().pin(&component).await {
            break Err(error.into());
        }
        let what = Placing::Component(file.clone(), component.hash);
        match editor.place(who(ask), optional_match(ask)?, what).await {
            Err(EditError::NoComponent { .. }) if tries < TRIES_MAX => {}
            outcome => break outcome,
        }
    };
    let Tagged { view: edit, generation } = edited(ask, outcome)?;
    let is_serving = |bot: &&crate::id::BotName| {
        let status = api.sources.bots.get(bot);
        status.is_some_and(|status| status.component == Some(component.hash) && status.phase.is_serving())
    };
    let view = UploadView {
        file: file.to_string(),
        sha256: component.hash.to_string(),
        bytes: component.len,
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        imports,
        serving: users.iter().filter(is_serving).map(ToString::to_string).collect(),
        bots: users.iter().map(ToString::to_string).collect(),
        edit,
    };
    Ok(Tagged { view, generation })
}
