//! What a device, a walk and the CPU see of each other's stores.

mod cpu_caches;
mod memory_view;
