//! From the RSDP to the tables: the list, and copies of those asked for.

use alloc::vec::Vec;

use crate::description::IommuDescription;
use crate::dmar::Dmar;
use crate::error::{Error, TableError};
use crate::header::{HEADER_BYTES, Signature, table_len, verified};
use crate::iort::Iort;
use crate::ivrs::Ivrs;
use crate::mcfg::Mcfg;
use crate::memory::PhysicalMemory;
use crate::rimt::Rimt;
use crate::rsdp::{Root, Rsdp};
use crate::viot::Viot;

/// One table of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which table it is.
    pub signature: Signature,
    /// Physical address of the table.
    pub phys: u64,
}

/// The tables of one machine.
///
/// Only the list and the signatures are read at first: a damaged table is an error for who asks for it.
#[derive(Clone, Debug)]
pub struct Tables<'m, M: ?Sized> {
    memory: &'m M,
    rsdp: Rsdp,
    entries: Vec<Entry>,
}

impl<'m, M: PhysicalMemory + ?Sized> Tables<'m, M> {
    /// Reads the list of tables that the RSDP at physical address `rsdp_phys` leads to.
    ///
    /// Entries of the list that are 0 are passed over: firmware blanks out tables it takes back.
    ///
    /// # Errors
    /// If RSDP or list is damaged, or a table lies outside memory.
    pub fn find(rsdp_phys: u64, memory: &'m M) -> Result<Self, Error> {
        let rsdp = Rsdp::read(rsdp_phys, memory)?;
        let (list, entry_bytes) = match rsdp.root {
            Root::Rsdt(phys) => (
                Entry {
                    signature: Signature::RSDT,
                    phys,
                },
                4,
            ),
            Root::Xsdt(phys) => (
                Entry {
                    signature: Signature::XSDT,
                    phys,
                },
                8,
            ),
        };
        let bytes = list.copy(memory)?;
        let listed = list.parse(&bytes, |bytes| {
            verified(list.signature, HEADER_BYTES, bytes)?
                .entries(HEADER_BYTES, entry_bytes)?
                .map(|entry| match entry_bytes {
                    4 => entry.u32(0).map(u64::from),
                    _ => entry.u64(0),
                })
                .collect::<Result<Vec<u64>, _>>()
        })?;
        let entries = listed
            .into_iter()
            .filter(|phys| *phys != 0)
            .map(|phys| Entry::at(phys, list.signature, memory))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            memory,
            rsdp,
            entries,
        })
    }

    /// What the RSDP said.
    pub fn rsdp(&self) -> Rsdp {
        self.rsdp
    }

    /// All tables, in the order of the list.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// A copy of the first table named `signature`, its checksum verified; `None` if there is no such table.
    ///
    /// # Errors
    /// If the table is damaged or lies outside memory.
    pub fn load(&self, signature: Signature) -> Result<Option<Vec<u8>>, Error> {
        self.read(signature, |bytes| {
            Ok(verified(signature, HEADER_BYTES, bytes)?.bytes().to_vec())
        })
    }

    /// Where configuration space lies; `None` if no table says.
    ///
    /// # Errors
    /// If the table is damaged or lies outside memory.
    pub fn mcfg(&self) -> Result<Option<Mcfg>, Error> {
        self.read(Signature::MCFG, Mcfg::parse)
    }

    /// The VT-d units and reserved regions; `None` where the machine has none.
    ///
    /// # Errors
    /// If the table is damaged or lies outside memory.
    pub fn dmar(&self) -> Result<Option<Dmar>, Error> {
        self.read(Signature::DMAR, Dmar::parse)
    }

    /// AMD's IOMMUs and what is special for their devices; `None` where the machine has none.
    ///
    /// # Errors
    /// If the table is damaged or lies outside memory.
    pub fn ivrs(&self) -> Result<Option<Ivrs>, Error> {
        self.read(Signature::IVRS, Ivrs::parse)
    }

    /// Arm's IOMMUs and what is wired to them; `None` where no table says.
    ///
    /// # Errors
    /// If the table is damaged or lies outside memory.
    pub fn iort(&self) -> Result<Option<Iort>, Error> {
        self.read(Signature::IORT, Iort::parse)
    }

    /// RISC-V's IOMMUs and what is wired to them; `None` where the machine has none.
    ///
    /// # Errors
    /// If the table is damaged or lies outside memory.
    pub fn rimt(&self) -> Result<Option<Rimt>, Error> {
        self.read(Signature::RIMT, Rimt::parse)
    }

    /// The virtio-iommus; `None` where the machine has none.
    ///
    /// # Errors
    /// If the table is damaged or lies outside memory.
    pub fn viot(&self) -> Result<Option<Viot>, Error> {
        self.read(Signature::VIOT, Viot::parse)
    }

    /// The IOMMUs of the machine, whatever they are: what all tables that describe some say together. It is empty
    /// where none does.
    ///
    /// # Errors
    /// If one of the tables is damaged or lies outside memory.
    pub fn iommus(&self) -> Result<IommuDescription, Error> {
        let mut all = IommuDescription::default();
        for one in [
            self.dmar()?.map(|table| table.description()),
            self.ivrs()?.map(|table| table.description()),
            self.iort()?.map(|table| table.description()),
            self.rimt()?.map(|table| table.description()),
            self.viot()?.map(|table| table.description()),
        ]
        .into_iter()
        .flatten()
        {
            all.join(one);
        }
        Ok(all)
    }

    /// What `parse` makes of the first table named `signature`.
    fn read<T>(
        &self,
        signature: Signature,
        parse: impl FnOnce(&[u8]) -> Result<T, TableError>,
    ) -> Result<Option<T>, Error> {
        self.entries
            .iter()
            .find(|entry| entry.signature == signature)
            .map(|entry| entry.parse(&entry.copy(self.memory)?, parse))
            .transpose()
    }
}

impl Entry {
    /// The table at `phys`, to which table `list` points.
    fn at<M>(phys: u64, list: Signature, memory: &M) -> Result<Self, Error>
    where
        M: PhysicalMemory + ?Sized,
    {
        let mut signature = [0; 4];
        memory
            .read(phys, &mut signature)
            .map_err(|source| Error::OutsideMemory {
                signature: list,
                phys,
                source,
            })?;
        Ok(Self {
            signature: Signature(signature),
            phys,
        })
    }

    /// A copy of the table, as long as its header says.
    fn copy<M: PhysicalMemory + ?Sized>(&self, memory: &M) -> Result<Vec<u8>, Error> {
        let Self { signature, phys } = *self;
        let outside = |source| Error::OutsideMemory {
            signature,
            phys,
            source,
        };
        let mut header = [0; HEADER_BYTES];
        memory.read(phys, &mut header).map_err(outside)?;
        let len_bytes = self.parse(&header, |header| table_len(signature, HEADER_BYTES, header))?;
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(len_bytes)
            .map_err(|_| Error::OutOfMemory {
                signature,
                len_bytes,
            })?;
        bytes.resize(len_bytes, 0);
        memory.read(phys, &mut bytes).map_err(outside)?;
        Ok(bytes)
    }

    /// What `parse` makes of `bytes`, its error placed in memory.
    fn parse<T>(
        &self,
        bytes: &[u8],
        parse: impl FnOnce(&[u8]) -> Result<T, TableError>,
    ) -> Result<T, Error> {
        parse(bytes).map_err(|error| Error::Damaged {
            phys: self.phys,
            error,
        })
    }
}
