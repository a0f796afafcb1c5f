//! `logging/devnull`: no log at all.
//!
//! ```text
//! logging/devnull
//! ```
//!
//! Takes no arguments and reads no config file. Since a logging plugin is loaded, the built-in
//! logger is silent; this one prints nothing. Beside other logging plugins it changes nothing.
//! There is no target that could fail.

use crate::plugin::log::Output;

/// Reads the arguments.
///
/// # Errors
///
/// Any argument.
pub fn load(args: &[&str]) -> Result<Output, String> {
    match args {
        [] => Ok(Output::Devnull),
        [word, ..] => Err(format!("unknown argument {word:?}; none is allowed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        assert_eq!(load(&[]), Ok(Output::Devnull));
        assert_eq!(load(&["x"]), Err("unknown argument \"x\"; none is allowed".to_owned()));
    }
}
