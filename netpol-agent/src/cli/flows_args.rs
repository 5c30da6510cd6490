//! Arguments of `flows` and `top drops`.

use std::{str::FromStr, time::Duration};

use clap::ValueEnum;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::{
    ctl::api::FlowsRequest,
    flow::{Filter, Test, Verdict},
};

/// Which records. All of these may be given several times: the same one again is an alternative, another one narrows.
#[derive(Clone, PartialEq, Eq, clap::Args, Debug, Default)]
pub struct FilterFlags {
    /// Only these
    #[arg(long, value_name = "dropped|forwarded|audit", value_parser = test("verdict"))]
    pub verdict: Vec<Test>,
    /// Only those with this pod at either end
    #[arg(long, value_name = "NS/NAME", value_parser = test("pod"))]
    pub pod: Vec<Test>,
    /// Only those that this pod sent
    #[arg(long, value_name = "NS/NAME", value_parser = test("from-pod"))]
    pub from_pod: Vec<Test>,
    /// Only those for this pod
    #[arg(long, value_name = "NS/NAME", value_parser = test("to-pod"))]
    pub to_pod: Vec<Test>,
    /// Only those with a pod of this namespace at either end
    #[arg(short, long, value_name = "NS", value_parser = test("namespace"))]
    pub namespace: Vec<Test>,
    /// Only those with a pod with these labels at either end: app=db, or tier in (a,b)
    #[arg(short, long, value_name = "SELECTOR", value_parser = test("label"))]
    pub label: Vec<Test>,
    /// Only those with a pod of this workload at either end
    #[arg(long, value_name = "[KIND/]NAME", value_parser = test("workload"))]
    pub workload: Vec<Test>,
    /// Only those for this Service
    #[arg(long, value_name = "NS/NAME", value_parser = test("service"))]
    pub service: Vec<Test>,
    /// Only those with this port at either end
    #[arg(long, value_name = "N", value_parser = test("port"))]
    pub port: Vec<Test>,
    /// Only those of this protocol
    #[arg(long, value_name = "NAME", value_parser = test("protocol"))]
    pub protocol: Vec<Test>,
    /// Only drops for this reason
    #[arg(long, value_name = "WORD", value_parser = test("reason"))]
    pub reason: Vec<Test>,
    /// Only those that this policy allowed, or denied
    #[arg(long, value_name = "NS/NAME", value_parser = test("policy"))]
    pub policy: Vec<Test>,
    /// Only those that were judged at this end
    #[arg(long, value_name = "ingress|egress", value_parser = test("direction"))]
    pub direction: Vec<Test>,
    /// None of those that this holds for, such as namespace=kube-system or port=53
    #[arg(long, value_name = "FIELD=VALUE")]
    pub not: Vec<Test>,
    /// Only those of this last while: 30s, 5m, 2h
    #[arg(long, value_name = "TIME")]
    pub since: Option<SinceFlag>,
}

type Parser = fn(&str, &str) -> Result<Test, String>;

fn test(field: &'static str) -> impl Fn(&str) -> Result<Test, String> + Clone + Send + Sync + 'static {
    let parse: Parser = Test::parse;
    move |value: &str| parse(field, value)
}

impl FilterFlags {
    /// The filter, at the time `now`.
    #[must_use]
    pub fn filter(&self, now: Timestamp) -> Filter {
        let f = self;
        let only = [
            &f.verdict,
            &f.pod,
            &f.from_pod,
            &f.to_pod,
            &f.namespace,
            &f.label,
            &f.workload,
            &f.service,
            &f.port,
            &f.protocol,
            &f.reason,
            &f.policy,
            &f.direction,
        ];
        let only = only.into_iter().flatten().cloned().collect();
        Filter { only, not: f.not.clone(), since: f.since.map(|since| since.before(now)) }
    }
}

/// Arguments of `flows`.
#[derive(Clone, PartialEq, Eq, clap::Args, Debug)]
pub struct FlowsFlags {
    /// Go on with new records as they come
    #[arg(short, long)]
    pub follow: bool,
    /// At most so many of those that are kept, the newest [default: 20; with --follow: 0; with --since: all]
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// Which ones.
    #[command(flatten)]
    pub filter: FilterFlags,
}

impl FlowsFlags {
    /// The request, at the time `now`.
    #[must_use]
    pub fn request(&self, now: Timestamp) -> FlowsRequest {
        // A time alone asks for everything in it.
        let default = match (self.follow, self.filter.since) {
            (_, Some(_)) => usize::MAX,
            (true, None) => 0,
            (false, None) => 20,
        };
        FlowsRequest {
            filter: self.filter.filter(now),
            last: self.last.unwrap_or(default),
            follow: self.follow,
        }
    }
}

/// What is counted.
#[derive(Clone, PartialEq, Eq, clap::Subcommand, Debug)]
pub enum Top {
    /// Drops that are kept, the most frequent first
    Drops(TopFlags),
}

/// Arguments of `top drops`.
#[derive(Clone, PartialEq, Eq, clap::Args, Debug)]
pub struct TopFlags {
    /// What counts as the same
    #[arg(long, value_enum, default_value_t = By::Pods)]
    pub by: By,
    /// At most so many lines
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Again every two seconds, until it is ended
    #[arg(short, long)]
    pub watch: bool,
    /// Which ones.
    #[command(flatten)]
    pub filter: FilterFlags,
}

/// Values of `--by`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum By {
    /// Who to whom, at which port, for which reason
    Pods,
    /// The policies that isolate
    Policy,
    /// The reason
    Reason,
}

impl TopFlags {
    /// The request, at the time `now`.
    #[must_use]
    pub fn request(&self, now: Timestamp) -> FlowsRequest {
        let mut filter = self.filter.filter(now);
        filter.only.retain(|test| !matches!(test, Test::Verdict(_)));
        filter.only.push(Test::Verdict(Verdict::Dropped));
        FlowsRequest { filter, last: usize::MAX, follow: false }
    }
}

/// Value of `--since`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SinceFlag(Duration);

impl SinceFlag {
    /// So long before `now`.
    #[must_use]
    pub fn before(self, now: Timestamp) -> Timestamp {
        let ago = SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX);
        now.checked_sub(ago).unwrap_or(Timestamp::MIN)
    }
}

impl FromStr for SinceFlag {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => 0,
        };
        let total = number.parse::<u32>().ok().map(|n| u64::from(n) * seconds).filter(|_| seconds > 0);
        total.map(|s| Self(Duration::from_secs(s))).ok_or("a time is a number with s, m, h or d: 30s")
    }
}
