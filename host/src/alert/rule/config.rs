//! `[alerts.rules.NAME]`: a rule of the operator's own, or what he changes of one of the host's. What is written becomes a
//! [`Rule`], in which nothing is missing.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::builtin;
use super::expression::Expression;
use super::parse::WINDOW_MAX;
use super::quantity::Quantity;
use super::template::{Blank, Template};
use crate::action::Severity;
use crate::document::nearest;
use crate::id::{ChannelName, RuleName};
use crate::units::{self, Span};

/// How far the value has to come back before an alert ends, as a share of the threshold.
const HYSTERESIS: f64 = 0.05;
/// How long a rule is quiet about a subject after an alert of it ended.
const COOLDOWN: Duration = Duration::from_secs(300);
/// The shortest window of a forecast.
const FORECAST_WINDOW_MIN: Duration = Duration::from_secs(600);
/// The longest that a rule may foresee.
const FORECAST_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Channels that one rule may tell.
const CHANNELS_MAX: usize = 32;

/// `[alerts.rules.NAME]`. Every key may be left out where the host has a rule of that name, of which the others are kept; otherwise
/// `metric`, `op` and `threshold` are needed. Whether it is whole says [`RuleConfig::check`].
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleConfig {
    /// What is measured: an expression over metrics, see [`Expression`].
    pub metric: Option<Expression>,
    /// How it is compared with `threshold`.
    pub op: Option<Comparison>,
    /// With what: a number, or a text such as `"80%"`, `"64MiB"`, `"5m"`.
    pub threshold: Option<Quantity>,
    /// Where the alert ends. Default: 5 % of the threshold on its good side; an alert that stays between the two for as long as the
    /// cooldown (five minutes at least) ends as well.
    pub clear: Option<Quantity>,
    /// How long it has to hold before the alert fires. Default: not at all.
    #[serde(deserialize_with = "some_duration")]
    pub r#for: Option<Duration>,
    /// How bad it is. Default: a warning.
    pub severity: Option<Severity>,
    /// How long the rule is quiet about a subject after its alert ended. Default: 5 m.
    #[serde(deserialize_with = "some_duration")]
    pub cooldown: Option<Duration>,
    /// What people are told, with `{value}`, `{threshold}`, `{bot}`, `{connector}`, `{probe}`, `{channel}`, `{rule}`, `{eta}`.
    pub message: Option<Template>,
    /// What happens beside the alert. Default: nothing, and every channel is told.
    pub actions: Option<Actions>,
    /// Whether the rule is in force. Default: yes.
    pub enabled: Option<bool>,
    /// It holds if the value is expected to cross the threshold within so long, or has; at most 30 d.
    #[serde(deserialize_with = "units::some_positive_duration")]
    pub forecast: Option<Duration>,
    /// How far back a forecast looks: 10 m to 6 h. Default: a quarter of `forecast`, within these bounds.
    #[serde(deserialize_with = "units::some_positive_duration")]
    pub window: Option<Duration>,
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    units::duration(deserializer).map(Some)
}

/// How a value is compared with a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Comparison {
    /// More.
    #[serde(rename = ">")]
    More,
    /// As much or more.
    #[serde(rename = ">=")]
    MoreOrEqual,
    /// Less.
    #[serde(rename = "<")]
    Less,
    /// As much or less.
    #[serde(rename = "<=")]
    LessOrEqual,
    /// Just as much.
    #[serde(rename = "==")]
    Equal,
    /// More or less.
    #[serde(rename = "!=")]
    Unequal,
}

/// What a rule does beside raising an alert.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Actions {
    /// The channels that are told; all of them where there is none.
    pub notify: Vec<ChannelName>,
    /// What is done to the bot.
    pub to_bot: Option<BotAction>,
}

/// What a rule may do to the bot that its value is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BotAction {
    /// It is started anew.
    Restart,
    /// It is stopped until somebody enables it.
    Disable,
}

/// What is wrong with a rule whose keys are each good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It is the operator's own, and not whole.
    #[error("the host has no rule `{name}`{}, so this one needs `{key}`", near.map_or(String::new(), |near| format!(" (did you mean `{near}`?)")))]
    Missing {
        /// The rule.
        name: RuleName,
        /// What it lacks.
        key: &'static str,
        /// The host's rule that was likely meant.
        near: Option<&'static str>,
    },
    /// `clear` would end the alert while it is a reason to raise it.
    #[error("`clear` must not be on the bad side of `threshold`: with `op = \"{0}\"` it is {1} {2}")]
    Clear(&'static str, &'static str, String),
    /// `clear` with a comparison that has no side.
    #[error("`clear` has a meaning with >, >=, < and <= only")]
    ClearOfEquality,
    /// `forecast` with a comparison that has no side.
    #[error("`forecast` has a meaning with >, >=, < and <= only")]
    ForecastOfEquality,
    /// Further than a window of six hours can tell.
    #[error("`forecast` is at most 30d")]
    ForecastTooFar,
    /// `window` without `forecast`.
    #[error(
        "`window` has a meaning with `forecast` only; a window of the metric itself stands in brackets, such as rate(NAME[5m])"
    )]
    WindowOfNothing,
    /// `window` is too short or too long.
    #[error("`window` is from 10m to 6h")]
    Window,
    /// `{eta}` without `forecast`.
    #[error("the message asks for `{{eta}}`, which only a `forecast` knows")]
    Eta,
    /// An action on a bot where there is none.
    #[error("`actions` has \"{0}\", and what `metric` yields is not of one bot each")]
    NoBot(&'static str),
}

/// A rule in which nothing is missing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    pub(super) name: RuleName,
    pub(super) is_builtin: bool,
    pub(super) is_enabled: bool,
    pub(super) metric: Expression,
    pub(super) op: Comparison,
    pub(super) threshold: Quantity,
    /// An alert goes on while `op` holds against this.
    pub(super) clear: f64,
    /// Whether somebody chose `clear`, so that it alone decides.
    pub(super) is_clear_chosen: bool,
    pub(super) r#for: Duration,
    pub(super) severity: Severity,
    pub(super) cooldown: Duration,
    pub(super) message: Option<Template>,
    pub(super) actions: Actions,
    pub(super) forecast: Option<Forecast>,
}

/// How far a rule looks ahead, and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forecast {
    pub(super) within: Duration,
    pub(super) window: Duration,
}

impl RuleConfig {
    /// Returns whether it is a whole rule under this name.
    ///
    /// # Errors
    ///
    /// A key is missing, or keys contradict each other.
    pub fn check(&self, name: &RuleName) -> Result<(), RuleError> {
        self.settle(name).map(|_| ())
    }

    /// Returns the channels that it names, which there must be.
    pub fn notify(&self) -> &[ChannelName] {
        self.actions.as_ref().map_or(&[], |actions| &actions.notify)
    }

    /// Fills in what is not written: from the host's own rule of that name, then by default.
    pub(super) fn settle(&self, name: &RuleName) -> Result<Rule, RuleError> {
        let builtin = builtin::find(name);
        let base = builtin.clone().unwrap_or_default();
        let missing =
            |key| RuleError::Missing { name: name.clone(), key, near: nearest(name.as_str(), &builtin::names()) };
        let metric = self.metric.clone().or(base.metric).ok_or_else(|| missing("metric"))?;
        let op = self.op.or(base.op).ok_or_else(|| missing("op"))?;
        let threshold = self.threshold.or(base.threshold).ok_or_else(|| missing("threshold"))?;
        // What the host's rule goes with goes with its own threshold only.
        let is_its_own = self.op.is_none() && self.threshold.is_none() && self.metric.is_none();
        let chosen = self.clear.or(base.clear.filter(|_| is_its_own));
        let window = self.window.or(base.window.filter(|_| self.forecast.is_none()));
        let rule = Rule {
            name: name.clone(),
            is_builtin: builtin.is_some(),
            is_enabled: self.enabled.unwrap_or(true),
            op,
            threshold,
            clear: chosen.map_or(op.clear_by_default(threshold.value), |clear| clear.value),
            is_clear_chosen: chosen.is_some(),
            r#for: self.r#for.or(base.r#for).unwrap_or_default(),
            severity: self.severity.or(base.severity).unwrap_or(Severity::Warning),
            cooldown: self.cooldown.or(base.cooldown).unwrap_or(COOLDOWN),
            message: self.message.clone().or(base.message),
            actions: self.actions.clone().or(base.actions).unwrap_or_default(),
            forecast: forecast(self.forecast.or(base.forecast), window)?,
            metric,
        };
        rule.checked()
    }
}

fn forecast(within: Option<Duration>, window: Option<Duration>) -> Result<Option<Forecast>, RuleError> {
    let bounds = FORECAST_WINDOW_MIN..=WINDOW_MAX;
    match (within, window) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(RuleError::WindowOfNothing),
        (Some(within), _) if within > FORECAST_MAX => Err(RuleError::ForecastTooFar),
        (Some(_), Some(window)) if !bounds.contains(&window) => Err(RuleError::Window),
        (Some(within), window) => {
            let window = window.unwrap_or_else(|| (within / 4).clamp(*bounds.start(), *bounds.end()));
            Ok(Some(Forecast { within, window }))
        }
    }
}

impl Rule {
    fn checked(self) -> Result<Self, RuleError> {
        let (threshold, has_side) = (self.threshold.value, self.op.side() != 0.0);
        let is_worse = (self.clear - threshold) * self.op.side() > 0.0;
        if self.is_clear_chosen && !has_side {
            return Err(RuleError::ClearOfEquality);
        }
        if is_worse {
            let at = if self.op.side() > 0.0 { "at most" } else { "at least" };
            return Err(RuleError::Clear(self.op.as_str(), at, self.threshold.to_string()));
        }
        if self.forecast.is_some() && !has_side {
            return Err(RuleError::ForecastOfEquality);
        }
        if self.forecast.is_none() && self.message.as_ref().is_some_and(|message| message.asks_for(Blank::Eta)) {
            return Err(RuleError::Eta);
        }
        match self.actions.to_bot {
            Some(action) if !self.metric.is_of_bots() => Err(RuleError::NoBot(action.as_str())),
            _ => Ok(self),
        }
    }

    /// Returns how long after a start it may know nothing of a subject.
    pub(super) fn memory(&self) -> Duration {
        let windows = self.metric.overs().into_iter().map(|over| over.window);
        windows.chain(self.forecast.map(|forecast| forecast.window)).max().unwrap_or_default()
    }
}

impl Comparison {
    /// Returns it as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::More => ">",
            Self::MoreOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Equal => "==",
            Self::Unequal => "!=",
        }
    }

    /// Returns whether it holds. It does not for what is no number.
    pub(super) fn holds(self, value: f64, against: f64) -> bool {
        match self {
            Self::More => value > against,
            Self::MoreOrEqual => value >= against,
            Self::Less => value < against,
            Self::LessOrEqual => value <= against,
            Self::Equal => value == against,
            Self::Unequal => value != against && !value.is_nan(),
        }
    }

    /// Returns 1 where more is worse, -1 where less is, 0 where neither.
    pub(super) fn side(self) -> f64 {
        match self {
            Self::More | Self::MoreOrEqual => 1.0,
            Self::Less | Self::LessOrEqual => -1.0,
            Self::Equal | Self::Unequal => 0.0,
        }
    }

    /// Returns the worse of two values.
    pub(super) fn worse(self, one: f64, other: f64) -> f64 {
        if (other - one) * self.side() > 0.0 { other } else { one }
    }

    fn clear_by_default(self, threshold: f64) -> f64 {
        threshold - self.side() * HYSTERESIS * threshold.abs()
    }
}

impl BotAction {
    /// Returns it as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Disable => "disable",
        }
    }
}

/// Why a text is no action, or a list none of a rule.
#[derive(Debug, thiserror::Error)]
enum ActionError {
    #[error("`{}` is no action; there are \"notify:CHANNEL\", \"restart\" and \"disable\"", .0.escape_debug())]
    Unknown(String),
    #[error("\"restart\" and \"disable\" do not go together")]
    Both,
    #[error("a rule tells at most {CHANNELS_MAX} channels")]
    TooMany,
}

impl<'de> Deserialize<'de> for Actions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut actions = Self::default();
        for text in Vec::<String>::deserialize(deserializer)? {
            let to_bot = [BotAction::Restart, BotAction::Disable].into_iter().find(|action| action.as_str() == text);
            match (text.strip_prefix("notify:"), to_bot) {
                (Some(channel), _) => actions.notify.push(channel.trim().parse().map_err(de::Error::custom)?),
                (None, Some(action)) if actions.to_bot.is_some_and(|other| other != action) => {
                    return Err(de::Error::custom(ActionError::Both));
                }
                (None, Some(action)) => actions.to_bot = Some(action),
                (None, None) => {
                    return Err(de::Error::custom(ActionError::Unknown(text.chars().take(64).collect())));
                }
            }
        }
        actions.notify.sort();
        actions.notify.dedup();
        if actions.notify.len() > CHANNELS_MAX { Err(de::Error::custom(ActionError::TooMany)) } else { Ok(actions) }
    }
}

impl Rule {
    /// Returns `> 80% for 5m`, as it stands in listings and details.
    pub(super) fn condition(&self) -> String {
        let mut condition = format!("{} {}", self.op.as_str(), self.threshold);
        if let Some(forecast) = self.forecast {
            condition += &format!(" within {}", Span(forecast.within));
        }
        if !self.r#for.is_zero() {
            condition += &format!(" for {}", Span(self.r#for));
        }
        condition
    }
}

#[cfg(test)]
mod tests;
