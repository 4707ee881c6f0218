//! QEMU's virtio-iommu: the statuses of requests it refuses, as the driver tells them, and what its event queue says.
//!
//! The driver asks for nothing that is refused, so its requests are altered on their way.

#![allow(unreachable_pub, reason = "this crate is a test")]

mod support;

#[path = "virtio/altered.rs"]
mod altered;
#[path = "virtio/events.rs"]
mod events;
#[path = "virtio/requests.rs"]
mod requests;
#[path = "virtio/rig.rs"]
mod rig;
