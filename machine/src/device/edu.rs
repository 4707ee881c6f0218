//! QEMU's educational device, with 28 address lines, or as many as a fabric's devices have: a buffer, a DMA engine, a factorial.
//! It can have memory of its own beside that, behind a second BAR.
//!
//! The engine copies up to 4096 bytes between the buffer and memory on the device's own thread. It has no
//! message interrupts here: a driver polls the command's run bit.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock};

use board::hardware::Width;
use board::ram::Ram;
use hw::edu::{
    BAR_BYTES, BUFFER, BUFFER_BYTES, DEVICE_ID, DMA_ADDRESS_BITS, DMA_COMMAND, DMA_COUNT,
    DMA_DESTINATION, DMA_SOURCE, DmaCommand, FACTORIAL, ID, INTERRUPT_ACKNOWLEDGE, INTERRUPT_DMA,
    INTERRUPT_FACTORIAL, INTERRUPT_RAISE, INTERRUPT_STATUS, Identification, LIVENESS, STATUS,
    Status, VENDOR_ID,
};
use hw::pci::config::class;
use parking_lot::Mutex;

use super::local_memory::LocalMemory;
use super::thread::DeviceThread;
use crate::findings::{FindingKind, Findings};
use crate::pci::function::{
    Attachment, BarDescription, BarKind, FunctionDescription, FunctionModel, FunctionPort,
};

const NAME: &str = "edu";

/// Registers from here on may also be accessed in 8 bytes.
const WIDE_REGISTERS: u64 = 0x80;

/// Address lines of one that is not QEMU's.
const WIDE_ADDRESS_BITS: u32 = 48;

/// The BAR of the memory of one that has memory.
const MEMORY_BAR: usize = 2;

/// The device.
pub(crate) struct Edu {
    registers: Arc<Mutex<Registers>>,
    findings: Findings,
    attachment: Attachment,
    address_lines: u32,
    memory: Option<LocalMemory>,
    engine: OnceLock<Engine>,
}

struct Engine {
    /// Each with the life it is of: a reset begins another.
    jobs: Mutex<Option<Sender<(u64, Job)>>>,
    thread: DeviceThread,
}

#[derive(Default)]
struct Registers {
    /// How often the device was reset.
    life: u64,
    liveness: u32,
    factorial: u32,
    status: Status,
    interrupts: u32,
    source: u64,
    destination: u64,
    count: u64,
    command: DmaCommand,
}

enum Job {
    Factorial(u32),
    Copy {
        source: u64,
        destination: u64,
        count: u64,
        command: DmaCommand,
    },
}

impl Edu {
    /// As QEMU has it.
    pub(crate) fn new(findings: Findings) -> Self {
        Self::of(findings, Attachment::Conventional, DMA_ADDRESS_BITS)
    }

    /// One that reaches every window of the host bridge, and tells so.
    pub(crate) fn wide(findings: Findings, attachment: Attachment) -> Self {
        Self::of(findings, attachment, WIDE_ADDRESS_BITS)
    }

    /// The same, with memory behind [`MEMORY_BAR`].
    pub(crate) fn with_memory(findings: Findings, attachment: Attachment) -> Self {
        Self {
            memory: Some(LocalMemory::new()),
            ..Self::wide(findings, attachment)
        }
    }

    fn of(findings: Findings, attachment: Attachment, address_lines: u32) -> Self {
        Self {
            registers: Arc::default(),
            findings,
            attachment,
            address_lines,
            memory: None,
            engine: OnceLock::new(),
        }
    }

    fn bars(&self) -> Vec<BarDescription> {
        let registers = BarDescription {
            index: 0,
            kind: BarKind::Memory32,
            len_bytes: BAR_BYTES,
        };
        let memory = self.memory.as_ref().map(|_| LocalMemory::bar(MEMORY_BAR));
        [registers].into_iter().chain(memory).collect()
    }

    fn memory_at(&self, bar: usize) -> Option<&LocalMemory> {
        self.memory.as_ref().filter(|_| bar == MEMORY_BAR)
    }

    fn submit(&self, life: u64, job: Job) {
        if let Some(engine) = self.engine.get()
            && let Some(jobs) = &*engine.jobs.lock()
        {
            // A stopped device does nothing.
            let _ = jobs.send((life, job));
        }
    }

    fn write_dword(&self, offset: u64, value: u32) {
        let mut registers = self.registers.lock();
        match offset {
            LIVENESS => registers.liveness = !value,
            FACTORIAL if !registers.status.computing() => {
                registers.status.set_computing(true);
                let life = registers.life;
                drop(registers);
                self.submit(life, Job::Factorial(value));
            }
            STATUS => {
                let enable = Status::from_bits(value).interrupt_enable();
                registers.status.set_interrupt_enable(enable);
            }
            INTERRUPT_RAISE => registers.interrupts |= value,
            INTERRUPT_ACKNOWLEDGE => registers.interrupts &= !value,
            _ => {}
        }
    }

    fn write_dma(&self, offset: u64, value: u64) {
        let mut registers = self.registers.lock();
        if registers.command.run() {
            drop(registers);
            let detail = format!("DMA register {offset:#x} written while a transfer runs");
            self.findings
                .report(NAME, FindingKind::IllegalRegisterUse, detail);
            return;
        }
        match offset {
            DMA_SOURCE => registers.source = value,
            DMA_DESTINATION => registers.destination = value,
            DMA_COUNT => registers.count = value,
            DMA_COMMAND => {
                registers.command = DmaCommand::from_bits(value);
                if registers.command.run() {
                    let Registers {
                        source,
                        destination,
                        count,
                        command,
                        life,
                        ..
                    } = *registers;
                    drop(registers);
                    let copy = Job::Copy {
                        source,
                        destination,
                        count,
                        command,
                    };
                    self.submit(life, copy);
                }
            }
            _ => {}
        }
    }
}

impl FunctionModel for Edu {
    fn description(&self) -> FunctionDescription {
        FunctionDescription {
            name: NAME.into(),
            vendor_id: VENDOR_ID,
            device_id: DEVICE_ID,
            class_code: class::UNASSIGNED,
            attachment: self.attachment,
            bars: self.bars(),
            msix: None,
            address_lines: self.address_lines,
        }
    }

    fn start(self: Arc<Self>, port: FunctionPort) {
        let (jobs, queue) = mpsc::channel();
        let registers = Arc::clone(&self.registers);
        let findings = self.findings.clone();
        let thread = DeviceThread::spawn(NAME, move || {
            let mut buffer = [0; BUFFER_BYTES as usize];
            for (life, job) in queue {
                run(life, job, &mut buffer, &registers, &port, &findings);
            }
        });
        let engine = Engine {
            jobs: Mutex::new(Some(jobs)),
            thread,
        };
        if self.engine.set(engine).is_err() {
            log::error!("{NAME}: started twice");
        }
    }

    fn memory(&self, bar: usize) -> Option<&Arc<Ram>> {
        self.memory_at(bar).map(LocalMemory::bytes)
    }

    fn read(&self, bar: usize, offset: u64, width: Width) -> u64 {
        if let Some(memory) = self.memory_at(bar) {
            return memory.read(offset, width);
        }
        let registers = self.registers.lock();
        let dword = match offset {
            ID => Identification::new().into_bits(),
            LIVENESS => registers.liveness,
            FACTORIAL => registers.factorial,
            STATUS => registers.status.into_bits(),
            INTERRUPT_STATUS => registers.interrupts,
            _ => 0,
        };
        let qword = match offset & !7 {
            DMA_SOURCE => registers.source,
            DMA_DESTINATION => registers.destination,
            DMA_COUNT => registers.count,
            DMA_COMMAND => registers.command.into_bits(),
            _ => 0,
        };
        match width {
            Width::Dword if offset < WIDE_REGISTERS => u64::from(dword),
            Width::Dword | Width::Qword if offset >= WIDE_REGISTERS => qword >> (8 * (offset % 8)),
            _ => width.ones(),
        }
    }

    fn write(&self, bar: usize, offset: u64, width: Width, value: u64) {
        if let Some(memory) = self.memory_at(bar) {
            return memory.write(offset, width, value);
        }
        match width {
            Width::Dword if offset < WIDE_REGISTERS => self.write_dword(offset, value as u32),
            Width::Dword | Width::Qword if offset >= WIDE_REGISTERS => {
                self.write_dma(offset, value)
            }
            _ => {
                let detail = format!("{} bytes written to register {offset:#x}", width.bytes());
                self.findings
                    .report(NAME, FindingKind::IllegalRegisterUse, detail);
            }
        }
    }

    fn reset(&self) {
        let mut registers = self.registers.lock();
        *registers = Registers {
            life: registers.life + 1,
            ..Registers::default()
        };
    }

    fn stop(&self) {
        if let Some(engine) = self.engine.get() {
            drop(engine.jobs.lock().take());
            engine.thread.join();
        }
    }
}

/// One job of the device's thread.
fn run(
    life: u64,
    job: Job,
    buffer: &mut [u8],
    registers: &Mutex<Registers>,
    port: &FunctionPort,
    findings: &Findings,
) {
    if registers.lock().life != life {
        return;
    }
    match job {
        Job::Factorial(n) => {
            // From 34 on the lower 32 bits of the product are zero.
            let factorial = (1..=n.min(34)).fold(1_u32, u32::wrapping_mul);
            let mut registers = registers.lock();
            if registers.life != life {
                return;
            }
            registers.factorial = factorial;
            registers.status.set_computing(false);
            if registers.status.interrupt_enable() {
                registers.interrupts |= INTERRUPT_FACTORIAL;
            }
        }
        Job::Copy {
            source,
            destination,
            count,
            command,
        } => {
            let (inside, outside) = if command.to_memory() {
                (source, destination)
            } else {
                (destination, source)
            };
            match part_of_buffer(buffer, inside, count) {
                Some(part) if command.to_memory() => {
                    log_failure(port.dma().write(outside, part));
                }
                Some(part) => log_failure(port.dma().read(outside, part)),
                None => {
                    let detail =
                        format!("transfer of {count:#x} bytes at {inside:#x} leaves the buffer");
                    findings.report(NAME, FindingKind::ProtocolViolation, detail);
                }
            }
            let mut registers = registers.lock();
            if registers.life != life {
                return;
            }
            registers.command.set_run(false);
            if command.interrupt() {
                registers.interrupts |= INTERRUPT_DMA;
            }
        }
    }
}

/// The device has no way to tell that memory was not reached.
fn log_failure(result: Result<(), crate::bus::DmaError>) {
    if let Err(error) = result {
        log::debug!("{NAME}: {error}");
    }
}

fn part_of_buffer(buffer: &mut [u8], start: u64, count: u64) -> Option<&mut [u8]> {
    let start = usize::try_from(start.checked_sub(BUFFER)?).ok()?;
    let end = start.checked_add(usize::try_from(count).ok()?)?;
    buffer.get_mut(start..end)
}
