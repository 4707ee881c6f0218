//! virtio devices on PCI: disk, network, console, entropy, screen. Faithful devices that can be made to lie.
//!
//! ```text
//!   CPU ── BAR 0 ──► registers.rs ── engine.rs (its thread) ── block.rs, net.rs, console.rs, entropy.rs, gpu.rs
//!                                       │
//!                                    queue.rs ── virtio-queue ── memory.rs ── FunctionPort ──► IOMMU ──► memory
//! ```
//!
//! The rings are walked by rust-vmm's `virtio-queue`, through the machine's bus and its IOMMU. Devices have the modern
//! interface alone, offer `VIRTIO_F_ACCESS_PLATFORM` and do not work without it (6.2), and have no interrupts: their
//! drivers look. What they have not either: tables of descriptors, event indices, packed rings.
//!
//! [`Misbehaviour`] makes one fail its driver on purpose; [`VirtioDevice::unplug`] takes it away.
//!
//! ```
//! use machine::device::virtio::{VirtioDeviceConfig, VirtioKind};
//! use machine::{Machine, MachineConfig};
//!
//! let rng = VirtioDeviceConfig::new(VirtioKind::Entropy);
//! let machine = Machine::boot(MachineConfig::default().with_virtio(rng))?;
//! assert_eq!(machine.virtio_devices()[0].answered(), 0);
//! # Ok::<(), machine::MachineError>(())
//! ```

mod block;
mod console;
mod engine;
mod entropy;
mod gpu;
mod memory;
mod misbehaviour;
mod model;
mod net;
mod queue;
mod registers;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::sync::Arc;

use board::hardware::Width;
use hw::pci::config::class;
use hw::virtio::console::RECEIVE_QUEUE;
use hw::virtio::feature::Features;
use hw::virtio::pci as layout;
use parking_lot::{Condvar, Mutex};

pub use console::ConsoleEnd;
pub use gpu::Picture;
pub use misbehaviour::Misbehaviour;

use crate::device::nvme::Medium;
use crate::device::thread::DeviceThread;
use crate::findings::{FindingKind, Findings};
use crate::iommu::virtio::memory::QueueMemory;
use crate::pci::function::{
    Attachment, BarDescription, BarKind, FunctionDescription, FunctionModel, FunctionPort,
};
use console::{Console, Line};
use engine::{Engine, Shared, State};
use memory::BusMemory;
use model::Model;
use registers::{BAR, BAR_BYTES, Effect, Registers};

/// What a device is.
#[derive(Debug)]
pub enum VirtioKind {
    /// A disk of the file's whole sectors.
    Block(File, Medium),
    /// A network device whose network sends every frame back.
    Net,
    /// A console.
    Console(ConsoleEnd),
    /// An entropy device.
    Entropy,
    /// A graphics adapter with one screen of that width and height in pixels.
    Gpu(u32, u32),
}

/// A virtio device to be.
#[derive(Debug)]
pub struct VirtioDeviceConfig {
    kind: VirtioKind,
    misbehaviour: Misbehaviour,
    seed: u64,
}

impl VirtioDeviceConfig {
    /// A faithful device.
    pub fn new(kind: VirtioKind) -> Self {
        Self {
            kind,
            misbehaviour: Misbehaviour::None,
            seed: 1,
        }
    }

    /// One that misbehaves.
    #[must_use]
    pub fn with_misbehaviour(mut self, misbehaviour: Misbehaviour) -> Self {
        self.misbehaviour = misbehaviour;
        self
    }

    /// The seed of its choices.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// A virtio device.
pub struct VirtioDevice {
    shared: Arc<Shared>,
    device_type: u32,
    capabilities: Vec<Vec<u8>>,
    line: Arc<Mutex<Line>>,
    screen: Arc<Mutex<Option<Picture>>>,
    /// Until [`start`](FunctionModel::start).
    parts: Mutex<Option<Parts>>,
    thread: Mutex<Option<DeviceThread>>,
}

/// What becomes the thread's.
struct Parts {
    model: Box<dyn Model>,
    misbehaviour: Misbehaviour,
    ram: Arc<QueueMemory>,
}

impl VirtioDevice {
    /// A device as `config` says, whose queues lie in `ram`.
    pub(crate) fn new(
        config: VirtioDeviceConfig,
        ram: Arc<QueueMemory>,
        findings: Findings,
    ) -> io::Result<Self> {
        let line: Arc<Mutex<Line>> = Arc::default();
        let screen = Arc::default();
        let model: Box<dyn Model> = match config.kind {
            VirtioKind::Block(file, medium) => Box::new(block::Block::new(file, medium)?),
            VirtioKind::Net => Box::new(net::Net::default()),
            VirtioKind::Console(end) => Box::new(Console::new(end, Arc::clone(&line))),
            VirtioKind::Entropy => Box::new(entropy::Entropy::new(config.seed)),
            VirtioKind::Gpu(width, height) => {
                Box::new(gpu::Gpu::new(width, height, Arc::clone(&screen)))
            }
        };
        let misbehaviour = config.misbehaviour;
        let offered = Features::from_bits(model.features())
            .with_version_1(true)
            .with_access_platform(misbehaviour != Misbehaviour::WithoutPlatform);
        let device_config = model.config();
        let capabilities = registers::capabilities(device_config.len());
        let state = State {
            registers: Registers::new(offered, device_config, model.queues(), misbehaviour),
            notified: 0,
            wants_reset: false,
            is_gone: false,
            stop: false,
            answered: 0,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                name: model.name().to_owned(),
                state: Mutex::new(state),
                wake: Condvar::new(),
                findings,
            }),
            device_type: model.device_type(),
            capabilities,
            line,
            screen,
            parts: Mutex::new(Some(Parts {
                model,
                misbehaviour,
                ram,
            })),
            thread: Mutex::new(None),
        })
    }

    /// How many buffers it has given back to its driver so far.
    pub fn answered(&self) -> u64 {
        self.shared.state.lock().answered
    }

    /// Whether it is as after a reset: it knows of no queue.
    pub fn is_reset(&self) -> bool {
        self.shared.state.lock().registers.is_reset()
    }

    /// What the screen shows, if anything: of a graphics adapter.
    pub fn picture(&self) -> Option<Picture> {
        self.screen.lock().clone()
    }

    /// Types bytes: on a console whose end is the [host](ConsoleEnd::Host).
    pub fn type_in(&self, bytes: &[u8]) {
        self.line.lock().to_device.extend(bytes);
        self.shared.notify(RECEIVE_QUEUE);
    }

    /// What was said so far, once: by a console whose end is the [host](ConsoleEnd::Host).
    pub fn said(&self) -> Vec<u8> {
        std::mem::take(&mut self.line.lock().from_device)
    }

    /// Takes the device away: its registers answer no more, and it does nothing more.
    pub fn unplug(&self) {
        self.shared.state.lock().is_gone = true;
        self.stop();
    }
}

impl FunctionModel for VirtioDevice {
    fn description(&self) -> FunctionDescription {
        FunctionDescription {
            name: self.shared.name.clone(),
            vendor_id: layout::VENDOR_ID,
            device_id: layout::device_id(self.device_type),
            class_code: class::UNASSIGNED,
            attachment: Attachment::Conventional,
            bars: vec![BarDescription {
                index: BAR,
                kind: BarKind::Memory64,
                len_bytes: BAR_BYTES,
            }],
            msix: None,
            address_lines: 64,
        }
    }

    fn vendor_capabilities(&self) -> Vec<Vec<u8>> {
        self.capabilities.clone()
    }

    fn start(self: Arc<Self>, port: FunctionPort) {
        let Some(parts) = self.parts.lock().take() else {
            return;
        };
        let queues = (0..parts.model.queues()).map(|_| None).collect();
        let engine = Engine {
            shared: Arc::clone(&self.shared),
            memory: Arc::new(BusMemory::new(port.dma().clone(), parts.ram)),
            model: parts.model,
            misbehaviour: parts.misbehaviour,
            queues,
            was_at_work: false,
        };
        let thread = DeviceThread::spawn(&self.shared.name, move || engine.run());
        *self.thread.lock() = Some(thread);
    }

    fn read(&self, _bar: usize, offset: u64, width: Width) -> u64 {
        let mut state = self.shared.state.lock();
        if state.is_gone {
            return width.ones();
        }
        let read = state.registers.read(offset, width);
        drop(state);
        read.unwrap_or_else(|misuse| {
            self.shared.report(FindingKind::IllegalRegisterUse, misuse);
            width.ones()
        })
    }

    fn write(&self, _bar: usize, offset: u64, width: Width, value: u64) {
        let mut state = self.shared.state.lock();
        if state.is_gone {
            return;
        }
        let written = state.registers.write(offset, width, value);
        match written {
            Ok(Effect::Reset) => state.wants_reset = true,
            Ok(Effect::Notify(index)) => state.notified |= 1 << index,
            _ => {}
        }
        drop(state);
        self.shared.wake.notify_one();
        if let Err(misuse) = written {
            self.shared.report(FindingKind::IllegalRegisterUse, misuse);
        }
    }

    fn reset(&self) {
        self.shared.state.lock().wants_reset = true;
        self.shared.wake.notify_one();
    }

    fn stop(&self) {
        self.shared.state.lock().stop = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            thread.join();
        }
    }
}

impl Drop for VirtioDevice {
    fn drop(&mut self) {
        self.stop();
    }
}
