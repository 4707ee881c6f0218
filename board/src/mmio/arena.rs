//! The reserved addresses and the table of what answers behind them.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use super::WindowError;
use crate::hardware::Hardware;
use crate::ram::{PAGE_BYTES, Reservation};

/// Room for some hundred computers, each with a 256 MiB configuration space.
const ARENA_BYTES: u64 = 256 << 30;
/// Room for a few, where the host has not so many addresses: under a limit of its own, or of a tool that watches the process.
const SMALL_ARENA_BYTES: u64 = 8 << 30;

struct Arena {
    reservation: Reservation,
    /// Keyed by the first address of each window.
    routes: RwLock<BTreeMap<u64, Route>>,
}

struct Route {
    len_bytes: u64,
    phys: u64,
    hardware: Arc<dyn Hardware>,
}

/// What an address means to an access.
pub(super) enum Target {
    /// Not the arena's: memory or registers of the real CPU.
    Real,
    /// A register of this hardware, at this physical address.
    Register(Arc<dyn Hardware>, u64),
    /// In the arena, but no window reaches that far.
    Nothing,
}

static ARENA: OnceLock<Result<Arena, String>> = OnceLock::new();

fn arena() -> Result<&'static Arena, WindowError> {
    ARENA
        .get_or_init(|| {
            let reservation = Reservation::new(ARENA_BYTES)
                .or_else(|_| Reservation::new(SMALL_ARENA_BYTES))
                .map_err(|error| error.to_string())?;
            Ok(Arena {
                reservation,
                routes: RwLock::new(BTreeMap::new()),
            })
        })
        .as_ref()
        .map_err(|error| WindowError::Reserve(error.clone()))
}

pub(super) fn route(
    hardware: Arc<dyn Hardware>,
    phys: u64,
    len_bytes: u64,
) -> Result<NonNull<u8>, WindowError> {
    if len_bytes == 0 || phys.checked_add(len_bytes - 1).is_none() {
        return Err(WindowError::Range { phys, len_bytes });
    }
    let arena = arena()?;
    let full = WindowError::OutOfAddressSpace { len_bytes };
    let in_page = phys % PAGE_BYTES;
    let base = arena.reservation.base();
    let end = base.addr().get() as u64 + arena.reservation.len_bytes();

    let mut routes = arena.routes.write();
    // First fit, with a page that nobody answers for before and after each window.
    let mut start = base.addr().get() as u64 + PAGE_BYTES + in_page;
    for (address, route) in routes.iter() {
        let gap_end = address / PAGE_BYTES * PAGE_BYTES;
        if start
            .checked_add(len_bytes)
            .is_some_and(|last| last <= gap_end.saturating_sub(PAGE_BYTES))
        {
            break;
        }
        start = (address + route.len_bytes).next_multiple_of(PAGE_BYTES) + PAGE_BYTES + in_page;
    }
    if start
        .checked_add(len_bytes)
        .is_none_or(|last| last > end - PAGE_BYTES)
    {
        return Err(full);
    }
    routes.insert(
        start,
        Route {
            len_bytes,
            phys,
            hardware,
        },
    );
    let offset = (start - base.addr().get() as u64) as usize;
    // SAFETY: `start` was kept inside the reservation above.
    Ok(unsafe { base.add(offset) })
}

pub(super) fn unroute(pointer: NonNull<u8>) {
    if let Ok(arena) = arena() {
        let route = arena.routes.write().remove(&(pointer.addr().get() as u64));
        // The hardware may go with it: not under the lock.
        drop(route);
    }
}

/// What `bytes` bytes at `address` are.
pub(super) fn target(address: u64, bytes: u64) -> Target {
    let Some(Ok(arena)) = ARENA.get() else {
        return Target::Real;
    };
    let start = arena.reservation.base().addr().get() as u64;
    if !(start..start + arena.reservation.len_bytes()).contains(&address) {
        return Target::Real;
    }
    let routes = arena.routes.read();
    match routes.range(..=address).next_back() {
        Some((first, route)) if address + bytes <= first + route.len_bytes => {
            Target::Register(Arc::clone(&route.hardware), route.phys + (address - first))
        }
        _ => Target::Nothing,
    }
}
