//! The binary: hands its arguments to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    mailreeve::commands::main(std::env::args_os())
}
