//! The subcommands beside `run`, and what the program says of itself.

use crate::program::Program;

fn says(args: &[&str]) -> String {
    let ended = Program::alone().args(args).finish();
    ended.expect_status(0);
    assert_eq!(ended.stderr, "");
    ended.stdout
}

#[test]
fn iomem_prints_the_resource_tree_alone() {
    let tree = says(&["iomem"]);
    assert!(
        tree.starts_with("00000000-0009ffff : System RAM\n"),
        "{tree}"
    );
    assert!(tree.lines().all(|line| line.contains(" : ")), "{tree}");
    for name in ["PCI Bus 0000:00", "0000:01:00.0", "dmar1"] {
        assert!(
            tree.lines().any(|line| line.ends_with(name)),
            "{name}: {tree}"
        );
    }
    assert!(says(&["iomem", "--ram", "1G"]).contains("00100000-3fffffff : System RAM"));
    assert!(!says(&["iomem", "--iommu", "none"]).contains("dmar"));
}

#[test]
fn pci_prints_every_device_and_its_bars() {
    let devices = says(&["pci"]);
    for device in [
        "0000:00:00.0",
        "0000:01:00.0",
        "NVMe controller",
        "PCI bridge",
        "I/O ports, ",
        "64-bit prefetchable memory, ",
        "system peripheral",
    ] {
        assert!(devices.contains(device), "{device}: {devices}");
    }
    let bars = devices.lines().filter(|line| line.contains("BAR"));
    assert!(bars.clone().count() >= 6, "{devices}");
    for bar in bars {
        let all = [": A 0x", "  B 0x", "  C 0x"]
            .iter()
            .all(|letter| bar.contains(letter));
        assert!(all, "{bar}");
    }
    assert!(!devices.contains("problem"), "{devices}");
}

#[test]
fn help_names_every_visible_flag_and_value() {
    let help = says(&["run", "--help"]);
    for flag in [
        "[FILE]",
        "--iommu",
        "--policy",
        "--ram <SIZE>",
        "--queue-depth <N>",
        "--queues <N>",
        "--completion",
        "--address-bits <N>",
        "--write <COPY>",
        "--temper",
        "--seed <N>",
        "--walks",
        "--non-coherent",
        "--table-levels <N>",
        "--rogue",
        "--json",
        "vtd",
        "none",
        "strict",
        "identity",
        "keep",
        "forget",
        "random",
        "[default: 8G]",
    ] {
        assert!(help.contains(flag), "no {flag}: {help}");
    }
    assert!(!help.contains("flip"), "{help}");
}

#[test]
fn help_names_the_subcommands_and_the_exit_status() {
    for flag in ["--help", "-h", "help"] {
        let help = says(&[flag]);
        for words in [
            "run",
            "bench",
            "iomem",
            "pci",
            "Usage: dmamap",
            "Exit status",
            "by DMA",
        ] {
            assert!(help.contains(words), "no {words}: {help}");
        }
    }
}

#[test]
fn version_is_that_of_the_package() {
    assert_eq!(
        says(&["--version"]),
        format!("dmamap {}\n", env!("CARGO_PKG_VERSION"))
    );
}
