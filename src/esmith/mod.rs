//! The flat databases of SME Server (e-smith), in which its admins keep the settings of a machine.
//!
//! A database is one text file, a record a line: `KEY=TYPE|PROPERTY|VALUE|…`. `record` and `database`
//! are its form and touch nothing, `defaults` says what holds where nothing is stored, `first` makes
//! what is missing; `file` reads and replaces the files so that this program and SME Server's own can
//! work on them side by side. All content is octets: the files are older than UTF-8.

pub mod database;
pub mod defaults;
pub mod expand;
pub mod file;
pub mod first;
pub mod record;
