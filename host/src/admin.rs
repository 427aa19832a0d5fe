//! The admin side: how the host is, for people and programs. Its own thread and its own runtime, so that it answers
//! while guests spin; it reads what others publish, and asks the store for the rest, for a limited time. It changes nothing but
//! what the operator takes from the dead letters and the outbox, passes on what the operator wants of bots, and has the
//! configuration edited by `generation`.
//!
//! Two doors. The Unix socket serves everything to whoever can open it, which is the user that runs the host. The TCP
//! listener serves `/health` to all and the rest to those who have the token.

mod accounts;
mod alerts;
mod api;
mod ask;
mod audit;
mod auth;
mod bots;
mod buffers;
mod chronicle;
pub mod client;
mod components;
mod configuration;
mod connectors;
mod cookie;
mod degraded;
mod endpoint;
mod errors;
mod event;
mod events;
mod figures;
mod gate;
mod health;
mod history;
mod incidents;
mod injection;
mod kept;
mod letters;
mod listen;
mod logs;
mod offers;
mod openapi;
mod operate;
mod pages;
mod parameter;
mod places;
mod probes;
mod problem;
mod query;
mod queue;
mod records;
mod rentals;
mod router;
mod schema;
mod sends;
mod serve;
mod session;
mod status;
mod story;
mod stream;
mod tenants;
mod tls;
mod tokens;
pub(crate) mod upload;
mod validity;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::accounts::AccountView;
pub use self::alerts::{AlertView, ChannelView, NewsView, TestView};
use self::api::Api;
pub use self::audit::AuditView;
use self::auth::{Door, TcpDoor};
pub use self::bots::BotView;
pub use self::buffers::{BufferView, ReplayView};
pub use self::components::ComponentView;
pub use self::configuration::{EditView, VersionView, editor};
pub use self::connectors::ConnectorView;
use self::cookie::Transport;
pub use self::degraded::{Level, Part};
pub use self::errors::{ErrorView, StatisticsView};
pub use self::events::{EventHandlingView, EventView};
pub use self::figures::FiguresView;
pub use self::health::{Health, StoreView, Verdict};
pub use self::history::{MetricsView, PointView, SeriesView};
pub use self::incidents::{CondemnedView, IncidentView};
pub use self::injection::{InjectedView, InjectionBody};
pub use self::letters::DeadLetterView;
pub use self::listen::AdminError;
use self::listen::SocketFile;
pub use self::logs::LineView;
pub use self::offers::{AskedView, OfferView};
pub use self::probes::ProbeView;
pub use self::problem::ProblemView;
pub use self::queue::{DepthView, QueueView};
pub use self::rentals::{AppliedView, RentalView, RentedView, SetView, SettingsView};
pub use self::router::{HandedView, RouterView};
pub use self::sends::SendView;
use self::serve::{Listener, Patience, Server};
pub use self::session::SessionView;
pub use self::status::{AlertsView, StatusView};
pub use self::story::{AttemptView, HandlingView, StoryView};
pub use self::tenants::TenantView;
pub(crate) use self::tls::renew;
pub use self::tls::{TlsError, TlsHandle};
pub use self::tokens::{NewTokenView, TokenView};
use crate::access::Book;
use crate::alert::Alerts;
use crate::alert::notifier::NotifierHandle;
use crate::alert::rule::RuleView;
use crate::audit::Audit;
use crate::board::Board;
use crate::bot::phase::BotStatus;
use crate::connector;
use crate::errors::Errors;
use crate::generation::Editor;
use crate::grants::ConnectorKey;
use crate::history::History;
use crate::id::BotName;
use crate::metrics::Metrics;
use crate::router::Injector;
use crate::secret::Secret;
use crate::store::Store;
use crate::store::observations::Observations;
use crate::supervisor::Control;
use crate::vitals::Probes;

/// Where the admin side listens.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// The Unix socket's path.
    pub socket: PathBuf,
    /// The TCP address; none: the socket only. Port 0: any.
    pub listen: Option<SocketAddr>,
    /// What lets in by TCP at first as an admin of the host, see [`Book::configure`]; none: only who is in the book.
    pub token: Option<Secret>,
    /// By which names it is called by TCP; none: local ones on a loopback address, any elsewhere.
    pub hosts: Vec<String>,
}

/// What the admin side shows.
#[derive(Debug, Clone)]
pub struct Sources {
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For `/api/v1/alerts`.
    pub alerts: Arc<Alerts>,
    /// Every bot.
    pub bots: Arc<Board<BotName, BotStatus>>,
    /// Every connector.
    pub connectors: Arc<Board<ConnectorKey, connector::Status>>,
    /// For events, dead letters, the queue and the outbox, and how the store is.
    pub store: Store,
    /// For what was seen, and who is told.
    pub observed: Observed,
    /// For events that the operator hands to bots, and for what came in.
    pub injector: Injector,
    /// For what the operator asks of the bots and of the configuration.
    pub control: Control,
    /// For what is and was in force, and edits of it.
    pub editor: Editor,
    /// Who is let in, and may do what.
    pub access: Book,
    /// Where every change is recorded.
    pub audit: Audit,
    /// What is shown by TCP; none: it speaks HTTP in clear.
    pub certificate: Option<TlsHandle>,
    /// For `/api/v1/logs`: the directory of the log files, where there are any.
    pub logs: Option<PathBuf>,
    /// Whether the host takes events.
    pub is_ready: watch::Receiver<bool>,
}

/// What the admin side shows of what was seen, and of who is told.
#[derive(Debug, Clone)]
pub struct Observed {
    /// What went wrong.
    pub errors: Arc<Errors>,
    /// What series said.
    pub history: History,
    /// Which alerts were up.
    pub observations: Observations,
    /// The rules and what they last saw.
    pub rules: watch::Receiver<Arc<Vec<RuleView>>>,
    /// The channels on which people are told.
    pub notifier: NotifierHandle,
    /// What is probed.
    pub probes: Probes,
}

impl Observed {
    /// Returns what is there where nobody looks: nothing.
    pub fn nothing(metrics: Arc<Metrics>) -> Self {
        let observations = Observations::absent();
        Self {
            errors: Arc::new(Errors::new(Arc::clone(&metrics))),
            history: History::new(observations.clone()),
            observations,
            rules: watch::channel(Arc::default()).1,
            notifier: NotifierHandle::absent(metrics),
            probes: Probes::absent(),
        }
    }
}

/// The running admin side. Dropped, it stops as by [`Admin::shutdown`].
#[derive(Debug)]
pub struct Admin {
    address: Option<SocketAddr>,
    cancel: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Listens and serves. When this returns, both doors take connections. Blocks for as long as binding takes.
    ///
    /// # Errors
    ///
    /// See [`AdminError`]. Nothing listens then.
    pub fn bind(config: AdminConfig, sources: Sources) -> Result<Self, AdminError> {
        let cancel = CancellationToken::new();
        let (bound_sender, bound) = mpsc::sync_channel(1);
        let stop = cancel.clone();
        sources.access.configure(config.token.as_ref());
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || run(config, sources, &bound_sender, stop))
            .map_err(AdminError::Thread)?;
        let address = match bound.recv() {
            Ok(address) => address?,
            Err(mpsc::RecvError) => return Err(AdminError::Thread(io::Error::other("it ended while it started"))),
        };
        Ok(Self { address, cancel, thread: Some(thread) })
    }

    /// Returns the TCP address that is listened on, with the real port.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Takes no more connections, lets answers under way finish, for about a second at most, removes the socket's file
    /// and joins the thread. Blocks so long.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.cancel.cancel();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the admin thread panicked");
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread: binds, says how that went, and serves until cancelled.
fn run(
    config: AdminConfig,
    sources: Sources,
    bound: &mpsc::SyncSender<Result<Option<SocketAddr>, AdminError>>,
    cancel: CancellationToken,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(bound.send(Err(AdminError::Thread(error)))),
    };
    runtime.block_on(async {
        // The one who waits for the answer is there until it came.
        match Listeners::bind(&config, &sources.access).await {
            Ok(listeners) => {
                let _ = bound.send(Ok(listeners.address()));
                listeners.serve(config, sources, cancel).await;
            }
            Err(error) => drop(bound.send(Err(error))),
        }
    });
}

/// Returns the router of everything that is served; `stopping` ends what would go on for ever.
/// `changes` knows when what was begun has ended.
fn router(sources: Sources, stopping: CancellationToken, changes: TaskTracker) -> axum::Router {
    gate::router(&Arc::new(Api::new(sources, stopping, changes)), api::endpoints())
}

/// Both doors, bound.
struct Listeners {
    unix: UnixListener,
    tcp: Option<(TcpListener, SocketAddr)>,
    file: SocketFile,
}

impl Listeners {
    async fn bind(config: &AdminConfig, book: &Book) -> Result<Self, AdminError> {
        let tcp = match config.listen {
            None => None,
            Some(address) => {
                let listener = listen::bind_tcp(address, book).await?;
                let real = listener.local_addr().map_err(|source| AdminError::Tcp { address, source })?;
                Some((listener, real))
            }
        };
        let (unix, file) = listen::bind_socket(&config.socket)?;
        Ok(Self { unix, tcp, file })
    }

    fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(|(_, address)| *address)
    }

    /// Serves until cancelled and every connection has ended.
    async fn serve(self, config: AdminConfig, sources: Sources, cancel: CancellationToken) {
        let connections = TaskTracker::new();
        let (book, certificate) = (sources.access.clone(), sources.certificate.clone());
        let router = router(sources, cancel.clone(), connections.clone());
        let patience = Patience::default();
        let server = Server { router, connections: connections.clone(), cancel, patience };
        let by_socket = server.clone().run(Listener::Unix(self.unix), Door::Socket);
        let by_tcp = async {
            if let Some((listener, address)) = self.tcp {
                let transport = if certificate.is_some() { Transport::Tls } else { Transport::Plain };
                let door = Door::Tcp(TcpDoor { address, hosts: config.hosts.into(), transport, book });
                server.clone().run(Listener::Tcp(listener, certificate), door).await;
            }
        };
        tokio::join!(by_socket, by_tcp);
        drop(self.file);
        connections.close();
        connections.wait().await;
    }
}
