//! What is known of a packet that has no current decision. Too large for the stack, and handed from stage to stage.

use core::{
    arch::asm,
    mem::{MaybeUninit, offset_of},
};

use netpol_common::{
    conntrack::CtEntry,
    direction::Direction,
    net::{Address, Be16, V4, V6},
    policy::{RuleId, SlotId},
};

use crate::{family::Family, maps::SCRATCH, parse::Packet, policy::Ends};

/// What policy said of a connection.
#[derive(Clone, Copy)]
pub struct Decision {
    /// The end that decided.
    pub direction: Direction,
    /// Interface of the pod whose rules decided.
    pub endpoint: u32,
    /// The slot without a matching rule.
    pub slot: SlotId,
    /// Allowed the initiator.
    pub rule_egress: RuleId,
    /// Allowed the responder.
    pub rule_ingress: RuleId,
}

/// A packet on its way to a decision.
#[repr(C)]
pub struct Case<A> {
    /// Who the ends are.
    pub ends: Ends,
    /// What policy said.
    pub decision: Decision,
    /// 1 while a packet is looked at that another node has sent on as it is, else 0: whoever sets it takes it back. Not an argument,
    /// which the verifier would keep apart on all ways.
    forwarded: u32,
    /// As it came.
    pub packet: Packet<A>,
    /// Destination after service translation.
    pub nat_dst: A,
    /// Destination port after service translation.
    pub nat_dport: Be16,
    /// Source after service translation.
    pub nat_src: A,
    /// Source port after service translation.
    pub nat_sport: Be16,
    /// The uplink that the packet came in by; 0 for a packet of a pod.
    pub uplink: u32,
    /// The uplink that it is to leave by; 0: whatever way there is.
    pub leave_by: u32,
    /// Whether its connection's entry stands beside another one's (1), or under its own tuple (0).
    pub beside: u32,
    /// Bytes of the packet if it opens a connection, and goes to the pod that is its receiver as soon as that is entered: it is
    /// counted with the entry. Else 0.
    pub goes_along: u32,
    /// Which pod another node chose, if it has sent the packet on as it is. Written before the case of that packet is opened.
    pub chosen: A,
    /// Port of `chosen`.
    pub chosen_port: Be16,
    /// Type and code of the ICMP error that the packet becomes.
    pub error: [u8; 2],
    /// What that says of the size that fits.
    pub fits: u16,
    /// The entry about to be inserted.
    pub entry: MaybeUninit<CtEntry>,
}

/// Storage for a case of either family, one per CPU: private to the packet, since programs of one CPU do not interrupt
/// each other (TC runs with bottom halves disabled).
#[repr(transparent)]
pub struct Scratch(MaybeUninit<Case<V6>>);

impl<A: Address> Case<A> {
    /// Opens the case of `packet`, seen by a pod's program on `endpoint`.
    #[inline(always)]
    pub fn open<F: Family<Addr = A>>(
        packet: &Packet<A>,
        direction: Direction,
        endpoint: u32,
    ) -> Option<&'static mut Self> {
        let place = Self::place()?;
        // SAFETY: in bounds and aligned, see `place`; nobody else has it, see `Scratch`.
        unsafe {
            (&raw mut (*place).packet).write(*packet);
            (&raw mut (*place).nat_dst).write(packet.tuple.dst);
            (&raw mut (*place).nat_dport).write(packet.tuple.dport);
            (&raw mut (*place).nat_src).write(packet.tuple.src);
            (&raw mut (*place).nat_sport).write(packet.tuple.sport);
            (&raw mut (*place).uplink).write(0);
            (&raw mut (*place).leave_by).write(0);
            (&raw mut (*place).beside).write(0);
            (&raw mut (*place).goes_along).write(0);
            (&raw mut (*place).ends).write(Ends::NONE);
            (&raw mut (*place).decision).write(Decision {
                direction,
                endpoint,
                slot: SlotId::NONE,
                rule_egress: RuleId::NONE,
                rule_ingress: RuleId::NONE,
            });
            Some(&mut *place)
        }
    }

    /// The case that an earlier stage opened for the same packet.
    #[inline(always)]
    pub fn resume() -> Option<&'static mut Self> {
        // SAFETY: opened before on this CPU for this packet, with the same family.
        Some(unsafe { &mut *Self::place()? })
    }

    /// The part that is laid out alike in both families.
    #[inline(always)]
    pub fn resume_any() -> Option<(&'static mut Ends, &'static mut Decision)> {
        const {
            assert!(offset_of!(Case<V4>, ends) == offset_of!(Case<V6>, ends));
            assert!(offset_of!(Case<V4>, decision) == offset_of!(Case<V6>, decision));
        };
        let place = Case::<V6>::place()?;
        // SAFETY: in bounds and aligned, see `place`; written by `open`.
        Some(unsafe { (&mut (*place).ends, &mut (*place).decision) })
    }

    /// Says whether another node has sent the packet on as it is.
    #[inline(always)]
    pub fn mark_forwarded(forwarded: bool) {
        const { assert!(offset_of!(Case<V4>, forwarded) == offset_of!(Case<V6>, forwarded)) };
        if let Some(place) = Case::<V6>::place() {
            // SAFETY: in bounds and aligned, see `place`; a word, and 0 before anybody has written it.
            unsafe { (&raw mut (*place).forwarded).write_volatile(u32::from(forwarded)) };
        }
    }

    /// Whether it has.
    #[inline(always)]
    pub fn is_forwarded() -> bool {
        // SAFETY: as in `mark_forwarded`.
        Case::<V6>::place()
            .is_some_and(|place| unsafe { (&raw const (*place).forwarded).read_volatile() } != 0)
    }

    /// To be called before a global function that fetches the case itself.
    #[inline(always)]
    pub fn lend(&mut self) {
        // SAFETY: changes nothing (and is an instruction because the kernel wants no line without one). For all that the compiler
        // knows the pointer is kept somewhere from here on, so it expects any call to read and to write the case, although
        // this function's caller has it exclusively.
        unsafe { asm!("{0} = {0}", in(reg) &raw mut *self) };
    }

    #[inline(always)]
    fn place() -> Option<*mut Self> {
        const { assert!(size_of::<Self>() <= size_of::<Scratch>() && align_of::<Self>() <= 8) };
        Some(SCRATCH.get_ptr_mut(0)?.cast())
    }
}
