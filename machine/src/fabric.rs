//! Ports that a computer has beside those of the default one, and what is below them: switches, bridges, devices with
//! several functions. Who of them is kept from whom is in the access control services that each has.
//!
//! ```
//! use hw::pci::capability::AcsFlags;
//! use machine::fabric::{Below, FunctionConfig, Model, PortConfig};
//! use machine::{Machine, MachineConfig};
//!
//! // A switch with two devices; one of its ports keeps requests from the other.
//! let device = |model| Below::Device(vec![FunctionConfig::new(model)]);
//! let switch = Below::Switch(vec![
//!     PortConfig::new(device(Model::Edu)).with_acs(AcsFlags::ISOLATING),
//!     PortConfig::new(device(Model::Memory)),
//! ]);
//! let config = MachineConfig::default().with_port(PortConfig::new(switch));
//! let machine = Machine::boot(config)?;
//! machine.shutdown();
//! # Ok::<(), machine::MachineError>(())
//! ```

use std::sync::Arc;

use hw::pci::capability::AcsFlags;

use crate::bus::{ConventionalIds, Requester};
use crate::device::edu::Edu;
use crate::device::memory::DeviceMemory;
use crate::pci::bridge::{Bridge, BridgeKind};
use crate::pci::endpoint::{AtBoot, Endpoint, Functions, InDevice};
use crate::pci::function::{Attachment, FunctionModel};
use crate::pci::segment::{Node, Segment, SegmentKind};
use crate::topology::{ALL_LINES, ALL_OTHERS, Wiring};

/// What a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// The educational device, with 48 address lines.
    Edu,
    /// The same, with 64 KiB of memory behind its prefetchable BAR 2.
    EduWithMemory,
    /// 64 KiB of memory behind a prefetchable BAR.
    Memory,
}

/// A function.
#[derive(Clone, Copy, Debug)]
pub struct FunctionConfig {
    model: Model,
    acs: Option<AcsFlags>,
}

impl FunctionConfig {
    /// One without access control services.
    pub const fn new(model: Model) -> Self {
        Self { model, acs: None }
    }

    /// One whose access control services can do `flags`.
    #[must_use]
    pub const fn with_acs(mut self, flags: AcsFlags) -> Self {
        self.acs = Some(flags);
        self
    }
}

/// What is at the other end of a port's link.
#[derive(Clone, Debug)]
pub enum Below {
    /// A device with these functions, 8 at most.
    Device(Vec<FunctionConfig>),
    /// A switch with these ports, 32 at most.
    Switch(Vec<PortConfig>),
    /// A bridge to a conventional bus with these devices, from number 1 on, 31 at most.
    Conventional {
        /// In whose name the bridge makes their requests.
        ids: ConventionalIds,
        /// The devices.
        devices: Vec<Model>,
    },
}

/// A port of the root complex or of a switch.
#[derive(Clone, Debug)]
pub struct PortConfig {
    acs: Option<AcsFlags>,
    below: Below,
}

impl PortConfig {
    /// One without access control services.
    pub const fn new(below: Below) -> Self {
        Self { acs: None, below }
    }

    /// One whose access control services can do `flags`.
    #[must_use]
    pub const fn with_acs(mut self, flags: AcsFlags) -> Self {
        self.acs = Some(flags);
        self
    }
}

/// What the host bridge does with requests of devices to other devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerForwarding {
    /// It takes none.
    #[default]
    Refused,
    /// It sends them down again.
    Forwarded,
}

impl Wiring<'_> {
    /// A root port as `config` says, as device number `device`.
    pub(crate) fn configured_port(&self, device: u8, config: &PortConfig) -> Node {
        self.port(BridgeKind::RootPort, device, &[], config)
    }

    fn port(
        &self,
        kind: BridgeKind,
        device: u8,
        above: &[Arc<Requester>],
        config: &PortConfig,
    ) -> Node {
        self.bridge(kind, device, above, config.acs, None, |path| {
            let nodes = match &config.below {
                Below::Device(functions) => self.device(path, functions),
                Below::Switch(ports) => vec![self.switch(path, ports)],
                Below::Conventional { ids, devices } => {
                    vec![self.conventional(path, *ids, devices)]
                }
            };
            (SegmentKind::Link, nodes)
        })
    }

    fn switch(&self, above: &[Arc<Requester>], ports: &[PortConfig]) -> Node {
        self.bridge(BridgeKind::UpstreamPort, 0, above, None, None, |path| {
            let numbered = (0..32).zip(ports);
            let ports =
                numbered.map(|(n, port)| self.port(BridgeKind::DownstreamPort, n, path, port));
            (SegmentKind::Switch, ports.collect())
        })
    }

    fn conventional(
        &self,
        above: &[Arc<Requester>],
        ids: ConventionalIds,
        devices: &[Model],
    ) -> Node {
        self.bridge(
            BridgeKind::ExpressToPci,
            0,
            above,
            None,
            Some(ids),
            |path| {
                let numbered = (1..32).zip(devices);
                let devices = numbered.map(|(n, &model)| {
                    let model = self.model(model, Attachment::Conventional);
                    self.function((n, 0), path, model, InDevice::default())
                });
                (SegmentKind::Conventional, devices.collect())
            },
        )
    }

    fn device(&self, above: &[Arc<Requester>], functions: &[FunctionConfig]) -> Vec<Node> {
        let several = match functions {
            [] | [_] => Functions::One,
            _ => Functions::Several,
        };
        let numbered = (0..8).zip(functions);
        let nodes = numbered.map(|(n, function)| {
            let in_device = InDevice {
                functions: several,
                acs: function.acs,
            };
            let model = self.model(function.model, Attachment::Express);
            self.function((0, n), above, model, in_device)
        });
        nodes.collect()
    }

    fn bridge(
        &self,
        kind: BridgeKind,
        device: u8,
        above: &[Arc<Requester>],
        acs: Option<AcsFlags>,
        names: Option<ConventionalIds>,
        behind: impl FnOnce(&[Arc<Requester>]) -> (SegmentKind, Vec<Node>),
    ) -> Node {
        let requester = Requester::new(device, 0, ALL_LINES, above.to_vec());
        let requester = match names {
            Some(names) => requester.to_conventional(names),
            None => requester,
        };
        let requester = Arc::new(requester);
        let mut path = above.to_vec();
        path.push(Arc::clone(&requester));
        let (segment, nodes) = behind(&path);
        let behind = Segment::new(segment, nodes, self.findings.clone());
        Node::Bridge(Arc::new(Bridge::new(kind, requester, behind, acs)))
    }

    fn model(&self, model: Model, attachment: Attachment) -> Arc<dyn FunctionModel> {
        match model {
            Model::Edu => Arc::new(Edu::wide(self.findings.clone(), attachment)),
            Model::EduWithMemory => Arc::new(Edu::with_memory(self.findings.clone(), attachment)),
            Model::Memory => Arc::new(DeviceMemory::new()),
        }
    }

    fn function(
        &self,
        (device, function): (u8, u8),
        upstream: &[Arc<Requester>],
        model: Arc<dyn FunctionModel>,
        in_device: InDevice,
    ) -> Node {
        let description = model.description();
        let lines = description.address_lines;
        let requester = Requester::new(device, function, lines, upstream.to_vec());
        let port = self.dma_port(ALL_OTHERS, device, Arc::new(requester));
        let endpoint = Endpoint::new(
            model,
            description,
            port,
            AtBoot::Idle,
            in_device,
            self.resets,
            self.findings.clone(),
        );
        Node::Endpoint(Arc::new(endpoint))
    }
}
