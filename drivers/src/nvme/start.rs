//! Bring-up: from a function nobody drives to a disk that takes commands.

use alloc::vec::Vec;

use dmamap::addr::DmaMask;
use dmamap::device::Device;
use dmamap::pci::Function;
use dmamap::platform::Platform;
use dmamap::resource::ResourceTree;
use hw::nvme::command::NumberOfQueues;

use super::Nvme;
use super::admin::{ADMIN_ENTRIES, AdminQueue};
use super::command::Command;
use super::controller::Controller;
use super::data::DiskMemory;
use super::engine::Engine;
use super::error::{StartError, StartFailed};
use super::identify::{ControllerInfo, Namespace};
use super::interrupts::{CompletionMode, Interrupts, PollingReason};
use super::io_queue::IoQueue;
use super::prp::PAGE_BYTES;
use super::queue::QueuePair;
use super::settings::{Completion, MAX_QUEUE_DEPTH, MAX_QUEUES, Settings};

/// The name under which the driver holds the controller's registers in the resource tree.
pub(super) const DRIVER_NAME: &str = "nvme";

impl<P: Platform, B: DiskMemory<P>> Nvme<P, B> {
    /// Brings up the controller of `function`, which `device` was attached for.
    ///
    /// Its registers are claimed in `tree`. Its DMA mask is as wide as the function says it drives address
    /// lines, 64 bits where it says nothing.
    ///
    /// # Errors
    /// [`StartFailed`] with the device; the controller is then stopped, and nothing of it is held any more.
    pub fn start(
        device: Device<P>,
        function: &Function<P>,
        tree: &mut ResourceTree,
        settings: Settings,
    ) -> Result<Self, StartFailed<P>> {
        match bring_up(&device, function, tree, &settings) {
            Ok(started) => Ok(Self {
                engine: started.engine,
                settings,
                completion_mode: started.completion_mode,
                info: started.info,
                namespace: started.namespace,
                max_transfer_bytes: started.max_transfer_bytes,
                lost: None,
                device,
            }),
            Err(error) => Err(StartFailed { error, device }),
        }
    }
}

/// All of a running controller but its device.
struct Started<P: Platform, B: DiskMemory<P>> {
    engine: Engine<P, B>,
    completion_mode: CompletionMode,
    info: ControllerInfo,
    namespace: Namespace,
    max_transfer_bytes: u64,
}

fn bring_up<P: Platform, B: DiskMemory<P>>(
    device: &Device<P>,
    function: &Function<P>,
    tree: &mut ResourceTree,
    settings: &Settings,
) -> Result<Started<P, B>, StartError> {
    check_function(device, function)?;
    device.set_mask_and_coherent(mask(function)?)?;
    let platform = device.platform();
    let registers = function.claim_bar(0, DRIVER_NAME, tree)?;
    function.enable_memory()?;
    let mut controller = Controller::new(
        platform,
        function.clone(),
        registers,
        settings.ready_timeout,
    )?;
    // Firmware may have left it running.
    controller.disable()?;
    let doorbells = controller.split_doorbells(0)?;
    let pair = QueuePair::allocate(device, 0, ADMIN_ENTRIES, doorbells)?;
    let admin = AdminQueue::new(device, pair, settings.command_timeout)?;
    // From here on whatever fails drops the engine: the controller stops before its memory goes.
    let mut engine = Engine {
        controller,
        admin,
        queues: Vec::new(),
        interrupts: None,
    };
    let rings = engine.admin.pair();
    engine
        .controller
        .enable(rings.submission_memory(), rings.completion_memory())?;

    let info = identify_controller(&mut engine)?;
    let namespace = identify_namespace(&mut engine, &info, settings.namespace)?;
    let max_transfer_bytes = max_transfer_bytes(settings, &info, &namespace);
    device
        .set_max_segment_bytes(
            max_transfer_bytes
                .next_multiple_of(PAGE_BYTES)
                .max(PAGE_BYTES),
        )
        .expect("a page is not an empty segment");
    let queues = agree_on_queues(&mut engine, settings.queues)?;
    let completion_mode = connect_interrupts(&mut engine, device, function, tree, settings, queues);
    for id in 1..=queues {
        create_queue(
            &mut engine,
            device,
            id,
            settings.queue_depth,
            max_transfer_bytes,
        )?;
    }
    Ok(Started {
        engine,
        completion_mode,
        info,
        namespace,
        max_transfer_bytes,
    })
}

/// Checks that the registers to be driven are those of the device that was attached.
fn check_function<P: Platform>(
    device: &Device<P>,
    function: &Function<P>,
) -> Result<(), StartError> {
    let (device, function) = (device.requester(), function.address());
    match (device.segment, device.id) == (function.segment, function.requester()) {
        true => Ok(()),
        false => Err(StartError::WrongFunction { device, function }),
    }
}

/// What the function can address. Real functions do not say: their drivers know, and this one's drives all
/// lines. Those of this project's models say it in a capability of their own.
fn mask<P: Platform>(function: &Function<P>) -> Result<DmaMask, StartError> {
    match function.address_lines() {
        Some(bits) => DmaMask::from_bits(bits).map_err(|_| StartError::AddressLines { bits }),
        None => Ok(DmaMask::ALL),
    }
}

fn identify_controller<P: Platform, B: DiskMemory<P>>(
    engine: &mut Engine<P, B>,
) -> Result<ControllerInfo, StartError> {
    let data = engine.admin.identify_controller()?;
    let page_size_log2 = 12 + u32::from(engine.controller.capabilities().mpsmin());
    Ok(ControllerInfo::new(
        &data,
        engine.controller.read_version()?,
        page_size_log2,
    ))
}

fn identify_namespace<P: Platform, B: DiskMemory<P>>(
    engine: &mut Engine<P, B>,
    info: &ControllerInfo,
    namespace: u32,
) -> Result<Namespace, StartError> {
    let namespaces = info.namespaces;
    if namespace == 0 || namespace > namespaces {
        return Err(StartError::NoSuchNamespace {
            namespace,
            namespaces,
        });
    }
    let data = engine.admin.identify_namespace(namespace)?;
    Namespace::new(namespace, &data)
}

/// The least of what the user, the controller (MDTS) and a command's block count (16 bits) allow, in whole
/// blocks; one block at least.
fn max_transfer_bytes(settings: &Settings, info: &ControllerInfo, namespace: &Namespace) -> u64 {
    let block_bytes = namespace.block_bytes();
    let bytes = settings
        .max_transfer_bytes
        .min(info.max_transfer_bytes.unwrap_or(u64::MAX))
        .min(block_bytes << 16)
        .max(block_bytes);
    bytes - bytes % block_bytes
}

/// How many queue pairs driver, user and controller can have.
fn agree_on_queues<P: Platform, B: DiskMemory<P>>(
    engine: &mut Engine<P, B>,
    wanted: usize,
) -> Result<u16, StartError> {
    let wanted = wanted.clamp(1, MAX_QUEUES) as u16;
    let granted = engine
        .admin
        .execute(Command::set_number_of_queues(wanted))?;
    let granted = NumberOfQueues::from_bits(granted);
    // Both are encoded as one less.
    Ok(granted
        .nsq()
        .min(granted.ncq())
        .saturating_add(1)
        .min(wanted))
}

fn connect_interrupts<P: Platform, B: DiskMemory<P>>(
    engine: &mut Engine<P, B>,
    device: &Device<P>,
    function: &Function<P>,
    tree: &mut ResourceTree,
    settings: &Settings,
    queues: u16,
) -> CompletionMode {
    if settings.completion == Completion::Polling {
        return CompletionMode::Polling(PollingReason::Chosen);
    }
    let registers = engine.controller.registers_mut();
    match Interrupts::connect(device, function, registers, tree, queues) {
        Ok(interrupts) => {
            engine.interrupts = Some(interrupts);
            CompletionMode::Interrupt
        }
        Err(reason) => {
            log::warn!("{}: completions are polled: {reason}", function.address());
            CompletionMode::Polling(reason)
        }
    }
}

fn create_queue<P: Platform, B: DiskMemory<P>>(
    engine: &mut Engine<P, B>,
    device: &Device<P>,
    id: u16,
    depth: usize,
    max_transfer_bytes: u64,
) -> Result<(), StartError> {
    // A ring of n entries holds n - 1 commands: full and empty must differ.
    let entries = depth.clamp(1, MAX_QUEUE_DEPTH) as u32 + 1;
    let entries = entries.min(engine.controller.capabilities().queue_entries_max().max(2));
    let doorbells = engine.controller.split_doorbells(id)?;
    let pair = QueuePair::allocate(device, id, entries, doorbells)?;
    let (submissions, completions) = (pair.submission_memory(), pair.completion_memory());
    let interrupt = engine
        .interrupts
        .as_ref()
        .and_then(|interrupts| interrupts.of_queue(id));
    // Part of the engine before the controller learns of it, so that it outlives the controller's use of it.
    engine
        .queues
        .push(IoQueue::new(device, pair, max_transfer_bytes, interrupt)?);
    let vector = interrupt.map(|_| Interrupts::<P>::vector_of_queue(id));
    engine
        .admin
        .execute(Command::create_completion_queue(completions, vector))?;
    engine
        .admin
        .execute(Command::create_submission_queue(submissions))?;
    Ok(())
}
