//! What can go wrong, and who is to blame: the controller as a whole, one command, bring-up, shutdown.

mod command;
mod controller;
mod life;

pub use command::{CommandError, Failed};
pub use controller::{ControllerError, Readiness};
pub use life::{ShutdownError, ShutdownFailed, StartError, StartFailed};
