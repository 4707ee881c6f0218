//! What comes in between: an interrupt handler, or another CPU, at the very moment that something is under way.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::altered::{Again, Altered, Doing};
use board::hardware::Width;
use dmamap::device::Device;
use dmamap::iommu::RevokeError;
use dmamap::map::FromDevice;
use dmamap::pci::MsixTable;
use dmamap::platform::Platform;
use dmamap::system::{AttachError, Protection};
use hosted::Hosted;
use journeys::boot::BootOptions;
use machine::device::nvme::{Medium, NvmeConfig};
use rig::kinds::{go_on, hang, kinds};
use rig::{EDU, HEARTBEAT, PAGE, Rig, buffer_of, impatient, small};

/// After which what should have ended long ago counts as endless, however busy the host is. Not [`patience::NEVER`]: a test
/// here fails by it where mutations make handlers wait for each other, and a mutation's test that takes a minute counts as
/// one that hangs.
///
/// [`patience::NEVER`]: rig::patience::NEVER
const NEVER: Duration = Duration::from_secs(40);

/// How long somebody who is to be kept waiting is given to come through all the same.
const A_WHILE: Duration = Duration::from_millis(100);

fn retire(rig: &Rig, device: &Device<Hosted>) -> impl Sized {
    let buffer = buffer_of(rig.kernel, PAGE, 1);
    device.map_single(buffer, FromDevice).unwrap().retire()
}

#[test]
fn a_flush_that_interrupts_a_flush_on_the_same_cpu_ends() {
    for (kind, iommu) in kinds() {
        // The one that is interrupted waits for its unit longer than anybody waits for somebody else's flush.
        let (altered, rig) = Altered::boot(small().with_iommu(iommu), impatient(20_000));
        let device = Arc::new(rig.attach(EDU));
        // Dropping one flushes, which must not keep a failure of this test from being told.
        let retired = ManuallyDrop::new([retire(&rig, &device), retire(&rig, &device)]);
        hang(&rig.machine);
        let (tell, told) = mpsc::channel();
        let handler = {
            let (device, tell) = (device.clone(), tell.clone());
            move |doing| match doing {
                Doing::Wrote(_) => Again::Yes,
                Doing::Waits => {
                    let _ = tell.send(("begun", Ok(())));
                    let _ = tell.send(("inner", device.flush()));
                    Again::No
                }
            }
        };
        altered.come_in_between(handler);
        let flushing = {
            let device = device.clone();
            thread::spawn(move || {
                let _ = tell.send(("outer", device.flush()));
            })
        };
        assert_eq!(told.recv_timeout(NEVER), Ok(("begun", Ok(()))), "{kind}");
        // Nothing is confirmed by a unit that hangs.
        assert_eq!(told.recv_timeout(A_WHILE), Err(RecvTimeoutError::Timeout));
        go_on(&rig.machine);
        assert_eq!(told.recv_timeout(NEVER), Ok(("inner", Ok(()))), "{kind}");
        assert_eq!(told.recv_timeout(NEVER), Ok(("outer", Ok(()))), "{kind}");
        flushing.join().unwrap();
        drop(ManuallyDrop::into_inner(retired));
        device.flush().unwrap();
        assert_eq!(device.flush_figures().lost, 0, "{kind}");
        drop((altered, device));
        rig.finish();
    }
}

#[test]
fn a_flush_after_one_that_failed_asks_the_units_again() {
    for (kind, iommu) in kinds() {
        let rig = Rig::boot_with(small().with_iommu(iommu), impatient(150));
        let device = rig.attach(EDU);
        let retired = retire(&rig, &device);
        hang(&rig.machine);
        let is_refused = |flushed| matches!(flushed, Err(RevokeError::Unit(_)));
        assert!(
            is_refused(device.flush().map_err(|refused| refused.error)),
            "{kind}"
        );
        assert_eq!(device.flush_figures().waiting, 0, "{kind}");
        // Nothing waits any more, and yet it is not out of the device's reach.
        assert!(
            is_refused(device.flush().map_err(|refused| refused.error)),
            "{kind}: nobody was asked"
        );
        go_on(&rig.machine);
        assert_eq!(device.flush(), Ok(()), "{kind}");
        drop(retired);
        device.recover().unwrap();
        device.detach().unwrap();
        rig.finish_after_faults();
    }
}

#[test]
fn nobody_is_attached_while_the_machine_is_quiesced() {
    let (altered, rig) = Altered::boot(small(), BootOptions::default());
    let function = rig.function(HEARTBEAT);
    // Quiescing waits for a request.
    let request = rig.machine.hold_request(EDU.id);
    let (tell, told) = mpsc::channel();
    let system = rig.system();
    let mut request = Some(request);
    let other = {
        let function = function.clone();
        move |doing| {
            if doing != Doing::Waits {
                return Again::Yes;
            }
            let attached = system.attach(&function, Protection::Strict);
            let _ = tell.send(attached.map(drop));
            drop(request.take());
            Again::No
        }
    };
    altered.come_in_between(other);
    system.quiesce(rig.computer.topology()).unwrap();
    let refused = told.recv_timeout(NEVER).expect("it was waited");
    assert!(
        matches!(refused, Err(AttachError::UnitsChanging { device }) if device == HEARTBEAT),
        "{refused:?}"
    );
    // Afterwards it is as before.
    drop(system.attach(&function, Protection::Strict).unwrap());
    drop((altered, function));
    rig.finish();
}

#[test]
fn an_interrupt_that_is_masked_while_its_table_is_restored_stays_masked() {
    let file = tempfile::tempfile().expect("the host has room");
    let disk = NvmeConfig::new(file, 1 << 20, Medium::ReadWrite);
    let (altered, mut rig) = Altered::boot(small().with_disk(disk), BootOptions::default());
    let function = rig.function(crate::DISK);
    let device = rig.attach(crate::DISK);
    device
        .set_mask_and_coherent(dmamap::addr::DmaMask::from_bits(64).unwrap())
        .unwrap();
    let resources = rig.computer.resources_mut();
    let table: MsixTable<Hosted> = function.claim_msix("test", resources, None).unwrap();
    let table = Arc::new(table);
    let interrupt = rig.kernel.allocate_interrupt(None).unwrap();
    table.program(1, &interrupt, device.mask()).unwrap();
    table.unmask(1).unwrap();
    let bar = function.bar(4).and_then(|bar| bar.phys).unwrap();
    let entry = bar.start().as_u64() + 16;
    let control = || board::hardware::Hardware::read(&*rig.machine, entry + 12, Width::Dword);
    assert_eq!(control() & 1, 0);

    let (tell, masking) = mpsc::channel();
    let other = {
        let table = table.clone();
        move |doing| {
            // The message is written, the entry not unmasked yet.
            if doing != Doing::Wrote(entry + 8) {
                return Again::Yes;
            }
            let (done, is_done) = mpsc::channel();
            let table = table.clone();
            let mask = thread::spawn(move || {
                table.mask(1).unwrap();
                let _ = done.send(());
            });
            let _ = is_done.recv_timeout(A_WHILE);
            let _ = tell.send(mask);
            Again::No
        }
    };
    altered.come_in_between(other);
    table.restore().unwrap();
    masking.recv_timeout(NEVER).unwrap().join().unwrap();
    assert_eq!(control() & 1, 1, "whoever masked it gets interrupts");
    drop((altered, table));
    rig.kernel.free_interrupt(interrupt);
    drop((device, function));
    rig.finish();
}
