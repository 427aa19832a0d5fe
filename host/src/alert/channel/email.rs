//! Notices by e-mail, over a connection of their own each. Encryption that is configured is had or nothing is sent: there is no falling
//! back to plain text.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use lettre::Message;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use serde::{Deserialize, Deserializer, de};

use super::config::STAND_IN;
use super::text::{self, Style};
use super::{ChannelError, TIMEOUT, words};
use crate::alert::notice::Notice;
use crate::egress::{AddressGuard, DialTimeouts, HttpError, resolve};
use crate::secret::Secret;

/// Mail servers take far more; nobody reads more.
const BODY_UNITS_MAX: usize = 60_000;
/// Longer subjects are not shown.
const SUBJECT_UNITS_MAX: usize = 200;
/// Addresses of one channel.
const ADDRESSES_MAX: usize = 100;
/// Largest file of an authority's certificates, in bytes.
const AUTHORITY_BYTES_MAX: u64 = 1 << 20;

/// `type = "email"`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EmailConfig {
    pub(super) server: String,
    pub(super) port: Option<u16>,
    pub(super) tls: EmailTls,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) from: String,
    pub(super) to: Vec<String>,
    /// PEM of the only authority that is trusted; without it, those that browsers trust.
    pub(super) ca: Option<PathBuf>,
    pub(super) hello: Option<String>,
}

/// How the connection is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EmailTls {
    /// It begins in the clear and is encrypted before anything is said.
    #[default]
    StartTls,
    /// From its first byte.
    Implicit,
    /// Not at all; only towards this machine.
    None,
}

/// What does not go together in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum EmailMistake {
    #[error("`server` is the name or the address of a mail server and nothing else, such as \"mail.example.com\"")]
    Server,
    #[error(
        "`tls = \"none\"` is for a server on this machine, such as \"localhost\"; others need \"starttls\" or \"implicit\""
    )]
    Plain,
    #[error("`username` needs a `password`")]
    NoPassword,
    #[error("`password` needs a `username`")]
    NoUsername,
    #[error("`to` needs at least one address and takes at most {ADDRESSES_MAX}; a mailing list reaches more")]
    Addresses,
    #[error("`hello` is the name by which this host greets the server, such as \"host.example.com\"")]
    Hello,
}

impl EmailConfig {
    /// Checks what only shows when the keys are seen together.
    pub(super) fn check(&self) -> Result<(), EmailMistake> {
        if !is_host(&self.server) {
            return Err(EmailMistake::Server);
        }
        let is_here =
            self.server == "localhost" || self.server.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        if self.tls == EmailTls::None && !is_here && self.server != STAND_IN {
            return Err(EmailMistake::Plain);
        }
        match (&self.username, &self.password) {
            (Some(_), None) => return Err(EmailMistake::NoPassword),
            (None, Some(_)) => return Err(EmailMistake::NoUsername),
            _ => {}
        }
        if self.to.is_empty() || self.to.len() > ADDRESSES_MAX {
            return Err(EmailMistake::Addresses);
        }
        if self.hello.as_ref().is_some_and(|hello| !is_host(hello)) {
            return Err(EmailMistake::Hello);
        }
        Ok(())
    }

    fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            EmailTls::StartTls => 587,
            EmailTls::Implicit => 465,
            EmailTls::None => 25,
        })
    }
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:".contains(&byte))
}

/// Reads a mail address, with or without a name: `ops@example.com`, `Ops <ops@example.com>`.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == STAND_IN || text.parse::<Mailbox>().is_ok() {
        return Ok(text);
    }
    Err(de::Error::custom("no mail address: one looks like \"ops@example.com\" or \"Ops <ops@example.com>\""))
}

/// Reads several mail addresses.
pub(super) fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    struct Address(#[serde(deserialize_with = "address")] String);
    Ok(Vec::<Address>::deserialize(deserializer)?.into_iter().map(|Address(text)| text).collect())
}

/// A mail server, and who writes to whom.
#[derive(Debug)]
pub(in crate::alert) struct Email {
    config: EmailConfig,
}

impl Email {
    pub(super) fn new(config: EmailConfig) -> Self {
        Self { config }
    }

    pub(super) async fn send(&self, notice: &Notice) -> Result<String, ChannelError> {
        let hello = self.hello(&notice.host);
        let message = self.message(notice, hello.as_deref())?;
        let sent = tokio::time::timeout(TIMEOUT, self.hand_over(&message, hello)).await;
        let response = sent.map_err(|_| ChannelError::Mail {
            words: format!("no answer within {} s", TIMEOUT.as_secs()),
            is_final: false,
        })??;
        Ok(format!("{} {}", response.code(), self.words(&response.message().collect::<Vec<_>>().join(" "))))
    }

    /// Hands a mail to the server, at an address that was judged: not where clouds keep their metadata.
    async fn hand_over(&self, message: &Message, hello: Option<String>) -> Result<Response, ChannelError> {
        let config = &self.config;
        let within = DialTimeouts::default().connect;
        let guard = AddressGuard::no_metadata();
        let addresses = resolve(&config.server, config.port(), &guard, within).await.map_err(HttpError::Dial)?;
        let refused = |error| self.refused(&error);
        let hello = hello.map_or_else(ClientId::default, ClientId::Domain);
        let implicit = match config.tls {
            EmailTls::Implicit => Some(self.trust().await?),
            EmailTls::StartTls | EmailTls::None => None,
        };
        // It is given addresses, so that it asks for none itself.
        let connection = AsyncSmtpConnection::connect_tokio1(&addresses[..], Some(within), &hello, implicit, None);
        let mut connection = connection.await.map_err(refused)?;
        if config.tls == EmailTls::StartTls {
            connection.starttls(self.trust().await?, &hello).await.map_err(refused)?;
        }
        if let (Some(username), Some(password)) = (&config.username, &config.password) {
            let credentials = Credentials::new(username.clone(), password.expose().to_owned());
            connection.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(refused)?;
        }
        let response = connection.send(message.envelope(), &message.formatted()).await.map_err(refused)?;
        // It is taken; how the farewell goes changes nothing.
        connection.abort().await;
        Ok(response)
    }

    fn refused(&self, error: &smtp::Error) -> ChannelError {
        // An error of the client's own is a server that lacks what is configured, such as STARTTLS.
        let is_final = error.is_permanent() || error.is_client();
        ChannelError::Mail { words: self.words(&error.to_string()), is_final }
    }

    fn words(&self, text: &str) -> String {
        let (Some(username), Some(password)) = (&self.config.username, &self.config.password) else {
            return words(text, &[]);
        };
        let password = password.expose();
        // As it is, and in both forms that it is sent in: a server may repeat what it refuses.
        let plain = data_encoding::BASE64.encode(format!("\0{username}\0{password}").as_bytes());
        words(text, &[password, &plain, &data_encoding::BASE64.encode(password.as_bytes())])
    }

    /// Returns how this host greets: as it is told to, or by its name where that can be one of the network's.
    fn hello(&self, host: &str) -> Option<String> {
        let name = self.config.hello.clone().unwrap_or_else(|| host.to_owned());
        Some(name).filter(|name| is_host(name) && !name.contains(':'))
    }

    fn message(&self, notice: &Notice, hello: Option<&str>) -> Result<Message, ChannelError> {
        let mailbox = |key: &'static str, text: &str| {
            let unusable = |_| ChannelError::Unusable { key, problem: "it is no mail address".to_owned() };
            text.parse::<Mailbox>().map_err(unusable)
        };
        let mut builder = Message::builder()
            .from(mailbox("from", &self.config.from)?)
            .subject(text::title(notice, Style::Plain, SUBJECT_UNITS_MAX))
            .date(UNIX_EPOCH + Duration::from_millis(notice.at.as_millis()))
            // The same on every try, so that a reader shows a second one as the first.
            .message_id(Some(format!("<{}@{}>", notice.id, hello.unwrap_or("localhost"))))
            .header(AutoSubmitted)
            .header(ContentType::TEXT_PLAIN);
        for to in &self.config.to {
            builder = builder.to(mailbox("to", to)?);
        }
        let body = text::body(notice, Style::Plain, BODY_UNITS_MAX);
        builder.body(body).map_err(|error| ChannelError::Unusable { key: "to", problem: error.to_string() })
    }

    /// Reads the authority's file anew each time, so that it can be replaced while the host runs.
    async fn trust(&self) -> Result<TlsParameters, ChannelError> {
        let mut builder = TlsParameters::builder(self.config.server.clone());
        if let Some(path) = &self.config.ca {
            let unusable = |problem: String| ChannelError::Unusable {
                key: "ca",
                problem: format!("{}: {problem}", path.display()),
            };
            let length = tokio::fs::metadata(path).await.map_err(|error| unusable(error.to_string()))?.len();
            if length > AUTHORITY_BYTES_MAX {
                return Err(unusable("it is larger than 1MiB".to_owned()));
            }
            let pem = tokio::fs::read(path).await.map_err(|error| unusable(error.to_string()))?;
            let certificate = Certificate::from_pem(&pem).map_err(|error| unusable(error.to_string()))?;
            builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
        }
        builder.build_rustls().map_err(|error| ChannelError::Unusable { key: "server", problem: error.to_string() })
    }
}

/// Says that no person wrote the mail, so that no absent person's mailbox answers it. RFC 3834.
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Advice;
    use super::*;
    use crate::action::Severity;
    use crate::alert::notice::{Content, Entry, Happened};
    use crate::alert::{Alert, Source};
    use crate::clock::Timestamp;

    fn email() -> Email {
        Email::new(EmailConfig {
            server: "localhost".to_owned(),
            port: None,
            tls: EmailTls::None,
            username: None,
            password: None,
            from: "Host <host@example.com>".to_owned(),
            to: vec!["ops@example.com".to_owned()],
            ca: None,
            hello: None,
        })
    }

    #[test]
    fn what_a_bot_writes_makes_no_header() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let mut notice = Notice::test("alpha", now);
        let summary = "x\r\nBcc: evil@example.com\r\n\r\nbody";
        let alert = Alert::new(Source::Host, "k\r\nBcc: evil@example.com", Severity::Critical, summary, now);
        notice.content =
            Content { entries: vec![Entry { happened: Happened::Fired, alert, times: 1 }], ..Content::default() };
        let message = email().message(&notice, Some("alpha")).unwrap().formatted();
        let text = String::from_utf8(message).unwrap();
        let (headers, _) = text.split_once("\r\n\r\n").unwrap();
        assert!(headers.lines().all(|line| !line.starts_with("Bcc")), "{headers}");
        assert!(headers.contains("Auto-Submitted: auto-generated"), "{headers}");
        assert!(headers.contains(&format!("Message-ID: <{}@alpha>", notice.id)), "{headers}");
    }

    #[test]
    fn a_long_subject_is_cut() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let mut notice = Notice::test("alpha", now);
        notice.content.entries[0].alert.summary = "ü".repeat(512);
        assert!(text::title(&notice, Style::Plain, SUBJECT_UNITS_MAX).chars().count() <= 200);
        assert!(email().message(&notice, None).is_ok());
    }

    #[tokio::test]
    async fn f017_no_mail_goes_to_where_clouds_keep_their_metadata() {
        let notice = Notice::test("alpha", Timestamp::from_millis(1_700_000_000_000));
        for server in ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "::ffff:169.254.169.254"] {
            let mut email = email();
            email.config.server = server.to_owned();
            let error = email.send(&notice).await.unwrap_err();
            assert!(error.to_string().contains("is not allowed"), "{server}: {error}");
            assert_eq!(error.advice(), Advice::GiveUp, "{server}");
        }
    }

    #[test]
    fn a_host_whose_name_is_none_of_the_networks_greets_without_it() {
        let email = email();
        assert_eq!(email.hello("alpha").as_deref(), Some("alpha"));
        assert_eq!(email.hello("a b"), None);
    }
}
