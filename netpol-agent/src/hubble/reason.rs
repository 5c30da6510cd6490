use netpol_common::reason::DropReason;

/// The number that Hubble's `DropReason` has for what comes nearest to a reason of ours. The exact word is in `policy_log`.
pub(super) fn number(reason: DropReason) -> i32 {
    match reason {
        DropReason::Policy => POLICY_DENIED,
        DropReason::Pending => 203,        // DROP_EP_NOT_READY
        DropReason::Spoofed => 132,        // INVALID_SOURCE_IP
        DropReason::Malformed => 135,      // CT_TRUNCATED_OR_INVALID_HEADER
        DropReason::Ethertype => 166,      // UNSUPPORTED_L2_PROTOCOL
        DropReason::TooDeep => 156,        // INVALID_IPV6_EXTENSION_HEADER
        DropReason::Fragment => 175,       // FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND
        DropReason::MidFlow => 163,        // UNKNOWN_CONNECTION_TRACKING_STATE
        DropReason::NoBackend => 158,      // SERVICE_BACKEND_NOT_FOUND
        DropReason::TableFull => 155,      // CT_MAP_INSERTION_FAILED
        DropReason::Collision => 155,      // CT_MAP_INSERTION_FAILED
        DropReason::Invalid => 134,        // INVALID_PACKET_DROPPED
        DropReason::Rewrite => 141,        // ERROR_WRITING_TO_PACKET
        DropReason::SourceRoute => 134,    // INVALID_PACKET_DROPPED
        DropReason::NoService => 150,      // UNKNOWN_L3_TARGET_ADDRESS
        DropReason::NoLocalBackend => 158, // SERVICE_BACKEND_NOT_FOUND
        DropReason::SourceRange => 177,    // DENIED_BY_LB_SRC_RANGE_CHECK
        DropReason::NoRoute => 169,        // FIB_LOOKUP_FAILED
        DropReason::NoPort => 167,         // NO_MAPPING_FOR_NAT_MASQUERADE
        DropReason::Encapsulation => 170,  // ENCAPSULATION_TRAFFIC_IS_PROHIBITED
    }
}

/// No rule allows it.
pub(super) const POLICY_DENIED: i32 = 133;

/// The same from the word in a record; 0, which Hubble reads as unknown, for a word of another version.
pub(super) fn of_word(word: &str) -> i32 {
    DropReason::ALL.iter().find(|reason| reason.name() == word).map_or(0, |reason| number(*reason))
}
