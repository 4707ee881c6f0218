//! Walks the paths, and says which loops it was and how often each was walked: a line for each, in their order.

use std::process::ExitCode;

use clap::Parser;

/// Loops over the hot paths of dmamap, for a tool that counts instructions. Prints the name and the rounds of each loop.
#[derive(Debug, Parser)]
#[command(name = "counts")]
struct Arguments {
    /// Only the paths whose name contains this, for example "iova" or "strict".
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let print = &mut |name: &str, rounds: u64| println!("{rounds}\t{name}");
    match counts::loads::run(&arguments.only, print) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("counts: {error}");
            ExitCode::FAILURE
        }
    }
}
