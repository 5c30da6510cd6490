//! The `bpf(2)` commands that aya does not offer: TC links by interface index, what a link is attached to, many rows
//! at once, a run without an answer's bytes, a map of maps. Layouts are those of `union bpf_attr` in include/uapi/linux/bpf.h.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use bytemuck::{Pod, Zeroable};

mod batch;
mod query;

pub(super) use batch::{Cursor, delete_rows, read_hash, take_hash, update_rows};
pub(super) use query::{program_of, tcx_programs};

const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const OBJ_PIN: libc::c_int = 6;
const OBJ_GET: libc::c_int = 7;
const PROG_TEST_RUN: libc::c_int = 10;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const LINK_CREATE: libc::c_int = 28;
const LINK_UPDATE: libc::c_int = 29;
const LINK_DETACH: libc::c_int = 34;

/// `BPF_F_BEFORE`: with no other program named, before all others.
const F_BEFORE: u32 = 1 << 3;

/// `BPF_LINK_TYPE_CGROUP`.
const LINK_TYPE_CGROUP: u32 = 3;
/// `BPF_LINK_TYPE_XDP`.
const LINK_TYPE_XDP: u32 = 6;
/// `BPF_LINK_TYPE_TCX`.
const LINK_TYPE_TCX: u32 = 11;

/// `XDP_FLAGS_SKB_MODE`: run by the kernel.
pub(super) const XDP_SKB_MODE: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE`: run by the driver.
pub(super) const XDP_DRV_MODE: u32 = 1 << 2;

/// `enum bpf_attach_type` of a TCX link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(super) enum TcxAttach {
    Ingress = 46,
    Egress = 47,
}

/// # Safety
///
/// Every pointer in `attr` must be good for what `command` reads and writes through it.
unsafe fn bpf<T: Pod>(command: libc::c_int, attr: &mut T) -> io::Result<RawFd> {
    // SAFETY: `attr` is plain old data of the length that is passed, and the caller vouches for the pointers in it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as RawFd) }
}

fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: called only with the result of a command that returns a new descriptor, which nobody else owns.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    /// Interface index, or descriptor of a cgroup.
    target: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    pad: u32,
    expected_revision: u64,
}

/// Attaches a program to an interface of the current network namespace, before every other program there.
pub(super) fn link_create_tcx(prog: BorrowedFd<'_>, ifindex: u32, attach: TcxAttach) -> io::Result<OwnedFd> {
    let mut attr = LinkCreate {
        prog_fd: prog.as_raw_fd() as u32,
        target: ifindex,
        attach_type: attach as u32,
        flags: F_BEFORE,
        ..LinkCreate::zeroed()
    };
    // SAFETY: no pointers.
    unsafe { bpf(LINK_CREATE, &mut attr) }.map(owned)
}

/// Attaches a program to an interface itself; `mode` is one of `XDP_…_MODE`.
pub(super) fn link_create_xdp(prog: BorrowedFd<'_>, ifindex: u32, mode: u32) -> io::Result<OwnedFd> {
    /// `BPF_XDP`
    const ATTACH: u32 = 37;
    let mut attr = LinkCreate {
        prog_fd: prog.as_raw_fd() as u32,
        target: ifindex,
        attach_type: ATTACH,
        flags: mode,
        ..LinkCreate::zeroed()
    };
    // SAFETY: no pointers.
    unsafe { bpf(LINK_CREATE, &mut attr) }.map(owned)
}

/// `enum bpf_attach_type` of a program on a cgroup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(super) enum CgroupAttach {
    Connect4 = 10,
    Connect6 = 11,
    Sendmsg4 = 14,
    Sendmsg6 = 15,
    Recvmsg4 = 19,
    Recvmsg6 = 20,
    Getpeername4 = 29,
    Getpeername6 = 30,
}

impl CgroupAttach {
    /// In the order of [`netpol_common::names::SOCKET_PROGRAMS`].
    pub(super) const ALL: [Self; 8] = [
        Self::Connect4,
        Self::Connect6,
        Self::Sendmsg4,
        Self::Sendmsg6,
        Self::Recvmsg4,
        Self::Recvmsg6,
        Self::Getpeername4,
        Self::Getpeername6,
    ];
}

/// Attaches a program to a cgroup, beside those of others.
pub(super) fn link_create_cgroup(
    prog: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach: CgroupAttach,
) -> io::Result<OwnedFd> {
    let mut attr = LinkCreate {
        prog_fd: prog.as_raw_fd() as u32,
        target: cgroup.as_raw_fd() as u32,
        attach_type: attach as u32,
        ..LinkCreate::zeroed()
    };
    // SAFETY: no pointers.
    unsafe { bpf(LINK_CREATE, &mut attr) }.map(owned)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// Replaces a link's program in one step. `ENOLINK`: the interface or cgroup is gone.
pub(super) fn link_update(link: BorrowedFd<'_>, prog: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = LinkUpdate {
        link_fd: link.as_raw_fd() as u32,
        new_prog_fd: prog.as_raw_fd() as u32,
        ..LinkUpdate::zeroed()
    };
    // SAFETY: no pointers.
    unsafe { bpf(LINK_UPDATE, &mut attr) }.map(drop)
}

/// Takes a link's program off at once, where closing the link would leave that to a worker of the kernel. For XDP since 5.9.
pub(super) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = link.as_raw_fd() as u32;
    // SAFETY: no pointers.
    unsafe { bpf(LINK_DETACH, &mut attr) }.map(drop)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The head of `struct bpf_link_info` as a TCX link fills it, and an XDP link but for the last field.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    pad: u32,
    ifindex: u32,
    attach_type: u32,
}

/// The interface that a TCX link is attached to; `None` if it is gone or the link is of another kind.
pub(super) fn tcx_interface(link: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    interface(link, LINK_TYPE_TCX)
}

/// The interface that an XDP link is attached to; `None` if it is gone or the link is of another kind.
pub(super) fn xdp_interface(link: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    interface(link, LINK_TYPE_XDP)
}

fn interface(link: BorrowedFd<'_>, kind: u32) -> io::Result<Option<u32>> {
    let info = link_info(link)?;
    Ok((info.kind == kind && info.ifindex != 0).then_some(info.ifindex))
}

fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::zeroed();
    let mut attr = GetInfo {
        bpf_fd: link.as_raw_fd() as u32,
        info_len: size_of::<LinkInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: `info` points to `info_len` writable bytes that outlive the call.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info)
}

/// The head of `struct bpf_link_info` as a link of a cgroup fills it.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CgroupLinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    pad: u32,
    cgroup: u64,
    attach_type: u32,
    pad_end: u32,
}

/// The cgroup's number and the attach type of a link; `None` if the cgroup is gone or the link is of another kind.
pub(super) fn cgroup_link(link: BorrowedFd<'_>) -> io::Result<Option<(u64, u32)>> {
    let mut info = CgroupLinkInfo::zeroed();
    let mut attr = GetInfo {
        bpf_fd: link.as_raw_fd() as u32,
        info_len: size_of::<CgroupLinkInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: `info` points to `info_len` writable bytes that outlive the call.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    let known = info.kind == LINK_TYPE_CGROUP && info.cgroup != 0;
    Ok(known.then_some((info.cgroup, info.attach_type)))
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Obj {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Makes an object outlive the process under a name in a BPF file system.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = Obj { pathname: path.as_ptr() as u64, bpf_fd: object.as_raw_fd() as u32, ..Obj::zeroed() };
    // SAFETY: `path` is a C string that outlives the call.
    unsafe { bpf(OBJ_PIN, &mut attr) }.map(drop)
}

/// Opens what is pinned under a name.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = Obj { pathname: path.as_ptr() as u64, ..Obj::zeroed() };
    // SAFETY: `path` is a C string that outlives the call.
    unsafe { bpf(OBJ_GET, &mut attr) }.map(owned)
}

/// What can be pinned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pinned {
    Map,
    Program,
    Link,
    /// Something that is newer than this.
    Other,
}

impl Pinned {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Map => "a map",
            Self::Program => "a program",
            Self::Link => "a link",
            Self::Other => "something else",
        }
    }
}

/// What a descriptor stands for. `BPF_OBJ_GET_INFO_BY_FD` does not tell: it answers for all of them, each in its own shape.
pub(super) fn pinned_kind(object: BorrowedFd<'_>) -> io::Result<Pinned> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", object.as_raw_fd()))?;
    let has = |field: &str| text.lines().any(|line| line.starts_with(field));
    Ok(match () {
        () if has("map_type:") => Pinned::Map,
        // Of a link too the number of its program is told.
        () if has("link_type:") => Pinned::Link,
        () if has("prog_type:") => Pinned::Program,
        () => Pinned::Other,
    })
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map_fd: u32,
}

/// Creates an array of one `u32` (`inner` absent) or of one map like `inner`.
pub(super) fn create_array(inner: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    const ARRAY: u32 = 2;
    const ARRAY_OF_MAPS: u32 = 12;
    let mut attr = MapCreate {
        map_type: if inner.is_some() { ARRAY_OF_MAPS } else { ARRAY },
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        flags: 0,
        inner_map_fd: inner.map_or(0, |fd| fd.as_raw_fd() as u32),
    };
    // SAFETY: no pointers.
    unsafe { bpf(MAP_CREATE, &mut attr) }.map(owned)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MapUpdate {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Puts `inner` into row 0 of an array of maps.
pub(super) fn set_inner(outer: BorrowedFd<'_>, inner: BorrowedFd<'_>) -> io::Result<()> {
    let (key, value) = (0u32, inner.as_raw_fd() as u32);
    let mut attr = MapUpdate {
        map_fd: outer.as_raw_fd() as u32,
        pad: 0,
        key: std::ptr::from_ref(&key) as u64,
        value: std::ptr::from_ref(&value) as u64,
        flags: 0,
    };
    // SAFETY: key and value of an array of maps are four bytes each; both outlive the call.
    unsafe { bpf(MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

/// Runs a program once on a packet (Ethernet header first, shorter than a page), and tells what it returned.
pub(super) fn run(prog: BorrowedFd<'_>, packet: &[u8]) -> io::Result<u32> {
    let mut attr = TestRun {
        prog_fd: prog.as_raw_fd() as u32,
        data_size_in: packet.len() as u32,
        data_in: packet.as_ptr() as u64,
        repeat: 1,
        ..TestRun::zeroed()
    };
    // SAFETY: `data_in` points to `data_size_in` bytes that outlive the call; nothing is written back but numbers of `attr`.
    unsafe { bpf(PROG_TEST_RUN, &mut attr) }?;
    Ok(attr.retval)
}
