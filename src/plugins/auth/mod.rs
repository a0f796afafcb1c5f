//! Plugins that know who may log in.

pub mod authdeny;
