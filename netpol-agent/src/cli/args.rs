//! The command line of `netpolctl`.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::{
    ctl::{
        DEFAULT_SOCKET,
        api::{ExplainRequest, FlowsRequest},
    },
    flow::{Filter, Verdict},
    model::Name,
};

/// Shows what the netpol agent of this node knows.
#[derive(Clone, PartialEq, Eq, Parser, Debug)]
#[command(
    name = "netpolctl",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong command line; explain: 0 allowed, 3 denied, 4 the maps contradict the \
                  reference evaluator."
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
    /// What a connection would meet, by which rule, and whether the maps agree
    Explain(ExplainFlags),
}

/// Arguments of `flows`.
#[derive(Clone, PartialEq, Eq, clap::Args, Debug)]
pub struct FlowsFlags {
    /// Go on with new records as they come
    #[arg(short, long)]
    pub follow: bool,
    /// Only these
    #[arg(long, value_enum)]
    pub verdict: Option<VerdictFlag>,
    /// Only those with this pod at either end
    #[arg(long, value_name = "NS/NAME")]
    pub pod: Option<PodFlag>,
    /// At most so many of those that are kept, the newest [default: 20; with --follow: 0]
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// Only those of this last while: 30s, 5m, 2h
    #[arg(long, value_name = "TIME")]
    pub since: Option<SinceFlag>,
}

/// Values of `--verdict`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum VerdictFlag {
    /// Packets that were not forwarded
    Dropped,
    /// Packets that opened a connection
    Forwarded,
}

/// Value of `--pod`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PodFlag(Name);

impl FromStr for PodFlag {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self(Name::new(namespace, name)))
            }
            _ => Err("a pod is NAMESPACE/NAME"),
        }
    }
}

/// Value of `--since`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SinceFlag(Duration);

impl FromStr for SinceFlag {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => 0,
        };
        let total = number.parse::<u32>().ok().map(|n| u64::from(n) * seconds).filter(|_| seconds > 0);
        total.map(|s| Self(Duration::from_secs(s))).ok_or("a time is a number with s, m or h: 30s")
    }
}

impl FlowsFlags {
    /// The request, at the time `now`.
    #[must_use]
    pub fn request(&self, now: Timestamp) -> FlowsRequest {
        let verdict = self.verdict.map(|verdict| match verdict {
            VerdictFlag::Dropped => Verdict::Dropped,
            VerdictFlag::Forwarded => Verdict::Forwarded,
        });
        let ago = |SinceFlag(ago): SinceFlag| {
            let ago = SignedDuration::try_from(ago).unwrap_or(SignedDuration::MAX);
            now.checked_sub(ago).unwrap_or(Timestamp::MIN)
        };
        let pod = self.pod.clone().map(|PodFlag(name)| name);
        // A time alone asks for everything in it.
        let default = match (self.follow, self.since) {
            (_, Some(_)) => usize::MAX,
            (true, None) => 0,
            (false, None) => 20,
        };
        FlowsRequest {
            filter: Filter { verdict, pod, since: self.since.map(ago) },
            last: self.last.unwrap_or(default),
            follow: self.follow,
        }
    }
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
    fn flows_are_asked_for_as_people_expect() {
        assert_eq!((flows(&[]).last, flows(&["--follow"]).last), (20, 0));
        assert_eq!(flows(&["-f", "--last", "5"]).last, 5);
        let asked = flows(&["--verdict", "dropped", "--pod", "shop/web", "--since", "5m"]);
        assert_eq!(asked.filter.since.unwrap().to_string(), "2026-03-01T11:55:00Z");
        assert_eq!((asked.filter.verdict, asked.last), (Some(Verdict::Dropped), usize::MAX));
        for wrong in
            [["--pod", "web"], ["--since", "5"], ["--since", ""], ["--since", "5ü"], ["--verdict", "lost"]]
        {
            assert!(Args::try_parse_from(["netpolctl", "flows"].iter().chain(&wrong)).is_err(), "{wrong:?}");
        }
    }
}
