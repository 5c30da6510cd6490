//! Which rule of a slot allows a peer and a port.

use crate::{
    net::proto,
    policy::{ClassId, PolicyKey, PolicyRow, PortKey, RuleId, SlotId},
};

/// The two tables that the question is asked of.
pub trait PolicyTables {
    /// A row of `np_policy`.
    fn policy(&self, key: &PolicyKey) -> Option<PolicyRow>;
    /// A row of `np_port`.
    fn port(&self, key: &PortKey) -> Option<RuleId>;
}

/// The rule of `slot` that allows `class` on `port` (host order) of `protocol`, or [`RuleId::NONE`].
///
/// `has_any` says that the slot has a row for [`ClassId::ANY`]; it saves a lookup that would miss. A protocol without
/// ports is allowed only by rules that name no port.
#[inline(always)]
pub fn evaluate<T: PolicyTables>(
    tables: &T,
    slot: SlotId,
    class: ClassId,
    has_any: bool,
    protocol: u8,
    port: u16,
) -> RuleId {
    let mut row = None;
    if class != ClassId::ANY {
        row = tables.policy(&PolicyKey { slot, class });
    }
    if row.is_none() && has_any {
        row = tables.policy(&PolicyKey { slot, class: ClassId::ANY });
    }
    let Some(row) = row else { return RuleId::NONE };
    if row.any != RuleId::NONE {
        return row.any;
    }
    let lengths = match protocol {
        proto::TCP => row.tcp,
        proto::UDP => row.udp,
        proto::SCTP => row.sctp,
        _ => 0,
    };
    if lengths == 0 {
        return RuleId::NONE;
    }
    // Longest first, so that the rule named is the most specific one; the two usual lengths need no loop.
    if lengths & (1 << 16) != 0
        && let Some(rule) =
            tables.port(&PortKey { ports: row.ports, port, proto: protocol, prefix: 16, pad: 0 })
    {
        return rule;
    }
    if lengths & 0xfffe != 0 {
        let mut mask = u16::MAX;
        let mut len = 15u8;
        while len > 0 {
            mask <<= 1;
            if lengths & (1 << len) != 0
                && let Some(rule) = tables.port(&PortKey {
                    ports: row.ports,
                    port: port & mask,
                    proto: protocol,
                    prefix: len,
                    pad: 0,
                })
            {
                return rule;
            }
            len -= 1;
        }
    }
    if lengths & 1 != 0
        && let Some(rule) =
            tables.port(&PortKey { ports: row.ports, port: 0, proto: protocol, prefix: 0, pad: 0 })
    {
        return rule;
    }
    RuleId::NONE
}
