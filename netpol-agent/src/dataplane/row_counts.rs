use super::Rows;

/// How many rows there are, per map; for maps of two families of IPv4 and of IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RowCounts {
    /// `np_port`
    pub ports: usize,
    /// `np_policy`
    pub policy: usize,
    /// `np_cidr4`, `np_cidr6`
    pub cidrs: [usize; 2],
    /// `np_peer4`, `np_peer6`
    pub peers: [usize; 2],
    /// `np_ep`
    pub endpoints: usize,
    /// `np_fe4`, `np_fe6`
    pub frontends: [usize; 2],
    /// `np_svc`
    pub services: usize,
    /// `np_be4`, `np_be6`
    pub backends: [usize; 2],
    /// `np_member4`, `np_member6`
    pub members: [usize; 2],
    /// `np_range4`, `np_range6`
    pub ranges: [usize; 2],
    /// `np_svcnet4`, `np_svcnet6`
    pub service_nets: [usize; 2],
    /// `np_cluster4`, `np_cluster6`
    pub cluster: [usize; 2],
}

/// How many of IPv4 there are and how many of IPv6, given of each whether it is of IPv4.
pub(crate) fn by_family(are_four: impl IntoIterator<Item = bool>) -> [usize; 2] {
    are_four.into_iter().fold(
        [0, 0],
        |[four, six], is_four| {
            if is_four { [four + 1, six] } else { [four, six + 1] }
        },
    )
}

impl Rows {
    /// How many they are.
    #[must_use]
    pub fn counts(&self) -> RowCounts {
        RowCounts {
            ports: self.ports.len(),
            policy: self.policy.len(),
            cidrs: by_family(self.cidrs.keys().map(|net| net.addr().is_ipv4())),
            peers: by_family(self.peers.keys().map(|addr| addr.is_ipv4())),
            endpoints: self.endpoints.len(),
            frontends: by_family(self.frontends.keys().map(|frontend| frontend.addr.is_ipv4())),
            services: self.services.len(),
            backends: by_family(self.backends.values().flatten().map(|backend| backend.addr.is_ipv4())),
            members: by_family(self.members.iter().map(|member| member.backend.addr.is_ipv4())),
            ranges: by_family(self.ranges.iter().map(|range| range.net.addr().is_ipv4())),
            service_nets: by_family(self.service_nets.iter().map(|net| net.addr().is_ipv4())),
            cluster: by_family(self.cluster.keys().map(|addr| addr.is_ipv4())),
        }
    }
}
