//! Maintenance that is left out.
