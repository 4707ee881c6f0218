//! A device that snoops among others that do not.
