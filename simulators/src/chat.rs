//! One person in one conversation with a bot, whatever the simulated platform: what an author needs, and a test that has the same bot
//! on all of them.

use serde_json::{Value, json};

use crate::discord::Discord;
use crate::onebot::OneBot;
use crate::qq::Qq;
use crate::slack::Slack;
use crate::telegram::Telegram;

/// The platforms that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Kind {
    Discord,
    OneBot,
    Qq,
    Slack,
    Telegram,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Discord, Self::OneBot, Self::Qq, Self::Slack, Self::Telegram];

    /// Returns its name, which is the `type` of its connector.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discord => "discord",
            Self::OneBot => "onebot",
            Self::Qq => "qq",
            Self::Slack => "slack",
            Self::Telegram => "telegram",
        }
    }
}

/// What the bot said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Its text.
    pub text: String,
    /// The buttons below it: what people read, and what comes back. Empty where the platform has none.
    pub buttons: Vec<(String, String)>,
    /// The platform's id of it.
    id: String,
}

/// A person who talks with a bot, and the platform between them. Ends when dropped.
#[derive(Debug)]
pub struct Chat(Platform);

#[derive(Debug)]
enum Platform {
    Discord(Discord),
    OneBot(OneBot),
    Qq(Qq),
    Slack(Slack),
    Telegram(Telegram),
}

const CHAT: i64 = 7;
const USER: &str = "7";
const CHANNEL: &str = "1000";
const SLACK_CHANNEL: &str = "D1";
const SLACK_USER: &str = "U7";
const QQ_PLACE: &str = "c2c:ANN";
const TOKEN: &str = "42:simulated";

impl Chat {
    /// Starts a platform with a bot that nobody has connected yet.
    pub async fn start(kind: Kind) -> Self {
        Self(match kind {
            Kind::Discord => Platform::Discord(Discord::start(TOKEN).await),
            Kind::OneBot => Platform::OneBot(OneBot::listen(None).await),
            Kind::Qq => Platform::Qq(Qq::start("1000", "simulated").await),
            Kind::Slack => Platform::Slack(Slack::start().await),
            Kind::Telegram => Platform::Telegram(Telegram::start(TOKEN).await),
        })
    }

    /// Returns the keys of a connector's table, `type` included, as lines of TOML.
    pub fn table(&self) -> String {
        match &self.0 {
            Platform::Discord(discord) => {
                format!("type = \"discord\"\ntoken = \"{TOKEN}\"\napi_url = \"{}\"\n", discord.url())
            }
            Platform::OneBot(onebot) => format!("type = \"onebot\"\nmode = \"forward\"\nurl = \"{}\"\n", onebot.url()),
            Platform::Qq(qq) => format!(
                "type = \"qq\"\napp_id = \"1000\"\nclient_secret = \"simulated\"\napi_url = \"{0}\"\ntoken_url = \"{0}\"\n",
                qq.url()
            ),
            Platform::Slack(slack) => format!(
                "type = \"slack\"\nbot_token = \"{}\"\napp_token = \"{}\"\napi_url = \"{}\"\n",
                crate::slack::BOT_TOKEN,
                crate::slack::APP_TOKEN,
                slack.api_url()
            ),
            Platform::Telegram(telegram) => {
                format!(
                    "type = \"telegram\"\ntoken = \"{TOKEN}\"\napi_url = \"{}\"\npoll_timeout = \"1s\"\n",
                    telegram.url()
                )
            }
        }
    }

    /// Has the person say something.
    pub fn say(&self, text: &str) {
        match &self.0 {
            Platform::Discord(discord) => drop(discord.say_direct(CHANNEL, USER, text)),
            Platform::OneBot(onebot) => {
                onebot.push_private_message(CHAT, json!([{"type": "text", "data": {"text": text}}]));
            }
            Platform::Qq(qq) => drop(qq.say(QQ_PLACE, "ANN", text)),
            Platform::Slack(slack) => drop(slack.say(SLACK_CHANNEL, SLACK_USER, text)),
            Platform::Telegram(telegram) => drop(telegram.push_message(CHAT, text)),
        }
    }

    /// Has the person press the button with this data below a message.
    pub fn press(&self, message: &Heard, data: &str) {
        match &self.0 {
            Platform::Discord(discord) => drop(discord.press(CHANNEL, &message.id, USER, data)),
            Platform::Qq(qq) => drop(qq.press(QQ_PLACE, "ANN", data)),
            Platform::Slack(slack) => slack.press(SLACK_USER, data),
            Platform::Telegram(telegram) => {
                if let Ok(id) = message.id.parse() {
                    telegram.press(CHAT, id, data);
                }
            }
            // It has none.
            Platform::OneBot(_) => {}
        }
    }

    /// Returns what the bot has said so far, the first first.
    pub fn heard(&self) -> Vec<Heard> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match &self.0 {
            Platform::Discord(discord) => {
                let buttons = |message: &Value| elements(&message["components"], "components", "label", "custom_id");
                let heard = |message: &Value| Heard {
                    text: text(&message["content"]),
                    buttons: buttons(message),
                    id: text(&message["id"]),
                };
                discord.sent().iter().map(heard).collect()
            }
            Platform::OneBot(onebot) => {
                let sends = onebot.calls().into_iter().filter(|call| call.action.starts_with("send_"));
                let heard = |call: crate::onebot::Call| Heard {
                    text: segments(&call.parameters["message"]),
                    buttons: Vec::new(),
                    id: String::new(),
                };
                sends.map(heard).collect()
            }
            Platform::Qq(qq) => qq
                .sent()
                .iter()
                .map(|sent| Heard { text: sent.text().to_owned(), buttons: Vec::new(), id: sent.id.clone() })
                .collect(),
            Platform::Slack(slack) => {
                let buttons = |message: &Value| elements(&message["blocks"], "elements", "text", "value");
                let heard = |message: &Value| Heard {
                    text: text(&message["text"]),
                    buttons: buttons(message),
                    id: text(&message["ts"]),
                };
                slack.sent().iter().map(heard).collect()
            }
            Platform::Telegram(telegram) => {
                let heard = |message: &Value| Heard {
                    text: text(&message["text"]),
                    buttons: keys(&message["reply_markup"]["inline_keyboard"], "text", "callback_data"),
                    id: message["message_id"].to_string(),
                };
                telegram.said(CHAT).iter().map(heard).collect()
            }
        }
    }
}

/// Returns the buttons of rows that are arrays.
fn keys(rows: &Value, label: &str, data: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().or_else(|| value["text"].as_str()).unwrap_or_default().to_owned();
    let rows = rows.as_array().into_iter().flatten();
    let buttons = rows.filter_map(Value::as_array).flatten();
    buttons
        .filter(|button| button[data].is_string())
        .map(|button| (text(&button[label]), text(&button[data])))
        .collect()
}

/// Returns the buttons of rows that are objects with a list of them.
fn elements(rows: &Value, list: &str, label: &str, data: &str) -> Vec<(String, String)> {
    let rows = rows.as_array().into_iter().flatten();
    keys(&rows.map(|row| row[list].clone()).collect(), label, data)
}

/// Returns the text of OneBot's segments.
fn segments(message: &Value) -> String {
    let segments = message.as_array().into_iter().flatten();
    segments.filter_map(|segment| segment["data"]["text"].as_str()).collect()
}
