use ipnet::IpNet;
use k8s_openapi::api::networking::v1::IPBlock;

use super::report::Report;
use crate::model::Block;

/// Reads an `ipBlock`; `None` if any part of it has no meaning, because half of a block may be more than was meant.
pub(super) fn block(object: &IPBlock, path: &str, report: &mut Report<'_>) -> Option<Block> {
    let cidr = prefix(&object.cidr, &format!("{path}.cidr"), report);
    let mut except = Vec::new();
    let mut readable = true;
    for (i, text) in object.except.iter().flatten().enumerate() {
        let path = format!("{path}.except[{i}]");
        let (Some(inner), Some(outer)) = (prefix(text, &path, report), cidr) else {
            readable = false;
            continue;
        };
        if inner.max_prefix_len() != outer.max_prefix_len() {
            report.error(path, format!("{inner} is not of the family of {outer}; the block matches nothing"));
            readable = false;
        } else if inner.contains(&outer) {
            report.error(path, format!("{inner} leaves nothing of {outer}; the block matches nothing"));
            readable = false;
        } else if !outer.contains(&inner) {
            report.error(path, format!("{inner} lies outside {outer}; it has no effect"));
        } else {
            except.push(inner);
        }
    }
    except.sort_unstable();
    except.dedup();
    except.shrink_to_fit();
    cidr.filter(|_| readable).map(|cidr| Block { cidr, except })
}

fn prefix(text: &str, path: &str, report: &mut Report<'_>) -> Option<IpNet> {
    let written: IpNet = match text.parse() {
        Ok(written) => written,
        Err(error) => {
            report.error(path, format!("{text:?}: {error}; the block matches nothing"));
            return None;
        }
    };
    let prefix = written.trunc();
    if prefix != written {
        report.note(path, format!("{written} has bits set behind its prefix; read as {prefix}"));
    }
    if let IpNet::V6(v6) = prefix
        && v6.prefix_len() >= 96
        && v6.addr().to_ipv4_mapped().is_some()
    {
        report.error(path, format!("{prefix} is an IPv6 prefix and matches no IPv4 packet"));
    }
    Some(prefix)
}
