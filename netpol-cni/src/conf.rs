//! The configuration on stdin: the plugin's object in the list, with what the runtime adds to it.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    DEFAULT_DIR,
    error::{Code, Error},
    protocol::Attachment,
};

/// The versions of the specification that are spoken.
pub const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Time that the kubelet's watch and the agent's may be apart, with room to spare; it is over long before the kubelet gives up.
const TIMEOUT_S: u64 = 10;

/// What the plugin reads of it. Keys that it does not know are the runtime's, or other versions'.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Conf {
    #[serde(default)]
    pub(crate) cni_version: String,
    /// Of the network.
    #[serde(default)]
    pub(crate) name: String,
    /// Where the agent is met.
    #[serde(default = "default_dir")]
    pub(crate) dir: PathBuf,
    /// How long ADD waits, in seconds.
    #[serde(default = "default_timeout")]
    timeout_seconds: u64,
    /// This is the object in front of the plugin that makes the interface: nothing gets in or out until the last one is done.
    #[serde(default)]
    pub(crate) hold: bool,
    /// Let a pod start without its policy, where the agent is away or takes too long.
    #[serde(default)]
    pub(crate) fail_open: bool,
    /// What the plugins before have made.
    #[serde(default)]
    pub(crate) prev_result: Option<Box<RawValue>>,
    #[serde(default, rename = "cni.dev/valid-attachments")]
    valid: Option<Vec<Valid>>,
}

#[derive(Deserialize, Debug)]
struct Valid {
    #[serde(rename = "containerID")]
    container: String,
    ifname: String,
}

fn default_dir() -> PathBuf {
    DEFAULT_DIR.into()
}
const fn default_timeout() -> u64 {
    TIMEOUT_S
}

impl Conf {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let conf: Self = serde_json::from_str(text)
            .map_err(|error| Error::new(Code::Decode, format!("network configuration: {error}")))?;
        let wrong = |what: &str| Error::new(Code::Configuration, format!("network configuration: {what}"));
        if !VERSIONS.contains(&conf.cni_version.as_str()) {
            let version = &conf.cni_version;
            let message = format!("cniVersion {version:?} is not spoken; these are: {}", VERSIONS.join(", "));
            return Err(Error::new(Code::Version, message));
        }
        if conf.name.is_empty() {
            return Err(wrong("name is missing"));
        }
        if !(1..=300).contains(&conf.timeout_seconds) {
            return Err(wrong("timeoutSeconds is from 1 to 300"));
        }
        if !conf.dir.is_absolute() {
            return Err(wrong("dir is no absolute path"));
        }
        Ok(conf)
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    /// What GC is told to leave alone.
    pub(crate) fn valid_attachments(&self) -> Result<Vec<Attachment>, Error> {
        let missing = "network configuration: cni.dev/valid-attachments is missing";
        let valid = self.valid.as_ref().ok_or_else(|| Error::new(Code::Configuration, missing))?;
        let attachment = |v: &Valid| Attachment { container: v.container.clone(), ifname: v.ifname.clone() };
        Ok(valid.iter().map(attachment).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_closed_and_waits_ten_seconds() {
        let conf =
            Conf::parse(r#"{"cniVersion": "1.0.0", "name": "n", "type": "netpol-cni", "more": 1}"#).unwrap();
        assert_eq!((conf.fail_open, conf.timeout()), (false, Duration::from_secs(10)));
        assert_eq!(conf.dir, PathBuf::from("/run/netpol/cni"));
        assert!(conf.prev_result.is_none() && conf.valid_attachments().is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, code, named) in [
            ("{", Code::Decode, "EOF"),
            (r#"{"name": "n"}"#, Code::Version, "cniVersion"),
            (r#"{"cniVersion": "0.2.0", "name": "n"}"#, Code::Version, "0.2.0"),
            (r#"{"cniVersion": "1.1.0"}"#, Code::Configuration, "name"),
            (
                r#"{"cniVersion": "1.1.0", "name": "n", "timeoutSeconds": 0}"#,
                Code::Configuration,
                "timeoutSeconds",
            ),
            (r#"{"cniVersion": "1.1.0", "name": "n", "dir": "run"}"#, Code::Configuration, "dir"),
            (r#"{"cniVersion": "1.1.0", "name": "n", "failOpen": "no"}"#, Code::Decode, "boolean"),
        ] {
            let error = Conf::parse(text).unwrap_err();
            assert!(error.code == code && error.message.contains(named), "{text}: {error:?}");
        }
    }
}
