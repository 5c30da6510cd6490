//! The plugin. Container runtimes call it; people do not.

use std::process::ExitCode;

fn main() -> ExitCode {
    netpol_cni::main()
}
