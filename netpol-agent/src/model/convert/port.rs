use k8s_openapi::{api::networking::v1::NetworkPolicyPort, apimachinery::pkg::util::intstr::IntOrString};

use super::{port_number, protocol, report::Report};
use crate::model::{Port, PortRange};

/// Reads one item of `ports`; `None` if it has no meaning.
pub(super) fn port(object: &NetworkPolicyPort, path: &str, report: &mut Report<'_>) -> Option<Port> {
    match read(object) {
        Ok(port) => {
            if let Port::Named { name, .. } = &port
                && name.parse::<u16>().is_ok()
            {
                report.note(format!("{path}.port"), format!("{name:?} is the name of a port, not a number"));
            }
            Some(port)
        }
        Err((field, message)) => {
            report.error(format!("{path}.{field}"), format!("{message}; the port allows nothing"));
            None
        }
    }
}

fn read(object: &NetworkPolicyPort) -> Result<Port, (&'static str, String)> {
    // Elsewhere the API takes an empty one for TCP; here it refuses it.
    if object.protocol.as_deref() == Some("") {
        return Err(("protocol", "is empty".to_owned()));
    }
    let proto = protocol(object.protocol.as_deref()).map_err(|why| ("protocol", why))?;
    let number = |field, value| port_number(value).map_err(|why| (field, why));
    match (&object.port, object.end_port) {
        (None, None) => Ok(Port::Range(PortRange { proto, first: 0, last: u16::MAX })),
        (None, Some(_)) => Err(("endPort", "it needs a port to start from".to_owned())),
        (Some(IntOrString::Int(first)), None) => {
            let first = number("port", *first)?;
            Ok(Port::Range(PortRange { proto, first, last: first }))
        }
        (Some(IntOrString::Int(first)), Some(last)) => {
            let (first, last) = (number("port", *first)?, number("endPort", last)?);
            if last < first {
                return Err(("endPort", format!("{last} is less than port {first}")));
            }
            Ok(Port::Range(PortRange { proto, first, last }))
        }
        (Some(IntOrString::String(_)), Some(_)) => {
            Err(("endPort", "it needs a port given as a number".to_owned()))
        }
        (Some(IntOrString::String(name)), None) if name.is_empty() => {
            Err(("port", "the name is empty".to_owned()))
        }
        (Some(IntOrString::String(name)), None) => Ok(Port::Named { proto, name: name.clone() }),
    }
}
