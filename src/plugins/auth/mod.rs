//! Plugins that know who may log in.

pub mod auth_flat_file;
pub mod authdeny;
