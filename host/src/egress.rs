//! The way out of this process: which addresses may be dialled, how a connection is made, and a small HTTP client over it.
//! Everything that leaves the host leaves through here. It knows nothing of platforms or bots.
//!
//! A name is resolved first and the *addresses* are judged, at the moment they are dialled: a name that answers with a
//! public address now and a private one a second later gains nothing. What comes back can be searched for secrets that went out.

mod address;
mod client;
mod dial;
mod doors;
mod endpoint;
mod race;
mod redact;
mod resolve;

pub use address::{AddressGuard, AddressRange, ForbiddenAddress};
pub use client::{HttpClient, HttpError, HttpResponse};
pub(crate) use dial::tls_config;
pub use dial::{DialError, DialTimeouts, Security, Stream, dial, dial_afresh, dial_foreign, resolve};
pub use doors::Doors;
pub use endpoint::{Endpoint, EndpointError, HttpUrl, WebSocketUrl};
pub use redact::{Redactor, Scan};
