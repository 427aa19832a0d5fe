//! Carrying out what bots asked for on QQ.

use std::time::Duration;

use data_encoding::BASE64;
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::api::{Api, ApiError};
use super::refusal::{Class, classify};
use super::replies::{Replies, Seat};
use super::words::{Answerable, EMOJI_SYSTEM, EMOJI_UNICODE, Place, PlaceKind, escape};
use crate::action::{Act, Outgoing, TextFormat, Upload};
use crate::connector::deliveries::Task;
use crate::connector::text::{Measure, split};
use crate::connector::{DeliveryError, Receipt};

/// Longest text of one message. The platform does not say; this it takes.
const TEXT_MAX: Measure = Measure::Chars(2000);
/// What a part of a path may hold as it stands.
const PATH_PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');
/// How long the platform may take to hear that a button was pressed.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The way of an account's messages out.
#[derive(Debug)]
pub(super) struct Sender<'a> {
    pub(super) api: &'a Api,
    pub(super) replies: &'a Replies,
    /// The account may send markup.
    pub(super) may_markdown: bool,
}

/// What becomes one message of the platform.
#[derive(Debug)]
enum Part<'a> {
    Text(String),
    Markdown(String),
    File(&'a Upload),
}

impl Sender<'_> {
    /// Carries out one action.
    pub(super) async fn carry_out(&self, task: Task) -> Result<Receipt, DeliveryError> {
        let at = &task.action.at.id;
        let place: Place = at.parse().map_err(|error| DeliveryError::BadRequest(format!("`{at}`: {error}")))?;
        match task.action.act {
            Act::Send { message, .. } => self.send(&place, task.key, &message, task.timeout).await,
            Act::Edit { .. } => Err(DeliveryError::Unsupported("edit messages")),
            Act::Delete { target } => {
                let path = format!("{}/{}", messages(&place), part(&target));
                self.harmless(Method::DELETE, &path, task.timeout).await
            }
            Act::React { target, emoji } if place.kind == PlaceKind::Channel => {
                let (kind, id) = reaction(&emoji)?;
                let path = format!("{}/{}/reactions/{kind}/{id}", messages(&place), part(&target));
                self.harmless(Method::PUT, &path, task.timeout).await
            }
            Act::React { .. } => Err(DeliveryError::Unsupported("react outside of a guild's channels")),
        }
    }

    /// Does what does no harm when it is done twice: it is never uncertain.
    async fn harmless(&self, method: Method, path: &str, timeout: Duration) -> Result<Receipt, DeliveryError> {
        match self.api.call(method, path, None, timeout).await {
            Ok(_) => Ok(Receipt::default()),
            Err(error) => Err(classify(&error, true)),
        }
    }

    /// Sends a message, in as many of the platform's as it takes. The receipt names the first.
    async fn send(
        &self,
        place: &Place,
        key: u64,
        message: &Outgoing<String>,
        timeout: Duration,
    ) -> Result<Receipt, DeliveryError> {
        let parts = self.parts(place, message)?;
        let count = parts.len();
        let seats = self.replies.seats(place, key, count, message.reply_to.as_deref()).await?;
        let mut first_id = None;
        for (index, (part, seat)) in parts.iter().zip(&seats).enumerate() {
            match self.say(place, part, seat, timeout).await {
                Ok(id) if index == 0 => first_id = id,
                Ok(_) => {}
                // Tried again, what is there already would be there twice.
                Err(error) if index > 0 && !is_recognised(place, seat) => {
                    return Err(DeliveryError::Uncertain(format!("{index} of {count} parts are there, then: {error}")));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Receipt { platform_id: first_id })
    }

    fn parts<'a>(&self, place: &Place, message: &'a Outgoing<String>) -> Result<Vec<Part<'a>>, DeliveryError> {
        if !message.uploads.is_empty() && place.kind.is_of_guild() {
            return Err(DeliveryError::Unsupported("send files in guilds"));
        }
        // Keyboards need a permission that hardly any account has.
        let pieces = split(&message.text, TEXT_MAX);
        let is_markdown = self.may_markdown && message.format == TextFormat::Markdown;
        let text = |piece: String| match (is_markdown, place.kind.is_of_guild()) {
            (true, _) => Part::Markdown(piece),
            (false, true) => Part::Text(escape(&piece)),
            (false, false) => Part::Text(piece),
        };
        let parts: Vec<_> = pieces.into_iter().map(text).chain(message.uploads.iter().map(Part::File)).collect();
        if parts.is_empty() { Err(DeliveryError::BadRequest("a message without text".to_owned())) } else { Ok(parts) }
    }

    /// Sends one part. Returns the id of the message, where the platform says it.
    async fn say(
        &self,
        place: &Place,
        part: &Part<'_>,
        seat: &Seat,
        timeout: Duration,
    ) -> Result<Option<String>, DeliveryError> {
        let mut body = match part {
            Part::Text(text) => json!({"content": text, "msg_type": 0}),
            Part::Markdown(text) => json!({"markdown": {"content": text}, "msg_type": 2}),
            Part::File(upload) => {
                let file_info = self.upload(place, upload, timeout).await?;
                json!({"media": {"file_info": file_info}, "msg_type": 7})
            }
        };
        match &seat.answers {
            Answerable::Message(id) => body["msg_id"] = json!(id),
            Answerable::Event(id) => body["event_id"] = json!(id),
        }
        if !place.kind.is_of_guild() {
            body["msg_seq"] = json!(seat.seq);
        }
        let sent = self.api.call(Method::POST, &messages(place), Some(&body), timeout).await;
        match sent.map_err(|error| (error.class(), error)) {
            Ok(sent) => Ok(sent["id"].as_str().map(str::to_owned)),
            // A person looks at it first; what came of it is told by an event.
            Err((Some(Class::Accepted), _)) => Ok(None),
            Err((Some(Class::Duplicate), _)) if seat.is_again => Ok(None),
            Err((Some(Class::Duplicate), error)) => {
                self.replies.lost(place, seat).await?;
                Err(DeliveryError::Retryable(format!("somebody else answers with this account: {error}")))
            }
            Err((_, error)) => Err(classify(&error, is_recognised(place, seat))),
        }
    }

    /// Gives the platform a file, and returns what it calls it. No message comes of it.
    async fn upload(&self, place: &Place, upload: &Upload, timeout: Duration) -> Result<Value, DeliveryError> {
        let mut body = json!({
            "file_type": file_type(&upload.media_type),
            "file_data": BASE64.encode(&upload.content),
            "srv_send_msg": false,
        });
        if file_type(&upload.media_type) == FILE {
            body["file_name"] = json!(upload.name);
        }
        let path = format!("{}/files", at(place));
        let given = self.api.call(Method::POST, &path, Some(&body), timeout).await;
        match given.map_err(|error| classify(&error, true))?.get("file_info") {
            Some(info) => Ok(info.clone()),
            None => Err(DeliveryError::Retryable("the platform took a file and gave it no name".to_owned())),
        }
    }

    /// Says that a pressed button has arrived, or the person sees it fail. Best effort.
    pub(super) async fn acknowledge(&self, interaction: &str) {
        let path = format!("/interactions/{}", part(interaction));
        let said: Result<_, ApiError> =
            self.api.call(Method::PUT, &path, Some(&json!({"code": 0})), ACKNOWLEDGE_TIMEOUT).await;
        if let Err(error) = said {
            tracing::debug!(%error, "cannot say that a pressed button has arrived");
        }
    }
}

/// Returns whether the platform recognises a second try by its number.
fn is_recognised(place: &Place, seat: &Seat) -> bool {
    !place.kind.is_of_guild() && matches!(seat.answers, Answerable::Message(_))
}

fn part(id: &str) -> String {
    utf8_percent_encode(id, PATH_PART).to_string()
}

fn at(place: &Place) -> String {
    let prefix = match place.kind {
        PlaceKind::C2c => "/v2/users",
        PlaceKind::Group => "/v2/groups",
        PlaceKind::Channel => "/channels",
        PlaceKind::Dm => "/dms",
    };
    format!("{prefix}/{}", part(&place.id))
}

fn messages(place: &Place) -> String {
    format!("{}/messages", at(place))
}

/// What is neither an image nor a video nor a voice.
const FILE: u64 = 4;

fn file_type(media_type: &str) -> u64 {
    match media_type.split('/').next() {
        Some("image") => 1,
        Some("video") => 2,
        Some("audio") => 3,
        _ => FILE,
    }
}

/// Returns the kind and the id of a reaction: a character, or one of the platform's own as an event names it.
fn reaction(emoji: &str) -> Result<(u64, String), DeliveryError> {
    let own = emoji.split_once(':').filter(|(kind, id)| *kind == "1" && id.bytes().all(|byte| byte.is_ascii_digit()));
    if let Some((_, id)) = own.filter(|(_, id)| !id.is_empty()) {
        return Ok((EMOJI_SYSTEM, id.to_owned()));
    }
    let mut characters = emoji.chars().filter(|c| *c != '\u{fe0f}');
    match (characters.next(), characters.next()) {
        (Some(character), None) => Ok((EMOJI_UNICODE, u32::from(character).to_string())),
        _ => Err(DeliveryError::BadRequest(format!("`{emoji}` is no reaction: one character, or 1:NUMBER"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reaction_is_one_character_or_one_of_the_platforms_own() {
        assert_eq!(reaction("😀").unwrap(), (2, "128512".to_owned()));
        assert_eq!(reaction("❤️").unwrap(), (2, "10084".to_owned()));
        assert_eq!(reaction("1:4").unwrap(), (1, "4".to_owned()));
        for bad in ["", "ab", "1:", "1:x", "2:4"] {
            assert!(matches!(reaction(bad), Err(DeliveryError::BadRequest(_))), "{bad}");
        }
    }

    #[test]
    fn no_id_leaves_its_place_in_a_path() {
        let place: Place = "c2c:../../v2/groups/x?y#z".parse().unwrap();
        assert_eq!(messages(&place), "/v2/users/%2E%2E%2F%2E%2E%2Fv2%2Fgroups%2Fx%3Fy%23z/messages");
    }
}
