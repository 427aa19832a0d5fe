//! Whether the host can listen where it is told to.

use std::io;
use std::net::TcpListener;

use super::{Finding, Patient};
use crate::access::Book;

const SUBJECT: &str = "admin address";

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let Some(address) = patient.config.admin.listen else {
        return vec![Finding::ok(SUBJECT, "none: the socket only")];
    };
    if !address.ip().is_loopback() {
        // Accounts that cannot be read are told of elsewhere.
        let has_accounts = Book::open(patient.data_dir()).is_ok_and(|book| book.lets_anybody_in());
        if patient.config.admin.token.is_none() && !has_accounts {
            let what = format!("{address} is open to other machines, and there is neither an account nor a token");
            let remedy = "make one by `host accounts add` or set `[admin] token`, or listen on 127.0.0.1";
            return vec![Finding::problem(SUBJECT, what, remedy)];
        }
        if patient.config.admin.tls.is_none() {
            let what = format!("{address} is open to other machines, and passwords and tokens go there in clear");
            let remedy = "set `[admin] tls`, or listen on 127.0.0.1 behind a proxy that speaks TLS";
            return vec![Finding::warning(SUBJECT, what, remedy)];
        }
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
