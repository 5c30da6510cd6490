//! The kernel: the only user of aya, netlink and `unsafe`.
