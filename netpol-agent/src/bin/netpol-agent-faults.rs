//! The node agent with fault points: a program of its own, so that no test ever runs it by mistake.

#[path = "netpol-agent.rs"]
mod agent;

fn main() -> std::process::ExitCode {
    agent::main()
}
