//! The program as its users meet it: started as a process, on real files, judged by what it prints, the status
//! it exits with, and what is on the disk afterwards. Every run has a deadline: what hangs fails.
//!
//! | what is shown | file |
//! |---|---|
//! | every file is read whole and right, whatever the settings | `main_job` |
//! | the report for programs | `json` |
//! | what people see | `text` |
//! | the second disk | `copy`, `full_copy` |
//! | a disk that lies, and one that attacks | `rogue` |
//! | a disk that is given copies | `bounced` |
//! | what cannot be used is refused, with a reason | `refusals`, `host_limits` |
//! | files that change under the program | `changing_files` |
//! | every unit, on the models and on QEMU | `units`, `qemu` |
//! | every board and every journey | `boards` |
//! | what mapping costs | `bench` |
//! | memory does not grow with the file | `memory` |
//! | the other subcommands, and help | `commands` |
//!
//! `program` starts the program, `files` makes files, `report` reads a report and `screen` what is shown to
//! people, `pairs` chooses settings.

mod files;
mod pairs;
mod policies;
mod program;
mod report;
mod screen;

mod bench;
mod boards;
mod bounced;
mod changing_files;
mod commands;
mod copy;
mod full_copy;
mod host_limits;
mod json;
mod main_job;
mod memory;
mod qemu;
mod refusals;
mod rogue;
mod text;
mod units;
