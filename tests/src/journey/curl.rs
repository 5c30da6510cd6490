//! Requests as people make them.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail};

use super::program;
use crate::{
    bed::{Family, Netns},
    serve::Reply,
};

/// How long a request may take that nobody refuses.
const PATIENCE: Duration = Duration::from_secs(3);

/// What came of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// A pod of the bed has answered.
    Pod(Reply),
    /// Somebody else has, with this status.
    Status(u16),
    /// There was no connection, by somebody's word.
    Refused,
    /// Nothing came in time.
    Silence,
    /// The name could not be resolved.
    NoName,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Curl<'a> {
    /// Where it starts.
    pub(super) netns: &'a Netns,
    /// Who is asked for names.
    pub(super) resolv_conf: &'a Path,
    /// Which addresses are used.
    pub(super) family: Family,
    /// What is asked for.
    pub(super) url: &'a str,
    /// Connect to this address and port instead of the one that the URL names.
    pub(super) by_way_of: Option<&'a str>,
}

impl Curl<'_> {
    /// Runs `curl`.
    ///
    /// # Errors
    /// If there is none, or what it says is none of [`Answer`].
    pub(super) fn ask(&self) -> Result<Answer> {
        let output = self.command().output().context("curl (package curl)")?;
        let text = String::from_utf8_lossy(&output.stdout);
        // The numbers are documented in curl(1).
        match output.status.code() {
            Some(0) => {}
            Some(6) => return Ok(Answer::NoName),
            Some(7) => return Ok(Answer::Refused),
            Some(28) => return Ok(Answer::Silence),
            other => bail!("curl ended with {other:?}: {}", String::from_utf8_lossy(&output.stderr)),
        }
        let (body, status) = text.rsplit_once('\n').context("no status")?;
        let status: u16 = status.parse().with_context(|| format!("status of {text}"))?;
        match status {
            200 => Ok(Answer::Pod(serde_json::from_str(body).with_context(|| body.to_owned())?)),
            status => Ok(Answer::Status(status)),
        }
    }

    fn command(&self) -> Command {
        let mut curl = program::within(self.netns, self.resolv_conf, "curl");
        curl.args([
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--write-out",
            "\n%{http_code}",
            "--max-time",
        ])
        .arg(PATIENCE.as_secs().to_string())
        .arg(match self.family {
            Family::V4 => "-4",
            Family::V6 => "-6",
        });
        if let Some(instead) = self.by_way_of {
            curl.args(["--connect-to", &format!("::{instead}")]);
        }
        curl.arg(self.url);
        curl
    }
}
