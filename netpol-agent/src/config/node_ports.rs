use std::str::FromStr;

use crate::index::NodePortAddresses;

/// A value of `--nodeport-addresses`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodePorts(pub NodePortAddresses);

impl FromStr for NodePorts {
    type Err = ipnet::AddrParseError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "primary" {
            return Ok(Self(NodePortAddresses::Primary));
        }
        let nets = text.split(',').map(|net| net.trim().parse());
        Ok(Self(NodePortAddresses::Within(nets.collect::<Result<_, _>>()?)))
    }
}
