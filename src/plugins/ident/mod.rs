//! Plugins that find out what kind of client it is.

pub mod geoip;
pub mod p0f;
