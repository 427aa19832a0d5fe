//! Whether the host can listen where it is told to.

use std::io;
use std::net::TcpListener;

use super::{Finding, Patient};

const SUBJECT: &str = "admin address";

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let Some(address) = patient.config.admin.listen else {
        return vec![Finding::ok(SUBJECT, "none: the socket only")];
    };
    if !address.ip().is_loopback() && patient.config.admin.token.is_none() {
        let what = format!("{address} is open to other machines, and there is no token");
        return vec![Finding::problem(SUBJECT, what, "set `[admin] token`, or listen on 127.0.0.1")];
    }
    // Whoever listens there now is the host, or keeps it from starting.
    if patient.is_running() || address.port() == 0 {
        return vec![Finding::ok(SUBJECT, address.to_string())];
    }
    vec![match TcpListener::bind(address) {
        Ok(_) => Finding::ok(SUBJECT, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::problem(
            SUBJECT,
            format!("another program listens on {address}"),
            format!("end it (`ss -ltnp 'sport = :{}'` names it), or choose another `[admin] listen`", address.port()),
        ),
        Err(error) => {
            let what = format!("cannot listen on {address}: {error}");
            Finding::problem(SUBJECT, what, "choose an address of this machine for `[admin] listen`")
        }
    }]
}
