//! The command line of `netpolctl`.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub use super::{
    flows_args::{By, FilterFlags, FlowsFlags, SinceFlag, Top, TopFlags},
    past_args::{SimulateFlags, SuggestFlags},
};
use crate::{
    ctl::{DEFAULT_SOCKET, api::ExplainRequest},
    diagnose::Subject,
};

/// Shows what the netpol agent of this node knows.
#[derive(Clone, PartialEq, Eq, Parser, Debug)]
#[command(
    name = "netpolctl",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong command line; explain: 0 allowed, 3 denied, 4 the maps contradict the \
                  reference evaluator; simulate: 3 something would be denied; check, why: 5 errors, 6 warnings only."
)]
pub struct Args {
    /// Where the agent listens
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Tables for people, or JSON
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Values of `--output`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum Format {
    /// Tables for people
    Table,
    /// The same, but one line after the other as they come (flows)
    Compact,
    /// JSON: one value, or one per line (flows)
    Json,
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Subcommand, Debug)]
pub enum Command {
    /// How the agent is doing: counters, table sizes, problems with objects
    Status,
    /// The pods of this node, and whether their policies are in place
    Endpoints,
    /// The policies, what they isolate and where they come from
    Policies,
    /// The Services and their backends
    Services,
    /// The numbers, as OpenMetrics text
    Metrics,
    /// What packets have met: drops, and new connections while somebody follows
    Flows(FlowsFlags),
    /// What is most frequent
    #[command(subcommand)]
    Top(Top),
    /// What is wrong with this node and with what its agent knows of, and what to do about it
    Check,
    /// Why a Service has no endpoints, who may reach a pod, what a policy does and which parts of it do nothing
    Why {
        /// service/NAMESPACE/NAME, pod/NAMESPACE/NAME or networkpolicy/NAMESPACE/NAME
        subject: Subject,
    },
    /// What a connection would meet, by which rule, and whether the maps agree
    Explain(ExplainFlags),
    /// What a change of policies would do to what pods did lately
    Simulate(SimulateFlags),
    /// NetworkPolicies that allow what a namespace's pods did lately, as YAML for kubectl apply
    Suggest(SuggestFlags),
}

/// Arguments of `explain`.
#[derive(Clone, PartialEq, Eq, clap::Args, Debug)]
pub struct ExplainFlags {
    /// Who opens the connection: NS/POD, node:NAME or an address
    pub from: String,
    /// Who is meant: the same, or service:NS/NAME
    pub to: String,
    /// Destination port; not needed where the pod or Service has only one
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// TCP, UDP, SCTP, ICMP, ICMPv6 or a number
    #[arg(long, value_name = "PROTOCOL", default_value = "TCP")]
    pub protocol: String,
}

impl ExplainFlags {
    /// The request.
    #[must_use]
    pub fn request(&self) -> ExplainRequest {
        let Self { from, to, port, protocol } = self.clone();
        ExplainRequest { from, to, port, protocol }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::{
        ctl::api::FlowsRequest,
        flow::{Test, Verdict},
    };

    fn flows(words: &[&str]) -> FlowsRequest {
        let words = ["netpolctl", "flows"].iter().chain(words);
        let Command::Flows(flags) = Args::parse_from(words).command else { panic!("not flows") };
        flags.request("2026-03-01T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
        let args = Args::parse_from(["netpolctl", "status", "-o", "json", "--socket", "/x"]);
        assert_eq!((args.output, args.socket.to_str()), (Format::Json, Some("/x")));
    }

    #[test]
    fn a_simulation_needs_a_change_and_a_suggestion_a_namespace() {
        let parse =
            |words: &[&str]| Args::try_parse_from(["netpolctl"].iter().chain(words)).map(|a| a.command);
        for wrong in [
            vec!["simulate"],
            vec!["simulate", "--since", "1h"],
            vec!["simulate", "--delete", "web"],
            vec!["suggest"],
            vec!["suggest", "-n", "shop", "--since", "1w"],
        ] {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
        assert!(parse(&["simulate", "--delete", "shop/web"]).is_ok());
        let Ok(Command::Suggest(flags)) = parse(&["suggest", "-n", "shop", "--since", "1d"]) else {
            panic!()
        };
        let request = flags.request("2026-03-02T12:00:00Z".parse().unwrap());
        assert_eq!(request.since.unwrap().to_string(), "2026-03-01T12:00:00Z");
    }

    #[test]
    fn flows_are_asked_for_as_people_expect() {
        assert_eq!((flows(&[]).last, flows(&["--follow"]).last), (20, 0));
        assert_eq!(flows(&["-f", "--last", "5"]).last, 5);
        let asked = flows(&["--verdict", "dropped", "--pod", "shop/web", "--since", "5m"]);
        assert_eq!(asked.filter.since.unwrap().to_string(), "2026-03-01T11:55:00Z");
        assert_eq!(asked.last, usize::MAX);
        assert_eq!(asked.filter.only[0], Test::Verdict(Verdict::Dropped));
        assert_eq!(asked.filter.only.len(), 2);
        let asked = flows(&["--port=1", "--port", "2", "-l", "a in (x,y)", "--not", "namespace=kube-system"]);
        assert_eq!((asked.filter.only.len(), asked.filter.not.len()), (3, 1));
        for wrong in [
            ["--pod", "web"],
            ["--since", "5"],
            ["--since", ""],
            ["--since", "5ü"],
            ["--verdict", "lost"],
            ["--not", "port"],
        ] {
            assert!(Args::try_parse_from(["netpolctl", "flows"].iter().chain(&wrong)).is_err(), "{wrong:?}");
        }
    }
}
