//! Which drops the agent is told of: the first of a kind, and not too many of one pod. The others are counted, for the agent to
//! ask.

use aya_ebpf::{bindings::BPF_NOEXIST, maps::HashMap};
use netpol_common::{
    limits::EVENTS,
    told::{ToldKey, ToldRow},
};

use crate::{
    atomic,
    maps::{LOUD, TOLD},
};

/// Whether a packet of this kind is to make an event; one that is not is counted.
#[inline(always)]
pub fn is_news(key: &ToldKey, bytes: u32) -> bool {
    if let Some(row) = TOLD.get_ptr_mut(key) {
        count(row, bytes);
        return false;
    }
    if !may_speak(key.endpoint, bytes) {
        return false;
    }
    enter(&TOLD, key, 0);
    true
}

/// Whether the pod has made fewer events than it may.
#[inline(always)]
fn may_speak(endpoint: u32, bytes: u32) -> bool {
    let Some(row) = LOUD.get_ptr_mut(endpoint) else {
        enter(&LOUD, &endpoint, 1);
        return true;
    };
    // SAFETY: a non-null pointer into a hash map; one aligned word.
    let events = unsafe { (&raw const (*row).events).read_volatile() };
    if events >= EVENTS {
        count(row, bytes);
        return false;
    }
    // SAFETY: as above.
    unsafe { (&raw mut (*row).events).write_volatile(events + 1) };
    true
}

#[inline(always)]
fn count(row: *mut ToldRow, bytes: u32) {
    // SAFETY: a non-null pointer into a hash map, to aligned words.
    unsafe {
        atomic::add(&raw mut (*row).packets, 1);
        atomic::add(&raw mut (*row).bytes, u64::from(bytes));
    }
}

#[inline(always)]
fn enter<K>(table: &HashMap<K, ToldRow>, key: &K, events: u64) {
    // Without room, or with a row that another CPU has just made, there is one event more.
    let _more = table.insert(key, &ToldRow { packets: 0, bytes: 0, events }, u64::from(BPF_NOEXIST));
}
