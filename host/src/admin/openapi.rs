//! `/api/openapi.json`: the description of the API, made from the list of endpoints and from the types that they answer with.

use std::sync::OnceLock;

use http::StatusCode;
use hyper::body::Bytes;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::endpoint::{Access, Answers, Endpoint, Reads, SchemaOf};
use super::parameter::{NAME, Parameter};
use super::problem::{ProblemView, answer};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/openapi.json", Access::Anybody, "this description")
            .raw(Answers::Json(SchemaGenerator::subschema_for::<Map<String, Value>>), async |_, _| {
                Ok(answer(StatusCode::OK, "application/json", Bytes::from_static(document().as_bytes())))
            }),
    ]
}

/// Returns the description. It is the same for as long as the process lives.
fn document() -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    DOCUMENT.get_or_init(|| describe(&super::api::endpoints()).to_string())
}

/// Returns the OpenAPI 3.1 document of these endpoints; pages are no part of it.
pub(super) fn describe(endpoints: &[Endpoint]) -> Value {
    // Answers may gain members, and say so by forbidding none.
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let problem = schemas.subschema_for::<ProblemView>().to_value();
    let mut paths = Map::new();
    for endpoint in endpoints.iter().filter(|endpoint| !endpoint.is_page()) {
        let operation = operation(endpoint, &mut schemas);
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.as_str().to_ascii_lowercase()] = operation;
    }
    let definitions = schemas.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "bothost",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "One process that hosts many untrusted bots. Listings are arrays; where one goes on, the header `Link` \
                            names the next piece (`rel=\"next\"`). What is refused is a problem of RFC 9457.",
        },
        "security": [{ "token": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "responses": {
                "problem": {
                    "description": "why not",
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "session": { "type": "apiKey", "in": "cookie", "name": "bothost_session" },
            },
        },
    })
}

fn operation(endpoint: &Endpoint, schemas: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    let success = success(endpoint.answers, schemas);
    responses.insert(endpoint.status.as_u16().to_string(), success.clone());
    if endpoint.path == "/health" || endpoint.path == "/health/ready" {
        responses.insert("503".to_owned(), success);
    }
    responses.insert("default".to_owned(), json!({ "$ref": "#/components/responses/problem" }));
    let mut operation = json!({
        "summary": endpoint.summary,
        "operationId": operation_id(endpoint),
        "tags": [tag(endpoint.path)],
        "description": needs(endpoint.access),
        "parameters": parameters(endpoint),
        "responses": responses,
    });
    if endpoint.access == Access::Anybody {
        operation["security"] = json!([]);
    }
    match endpoint.reads {
        Reads::Nothing => {}
        Reads::Stream { media_type } => {
            operation["requestBody"] = json!({ "required": true, "content": { media_type: {} } });
        }
        Reads::Whole { media_type, schema, is_required, .. } => {
            let schema = schema.map_or_else(|| json!({ "type": "string" }), |of| of(schemas).to_value());
            operation["requestBody"] =
                json!({ "required": is_required, "content": { media_type: { "schema": schema } } });
        }
    }
    operation
}

fn success(answers: Answers, schemas: &mut SchemaGenerator) -> Value {
    let mut json_of = |of: SchemaOf| json!({ "schema": of(schemas).to_value() });
    let content = match answers {
        Answers::Json(of) => json!({ "application/json": json_of(of) }),
        Answers::Text(media_type @ "text/event-stream") => json!({ media_type: {} }),
        Answers::Text(media_type) => json!({ media_type: { "schema": { "type": "string" } } }),
        Answers::JsonOrEvents(of) => json!({
            "application/json": json_of(of),
            "text/event-stream": {},
        }),
        Answers::Page | Answers::Nothing => return json!({ "description": "done" }),
    };
    json!({ "description": "done", "content": content })
}

fn needs(access: Access) -> String {
    match access {
        Access::Anybody => "Open to all.".to_owned(),
        Access::SignedIn => "For everybody who is let in.".to_owned(),
        Access::Host(role) => format!("Takes the role `{role}` for the whole host."),
        Access::Tenant(role) => format!("Takes the role `{role}`; a tenant is shown what is its own."),
        Access::Bot(role) => format!("Takes the role `{role}`; a tenant may with its own bots."),
    }
}

fn parameters(endpoint: &Endpoint) -> Vec<Value> {
    let in_path = endpoint.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path =
        in_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": part_of_path(name) }));
    let query = |parameter: &Parameter| {
        json!({
            "name": parameter.name, "in": "query", "required": parameter.is_required,
            "description": parameter.about, "schema": parameter.schema(),
        })
    };
    in_path.chain(endpoint.parameters.unwrap_or_default().iter().map(query)).collect()
}

/// Returns the schema of a part of a path.
fn part_of_path(name: &str) -> Value {
    let pattern = match name {
        "event" => "^[0-9a-f]{32}$",
        "alert" | "error" => "^[0-9a-f]{12}$",
        "send" | "number" => "^[0-9]{1,18}$",
        "version" | "other" => "^[1-9][0-9]{0,17}$",
        "file" => "^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}\\.wasm$",
        _ => NAME,
    };
    json!({ "type": "string", "pattern": pattern })
}

/// Returns a name for an operation that generated clients can use: `post-bots-bot-start`.
fn operation_id(endpoint: &Endpoint) -> String {
    let path = endpoint.path.trim_start_matches("/api/v1").trim_start_matches('/');
    let words = path.split(['/', '.']).map(|word| word.trim_matches(['{', '}']));
    let words: Vec<_> =
        [endpoint.method.as_str().to_ascii_lowercase().as_str()].into_iter().chain(words).map(str::to_owned).collect();
    words.join("-")
}

fn tag(path: &str) -> &str {
    let path = path.strip_prefix("/api/v1/").unwrap_or(path.trim_start_matches('/'));
    path.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn described() -> Value {
        describe(&crate::admin::api::endpoints())
    }

    #[test]
    fn every_endpoint_of_the_api_is_described_under_a_name_of_its_own() {
        let document = described();
        let mut names = BTreeSet::new();
        for endpoint in crate::admin::api::endpoints().iter().filter(|endpoint| !endpoint.is_page()) {
            let method = endpoint.method.as_str().to_ascii_lowercase();
            let operation = &document["paths"][endpoint.path][&method];
            let name = operation["operationId"].as_str().unwrap_or_else(|| panic!("{endpoint:?} is not described"));
            assert!(names.insert(name.to_owned()), "{name} is there twice");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = described();
        let text = document.to_string();
        let mut rest = text.as_str();
        let mut found = 0;
        while let Some(at) = rest.find("\"$ref\":\"#") {
            rest = &rest[at + "\"$ref\":\"#".len()..];
            let pointer = &rest[..rest.find('"').unwrap()];
            assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
            found += 1;
        }
        assert!(found > 50, "{found}");
    }
}
