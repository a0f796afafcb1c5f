//! Names the certificate, with which STARTTLS and TLS from the first octet are offered.
//!
//! The daemon itself speaks TLS; a line `tls` in a list of plugins only says where the certificate is,
//! as in qpsmtpd. The config files `tls_cert` and `tls_key` say the same, and count before it. TLS 1.2
//! and 1.3 are spoken. Keys are agreed on elliptic curves only, which need no parameters of their own:
//! what random DH parameters for each installation were to prevent, a group that many servers share and
//! somebody has broken, cannot happen, so a file with them is read by nobody. Port 25 gives out no
//! session tickets unless `tls_tickets` says so, since Microsoft 365 breaks off handshakes over them.
//!
//! Arguments: `CERT KEY CA DHPARAM`, in this order, all optional (`ssl/qpsmtpd-server.crt`,
//! `ssl/qpsmtpd-server.key`): PEM files by their whole paths, or paths from the folder above the config
//! folder or from the config folder. CA and DHPARAM are not needed. Only the first such line counts.
//!
//! Config files: `tls_cert`, `tls_key` (paths), the folder `tls_certs` (`NAME.crt` and `NAME.key` for
//! clients that ask for NAME), `tls_ca` (clients are asked for certificates that this CA has signed),
//! `tls_tickets` (0), `tls_before_auth` (1: AUTH is offered under TLS only), `tls_protocols`,
//! `tls_ciphers` (in the words of OpenSSL; what there is no word for is named by `check-config`).
//!
//! Replies: `220 2.0.0 Go ahead with TLS`. A failed handshake closes the connection, and the client is
//! offered no STARTTLS on port 25 for an hour, so that it can deliver without.
//!
//! Karma: none.
//!
//! When it cannot tell: without a readable certificate STARTTLS is not offered, and a start with
//! `tls_cert` is refused; a reload with a certificate that does not fit its key is refused and the old
//! one stays.
