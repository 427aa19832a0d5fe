//! How the admin side of a host is opened: with what certificate, at which places; and what of it a reload renews.

use super::{ADMIN_SOCKET, Host};
use crate::admin::{self, Admin, AdminConfig, AdminError, Sources, TlsHandle};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::egress::Doors;
use crate::supervisor::{ControlError, ReloadReport};

impl Host {
    /// Has the configuration, the bots' directory and the certificate looked at now, as by `POST /api/v1/reload`.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub async fn reload(&self) -> Result<ReloadReport, ControlError> {
        let mut report = self.control.reload(false).await?;
        report.steps.extend(admin::renew(self.certificate.as_ref(), &self.alerts).await);
        Ok(report)
    }
}

/// Reads what the admin side shows by TCP, where it shows anything.
pub(super) async fn certificate(config: &Config) -> Result<Option<TlsHandle>, AdminError> {
    let Some(files) = config.admin.tls.clone() else { return Ok(None) };
    let loaded = tokio::task::spawn_blocking(move || TlsHandle::load(files)).await;
    Ok(Some(loaded.expect("reading a certificate does not panic")?))
}

/// Opens the admin side, adds where it listens to the host's own doors, and says what is yet to be told of how it is configured.
pub(super) async fn bind_admin(config: &Config, own_doors: &Doors, sources: Sources) -> Result<Admin, AdminError> {
    let advice = sources.certificate.iter().flat_map(|certificate| certificate.warnings(Timestamp::now()));
    for advice in config.admin.advice().into_iter().chain(advice) {
        tracing::warn!("{advice}");
    }
    let admin = AdminConfig {
        socket: config.host.data_dir.join(ADMIN_SOCKET),
        listen: config.admin.listen,
        token: config.admin.token.clone(),
        hosts: config.admin.hosts.clone(),
    };
    let bound = tokio::task::spawn_blocking(move || Admin::bind(admin, sources)).await;
    let admin = bound.expect("binding does not panic")?;
    admin.address().into_iter().for_each(|address| own_doors.add(address));
    Ok(admin)
}
