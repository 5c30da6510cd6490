//! The packet buffer. The only file that calls helpers on it.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_ADJ_ROOM_FIXED_GSO, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM,
        bpf_adj_room_mode::BPF_ADJ_ROOM_MAC, bpf_fib_lookup, bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1,
    },
    helpers::{
        self, bpf_l4_csum_replace, bpf_redirect, bpf_redirect_neigh, bpf_redirect_peer, bpf_skb_adjust_room,
        bpf_skb_change_tail, bpf_skb_change_type, bpf_skb_load_bytes, bpf_skb_pull_data, bpf_skb_store_bytes,
    },
    programs::TcContext,
};
use bytemuck::Pod;
use netpol_common::reason::DropReason;

/// The kernel's packet buffer. Methods that change the packet take `&mut self`: no pointer into it outlives them.
pub struct Skb(*mut __sk_buff);

/// A checksum in the packet that follows a change elsewhere in it.
#[derive(Clone, Copy)]
pub struct Checksum {
    /// Offset from the Ethernet header.
    pub offset: u32,
    /// `BPF_F_MARK_MANGLED_0` for UDP, where 0 means "none" and stays.
    pub flags: u64,
}

impl Skb {
    #[inline(always)]
    pub fn new(ctx: &TcContext) -> Self {
        Self(ctx.skb.skb)
    }

    /// The same buffer, as it is handed from one stage to the next.
    #[inline(always)]
    pub fn from_raw(raw: *mut __sk_buff) -> Self {
        Self(raw)
    }

    /// See `from_raw`.
    #[inline(always)]
    pub fn raw(&self) -> *mut __sk_buff {
        self.0
    }

    /// Length in bytes with Ethernet header; all segments of a GSO packet together.
    #[inline(always)]
    pub fn len(&self) -> u32 {
        // SAFETY: the context pointer is the kernel's and lives as long as the program.
        unsafe { (*self.0).len }
    }

    /// Interface that the program is attached to.
    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: as in `len`.
        unsafe { (*self.0).ifindex }
    }

    /// Bytes of payload that each of its packets will have if it is several (GSO), else 0.
    #[inline(always)]
    pub fn gso_size(&self) -> u32 {
        // SAFETY: as in `len`.
        unsafe { (*self.0).gso_size }
    }

    /// Interface that the packet came in by; 0 if it was made on this node (`skb->skb_iif`).
    #[inline(always)]
    pub fn ingress_ifindex(&self) -> u32 {
        // SAFETY: as in `len`.
        unsafe { (*self.0).ingress_ifindex }
    }

    /// What rules of the node's routing and netfilter may go by (`skb->mark`); 0 unless somebody has set it.
    #[inline(always)]
    pub fn mark(&self) -> u32 {
        // SAFETY: as in `len`.
        unsafe { (*self.0).mark }
    }

    /// EtherType, network byte order in the low 16 bits; a VLAN tag that the device stripped counts as the tag's.
    #[inline(always)]
    pub fn ethertype(&self) -> u32 {
        // SAFETY: as in `len`.
        unsafe { if (*self.0).vlan_present != 0 { 0 } else { (*self.0).protocol } }
    }

    /// Reads a `T` at `offset` in place if it lies in the linear part. `offset` must be as aligned as a `T`, counted from the
    /// network header.
    #[inline(always)]
    pub fn linear<T: Pod>(&self, offset: usize) -> Option<T> {
        // SAFETY: as in `len`; the verifier knows these two fields as packet pointers.
        let (data, end) = unsafe { ((*self.0).data as usize, (*self.0).data_end as usize) };
        if data + offset + size_of::<T>() > end {
            return None;
        }
        // SAFETY: the bytes lie there; network headers are aligned to four bytes in the kernel's buffers (NET_IP_ALIGN).
        Some(unsafe { ((data + offset) as *const T).read() })
    }

    /// Reads what lies before the frame, if an XDP program left so much there.
    #[inline(always)]
    pub fn metadata<T: Pod>(&self) -> Option<T> {
        // SAFETY: as in `linear`.
        let (meta, data) = unsafe { ((*self.0).data_meta as usize, (*self.0).data as usize) };
        if meta + size_of::<T>() > data {
            return None;
        }
        // SAFETY: the bytes lie there; their length is a multiple of four bytes before the frame.
        Some(unsafe { (meta as *const T).read() })
    }

    /// Makes the first `len` bytes linear.
    #[inline(always)]
    pub fn pull(&mut self, len: u32) -> Result<(), DropReason> {
        // SAFETY: the helper checks the length.
        match unsafe { bpf_skb_pull_data(self.0, len) } {
            0 => Ok(()),
            _ => Err(DropReason::Malformed),
        }
    }

    /// Copies a `T` out of the packet, wherever it lies.
    #[inline(always)]
    pub fn load<T: Pod>(&self, offset: u32) -> Result<T, DropReason> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes exactly `size_of::<T>()` bytes or fails.
        let rc = unsafe {
            bpf_skb_load_bytes(self.0.cast(), offset, value.as_mut_ptr().cast(), size_of::<T>() as u32)
        };
        if rc != 0 {
            return Err(DropReason::Malformed);
        }
        // SAFETY: written above.
        Ok(unsafe { value.assume_init() })
    }

    /// Writes a `T` into the packet.
    #[inline(always)]
    pub fn store<T: Copy>(&mut self, offset: u32, value: &T) -> Result<(), DropReason> {
        self.store_first(offset, value, size_of::<T>() as u32)
    }

    /// As `store`, of the first `len` bytes: not more than there are.
    #[inline(always)]
    pub fn store_first<T: Copy>(&mut self, offset: u32, value: &T, len: u32) -> Result<(), DropReason> {
        // SAFETY: the helper checks the offset, and the verifier that so many bytes of the value are initialised.
        let rc = unsafe { bpf_skb_store_bytes(self.0, offset, core::ptr::from_ref(value).cast(), len, 0) };
        if rc != 0 { Err(DropReason::Rewrite) } else { Ok(()) }
    }

    /// Lets a checksum follow a change of two bytes (raw, as they lie).
    #[inline(always)]
    pub fn fix_checksum(&mut self, sum: Checksum, from: u16, to: u16) -> Result<(), DropReason> {
        self.l4_csum_replace(sum.offset, u64::from(from), u64::from(to), sum.flags | 2)
    }

    /// Lets a checksum follow a difference (see `logic::csum::difference`) of bytes it covers directly.
    #[inline(always)]
    pub fn fix_checksum_by(&mut self, sum: Checksum, difference: u32) -> Result<(), DropReason> {
        self.l4_csum_replace(sum.offset, 0, u64::from(difference), sum.flags)
    }

    /// As `fix_checksum_by`, for bytes of the pseudo header: a checksum that the device will fill in holds only those.
    #[inline(always)]
    pub fn fix_pseudo_checksum_by(&mut self, sum: Checksum, difference: u32) -> Result<(), DropReason> {
        self.l4_csum_replace(sum.offset, 0, u64::from(difference), sum.flags | u64::from(BPF_F_PSEUDO_HDR))
    }

    #[inline(always)]
    fn l4_csum_replace(&mut self, offset: u32, from: u64, to: u64, flags: u64) -> Result<(), DropReason> {
        // SAFETY: the helper checks the offset.
        let rc = unsafe { bpf_l4_csum_replace(self.0, offset, from, to, flags) };
        if rc != 0 { Err(DropReason::Rewrite) } else { Ok(()) }
    }

    /// Whether the frame went to the MAC address of the interface that it came in by.
    #[inline(always)]
    pub fn is_for_the_node(&self) -> bool {
        const PACKET_HOST: u32 = 0;
        // SAFETY: as in `len`.
        unsafe { (*self.0).pkt_type == PACKET_HOST }
    }

    /// Whether the frame went to one address, not to many.
    #[inline(always)]
    pub fn is_for_one(&self) -> bool {
        const PACKET_HOST: u32 = 0;
        const PACKET_OTHERHOST: u32 = 3;
        // SAFETY: as in `len`.
        matches!(unsafe { (*self.0).pkt_type }, PACKET_HOST | PACKET_OTHERHOST)
    }

    /// Cuts the frame, or fills it up with zeros, to `len` bytes. It is one packet afterwards, if it was a GSO packet.
    #[inline(always)]
    pub fn resize(&mut self, len: u32) -> Result<(), DropReason> {
        // SAFETY: the helper checks the length.
        let rc = unsafe { bpf_skb_change_tail(self.0, len, 0) };
        if rc != 0 { Err(DropReason::Rewrite) } else { Ok(()) }
    }

    /// Makes room for `len` bytes, zeroed, before the network header.
    #[inline(always)]
    pub fn make_room(&mut self, len: u32) -> Result<(), DropReason> {
        self.adjust_room(len as i32, 0)
    }

    /// The same for another network header, with which the packet is one in a tunnel (`BPF_F_ADJ_ROOM_ENCAP_L3_…`). The packets of a
    /// GSO packet stay as large as they are.
    #[inline(always)]
    pub fn make_outer_room(&mut self, len: u32, tunnel: u32) -> Result<(), DropReason> {
        self.adjust_room(len as i32, tunnel | BPF_F_ADJ_ROOM_FIXED_GSO)
    }

    /// Cuts the first `len` bytes of the network header away, and what is behind them in its place.
    #[inline(always)]
    pub fn cut_room(&mut self, len: u32) -> Result<(), DropReason> {
        self.adjust_room(-(len as i32), BPF_F_ADJ_ROOM_FIXED_GSO)
    }

    #[inline(always)]
    fn adjust_room(&mut self, len: i32, flags: u32) -> Result<(), DropReason> {
        // SAFETY: the helper checks the length.
        let rc = unsafe { bpf_skb_adjust_room(self.0, len, BPF_ADJ_ROOM_MAC, u64::from(flags)) };
        if rc != 0 { Err(DropReason::Rewrite) } else { Ok(()) }
    }

    /// Hands the packet to the peer of `ifindex`, inside that peer's network namespace. Returns the TC action.
    #[inline(always)]
    pub fn redirect_peer(&mut self, ifindex: u32) -> i32 {
        const PACKET_HOST: u32 = 0;
        // SAFETY: as in `len`.
        if unsafe { (*self.0).pkt_type } != PACKET_HOST {
            // A frame that a bridge would have passed on carries the other pod's MAC address: the host side took it for
            // somebody else's, and the pod would ignore it as such. A failure means it stays ignored.
            // SAFETY: the helper checks its arguments.
            unsafe { bpf_skb_change_type(self.0, PACKET_HOST) };
        }
        // SAFETY: the helper takes numbers only.
        unsafe { bpf_redirect_peer(ifindex, 0) as i32 }
    }

    /// As `store`, for a byte that no checksum in the packet makes up for.
    #[inline(always)]
    pub fn store_unbalanced(&mut self, offset: u32, value: u8) -> Result<(), DropReason> {
        let flags = u64::from(BPF_F_RECOMPUTE_CSUM);
        // SAFETY: the helper reads one byte and checks the offset.
        let rc = unsafe { bpf_skb_store_bytes(self.0, offset, (&raw const value).cast(), 1, flags) };
        if rc != 0 { Err(DropReason::Rewrite) } else { Ok(()) }
    }

    /// Asks the node's routing; the answer lies in `route`. Returns a `BPF_FIB_LKUP_RET_…`, or less than 0.
    #[inline(always)]
    pub fn look_up_route(&self, route: &mut Route, flags: u32) -> i64 {
        const { assert!(size_of::<Route>() == size_of::<bpf_fib_lookup>()) };
        let len = size_of::<Route>() as i32;
        // SAFETY: `Route` is laid out as `struct bpf_fib_lookup`, and initialised.
        unsafe { helpers::bpf_fib_lookup(self.0.cast(), core::ptr::from_mut(route).cast(), len, flags) }
    }

    /// Sends the packet out by `ifindex` as it is. Returns the TC action.
    #[inline(always)]
    pub fn redirect(&mut self, ifindex: u32) -> i32 {
        // SAFETY: the helper takes numbers only.
        unsafe { bpf_redirect(ifindex, 0) as i32 }
    }

    /// Sends the packet to the next hop that a route names, under the MAC address that the kernel knows, asks for or confirms. Returns the
    /// TC action.
    #[inline(always)]
    pub fn redirect_to_next_hop(&mut self, way: &Route) -> i32 {
        let mut hop = bpf_redir_neigh {
            nh_family: way.family.into(),
            __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 { ipv6_nh: way.dst },
        };
        // SAFETY: the helper reads so many bytes of `hop`, which is initialised.
        unsafe { bpf_redirect_neigh(way.ifindex, &raw mut hop, size_of_val(&hop) as i32, 0) as i32 }
    }

    /// Sends the packet out by `ifindex` once the kernel has found the next hop's MAC address. Returns the TC action.
    #[inline(always)]
    pub fn redirect_by_neighbour(&mut self, ifindex: u32) -> i32 {
        // SAFETY: without parameters the helper asks the routing for the next hop.
        unsafe { bpf_redirect_neigh(ifindex, core::ptr::null_mut(), 0, 0) as i32 }
    }
}

/// `struct bpf_fib_lookup` of include/uapi/linux/bpf.h: the question, and the answer in its place.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Route {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    pub l4_protocol: u8,
    pub sport: u16,
    pub dport: u16,
    /// Asked: bytes from the network header on, 0 for the packet's own, which are compared with the interface's MTU. Answered, from
    /// kernel 5.12 on: the MTU.
    pub tot_len: u16,
    /// Asked: the interface that it came in by, or with `BPF_FIB_LOOKUP_OUTPUT` goes out by. Answered: goes out by.
    pub ifindex: u32,
    /// Asked: IPv4's type of service in the first byte, or IPv6's traffic class and flow label as they lie in a packet.
    pub tos: u32,
    pub src: [u32; 4],
    pub dst: [u32; 4],
    pub vlan: u32,
    /// MAC address of the interface.
    pub smac: [u8; 6],
    /// MAC address of the next hop.
    pub dmac: [u8; 6],
}
