//! Domains, the endpoints in them and their mappings: what requests change and translations read (5.13.6).

use std::collections::{BTreeMap, BTreeSet};

use hw::virtio::iommu::request::{Attach, Detach, Map, MapFlags, Status, Unmap};

use super::config::VirtioConfig;

/// All domains of one unit.
#[derive(Debug, Default)]
pub(super) struct Domains {
    domains: BTreeMap<u32, Domain>,
    /// The domain of each endpoint that has one.
    endpoints: BTreeMap<u32, u32>,
    mappings: usize,
}

/// A domain: it exists as long as an endpoint is in it.
#[derive(Debug)]
struct Domain {
    endpoints: BTreeSet<u32>,
    route: Route,
}

#[derive(Debug)]
enum Route {
    Bypass,
    /// By first address.
    Mapped(BTreeMap<u64, Mapping>),
}

/// What one MAP request mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) first: u64,
    /// Inclusive.
    pub(super) last: u64,
    pub(super) phys: u64,
    pub(super) flags: MapFlags,
}

/// Where a request of an endpoint goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The endpoint is in no domain.
    NoDomain,
    /// Its domain lets everything pass.
    Bypass,
    /// Its domain maps the address.
    Mapped(Mapping),
    /// Its domain does not.
    Unmapped,
}

/// Whether somebody lost access by a request that succeeded: then those in flight are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    Nothing,
    Access,
}

impl Mapping {
    /// Length in bytes, at most `u64::MAX`.
    pub(super) fn len_bytes(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

impl Domains {
    /// ATTACH (5.13.6.3).
    pub(super) fn attach(
        &mut self,
        config: &VirtioConfig,
        request: Attach,
    ) -> Result<Lost, Status> {
        let Attach {
            domain,
            endpoint,
            flags,
        } = request;
        check_endpoint(config, endpoint)?;
        if !config.domain_range.contains(&domain) {
            return Err(Status::NoEntry);
        }
        if let Some(known) = self.domains.get(&domain)
            && matches!(known.route, Route::Bypass) != flags.bypass()
        {
            return Err(Status::Invalid);
        }
        if self.endpoints.get(&endpoint) == Some(&domain) {
            return Ok(Lost::Nothing);
        }
        // Out of the domain it was in, with the same effect as a DETACH.
        self.take_out(endpoint);
        self.endpoints.insert(endpoint, domain);
        self.domains
            .entry(domain)
            .or_insert_with(|| Domain {
                endpoints: BTreeSet::new(),
                route: if flags.bypass() {
                    Route::Bypass
                } else {
                    Route::Mapped(BTreeMap::new())
                },
            })
            .endpoints
            .insert(endpoint);
        Ok(Lost::Access)
    }

    /// DETACH (5.13.6.4).
    pub(super) fn detach(
        &mut self,
        config: &VirtioConfig,
        request: Detach,
    ) -> Result<Lost, Status> {
        check_endpoint(config, request.endpoint)?;
        if self.endpoints.get(&request.endpoint) != Some(&request.domain) {
            return Err(Status::Invalid);
        }
        self.take_out(request.endpoint);
        Ok(Lost::Access)
    }

    fn take_out(&mut self, endpoint: u32) {
        let Some(domain) = self.endpoints.remove(&endpoint) else {
            return;
        };
        let left = self.domains.get_mut(&domain).expect("it has an endpoint");
        left.endpoints.remove(&endpoint);
        if left.endpoints.is_empty()
            && let Some(Domain {
                route: Route::Mapped(mappings),
                ..
            }) = self.domains.remove(&domain)
        {
            self.mappings -= mappings.len();
        }
    }

    /// MAP (5.13.6.5).
    pub(super) fn map(&mut self, config: &VirtioConfig, request: Map) -> Result<Lost, Status> {
        let Map {
            domain,
            virt_start: first,
            virt_end: last,
            phys_start: phys,
            flags,
        } = request;
        if flags.mmio() && !config.features.mmio() {
            return Err(Status::Invalid);
        }
        let offset = config.granule() - 1;
        if first > last || (first | phys | last.wrapping_add(1)) & offset != 0 {
            return Err(Status::Range);
        }
        if !config.input_range.contains(&first)
            || !config.input_range.contains(&last)
            || phys.checked_add(last - first).is_none()
        {
            return Err(Status::Range);
        }
        let reserved = self.is_reserved(config, domain, first, last);
        let mappings = mappings(&mut self.domains, domain)?;
        if reserved || overlapping(mappings, first, last).next().is_some() {
            return Err(Status::Invalid);
        }
        if self.mappings >= config.mappings_max {
            return Err(Status::NoMemory);
        }
        self.mappings += 1;
        let mapping = Mapping {
            first,
            last,
            phys,
            flags,
        };
        mappings.insert(first, mapping);
        Ok(Lost::Nothing)
    }

    /// Whether an endpoint in `domain` has an address from `first` to `last` reserved (5.13.6.8.1).
    fn is_reserved(&self, config: &VirtioConfig, domain: u32, first: u64, last: u64) -> bool {
        let endpoints = self.domains.get(&domain).map(|domain| &domain.endpoints);
        endpoints.into_iter().flatten().any(|endpoint| {
            let requester = (endpoint - config.first_endpoint) as u16;
            config.reserved_for(requester).any(|reserved| {
                first <= *reserved.addresses.end() && last >= *reserved.addresses.start()
            })
        })
    }

    /// UNMAP (5.13.6.6).
    pub(super) fn unmap(&mut self, request: Unmap) -> Result<Lost, Status> {
        let Unmap {
            domain,
            virt_start: first,
            virt_end: last,
        } = request;
        let mappings = mappings(&mut self.domains, domain)?;
        if first > last {
            return Err(Status::Range);
        }
        let found: Vec<Mapping> = overlapping(mappings, first, last).collect();
        if found
            .iter()
            .any(|mapping| mapping.first < first || mapping.last > last)
        {
            // It would split a mapping.
            return Err(Status::Range);
        }
        for mapping in &found {
            mappings.remove(&mapping.first);
        }
        self.mappings -= found.len();
        if found.is_empty() {
            Ok(Lost::Nothing)
        } else {
            Ok(Lost::Access)
        }
    }

    /// Where a request of `endpoint` to `bus` goes.
    pub(super) fn way(&self, endpoint: u32, bus: u64) -> Way {
        let Some(domain) = self.endpoints.get(&endpoint) else {
            return Way::NoDomain;
        };
        match &self.domains[domain].route {
            Route::Bypass => Way::Bypass,
            Route::Mapped(mappings) => overlapping(mappings, bus, bus)
                .next()
                .map_or(Way::Unmapped, Way::Mapped),
        }
    }

    /// Every mapping, with an endpoint that reaches it; `None` for a domain that lets everything pass.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, Option<Mapping>)> {
        self.domains.values().flat_map(|domain| {
            let endpoint = *domain.endpoints.first().expect("else it would not exist");
            let (bypass, mapped) = match &domain.route {
                Route::Bypass => (Some(None), None),
                Route::Mapped(mappings) => (None, Some(mappings.values().copied().map(Some))),
            };
            bypass
                .into_iter()
                .chain(mapped.into_iter().flatten())
                .map(move |mapping| (endpoint, mapping))
        })
    }
}

fn check_endpoint(config: &VirtioConfig, endpoint: u32) -> Result<(), Status> {
    match endpoint.checked_sub(config.first_endpoint) {
        Some(requester) if requester <= u32::from(u16::MAX) => Ok(()),
        _ => Err(Status::NoEntry),
    }
}

fn mappings(
    domains: &mut BTreeMap<u32, Domain>,
    domain: u32,
) -> Result<&mut BTreeMap<u64, Mapping>, Status> {
    match &mut domains.get_mut(&domain).ok_or(Status::NoEntry)?.route {
        Route::Mapped(mappings) => Ok(mappings),
        Route::Bypass => Err(Status::Invalid),
    }
}

fn overlapping(
    mappings: &BTreeMap<u64, Mapping>,
    first: u64,
    last: u64,
) -> impl Iterator<Item = Mapping> {
    // Mappings are disjoint, so only the one before `first` can reach into it from outside.
    let before = mappings
        .range(..first)
        .next_back()
        .filter(|(_, mapping)| mapping.last >= first);
    before
        .into_iter()
        .chain(mappings.range(first..=last))
        .map(|(_, mapping)| *mapping)
}
