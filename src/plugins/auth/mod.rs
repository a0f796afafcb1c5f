//! Plugins that know who may log in.

pub mod auth_checkpassword;
pub mod auth_cvm_unix_local;
pub mod auth_flat_file;
pub mod auth_imap;
pub mod auth_ldap_bind;
pub mod authdeny;
pub mod dovecot;
pub mod system;
