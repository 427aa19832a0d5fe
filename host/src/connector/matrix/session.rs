//! Signing in. A token that came of a password is kept, with its device, from one process to the next: homeservers let one sign in a
//! few times an hour, and remember transactions by device.

use std::time::Duration;

use http::Method;
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Login;
use super::api::{Api, CLIENT, Session};
use super::error::{ApiError, of_connection};
use crate::connector::Memory;
use crate::connector::link::End;
use crate::secret::Secret;

/// How long each call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The name of what is kept.
const KEPT: &str = "session";

/// What is kept of a session. Of no use to whoever configured another user or device.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The user and the device of the configuration.
    login: (String, Option<String>),
    device_id: Option<String>,
    token: String,
}

/// Finds out whether a homeserver is there.
pub(super) async fn greet(api: &Api) -> Result<(), End> {
    let path = "/_matrix/client/versions";
    let answer = api.call(Method::GET, path, None, Bytes::new(), None, CALL_TIMEOUT).await;
    answer.map(|_| ()).map_err(End::lost)
}

/// Signs in, has everybody act as whom the homeserver says we are, and returns our id.
pub(super) async fn sign_in(api: &Api, login: &Login, memory: &Memory) -> Result<String, End> {
    let session = match login {
        Login::Token(token) => who_is(api, token.clone(), false).await,
        Login::Password { user, password, device_id } => {
            let asked = (user.clone(), device_id.clone());
            match resume(api, &asked, memory).await {
                Ok(Resumed::Session(session)) => Ok(session),
                Ok(Resumed::Device(device_id)) => log_in(api, &asked, password, device_id, memory).await,
                Err(error) => Err(error),
            }
        }
    };
    let session = session.map_err(|error| of_connection(&error))?;
    let me = session.user_id.clone();
    api.become_one(Some(session));
    Ok(me)
}

/// What is left of an earlier sign-in.
enum Resumed {
    Session(Session),
    /// The device at the most.
    Device(Option<String>),
}

async fn resume(api: &Api, asked: &(String, Option<String>), memory: &Memory) -> Result<Resumed, ApiError> {
    let kept = memory.get(KEPT).await.and_then(|kept| serde_json::from_str::<Kept>(&kept).ok());
    let Some(kept) = kept.filter(|kept| kept.login == *asked) else { return Ok(Resumed::Device(asked.1.clone())) };
    match who_is(api, Secret::new(kept.token), true).await {
        Ok(session) => Ok(Resumed::Session(session)),
        Err(error) if error.is_signed_out() => Ok(Resumed::Device(asked.1.clone().or(kept.device_id))),
        Err(error) => Err(error),
    }
}

/// Asks whose token this is.
pub(super) async fn who_is(api: &Api, token: Secret, is_renewable: bool) -> Result<Session, ApiError> {
    let path = format!("{CLIENT}/account/whoami");
    let answer = api.call(Method::GET, &path, Some(&token), Bytes::new(), None, CALL_TIMEOUT).await?;
    session(&answer, token, is_renewable)
}

/// Signs in with a password, as this device or a new one.
async fn log_in(
    api: &Api,
    asked: &(String, Option<String>),
    password: &Secret,
    device_id: Option<String>,
    memory: &Memory,
) -> Result<Session, ApiError> {
    let mut body = json!({
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": asked.0},
        "password": password.expose(),
        "initial_device_display_name": "bothost",
    });
    if let Some(device_id) = device_id {
        body["device_id"] = json!(device_id);
    }
    let path = format!("{CLIENT}/login");
    let answer = api.call(Method::POST, &path, None, body.to_string().into(), None, CALL_TIMEOUT).await?;
    let token = answer["access_token"].as_str().ok_or(ApiError::Unreadable(200))?;
    let session = session(&answer, Secret::new(token), true)?;
    let kept = Kept { login: asked.clone(), device_id: session.device_id.clone(), token: token.to_owned() };
    // What cannot be kept costs another sign-in.
    if let Ok(kept) = serde_json::to_string(&kept) {
        memory.try_put(KEPT, kept, None).await;
    }
    Ok(session)
}

fn session(answer: &Value, token: Secret, is_renewable: bool) -> Result<Session, ApiError> {
    let text = |key: &str| answer[key].as_str().map(str::to_owned);
    let user_id = text("user_id").ok_or(ApiError::Unreadable(200))?;
    Ok(Session { user_id, device_id: text("device_id"), token, is_renewable })
}
