//! `prevResult`: what the plugins before have made of the container's network.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Code, Error};

#[derive(Deserialize)]
struct Previous {
    #[serde(default)]
    interfaces: Vec<Interface>,
    #[serde(default)]
    ips: Vec<Ip>,
}
#[derive(Deserialize)]
struct Interface {
    #[serde(default)]
    name: String,
    /// Empty on the node.
    #[serde(default)]
    sandbox: String,
}
#[derive(Deserialize)]
struct Ip {
    /// With a prefix length.
    address: String,
    /// Index into the interfaces; none: the container's.
    #[serde(default)]
    interface: Option<usize>,
}

/// The addresses of the container's interface with this name.
pub(crate) fn addresses(result: &RawValue, ifname: &str) -> Result<Vec<IpAddr>, Error> {
    let wrong = |what: String| Error::new(Code::Decode, format!("prevResult: {what}"));
    let Previous { interfaces, ips } =
        serde_json::from_str(result.get()).map_err(|error| wrong(error.to_string()))?;
    let mut addresses = Vec::new();
    for Ip { address, interface } in &ips {
        let is_its = match interface {
            None => true,
            Some(index) => {
                let interface = interfaces.get(*index);
                let Interface { name, sandbox } =
                    interface.ok_or_else(|| wrong(format!("there is no interface {index}")))?;
                !sandbox.is_empty() && name == ifname
            }
        };
        if is_its {
            let text = address.split('/').next().unwrap_or_default();
            addresses.push(text.parse().map_err(|error| wrong(format!("ips: {address}: {error}")))?);
        }
    }
    match addresses.is_empty() {
        true => Err(Error::new(
            Code::Configuration,
            format!("prevResult: {ifname} has no address: the plugin must follow the one that gives it one"),
        )),
        false => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<IpAddr>, Error> {
        addresses(&RawValue::from_string(text.to_owned()).unwrap(), "eth0")
    }

    #[test]
    fn the_containers_addresses_are_taken_and_no_others() {
        let text = r#"{"cniVersion": "1.0.0",
            "interfaces": [{"name": "veth1"}, {"name": "eth0", "sandbox": "/run/netns/a"}, {"name": "net1", "sandbox": "/run/netns/a"}],
            "ips": [{"address": "10.0.0.5/24", "interface": 1}, {"address": "10.9.9.9/24", "interface": 2},
                    {"address": "fd00::5/64", "interface": 1}, {"address": "10.0.0.1/24", "interface": 0}]}"#;
        assert_eq!(of(text).unwrap(), ["10.0.0.5".parse::<IpAddr>().unwrap(), "fd00::5".parse().unwrap()]);
        // As 0.3.1 has it, and as calico gives it: without interfaces.
        let text = r#"{"ips": [{"version": "4", "address": "10.0.0.5/32"}]}"#;
        assert_eq!(of(text).unwrap().len(), 1);
    }

    #[test]
    fn a_result_without_the_interfaces_address_is_an_error() {
        for (text, code) in [
            ("{}", Code::Configuration),
            (r#"{"ips": [{"address": "10.0.0.5/24", "interface": 0}]}"#, Code::Decode),
            (r#"{"ips": [{"address": "ten/24"}]}"#, Code::Decode),
            ("7", Code::Decode),
        ] {
            assert_eq!(of(text).unwrap_err().code, code, "{text}");
        }
    }
}
