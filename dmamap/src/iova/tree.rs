//! The extents in use, in an AVL tree ordered by address that also knows the gaps between them.
//!
//! A gap belongs to the extent that follows it; the gap after the last extent is the tree's `tail`. Numbers
//! are granules. Recursion goes as deep as the tree is high: at most 36 for the most nodes a slab holds.

use super::block::Block;
use super::gaps::Gaps;
use crate::platform::Platform;
use crate::slab::{Handle, Slab, SlabError};

pub(super) type Node = Handle<Extent>;

/// Why an extent may not be allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Someone has it.
    Allocated,
    /// Nobody may have it.
    Reserved,
    /// Nobody has it any more, and nobody may have it yet.
    Kept,
    /// Ranges are chosen from it.
    Divided(Handle<Block>),
}

/// A run of granules in use: a node of the tree.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) kind: Use,
    /// Granules free right before it.
    pub(super) gap: u64,
    /// What fits in the gaps of the subtree.
    pub(super) gaps: Gaps,
    pub(super) left: Option<Node>,
    pub(super) right: Option<Node>,
    /// The one kept before it, if it is kept.
    pub(super) next_kept: Option<Node>,
    height: u8,
}

impl Extent {
    pub(super) fn new(start: u64, len: u64, kind: Use) -> Self {
        Self {
            start,
            len,
            kind,
            gap: 0,
            gaps: Gaps::NONE,
            left: None,
            right: None,
            next_kept: None,
            height: 1,
        }
    }

    /// One past its last granule.
    pub(super) fn end(&self) -> u64 {
        self.start + self.len
    }

    /// Start and end of the gap before it.
    pub(super) fn gap_before(&self) -> (u64, u64) {
        (self.start - self.gap, self.start)
    }
}

pub(super) struct Tree<P: Platform> {
    nodes: Slab<P, Extent>,
    root: Option<Node>,
    start: u64,
    end: u64,
    /// Granules free after the last extent.
    tail: u64,
    visited: u64,
}

impl<P: Platform> Tree<P> {
    /// Everything in `start..end` free.
    pub(super) fn new(platform: P, start: u64, end: u64) -> Self {
        Self {
            nodes: Slab::new(platform),
            root: None,
            start,
            end,
            tail: end - start,
            visited: 0,
        }
    }

    pub(super) fn bounds(&self) -> (u64, u64) {
        (self.start, self.end)
    }

    pub(super) fn root(&self) -> Option<Node> {
        self.root
    }

    /// Start and end of the gap after the last extent.
    pub(super) fn tail(&self) -> (u64, u64) {
        (self.end - self.tail, self.end)
    }

    pub(super) fn widest_gap(&self) -> u64 {
        let widest = self.root.map_or(0, |root| self.nodes[root].gaps.widest());
        widest.max(self.tail)
    }

    pub(super) fn nodes_visited(&self) -> u64 {
        self.visited
    }

    pub(super) fn frames(&self) -> usize {
        self.nodes.frames()
    }

    pub(super) fn reclaim(&mut self) -> usize {
        self.nodes.reclaim()
    }

    /// Makes sure that the next `count` insertions succeed.
    pub(super) fn reserve_nodes(&mut self, count: usize) -> Result<(), SlabError> {
        self.nodes.reserve(count)
    }

    /// A node, counted.
    pub(super) fn visit(&mut self, node: Node) -> &Extent {
        self.visited += 1;
        &self.nodes[node]
    }

    /// The extent of a node, to be looked at or marked; its place and length stay.
    pub(super) fn extent_mut(&mut self, node: Node) -> &mut Extent {
        &mut self.nodes[node]
    }

    /// The node of the last extent that starts at or before `at`.
    pub(super) fn node_before(&mut self, at: u64) -> Option<Node> {
        self.nodes_around(at).0
    }

    /// The last extent that starts at or before `at`, and the first that starts after.
    pub(super) fn around(&mut self, at: u64) -> (Option<Extent>, Option<Extent>) {
        let (before, after) = self.nodes_around(at);
        (
            before.map(|node| self.nodes[node]),
            after.map(|node| self.nodes[node]),
        )
    }

    fn nodes_around(&mut self, at: u64) -> (Option<Node>, Option<Node>) {
        let (mut before, mut after) = (None, None);
        let mut next = self.root;
        while let Some(node) = next {
            let extent = self.visit(node);
            if extent.start <= at {
                before = Some(node);
                next = extent.right;
            } else {
                after = Some(node);
                next = extent.left;
            }
        }
        (before, after)
    }

    /// Puts an extent into a gap that has room for it. On failure nothing has changed.
    pub(super) fn insert(&mut self, extent: Extent) -> Result<(), SlabError> {
        let after = self.nodes_around(extent.start).1;
        let (gap_start, gap_end) = match after {
            Some(after) => self.nodes[after].gap_before(),
            None => self.tail(),
        };
        debug_assert!(gap_start <= extent.start && extent.end() <= gap_end);
        let gap = extent.start - gap_start;
        let gaps = Gaps::of((gap_start, extent.start));
        let node = self.nodes.insert(Extent {
            gap,
            gaps,
            ..extent
        })?;
        // A new node becomes a leaf, so the extent after it is one of its ancestors: the way back up brings their
        // widest gaps up to date.
        self.set_gap_after(after, gap_end - extent.end());
        self.root = Some(self.insert_below(self.root, node, extent.start));
        Ok(())
    }

    /// Takes out the extent that starts at `start`, which exists; its granules join the gap after it.
    pub(super) fn remove(&mut self, start: u64) {
        let (node, after) = self.nodes_around(start);
        let Some(node) = node else { return };
        let extent = self.nodes[node];
        debug_assert_eq!(extent.start, start);
        let gap_after = after.map_or(self.tail, |after| self.nodes[after].gap);
        // The extent after it is one of its ancestors or takes its place: both lie on the way back up.
        self.set_gap_after(after, extent.gap + extent.len + gap_after);
        self.root = self.remove_below(self.root, start);
        self.nodes.remove(node);
    }

    fn set_gap_after(&mut self, after: Option<Node>, gap: u64) {
        match after {
            Some(after) => self.nodes[after].gap = gap,
            None => self.tail = gap,
        }
    }

    /// The root of `subtree` with `node` added.
    fn insert_below(&mut self, subtree: Option<Node>, node: Node, start: u64) -> Node {
        let Some(root) = subtree else { return node };
        let Extent {
            start: first,
            left,
            right,
            ..
        } = *self.visit(root);
        if start < first {
            self.nodes[root].left = Some(self.insert_below(left, node, start));
        } else {
            self.nodes[root].right = Some(self.insert_below(right, node, start));
        }
        self.balance(root)
    }

    /// The root of `subtree` without the node that starts at `start`.
    fn remove_below(&mut self, subtree: Option<Node>, start: u64) -> Option<Node> {
        let root = subtree?;
        let Extent {
            start: first,
            left,
            right,
            ..
        } = *self.visit(root);
        if start < first {
            self.nodes[root].left = self.remove_below(left, start);
        } else if start > first {
            self.nodes[root].right = self.remove_below(right, start);
        } else {
            let Some(right) = right else {
                return left;
            };
            let (next, rest) = self.remove_first(right);
            self.nodes[next].left = left;
            self.nodes[next].right = rest;
            return Some(self.balance(next));
        }
        Some(self.balance(root))
    }

    /// The first node of a subtree, and the root of the rest.
    fn remove_first(&mut self, root: Node) -> (Node, Option<Node>) {
        let Extent { left, right, .. } = *self.visit(root);
        let Some(left) = left else {
            return (root, right);
        };
        let (first, rest) = self.remove_first(left);
        self.nodes[root].left = rest;
        (first, Some(self.balance(root)))
    }

    /// Brings a node whose children are in order up to date, and the two sides' heights within one of each
    /// other; returns the node that stands in its place.
    fn balance(&mut self, root: Node) -> Node {
        let Extent { left, right, .. } = self.nodes[root];
        let (left_height, right_height) = (self.height(left), self.height(right));
        match (left, right) {
            (Some(left), _) if left_height > right_height + 1 => {
                let inner = &self.nodes[left];
                if self.height(inner.left) < self.height(inner.right) {
                    self.nodes[root].left = Some(self.rotate_left(left));
                }
                self.rotate_right(root)
            }
            (_, Some(right)) if right_height > left_height + 1 => {
                let inner = &self.nodes[right];
                if self.height(inner.right) < self.height(inner.left) {
                    self.nodes[root].right = Some(self.rotate_right(right));
                }
                self.rotate_left(root)
            }
            _ => {
                self.update(root);
                root
            }
        }
    }

    /// Lifts the right child of `root` into its place.
    fn rotate_left(&mut self, root: Node) -> Node {
        let Some(risen) = self.nodes[root].right else {
            return root;
        };
        self.nodes[root].right = self.nodes[risen].left;
        self.nodes[risen].left = Some(root);
        self.update(root);
        self.update(risen);
        risen
    }

    /// Lifts the left child of `root` into its place.
    fn rotate_right(&mut self, root: Node) -> Node {
        let Some(risen) = self.nodes[root].left else {
            return root;
        };
        self.nodes[root].left = self.nodes[risen].right;
        self.nodes[risen].right = Some(root);
        self.update(root);
        self.update(risen);
        risen
    }

    fn update(&mut self, node: Node) {
        let Extent { left, right, .. } = self.nodes[node];
        let height = 1 + self.height(left).max(self.height(right));
        let mut gaps = Gaps::of(self.nodes[node].gap_before());
        for child in [left, right].into_iter().flatten() {
            gaps.join(&self.nodes[child].gaps);
        }
        let extent = &mut self.nodes[node];
        extent.height = height;
        extent.gaps = gaps;
    }

    fn height(&self, node: Option<Node>) -> u8 {
        node.map_or(0, |node| self.nodes[node].height)
    }
}
