//! What a bot says of itself. It owns the manifest and its builder; the host checks the values when it loads the bot.

/// What a bot is, as [`Bot::describe`](crate::Bot::describe) returns it.
///
/// ```
/// use bothost_guest::{EventClass, Manifest};
///
/// let manifest = Manifest::new("dice", env!("CARGO_PKG_VERSION"))
///     .summary("throws dice")
///     .command("roll", "throws N dice", "N")
///     .wants([EventClass::Message]);
/// assert_eq!(manifest.commands[0].usage, "N");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Manifest {
    /// What the bot calls itself; the operator may run it under another name.
    pub name: String,
    /// The version of the code, such as `1.2.0`.
    pub version: String,
    /// One line for people.
    pub summary: String,
    /// What the bot answers to by name.
    pub commands: Vec<CommandInfo>,
    /// Which events to deliver. Empty: all. Commands and the bot's own timers always come.
    pub wants: Vec<EventClass>,
    /// JSON Schema of the settings, if the bot has any.
    pub settings_schema: Option<String>,
}

impl Manifest {
    /// Returns a manifest without commands that wants every event.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            summary: String::new(),
            commands: Vec::new(),
            wants: Vec::new(),
            settings_schema: None,
        }
    }

    /// Sets the line that says what the bot is for.
    pub fn summary(mut self, summary: impl Into<String>) -> Self {
        self.summary = summary.into();
        self
    }

    /// Adds a command.
    ///
    /// `name` is without a prefix: 1 to 32 of `[a-z0-9_]`, or the host rejects the bot. `usage` names the arguments, such as
    /// `TEXT`, and is empty where there are none.
    pub fn command(mut self, name: impl Into<String>, summary: impl Into<String>, usage: impl Into<String>) -> Self {
        self.commands.push(CommandInfo { name: name.into(), summary: summary.into(), usage: usage.into() });
        self
    }

    /// Asks for these classes of events, besides those that earlier calls asked for.
    ///
    /// Without a call every event comes. Commands and the bot's own timers come in any case.
    pub fn wants(mut self, classes: impl IntoIterator<Item = EventClass>) -> Self {
        self.wants.extend(classes);
        self
    }

    /// Sets the JSON Schema that the host checks the bot's settings against.
    pub fn settings_schema(mut self, schema: impl Into<String>) -> Self {
        self.settings_schema = Some(schema.into());
        self
    }
}

/// A command that a bot answers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandInfo {
    /// Without a prefix, in lower case, 1 to 32 of `[a-z0-9_]`.
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// The arguments, such as `TEXT`; empty where there are none.
    pub usage: String,
}

/// The classes of events, one for each case of [`EventKind`](crate::EventKind).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventClass {
    /// A message that is no command of this bot.
    Message,
    /// A command of this bot.
    Command,
    /// A message that its sender has changed.
    Edited,
    /// A reaction put on or taken off.
    Reaction,
    /// Somebody joined or left.
    Member,
    /// A press of a button.
    Button,
    /// A timer of this bot.
    Timer,
    /// A request to a webhook connector.
    Webhook,
    /// Something that only one platform has.
    Custom,
}
