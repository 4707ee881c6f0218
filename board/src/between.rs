//! Somebody between a kernel and its board, who looks at what the CPU asks of it or alters it: a part that is gone, a
//! word that is lost, an observer. Written once for all of them, so that what is added to [`Hardware`] is forwarded by all.
//!
//! ```
//! use std::sync::Arc;
//!
//! use board::between::Between;
//! use board::hardware::{Hardware, Width};
//! # use board::hardware::{CacheOperation, HostBridgeDescription, InterruptSink};
//! # use board::ram::Ram;
//! # struct Counters(Arc<Ram>);
//! # impl Hardware for Counters {
//! #     fn name(&self) -> &str { "counters" }
//! #     fn ram(&self) -> &Arc<Ram> { &self.0 }
//! #     fn rsdp(&self) -> Option<u64> { None }
//! #     fn host_bridges(&self) -> Vec<HostBridgeDescription> { Vec::new() }
//! #     fn reserved_ram(&self) -> Vec<std::ops::Range<u64>> { Vec::new() }
//! #     fn read(&self, phys: u64, _: Width) -> u64 { phys }
//! #     fn write(&self, _: u64, _: Width, _: u64) {}
//! #     fn message_window(&self) -> std::ops::Range<u64> { 0..0 }
//! #     fn connect_interrupts(&self, _: Arc<dyn InterruptSink>) {}
//! #     fn maintain_cache(&self, _: CacheOperation, _: u64, _: u64) {}
//! #     fn frames_freed(&self, _: u64, _: u64) {}
//! # }
//!
//! /// A board whose registers from 0x2000 on are gone.
//! struct Gone(Arc<dyn Hardware>);
//!
//! impl Between for Gone {
//!     fn board(&self) -> &dyn Hardware {
//!         &*self.0
//!     }
//!
//!     fn on_read(&self, phys: u64, width: Width) -> u64 {
//!         match phys {
//!             0x2000.. => width.ones(),
//!             _ => self.board().read(phys, width),
//!         }
//!     }
//! }
//!
//! # let board: Arc<dyn Hardware> = Arc::new(Counters(Ram::new(&[0..4096])?));
//! let gone = Gone(board);
//! assert_eq!(gone.read(0x1004, Width::Dword), 0x1004);
//! assert_eq!(gone.read(0x2004, Width::Dword), 0xffff_ffff);
//! assert_eq!(gone.ram().end(), 4096);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::ops::Range;
use std::sync::Arc;

use crate::hardware::{
    CacheOperation, DeviceMemory, Hardware, HostBridgeDescription, InterruptSink, Width,
};
use crate::ram::Ram;

/// Somebody between a kernel and a board. Each hook stands in the place of the call it is named after and hands it on, if
/// it is not written anew; every other call goes to the board.
///
/// To the kernel this is the [`Hardware`]. It tells of no [`device_memory`](Hardware::device_memory), which a CPU would map
/// and reach past the hooks: each word is asked for.
pub trait Between: Send + Sync + 'static {
    /// The board behind.
    fn board(&self) -> &dyn Hardware;

    /// The name, for messages.
    fn board_name(&self) -> &str {
        self.board().name()
    }

    /// In the place of [`Hardware::read`].
    fn on_read(&self, phys: u64, width: Width) -> u64 {
        self.board().read(phys, width)
    }

    /// In the place of [`Hardware::write`].
    fn on_write(&self, phys: u64, width: Width, value: u64) {
        self.board().write(phys, width, value);
    }

    /// In the place of [`Hardware::connect_interrupts`].
    fn on_connect(&self, sink: Arc<dyn InterruptSink>) {
        self.board().connect_interrupts(sink);
    }

    /// In the place of [`Hardware::maintain_cache`].
    fn on_maintain(&self, operation: CacheOperation, phys: u64, len_bytes: u64) {
        self.board().maintain_cache(operation, phys, len_bytes);
    }

    /// In the place of [`Hardware::idle`].
    fn on_idle(&self) {
        self.board().idle();
    }
}

impl<T: Between> Hardware for T {
    fn name(&self) -> &str {
        self.board_name()
    }

    fn ram(&self) -> &Arc<Ram> {
        self.board().ram()
    }

    fn uncached_ram(&self) -> Option<&Arc<Ram>> {
        self.board().uncached_ram()
    }

    fn rsdp(&self) -> Option<u64> {
        self.board().rsdp()
    }

    fn devicetree(&self) -> Option<Vec<u8>> {
        self.board().devicetree()
    }

    fn host_bridges(&self) -> Vec<HostBridgeDescription> {
        self.board().host_bridges()
    }

    fn reserved_ram(&self) -> Vec<Range<u64>> {
        self.board().reserved_ram()
    }

    fn read(&self, phys: u64, width: Width) -> u64 {
        self.on_read(phys, width)
    }

    fn write(&self, phys: u64, width: Width, value: u64) {
        self.on_write(phys, width, value);
    }

    fn device_memory(&self, _phys: u64, _len_bytes: u64) -> Option<DeviceMemory> {
        None
    }

    fn message_window(&self) -> Range<u64> {
        self.board().message_window()
    }

    fn connect_interrupts(&self, sink: Arc<dyn InterruptSink>) {
        self.on_connect(sink);
    }

    fn maintain_cache(&self, operation: CacheOperation, phys: u64, len_bytes: u64) {
        self.on_maintain(operation, phys, len_bytes);
    }

    fn frames_freed(&self, phys: u64, len_bytes: u64) {
        self.board().frames_freed(phys, len_bytes);
    }

    fn idle(&self) {
        self.on_idle();
    }
}
