//! What all drivers of this folder are: one of the crate's drivers, at work for the device in a place.

use core::marker::PhantomData;
use core::time::Duration;

use dmamap::device::{Device, Figures};
use dmamap::pci::Function;
use dmamap::resource::ResourceTree;
use virtio_drivers::Error;
use virtio_drivers::transport::{DeviceType, Transport};

use super::error::{Fault, InUse, RequestError, VirtioStartError, VirtioStartFailed};
use super::place::Slot;
use super::terms::Terms;
use super::transport::PciTransport;

/// The crate's driver `D`, and its device in the place of `S`. Dropping it resets and detaches the device.
pub(super) struct Driven<S: Slot, D> {
    /// `None` once the device was given up: it is reset then, and its queues freed.
    driver: Option<D>,
    is_in_place: bool,
    slot: PhantomData<S>,
}

impl<S: Slot, D> Driven<S, D> {
    /// Puts `device`, which `function` was attached as, to its place, and has `new` drive it.
    pub(super) fn start(
        device: Device<S::Platform>,
        function: &Function<S::Platform>,
        tree: &mut ResourceTree,
        (device_type, terms): (DeviceType, Terms),
        new: impl FnOnce(PciTransport<S::Platform>) -> Result<D, Error>,
    ) -> Result<Self, VirtioStartFailed<S::Platform>> {
        if let Err(failed) = S::place().install(device, function) {
            return Err(VirtioStartFailed {
                error: failed.error.into(),
                device: Some(failed.device),
            });
        }
        match bring_up::<S, D>(function, tree, (device_type, terms), new) {
            Ok(driver) => Ok(Self {
                driver: Some(driver),
                is_in_place: true,
                slot: PhantomData,
            }),
            Err(error) => {
                let device = S::place().remove().ok().flatten();
                Err(VirtioStartFailed { error, device })
            }
        }
    }

    /// Has the driver make a request, and finds out what became of it.
    pub(super) fn call<R>(
        &mut self,
        request: impl FnOnce(&mut D) -> Result<R, Error>,
    ) -> Result<R, RequestError> {
        let place = S::place();
        // What an earlier request left that nobody asked about.
        let _ = place.take_refusal();
        let outcome = match (place.fault(), &mut self.driver) {
            (None, Some(driver)) => request(driver),
            (fault, _) => return Err(fault.map_or(STOPPED, RequestError::Stopped)),
        };
        if let Some(fault) = place.fault() {
            self.driver = None;
            return Err(fault.into());
        }
        match place.take_refusal() {
            Some(refusal) => Err(refusal.into()),
            None => outcome.map_err(RequestError::Refused),
        }
    }

    /// Gives the device up: it is reset.
    pub(super) fn give_up(&mut self, fault: Fault) -> RequestError {
        let installed = S::place().installed();
        let first = installed.map(|installed| {
            installed.give_up(fault);
            installed.fault().unwrap_or(fault)
        });
        self.driver = None;
        RequestError::Stopped(first.unwrap_or(fault))
    }

    /// The driver, unless its device was given up.
    pub(super) fn driver(&self) -> Option<&D> {
        self.driver.as_ref()
    }

    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        S::place().set_timeout(timeout);
    }

    /// What the device's mappings add up to.
    pub(super) fn figures(&self) -> Figures {
        let figures = S::place().with_device(Device::figures);
        figures.unwrap_or_default()
    }

    /// Resets the device and takes it out of its place.
    pub(super) fn stop(mut self) -> Result<Device<S::Platform>, InUse> {
        self.driver = None;
        self.is_in_place = false;
        let device = S::place().remove()?;
        // Without a queue there is nothing to keep others from taking the device, but they have no reason to.
        device.ok_or(InUse { live_queues: 0 })
    }
}

/// Of a driver whose device somebody else took.
const STOPPED: RequestError = RequestError::Refused(Error::NotReady);

fn bring_up<S: Slot, D>(
    function: &Function<S::Platform>,
    tree: &mut ResourceTree,
    (device_type, terms): (DeviceType, Terms),
    new: impl FnOnce(PciTransport<S::Platform>) -> Result<D, Error>,
) -> Result<D, VirtioStartError> {
    let transport = PciTransport::open(S::place(), tree, terms)?;
    let found = transport.device_type();
    if found != device_type {
        return Err(VirtioStartError::WrongType {
            function: function.address(),
            found,
        });
    }
    let driver = new(transport);
    if let Some(fault) = S::place().fault() {
        return Err(fault.into());
    }
    if let Some(refusal) = S::place().take_refusal() {
        return Err(refusal.into());
    }
    driver.map_err(VirtioStartError::Driver)
}

impl<S: Slot, D> Drop for Driven<S, D> {
    fn drop(&mut self) {
        self.driver = None;
        if self.is_in_place
            && let Err(error) = S::place().remove()
        {
            log::error!("virtio: {error}");
        }
    }
}
