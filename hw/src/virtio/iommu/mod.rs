//! The IOMMU device (5.13): it has no tables in memory; mappings are requests in a queue.
//!
//! - [`config`]: what the device is, and whether endpoints without a domain pass
//! - [`request`]: what a driver asks for in queue [`REQUEST_QUEUE`]
//! - [`probe`]: what the device tells of one endpoint
//! - [`fault`]: what the device reports in queue [`EVENT_QUEUE`]

pub mod config;
pub mod fault;
pub mod probe;
pub mod request;

/// Queue of requests (5.13.2).
pub const REQUEST_QUEUE: u16 = 0;
/// Queue of fault reports (5.13.2).
pub const EVENT_QUEUE: u16 = 1;
/// Number of queues.
pub const QUEUES: u16 = 2;
