//! Register windows: which addresses are routed, where to, and what answers elsewhere.

use std::sync::{Arc, Weak};

use board::hardware::{CacheOperation, Hardware, HostBridgeDescription, InterruptSink, Width};
use board::mmio::{RegisterWindow, WindowError};
use board::ram::Ram;
use safe_mmio::UniqueMmioPointer;
use safe_mmio::fields::{ReadPure, ReadPureWrite};
use std::sync::Mutex;

/// Hardware that answers with the address and records writes.
struct Recorder {
    ram: Arc<Ram>,
    writes: Mutex<Vec<(u64, Width, u64)>>,
}

impl Recorder {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            ram: Ram::new(&[0..4096]).unwrap(),
            writes: Mutex::default(),
        })
    }
}

impl Hardware for Recorder {
    fn name(&self) -> &str {
        "recorder"
    }
    fn ram(&self) -> &Arc<Ram> {
        &self.ram
    }
    fn rsdp(&self) -> Option<u64> {
        None
    }
    fn host_bridges(&self) -> Vec<HostBridgeDescription> {
        Vec::new()
    }
    fn reserved_ram(&self) -> Vec<std::ops::Range<u64>> {
        Vec::new()
    }
    fn read(&self, phys: u64, width: Width) -> u64 {
        phys & width.ones()
    }
    fn write(&self, phys: u64, width: Width, value: u64) {
        self.writes.lock().unwrap().push((phys, width, value));
    }
    fn message_window(&self) -> std::ops::Range<u64> {
        0..0
    }
    fn connect_interrupts(&self, _: Arc<dyn InterruptSink>) {}
    fn maintain_cache(&self, _: CacheOperation, _: u64, _: u64) {}
    fn frames_freed(&self, _: u64, _: u64) {}
}

fn read_u32(window: &RegisterWindow, offset: usize) -> u32 {
    let pointer = window
        .pointer()
        .map_addr(|address| address.checked_add(offset).unwrap());
    // SAFETY: an address of the register arena is never dereferenced, whatever is routed there.
    unsafe { UniqueMmioPointer::<ReadPure<u32>>::new(pointer.cast()) }.read()
}

#[test]
fn each_width_reaches_the_hardware_at_its_physical_address() {
    let hardware = Recorder::new();
    let window = RegisterWindow::new(hardware.clone(), 0xfed9_0010, 0x100).unwrap();
    assert_eq!(
        window.pointer().addr().get() % 4096,
        0x10,
        "registers keep their alignment"
    );
    assert_eq!(read_u32(&window, 4), 0xfed9_0014);
    let base = window.pointer();
    // SAFETY: as in `read_u32`; each pointer is used while the window lives.
    unsafe {
        safe_mmio::UniqueMmioPointer::<ReadPureWrite<u8>>::new(base.cast()).write(1);
        safe_mmio::UniqueMmioPointer::<ReadPureWrite<u16>>::new(base.cast()).write(2);
        safe_mmio::UniqueMmioPointer::<ReadPureWrite<u32>>::new(base.cast()).write(3);
        safe_mmio::UniqueMmioPointer::<ReadPureWrite<u64>>::new(base.cast()).write(4);
    }
    let at = 0xfed9_0010;
    assert_eq!(
        *hardware.writes.lock().unwrap(),
        [
            (at, Width::Byte, 1),
            (at, Width::Word, 2),
            (at, Width::Dword, 3),
            (at, Width::Qword, 4)
        ]
    );
}

#[test]
fn beyond_a_window_all_ones_are_read() {
    let window = RegisterWindow::new(Recorder::new(), 0x1000, 0x10).unwrap();
    assert_eq!(read_u32(&window, 0xc), 0x100c);
    assert_eq!(read_u32(&window, 0x10), u32::MAX);
    assert_eq!(read_u32(&window, 0x1000), u32::MAX);
}

#[test]
fn windows_do_not_overlap_and_their_addresses_come_back() {
    let hardware = Recorder::new();
    let windows: Vec<_> = (1..100)
        .map(|i| RegisterWindow::new(hardware.clone(), i << 20 | i, i * 1000).unwrap())
        .collect();
    for (i, window) in (1_u32..).zip(&windows) {
        assert_eq!(read_u32(window, 0), i << 20 | i);
    }
    let first = windows[0].pointer();
    drop(windows);
    let again = RegisterWindow::new(hardware.clone(), 0x10_0001, 1000).unwrap();
    assert!(again.pointer() <= first, "the space is used again");
}

#[test]
fn a_window_keeps_its_hardware_and_no_longer() {
    let hardware = Recorder::new();
    let weak: Weak<Recorder> = Arc::downgrade(&hardware);
    let window = RegisterWindow::new(hardware, 0, 16).unwrap();
    assert!(weak.upgrade().is_some());
    drop(window);
    assert!(weak.upgrade().is_none());
}

#[test]
fn ordinary_memory_is_accessed_for_real() {
    let mut word = 5_u32;
    // SAFETY: `word` lives on this stack and is reached by this pointer alone.
    let pointer = unsafe {
        UniqueMmioPointer::<ReadPure<u32>>::new(std::ptr::NonNull::from(&mut word).cast())
    };
    assert_eq!(pointer.read(), 5);
}

#[test]
fn impossible_windows_are_refused() {
    let refused = |phys, len| RegisterWindow::new(Recorder::new(), phys, len).unwrap_err();
    assert!(matches!(refused(0, 0), WindowError::Range { .. }));
    assert!(matches!(refused(u64::MAX, 2), WindowError::Range { .. }));
    assert!(matches!(
        refused(0, 1 << 50),
        WindowError::OutOfAddressSpace { .. }
    ));
}
