//! The devicetree of the computer: memory, what firmware set aside of it and for whom, the host bridge, and an SMMU if there is
//! one. Of units that devicetrees have no binding for, or whose tables say more, only ACPI tells.

use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use board::hardware::{InboundDescription, WindowDescription, WindowKind};

use crate::cache::Snooping;
use crate::config::{Iommu, PoolPurpose, PoolUser};
use crate::memory_map::{ECAM, MemoryMap, SMMU_REGISTERS, WINDOWS};

/// What the tree is of.
pub(crate) struct Described<'a> {
    pub(crate) iommu: &'a Iommu,
    pub(crate) map: &'a MemoryMap,
    pub(crate) inbound: &'a [InboundDescription],
    pub(crate) devices: Snooping,
}

/// Phandle of the unit; those of pools come after it.
const UNIT: u32 = 1;
const FIRST_POOL: u32 = 2;

impl Described<'_> {
    /// The blob; `None` where a devicetree cannot tell of the unit.
    pub(crate) fn blob(&self) -> Option<Vec<u8>> {
        let unit = match self.iommu {
            Iommu::None => None,
            Iommu::Smmu { walks, .. } => Some(smmu(*walks)),
            Iommu::Vtd { .. } | Iommu::Virtio { .. } | Iommu::Amd { .. } | Iommu::Riscv { .. } => {
                return None;
            }
        };
        let mut root = node("", &two_cells());
        for ram in &self.map.ram {
            let reg = numbers(&[ram.start, ram.end - ram.start]);
            let properties = [("device_type", text("memory")), ("reg", reg)];
            root.add_child(node(&format!("memory@{:x}", ram.start), &properties));
        }
        root.add_child(self.reserved_memory());
        if let Some(unit) = unit {
            root.add_child(unit);
        }
        root.add_child(self.host_bridge());
        let mut tree = DeviceTree::new();
        tree.root = root;
        Some(tree.to_dtb())
    }

    fn reserved_memory(&self) -> DeviceTreeNode {
        let mut all = node("reserved-memory", &two_cells());
        all.add_property(DeviceTreeProperty::new_unchecked("ranges", &[0_u8; 0][..]));
        for (phandle, pool) in (FIRST_POOL..).zip(&self.map.pools) {
            let range = &pool.memory;
            let compatible = match pool.config.purpose {
                PoolPurpose::Restricted => "restricted-dma-pool",
                PoolPurpose::Coherent => "shared-dma-pool",
            };
            let mut properties = vec![
                ("compatible", text(compatible)),
                ("reg", numbers(&[range.start, range.end - range.start])),
                ("phandle", cells(&[phandle])),
            ];
            if pool.config.purpose == PoolPurpose::Coherent {
                properties.push(("no-map", Vec::new()));
            }
            all.add_child(node(&format!("pool@{:x}", range.start), &properties));
        }
        all
    }

    fn host_bridge(&self) -> DeviceTreeNode {
        let windows = WINDOWS.iter().flat_map(window).collect::<Vec<_>>();
        let ecam = numbers(&[ECAM.start, ECAM.end - ECAM.start]);
        let mut properties = vec![
            ("compatible", text("pci-host-ecam-generic")),
            ("device_type", text("pci")),
            ("#address-cells", cells(&[3])),
            ("#size-cells", cells(&[2])),
            ("reg", ecam),
            ("bus-range", cells(&[0, 0xff])),
            ("ranges", windows),
        ];
        if !self.inbound.is_empty() {
            let inbound = self.inbound.iter().flat_map(|range| {
                let flags = cells(&[0x0300_0000]);
                [flags, numbers(&[range.bus, range.phys, range.len_bytes])].concat()
            });
            properties.push(("dma-ranges", inbound.collect()));
        }
        properties.push(match self.devices {
            Snooping::On => ("dma-coherent", Vec::new()),
            Snooping::Off => ("dma-noncoherent", Vec::new()),
        });
        if let Iommu::Smmu { unit, .. } = self.iommu {
            let map = cells(&[0, UNIT, unit.first_stream, 0x1_0000]);
            properties.push(("iommu-map", map));
        }
        let of_all = self.pools_of(PoolUser::AllDevices);
        if !of_all.is_empty() {
            properties.push(("memory-region", of_all));
        }
        let mut bridge = node("pcie@e0000000", &properties);
        for device in 0..32 {
            let pools = self.pools_of(PoolUser::Device(device));
            if !pools.is_empty() {
                let reg = cells(&[u32::from(device) << 11, 0, 0, 0, 0]);
                let properties = [("reg", reg), ("memory-region", pools)];
                bridge.add_child(node(&format!("device@{device:x},0"), &properties));
            }
        }
        bridge
    }

    /// The phandles of the pools that `user` names.
    fn pools_of(&self, user: PoolUser) -> Vec<u8> {
        let numbered = (FIRST_POOL..).zip(&self.map.pools);
        let named = numbered.filter(|(_, pool)| pool.config.users.contains(&user));
        named.flat_map(|(phandle, _)| cells(&[phandle])).collect()
    }
}

fn smmu(walks: Snooping) -> DeviceTreeNode {
    let (base, end) = (SMMU_REGISTERS.start, SMMU_REGISTERS.end);
    let mut properties = vec![
        ("compatible", text("arm,smmu-v3")),
        ("reg", numbers(&[base, end - base])),
        ("phandle", cells(&[UNIT])),
        ("#iommu-cells", cells(&[1])),
    ];
    if walks == Snooping::On {
        properties.push(("dma-coherent", Vec::new()));
    }
    node(&format!("iommu@{base:x}"), &properties)
}

/// An entry of `ranges`: flags and bus address, physical address, length.
fn window(window: &WindowDescription) -> Vec<u8> {
    let flags = match window.kind {
        WindowKind::Io => 0x0100_0000,
        WindowKind::Memory => 0x0200_0000,
        WindowKind::PrefetchableMemory => 0x4300_0000,
    };
    [
        cells(&[flags]),
        numbers(&[window.bus, window.phys, window.len_bytes]),
    ]
    .concat()
}

fn node(name: &str, properties: &[(&str, Vec<u8>)]) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked(name);
    for (name, value) in properties {
        node.add_property(DeviceTreeProperty::new_unchecked(*name, value.as_slice()));
    }
    node
}

fn two_cells() -> [(&'static str, Vec<u8>); 2] {
    [
        ("#address-cells", cells(&[2])),
        ("#size-cells", cells(&[2])),
    ]
}

fn cells(cells: &[u32]) -> Vec<u8> {
    cells.iter().flat_map(|cell| cell.to_be_bytes()).collect()
}

/// Numbers of two cells each.
fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}
