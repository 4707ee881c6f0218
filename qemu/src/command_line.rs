//! The options that make QEMU the computer asked for.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::Command;

use crate::config::{ConsoleEnd, DiskKind, Medium, QemuConfig, VirtioDevice};

/// Files a QEMU is started with; it inherits them under the same numbers.
pub(crate) struct Inherited<'a> {
    /// The file that holds its RAM.
    pub(crate) ram: BorrowedFd<'a>,
    /// Its end of the connection over which registers are reached.
    pub(crate) qtest: BorrowedFd<'a>,
}

/// Options of `config` without RAM, connection and disks: what a description of the machine depends on.
pub(crate) fn add_machine(command: &mut Command, config: &QemuConfig, machine_more: &str) {
    let mib = config.ram_len_bytes >> 20;
    command
        .args([
            "-accel",
            "qtest",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
        ])
        .args(["-m", &format!("{mib}M")])
        .args([
            "-machine",
            &format!("{}{machine_more}", config.board.machine),
        ])
        .args(config.board.options);
}

/// All options of `config`.
pub(crate) fn add_computer(command: &mut Command, config: &QemuConfig, files: &Inherited<'_>) {
    add_machine(command, config, ",memory-backend=ram");
    let ram = format!(
        "memory-backend-file,id=ram,share=on,size={},mem-path={}",
        config.ram_len_bytes,
        reopened(files.ram)
    );
    let qtest = format!("socket,id=qtest,fd={}", files.qtest.as_raw_fd());
    command
        .args(["-object", &ram])
        .args(["-chardev", &qtest])
        .args(["-qtest", "chardev:qtest", "-qtest-log", "none"]);
    add_endpoints(command, config);
}

fn add_endpoints(command: &mut Command, config: &QemuConfig) {
    for address_bits in &config.edus {
        let mask = u64::MAX >> (64 - (*address_bits).clamp(1, 64));
        command.args(["-device", &format!("edu,dma_mask={mask:#x}")]);
    }
    for (index, disk) in config.disks.iter().enumerate() {
        let read_only = match disk.medium {
            Medium::ReadOnly => "on",
            Medium::ReadWrite => "off",
        };
        let driver = match disk.is_block_device() {
            true => "host_device",
            false => "file",
        };
        let node = format!(
            "driver=raw,node-name=disk{index},read-only={read_only},file.driver={driver},file.locking=off,file.filename={}",
            reopened(std::os::fd::AsFd::as_fd(&disk.file))
        );
        command.args(["-blockdev", &node]);
        match disk.kind {
            DiskKind::Nvme => {
                let number = index + 1;
                let port = format!("pcie-root-port,id=port{index},chassis={number},slot={number}");
                let disk = format!("nvme,drive=disk{index},serial=disk{index},bus=port{index}");
                command.args(["-device", &port, "-device", &disk]);
            }
            DiskKind::VirtioBlock => {
                let disk =
                    format!("virtio-blk-pci,drive=disk{index},iommu_platform=on,disable-legacy=on");
                command.args(["-device", &disk]);
            }
        }
    }
    for (index, device) in config.virtio.iter().enumerate() {
        add_virtio(command, index, device);
    }
    for _ in 0..config.iommu_testdevs {
        command.args(["-device", "iommu-testdev"]);
    }
}

fn add_virtio(command: &mut Command, index: usize, device: &VirtioDevice) {
    let add = |command: &mut Command, device: &str| {
        let device = format!("{device},iommu_platform=on,disable-legacy=on");
        command.args(["-device", &device]);
    };
    match device {
        VirtioDevice::Net(socket) => {
            let fd = socket.as_raw_fd();
            let net = format!("dgram,id=net{index},local.type=fd,local.str={fd}");
            command.args(["-netdev", &net]);
            // No firmware runs that could boot over the network.
            let device = format!("virtio-net-pci,netdev=net{index},romfile=");
            add(command, &device);
        }
        VirtioDevice::Console(end) => {
            let chardev = match end {
                ConsoleEnd::Socket(socket) => {
                    format!("socket,id=console{index},fd={}", socket.as_raw_fd())
                }
                ConsoleEnd::Pipe(pipe) => {
                    format!("pipe,id=console{index},path={}", reopened(pipe.as_fd()))
                }
            };
            command.args(["-chardev", &chardev]);
            // Of one port, or its first one would not be a console's.
            let device = format!("virtio-serial-pci,id=serial{index},max_ports=1");
            add(command, &device);
            let port = format!("virtconsole,bus=serial{index}.0,chardev=console{index}");
            command.args(["-device", &port]);
        }
        VirtioDevice::Rng => {
            command.args(["-object", &format!("rng-builtin,id=rng{index}")]);
            add(command, &format!("virtio-rng-pci,rng=rng{index}"));
        }
        VirtioDevice::Gpu => add(command, "virtio-gpu-pci"),
    }
}

/// A path under which a process that inherited `file` opens it anew.
fn reopened(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
