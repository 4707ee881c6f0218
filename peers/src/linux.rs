//! Linux's `iova.c` and `io-pgtable-arm.c`, in a library of `linux/peers.c` that is loaded.
//!
//! ```no_run
//! use std::path::Path;
//! use peers::iova::IovaAllocator;
//! use peers::linux::Linux;
//!
//! let linux = Linux::load(Path::new("target/peers/libpeers.so"))?;
//! let domain = linux.iova_domain()?;
//! assert!(domain.allocate(1).is_some());
//! # Ok::<(), peers::PeersError>(())
//! ```

use std::error::Error;
use std::ffi::{c_int, c_ulong, c_void};
use std::path::Path;
use std::ptr::NonNull;

use libloading::os::unix::{Library, Symbol};

use crate::PeersError;
use crate::iova::IovaAllocator;
use crate::table::{Extent, PageTables};

/// What the code is called in the figures.
pub const PEER: &str = "linux";

/// CPUs the library has caches for: `PEERS_CPUS` of `linux/shim.h`.
pub const CPUS: usize = 8;

type Object = *mut c_void;

/// The functions of `linux/peers.c`. They stay loaded as long as the process lives.
#[derive(Clone, Copy)]
struct Functions {
    thread_is: unsafe extern "C" fn(c_ulong) -> c_int,
    iova_new: unsafe extern "C" fn() -> Object,
    iova_drop: unsafe extern "C" fn(Object),
    iova_allocate: unsafe extern "C" fn(Object, c_ulong) -> c_ulong,
    iova_free: unsafe extern "C" fn(Object, c_ulong, c_ulong),
    iova_free_to_tree: unsafe extern "C" fn(Object, c_ulong),
    table_new: unsafe extern "C" fn() -> Object,
    table_drop: unsafe extern "C" fn(Object),
    table_map: unsafe extern "C" fn(Object, c_ulong, u64, usize, usize) -> c_int,
    table_map_list: unsafe extern "C" fn(Object, c_ulong, *const u64, usize) -> c_int,
    table_unmap: unsafe extern "C" fn(Object, c_ulong, usize, usize) -> usize,
    table_translate: unsafe extern "C" fn(Object, c_ulong) -> u64,
}

/// The library.
#[derive(Clone, Copy)]
pub struct Linux(Functions);

impl Linux {
    /// Loads it, for as long as the process lives.
    ///
    /// # Errors
    /// [`PeersError::Library`] when there is none, or another one.
    pub fn load(path: &Path) -> Result<Self, PeersError> {
        let failed = |error: libloading::Error| PeersError::Library {
            path: path.to_owned(),
            what: described(&error),
        };
        // SAFETY: the library was compiled from `linux/peers.c`, and runs nothing when it is loaded.
        let library = unsafe { Library::new(path) }.map_err(failed)?;
        macro_rules! function {
            ($name:literal) => {{
                // SAFETY: the types are those of the functions in `linux/peers.c`.
                let symbol: Symbol<_> = unsafe { library.get($name) }.map_err(failed)?;
                *symbol
            }};
        }
        let functions = Functions {
            thread_is: function!("peers_thread_is"),
            iova_new: function!("peers_iova_new"),
            iova_drop: function!("peers_iova_drop"),
            iova_allocate: function!("peers_iova_allocate"),
            iova_free: function!("peers_iova_free"),
            iova_free_to_tree: function!("peers_iova_free_to_tree"),
            table_new: function!("peers_table_new"),
            table_drop: function!("peers_table_drop"),
            table_map: function!("peers_table_map"),
            table_map_list: function!("peers_table_map_list"),
            table_unmap: function!("peers_table_unmap"),
            table_translate: function!("peers_table_translate"),
        };
        // The functions must not outlive it, so it is never unloaded.
        std::mem::forget(library);
        Ok(Self(functions))
    }

    /// A domain with all bus addresses free but page 0.
    ///
    /// # Errors
    /// [`PeersError::Failed`] without memory.
    pub fn iova_domain(&self) -> Result<LinuxIova, PeersError> {
        // SAFETY: the function wants nothing.
        let domain = NonNull::new(unsafe { (self.0.iova_new)() });
        let domain = domain.ok_or(PeersError::failed(PEER, "make a domain"))?;
        Ok(LinuxIova {
            functions: self.0,
            domain,
        })
    }

    /// A page table in which nothing is mapped.
    ///
    /// # Errors
    /// [`PeersError::Failed`] without memory.
    pub fn page_table(&self) -> Result<LinuxTable, PeersError> {
        // SAFETY: the function wants nothing.
        let table = NonNull::new(unsafe { (self.0.table_new)() });
        let table = table.ok_or(PeersError::failed(PEER, "make a page table"))?;
        Ok(LinuxTable {
            functions: self.0,
            table,
        })
    }
}

/// An error with what caused it, which names the file or the function.
fn described(error: &libloading::Error) -> String {
    let (mut words, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        words += ": ";
        words += &error.to_string();
        cause = error.source();
    }
    words
}

/// `iova.c`.
pub struct LinuxIova {
    functions: Functions,
    domain: NonNull<c_void>,
}

// SAFETY: a domain belongs to no thread.
unsafe impl Send for LinuxIova {}
// SAFETY: its functions take its locks.
unsafe impl Sync for LinuxIova {}

impl IovaAllocator for LinuxIova {
    fn peer(&self) -> &'static str {
        PEER
    }

    #[inline(never)]
    fn allocate(&self, pages: u64) -> Option<u64> {
        // SAFETY: the domain is a live one of the same library.
        let first = unsafe { (self.functions.iova_allocate)(self.domain.as_ptr(), pages) };
        (first != 0).then_some(first)
    }

    #[inline(never)]
    fn free(&self, first: u64, pages: u64) -> bool {
        // SAFETY: as above; who frees what is not allocated harms its own figures only.
        unsafe { (self.functions.iova_free)(self.domain.as_ptr(), first, pages) };
        true
    }

    fn free_for_all(&self, first: u64, _pages: u64) -> bool {
        // SAFETY: as above.
        unsafe { (self.functions.iova_free_to_tree)(self.domain.as_ptr(), first) };
        true
    }

    fn enter_thread(&self, number: usize) -> bool {
        // SAFETY: the function checks its argument.
        unsafe { (self.functions.thread_is)(number as c_ulong) == 0 }
    }
}

impl Drop for LinuxIova {
    fn drop(&mut self) {
        // SAFETY: it is live, and nobody has it any more.
        unsafe { (self.functions.iova_drop)(self.domain.as_ptr()) };
    }
}

/// `io-pgtable-arm.c`.
pub struct LinuxTable {
    functions: Functions,
    table: NonNull<c_void>,
}

impl PageTables for LinuxTable {
    fn peer(&self) -> &'static str {
        PEER
    }

    #[inline(never)]
    fn map(&mut self, bus: u64, phys: u64, extent: Extent) -> bool {
        let (page, len) = (extent.page_bytes as usize, extent.len_bytes as usize);
        // SAFETY: the table is a live one of the same library, and nobody else's meanwhile.
        unsafe { (self.functions.table_map)(self.table.as_ptr(), bus, phys, page, len) == 0 }
    }

    #[inline(never)]
    fn map_list(&mut self, bus: u64, pages: &[u64]) -> bool {
        let (start, count) = (pages.as_ptr(), pages.len());
        // SAFETY: as above, and the list has that many members.
        unsafe { (self.functions.table_map_list)(self.table.as_ptr(), bus, start, count) == 0 }
    }

    #[inline(never)]
    fn unmap(&mut self, bus: u64, extent: Extent) -> bool {
        let (page, len) = (extent.page_bytes as usize, extent.len_bytes as usize);
        // SAFETY: as for `map`.
        unsafe { (self.functions.table_unmap)(self.table.as_ptr(), bus, page, len) == len }
    }

    fn translate(&self, bus: u64) -> Option<u64> {
        // SAFETY: as for `map`; it is only read.
        let phys = unsafe { (self.functions.table_translate)(self.table.as_ptr(), bus) };
        (phys != 0).then_some(phys)
    }
}

impl Drop for LinuxTable {
    fn drop(&mut self) {
        // SAFETY: it is live, and nobody has it any more.
        unsafe { (self.functions.table_drop)(self.table.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_such_library_is_named() {
        let error = Linux::load(Path::new("/nowhere/libpeers.so"))
            .err()
            .unwrap();
        assert!(
            error.to_string().starts_with("/nowhere/libpeers.so: "),
            "{error}"
        );
        let of_the_system = Linux::load(Path::new("libc.so.6")).err().unwrap();
        assert!(
            of_the_system.to_string().contains("peers_thread_is"),
            "{of_the_system}"
        );
    }
}
