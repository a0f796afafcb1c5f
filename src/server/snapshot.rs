//! A snapshot of the configuration as the daemon goes over to it: settings, plugins, and TLS.

use crate::config::Defaults;
use crate::config::files::{Files, Problem, Severity};
use crate::plugin::site::Site;
use crate::plugins::load::{self, Strictness};
use crate::server::clock;
use crate::server::tls::Contexts;
use std::sync::Arc;

/// Settings and plugins, and TLS where there is a certificate.
pub struct Snapshot {
    /// Settings and plugins.
    pub site: Site,
    /// TLS.
    pub tls: Option<Arc<Contexts>>,
}

/// Reads a folder: everything that is wrong is in the list, what is wrong with certificates too.
pub fn load(
    files: &Files,
    defaults: &Defaults,
    earlier: Option<&Site>,
    strictness: Strictness,
) -> (Snapshot, Vec<Problem>) {
    let (site, mut problems) = load::load(files, defaults, earlier, strictness);
    let tls = Contexts::build(&site.config.tls, clock::unix(), &mut problems).map(Arc::new);
    for listen in site.config.listen.iter().filter(|_| tls.is_none()) {
        let address = listen.address;
        if listen.role.smtps {
            let what = format!("{address} smtps: there is no certificate to offer: set tls_cert");
            Problem::in_file(Severity::Error, "listen", what).note(&mut problems);
        } else if listen.role.submission && site.config.tls.before_auth {
            let what = format!(
                "{address} submission: nobody can log in without TLS: set tls_cert, or write 0 into \
                 tls_before_auth"
            );
            Problem::in_file(Severity::Warning, "listen", what).note(&mut problems);
        }
    }
    (Snapshot { site, tls }, problems)
}
