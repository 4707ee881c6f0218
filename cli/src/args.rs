//! The command line.

use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::bench::BenchArgs;

const EXAMPLES: &str = "\
Examples:
  dmamap                                    read this program's own executable
  dmamap run FILE                           read FILE
  dmamap run FILE --write COPY              read it, write it to another disk, read that back
  dmamap run FILE --rogue                   let the disk also try what it may not
  dmamap run FILE --iommu none --json       without an IOMMU; the report as JSON
  dmamap run FILE --board qemu --iommu smmu on QEMU's hardware, through its Arm SMMU
  dmamap run --help                         every setting
  dmamap bench --iommu smmu --threads 2     what mapping costs behind an Arm SMMU

Exit status: 0 if the data was verified and nothing leaked, 1 if something failed, 2 if what was given
cannot be used. DMAMAP_LOG=warn (info, debug) shows what goes on inside.";

/// Read a file as a disk, by DMA, on a computer that boots in this process.
///
/// Without a subcommand, `dmamap run` on the program's own executable.
#[derive(Debug, Parser)]
#[command(name = "dmamap", version, long_about = None, max_term_width = 100)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

impl Args {
    /// What the user asked for. Ends the program where that is nothing it knows, or help.
    pub(crate) fn read() -> Self {
        Self::try_parse().unwrap_or_else(|mut error| {
            if error.kind() == ErrorKind::InvalidSubcommand {
                let tip = match error.get(ContextKind::InvalidSubcommand) {
                    Some(ContextValue::String(word)) if Path::new(word).exists() => {
                        format!("to read a file: dmamap run {word}")
                    }
                    _ => "to read a file: dmamap run FILE".into(),
                };
                let tips = ContextValue::StyledStrs(vec![tip.into()]);
                error.insert(ContextKind::Suggested, tips);
            }
            error.exit()
        })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read FILE whole, as a disk, by DMA through an IOMMU, and verify every byte
    Run(Box<RunArgs>),
    /// Print who holds which physical addresses, as /proc/iomem does
    #[command(mut_args(hidden_where_no_disk_is_read))]
    Iomem(MachineArgs),
    /// Print the devices, and each BAR's bus (A), physical (B) and virtual (C) address
    #[command(mut_args(hidden_where_no_disk_is_read))]
    Pci(MachineArgs),
    /// Measure what mapping and unmapping cost: latencies, throughput, invalidations, memory
    Bench(Box<BenchArgs>),
    /// List the boards and what is missing for those that cannot run here
    Boards,
    /// Make every journey on every board and print what became of each
    Journeys(JourneysArgs),
}

/// Hides what changes nothing where addresses are only listed.
fn hidden_where_no_disk_is_read(arg: Arg) -> Arg {
    let changes_nothing = matches!(
        arg.get_id().as_str(),
        "temper" | "seed" | "walks" | "non_coherent" | "table_levels" | "stage"
    );
    arg.hide(changes_nothing)
}

/// What the disk's requests meet on the way to memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum IommuChoice {
    /// Intel VT-d units, in legacy mode
    #[default]
    Vtd,
    /// Intel VT-d units, in scalable mode
    VtdScalable,
    /// An AMD-Vi unit
    Amd,
    /// An Arm SMMUv3
    Smmu,
    /// A RISC-V IOMMU
    Riscv,
    /// A virtio-iommu
    Virtio,
    /// No IOMMU: the disk is trusted with all memory
    None,
}

impl IommuChoice {
    /// As one types it.
    pub(crate) fn name(self) -> String {
        typed(self)
    }

    /// What it is.
    pub(crate) fn description(self) -> String {
        let value = self.to_possible_value();
        let help = value.and_then(|value| value.get_help().map(ToString::to_string));
        help.unwrap_or_default()
    }
}

/// Whose hardware the computer is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BoardChoice {
    /// Hostile models in this process
    #[default]
    Machine,
    /// QEMU's models (see `dmamap boards`)
    Qemu,
}

impl BoardChoice {
    /// As one types it.
    pub(crate) fn name(self) -> String {
        typed(self)
    }
}

/// Which of an IOMMU's two kinds of tables translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StageChoice {
    /// The one an operating system uses for itself
    First,
    /// The one a hypervisor uses for a guest
    Second,
}

impl StageChoice {
    /// As one types it.
    pub(crate) fn name(self) -> String {
        typed(self)
    }
}

/// A value as one types it.
pub(crate) fn typed(value: impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

/// How long the disk reaches a buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    /// From when it is mapped until it is unmapped, not a moment longer
    #[default]
    Strict,
    /// From when it is mapped until a flush that several unmaps share: no buffer comes back before
    Deferred,
    /// Always: bus addresses are physical ones, and the disk is trusted
    Identity,
    /// Never: the disk reaches copies, in memory that is always mapped for it
    Bounce,
}

/// Which protection's rows are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum WantedPolicy {
    /// Those of every one, and of boards without an IOMMU
    #[default]
    All,
    /// A device reaches a buffer while it is mapped
    Strict,
    /// Until a flush that several unmaps share
    Deferred,
    /// A device reaches copies, in memory that is always mapped for it
    Bounce,
}

/// What the modelled IOMMU's caches remember.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TemperChoice {
    /// Everything that was not invalidated
    #[default]
    Keep,
    /// Nothing
    Forget,
    /// Sometimes one, sometimes the other, by the seed
    Random,
}

/// Whether the IOMMU's own walks see the CPU's caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Walks {
    /// They do
    #[default]
    Snoop,
    /// They read memory only: table entries must be written back
    NoSnoop,
}

/// How the driver learns that a command ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompletionChoice {
    /// By a message interrupt of the disk
    #[default]
    Interrupt,
    /// By looking
    Polling,
}

/// The computer.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct MachineArgs {
    /// Whose hardware it is made of
    #[arg(long, value_enum, default_value_t)]
    pub(crate) board: BoardChoice,

    /// What stands between the devices and memory
    #[arg(long, value_enum, default_value_t)]
    pub(crate) iommu: IommuChoice,

    /// Memory of the computer: bytes, or with a suffix K, M, G (powers of 1024). Untouched memory
    /// costs nothing
    #[arg(long, value_name = "SIZE", default_value = "8G", value_parser = parse_size)]
    pub(crate) ram: u64,

    /// What the IOMMU's caches remember (QEMU's: what QEMU likes)
    #[arg(long, value_enum, default_value_t)]
    pub(crate) temper: TemperChoice,

    /// Seed of every choice the hardware makes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Whether the IOMMU's walks see the CPU's caches (only with vtd, vtd-scalable, amd, smmu; not
    /// on QEMU)
    #[arg(long, value_enum, default_value_t)]
    pub(crate) walks: Walks,

    /// Devices do not see the CPU's caches: memory has two copies, and every sync counts (not on QEMU)
    #[arg(long)]
    pub(crate) non_coherent: bool,

    /// Levels of the I/O page tables (not without an IOMMU) [default: the fewest that reach all memory]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=6))]
    pub(crate) table_levels: Option<u8>,

    /// Which of the IOMMU's two kinds of tables translates [default: the first it has]
    #[arg(long, value_enum)]
    pub(crate) stage: Option<StageChoice>,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct JourneysArgs {
    /// Only boards of this kind
    #[arg(long, value_enum)]
    pub(crate) board: Option<BoardChoice>,

    /// Only rows of this protection
    #[arg(long, value_enum, default_value_t)]
    pub(crate) policy: WantedPolicy,

    /// Only rows of devices that do not see the CPU's caches
    #[arg(long)]
    pub(crate) non_coherent: bool,

    /// Every row in every temper of the modelled caches, which otherwise take turns, and with all steps
    #[arg(long)]
    pub(crate) all: bool,

    /// Steps of the differential run on each board
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) steps: u64,

    /// Seed of the differential run, and of the tempers' turns
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Only boards whose names contain this
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// The file to read [default: this program's own executable]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) machine: MachineArgs,

    /// How long the disk reaches a buffer
    #[arg(long, value_enum, default_value_t)]
    pub(crate) policy: Policy,

    /// Commands outstanding on each queue
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) queue_depth: u16,

    /// Queue pairs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=8))]
    pub(crate) queues: u16,

    /// How the driver learns that a command ended
    #[arg(long, value_enum, default_value_t)]
    pub(crate) completion: CompletionChoice,

    /// Address lines each disk has: it really drops the higher bits (QEMU's disks have all 64)
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(13..=64))]
    pub(crate) address_bits: u32,

    /// Afterwards write the data to a second disk backed by COPY, flush, read it back and verify it
    #[arg(long, value_name = "COPY")]
    pub(crate) write: Option<PathBuf>,

    /// The disk (on QEMU a test device beside it) also reads and writes outside its mappings while
    /// the disk works: every attempt must fail
    #[arg(long)]
    pub(crate) rogue: bool,

    /// Print one JSON object and nothing else
    #[arg(long)]
    pub(crate) json: bool,

    /// The disk flips a bit of this byte on its way (for tests of the verification)
    #[arg(long, value_name = "N", hide = true)]
    pub(crate) flip_bit_of_byte: Option<u64>,
}

impl RunArgs {
    /// What `dmamap` alone means.
    pub(crate) fn without_file() -> Self {
        match Args::parse_from(["dmamap", "run"]).command {
            Some(Command::Run(args)) => *args,
            _ => unreachable!("`run` was parsed"),
        }
    }
}

/// How a user would write `bytes`.
pub(crate) fn size_text(bytes: u64) -> String {
    match bytes.trailing_zeros() {
        _ if bytes == 0 => "0".into(),
        30.. => format!("{}G", bytes >> 30),
        20.. => format!("{}M", bytes >> 20),
        10.. => format!("{}K", bytes >> 10),
        _ => bytes.to_string(),
    }
}

/// Reads a size with or without a suffix.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "a size is a number, with K, M or G after it or not".to_string())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "a size below 2^64 bytes".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_checked() {
        assert_eq!(parse_size("512"), Ok(512));
        assert_eq!(parse_size("4k"), Ok(4096));
        assert_eq!(parse_size("8G"), Ok(8 << 30));
        for bad in ["", "G", "8T", "-1", "1.5G", "18446744073709551615G", "8 G"] {
            assert!(parse_size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_are_written_as_they_are_given() {
        for text in ["0", "1023", "5K", "1025K", "8M", "3G", "128G"] {
            assert_eq!(parse_size(text).map(size_text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
        assert_eq!(RunArgs::without_file().queue_depth, 32);
    }
}
